"""Pair the two stages of a request among plain lines, where both are at hand and the final one repeats all that the first says."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from transforms.audit.rows.columns import (
    ALONE,
    CALLER_END,
    EARLY,
    FINAL,
    ID,
    ID_LENGTH,
    KIND,
    LEVEL,
    NO_ROW,
    ODD,
    REFERENCE,
    REFERENCE_END,
    TIME_LENGTH,
    TIMES,
    URI,
)
from transforms.audit.rows.compiled.eight_bytes import inner, load, same

_NAME, _UID, _VERSION, _SPACE = (
    np.frombuffer(key, dtype=np.uint8) for key in (b'"name":"', b'"uid":"', b'"resourceVersion":"', b'"namespace":"')
)
_QUOTE, _ESCAPE, _COMMA = (ord(each) for each in '"\\,')
_MIX: Final = np.uint64(0x9E3779B97F4A7C15)
_SHIFT: Final = np.uint64(29)


@inner
def _hash(data: Any, at: int, seed: Any) -> Any:
    found = seed
    for place in range(at, at + 32, 8):
        found = (found ^ load(data, np.intp(place))) * _MIX
        found ^= found >> _SHIFT
    return (found ^ load(data, np.intp(at + ID_LENGTH - 8))) * _MIX


@inner
def _one_request(data: Any, early: Any, final: Any) -> bool:
    size = early[CALLER_END] - early[URI]
    if early[LEVEL] != final[LEVEL] or final[CALLER_END] - final[URI] != size:
        return False
    return same(data, early[URI], data, final[URI], size) and same(data, early[TIMES], data, final[TIMES], TIME_LENGTH)


@inner
def _member_end(data: Any, at: int, end: int) -> int:
    """Where a member `"key":"value"` ends; `end` if it is nothing like it."""
    quotes = 0
    while at < end:
        if data[at] == _ESCAPE:
            return end
        if data[at] == _QUOTE:
            quotes += 1
            if quotes == 4:
                return at + 1
        at += 1
    return end


@inner
def _may_be_new(data: Any, at: int, end: int) -> bool:
    """Whether a member is one that the server fills in when it has read the body: name, namespace, uid or resourceVersion."""
    return (
        _begins(data, at, end, _NAME) or _begins(data, at, end, _UID) or _begins(data, at, end, _VERSION) or _begins(data, at, end, _SPACE)
    )


@inner
def _begins(data: Any, at: int, end: int, literal: Any) -> bool:
    return at + len(literal) <= end and same(data, at, literal, 0, len(literal))


@inner
def _same_object(data: Any, early: Any, final: Any) -> bool:
    """Whether both lines refer to the object in the same words or in none, or the final one says more of it."""
    mine, end = early[REFERENCE], early[REFERENCE_END]
    other, stop = final[REFERENCE], final[REFERENCE_END]
    if end == 0 or stop == 0:
        return end == stop
    if end - mine == stop - other and same(data, mine, data, other, end - mine):
        return True
    mine += 1
    other += 1
    while other < stop - 1:
        after = _member_end(data, other, stop)
        if after == stop or (data[after] != _COMMA and after != stop - 1):
            return False
        size = after - other
        if mine + size <= end - 1 and same(data, mine, data, other, size) and (data[mine + size] == _COMMA or mine + size == end - 1):
            mine += size + 1
        elif not _may_be_new(data, other, stop):
            return False
        other = after + 1
    return mine == end


@inner
def pair_lines(data: Any, rows: Any, seed: Any, slots: Any, partners: Any) -> None:
    """Fill `partners`: for a final line the number of its first line, ALONE or NO_ROW; NO_ROW for all that is no request of its own.

    `seed` keeps clients, who choose audit IDs, from choosing where these are filed: in `slots`, twice as many as lines and a power
    of two, all -1.
    """
    lines = len(rows)
    mask = np.uint64(len(slots) - 1)
    for line in range(lines):
        partners[line] = NO_ROW
        row = rows[line]
        if row[ID] == 0:
            continue
        slot = _hash(data, row[ID], seed) & mask
        while slots[slot] >= 0 and not same(data, rows[slots[slot], ID], data, row[ID], ID_LENGTH):
            slot = (slot + np.uint64(1)) & mask
        first = slots[slot]
        if first < 0:
            slots[slot] = line
            if row[KIND] == FINAL:
                partners[line] = ALONE
            continue
        early = rows[first]
        if row[KIND] == FINAL and early[KIND] == EARLY and _one_request(data, early, row) and _same_object(data, early, row):
            partners[line] = first
            row[KIND], early[KIND] = -FINAL, -EARLY  # taken: a third line of this audit ID undoes the pair
            slots[slot] = line
        else:
            # Copies, reused audit IDs, more stages: all lines of this audit ID are looked at one by one.
            for other in (first, partners[first] if partners[first] >= 0 else first):
                rows[other, KIND] = ODD
            partners[first] = NO_ROW
            row[KIND] = ODD
    for line in range(lines):
        if rows[line, KIND] < 0:
            rows[line, KIND] = -rows[line, KIND]
