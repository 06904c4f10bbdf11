"""Parse a block's lines into events; what cannot be read becomes a dead letter."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import UNSET

from transforms.audit.block import DeadLetter, EventBlock, RawBlock
from transforms.audit.event import Event
from transforms.audit.recognise import Found, decode_left, recognise
from transforms.audit.rows.read_rows import read_rows, read_rows_of_items
from transforms.audit.times import note_times

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

STEP: Final = "ParseEvents"
_SAID: Final = {
    "SOURCE_GAP": "lost before it was read",
    "UNRECOGNISED_FILE": "no record of the file is anything that is known",
    "BROKEN_STREAM": "the compressed stream breaks off here",
    "LINE_TOO_LONG": "longer than a line may be",
    "ITEM_TOO_LONG": "longer than an item may be",
}
_BROKEN: Final = "the document is broken here"
_decode = msgspec.json.Decoder(Event).decode
_errors: Final = (msgspec.MsgspecError, UnicodeError, RecursionError)
_Unwrapped = tuple[int, int, Found]  # offset, item, what was left undecoded


def parse_events(block: RawBlock, key: bytes, *, rows: bool = False) -> EventBlock:
    """The events of a block, in order; every event is counted in the block's account. Never raises, whatever the input.

    With `rows` the plain requests are set apart from the events, for steps that know rows. A line that is one event is decoded here;
    lists, envelopes, odd shapes and what is broken go to `recognise`.
    """
    account = block.account
    before = account.events, dict(account.dead_lettered)
    parsed, sound = _parsed(block, key, rows=rows, undecoded=rows and not block.unterminated)
    if not sound:  # what an envelope holds only began as an event does
        account.events, account.dead_lettered = before
        parsed, _ = _parsed(block, key, rows=rows, undecoded=False)
    if parsed.rows is not None:
        account.events += parsed.rows.events
    account.events += len(parsed.events)
    note_times({event.stageTimestamp for event in parsed.events})  # of a request's first stage it is also when it was received
    return parsed


def _parsed(block: RawBlock, key: bytes, *, rows: bool, undecoded: bool) -> tuple[EventBlock, bool]:
    parsed = EventBlock(split=block.split, account=block.account, events=[], dead_letters=[], last=block.last)
    unwrapped: list[_Unwrapped] | None = [] if undecoded else None
    if block.items is not None:
        _parse_items(block, block.items, key, parsed, unwrapped, rows=rows)
    else:
        parsed.rows, other = read_rows(block) if rows and not block.unterminated else (None, None)
        _parse_records(block, _lines(block) if other is None else other, key, parsed, unwrapped)
    return parsed, not unwrapped or _take_unwrapped(parsed, unwrapped, key)


def _take_unwrapped(parsed: EventBlock, unwrapped: list[_Unwrapped], key: bytes) -> bool:
    """Make rows of the events that came in an envelope, if there are no others here and all of them are of one cluster; else events.

    False if one of them is several things.
    """
    others = unwrapped
    if parsed.rows is None or not len(parsed.rows):
        cluster = unwrapped[0][2].cluster
        records = [(offset, item, found.raw) for offset, item, found in unwrapped if found.cluster == cluster]
        rows, left = read_rows_of_items(records, parsed.account)
        if rows is not None:
            rows.cluster = cluster
            parsed.rows = rows
            places = {(offset, item) for offset, item, _ in left}
            others = [each for each in unwrapped if each[:2] in places or each[2].cluster != cluster]
    for offset, item, undecoded in others:
        found = decode_left(undecoded)
        if len(found) != 1:
            return False
        _take(found[0], offset, item, key, parsed)
    return True


def _lines(block: RawBlock) -> Iterator[tuple[int, int, bytes]]:
    offset = block.offset
    for line in block.data.split(b"\n"):
        yield offset, 0, line
        offset += len(line) + 1


def _parse_records(
    block: RawBlock, records: Iterable[tuple[int, int, bytes]], key: bytes, parsed: EventBlock, unwrapped: list[_Unwrapped] | None
) -> None:
    account, append = block.account, parsed.events.append
    all_ascii = block.items is None and block.data.isascii()
    for offset, item, record in records:
        try:
            event = _decode(record)
            if not all_ascii and not record.isascii():
                record.decode()  # what the decoder skips it does not check
            plain = event.stage is not UNSET and event.level is not UNSET and event.auditID is not UNSET
        except _errors:
            plain = False
        if plain:
            event.offset = offset  # type: ignore[assignment]
            event.item = item  # type: ignore[assignment]
            event.size = len(record)  # type: ignore[assignment]
            event.account = account  # type: ignore[assignment]
            append(event)
        elif block.items is not None or not (record.isspace() or not record):
            _parse_odd(record, offset, item, key, parsed, unwrapped, unterminated=block.unterminated)


def _parse_items(
    block: RawBlock,
    items: Sequence[tuple[int, int, bytes | None, str | None]],
    key: bytes,
    parsed: EventBlock,
    unwrapped: list[_Unwrapped] | None,
    *,
    rows: bool,
) -> None:
    for offset, item, raw, code in items:
        if code is not None:
            _bury(parsed, key, code, _SAID.get(code, _BROKEN), raw or b"", offset, item)
    records = [(offset, item, raw or b"") for offset, item, raw, code in items if code is None]
    if rows:
        parsed.rows, records = read_rows_of_items(records, block.account)
    _parse_records(block, records, key, parsed, unwrapped)


def _parse_odd(
    record: bytes, offset: int, item: int, key: bytes, parsed: EventBlock, unwrapped: list[_Unwrapped] | None, *, unterminated: bool = False
) -> None:
    all_found = recognise(record, tried=True, undecoded=unwrapped is not None)
    if unterminated and len(all_found) == 1 and all_found[0].code is not None:
        # The log may still grow: a later run starts at this line again, so it counts as one, whatever is wrong with it.
        _bury(parsed, key, "UNTERMINATED_LINE", "the last line ends early", record, offset, item)
        return
    for at, found in enumerate(all_found, item):
        if found.event is None and found.code is None:
            unwrapped.append((offset, at, found))  # type: ignore[union-attr]
        else:
            _take(found, offset, at, key, parsed)


def _take(found: Found, offset: int, item: int, key: bytes, parsed: EventBlock) -> None:
    event = found.event
    if event is None:
        _bury(parsed, key, found.code or "INVALID_JSON", found.message, found.raw, offset, item)
        return
    event.offset = offset  # type: ignore[assignment]
    event.item = item  # type: ignore[assignment]
    event.size = found.length  # type: ignore[assignment]
    event.account = parsed.account  # type: ignore[assignment]
    event.cluster = found.cluster  # type: ignore[assignment]
    parsed.events.append(event)


def _bury(parsed: EventBlock, key: bytes, code: str, message: str, raw: bytes, offset: int, item: int) -> None:
    mac = hmac.digest(key, raw, "sha256")
    parsed.account.events += 1
    parsed.account.dead_letter(code)
    parsed.dead_letters.append(DeadLetter(code, STEP, offset, item, len(raw), mac, message))
