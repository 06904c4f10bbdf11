"""Rows of the Log Analytics tables AKSAudit and AKSAuditAdmin: an event under other names, its columns in PascalCase.

Source: Microsoft, Azure Monitor reference, table AKSAudit. Dynamic columns come as JSON or as text that holds JSON.
"""

from __future__ import annotations

from typing import Final

import msgspec

from transforms.audit.envelopes.azure import cluster_of
from transforms.audit.envelopes.inferred import micro_time
from transforms.audit.envelopes.inner import Inner
from transforms.audit.members import Members, string

FIELDS = ("AuditId",)
_NAMES: Final = {
    "Level": "level",
    "AuditId": "auditID",
    "Stage": "stage",
    "RequestUri": "requestURI",
    "Verb": "verb",
    "User": "user",
    "ImpersonatedUser": "impersonatedUser",
    "SourceIps": "sourceIPs",
    "UserAgent": "userAgent",
    "ObjectRef": "objectRef",
    "ResponseStatus": "responseStatus",
    "RequestObject": "requestObject",
    "ResponseObject": "responseObject",
    "RequestReceivedTime": "requestReceivedTimestamp",
    "StageReceivedTime": "stageTimestamp",
    "Annotations": "annotations",
}
_DYNAMIC: Final = frozenset(
    {"User", "ImpersonatedUser", "SourceIps", "ObjectRef", "ResponseStatus", "RequestObject", "ResponseObject", "Annotations"}
)
_TIMES: Final = frozenset({"RequestReceivedTime", "StageReceivedTime"})
_NOTHING: Final = frozenset({b"null", b'""'})


def unwrap(fields: Members) -> list[Inner] | None:
    """The event of a row; empty columns are fields that the event lacks."""
    if "Stage" not in fields and "Level" not in fields:
        return None
    columns = [(name, _value(column, fields[column])) for column, name in _NAMES.items() if column in fields]
    event = b",".join(msgspec.json.encode(name) + b":" + value for name, value in columns if value not in _NOTHING)
    return [Inner(b"{" + event + b"}", cluster=cluster_of(string(fields.get("_ResourceId")) or ""))]


def _value(column: str, raw: msgspec.Raw) -> bytes:
    text = string(raw)
    if text is not None and column in _TIMES:
        return msgspec.json.encode(micro_time(text))
    if text is not None and column in _DYNAMIC and text[:1] in {"{", "["}:
        return text.encode()
    return bytes(raw)
