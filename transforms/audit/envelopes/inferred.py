"""Fields that an envelope lacks and that follow from those it has."""

from __future__ import annotations

from datetime import UTC, datetime
from re import ASCII
from re import compile as pattern
from typing import Final

from transforms.audit.request_info import request_info

_utc: Final = pattern(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:\.(\d{1,6})\d*)?Z?", ASCII).fullmatch
_fraction: Final = pattern(r"(\.\d{1,6})\d*")


def object_reference(uri: str, verb: str) -> dict[str, str]:
    """The objectRef that the server records for a request before it has read the body; empty for non-resource requests."""
    info = request_info(uri, verb)
    if not info.is_resource_request:
        return {}
    fields = {
        "resource": info.resource,
        "namespace": info.namespace,
        "name": info.name,
        "apiGroup": info.api_group,
        "apiVersion": info.api_version,
        "subresource": info.subresource,
    }
    return {name: value for name, value in fields.items() if value}


def micro_time(time: str) -> str:
    """An RFC 3339 time as Kubernetes writes a MicroTime, in UTC and with six decimals; anything else as it is. No zone is UTC."""
    utc = _utc(time)
    if utc:
        return f"{utc[1]}T{utc[2]}.{utc[3] or '':0<6}Z"
    try:
        moment = datetime.fromisoformat(_fraction.sub(r"\1", time, count=1))
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    except (ValueError, OverflowError):
        return time
