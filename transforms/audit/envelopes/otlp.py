"""OpenTelemetry's logs as OTLP JSON: `resourceLogs[].scopeLogs[].logRecords[].body`.

The body is the event's text, or the event as OTLP's own values (opentelemetry-proto, common/v1 AnyValue). The cluster is
the resource attribute `k8s.cluster.name`, where there is one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from transforms.audit.envelopes.inner import Inner
from transforms.audit.envelopes.unpack import inner_of
from transforms.audit.members import Members, elements, members, string, unreadable

if TYPE_CHECKING:
    from collections.abc import Iterator

OPENS = ("resourceLogs",)
FIELDS = ("resourceLogs",)


class Body(msgspec.Struct, gc=False):
    """A body that is text."""

    stringValue: str


class LogRecord(msgspec.Struct, gc=False):
    """What a log record holds of one event."""

    body: Body


class ScopeLogs(msgspec.Struct, gc=False):
    """The records of one scope."""

    logRecords: list[LogRecord] = []


class ResourceLogs(msgspec.Struct, gc=False):
    """The records of one resource."""

    scopeLogs: list[ScopeLogs]
    resource: msgspec.Raw = msgspec.Raw(b"{}")


class Export(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """What an exporter sends."""

    resourceLogs: list[ResourceLogs]


_decode_export: Final = msgspec.json.Decoder(Export).decode
_decode_logs: Final = msgspec.json.Decoder(list[ResourceLogs]).decode


def unwrap(fields: Members) -> list[Inner] | None:
    """The bodies of all log records."""
    try:
        return list(_texts(_decode_logs(fields["resourceLogs"])))
    except unreadable:
        pass
    try:
        return list(_bodies(fields))
    except unreadable:
        return None


def unwrap_whole(record: bytes) -> list[Inner] | None:
    """The bodies of all log records, where all are text."""
    try:
        return list(_texts(_decode_export(record).resourceLogs))
    except unreadable:
        return None


def _texts(logs: list[ResourceLogs]) -> Iterator[Inner]:
    for resource in logs:
        cluster = _cluster({"resource": resource.resource})
        for scope in resource.scopeLogs:
            for record in scope.logRecords:
                yield Inner(record.body.stringValue.encode(), cluster=cluster)


def _bodies(fields: Members) -> Iterator[Inner]:
    for resource_logs in elements(fields["resourceLogs"]):
        resource = members(resource_logs)
        cluster = _cluster(resource)
        scopes = resource.get("scopeLogs") or resource.get("instrumentationLibraryLogs")
        for scope in elements(scopes) if scopes else ():
            records = members(scope).get("logRecords")
            for record in elements(records) if records else ():
                yield _body(record, cluster)


def _cluster(resource: Members) -> str | None:
    attributes = members(resource.get("resource") or b"{}").get("attributes")
    for attribute in elements(attributes) if attributes else ():
        fields = members(attribute)
        if string(fields.get("key")) == "k8s.cluster.name":
            return string(members(fields.get("value") or b"{}").get("stringValue")) or None
    return None


def _body(record: bytes, cluster: str | None) -> Inner:
    try:
        value = members(members(record).get("body") or b"{}")
        text = string(value.get("stringValue"))
        if text is not None:
            return Inner(text.encode(), cluster=cluster)
        data = string(value.get("bytesValue"))
        if data is not None:
            return inner_of(data.encode(), cluster)
        if value:
            return Inner(plain_value(value), cluster=cluster)
    except unreadable:
        pass
    return Inner(record, code="NOT_AUDIT", message="a log record without a body", cluster=cluster)


def plain_value(value: Members) -> bytes:
    """An AnyValue as plain JSON. 64-bit integers come as text there, and leave as numbers."""
    for kind, raw in value.items():
        if kind == "kvlistValue":
            pairs = members(raw).get("values")
            return b"{" + b",".join(_pair(pair) for pair in (elements(pairs) if pairs else ())) + b"}"
        if kind == "arrayValue":
            values = members(raw).get("values")
            return b"[" + b",".join(plain_value(members(one)) for one in (elements(values) if values else ())) + b"]"
        if kind == "intValue":
            return bytes(raw).strip(b'"') or b"0"
        return bytes(raw)
    return b"null"


def _pair(pair: bytes) -> bytes:
    fields = members(pair)
    value = fields.get("value")
    return msgspec.json.encode(string(fields.get("key")) or "") + b":" + (plain_value(members(value)) if value else b"null")
