"""Number the distinct parts of lines, in tables that outlive a block."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from transforms.audit.rows.columns import COUNT, USED
from transforms.audit.rows.compiled.eight_bytes import copy, inner, same, word_at

_MIX: Final = np.uint64(0x9E3779B97F4A7C15)
_SHIFT: Final = np.uint64(29)


@inner
def _hash(data: Any, at: int, end: int, seed: Any) -> Any:
    found = seed ^ np.uint64(end - at)
    while at < end:
        found = (found ^ word_at(data, at, end)) * _MIX
        found ^= found >> _SHIFT
        at += 8
    return found


@inner
def _number(start: int, filled: int, seed: Any, table: Any) -> int:
    """The number of the part that was copied to the table's arena, behind all parts."""
    slots, hashes, starts, sizes, arena, state = table
    mask = np.uint64(len(slots) - 1)
    found = _hash(arena, start, filled, seed)
    slot = found & mask
    while True:
        number = slots[slot]
        if number < 0:
            number = state[COUNT]
            state[COUNT] += 1
            slots[slot] = number
            hashes[number], starts[number], sizes[number] = found, start, filled - start
            state[USED] = filled
            return number
        if hashes[number] == found and sizes[number] == filled - start and same(arena, starts[number], arena, start, filled - start):
            return number
        slot = (slot + np.uint64(1)) & mask


@inner
def number_parts(data: Any, rows: Any, chosen: Any, places: Any, seed: Any, table: Any, out: Any) -> None:
    """Fill `out` with the number of each chosen row's part, new ones numbered in order of appearance; -1 where it lacks the part.

    `places` are the columns where the part begins and ends, then those of what is left out of it, in order.
    """
    arena, state = table[4], table[5]
    for place in range(len(chosen)):
        row = rows[chosen[place]]
        at, end = row[places[0]], row[places[1]]
        if end == 0:
            out[place] = -1
            continue
        start = filled = state[USED]
        for cut in range(2, len(places), 2):
            if row[places[cut + 1]]:
                filled = copy(data, at, row[places[cut]] - at, arena, filled)
                at = row[places[cut + 1]]
        filled = copy(data, at, end - at, arena, filled)
        out[place] = _number(start, filled, seed, table)


@inner
def number_spans(data: Any, spans: Any, seed: Any, table: Any, out: Any) -> None:
    """As `number_parts`, of parts that begin and end where `spans` says; -1 where one is empty."""
    arena, state = table[4], table[5]
    for place in range(len(spans)):
        at, end = spans[place, 0], spans[place, 1]
        if at == end:
            out[place] = -1
            continue
        start = state[USED]
        out[place] = _number(start, copy(data, at, end - at, arena, start), seed, table)
