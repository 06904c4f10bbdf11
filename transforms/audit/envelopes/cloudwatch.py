"""EKS through CloudWatch Logs: subscription documents, what Lambda wraps around them, and the answers of the API.

The cluster is in the log group, `/aws/eks/<cluster>/cluster`. CloudWatch cuts long messages, marks them `[Truncated...]`
and does not go on in the next (falcosecurity/plugins#297). AWS docs: CloudWatch Logs, real-time processing.
"""

from __future__ import annotations

from re import compile as pattern
from typing import Final

import msgspec

from transforms.audit.envelopes.inner import Inner
from transforms.audit.envelopes.unpack import inner_of
from transforms.audit.members import Members, elements, members, string, unreadable

OPENS = ("messageType", "owner", "logGroup", "logEvents")
FIELDS = ("logEvents", "awslogs", "events", "messageType")
_CUT: Final = "[Truncated...]"
_group: Final = pattern(r"/aws/eks/([^/]+)/cluster").fullmatch


class LogEvent(msgspec.Struct, gc=False):
    """What a subscription document holds of each message."""

    message: str


class Document(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """A subscription document."""

    messageType: str
    logGroup: str
    logEvents: list[LogEvent]
    owner: msgspec.Raw = msgspec.Raw()
    logStream: msgspec.Raw = msgspec.Raw()
    subscriptionFilters: msgspec.Raw = msgspec.Raw()
    policyLevel: msgspec.Raw = msgspec.Raw()


_decode_document: Final = msgspec.json.Decoder(Document).decode
_decode_events: Final = msgspec.json.Decoder(list[LogEvent]).decode


def unwrap(fields: Members) -> list[Inner] | None:
    """The messages of a document."""
    if "awslogs" in fields:
        return _subscription(fields)
    cluster = _cluster(fields)
    if string(fields.get("messageType")) == "CONTROL_MESSAGE":
        return [Inner(b"", code="NOT_AUDIT", message="a control message of CloudWatch", cluster=cluster)]
    events = fields.get("logEvents") or fields.get("events")
    if events is None:
        return None
    try:
        return [_text(event.message, cluster) for event in _decode_events(events)]
    except unreadable:
        pass
    try:
        return [_message(event, cluster) for event in elements(events)]
    except unreadable:
        return None


def unwrap_whole(record: bytes) -> list[Inner] | None:
    """The messages of a document."""
    try:
        document = _decode_document(record)
    except unreadable:
        return None
    if document.messageType == "CONTROL_MESSAGE":
        return None
    group = _group(document.logGroup)
    cluster = group[1] if group else None
    return [_text(event.message, cluster) for event in document.logEvents]


def _subscription(fields: Members) -> list[Inner] | None:
    try:
        data = string(members(fields["awslogs"]).get("data"))
    except unreadable:
        return None
    return None if data is None else [inner_of(data.encode())]


def _cluster(fields: Members) -> str | None:
    group = _group(string(fields.get("logGroup")) or "")
    return group[1] if group else None


def _message(event: bytes, cluster: str | None) -> Inner:
    try:
        raw = members(event).get("message")
    except unreadable:
        raw = None
    text = string(raw)
    if text is not None:
        return _text(text, cluster)
    if raw is not None and bytes(raw)[:1] == b"{":
        return Inner(raw, cluster=cluster)
    return Inner(event, code="NOT_AUDIT", message="a log event without a message", cluster=cluster)


def _text(message: str, cluster: str | None) -> Inner:
    if message.endswith(_CUT):
        return Inner(message.encode(), code="TRUNCATED", message="CloudWatch cut the message", cluster=cluster)
    return Inner(message.encode(), cluster=cluster)
