"""Put together records that were split over several lines on their way.

Fragments of the CRI log format (`P` … `F`) and of Docker's json-file driver, the parts of a GKE entry that was too large
(`split`), and the two halves of a GKE operation (`first` and `last`). What stays incomplete leaves as it came so far, at the
latest at the end.
"""

from __future__ import annotations

from re import compile as pattern
from typing import TYPE_CHECKING, Final, Generic, NamedTuple, TypeVar

import msgspec

from transforms.audit.envelopes.docker import Line, goes_on, is_piece, is_whole, line_of
from transforms.audit.members import Members, elements, members, string, unreadable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PENDING_LIMIT: Final = 64 << 20
PENDING_RECORDS: Final = 10_000
_cri: Final = pattern(rb"(\d{4}-\d\d-\d\dT\S+ (stdout|stderr) )([FP])((?::\S*)? ?)").match
_cri_lines: Final = pattern(rb"(?m)^\d{4}-\d\d-\d\dT\S+ (?:stdout|stderr) [FP]").search
_DOCKER: Final = (b'"stream":"stdout"', b'"stream":"stderr"')
_NEAR: Final = 256
_MERGES: Final = 12

Tag = TypeVar("Tag")
Joined = tuple[bytes, Tag]


class SplitPart(NamedTuple):
    """What a part of a GKE entry that was too large says of itself."""

    uid: str
    number: int
    total: int


class _Operation(msgspec.Struct, frozen=True, gc=False):
    id: str = ""
    first: bool = False
    last: bool = False


class _Entry(msgspec.Struct, frozen=True, gc=False):
    operation: _Operation = _Operation()
    split: msgspec.Raw = msgspec.Raw()


_decode_entry: Final = msgspec.json.Decoder(_Entry).decode


class _Pending(NamedTuple, Generic[Tag]):
    tag: Tag
    parts: list[tuple[int, bytes]]
    total: int  # parts that make the whole; 0 where only the last one tells


class Joiner(Generic[Tag]):
    """Joins the records of streams. A joined record keeps the tag (say, the position) of its first part.

    Holds at most PENDING_LIMIT bytes in PENDING_RECORDS records; beyond, the oldest leaves incomplete.
    """

    def __init__(self) -> None:
        self._pending: dict[tuple[str, ...], _Pending[Tag]] = {}
        self._size = 0

    def feed(self, record: bytes, stream: str, tag: Tag) -> list[Joined[Tag]]:
        """The records that are complete with this one, ready to recognise; itself, where it is no part of another."""
        prefix = _cri(record)
        if prefix:
            return self._fragment(record, prefix.end(), (stream, prefix[2].decode()), tag, last=prefix[3] == b"F")
        line = line_of(record) if record.find(b'"log"', 0, _NEAR) >= 0 else None
        if line is not None:
            return self._docker(record, line, (stream, "docker", line.stream), tag)
        return self.feed_entry(record, stream, tag)

    def feed_entry(self, record: bytes, stream: str, tag: Tag) -> list[Joined[Tag]]:
        """As `feed`, but for GKE only: fragments of the CRI format say whose they are by the file that they stand in."""
        if b'"protoPayload"' not in record or _stands_alone(record):
            return [(record, tag)]
        return self._entry(record, stream, tag)

    @property
    def pending(self) -> bool:
        """Whether a record waits for its other parts."""
        return bool(self._pending)

    def close(self) -> list[Joined[Tag]]:
        """What is still incomplete."""
        out = [leftover for key in list(self._pending) for leftover in self._leave(key)]
        self._size = 0
        return out

    def _fragment(self, record: bytes, start: int, key: tuple[str, str], tag: Tag, *, last: bool) -> list[Joined[Tag]]:
        pending = self._pending.get(key)
        if pending is None:
            return [(record, tag)] if last else self._hold(key, tag, 0, record, 0)
        out = self._hold(key, tag, len(pending.parts), record[start:], 0)
        if not last or key not in self._pending:
            return out
        parts = self._take(key).parts
        first = parts[0][1]
        opening = _cri(first)
        whole = first[: opening.start(3)] + b"F" + first[opening.end(3) :] if opening else first
        return [*out, (whole + b"".join(part for _, part in parts[1:]), pending.tag)]

    def _docker(self, record: bytes, line: Line, key: tuple[str, str, str], tag: Tag) -> list[Joined[Tag]]:
        if key not in self._pending:
            return self._hold(key, tag, 0, record, 0) if is_piece(line) else [(record, tag)]
        if is_whole(line):  # no line of Docker's at all: a shipper cut the line feeds off
            return [*self._leave(key), (record, tag)]
        out = self._hold(key, tag, len(self._pending[key].parts), record, 0)
        if goes_on(line) or key not in self._pending:
            return out
        return [*out, *self._leave(key)]

    def _entry(self, record: bytes, stream: str, tag: Tag) -> list[Joined[Tag]]:
        try:
            fields = members(record)
            part = _split_part(fields)
            operation = members(fields["operation"]) if "operation" in fields else {}
        except unreadable:
            return [(record, tag)]
        if part:
            return self._part(record, (stream, "split", part.uid), tag, part.number, part.total)
        return self._half(record, fields, operation, stream, tag)

    def _part(self, record: bytes, key: tuple[str, ...], tag: Tag, index: int, total: int) -> list[Joined[Tag]]:
        pending = self._pending.get(key)
        if pending is not None and index in {at for at, _ in pending.parts}:
            return []  # delivered twice
        out = self._hold(key, tag, index, record, total)
        pending = self._pending.get(key)
        if pending is None or len(pending.parts) < total:
            return out
        self._take(key)
        return [*out, (_merged([part for _, part in sorted(pending.parts)], complete=True), pending.tag)]

    def _half(self, record: bytes, fields: Members, operation: Members, stream: str, tag: Tag) -> list[Joined[Tag]]:
        first, last = (bytes(operation.get(name) or b"") == b"true" for name in ("first", "last"))
        identity = string(operation.get("id"))
        if first == last or not identity:
            return [(record, tag)]
        # Clients choose the ID: halves belong together only if the rest agrees.
        key = (stream, "half", identity, *_caller(fields))
        if first:
            return [*(self._leave(key) if key in self._pending else ()), *self._hold(key, tag, 0, record, 2)]
        if key not in self._pending:
            return [(record, tag)]
        pending = self._take(key)
        return [(_whole_operation(pending.parts[0][1], record), pending.tag)]

    def _hold(self, key: tuple[str, ...], tag: Tag, index: int, part: bytes, total: int) -> list[Joined[Tag]]:
        pending = self._pending.setdefault(key, _Pending(tag, [], total))
        pending.parts.append((index, part))
        self._size += len(part)
        out: list[Joined[Tag]] = []
        while self._pending and (self._size > PENDING_LIMIT or len(self._pending) > PENDING_RECORDS):
            out += self._leave(next(iter(self._pending)))
        return out

    def _take(self, key: tuple[str, ...]) -> _Pending[Tag]:
        pending = self._pending.pop(key)
        self._size -= sum(len(part) for _, part in pending.parts)
        return pending

    def _leave(self, key: tuple[str, ...]) -> Iterator[Joined[Tag]]:
        pending = self._take(key)
        parts = [part for _, part in sorted(pending.parts)]
        join = _JOINS.get(key[1], b"".join)
        yield join(parts), pending.tag


def _stands_alone(record: bytes) -> bool:
    """Whether an entry is plainly neither a part nor a half; nearly all are."""
    try:
        entry = _decode_entry(record)
    except unreadable:
        return False
    operation = entry.operation
    return not entry.split and (operation.first == operation.last or not operation.id)


def needs_joiner(first_bytes: bytes) -> bool:
    """Whether a file that begins so may hold records in several lines."""
    if b'"protoPayload"' in first_bytes:
        return True
    # A search line by line takes thirty times as long as one for a word.
    if (b" stdout " in first_bytes or b" stderr " in first_bytes) and _cri_lines(first_bytes) is not None:
        return True
    return b'"log"' in first_bytes and any(stream in first_bytes for stream in _DOCKER)


def split_part(record: bytes) -> SplitPart | None:
    """Which part of which entry the record is; None where it is whole or something else."""
    if b'"split"' not in record or b'"protoPayload"' not in record:
        return None
    try:
        return _split_part(members(record))
    except unreadable:
        return None


def _split_part(fields: Members) -> SplitPart | None:
    split = members(fields["split"]) if "split" in fields else {}
    uid, total = string(split.get("uid")), _number(split.get("totalSplits"))
    return SplitPart(uid, _number(split.get("index")), total) if uid and total > 1 else None


def _number(raw: bytes | msgspec.Raw | None) -> int:
    try:
        return int(msgspec.json.decode(raw, type=int)) if raw else 0
    except unreadable:
        return 0


def _caller(fields: Members) -> tuple[str, ...]:
    payload = members(fields["protoPayload"])
    who = members(payload.get("authenticationInfo") or b"{}")
    return tuple(string(one) or "" for one in (payload.get("methodName"), payload.get("resourceName"), who.get("principalEmail")))


def _merged(parts: list[bytes], *, complete: bool) -> bytes:
    """One entry of the parts: bodies joined, the rest from the first. A whole one is split no longer."""
    try:
        entries = [members(part) for part in parts]
        payload = _merge([entry["protoPayload"] for entry in entries], 0)
    except (KeyError, *unreadable):
        return parts[0]
    entry = entries[0] | {"protoPayload": msgspec.Raw(payload)}
    if complete:
        entry.pop("split", None)
    return _object(entry)


def _line(pieces: list[bytes]) -> bytes:
    """The line of Docker's that was cut into pieces, with what the first and the last say of it."""
    lines = [line for line in map(line_of, pieces) if line is not None]
    first = lines[0]
    first.log = "".join(line.log for line in lines)
    first.logtag = lines[-1].logtag
    return msgspec.json.encode(first)


def _merge(values: list[bytes | msgspec.Raw], depth: int) -> bytes:
    """Pieces of one value as one: objects by name, arrays and texts end to end, of other values the first."""
    first = bytes(values[0])
    if depth > _MERGES or all(bytes(value) == first for value in values):
        return first
    if first[:1] == b"{":
        names: dict[str, list[bytes | msgspec.Raw]] = {}
        for value in values:
            for name, member in members(value).items():
                names.setdefault(name, []).append(member)
        return _object({name: msgspec.Raw(_merge(found, depth + 1)) for name, found in names.items()})
    if first[:1] == b"[":
        return b"[" + b",".join(bytes(one) for value in values for one in elements(value)) + b"]"
    if first[:1] == b'"':
        return b'"' + b"".join(bytes(value)[1:-1] for value in values) + b'"'
    return first


def _whole_operation(first: bytes, last: bytes) -> bytes:
    """The last half with what only the first half has."""
    try:
        begun, ended = members(first), members(last)
        payload = members(begun["protoPayload"]) | members(ended["protoPayload"])
        operation = members(ended["operation"]) | {"first": msgspec.Raw(b"true")}
    except (KeyError, *unreadable):
        return last
    entry = begun | ended | {"protoPayload": msgspec.Raw(_object(payload)), "operation": msgspec.Raw(_object(operation))}
    if "timestamp" in begun:
        entry["requestReceived"] = begun["timestamp"]
    return _object(entry)


def _object(fields: Members) -> bytes:
    return b"{" + b",".join(msgspec.json.encode(name) + b":" + bytes(value) for name, value in fields.items()) + b"}"


_JOINS: Final[dict[str, Callable[[list[bytes]], bytes]]] = {"split": lambda parts: _merged(parts, complete=False), "docker": _line}
