"""Events as clouds and shippers wrap them."""

from __future__ import annotations

import gzip
import json
from base64 import b64encode
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable


def compact(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def cloudwatch_document(*messages: str, group: str = "/aws/eks/prod/cluster") -> dict[str, Any]:
    events = [{"id": str(number), "timestamp": 1767323045678, "message": message} for number, message in enumerate(messages)]
    stream = "kube-apiserver-audit-0f3c"
    return {
        "messageType": "DATA_MESSAGE",
        "owner": "123456789012",
        "logGroup": group,
        "logStream": stream,
        "subscriptionFilters": ["siem"],
        "logEvents": events,
    }


def packed(value: bytes) -> str:
    return b64encode(gzip.compress(value, mtime=0)).decode()


def cloudwatch(events: list[bytes]) -> bytes:
    return compact(cloudwatch_document(*(event.decode() for event in events)))


def lambda_event(events: list[bytes]) -> bytes:
    return compact({"awslogs": {"data": packed(cloudwatch(events))}})


def kinesis(events: list[bytes]) -> bytes:
    return compact({"Records": [{"kinesis": {"data": packed(cloudwatch([event]))}, "eventSource": "aws:kinesis"} for event in events]})


def firehose(events: list[bytes]) -> bytes:
    return b"".join(cloudwatch([event]) for event in events)


def azure_record(event: bytes, *, as_object: bool = False) -> dict[str, Any]:
    log: Any = json.loads(event) if as_object else event.decode() + "\n"
    return {
        "category": "kube-audit",
        "operationName": "Microsoft.ContainerService/managedClusters/diagnosticLogs/Read",
        "properties": {"log": log, "containerID": "a64c", "stream": "stdout", "pod": "kube-apiserver-869d7bb754-kkg69"},
        "resourceId": "/SUBSCRIPTIONS/0/RESOURCEGROUPS/G/PROVIDERS/MICROSOFT.CONTAINERSERVICE/MANAGEDCLUSTERS/TEST-CLUSTER",
        "time": "2025-10-07T16:19:19.647880072Z",
    }


def azure(events: list[bytes]) -> bytes:
    return compact({"records": [azure_record(event) for event in events]})


def vector(events: list[bytes]) -> bytes:
    return b"\n".join(
        compact(
            {
                "file": "/var/log/audit.log",
                "host": "h",
                "message": event.decode(),
                "source_type": "file",
                "timestamp": "2026-01-02T03:04:05Z",
            }
        )
        for event in events
    )


def fluent_bit(events: list[bytes]) -> bytes:
    return b"\n".join(compact({"date": 1767323045.678, "log": event.decode()}) for event in events)


def splunk(events: list[bytes]) -> bytes:
    return b"\n".join(compact({"event": json.loads(event), "sourcetype": "kube:audit"}) for event in events)


def cri(events: list[bytes]) -> bytes:
    return b"\n".join(b"2026-01-02T03:04:05.678901234Z stdout F " + event for event in events)


def s3_export(events: list[bytes]) -> bytes:
    return b"\n".join(b"2026-01-02T03:04:05.678Z " + event for event in events)


def otlp(events: list[bytes]) -> bytes:
    records = [{"timeUnixNano": "1767323045678000000", "body": {"stringValue": event.decode()}} for event in events]
    return compact({"resourceLogs": [{"resource": {"attributes": []}, "scopeLogs": [{"scope": {}, "logRecords": records}]}]})


def pubsub(events: list[bytes]) -> bytes:
    return b"\n".join(
        compact({"message": {"data": b64encode(event).decode(), "messageId": "1"}, "subscription": "projects/p/subscriptions/s"})
        for event in events
    )


def base64(events: list[bytes]) -> bytes:
    return b"\n".join(b64encode(event) for event in events)


def json_string(events: list[bytes]) -> bytes:
    return b"\n".join(compact(event.decode()) for event in events)


def docker(events: list[bytes], size: int = 16 << 10) -> bytes:
    """As Docker's json-file driver writes lines, those beyond `size` bytes in pieces of which only the last ends in a line feed."""
    pieces = [piece for event in events for piece in cut(event.decode() + "\n", size)]
    return b"\n".join(compact({"log": piece, "stream": "stdout", "time": "2026-01-02T03:04:05.678901234Z"}) for piece in pieces)


def cut(text: str, size: int) -> list[str]:
    return [text[at : at + size] for at in range(0, len(text), size)]


def cri_fragments(events: list[bytes], size: int = 16 << 10) -> bytes:
    """As containerd writes lines, those beyond `size` bytes in fragments."""
    lines = []
    for event in events:
        pieces = [event[at : at + size] for at in range(0, len(event), size)]
        tags = [b"P"] * (len(pieces) - 1) + [b"F"]
        lines += [b"2026-01-02T03:04:05.678901234Z stdout " + tag + b" " + piece for tag, piece in zip(tags, pieces, strict=True)]
    return b"\n".join(lines)


_LONG_GROUPS: Final = {"": "core", **{group: f"{group}.k8s.io" for group in ("apps", "autoscaling", "batch", "extensions", "policy")}}
_GRPC: Final = {400: 3, 401: 16, 403: 7, 404: 5, 409: 6, 429: 8, 500: 13, 501: 12, 503: 14, 504: 4}


def log_entry(event: bytes) -> bytes:
    """A request's final event as GKE writes it to Cloud Logging, in one entry."""
    said: dict[str, Any] = json.loads(event)
    reference, status, code = said.get("objectRef"), said.get("responseStatus", {}), said.get("responseStatus", {}).get("code", 0)
    if reference is None:
        path = said["requestURI"].partition("?")[0]
        method, resource = f"io.k8s.{said['verb']}", path.lstrip("/")
    else:
        group, version = reference.get("apiGroup", ""), reference.get("apiVersion", "v1")
        kinds = [name for name in (reference["resource"], reference.get("subresource")) if name]
        reverse = ".".join(reversed(_LONG_GROUPS.get(group, group).split(".")))
        if "k8s" not in reverse:
            reverse = "io.k8s." + reverse if group in _LONG_GROUPS else reverse
        method = ".".join([reverse, version, *kinds, said["verb"]])
        place = [group or "core", version]
        if reference.get("namespace") and reference["resource"] != "namespaces":
            place += ["namespaces", reference["namespace"]]
        place += [name for name in (reference["resource"], reference.get("name"), reference.get("subresource")) if name]
        resource = "/".join(place)
    payload: dict[str, Any] = {
        "@type": "type.googleapis.com/google.cloud.audit.AuditLog",
        "authenticationInfo": {"principalEmail": said.get("user", {}).get("username", "")},
        "authorizationInfo": [{"granted": True, "permission": method, "resource": resource}],
        "methodName": method,
    }
    if "requestObject" in said:
        payload["request"] = _typed(said["requestObject"])
    payload["requestMetadata"] = {"callerIp": (said.get("sourceIPs") or [""])[0], "callerSuppliedUserAgent": said.get("userAgent", "")}
    payload["resourceName"] = resource
    if "responseObject" in said:
        payload["response"] = _typed(said["responseObject"])
    payload["serviceName"] = "k8s.io"
    payload["status"] = {"code": _GRPC.get(code, 2), "message": status.get("message", "")} if code >= 400 else {"code": 0}
    return compact(
        {
            "insertId": said["auditID"],
            "labels": said.get("annotations", {}),
            "logName": "projects/p/logs/cloudaudit.googleapis.com%2Fdata_access",
            "operation": {"first": True, "id": said["auditID"], "last": True, "producer": "k8s.io"},
            "protoPayload": payload,
            "receiveTimestamp": said["stageTimestamp"],
            "resource": {"labels": {"cluster_name": "c", "location": "l", "project_id": "p"}, "type": "k8s_cluster"},
            "timestamp": said["stageTimestamp"],
        }
    )


def _typed(body: Any) -> dict[str, Any]:
    """A body with its protobuf type, as Cloud Logging writes it: of what is no object, the value."""
    if not isinstance(body, dict):
        return {"@type": "type.googleapis.com/google.protobuf.Value", "value": body}
    group, _, version = body.get("apiVersion", "").rpartition("/")
    kind = f"{_LONG_GROUPS.get(group, group)}/{version}.{body['kind']}" if "kind" in body and version else "k8s.io/Patch"
    return {"@type": kind, **body}


def gke(events: list[bytes]) -> bytes:
    return b"\n".join(map(log_entry, events))


def event_list(events: list[bytes]) -> bytes:
    return b'{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":[' + b",".join(events) + b"]}"


WRAPS: Final[dict[str, Callable[[list[bytes]], bytes]]] = {
    wrap.__name__: wrap
    for wrap in (
        cloudwatch, lambda_event, kinesis, firehose, azure, vector, fluent_bit, splunk,
        cri, s3_export, otlp, pubsub, base64, json_string, event_list,
    )
}  # fmt: skip
