"""Find the fields of plain lines: those that are written as kube-apiserver writes them, member by member in its order.

What is found is where members begin and end, by the text between them. It is no proof that a line is JSON: that follows once
each part between, taken alone, is valid (`words`, and the bodies where they are opened), for JSON is read from left to right.
A line that differs in anything is odd, and is decoded as a whole.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from transforms.audit.rows.columns import (
    BODIES,
    BODIES_END,
    CALLER,
    CALLER_END,
    EARLY,
    END,
    FINAL,
    ID,
    ID_LENGTH,
    KIND,
    LEVEL,
    NAME,
    NAME_END,
    NOTES,
    NOTES_END,
    ODD,
    REACHED_AFTER,
    READ,
    REFERENCE,
    REFERENCE_END,
    START,
    STATUS,
    STATUS_END,
    TIME_LENGTH,
    TIMES,
    UID,
    UID_END,
    URI,
    URI_END,
    VERB,
    VERB_END,
    VERSION,
    VERSION_END,
)
from transforms.audit.rows.compiled.eight_bytes import inner, same, word_at

_LONGEST: Final = 8192  # bytes of a part


def _text(literal: bytes) -> Any:
    return np.frombuffer(literal, dtype=np.uint8)


_HEAD = _text(b'{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"')
_METADATA = _text(b'Metadata","auditID":"')
_REQUEST = _text(b'Request","auditID":"')
_RESPONSE = _text(b'RequestResponse","auditID":"')
_STAGE = _text(b'","stage":"Re')
_RECEIVED = _text(b'questReceived","requestURI":"')
_COMPLETE = _text(b'sponseComplete","requestURI":"')
_VERB = _text(b'","verb":"')
_USER = _text(b'","user":{')
_ADDRESSES = _text(b'},"sourceIPs":[')
_AGENT = _text(b',"userAgent":"')
_OBJECT = _text(b',"objectRef":{')
_STATUS = _text(b',"responseStatus":{')
_PLAIN_STATUS = _text(b'{"metadata":{},"code":')
_REQUEST_BODY = _text(b',"requestObject":')
_RESPONSE_BODY = _text(b',"responseObject":')
_WHEN_RECEIVED = _text(b',"requestReceivedTimestamp":"')
_WHEN_REACHED = _text(b'","stageTimestamp":"')
_NOTES = _text(b',"annotations":{')
_GET = _text(b"get")
_LIST = _text(b"list")
_WATCH = _text(b"watch")
_TIMES_LENGTH: Final = len(_WHEN_RECEIVED) + len(_WHEN_REACHED) + 2 * TIME_LENGTH + 1
_PLAIN_STATUS_LENGTH: Final = len(_PLAIN_STATUS) + 4
_ADDRESSES_WORD = np.uint64(int.from_bytes(_ADDRESSES[:8].tobytes(), "little"))
_NOTES_WORD = np.uint64(int.from_bytes(_NOTES[:8].tobytes(), "little"))
# In the order of ObjectReference, in JSON as in the schema.
REFERENCE_KEYS = tuple(
    _text(b',"%b":"' % key)
    for key in (b"resource", b"namespace", b"name", b"uid", b"apiGroup", b"apiVersion", b"resourceVersion", b"subresource")
)
_QUOTE, _ESCAPE, _CLOSED, _OPENED, _COMMA, _LIST_END = (ord(each) for each in '"\\}{,]')


@inner
def _is(data: Any, at: int, end: int, literal: Any) -> bool:
    return at + len(literal) <= end and same(data, at, literal, 0, len(literal))


@inner
def _quote(data: Any, at: int, end: int) -> int:
    """Where the string ends that is open at `at`; `end` if it does not."""
    end = min(end, at + _LONGEST)
    while at < end:
        if data[at] == _QUOTE and (data[at - 1] != _ESCAPE or data[at - 2] == _ESCAPE):  # of three backslashes another part is wrong
            return at
        at += 1
    return end


@inner
def _byte(data: Any, at: int, end: int, byte: int) -> int:
    end = min(end, at + _LONGEST)
    while at < end and data[at] != byte:
        at += 1
    return at


@inner
def _word(data: Any, at: int, end: int, word: Any) -> int:
    """Where eight bytes stand; `end` if nowhere near."""
    last = min(end, at + _LONGEST) - 8
    while at <= last:
        if word_at(data, at, end) == word:
            return at
        at += 1
    return end


@inner
def _two(data: Any, at: int) -> int:
    high, low = data[at] - 48, data[at + 1] - 48
    return high * 10 + low if high <= 9 and low <= 9 and high >= 0 and low >= 0 else -1


@inner
def moment_at(data: Any, at: int) -> int:
    """Microseconds since the epoch of a time such as `2026-11-23T05:33:52.288277Z`; -1 for anything else, or before 1970."""
    if data[at + 4] != 45 or data[at + 7] != 45 or data[at + 10] != 84 or data[at + 13] != 58 or data[at + 16] != 58:
        return -1
    if data[at + 19] != 46 or data[at + 26] != 90:
        return -1
    century, year, month, day = _two(data, at), _two(data, at + 2), _two(data, at + 5), _two(data, at + 8)
    hour, minute, second = _two(data, at + 11), _two(data, at + 14), _two(data, at + 17)
    first, middle, last = _two(data, at + 20), _two(data, at + 22), _two(data, at + 24)
    if century < 19 or year < 0 or month < 1 or month > 12 or day < 1 or first < 0 or middle < 0 or last < 0:
        return -1
    if hour < 0 or hour > 23 or minute < 0 or minute > 59 or second < 0 or second > 59:
        return -1
    year += century * 100
    if year < 1970:
        return -1
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    longest = 31 - (month - 1) % 7 % 2
    if month == 2:
        longest = 29 if leap else 28
    if day > longest:
        return -1
    # Days since the epoch: years begin in March (Howard Hinnant, "chrono-compatible low-level date algorithms").
    counted = year - 1 if month <= 2 else year
    era = counted // 400
    of_era = counted - era * 400
    of_year = (153 * (month - 3 if month > 2 else month + 9) + 2) // 5 + day - 1
    days = era * 146097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719468
    return ((days * 24 + hour) * 60 + minute) * 60_000_000 + second * 1_000_000 + first * 10_000 + middle * 100 + last


@inner
def _verb(data: Any, at: int, end: int) -> int:
    if end - at == 3 and same(data, at, _GET, 0, 3):
        return 1
    if end - at == 4 and same(data, at, _LIST, 0, 4):
        return 2
    return 3 if end - at == 5 and same(data, at, _WATCH, 0, 5) else 0


@inner
def _plain_end(data: Any, at: int, end: int) -> int:
    """Where a string of plain ASCII ends that is open at `at`, and nothing like the beginning of a token; -1 if it is not plain."""
    end = min(end, at + _LONGEST)
    while at < end and data[at] != _QUOTE:
        byte = data[at]
        if byte == _ESCAPE or byte < 32 or byte > 126 or (byte == 74 and data[at - 1] == 121 and data[at - 2] == 101):  # eyJ
            return -1
        at += 1
    return at if at < end else -1


@inner
def member(data: Any, at: int, end: int, key: Any) -> int:
    """Where the value of a member begins, if the next one has this key (`,"name":"`); -1 if not. The first has a brace for the comma."""
    if at + len(key) > end or not same(data, at + 1, key, 1, len(key) - 1):
        return -1
    return at + len(key)


@inner
def _reference(data: Any, at: int, end: int, row: Any) -> int:
    """Where an object reference ends whose members come in the order of the schema; -1 for any other."""
    row[REFERENCE] = at
    for place in range(8):
        value = member(data, at, end, REFERENCE_KEYS[place])
        if value < 0:
            continue
        stop = _plain_end(data, value, end)
        if stop < 0:
            return -1
        if place == 2:
            row[NAME], row[NAME_END] = value, stop
        elif place == 3:
            row[UID], row[UID_END] = value, stop
        elif place == 6:
            row[VERSION], row[VERSION_END] = value, stop
        at = stop + 1
    if at == row[REFERENCE] or data[at] != _CLOSED:
        return -1
    row[REFERENCE_END] = at + 1
    return at + 1


@inner
def _status(data: Any, at: int, end: int, row: Any) -> int:
    row[STATUS] = at
    plain = at + _PLAIN_STATUS_LENGTH
    if plain < end and data[plain - 1] == _CLOSED and _is(data, at, end, _PLAIN_STATUS):
        row[STATUS_END] = plain
        return plain
    last = min(end, at + _LONGEST)
    while at < last:
        if data[at] == _CLOSED and (
            _is(data, at + 1, end, _WHEN_RECEIVED) or _is(data, at + 1, end, _REQUEST_BODY) or _is(data, at + 1, end, _RESPONSE_BODY)
        ):
            row[STATUS_END] = at + 1
            return at + 1
        at += 1
    return -1


@inner
def _times_before(data: Any, at: int, end: int) -> int:
    """Where the times begin in a line that ends with them, or with annotations; -1 if it does not."""
    if data[end - 2] == _QUOTE:
        return end - 1 - _TIMES_LENGTH
    last = max(at, end - _LONGEST)
    place = end - len(_NOTES)
    while place > last:
        if word_at(data, place, end) == _NOTES_WORD:
            return place - _TIMES_LENGTH
        place -= 1
    return -1


@inner
def _scan_line(data: Any, start: int, end: int, row: Any) -> int:
    """The kind of a line, and in `row` where its parts are."""
    if end - start < 400 or not _is(data, start, end, _HEAD) or data[end - 1] != _CLOSED:
        return ODD
    at = start + len(_HEAD)
    if _is(data, at, end, _METADATA):
        row[LEVEL], at = 0, at + len(_METADATA)
    elif _is(data, at, end, _RESPONSE):
        row[LEVEL], at = 2, at + len(_RESPONSE)
    elif _is(data, at, end, _REQUEST):
        row[LEVEL], at = 1, at + len(_REQUEST)
    else:
        return ODD
    for place in range(at, at + ID_LENGTH):
        byte = data[place]
        if not (48 <= byte <= 57 or 97 <= byte <= 102 or byte == 45):
            return ODD
    row[ID] = at  # odd lines of the same request count
    at += ID_LENGTH
    if not _is(data, at, end, _STAGE):
        return ODD
    at += len(_STAGE)
    if _is(data, at, end, _RECEIVED):
        kind, at = EARLY, at + len(_RECEIVED)
    elif _is(data, at, end, _COMPLETE):
        kind, at = FINAL, at + len(_COMPLETE)
    else:
        return ODD
    row[URI] = at
    at = _quote(data, at, end)
    row[URI_END] = at
    if not _is(data, at, end, _VERB):
        return ODD
    at += len(_VERB)
    verb = at
    while 97 <= data[at] <= 122:
        at += 1
    row[VERB], row[VERB_END] = verb, at
    if at == verb or at - verb > 24 or not _is(data, at, end, _USER):
        return ODD
    row[READ] = _verb(data, verb, at)
    row[CALLER] = at + 2
    at = _word(data, at + 9, end, _ADDRESSES_WORD)
    if not _is(data, at, end, _ADDRESSES):
        return ODD
    at = _byte(data, at, end, _LIST_END) + 1
    if _is(data, at, end, _AGENT):
        at = _quote(data, at + len(_AGENT), end) + 1
    row[CALLER_END] = at
    if _is(data, at, end, _OBJECT):
        at = _reference(data, at + len(_OBJECT) - 1, end, row)
        if at < 0:
            return ODD
    if kind == FINAL:
        if not _is(data, at, end, _STATUS):
            return ODD
        at = _status(data, at + len(_STATUS) - 1, end, row)
        if at < 0:
            return ODD
        if not _is(data, at, end, _WHEN_RECEIVED):
            times = _times_before(data, at, end)
            if times <= at or not (_is(data, at, end, _REQUEST_BODY) or _is(data, at, end, _RESPONSE_BODY)):
                return ODD
            row[BODIES], row[BODIES_END] = at + 1, times
            at = times
    if not _is(data, at, end, _WHEN_RECEIVED):
        return ODD
    at += len(_WHEN_RECEIVED)
    row[TIMES] = at
    at += TIME_LENGTH
    if not _is(data, at, end, _WHEN_REACHED):
        return ODD
    at += len(_WHEN_REACHED) + TIME_LENGTH
    if at + 2 > end or data[at] != _QUOTE:
        return ODD
    at += 1
    if at == end - 1:
        return kind
    if kind == EARLY or not _is(data, at, end, _NOTES) or data[end - 2] != _CLOSED or end - at > _LONGEST:
        return ODD
    row[NOTES], row[NOTES_END] = at + len(_NOTES) - 1, end - 1
    return kind


@inner
def scan_lines(data: Any, ends: Any, rows: Any, moments: Any) -> None:
    """Fill `rows` (lines by COLUMNS) and `moments` (lines by 2: received, reached) from the lines that end at `ends`."""
    start = 0
    for line in range(len(ends)):
        end = ends[line]
        row = rows[line]
        kind = _scan_line(data, start, end, row)
        if kind != ODD:
            moments[line, 0] = moment_at(data, row[TIMES])
            moments[line, 1] = moment_at(data, row[TIMES] + REACHED_AFTER)
            if moments[line, 0] < 0 or moments[line, 1] < 0:
                kind = ODD
        row[START], row[END], row[KIND] = start, end, kind
        start = end + 1
