"""Ranges by cluster and start, some sixty bytes each: where files are followed, months of them are held in memory."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_ROW: Final = np.dtype([("start", "<i8"), ("end", "<i8"), ("mac", "V32"), ("unfinished", "?")])
LATEST: Final = 4096  # ranges that are not sorted in yet

Ends = dict[int, set[tuple[bytes, bool]]]  # end of a range to its MACs, each with whether it is an unfinished line


class HeldRanges:
    """Maps (cluster, start) to the ranges that begin there. MACs are of 32 bytes."""

    def __init__(self) -> None:
        self._latest: dict[tuple[str | None, int], Ends] = {}
        self._count = 0
        # Keys, sorted, and the rows that they stand for; each level at least twice as long as the next.
        self._levels: list[tuple[NDArray[np.uint64], NDArray[np.void]]] = []
        self._keys: dict[str | None, int] = {}

    def add(self, cluster: str | None, start: int, end: int, mac: bytes, *, unfinished: bool) -> None:
        """Hold a range."""
        self._latest.setdefault((cluster, start), {}).setdefault(end, set()).add((mac, unfinished))
        self._count += 1
        if self._count >= LATEST:
            self._sort_in()

    def at(self, cluster: str | None, start: int) -> Ends:
        """The ranges that begin there."""
        out = {end: set(macs) for end, macs in self._latest.get((cluster, start), {}).items()}
        key = self._key(cluster, start)
        for keys, rows in self._levels:
            for row in rows[np.searchsorted(keys, key) : np.searchsorted(keys, key, side="right")]:
                if row["start"] == start:
                    out.setdefault(int(row["end"]), set()).add((row["mac"].tobytes(), bool(row["unfinished"])))
        return out

    def _key(self, cluster: str | None, start: int) -> np.uint64:
        if cluster not in self._keys:
            self._keys[cluster] = int.from_bytes(blake2b(repr(cluster).encode(), digest_size=8).digest(), "little")
        return np.uint64(self._keys[cluster] ^ (start * 0x9E3779B97F4A7C15) % (1 << 64))

    def _sort_in(self) -> None:
        flat = [
            (self._key(cluster, start), start, end, mac, unfinished)
            for (cluster, start), ends in self._latest.items()
            for end, macs in ends.items()
            for mac, unfinished in macs
        ]
        keys = np.array([key for key, *_ in flat], dtype=np.uint64)
        rows = np.array([(start, end, np.void(mac.ljust(32, b"\0")), unfinished) for _, start, end, mac, unfinished in flat], dtype=_ROW)
        self._levels.append(_sorted(keys, rows))
        while len(self._levels) > 1 and len(self._levels[-2][0]) < 2 * len(self._levels[-1][0]):
            second, first = self._levels.pop(), self._levels.pop()
            self._levels.append(_sorted(np.concatenate([first[0], second[0]]), np.concatenate([first[1], second[1]])))
        self._latest, self._count = {}, 0


def _sorted(keys: NDArray[np.uint64], rows: NDArray[np.void]) -> tuple[NDArray[np.uint64], NDArray[np.void]]:
    order = np.argsort(keys, kind="stable")
    return keys[order], rows[order]
