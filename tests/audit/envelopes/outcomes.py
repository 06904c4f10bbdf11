"""What recognition makes of a record, in a form that tables can hold."""

from __future__ import annotations

import json
from typing import Any

from msgspec import Raw

from transforms.audit.event import Event
from transforms.audit.recognise import recognise


def outcomes(record: bytes) -> list[str]:
    return [found.code or "event" for found in recognise(record)]


def the_event(record: bytes) -> Event:
    (found,) = recognise(record)
    assert found.event is not None, found.code
    return found.event


def fields(event: Event) -> dict[str, Any]:
    """The event's own fields, JSON parsed."""
    out: dict[str, Any] = {}
    for name in Event.__struct_fields__:
        value = getattr(event, name)
        if isinstance(value, str):
            out[name] = value
        elif isinstance(value, Raw) and bytes(value):
            out[name] = json.loads(bytes(value))
    return out
