"""A log line in a field of its own, as Vector, Fluent Bit, Splunk, journald and most other shippers send it.

Which field it is differs; what it holds, the recogniser finds out. Everything else in the wrap is about the shipping.
"""

from __future__ import annotations

from typing import Final

from transforms.audit.envelopes.inner import Inner
from transforms.audit.members import Members, string

ORDER = 90
FIELDS = (
    "message", "log", "structured", "Message", "event", "Event", "_raw", "body", "raw", "line", "MESSAGE", "msg", "_msg",
    "textPayload", "jsonPayload", "value", "payload", "data", "_source", "result", "original",
)  # fmt: skip
_JSON: Final = frozenset({b"{", b"["})


def unwrap(fields: Members) -> list[Inner] | None:
    """The line: the first field that holds JSON, else the first that holds text."""
    text: Inner | None = None
    for field in FIELDS:
        raw = fields.get(field)
        if raw is None:
            continue
        inside = string(raw)
        if inside is None:
            if bytes(raw)[:1] in _JSON:
                return [Inner(raw)]
            continue
        found = Inner(inside.encode())
        if inside.lstrip()[:1] in {"{", "["}:
            return [found]
        text = text or found
    return None if text is None else [text]
