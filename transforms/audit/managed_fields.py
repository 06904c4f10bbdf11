"""Strip `managedFields` wherever an event holds them."""

from __future__ import annotations

from typing import Any

import orjson

from transforms.audit.event import Event, reduced

NEEDLE = b"managedFields"


def strip_managed_fields(event: Event) -> None:
    """Rewrite both bodies of the event without their `managedFields`; a body that does not parse stays as it is."""
    for name in ("requestObject", "responseObject"):
        body = bytes(getattr(event, name))
        if NEEDLE not in body:
            continue
        try:
            tree = orjson.loads(body)
        except orjson.JSONDecodeError:
            continue
        count = _cut(tree)
        if count:
            smaller = orjson.dumps(tree)
            setattr(event, name, smaller)
            reduced(event, "managedFields", f"/{name}", count, len(body) - len(smaller))


def _cut(node: Any) -> int:
    count = 0
    if isinstance(node, dict):
        count += node.pop("managedFields", None) is not None
        node = list(node.values())
    if isinstance(node, list):
        count += sum(map(_cut, node))
    return count
