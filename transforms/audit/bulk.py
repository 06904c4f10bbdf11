"""Cut what is bulky and of no forensic worth: off by default, and each cut is recorded as a reduction of kind `bulk`."""

from __future__ import annotations

from typing import Any, Final

from transforms.audit.embedded import Search, dump

# What goes, and a needle without which a body holds none of it.
FIELDS: Final = {
    "status.images of a Node": b'"images"',
    "status.conditions[].lastHeartbeatTime": b'"lastHeartbeatTime"',
    "openAPIV3Schema of a CustomResourceDefinition": b'"openAPIV3Schema"',
    "caBundle of webhooks, APIServices and CustomResourceDefinitions": b'"caBundle"',
    "data of ConfigMaps named kube-root-ca.crt": b'"kube-root-ca.crt"',
}
_NEEDLES: Final = tuple(FIELDS.values())


def holds_bulk(body: bytes) -> bool:
    """Whether the body may hold anything that `strip_bulk` cuts."""
    return any(needle in body for needle in _NEEDLES)


def strip_bulk(node: Any, search: Search) -> None:
    """Cut the listed fields from a parsed body, in place, counting on `search`."""
    if isinstance(node, list):
        for item in node:
            strip_bulk(item, search)
        return
    if not isinstance(node, dict):
        return
    _cut(node, "caBundle", str, search)
    _cut(node, "openAPIV3Schema", dict, search)
    _cut(node, "lastHeartbeatTime", str, search)
    metadata, status = node.get("metadata"), node.get("status")
    if isinstance(status, dict) and "nodeInfo" in status:
        _cut(status, "images", list, search)
    if isinstance(metadata, dict) and metadata.get("name") == "kube-root-ca.crt":
        _cut(node, "data", dict, search)
    for value in node.values():
        strip_bulk(value, search)


def _cut(node: dict[str, Any], field: str, shape: type, search: Search) -> None:
    if isinstance(node.get(field), shape):
        search.count("bulk", len(dump(node.pop(field))) + len(field) + len('"":,'))
