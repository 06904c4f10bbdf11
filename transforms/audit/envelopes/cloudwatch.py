"""EKS through CloudWatch Logs: subscription documents, what Lambda wraps around them, and the answers of the API.

The cluster is in the log group, `/aws/eks/<cluster>/cluster`. CloudWatch cuts long messages, marks them `[Truncated...]`
and does not go on in the next (falcosecurity/plugins#297). AWS docs: CloudWatch Logs, real-time processing.
"""

from __future__ import annotations

from re import compile as pattern
from typing import Final

from transforms.audit.envelopes.inner import Inner
from transforms.audit.envelopes.unpack import inner_of
from transforms.audit.members import Members, elements, members, string, unreadable

FIELDS = ("logEvents", "awslogs", "events", "messageType")
_CUT: Final = "[Truncated...]"
_group: Final = pattern(r"/aws/eks/([^/]+)/cluster").fullmatch


def unwrap(fields: Members) -> list[Inner] | None:
    """The messages of a document."""
    if "awslogs" in fields:
        return _subscription(fields)
    cluster = _cluster(fields)
    if string(fields.get("messageType")) == "CONTROL_MESSAGE":
        return [Inner(b"", code="NOT_AUDIT", message="a control message of CloudWatch", cluster=cluster)]
    try:
        found = elements(fields["logEvents"] if "logEvents" in fields else fields["events"])
    except (KeyError, *unreadable):
        return None
    return [_message(one, cluster) for one in found]


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
    if text is None:
        if raw is not None and bytes(raw)[:1] == b"{":
            return Inner(raw, cluster=cluster)
        return Inner(event, code="NOT_AUDIT", message="a log event without a message", cluster=cluster)
    if text.endswith(_CUT):
        return Inner(text.encode(), code="TRUNCATED", message="CloudWatch cut the message", cluster=cluster)
    return Inner(text.encode(), cluster=cluster)
