"""What was settled lately, so that a followed input is deduplicated across runs: audit IDs at hand, digests on disk.

Each run of a followed input leaves one file of rows (audit ID as a number, stage, digest), sorted by ID. To ask for an ID is
a search in arrays of eight bytes an event; a file is only looked into for an ID that is known. A file is dropped whole when
its time is over, and an ID that is remembered too long costs time, never correctness: digests decide.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Final

import numpy as np

from transforms.audit.audit_ids import hash_ids

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

ROW: Final = np.dtype([("id", "<u8"), ("stage", "u1"), ("digest", "V16")])
# What a row says: an event of this stage was settled; or, last, that an early stage was given up waiting for.
STAGE_CODES: Final = {"RequestReceived": 0, "ResponseStarted": 1, "ResponseComplete": 2, "Panic": 3}
OTHER_STAGE: Final = 4
GIVEN_UP: Final = 5
MESSAGE: Final = 6  # the ID is that of a broker's message, there is no digest
FINAL_CODES: Final = frozenset({2, 3})
_NO_DIGEST: Final = bytes(16)
_NO_ID: Final = "\0no audit ID"

Known = list[tuple[int, bytes]]  # (stage, digest) of what was settled under one audit ID


def row_id(cluster: str, audit_id: str | None) -> int:
    """The number of an audit ID; events without one share one."""
    return int(hash_ids(cluster, [_NO_ID if audit_id is None else audit_id])[0])


def pack_rows(ids: Sequence[int] | NDArray[np.uint64], stages: bytes, digests: bytes) -> bytes:
    """Rows as bytes, in the order given; `digests` joined."""
    rows = np.empty(len(stages), dtype=ROW)
    rows["id"] = ids
    rows["stage"] = np.frombuffer(stages, dtype=np.uint8)
    rows["digest"] = np.frombuffer(digests, dtype="V16")
    return rows.tobytes()


class SettledRows:
    """Collects the rows of what is settled."""

    def __init__(self) -> None:
        self._groups: list[tuple[str, str | None]] = []
        self._stages = bytearray()
        self._digests: list[bytes] = []
        self._packed: list[bytes] = []

    def add_many(self, ids: NDArray[np.uint64], stage: str, digests: bytes) -> None:
        """Events of one stage, by the numbers of their audit IDs; `digests` joined."""
        self._packed.append(pack_rows(ids, bytes([STAGE_CODES[stage]]) * len(ids), digests))

    def add(self, cluster: str, audit_id: str | None, stage: str, digested: bytes) -> None:
        """An event."""
        self._groups.append((cluster, audit_id))
        self._stages.append(STAGE_CODES.get(stage, OTHER_STAGE))
        self._digests.append(digested)

    def give_up(self, cluster: str, audit_id: str | None) -> None:
        """An early stage that waited too long."""
        self._groups.append((cluster, audit_id))
        self._stages.append(GIVEN_UP)
        self._digests.append(_NO_DIGEST)

    def packed(self) -> bytes:
        """The rows so far, which are let go."""
        ids = np.empty(len(self._groups), dtype=np.uint64)
        clusters: dict[str, list[int]] = {}
        for at, (cluster, _) in enumerate(self._groups):
            clusters.setdefault(cluster, []).append(at)
        for cluster, places in clusters.items():
            ids[places] = hash_ids(cluster, [_NO_ID if (found := self._groups[at][1]) is None else found for at in places])
        out = b"".join((*self._packed, pack_rows(ids, bytes(self._stages), b"".join(self._digests))))
        self.__init__()  # type: ignore[misc]
        return out


def message_rows(identities: Sequence[str]) -> bytes:
    """Rows that remember a broker's messages."""
    return pack_rows(hash_ids("message", identities), bytes([MESSAGE]) * len(identities), _NO_DIGEST * len(identities))


def encode_rows(packed: Iterable[bytes]) -> bytes:
    """A file of rows (NumPy's format), sorted."""
    rows = np.frombuffer(b"".join(packed), dtype=ROW)
    out = io.BytesIO()
    np.save(out, rows[np.argsort(rows["id"], kind="stable")])
    return out.getvalue()


class Memory:
    """The files of rows of the last runs. Holds their IDs in memory, eight bytes each; digests are mapped from disk."""

    def __init__(self) -> None:
        self._files: dict[str, NDArray[np.void]] = {}
        self._levels: list[NDArray[np.uint64]] = []  # sorted, each at least twice as long as the next
        self._gone = 0  # IDs in the levels that no file has any longer

    def __len__(self) -> int:
        return sum(map(len, self._files.values()))

    def hold(self, paths: Iterable[str]) -> None:
        """Hold just these files. Raises OSError, ValueError."""
        wanted = list(paths)
        for path in set(self._files).difference(wanted):
            self._gone += len(self._files.pop(path))
        for path in wanted:
            if path not in self._files:
                rows = np.load(path, mmap_mode="r", allow_pickle=False)
                if rows.dtype != ROW or rows.ndim != 1:
                    raise ValueError(f"{path}: not a file of rows")
                self._files[path] = rows
                self._levels.append(np.array(rows["id"]))
        if self._gone > len(self):
            self._levels = [np.array(rows["id"]) for rows in self._files.values()]
            self._gone = 0
        self._levels = _levelled(self._levels)

    def known(self, ids: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Which of the numbers may be remembered."""
        found = np.zeros(len(ids), dtype=bool)
        for level in self._levels:
            found |= level[np.minimum(np.searchsorted(level, ids), len(level) - 1)] == ids
        return found

    def recall(self, ids: Iterable[int]) -> dict[int, Known]:
        """What was settled under each of the numbers that are remembered."""
        wanted = np.unique(np.fromiter(ids, dtype=np.uint64))
        wanted = wanted[self.known(wanted)]
        out: dict[int, Known] = {}
        if not len(wanted):
            return out
        for rows in self._files.values():
            starts = np.searchsorted(rows["id"], wanted)
            ends = np.searchsorted(rows["id"], wanted, side="right")
            for at in np.flatnonzero(ends > starts):
                for row in rows[starts[at] : ends[at]]:
                    out.setdefault(int(wanted[at]), []).append((int(row["stage"]), bytes(row["digest"])))
        return out


def _levelled(levels: list[NDArray[np.uint64]]) -> list[NDArray[np.uint64]]:
    """Few arrays from many: two of like size become one, so that each ID is moved a logarithmic number of times."""
    out: list[NDArray[np.uint64]] = []
    for level in sorted((level for level in levels if len(level)), key=len, reverse=True):
        out.append(level)
        while len(out) > 1 and len(out[-2]) < 2 * len(out[-1]):
            merged = np.concatenate([out.pop(), out.pop()])
            merged.sort(kind="stable")
            out.append(merged)
    return out
