"""What may stay of a Status about a sensitive object: reason, code and the shape of the details; no text that quotes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from transforms.audit.evidence import API_VERSION, UID, About, drop

if TYPE_CHECKING:
    from transforms.audit.embedded import Search

_REASON: Final = re.compile(r"[A-Z][A-Za-z]{1,40}")
_USUAL: Final = re.compile(
    r"[a-z0-9.]{1,80} (?:\"(?P<name>[^\"\\]+)\" )?(?:not found|already exists|is forbidden: User \"[^\"\\]{1,253}\" cannot [a-z]{1,20} "
    r"resource \"[a-z0-9/.\-]{1,80}\" in API group \"[a-z0-9.\-]{0,80}\""
    r"(?: in the namespace \"(?P<namespace>[a-z0-9\-]{1,63})\"| at the cluster scope)?)|Unauthorized|Forbidden"
)


def message(text: str, search: Search, about: About) -> str:
    """A Status message about a sensitive object: only what the event's head says as well may stay."""
    usual = _USUAL.fullmatch(text)
    if (
        usual
        and (usual["name"] is None or usual["name"] == about.name)
        and (not about.namespace or usual["namespace"] in (None, about.namespace))
    ):
        return text
    return search.masked("message", text)


def status(node: dict[str, Any], search: Search, about: About) -> dict[str, Any]:
    """A Status (meta/v1) about a sensitive object: reason, code and the shape of the details; no text that quotes."""
    out: dict[str, Any] = {}
    for field, value in node.items():
        if (
            (field == "kind" and value == "Status")
            or (field == "apiVersion" and isinstance(value, str) and API_VERSION.fullmatch(value))
            or (field == "metadata" and value in ({}, None))
            or (field == "status" and value in ("Success", "Failure"))
        ):
            out[field] = value
        elif field == "message" and isinstance(value, str):
            out[field] = message(value, search, about) if value else value
        elif field == "reason" and isinstance(value, str):
            out[field] = value if not value or _REASON.fullmatch(value) else search.masked("message", value)
        elif field == "code" and isinstance(value, int):
            out[field] = value
        elif field == "details" and isinstance(value, dict):
            out[field] = _details(value, search, about)
        elif field == "metadata" and isinstance(value, dict):
            out[field] = {}
        else:
            drop(value, search, "message")
    return out


def _details(details: dict[str, Any], search: Search, about: About) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for field, value in details.items():
        if field == "name" and isinstance(value, str):
            out[field] = value if value == about.name else search.masked("name", value)
        elif (
            (field in ("kind", "group") and isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9.\-]{0,80}", value))
            or (field == "uid" and isinstance(value, str) and UID.fullmatch(value))
            or (field == "retryAfterSeconds" and isinstance(value, int))
        ):
            out[field] = value
        elif field == "causes" and isinstance(value, list):
            out[field] = [_cause(cause, search) for cause in value]
        else:
            drop(value, search, "message")
    return out


def _cause(cause: Any, search: Search) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for field, value in cause.items() if isinstance(cause, dict) else ():
        if field == "reason" and isinstance(value, str) and _REASON.fullmatch(value):
            out[field] = value
        elif field == "message" and isinstance(value, str):
            out[field] = search.masked("message", value)
        else:
            drop(value, search, "message")
    return out
