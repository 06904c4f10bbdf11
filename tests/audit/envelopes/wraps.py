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


def event_list(events: list[bytes]) -> bytes:
    return b'{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":[' + b",".join(events) + b"]}"


WRAPS: Final[dict[str, Callable[[list[bytes]], bytes]]] = {
    wrap.__name__: wrap
    for wrap in (
        cloudwatch, lambda_event, kinesis, firehose, azure, vector, fluent_bit, splunk,
        cri, s3_export, otlp, pubsub, base64, json_string, event_list,
    )
}  # fmt: skip
