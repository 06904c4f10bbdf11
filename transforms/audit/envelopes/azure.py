"""AKS through Azure Monitor: Event Hubs messages (`records`), storage blobs (one record a line), and AzureDiagnostics rows.

The event is the record's `properties.log`, as JSON text or as an object. The cluster is the last part of `resourceId`, as
Azure spells it there (upper case). Other categories of logs share the hub. Logs beyond 16 KiB may be cut (Azure/AKS#4635).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import msgspec

from transforms.audit.envelopes.inner import Inner
from transforms.audit.members import Members, elements, members, string, unreadable

OPENS = ("records",)
FIELDS = ("records", "properties", "log_s")
_CATEGORIES: Final = frozenset({"kube-audit", "kube-audit-admin"})
_LONGEST: Final = 2048
_CLUSTERS: Final = "/MANAGEDCLUSTERS/"


class Properties(msgspec.Struct, gc=False):
    """The part of a record that holds the log."""

    log: str


class Record(msgspec.Struct, gc=False):
    """What a record holds of one event, as Azure Monitor writes it."""

    category: str
    properties: Properties
    resourceId: str


class Message(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """A message of Event Hubs."""

    records: list[Record]


_decode_message: Final = msgspec.json.Decoder(Message).decode
_decode_records: Final = msgspec.json.Decoder(list[Record]).decode
_decode_properties: Final = msgspec.json.Decoder(Properties).decode


def unwrap(fields: Members) -> list[Inner] | None:
    """The logs of one record, or of a message with many."""
    if "records" not in fields:
        found = _log(fields, b"")
        return None if found is None else [found]
    try:
        return [_plain(record) for record in _decode_records(fields["records"])]
    except unreadable:
        pass
    try:
        return [_record(record) for record in elements(fields["records"])]
    except unreadable:
        return None


def unwrap_whole(record: bytes) -> list[Inner] | None:
    """The logs of a message."""
    try:
        return [_plain(one) for one in _decode_message(record).records]
    except unreadable:
        return None


def _plain(record: Record) -> Inner:
    log, cluster = record.properties.log.encode(), cluster_of(record.resourceId)
    if record.category in _CATEGORIES or record.category.lower() in _CATEGORIES:
        return Inner(log, cluster=cluster)
    return Inner(log, code="NOT_AUDIT", message="another category of AKS logs", cluster=cluster)


def _record(record: bytes) -> Inner:
    try:
        fields = members(record)
    except unreadable:
        return Inner(record)
    return _log(fields, record) or Inner(record)


def _log(fields: Members, record: bytes) -> Inner | None:
    if "log_s" in fields:
        log = _log_text(fields["log_s"])
    elif "properties" in fields:
        try:
            log = _decode_properties(fields["properties"]).log.encode()
        except unreadable:
            try:
                log = _log_text(_properties(fields).get("log"))
            except unreadable:
                return None
    else:
        return None
    category = _first(fields, "category", "Category")
    cluster = cluster_of(_first(fields, "resourceId", "ResourceId", "_ResourceId") or "")
    if category is None and cluster is None:
        return None
    if category is not None and category.lower() not in _CATEGORIES:
        return Inner(record, code="NOT_AUDIT", message="another category of AKS logs", cluster=cluster)
    if log is None:
        return Inner(record, code="NOT_AUDIT", message="an AKS record without a log", cluster=cluster)
    return Inner(log, cluster=cluster)


def _log_text(raw: bytes | msgspec.Raw | None) -> bytes | None:
    text = string(raw)
    return text.encode() if text is not None else bytes(raw) if raw else None


def _first(fields: Members, *names: str) -> str | None:
    for name in names:
        if name in fields:
            return string(fields[name])
    return None


def _properties(fields: Members) -> Members:
    raw = fields["properties"]
    text = string(raw)
    return members(raw if text is None else text.encode())


def cluster_of(resource: str) -> str | None:
    """The cluster in `/SUBSCRIPTIONS/…/MANAGEDCLUSTERS/<cluster>`; no resource ID is longer than 2048 characters."""
    return _cluster(resource) if len(resource) <= _LONGEST else None


@lru_cache(1000)
def _cluster(resource: str) -> str | None:
    at = resource.upper().find(_CLUSTERS)
    return (resource[at + len(_CLUSTERS) :].partition("/")[0] or None) if at >= 0 else None
