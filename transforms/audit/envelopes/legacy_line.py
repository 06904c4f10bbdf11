"""The audit log's legacy format, `--audit-log-format=legacy` (kubernetes/apiserver pkg/audit/format.go).

One line of `key="value"` pairs in Go's quoting. It has no level, bodies or object reference, the first source IP only,
and the time at which the request was received only: what can be told from the rest is filled in, and flagged.
"""

from __future__ import annotations

from re import ASCII
from re import compile as pattern
from typing import TYPE_CHECKING, Any, Final

import msgspec

from transforms.audit.envelopes.inferred import micro_time, object_reference
from transforms.audit.envelopes.inner import Inner
from transforms.audit.event import Event

if TYPE_CHECKING:
    from re import Match

ORDER = 10
FLAGS: Final = ("BODIES_UNKNOWN", "LEVEL_INFERRED", "STAGE_TIME_INFERRED")
_SENTINELS: Final = frozenset({"<none>", "<self>", "<lookup>", "<unknown>", "<deferred>"})
_opening: Final = pattern(rb"(\S++) AUDIT: (?=id=\")").match
_pair: Final = pattern(r'([a-z-]+)="((?:[^"\\]|\\.)*)"(?: |$)', ASCII)
_quoted: Final = pattern(r'"((?:[^"\\]|\\.)*)"')
_escape: Final = pattern(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[0-7]{3}|.)")
_SIMPLE: Final = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_MINIMUM: Final = frozenset({"id", "stage", "method", "uri"})


def unwrap_text(record: bytes) -> list[Inner] | None:
    """The event of a line."""
    opening = _opening(record)
    if opening is None:
        return None
    pairs: dict[str, str] = {}
    rest, at = record[opening.end() :].decode(), 0
    while pair := _pair.match(rest, at):
        pairs[pair[1]] = _unquoted(pair[2])
        at = pair.end()
    if at < len(rest) or not pairs.keys() >= _MINIMUM:
        return [Inner(record, code="TRUNCATED", message="a legacy line that breaks off")]
    return [Inner(record, event=_event(opening[1].decode(), pairs), flags=FLAGS)]


def _unquoted(text: str) -> str:
    """A string in Go's quoting, without its quotes. Escaped bytes that are no UTF-8 become U+FFFD."""
    if "\\" not in text:
        return text
    raw = _escape.sub(_character, text).encode("utf-8", "surrogateescape")
    return raw.decode("utf-8", "replace")


def _character(escape: Match[str]) -> str:
    sign = escape[1]
    if len(sign) == 1:
        return _SIMPLE.get(sign, sign)
    number = int(sign, 8) if sign[0].isdigit() else int(sign[1:], 16)
    if sign[0] in "uU":
        return chr(number) if number < 0x110000 and not 0xD800 <= number < 0xE000 else "\ufffd"
    # A byte of UTF-8 that Go found unprintable or wrong: joined with its neighbours before it is decoded.
    return chr(number) if number < 0x80 else chr(0xDC00 + number % 256)


def _event(time: str, pairs: dict[str, str]) -> Event:
    known = {name: value for name, value in pairs.items() if value not in _SENTINELS}
    event = Event(level="Metadata", auditID=pairs["id"], requestURI=pairs["uri"], verb=pairs["method"])
    event.stage = pairs["stage"]  # type: ignore[assignment]
    if known.get("user-agent"):
        event.userAgent = known["user-agent"]
    parts: dict[str, Any] = {"user": _user(known.get("user"), known.get("groups"))}
    if "as" in known:
        parts["impersonatedUser"] = _user(known["as"], known.get("asgroups"))
    if "ip" in known:
        parts["sourceIPs"] = [known["ip"]]
    if known.get("response", "").isdigit():
        parts["responseStatus"] = {"metadata": {}, "code": int(known["response"])}
    reference = object_reference(pairs["uri"], pairs["method"])
    if reference:
        parts["objectRef"] = reference
    for name, value in parts.items():
        setattr(event, name, msgspec.Raw(msgspec.json.encode(value)))
    event.requestReceivedTimestamp = event.stageTimestamp = micro_time(time)
    return event


def _user(name: str | None, groups: str | None) -> dict[str, Any]:
    user: dict[str, Any] = {}
    if name is not None:
        user["username"] = name
    if groups is not None:
        user["groups"] = [_unquoted(group[1]) for group in _quoted.finditer(groups)]
    return user
