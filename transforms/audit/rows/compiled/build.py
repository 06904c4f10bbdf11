"""Compile the entries to machine code for this processor."""

from __future__ import annotations

from typing import Any

from numba import njit, types

from transforms.audit.rows.compiled.eight_bytes import OPTIONS
from transforms.audit.rows.compiled.entries import ENTRIES

_ARGUMENT = types.CPointer(types.int64)


def build() -> dict[str, tuple[str, bytes]]:
    """By entry: the symbol of its function, and the object file that holds it.

    The function returns a status, never used for nothing here fails, and takes two pointers for it before its own (numba's
    calling convention).
    """
    out = {}
    options: dict[str, Any] = OPTIONS | {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
    for name, function in ENTRIES.items():
        compiled: Any = njit((_ARGUMENT,), **options)(function)
        overload = compiled.overloads[(_ARGUMENT,)]
        _, kind, (code, _) = overload.library.serialize_using_object_code()
        if kind != "object":
            raise RuntimeError(f"numba gave {kind} for {name}")
        out[name] = (overload.fndesc.llvm_func_name, code)
    return out
