"""Recognise what a record holds: an event of any shape, a list of them, or either in an envelope.

Lines that are one event of the known shape never come here; everything else does, so that whatever should hold an
event counts as one: read, or with the reason why not.
"""

from __future__ import annotations

from re import compile as pattern
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import UNSET, Raw

from transforms.audit.envelopes import Inner, unwrap, unwrap_text, unwrap_whole
from transforms.audit.envelopes.unpack import GZIP
from transforms.audit.event import ABSENT, LEVELS, STAGES, Event, flag
from transforms.audit.members import Members, compact, elements, members, string, unreadable
from transforms.audit.pieces import cut_document
from transforms.audit.pointer_tokens import escape_pointer

MAX_WRAPS: Final = 4
_MAX_LAYERS: Final = 12  # envelopes, encodings and lists together
CODES: Final[dict[str, str]] = {
    "INVALID_JSON": "The record is not JSON, nor any text that audit events come as.",
    "INVALID_UTF8": "The record is not UTF-8.",
    "UNTERMINATED_LINE": "The last line of the input ends early; a later run reads it again once the file has grown.",
    "TRUNCATED": "Something on the way cut the event off; the rest exists nowhere in the input.",
    "NOT_AUDIT": "The record can be read and is not a Kubernetes audit event.",
    "TOO_DEEP": "The record nests deeper than readers go, or is wrapped more than four times.",
    "LINE_TOO_LONG": "The line is longer than one record may be.",
    "ITEM_TOO_LONG": "The item of a document is longer than one record may be.",
    "BROKEN_DOCUMENT": "The JSON document breaks off or goes wrong here; the items before this one were read.",
    "BROKEN_ENCODING": "The base64 or gzip data that should hold events cannot be decoded, or unpacks to far too much.",
    "BROKEN_STREAM": "The compressed stream breaks off here.",
    "SOURCE_GAP": "A followed source lost something here before it was read; nobody knows how many events.",
    "INCOMPLETE_RECORD": "Parts of a record that was split on its way are missing.",
    "UNRECOGNISED_FILE": "No record of the file is anything that audit events come as.",
}
"""Every code of a dead letter, with what it says."""


class EventList(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A list of events as the webhook backend posts it (kubernetes/apiserver `pkg/apis/audit/v1/types.go`)."""

    items: list[Raw]
    kind: str = ""
    apiVersion: str = ""
    metadata: Raw = ABSENT


_decode: Final = msgspec.json.Decoder(Event).decode
_decode_list: Final = msgspec.json.Decoder(EventList).decode
_LIST_HEAD: Final = 256
_check: Final = msgspec.json.Decoder(Raw).decode
_texts: Final = frozenset("kind apiVersion level auditID stage requestURI verb userAgent requestReceivedTimestamp stageTimestamp".split())
_parts: Final = frozenset(
    "user impersonatedUser authenticationMetadata sourceIPs objectRef responseStatus requestObject responseObject annotations".split()
)
_MARKS: Final = frozenset({"apiVersion", "auditID", "stage"})
_position: Final = pattern(r"\(byte (\d+)\)").search
_HEAD: Final = b'{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"'
_BOM: Final = b"\xef\xbb\xbf"
_JUNK: Final = frozenset({b"\0", b"\x1e", b"\xef"})


class Found(NamedTuple):
    """One thing that counts as one event: the event, or the code that says why there is none; neither, if it was left undecoded.

    `length` is the bytes of JSON that held it, `raw` those bytes where there is no event, `message` free of content.
    """

    event: Event | None
    code: str | None
    message: str
    cluster: str | None
    length: int
    raw: bytes
    inside: _Context | None = None  # of what is left undecoded


class _Context(NamedTuple):
    """What the envelopes around a record said, and how many they were."""

    cluster: str | None = None
    flags: tuple[str, ...] = ()
    wraps: int = 0
    layers: int = 0
    listed: bool = False
    undecoded: bool = False


_TOP: Final = _Context()


def recognise(record: bytes, *, tried: bool = False, undecoded: bool = False) -> list[Found]:
    """Everything in the record that counts as one event, in order. Never raises, whatever the input.

    `tried`: the record as it stands is known to be no plain event (`plain_event`). `undecoded`: what begins as API servers' events
    do, and may be one, is given as the text it is.
    """
    found: list[Found] = []
    text = record.strip(b" \t\r\n")
    if text[:1] in _JUNK:
        text = _without_junk(text)
    try:
        text.isascii() or text.startswith(GZIP) or text.decode()
    except UnicodeDecodeError as error:
        _bad_text(text, error.start, found)
    else:
        _record(text, _TOP._replace(undecoded=undecoded), found, tried=tried and len(text) == len(record))
    if len(found) == 1 and found[0].code is not None and found[0].raw == text:
        found[0] = found[0]._replace(length=len(record), raw=record)
    return found


def _without_junk(record: bytes) -> bytes:
    """Without the NULs that copytruncate leaves before the first line, RFC 7464 separators and a byte order mark."""
    kept = record.lstrip(b"\0\x1e")
    return kept[3:].lstrip() if kept.startswith(_BOM) else kept


def _bad_text(record: bytes, at: int, found: list[Found]) -> None:
    """Lists and envelopes are read item by item, so that one item with bad bytes does not take the others with it."""
    inside = _TOP._replace(listed=True, layers=1)
    try:
        fields = members(record) if record[:1] == b"{" else {}
        items: list[Raw] | None = _items(fields) if fields else elements(record)
        inners = None if items is not None or is_event(fields) else unwrap(fields)
    except unreadable:
        items = inners = None
        found += _pieces(record, _TOP) or ()
    for item in items or ():
        _checked(bytes(item), inside, found)
    for inner in inners or ():
        raw = bytes(inner.record)
        if is_utf8(raw):
            _unwrapped([inner], raw, _TOP, found)
        else:
            _lost(found, "INVALID_UTF8", "the wrapped record is not UTF-8", raw, _TOP)
    if not found and items is None and inners is None:
        _lost(found, "INVALID_UTF8", f"not UTF-8 at byte {at}", record, _TOP)


def is_utf8(record: bytes) -> bool:
    """Whether the bytes are text."""
    try:
        return bool(record.isascii() or record.decode() is not None)
    except UnicodeDecodeError:
        return False


def _checked(record: bytes, context: _Context, found: list[Found]) -> None:
    """One record that may not be UTF-8."""
    try:
        record.isascii() or record.startswith(GZIP) or record.decode()
    except UnicodeDecodeError as error:
        _lost(found, "INVALID_UTF8", f"not UTF-8 at byte {error.start}", record, context)
    else:
        _record(record, context, found)


def _record(text: bytes, context: _Context, found: list[Found], *, tried: bool = False) -> None:
    """One record, valid UTF-8, without white space around it."""
    first = text[:1]
    try:
        if first == b"{":
            if not tried and context.layers and _left_undecoded(text, context, found):
                return
            event = None if tried else plain_event(text)
            if event is not None:
                _event(found, event, len(text), context)
                return
            if b'"items"' in text[:_LIST_HEAD] and _event_list(text, context, found):
                return
            _object(text, context, found)
        elif first == b"[":
            _array(text, context, found)
        else:
            _text(text, context, found)
    except unreadable as error:
        _broken(text, error, context, found)


def _left_undecoded(text: bytes, context: _Context, found: list[Found]) -> bool:
    if not context.undecoded or context.flags or not text.startswith(_HEAD):
        return False
    found.append(Found(None, None, "", context.cluster, len(text), text, context))
    return True


def decode_left(left: Found) -> list[Found]:
    """What counts as one event in what was left undecoded."""
    found: list[Found] = []
    _checked(left.raw, (left.inside or _TOP)._replace(undecoded=False), found)
    return found


def plain_event(record: bytes | Raw) -> Event | None:
    """The event that the record is, where it is one of the known shape; its text may still be no UTF-8 where nothing looked."""
    try:
        event = _decode(record)
    except unreadable:
        return None
    return None if event.stage is UNSET or event.level is UNSET or event.auditID is UNSET else event


def _object(record: bytes, context: _Context, found: list[Found]) -> None:
    inners = unwrap_whole(record)
    if inners is not None:
        _unwrapped(inners, record, context, found)
        return
    fields = members(record)
    if is_event(fields):
        _event(found, odd_event(fields), len(record), context)
        return
    items = _items(fields)
    if items is not None:
        _list(items, context, found)
        return
    inners = unwrap(fields)
    if inners is None:
        _lost(found, "NOT_AUDIT", "a JSON object that is neither an audit event nor wraps any", record, context)
    else:
        _unwrapped(inners, record, context, found)


def _event_list(record: bytes, context: _Context, found: list[Found]) -> bool:
    """The short way for lists of nothing but what an EventList has."""
    try:
        items = _decode_list(record).items
    except unreadable:
        return False
    _list(items, context, found)
    return True


def _array(record: bytes, context: _Context, found: list[Found]) -> None:
    _list(elements(record), context, found)


def _list(items: list[Raw], context: _Context, found: list[Found]) -> None:
    inside = context._replace(listed=True, layers=context.layers + 1)
    if inside.layers > _MAX_LAYERS:
        for item in items:
            _lost(found, "TOO_DEEP", f"lists in more than {_MAX_LAYERS} lists", bytes(item), context)
        return
    for item in items:
        if context.undecoded and _left_undecoded(bytes(item), inside, found):
            continue
        event = plain_event(item)
        if event is None:
            _record(bytes(item), inside, found, tried=True)
        else:
            _event(found, event, len(item), inside)


def _items(fields: Members) -> list[Raw] | None:
    """The items of an EventList or any other list of Kubernetes; None where the object is none."""
    items = fields.get("items")
    if items is None:
        if "kind" not in fields:
            return None
        kind = string(fields.get("kind")) or ""
        return [] if kind.endswith("List") and (string(fields.get("apiVersion")) or "").startswith("audit.k8s.io/") else None
    raw = bytes(items)
    if raw == b"null":
        return []
    return elements(items) if raw[:1] == b"[" else None


def _text(record: bytes, context: _Context, found: list[Found]) -> None:
    if record[:1] == b'"':
        text = string(record)
        inners = None if text is None else [Inner(text.encode(), encoding=True)]
        if inners is None:
            _check(record)
    else:
        inners = unwrap_text(record)
    if inners is not None:
        _unwrapped(inners, record, context, found)
    elif context.layers or _is_json(record):
        _lost(found, "NOT_AUDIT", "text, not an audit event", record, context)
    else:
        _lost(found, "INVALID_JSON", "neither JSON nor a form of audit log", record, context)


def _is_json(record: bytes) -> bool:
    try:
        _check(record)
    except unreadable:
        return False
    return True


def _unwrapped(inners: list[Inner], record: bytes, context: _Context, found: list[Found]) -> None:
    around: _Context | None = None  # of the inner ones that are left undecoded
    for inner in inners:
        wraps = context.wraps + (not inner.encoding)
        if inner.code is None and wraps <= MAX_WRAPS and context.layers < _MAX_LAYERS:
            event, size = inner.event, len(inner.record)
            if event is None:
                text = bytes(inner.record).strip(b" \t\r\n")
                if context.undecoded and not (inner.flags or context.flags) and text.startswith(_HEAD):
                    cluster = inner.cluster or context.cluster
                    if around is None or around.cluster != cluster or around.wraps != wraps:
                        around = _Context(cluster, (), wraps, context.layers + 1)
                    found.append(Found(None, None, "", cluster, len(text), text, around))
                    continue
                event, size = plain_event(text), len(text)
                if event is not None and not (text.isascii() or is_utf8(text)):
                    event = None
            if event is not None:
                flags = context.flags + inner.flags
                if flags:
                    _raise(event, flags)
                found.append(Found(event, None, "", inner.cluster or context.cluster, size, b""))
                continue
        inside = _Context(
            inner.cluster or context.cluster, context.flags + inner.flags, wraps, context.layers + 1, undecoded=context.undecoded
        )
        if wraps > MAX_WRAPS or inside.layers > _MAX_LAYERS:
            _lost(found, "TOO_DEEP", f"wrapped more than {MAX_WRAPS} times", bytes(inner.record) or record, context)
        elif inner.code is not None:
            _lost(found, inner.code, inner.message, bytes(inner.record) or record, inside)
        else:
            _checked(bytes(inner.record).strip(b" \t\r\n"), inside, found)


def _broken(record: bytes, error: Exception, context: _Context, found: list[Found]) -> None:
    pieces = None if context.listed else _pieces(record, context)
    if pieces:
        found += pieces
        return
    if isinstance(error, RecursionError):
        _lost(found, "TOO_DEEP", "nested deeper than readers go", record, context)
        return
    where = _position(str(error))
    place = f" at byte {where[1]} of {len(record)}" if where else f", {len(record)} bytes"
    if context.layers and not context.listed:
        _lost(found, "TRUNCATED", f"the wrapped text breaks off or goes wrong{place}", record, context)
    else:
        _lost(found, "INVALID_JSON", f"not JSON{place}", record, context)


def _pieces(record: bytes, context: _Context) -> list[Found] | None:
    """What stands before the break, where the record is a list or several documents in a row; None where nothing does.

    An event with rubbish behind it is one broken line, not an event and something else.
    """
    cut = cut_document(record)
    if cut is None:
        return None
    read: list[Found] = []
    inside = context._replace(listed=True, layers=context.layers + 1, undecoded=False)
    for _, _, raw, code in cut.items:
        if code is None:
            _checked(raw or b"", inside, read)
        else:
            _lost(read, code, "the document is broken here", raw or b"", context)
    whole = all(one.event is not None or one.code == "NOT_AUDIT" for one in read)
    return read if any(one.event for one in read) and (whole or cut.listed or _wraps(cut.items[0].raw or b"")) else None


def _wraps(record: bytes) -> bool:
    """Whether the first of several documents is an envelope."""
    try:
        fields = members(record)
    except unreadable:
        return False
    return not is_event(fields) and unwrap(fields) is not None


def _event(found: list[Found], event: Event, length: int, context: _Context) -> None:
    if context.flags:
        _raise(event, context.flags)
    found.append(Found(event, None, "", context.cluster, length, b""))


def _raise(event: Event, flags: tuple[str, ...]) -> None:
    if event.flags is None:
        event.flags = list(dict.fromkeys(flags))  # type: ignore[assignment]
        return
    for name in flags:
        flag(event, name)


def _lost(found: list[Found], code: str, message: str, raw: bytes, context: _Context) -> None:
    found.append(Found(None, code, message, context.cluster, len(raw), raw))


def is_event(fields: Members) -> bool:
    """Whether an object is an audit event, complete or not: by its type, or by fields that nothing else has together."""
    if fields.keys().isdisjoint(_MARKS):
        return False
    kind, version = string(fields.get("kind")), string(fields.get("apiVersion"))
    if version is not None and version.startswith("audit.k8s.io/"):
        return kind in {"Event", None}
    marks = ("auditID" in fields) + ("stage" in fields) + ("level" in fields)
    if kind is not None and version is not None:
        return marks == 3
    if "auditID" in fields:
        return marks > 1 or "requestURI" in fields
    return string(fields.get("stage")) in STAGES and string(fields.get("level")) in LEVELS


def odd_event(fields: Members) -> Event:
    """The event of an object that `Event` does not describe: what has the wrong type or no place goes to `unknown`."""
    event = Event()
    unknown: dict[str, bytes] = {}
    for name, value in fields.items():
        if name in _parts:
            setattr(event, name, value)
            continue
        text = string(value) if name in _texts else None
        if text is None or (name == "kind" and text != "Event") or (name == "apiVersion" and not text.startswith("audit.k8s.io/")):
            unknown["/" + escape_pointer(name)] = compact(value)
        else:
            setattr(event, name, text)
    if unknown:
        extra: Any = unknown
        event.unknown = extra
    return event
