"""The parts that lines have in common, each distinct one numbered, judged and encoded once.

Few distinct callers, objects, statuses and annotations make up a log. A part is known by its bytes, compared whole; what is known
of it stands in columns by its number.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from transforms.audit.rows.columns import COUNT, USED
from transforms.audit.rows.kernels import kernels

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

MOST: Final = 1 << 15  # distinct parts of one kind; with more the table starts anew
ARENA: Final = 8 << 20  # bytes of them
_SLOTS: Final = 4 * MOST


class Words:
    """Distinct parts of one kind: their bytes, what they are encoded to, and what is known of them.

    Args:
        judge: what a part is encoded to, and what else is to be known of it; None if it is odd, and with it every line that has it.
    """

    def __init__(self, judge: Callable[[bytes], tuple[bytes, Any] | None]) -> None:
        self._judge = judge
        self._arena = np.empty(ARENA, dtype=np.uint8)
        self._starts, self._sizes = (np.empty(MOST, dtype=np.int32) for _ in range(2))
        self._state = np.zeros(2, dtype=np.int64)
        slots, hashes = np.full(_SLOTS, -1, dtype=np.int32), np.empty(MOST, dtype=np.uint64)
        self._table = (slots, hashes, self._starts, self._sizes, self._arena, self._state)  # as `number_parts` takes it
        self._seed = np.uint64(secrets.randbits(64))
        self.known: list[Any] = []
        self.plain = np.zeros(MOST, dtype=bool)
        self.encoded = np.empty(ARENA, dtype=np.uint8)
        self._filled = 0
        self.places = np.zeros((MOST, 2), dtype=np.int32)  # where each part's encoding begins and ends

    def room(self, rows: int, size: int) -> bool:
        """Whether so many more parts of so many bytes in all fit."""
        return bool(self._state[COUNT] + rows <= len(self._starts) and self._state[USED] + size <= len(self._arena))

    def number(self, data: NDArray[np.uint8], rows: NDArray[np.int32], chosen: NDArray[np.int64], places: tuple[int, ...]) -> Any:
        """The numbers of the chosen rows' parts, -1 for none; what is new is judged."""
        out = np.empty(len(chosen), dtype=np.int32)
        kernels().number_parts(data, rows, chosen, np.array(places), self._seed, *self._table, out)
        self._learn_all()
        return out

    def number_spans(self, data: NDArray[np.uint8], spans: NDArray[np.int64]) -> NDArray[np.int32]:
        """The numbers of the parts that begin and end at these places, -1 for empty ones; what is new is judged."""
        out = np.empty(len(spans), dtype=np.int32)
        kernels().number_spans(data, spans, self._seed, *self._table, out)
        self._learn_all()
        return out

    def _learn_all(self) -> None:
        for part in range(len(self.known), int(self._state[COUNT])):
            self._learn(part)

    def _learn(self, part: int) -> None:
        start = int(self._starts[part])
        found = self._judge(self._arena[start : start + int(self._sizes[part])].tobytes())
        if found is None or self._filled + len(found[0]) > len(self.encoded):
            self.known.append(None)
            return
        self.known.append(found[1])
        self.plain[part] = True
        start, self._filled = self._filled, self._filled + len(found[0])
        self.encoded[start : self._filled] = np.frombuffer(found[0], dtype=np.uint8)
        self.places[part] = start, self._filled
