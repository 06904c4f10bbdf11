"""Read the plain requests of a block as rows: lines that are what an API server writes, member by member (`scan_lines`)."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np
from msgspec import Raw

from transforms.audit.rows.bodies import Bodies
from transforms.audit.rows.columns import ALONE, BODIES, BODIES_END, COLUMNS, DIGEST_LENGTH, END, HIGH, LEVEL, NO_BODIES, NO_ROW, START
from transforms.audit.rows.kernels import kernels
from transforms.audit.rows.parts import parts_for
from transforms.audit.rows.plain_rows import Rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from transforms.audit.account import Account
    from transforms.audit.block import RawBlock

_FEW: Final = 8  # lines are not worth it
_SHORT: Final = 128  # bytes a line: mostly no events, of which columns would take more memory than the lines
_LARGE: Final = 1 << 30  # bytes: columns hold positions as 32 bits
_SEED: Final = np.uint64(secrets.randbits(64))
_skip = msgspec.json.Decoder(Raw).decode
_errors: Final = (msgspec.MsgspecError, UnicodeError, RecursionError)


def read_rows(block: RawBlock) -> tuple[Rows | None, list[tuple[int, int, bytes]] | None]:
    """The plain requests of a block of lines, and the other lines with (offset, item).

    No rows where few would be; and None for the lines where these are not worth columns, for they are few or short.
    """
    data = block.data
    most = len(data) // _SHORT
    ends = None if most < _FEW else _line_ends(data, most)
    if ends is None:
        return None, None
    if len(ends) > 1 and ends[-1] == ends[-2] + 1:
        ends = ends[:-1]
    origins = np.zeros((len(ends), 2), dtype=np.int64)
    origins[1:, 0] = ends[:-1] + 1
    origins[:, 0] += block.offset
    return _rows_of(data, ends, origins, block.account)


def _line_ends(data: bytes, most: int) -> NDArray[np.int64] | None:
    """Where lines end, the last of them with the data; None if there are more than `most`."""
    ends: list[int] = []
    append, find = ends.append, data.find
    at = find(b"\n")
    while at >= 0:
        append(at)
        at = find(b"\n", at + 1)
        if len(ends) > most:
            return None
    append(len(data))
    return np.array(ends, dtype=np.int64)


def read_rows_of_items(items: Sequence[tuple[int, int, bytes]], account: Account) -> tuple[Rows | None, list[tuple[int, int, bytes]]]:
    """The plain requests among records (offset, item, bytes), and the others."""
    data = b"\n".join([record for _, _, record in items])
    ends = _line_ends(data, len(items))
    if ends is not None and len(ends) == len(items):
        return _rows_of(data, ends, np.array([at[:2] for at in items], dtype=np.int64), account)
    # Some have line breaks of their own, as printed JSON has.
    several = [item for item in items if b"\n" in item[2]]
    rows, others = (
        read_rows_of_items([item for item in items if b"\n" not in item[2]], account) if len(several) < len(items) else (None, [])
    )
    return rows, sorted(others + several)


def _rows_of(
    data: bytes, ends: NDArray[np.int64], origins: NDArray[np.int64], account: Account
) -> tuple[Rows | None, list[tuple[int, int, bytes]]]:
    other = np.ones(len(ends), dtype=bool)
    if len(ends) < _FEW or not len(ends) * _SHORT < len(data) < _LARGE:
        return None, _lines(data, ends, origins, other)
    view = np.frombuffer(data, dtype=np.uint8)
    lines = np.zeros((len(ends), COLUMNS), dtype=np.int32)
    moments = np.empty((len(ends), 2), dtype=np.int64)
    partners = np.empty(len(ends), dtype=np.int32)
    compiled = kernels()
    compiled.scan_lines(view, ends, lines, moments)
    slots = np.full(1 << (2 * len(ends)).bit_length(), -1, dtype=np.int32)
    compiled.pair_lines(view, lines, _SEED, slots, partners)
    chosen = np.flatnonzero(partners > NO_ROW)
    found = lines[chosen]
    parts = parts_for(len(chosen), int((found[:, END] - found[:, START] - found[:, BODIES_END] + found[:, BODIES]).sum()))
    if parts is None:
        return None, _lines(data, ends, origins, other)
    numbers = np.empty((len(chosen), len(parts.words)), dtype=np.int32)
    plain = np.ones(len(chosen), dtype=bool)
    for column, (words, places) in enumerate(zip(parts.words, parts.places, strict=True)):
        numbers[:, column] = numbered = words.number(view, lines, chosen, places)
        plain &= words.plain[numbered] | (numbered < 0)
    spans = _bodies(data, lines, chosen, plain)
    paired = partners[chosen] >= 0
    rows = Rows(
        data=data,
        origins=origins,
        lines=lines,
        moments=moments,
        chosen=chosen,
        partners=partners[chosen],
        first_moments=np.where(paired, moments[partners[chosen], 1], -1),
        first_sizes=np.where(paired, (lines[:, END] - lines[:, START])[partners[chosen]], 0).astype(np.int64),
        numbers=numbers,
        parts=parts,
        account=account,
        levels=lines[chosen, LEVEL],
        rules=np.full(len(chosen), -1, dtype=np.int32),
        bodies=Bodies(data, spans.reshape(-1, 2)),
        of=np.arange(len(chosen), dtype=np.int64),
        has=spans[:, 1::2] > 0,
        lowered=np.zeros((len(chosen), 2), dtype=np.int64),
        stripped=np.zeros(len(chosen), dtype=bool),
        waited={},
        digests=np.empty((len(lines), DIGEST_LENGTH), dtype=np.uint8),
        digested=np.zeros(len(lines), dtype=np.uint8),
    ).take(plain)
    other[rows.chosen] = False
    other[rows.partners[rows.partners != ALONE]] = False
    return rows, _lines(data, ends, origins, other)


def _lines(data: bytes, ends: NDArray[np.int64], origins: NDArray[np.int64], wanted: NDArray[np.bool_]) -> list[tuple[int, int, bytes]]:
    starts = np.concatenate([np.zeros(1, dtype=np.int64), ends[:-1] + 1])[wanted]
    spans = zip(origins[wanted].tolist(), starts.tolist(), ends[wanted].tolist(), strict=True)
    return [(offset, item, data[start:end]) for (offset, item), start, end in spans]


def _bodies(data: bytes, lines: NDArray[np.int32], chosen: NDArray[np.int64], plain: NDArray[np.bool_]) -> NDArray[np.int64]:
    """By row, where its request and its response begin and end. A row whose bodies are not valid JSON is no plain one."""
    spans = np.empty((len(chosen), 4), dtype=np.int64)
    states = np.empty(len(chosen), dtype=np.uint8)
    kernels().find_bodies(np.frombuffer(data, dtype=np.uint8), lines, chosen, spans, states)
    plain &= states != NO_BODIES
    with_bodies = np.flatnonzero(plain & (spans.any(axis=1)))
    view = memoryview(data)
    for place, span, state in zip(with_bodies.tolist(), spans[with_bodies].tolist(), states[with_bodies].tolist(), strict=True):
        request, request_end, response, response_end = span
        try:
            if request_end:
                _skip(view[request:request_end])
            if response_end:
                _skip(view[response:response_end])
            if state == HIGH:  # what the decoder skips it does not check
                data[request or response : response_end or request_end].decode()
        except _errors:
            plain[place] = False
    return spans
