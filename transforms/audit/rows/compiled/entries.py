"""What is called from outside.

Arguments come as (address, length) of arrays and (number, 0), so that machine code is all there is to load.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numba.np.arrayobj import populate_array

from transforms.audit.rows.columns import COLUMNS
from transforms.audit.rows.compiled.bodies import cut_bodies, find_bodies, find_pairs, find_runs, find_space, mask_pairs
from transforms.audit.rows.compiled.encode_rows import encode_rows
from transforms.audit.rows.compiled.number_parts import number_parts, number_spans
from transforms.audit.rows.compiled.pair_lines import pair_lines
from transforms.audit.rows.compiled.scan_lines import scan_lines


def _given(kind: Any, columns: int = 0) -> Any:
    """A compiled function of all arguments and a number: that argument as an array, of rows of so many columns if it has any."""
    array = types.Array(kind, 2 if columns else 1, "C")

    @intrinsic
    def given(typing_context: Any, arguments: Any, at: Any) -> Any:  # noqa: ARG001 - numba's signature
        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:  # noqa: ARG001 - likewise
            pointer, number = values
            word = ir.IntType(64)
            first = builder.shl(number, ir.Constant(word, 1))
            address = builder.load(builder.gep(pointer, [first]))
            length = builder.load(builder.gep(pointer, [builder.add(first, ir.Constant(word, 1))]))
            made = context.make_array(array)(context, builder)
            size = kind.bitwidth // 8
            shape, strides = [length], [ir.Constant(word, size)]
            if columns:
                shape = [builder.sdiv(length, ir.Constant(word, columns)), ir.Constant(word, columns)]
                strides = [ir.Constant(word, size * columns), ir.Constant(word, size)]
            data = builder.inttoptr(address, made.data.type)
            populate_array(made, data=data, shape=shape, strides=strides, itemsize=ir.Constant(word, size), meminfo=None)
            return made._getvalue()  # noqa: SLF001 - as all of numba does

        return array(types.CPointer(types.int64), types.intp), generate

    return given


_bytes, _ints, _longs, _words = (_given(kind) for kind in (types.uint8, types.int32, types.int64, types.uint64))
_lines, _spans, _parts = _given(types.int32, COLUMNS), _given(types.int32, 2), _given(types.int32, 5)
_pairs, _threes, _fours, _twelves = (_given(types.int64, columns) for columns in (2, 3, 4, 12))


def _scan_lines(given: Any) -> None:
    scan_lines(_bytes(given, 0), _longs(given, 1), _lines(given, 2), _pairs(given, 3))


def _pair_lines(given: Any) -> None:
    pair_lines(_bytes(given, 0), _lines(given, 1), np.uint64(given[4]), _ints(given, 3), _ints(given, 4))


def _number_parts(given: Any) -> None:
    table = (_ints(given, 5), _words(given, 6), _ints(given, 7), _ints(given, 8), _bytes(given, 9), _longs(given, 10))
    number_parts(_bytes(given, 0), _lines(given, 1), _longs(given, 2), _longs(given, 3), np.uint64(given[8]), table, _ints(given, 11))


def _number_spans(given: Any) -> None:
    table = (_ints(given, 3), _words(given, 4), _ints(given, 5), _ints(given, 6), _bytes(given, 7), _longs(given, 8))
    number_spans(_bytes(given, 0), _pairs(given, 1), np.uint64(given[4]), table, _ints(given, 9))


def _find_bodies(given: Any) -> None:
    find_bodies(_bytes(given, 0), _lines(given, 1), _longs(given, 2), _fours(given, 3), _bytes(given, 4))


def _cut_bodies(given: Any) -> None:
    cut_bodies(
        _bytes(given, 0), _pairs(given, 1), _longs(given, 2), _bytes(given, 3), _pairs(given, 4), _threes(given, 5), _bytes(given, 6)
    )


def _find_runs(given: Any) -> None:
    find_runs(_bytes(given, 0), _pairs(given, 1), _bytes(given, 2))


def _find_pairs(given: Any) -> None:
    find_pairs(_bytes(given, 0), _longs(given, 1), _pairs(given, 2), _pairs(given, 3))


def _mask_pairs(given: Any) -> None:
    mask_pairs(
        _bytes(given, 0),
        _pairs(given, 1),
        _pairs(given, 2),
        _longs(given, 3),
        _ints(given, 4),
        (_bytes(given, 5), _spans(given, 6)),
        _bytes(given, 7),
        _pairs(given, 8),
        _pairs(given, 9),
    )


def _find_space(given: Any) -> None:
    find_space(_bytes(given, 0), _pairs(given, 1), _bytes(given, 2))


def _encode_rows(given: Any) -> None:
    words = (
        (_bytes(given, 8), _spans(given, 9)),
        (_bytes(given, 10), _spans(given, 11)),
        (_bytes(given, 12), _spans(given, 13)),
        (_bytes(given, 14), _spans(given, 15)),
        (_bytes(given, 16), _spans(given, 17)),
    )
    encode_rows(
        _bytes(given, 0),
        _lines(given, 1),
        _longs(given, 2),
        _longs(given, 3),
        _pairs(given, 4),
        _ints(given, 5),
        _ints(given, 6),
        _parts(given, 7),
        words,
        _bytes(given, 18),
        _fours(given, 19),
        _twelves(given, 20),
        (_bytes(given, 21), _pairs(given, 22)),
        (_bytes(given, 23), _pairs(given, 24)),
        _bytes(given, 25),
        _bytes(given, 26),
        _pairs(given, 27),
        _words(given, 28),
        _words(given, 29),
        _bytes(given, 30),
        _longs(given, 31),
        _bytes(given, 32),
        _bytes(given, 33),
    )


ENTRIES: Final = {
    "scan_lines": _scan_lines,
    "pair_lines": _pair_lines,
    "number_parts": _number_parts,
    "number_spans": _number_spans,
    "find_bodies": _find_bodies,
    "cut_bodies": _cut_bodies,
    "find_runs": _find_runs,
    "find_pairs": _find_pairs,
    "mask_pairs": _mask_pairs,
    "find_space": _find_space,
    "encode_rows": _encode_rows,
}
