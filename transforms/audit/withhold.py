"""Withhold an event's content: what remains when redaction itself has failed."""

from __future__ import annotations

import msgspec

from transforms.audit.credentials import mask
from transforms.audit.embedded import dump
from transforms.audit.event import Event, flag, reduced, text
from transforms.audit.request_uri import GONE


def withhold(event: Event) -> None:
    """Keep who, what, when and where, and nothing that could hold a secret; flag the event `CONTENT_WITHHELD`."""
    size = 0
    for name in ("requestObject", "responseObject", "annotations"):
        size += len(bytes(getattr(event, name)))
        setattr(event, name, b"")
    code = _code(bytes(event.responseStatus))
    event.responseStatus = code  # type: ignore[assignment]
    uri = text(event.requestURI)
    path, mark, query = uri.partition("?")
    if query and query != GONE:
        event.requestURI = path + mark + GONE
        size += len(query)
    for name in ("user", "impersonatedUser", "objectRef"):
        setattr(event, name, _bare(bytes(getattr(event, name))))
    event.userAgent = mask(text(event.userAgent)) if text(event.userAgent) else event.userAgent
    event.unknown = None
    reduced(event, "withheld", "/", 1, size)
    flag(event, "CONTENT_WITHHELD")


def _code(raw: bytes) -> bytes:
    try:
        status = msgspec.json.decode(raw)
        return dump({"metadata": {}, "code": status["code"]}) if isinstance(status["code"], int) else b""
    except Exception:  # noqa: BLE001 - whatever it is, it is not a status
        return b""


def _bare(raw: bytes) -> bytes:
    """A user without extras, a reference as it is; nothing where it cannot be read."""
    try:
        held = msgspec.json.decode(raw)
        held.pop("extra", None)
        return dump(held)
    except Exception:  # noqa: BLE001 - whatever it is, it is no user and no reference
        return b""
