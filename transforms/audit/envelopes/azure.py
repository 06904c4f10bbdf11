"""AKS through Azure Monitor: Event Hubs messages (`records`), storage blobs (one record a line), and AzureDiagnostics rows.

The event is the record's `properties.log`, as JSON text or as an object. The cluster is the last part of `resourceId`, as
Azure spells it there (upper case). Other categories of logs share the hub. Logs beyond 16 KiB may be cut (Azure/AKS#4635).
"""

from __future__ import annotations

from typing import Final

from transforms.audit.envelopes.inner import Inner
from transforms.audit.members import Members, elements, members, string, unreadable

FIELDS = ("records", "properties", "log_s")
_CATEGORIES: Final = frozenset({"kube-audit", "kube-audit-admin"})
_CLUSTERS: Final = "/MANAGEDCLUSTERS/"


def unwrap(fields: Members) -> list[Inner] | None:
    """The logs of one record, or of a message with many."""
    if "records" not in fields:
        found = _log(fields, b"")
        return None if found is None else [found]
    try:
        return [_record(record) for record in elements(fields["records"])]
    except unreadable:
        return None


def _record(record: bytes) -> Inner:
    try:
        fields = members(record)
    except unreadable:
        return Inner(record)
    return _log(fields, record) or Inner(record)


def _log(fields: Members, record: bytes) -> Inner | None:
    if "log_s" in fields:
        log: bytes | None = fields["log_s"]
    else:
        try:
            log = _properties(fields).get("log")
        except (KeyError, *unreadable):
            return None
    category = string(fields.get("category")) or string(fields.get("Category"))
    cluster = _cluster(string(fields.get("resourceId")) or string(fields.get("ResourceId")) or string(fields.get("_ResourceId")) or "")
    if category is None and cluster is None:
        return None
    if category is not None and category.lower() not in _CATEGORIES:
        return Inner(record, code="NOT_AUDIT", message="another category of AKS logs", cluster=cluster)
    if log is None:
        return Inner(record, code="NOT_AUDIT", message="an AKS record without a log", cluster=cluster)
    text = string(log)
    return Inner(bytes(log) if text is None else text.encode(), cluster=cluster)


def _properties(fields: Members) -> Members:
    raw = fields["properties"]
    text = string(raw)
    return members(raw if text is None else text.encode())


def _cluster(resource: str) -> str | None:
    """The cluster in `/SUBSCRIPTIONS/…/MANAGEDCLUSTERS/<cluster>`."""
    at = resource.upper().find(_CLUSTERS)
    return (resource[at + len(_CLUSTERS) :].partition("/")[0] or None) if at >= 0 else None
