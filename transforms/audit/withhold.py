"""Withhold an event's content: what remains when redaction itself has failed."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from transforms.audit.credentials import mask
from transforms.audit.embedded import dump
from transforms.audit.event import Event, flag, reduced, text
from transforms.audit.members import members, unreadable
from transforms.audit.request_uri import GONE

_USER: Final[dict[str, Any]] = {"username": str, "uid": str, "groups": list[str]}
_REFERENCE: Final[dict[str, Any]] = dict.fromkeys(
    ("resource", "namespace", "name", "uid", "apiGroup", "apiVersion", "resourceVersion", "subresource"), str
)


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
    for name, types in (("user", _USER), ("impersonatedUser", _USER), ("objectRef", _REFERENCE)):
        setattr(event, name, _bare(bytes(getattr(event, name)), types))
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


def _bare(raw: bytes, types: dict[str, Any]) -> bytes:
    """A user without extras, a reference: of either what Kubernetes has, for nobody has judged the rest."""
    try:
        fields = members(raw)
    except unreadable:  # it is no user and no reference
        return b""
    return dump({name: fields[name] for name, kind in types.items() if name in fields and _is(fields[name], kind)})


def _is(value: msgspec.Raw, kind: Any) -> bool:
    try:
        msgspec.json.decode(value, type=kind)
    except unreadable:
        return False
    return True
