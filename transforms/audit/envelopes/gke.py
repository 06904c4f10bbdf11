"""GKE's audit log as Cloud Logging keeps it: `LogEntry` with an `AuditLog` of service `k8s.io` (also by way of Pub/Sub).

Method and resource names stand in for verb, URI and objectRef. Groups, query and level are not there, and flagged so.
`status.code` is a gRPC code; where the response is a Status, its HTTP code wins. A long request comes as two entries
(`operation.first`, `.last`), an entry too large as several (`split`): the joiner puts them together before they come here.
Sources: cloud.google.com, "LogEntry", "AuditLog", "Split audit log entries"; google.rpc.Code.
"""

from __future__ import annotations

from re import compile as pattern
from typing import Any, Final

import msgspec

from transforms.audit.envelopes.inferred import micro_time, object_reference
from transforms.audit.envelopes.inner import Inner
from transforms.audit.event import Event, reduced
from transforms.audit.members import Members, elements, members, string, unreadable

FIELDS = ("protoPayload",)
FLAGS: Final = ("GROUPS_UNKNOWN", "LEVEL_INFERRED", "QUERY_UNKNOWN", "URI_INFERRED")
HTTP_OF_GRPC: Final = {
    0: 200, 1: 499, 2: 500, 3: 400, 4: 504, 5: 404, 6: 409, 7: 403, 8: 429, 9: 400, 10: 409, 11: 400, 12: 501, 13: 500, 14: 503, 15: 500, 16: 401,
}  # fmt: skip
_READS: Final = frozenset({"get", "list", "watch"})
_UPGRADES: Final = frozenset({"attach", "exec", "portforward"})
# Reversed group, version, resource and subresource, verb: `io.k8s.core.v1.pods.exec.create`.
_method: Final = pattern(r"(?:.*\.)?v\d+(?:(?:alpha|beta)\d+)?\.([^.]+)((?:\.[^.]+)*)\.([^.]+)").fullmatch
_type: Final = pattern(r"([a-z0-9.-]+)/(v\d\w*)\.([A-Z]\w*)").fullmatch
# Groups that have no dot in Kubernetes and `.k8s.io` here.
_SHORT_GROUPS: Final = {f"{group}.k8s.io": group for group in ("apps", "autoscaling", "batch", "extensions", "policy")} | {"core.k8s.io": ""}
_WRAPPERS: Final = ("type.googleapis.com/google.protobuf.Value", "type.googleapis.com/google.protobuf.ListValue")
_decode_int: Final = msgspec.json.Decoder(int).decode


def unwrap(fields: Members) -> list[Inner] | None:
    """The event of an entry, or why it is none."""
    try:
        payload = members(fields["protoPayload"])
    except unreadable:
        return None
    method = string(payload.get("methodName")) or ""
    service = string(payload.get("serviceName"))
    if service != "k8s.io" and not (service is None and _is_kubernetes(method)):
        return [Inner(b"", code="NOT_AUDIT", message="a log entry of another service")]
    labels = _object(_object(fields, "resource"), "labels")
    event = Event()
    flags = [*FLAGS, *_head(event, fields, payload, method)]
    _caller(event, payload)
    _bodies(event, fields, payload)
    flags += _status(event, payload)
    if fields.get("labels") is not None and bytes(fields["labels"])[:1] == b"{":
        event.annotations = fields["labels"]
    event.level = "RequestResponse" if event.responseObject else "Request" if event.requestObject else "Metadata"
    if "split" in fields:
        _withhold(event)
        flags.append("BODIES_UNKNOWN")
    return [Inner(fields["protoPayload"], event=event, cluster=string(labels.get("cluster_name")) or None, flags=tuple(flags))]


def _is_kubernetes(method: str) -> bool:
    return method.startswith("io.k8s.") or _method(method) is not None


def _object(fields: Members, name: str) -> Members:
    raw = fields.get(name)
    try:
        return members(raw) if raw else {}
    except unreadable:
        return {}


def _head(event: Event, fields: Members, payload: Members, method: str) -> list[str]:
    operation = _object(fields, "operation")
    event.auditID = string(operation.get("id")) or string(fields.get("insertId")) or msgspec.UNSET
    first, last = (bytes(operation.get(name) or b"") == b"true" for name in ("first", "last"))
    event.stage = "RequestReceived" if first and not last else "ResponseComplete"
    event.verb = method.rpartition(".")[2]
    resource = string(payload.get("resourceName")) or _authorised(payload)
    _request(event, method, resource)
    moment = string(fields.get("timestamp")) or string(payload.get("timestamp"))
    if moment is not None:
        event.stageTimestamp = micro_time(moment)
    received = string(fields.get("requestReceived"))  # the joiner's: the time of the operation's first half
    if received is not None:
        event.requestReceivedTimestamp = micro_time(received)
    return [] if first and last else ["STAGE_INFERRED"]


def _authorised(payload: Members) -> str:
    """The resource that authorisation was asked for, where the entry does not name one."""
    try:
        found = [string(members(one).get("resource")) for one in elements(payload["authorizationInfo"])]
    except (KeyError, *unreadable):
        return ""
    return next((name for name in found if name), "")


def _request(event: Event, method: str, resource: str) -> None:
    """requestURI and objectRef, as the server has them: a create is a POST to the collection, its object in the body."""
    names = _method(method)
    if names is None:
        if resource:
            event.requestURI = "/" + resource.lstrip("/")
        return
    group, _, rest = resource.strip("/").partition("/")
    root = "/api/" if group in {"core", ""} else f"/apis/{group}/"
    uri = root + rest
    reference = object_reference(uri, names[3])
    name = reference.get("name")
    if names[3] == "create" and name and not names[2] and uri.endswith("/" + name):
        uri = uri[: -len(name) - 1]
    if resource:
        event.requestURI = uri
    if reference:
        event.objectRef = msgspec.Raw(msgspec.json.encode(reference))


def _caller(event: Event, payload: Members) -> None:
    who = _object(payload, "authenticationInfo")
    name = string(who.get("principalEmail")) or string(who.get("principalSubject"))
    if name:
        event.user = msgspec.Raw(msgspec.json.encode({"username": name}))
    request = _object(payload, "requestMetadata")
    address = string(request.get("callerIp")) or string(request.get("callerIP"))
    if address:
        event.sourceIPs = msgspec.Raw(msgspec.json.encode([address]))
    agent = string(request.get("callerSuppliedUserAgent"))
    if agent:
        event.userAgent = agent


def _bodies(event: Event, fields: Members, payload: Members) -> None:
    for name, field in (("request", "requestObject"), ("response", "responseObject")):
        raw = payload.get(name)
        if raw:
            setattr(event, field, msgspec.Raw(_body(raw)))


def _body(raw: bytes | msgspec.Raw) -> bytes:
    """A body without the `@type` of its protobuf form; kind and apiVersion from it where the body has none."""
    try:
        fields = members(raw)
    except unreadable:
        return bytes(raw)
    kind = string(fields.get("@type"))
    if kind is None:
        return bytes(raw)
    if kind in _WRAPPERS and fields.keys() == {"@type", "value"}:
        return bytes(fields["value"])
    parts = [msgspec.json.encode(name) + b":" + bytes(value) for name, value in fields.items() if name != "@type"]
    named = _type(kind)
    if named and "kind" not in fields and "apiVersion" not in fields:
        group = _SHORT_GROUPS.get(named[1], named[1])
        version = f"{group}/{named[2]}" if group else named[2]
        parts[:0] = [b'"kind":' + msgspec.json.encode(named[3]), b'"apiVersion":' + msgspec.json.encode(version)]
    return b"{" + b",".join(parts) + b"}"


def _status(event: Event, payload: Members) -> list[str]:
    if event.stage == "RequestReceived":
        return []
    response = _object(payload, "response")
    if response and (string(response.get("@type")) or "").endswith(".Status") or string(response.get("kind")) == "Status":
        code = response.get("code")
        if code is not None:
            kept = [b'"metadata":{}'] + [
                msgspec.json.encode(name) + b":" + bytes(response[name]) for name in ("status", "message", "reason", "details", "code") if name in response
            ]
            event.responseStatus = msgspec.Raw(b"{" + b",".join(kept) + b"}")
            return []
    status = _object(payload, "status")
    try:
        grpc = _decode_int(status.get("code") or b"0")
    except unreadable:
        grpc = 2
    reply: dict[str, Any] = {"metadata": {}, "code": HTTP_OF_GRPC.get(grpc, 500)}
    if grpc:
        reply = {"metadata": {}, "status": "Failure", "message": string(status.get("message")) or "", "code": reply["code"]}
    elif event.verb == "create":
        reply["code"] = 101 if _subresource(event) in _UPGRADES else 201
    event.responseStatus = msgspec.Raw(msgspec.json.encode(reply))
    return [] if not grpc and event.verb in _READS else ["CODE_INFERRED"]


def _subresource(event: Event) -> str:
    return str(msgspec.json.decode(event.objectRef).get("subresource", "")) if event.objectRef else ""


def _withhold(event: Event) -> None:
    """A part of a body may lack what says that the rest is secret."""
    for field in ("requestObject", "responseObject"):
        size = len(getattr(event, field))
        if size:
            setattr(event, field, msgspec.Raw())
            reduced(event, "incomplete", "/" + field, 1, size)
