"""Eight bytes at a time from an array of bytes, wherever they begin: what lets compiled loops run at the memory's speed."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

# Nothing here may need Python or numba at run time: the machine code is loaded without them.
OPTIONS: Final[dict[str, Any]] = {"nogil": True, "_nrt": False}
inner: Any = njit(**OPTIONS)
given_code: Any = intrinsic


@given_code
def load(typing_context: Any, array: Any, at: Any) -> Any:  # noqa: ARG001 - numba's signature
    """The eight bytes from `at` on, lowest first. That there are eight is for the caller to know."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        held = context.make_array(signature.args[0])(context, builder, arguments[0])
        pointer = builder.gep(held.data, [arguments[1]])
        word = builder.load(builder.bitcast(pointer, ir.IntType(64).as_pointer()))
        word.align = 1
        return word

    return types.uint64(array, types.intp), generate


@inner
def word_at(data: Any, at: int, end: int) -> Any:
    """Eight bytes from `at` on; what would stand at `end` and behind is zero."""
    if at + 8 <= end:
        return load(data, np.intp(at))
    word = np.uint64(0)
    for place in range(end - at):
        word |= np.uint64(data[at + place]) << np.uint64(8 * place)
    return word


@inner
def same(one: Any, at: int, other: Any, there: int, size: int) -> bool:
    """Whether `size` bytes of one array are those of another."""
    place = 0
    while place + 8 <= size:
        if load(one, np.intp(at + place)) != load(other, np.intp(there + place)):
            return False
        place += 8
    while place < size:
        if one[at + place] != other[there + place]:
            return False
        place += 1
    return True


@inner
def copy(source: Any, at: int, size: int, target: Any, there: int) -> int:
    """Copy `size` bytes; where the copy ends. Less than none is none."""
    if size <= 0:
        return there
    first, then = np.uint64(at), np.uint64(there)  # indices that cannot count from the end: so the loop becomes one move
    for place in range(np.uint64(size)):
        target[then + place] = source[first + place]
    return there + size
