"""Many patterns in one pass: Hyperscan, compiled once for all threads, with working memory for each."""

from __future__ import annotations

import hashlib
import platform
from importlib.metadata import version
from threading import Lock, local
from typing import TYPE_CHECKING, Any, Final

import hyperscan
import numpy as np

from transforms.audit.rows.kernels import keep_code, kept_code

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

ALL: Final = "all"
_MANY: Final = 20  # patterns
MOST_PLACES: Final = 1 << 18
_NUMBER_BITS: Final = 8
_NUMBER: Final = (1 << _NUMBER_BITS) - 1


class Scanner:
    """Finds which of some patterns, each a number and a regular expression, a text holds; compiled when first asked.

    Letters match in any case and a dot matches all, unless a pattern says otherwise.

    Args:
        patterns: several may share a number. The number 0 is told by where the match ends, the others, which are negative, as they are.
        every: tell every place of pattern 0 and not only the first; `ALL`: of every pattern.
    """

    def __init__(self, patterns: Sequence[tuple[int, bytes]], *, every: bool | str = False) -> None:
        self._patterns = patterns
        self._every = every
        self._own = local()
        self._lock = Lock()
        self._database: hyperscan.Database | None = None

    def __call__(self, text: bytes | memoryview) -> list[int]:
        """What was found: places from left to right, each other number once and anywhere between them."""
        found: list[int] = []
        scan, scratch = self._own.__dict__.get("ready") or self._prepare()
        scan(text, _note, 0, found, scratch)  # by position: names would cost half of what a short text does
        return found

    def places(self, text: bytes | memoryview) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
        """The numbers of all matches, and where they end; None where they are too many to be worth telling.

        In no order: Hyperscan promises none between patterns.
        """
        found: list[int] = []
        scan, scratch = self._own.__dict__.get("ready") or self._prepare()
        try:
            scan(text, _note_both, 0, found, scratch)
        except hyperscan.ScanTerminated:
            return None
        both = np.array(found, dtype=np.int64)
        return -(both & _NUMBER), both >> _NUMBER_BITS

    def _prepare(self) -> tuple[Any, hyperscan.Scratch]:
        with self._lock:
            if self._database is None:
                self._database = self._kept() or self._compiled()
            # Working memory serves one scan at a time.
            self._own.ready = ready = self._database.scan, hyperscan.Scratch(self._database)
        return ready

    def _compiled(self) -> hyperscan.Database:
        numbers, expressions = zip(*self._patterns, strict=True)
        every = hyperscan.HS_FLAG_DOTALL | hyperscan.HS_FLAG_CASELESS
        told = [self._every == ALL or (self._every and not number) for number in numbers]
        flags = [every if each else every | hyperscan.HS_FLAG_SINGLEMATCH for each in told]
        database = hyperscan.Database(mode=hyperscan.HS_MODE_BLOCK)
        database.compile(expressions=expressions, ids=[-number for number in numbers], elements=len(numbers), flags=flags)
        if len(numbers) >= _MANY:
            keep_code(self._name(), hyperscan.dumpb(database))
        return database

    def _kept(self) -> hyperscan.Database | None:
        """The database as another process compiled it, where it takes long: an eighth of a second at every start."""
        code = kept_code(self._name()) if len(self._patterns) >= _MANY else None
        try:
            return None if code is None else hyperscan.loadb(code, hyperscan.HS_MODE_BLOCK)
        except hyperscan.HyperscanError:  # made for another processor
            return None

    def _name(self) -> str:
        told = (version("hyperscan"), platform.platform(), platform.machine(), self._every, self._patterns)
        return f"scan-{hashlib.sha256(repr(told).encode()).hexdigest()[:32]}"


def _note(number: int, _start: int, end: int, _flags: int, found: list[int]) -> None:
    found.append(-number or end)


def _note_both(number: int, _start: int, end: int, _flags: int, found: list[int]) -> bool:
    found.append(end << _NUMBER_BITS | number)
    return len(found) > MOST_PLACES
