"""Our records back in the shape that Kubernetes writes: the inverse of `record`, for people and for what reads audit logs.

Records come as fastavro reads them: dicts, times as datetimes in UTC.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any, Final

import msgspec
from msgspec import Raw

from transforms.audit.pointer_tokens import pointer_tokens

OURS: Final = "reduced"
"""Key of our own fields beside the event's, where they are asked for."""

Record = dict[str, Any]

_encode: Final = msgspec.json.Encoder().encode
_USER: Final = ("username", "uid")
_REFERENCE: Final = ("resource", "namespace", "name", "uid", "apiGroup", "apiVersion", "resourceVersion", "subresource")
_OURS: Final = ("cluster", "digest", "source", "stages", "policyRule", "reductions", "flags")


def event_json(record: Record, *, ours: bool = False) -> bytes:
    """A record of `schemas/audit_event.avsc` as the JSON of an `audit.k8s.io/v1` Event, one line; `ours` adds our fields too.

    Bodies are the bytes that the record holds. Field order is that of kubernetes/apiserver `pkg/apis/audit/v1/types.go`.
    """
    return _json(kubernetes_event(record, ours=ours))


def kubernetes_event(record: Record, *, ours: bool = False) -> Record:
    """The event as a dict in the order of Kubernetes; JSON parts are `msgspec.Raw`."""
    event: Record = {"kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": record["level"]}
    if (value := record["auditID"]) is not None:
        event["auditID"] = value
    event["stage"] = record["stage"]
    if (value := record["requestURI"]) is not None:
        event["requestURI"] = value
    event["verb"] = record["verb"]
    if (value := record["user"]) is not None:
        event["user"] = _user(value)
    if (value := record["impersonatedUser"]) is not None:
        event["impersonatedUser"] = _user(value)
    if (value := record["authenticationMetadata"]) is not None:
        event["authenticationMetadata"] = Raw(value)
    if value := record["sourceIPs"]:
        event["sourceIPs"] = value
    if (value := record["userAgent"]) is not None:
        event["userAgent"] = value
    if (value := record["objectRef"]) is not None:
        event["objectRef"] = {name: value[name] for name in _REFERENCE if value[name] is not None}
    if (value := record["responseStatus"]) is not None:
        event["responseStatus"] = _status(value)
    if (value := record["requestObject"]) is not None:
        event["requestObject"] = Raw(value)
    if (value := record["responseObject"]) is not None:
        event["responseObject"] = Raw(value)
    if (value := record["requestReceivedTimestamp"]) is not None:
        event["requestReceivedTimestamp"] = micro_time(value)
    if (value := record["stageTimestamp"]) is not None:
        event["stageTimestamp"] = micro_time(value)
    if value := record["annotations"]:
        event["annotations"] = dict(value)
    if unknown := record["unknownFields"]:
        for pointer in sorted(unknown):
            _restore(event, pointer, unknown[pointer])
    if ours:
        event[OURS] = _plain({name: record[name] for name in _OURS})
    return event


def summary_json(record: Record, *, ours: bool = False) -> bytes:
    """A record of `schemas/read_summary.avsc` as one line of JSON, its exemplar as `event_json` prints it."""
    out = _plain({name: value for name, value in record.items() if name != "exemplar"})
    if (exemplar := record["exemplar"]) is not None:
        out["exemplar"] = kubernetes_event(exemplar, ours=ours)
    return _json(out)


def plain_json(record: Record) -> bytes:
    """Any other record as one line of JSON: bytes in hex, times as Kubernetes writes them."""
    return _encode(_plain(record))


def micro_time(moment: datetime) -> str:
    """A time in UTC as Kubernetes' MicroTime: `2026-11-23T05:20:19.632000Z`."""
    return moment.isoformat(timespec="microseconds")[:26] + "Z"


def _user(record: Record) -> Record:
    user = {name: record[name] for name in _USER if record[name] is not None}
    if groups := record["groups"]:
        user["groups"] = groups
    if extra := record["extra"]:
        user["extra"] = extra
    return user


def _status(record: Record) -> Record:
    status: Record = {"metadata": {}}
    for name in ("status", "message", "reason"):
        if record[name] is not None:
            status[name] = record[name]
    if (details := record["details"]) is not None:
        status["details"] = Raw(details)
    if record["code"] is not None:
        status["code"] = record["code"]
    return status


def _restore(event: Record, pointer: str, text: str) -> None:
    """Put an unknown field where it was; an empty text takes the field away."""
    *parents, name = pointer_tokens(pointer)
    inside = event
    for parent in parents:
        inside = inside.setdefault(parent, {})
    if text:
        inside[name] = Raw(text)
    else:
        inside.pop(name, None)


def _json(value: Any) -> bytes:
    try:
        return _encode(value)
    except UnicodeEncodeError:  # a name with a lone surrogate, which only an escape can write
        if isinstance(value, dict):
            return b"{" + b",".join(json.dumps(name).encode() + b":" + _json(each) for name, each in value.items()) + b"}"
        return json.dumps(value).encode()


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, bytes):
        return value.hex()
    return micro_time(value) if isinstance(value, datetime) else value
