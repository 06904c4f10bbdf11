"""Many patterns in one pass: Hyperscan, compiled once for all threads, with working memory for each."""

from __future__ import annotations

from threading import Lock, local
from typing import TYPE_CHECKING, Any

import hyperscan

if TYPE_CHECKING:
    from collections.abc import Sequence


class Scanner:
    """Finds which of some patterns, each a number and a regular expression, a text holds; compiled when first asked.

    Letters match in any case and a dot matches all, unless a pattern says otherwise.

    Args:
        patterns: several may share a number.
        places: tell every place of pattern 0, by where it ends, and of the other patterns the number negated.
    """

    def __init__(self, patterns: Sequence[tuple[int, bytes]], *, places: bool = False) -> None:
        self._patterns = patterns
        self._note = _note_places if places else _note
        self._single = [hyperscan.HS_FLAG_SINGLEMATCH if number or not places else 0 for number, _ in patterns]
        self._own = local()
        self._lock = Lock()
        self._database: hyperscan.Database | None = None

    def __call__(self, text: bytes) -> list[int]:
        """The numbers of the patterns found, each pattern's once, in any order; places from left to right."""
        found: list[int] = []
        scan, scratch = self._own.__dict__.get("ready") or self._prepare()
        scan(text, match_event_handler=self._note, context=found, scratch=scratch)
        return found

    def _prepare(self) -> tuple[Any, hyperscan.Scratch]:
        with self._lock:
            if self._database is None:
                flags = [single | hyperscan.HS_FLAG_DOTALL | hyperscan.HS_FLAG_CASELESS for single in self._single]
                numbers, expressions = zip(*self._patterns, strict=True)
                database = hyperscan.Database(mode=hyperscan.HS_MODE_BLOCK)
                database.compile(expressions=expressions, ids=numbers, elements=len(numbers), flags=flags)
                self._database = database
            # Working memory serves one scan at a time.
            self._own.ready = ready = self._database.scan, hyperscan.Scratch(self._database)
        return ready


def _note(number: int, _start: int, _end: int, _flags: int, found: list[int]) -> None:
    found.append(number)


def _note_places(number: int, _start: int, end: int, _flags: int, found: list[int]) -> None:
    found.append(-number or end)
