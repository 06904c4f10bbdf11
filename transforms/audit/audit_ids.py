"""Audit IDs as 64-bit numbers, and which of them turn up in more than one place.

Every settled audit ID of a run is compared with every other; as numbers in arrays that costs eight bytes and some
nanoseconds each. Equal numbers for different IDs cost time, never correctness: what is recalled is decided by the IDs.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

_LENGTH: Final = 36  # of a UUID's text
_MIX: Final = np.array(
    [0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0x27D4EB2F165667C5, 0xFF51AFD7ED558CCD], dtype=np.uint64
)
_SHIFT: Final = np.uint64(29)
IDS_LIMIT: Final = 32 << 20  # audit IDs compared in one run: 256 MiB


def _uniform(audit_id: str) -> str:
    if len(audit_id) == _LENGTH and audit_id.isascii():
        return audit_id
    return blake2b(audit_id.encode("utf-8", "surrogatepass"), digest_size=_LENGTH // 2).hexdigest()


def hash_ids(cluster: str, audit_ids: Sequence[str]) -> NDArray[np.uint64]:
    """One number per audit ID of a cluster, the same on every machine."""
    if not audit_ids:
        return np.empty(0, dtype=np.uint64)
    joined = "".join(audit_ids)
    uniform = joined.isascii() and set(map(len, audit_ids)) == {_LENGTH}
    text = (joined if uniform else "".join(map(_uniform, audit_ids))).encode()
    return hash_rows(cluster, np.frombuffer(text, dtype=np.uint8).reshape(-1, _LENGTH))


def hash_rows(cluster: str, rows: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """`hash_ids` of IDs as long as a UUID, as rows of bytes."""
    words = np.zeros((len(rows), 5), dtype="<u8")
    words[:, :4] = np.ascontiguousarray(rows[:, :32]).view("<u8")
    words[:, 4] = np.ascontiguousarray(rows[:, 32:]).view("<u4")[:, 0]
    out = np.full(len(rows), int.from_bytes(blake2b(cluster.encode(), digest_size=8).digest(), "little"), dtype=np.uint64)
    for column, factor in enumerate(_MIX):
        out = (out ^ words[:, column]) * factor
        out ^= out >> _SHIFT
    return out


def hash_groups(groups: Iterable[Any], cluster: str) -> tuple[list[Any], NDArray[np.uint64]]:
    """Groups with their numbers; a group is an audit ID of `cluster`, or (cluster, audit ID)."""
    by_cluster: dict[str, list[Any]] = {}
    for group in groups:
        if isinstance(group, str):
            by_cluster.setdefault(cluster, []).append(group)
        elif isinstance(group, tuple) and isinstance(group[1], str):
            by_cluster.setdefault(group[0], []).append(group)
    ordered: list[Any] = []
    hashes = [np.empty(0, dtype=np.uint64)]
    for name, members in by_cluster.items():
        ordered += members
        hashes.append(hash_ids(name, [group if isinstance(group, str) else group[1] for group in members]))
    return ordered, np.concatenate(hashes)


def find_recalls(
    settled: Sequence[tuple[int, bytes]], loose: Sequence[tuple[int, bytes]], limit: int = IDS_LIMIT
) -> tuple[dict[int, bytes], int]:
    """The audit IDs to recall, by split, and how many settled IDs were beyond the limit.

    `settled` and `loose` are (split, hashes), the hashes as bytes of uint64. Recalled are the settled IDs that turn up
    elsewhere; a split that is reduced again for them must leave loose what it left loose before, so those come along. An ID
    beyond the limit is not compared: its copies are kept, never lost.
    """
    ids, splits = _joined(settled)
    beyond = max(0, len(ids) - limit)
    ids, splits = ids[:limit], splits[:limit]
    order = np.argsort(ids, kind="stable")
    ids, splits = ids[order], splits[order]
    repeated = np.zeros(len(ids), dtype=bool)
    same = ids[1:] == ids[:-1]
    repeated[1:] |= same
    repeated[:-1] |= same
    loose_ids, loose_splits = _joined(loose)
    if len(loose_ids):
        repeated |= np.isin(ids, loose_ids)
    ids, splits = ids[repeated], splits[repeated]
    return {int(split): np.union1d(ids[splits == split], loose_ids[loose_splits == split]).tobytes() for split in np.unique(splits)}, beyond


def _joined(found: Sequence[tuple[int, bytes]]) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Hashes in one array, and the split of each in another."""
    arrays = [np.frombuffer(ids, dtype=np.uint64) for _, ids in found]
    sizes = np.array([len(ids) for ids in arrays], dtype=np.int64)
    return np.concatenate([*arrays, np.empty(0, dtype=np.uint64)]), np.repeat(
        np.array([split for split, _ in found], dtype=np.int64), sizes
    )
