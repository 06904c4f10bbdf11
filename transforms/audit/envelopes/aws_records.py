"""What Lambda is given by Kinesis, SNS and SQS (`Records`) and by a Firehose transformation (`records[].data`)."""

from __future__ import annotations

from transforms.audit.envelopes.inner import Inner
from transforms.audit.envelopes.unpack import inner_of
from transforms.audit.members import Members, elements, members, string, unreadable

FIELDS = ("Records", "recordId")


def unwrap(fields: Members) -> list[Inner] | None:
    """The payloads of the records."""
    if "recordId" in fields:
        data = string(fields.get("data"))
        return None if data is None else [inner_of(data.encode())]
    try:
        return [_payload(record) for record in elements(fields["Records"])]
    except (KeyError, *unreadable):
        return None


def _payload(record: bytes) -> Inner:
    try:
        fields = members(record)
        kinesis = members(fields["kinesis"]) if "kinesis" in fields else fields
        notice = members(fields["Sns"]) if "Sns" in fields else fields
    except unreadable:
        return Inner(record, code="NOT_AUDIT", message="a record that is no object")
    data = string(kinesis.get("data")) or string(kinesis.get("Data"))
    if data is not None:
        return inner_of(data.encode())
    text = string(notice.get("Message")) or string(fields.get("body"))
    if text is not None:
        return Inner(text.encode())
    return Inner(record, code="NOT_AUDIT", message="a record without a payload")
