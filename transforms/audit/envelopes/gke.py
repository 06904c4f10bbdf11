"""GKE's audit log as Cloud Logging keeps it: `LogEntry` with an `AuditLog` of service `k8s.io` (also by way of Pub/Sub).

Method and resource names stand in for verb, URI and objectRef. Groups, query and level are not there, and flagged so.
`status.code` is a gRPC code; where the response is a Status, its HTTP code wins. A long request comes as two entries
(`operation.first`, `.last`), an entry too large as several (`split`): the joiner puts them together before they come here.
Sources: cloud.google.com, "LogEntry", "AuditLog", "Split audit log entries"; google.rpc.Code.
"""

from __future__ import annotations

from functools import lru_cache
from re import compile as pattern
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
from msgspec import Raw

from transforms.audit.envelopes.inferred import micro_time, object_reference
from transforms.audit.envelopes.inner import Inner
from transforms.audit.event import ABSENT, Event, reduced
from transforms.audit.members import Members, members, string, unreadable

if TYPE_CHECKING:
    from re import Match

OPENS = ("insertId", "protoPayload", "logName", "labels", "operation", "receiveTimestamp", "resource", "severity", "timestamp")
FIELDS = ("protoPayload",)
FLAGS: Final = ("GROUPS_UNKNOWN", "LEVEL_INFERRED", "QUERY_UNKNOWN", "URI_INFERRED")
_HALF: Final = (*FLAGS, "STAGE_INFERRED")
# By google.rpc.Code: OK, CANCELLED, UNKNOWN, INVALID_ARGUMENT, and so on.
HTTP_OF_GRPC: Final = dict(enumerate((200, 499, 500, 400, 504, 404, 409, 403, 429, 400, 409, 400, 501, 500, 503, 500, 401)))
_STATUS_HEAD: Final = 4096
_LONG: Final = 16 << 10
_LONGEST_METHOD: Final = 1024
_READS: Final = frozenset({"get", "list", "watch"})
_UPGRADES: Final = frozenset({"attach", "exec", "portforward"})
# Reversed group, version, resource and subresource, verb: `io.k8s.core.v1.pods.exec.create`.
_method: Final = pattern(r".+\.v\d+(?:(?:alpha|beta)\d+)?\.([^.]+)((?:\.[^.]+)*)\.([^.]+)").fullmatch
_type: Final = pattern(r"([a-z0-9.-]+)/(v\d\w*)\.([A-Z]\w*)").fullmatch
# Groups that have no dot in Kubernetes and `.k8s.io` here.
_SHORT_GROUPS: Final = {f"{group}.k8s.io": group for group in ("apps", "autoscaling", "batch", "extensions", "policy")}
_SHORT_GROUPS["core.k8s.io"] = ""
_WRAPPERS: Final = ("type.googleapis.com/google.protobuf.Value", "type.googleapis.com/google.protobuf.ListValue")
# How Cloud Logging writes a body that is an object: its protobuf type comes first.
_typed_body: Final = pattern(rb'\{"@type":"([^"\\]*+)",(?=")').match
_names_itself: Final = pattern(rb'"(?:apiVersion|kind)":"[^"]').match


class Named(msgspec.Struct, frozen=True, gc=False):
    """The type of an object, where it says it itself."""

    kind: str = ""
    apiVersion: str = ""


class Operation(msgspec.Struct, frozen=True, gc=False):
    """`LogEntry.operation`; of a short request the first and last entry are one."""

    id: str = ""
    first: bool = False
    last: bool = False


class Caller(msgspec.Struct, frozen=True, gc=False):
    """`AuditLog.authenticationInfo`."""

    principalEmail: str = ""
    principalSubject: str = ""


class RequestMetadata(msgspec.Struct, frozen=True, gc=False):
    """`AuditLog.requestMetadata`; some exports spell callerIP so."""

    callerIp: str = ""
    callerIP: str = ""
    callerSuppliedUserAgent: str = ""


class Status(msgspec.Struct, frozen=True, gc=False):
    """`AuditLog.status`, a google.rpc.Status."""

    code: int = 0
    message: str = ""


class Authorisation(msgspec.Struct, frozen=True, gc=False):
    """One of `AuditLog.authorizationInfo`."""

    resource: str = ""


class AuditLog(msgspec.Struct, frozen=True, gc=False):
    """The parts of google.cloud.audit.AuditLog that say something of a Kubernetes request."""

    methodName: str = ""
    serviceName: str = ""
    resourceName: str = ""
    timestamp: str = ""
    authenticationInfo: Caller = Caller()
    requestMetadata: RequestMetadata = RequestMetadata()
    authorizationInfo: list[Authorisation] = []
    status: Status = Status()
    request: Raw = ABSENT
    response: Raw = ABSENT


class Entry(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """A LogEntry as Cloud Logging writes it; what says nothing of a request stays unread."""

    protoPayload: Raw
    insertId: str = ""
    operation: Operation = Operation()
    timestamp: str = ""
    labels: Raw = ABSENT
    resource: Raw = ABSENT
    split: Raw = ABSENT
    requestReceived: str = ""  # the joiner's: the time of the operation's first half
    logName: Raw = ABSENT
    receiveTimestamp: Raw = ABSENT
    severity: Raw = ABSENT
    httpRequest: Raw = ABSENT
    trace: Raw = ABSENT
    spanId: Raw = ABSENT
    traceSampled: Raw = ABSENT
    sourceLocation: Raw = ABSENT


class Request(NamedTuple):
    """What method and resource name tell of a request; URI and reference are empty where they tell nothing."""

    verb: str
    uri: str
    reference: bytes
    subresource: str


_decode_log: Final = msgspec.json.Decoder(AuditLog).decode
_decode_entry: Final = msgspec.json.Decoder(Entry).decode
_decode_operation: Final = msgspec.json.Decoder(Operation).decode
_decode_named: Final = msgspec.json.Decoder(Named).decode
_encode: Final = msgspec.json.encode


def unwrap(fields: Members) -> list[Inner] | None:
    """The event of an entry, or why it is none."""
    operation = _operation(fields.get("operation"))
    insert_id, timestamp, received = (string(fields.get(name)) or "" for name in ("insertId", "timestamp", "requestReceived"))
    labels, resource = (fields.get(name, ABSENT) for name in ("labels", "resource"))
    split = fields.get("split", ABSENT)
    return _unwrapped(Entry(fields["protoPayload"], insert_id, operation, timestamp, labels, resource, split, received))


def unwrap_whole(record: bytes) -> list[Inner] | None:
    """The event of an entry that is written as usual."""
    try:
        return _unwrapped(_decode_entry(record))
    except unreadable:
        return None


def _unwrapped(entry: Entry) -> list[Inner] | None:
    payload = entry.protoPayload
    try:
        log = _decode_log(payload)
    except unreadable:
        log = _loose(AuditLog, payload)
        if log is None:
            return None
    if log.serviceName != "k8s.io" and (log.serviceName or not _is_kubernetes(log.methodName)):
        return [Inner(b"", code="NOT_AUDIT", message="a log entry of another service")]
    event = Event()
    flags = _fill(event, entry, log)
    if len(payload) - len(log.request) - len(log.response) > _LONG:
        _forget()
    if entry.split:
        _withhold(event)
        flags += ("BODIES_UNKNOWN",)
    resource = bytes(entry.resource)
    cluster = _cluster(resource) if len(resource) <= _LONG else _cluster.__wrapped__(resource)
    return [Inner(payload, event=event, cluster=cluster, flags=flags)]


def _forget() -> None:
    """Names of such length must not stay in memory by the thousand."""
    for known in (_is_kubernetes, request_of, _raw, _user, _type_of):
        known.cache_clear()


def _loose(kind: type[Any], raw: bytes | Raw) -> Any:
    """The struct of an object with fields of wrong types, these left out; None where it is no object."""
    try:
        fields = members(raw)
    except unreadable:
        return None
    known: dict[str, Any] = {}
    for field in msgspec.structs.fields(kind):
        value = fields.get(field.name)
        if value:
            try:
                found = msgspec.json.decode(value, type=field.type)
            except unreadable:
                found = _loose(field.type, value) if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct) else None
            if found is not None:
                known[field.name] = found
    return kind(**known)


@lru_cache(1000)
def _is_kubernetes(method: str) -> bool:
    return method.startswith("io.k8s.") or _names(method) is not None


def _names(method: str) -> Match[str] | None:
    return _method(method) if len(method) <= _LONGEST_METHOD else None


@lru_cache(1000)
def _cluster(resource: bytes) -> str | None:
    try:
        return string(members(members(resource or b"{}").get("labels") or b"{}").get("cluster_name")) or None
    except unreadable:
        return None


def _fill(event: Event, entry: Entry, log: AuditLog) -> tuple[str, ...]:
    """Everything that the entry tells of the event; gives the flags that say what it does not."""
    operation = entry.operation
    event.auditID = operation.id or entry.insertId or msgspec.UNSET
    begun = operation.first and not operation.last
    event.stage = "RequestReceived" if begun else "ResponseComplete"
    request = request_of(log.methodName, log.resourceName or next((one.resource for one in log.authorizationInfo if one.resource), ""))
    event.verb = request.verb
    if request.uri:
        event.requestURI = request.uri
    if request.reference:
        event.objectRef = Raw(request.reference)
    _caller(event, log)
    moment = entry.timestamp or log.timestamp
    if moment:
        event.stageTimestamp = micro_time(moment)
    if entry.requestReceived:
        event.requestReceivedTimestamp = micro_time(entry.requestReceived)
    if log.request:
        event.requestObject = Raw(_body(log.request))
    if log.response:
        event.responseObject = Raw(_body(log.response))
    if bytes(entry.labels)[:1] == b"{":
        event.annotations = entry.labels
    event.level = "RequestResponse" if log.response else "Request" if log.request else "Metadata"
    inferred = FLAGS if operation.first and operation.last else _HALF
    return inferred if begun or _status(event, log, request) else (*inferred, "CODE_INFERRED")


def _operation(raw: Raw | None) -> Operation:
    if not raw:
        return Operation()
    try:
        return _decode_operation(raw)
    except unreadable:
        return _loose(Operation, raw) or Operation()


@lru_cache(20_000)
def request_of(method: str, resource: str) -> Request:
    """The request as the server has it: a create is a POST to the collection, its object in the body."""
    names = _names(method)
    if names is None:
        return Request(method.rpartition(".")[2], "/" + resource.lstrip("/") if resource else "", b"", "")
    if not resource:
        return Request(names[3], "", b"", "")
    group, _, rest = resource.strip("/").partition("/")
    uri = (f"/api/{rest}") if group == "core" else f"/apis/{group}/{rest}"
    reference = object_reference(uri, names[3])
    name = reference.get("name")
    if names[3] == "create" and name and not names[2]:
        uri = uri.removesuffix("/" + name)
    return Request(names[3], uri, _encode(reference) if reference else b"", reference.get("subresource", ""))


@lru_cache(20_000)
def _raw(*values: str) -> Raw:
    """A list of texts."""
    return Raw(_encode(values))


@lru_cache(20_000)
def _user(name: str) -> Raw:
    return Raw(_encode({"username": name}))


def _caller(event: Event, log: AuditLog) -> None:
    name = log.authenticationInfo.principalEmail or log.authenticationInfo.principalSubject
    if name:
        event.user = _user(name)
    address = log.requestMetadata.callerIp or log.requestMetadata.callerIP
    if address:
        event.sourceIPs = _raw(address)
    if log.requestMetadata.callerSuppliedUserAgent:
        event.userAgent = log.requestMetadata.callerSuppliedUserAgent


def _body(raw: Raw) -> bytes:
    """A body without the `@type` of its protobuf form; kind and apiVersion from it where the body has neither."""
    text = bytes(raw)
    typed = _typed_body(text)
    if typed is None or typed[1].startswith(b"type.") or text.find(b'"@type"', typed.end()) >= 0:
        return _slow_body(text) if b"@type" in text else text
    if _names_itself(text, typed.end()):
        return b"{" + text[typed.end() :]
    try:
        named = _decode_named(text)
    except unreadable:
        return _slow_body(text)
    return b"{" + (b"" if named.kind or named.apiVersion else _type_of(typed[1])) + text[typed.end() :]


@lru_cache(1000)
def _type_of(name: bytes) -> bytes:
    """The members kind and apiVersion of a protobuf type such as `apps.k8s.io/v1.Deployment`; empty for any other."""
    named = _type(name.decode())
    if named is None:
        return b""
    group = _SHORT_GROUPS.get(named[1], named[1])
    version = f"{group}/{named[2]}" if group else named[2]
    return b'"kind":' + _encode(named[3]) + b',"apiVersion":' + _encode(version) + b","


def _slow_body(text: bytes) -> bytes:
    try:
        fields = members(text)
    except unreadable:
        return text
    name = string(fields.pop("@type", None))
    if name is None:
        return text
    if name in _WRAPPERS and fields.keys() == {"value"}:
        return bytes(fields["value"])
    kind = _type_of(name.encode()) if fields.keys().isdisjoint({"kind", "apiVersion"}) else b""
    inside = b",".join(_encode(name) + b":" + bytes(value) for name, value in fields.items())
    return b"{" + (kind + inside).removesuffix(b"," if not inside else b"") + b"}"


def _status(event: Event, log: AuditLog, request: Request) -> bool:
    """Set responseStatus; whether its code is sure, rather than translated from gRPC's."""
    if log.response and b"Status" in bytes(log.response)[:_STATUS_HEAD] and _is_status(event, log.response):
        return True
    grpc = log.status.code
    if grpc:
        reply: dict[str, Any] = {"metadata": {}, "status": "Failure", "message": log.status.message, "code": HTTP_OF_GRPC.get(grpc, 500)}
        event.responseStatus = Raw(_encode(reply))
        return False
    code = 200
    if request.verb == "create":
        code = 101 if request.subresource in _UPGRADES else 201
    event.responseStatus = _success(code)
    return request.verb in _READS


@lru_cache
def _success(code: int) -> Raw:
    return Raw(_encode({"metadata": {}, "code": code}))


def _is_status(event: Event, response: Raw) -> bool:
    """Take responseStatus from a response that is one, as the server does from what it answered."""
    try:
        fields = members(response)
    except unreadable:
        return False
    if "code" not in fields or not ((string(fields.get("@type")) or "").endswith(".Status") or string(fields.get("kind")) == "Status"):
        return False
    kept = [_encode(name) + b":" + bytes(fields[name]) for name in ("status", "message", "reason", "details", "code") if name in fields]
    event.responseStatus = Raw(b'{"metadata":{},' + b",".join(kept) + b"}")
    return True


def _withhold(event: Event) -> None:
    """A part of a body may lack what says that the rest is secret."""
    for field in ("requestObject", "responseObject"):
        size = len(getattr(event, field))
        if size:
            setattr(event, field, ABSENT)
            reduced(event, "incomplete", "/" + field, 1, size)
