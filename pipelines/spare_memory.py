"""For a job that goes on for months: the C library's allocator gives back what a run needed, so that memory stays flat.

Left alone, glibc's heap grows for hours. Blocks of a megabyte and small things that outlive them lie side by side in it, and
where the former are freed, holes stay in which the next ones do not fit. Elsewhere than with glibc nothing is done.
"""

from __future__ import annotations

import ctypes
import gc
from functools import cache
from typing import Final

_MMAP_THRESHOLD: Final = -3  # M_MMAP_THRESHOLD of malloc.h
LARGE: Final = 128 << 10  # bytes: glibc's own threshold, until the first large block is freed: then it keeps the next ones


def map_large_blocks() -> None:
    """Have blocks of LARGE and more mapped each by itself, for good, so that they leave no holes. Before the first run."""
    libc = _glibc()
    if libc is not None:
        libc.mallopt(_MMAP_THRESHOLD, LARGE)


def give_back() -> None:
    """After a run: collect what refers to itself, as a graph does with all that it reduced, and give free pages back."""
    gc.collect()  # by itself the collector looks seldom
    libc = _glibc()
    if libc is not None:
        libc.malloc_trim(0)


@cache
def _glibc() -> ctypes.CDLL | None:
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "malloc_trim") and hasattr(libc, "mallopt") else None
