"""Redact secrets: what may hold one is withheld, and an event that cannot be judged loses its content."""

from __future__ import annotations

import re
from typing import Any, Literal

import orjson

from transforms.audit.event import Event, flag, reduced, text

SENSITIVE = re.compile(rb"secret|token|oauth|kubeconfig|password|private.key|\\u", re.IGNORECASE)


class Redactor:
    """What is redacted, and how."""

    def __init__(
        self,
        *,
        exec_args: Literal["keep", "program", "none"] = "program",
        rules: object | None = None,
        hash_key: bytes | None = None,
        strip_bulk: bool = False,
    ) -> None:
        self.exec_args = exec_args

    def redact(self, event: Event) -> None:
        """Take every secret out of the event, in place; never raises, withholds instead."""
        try:
            _redact(event)
        except Exception:
            withhold(event)


def _redact(event: Event) -> None:
    for name in ("requestObject", "responseObject"):
        body = bytes(getattr(event, name))
        if body and not _harmless(body):
            setattr(event, name, b"")
            reduced(event, "withheld", f"/{name}", 1, len(body))
    uri = text(event.requestURI)
    if "?" in uri:
        event.requestURI = uri.partition("?")[0]
        reduced(event, "query", "/requestURI", 1, len(uri) - len(text(event.requestURI)))
    head = bytes(event.responseStatus)
    if b'"message"' in head or b'"details"' in head:
        status: dict[str, Any] = orjson.loads(head)
        for key in ("message", "details"):
            if key in status:
                reduced(event, "message", f"/responseStatus/{key}", 1, len(orjson.dumps(status.pop(key))))
        event.responseStatus = orjson.dumps(status)  # type: ignore[assignment]
    if event.unknown is not None:
        reduced(event, "withheld", "/unknown", len(event.unknown), 0)
        event.unknown = None


def _harmless(body: bytes) -> bool:
    if SENSITIVE.search(body):
        return False
    try:
        orjson.loads(body)
    except orjson.JSONDecodeError:
        return False
    return True


def withhold(event: Event) -> None:
    """Keep who, what, when and where, and nothing that could hold a secret."""
    event.requestObject = event.responseObject = event.annotations = b""  # type: ignore[assignment]
    event.responseStatus = b""  # type: ignore[assignment]
    event.requestURI = text(event.requestURI).partition("?")[0]
    event.unknown = None
    flag(event, "CONTENT_WITHHELD")


DEFAULT = Redactor()


def redact_secrets(event: Event, redactor: Redactor = DEFAULT) -> None:
    """Redact the event in place with the given rules."""
    redactor.redact(event)


def sensitive_read(event: Event) -> bool:
    """Whether the event touches Secrets or tokens, by its URI or its object reference."""
    return SENSITIVE.search(text(event.requestURI).encode() + bytes(event.objectRef)) is not None


def self_test(redactor: Redactor) -> list[str]:
    """The canaries that survived the redactor: none."""
    event = Event(requestURI="/api/v1/secrets?x=canary", requestObject=b'{"kind":"Secret","data":{"a":"canary"}}')  # type: ignore[arg-type]
    redactor.redact(event)
    return [name for name in ("requestURI", "requestObject") if b"canary" in str(getattr(event, name)).encode()]
