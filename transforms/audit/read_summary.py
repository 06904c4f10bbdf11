"""Summaries of reads: one row for a window and key, which merges exactly with others of the same."""

from __future__ import annotations

import heapq
from collections import Counter
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final
from zlib import crc32

import msgspec

from transforms.audit import avro

if TYPE_CHECKING:
    from collections.abc import Iterable

NAMES_KEPT: Final = 16
ADDRESSES_KEPT: Final = 8
AUDIT_IDS_KEPT: Final = 4
GROUPS_KEPT: Final = 10_000
OTHER: Final = "__other__"
OTHER_KEY: Final = (OTHER, *[None] * 9)

Key = tuple[Any, ...]


class Sample(msgspec.Struct, array_like=True):
    """The `kept` smallest values by hash, with their occurrences, and how many occurrences other values had.

    Taking the smallest by hash makes merging exact: a value in the sample of the whole is in that of every part that saw it.
    """

    kept: int
    values: dict[str, int] = {}
    omitted: int = 0

    def add(self, value: str, count: int = 1) -> None:
        """Count `count` occurrences of a value."""
        values = self.values
        if value in values:
            values[value] += count
            return
        values[value] = count
        if len(values) > 8 * self.kept:
            self.trim()

    def trim(self) -> None:
        """Leave the smallest by hash."""
        if len(self.values) > self.kept:
            smallest = heapq.nsmallest(self.kept, self.values, key=_sample_order)
            left = {value: self.values[value] for value in smallest}
            self.omitted += sum(self.values.values()) - sum(left.values())
            self.values = left

    def merge(self, other: Sample) -> None:
        """Add another sample of the same size."""
        for value, count in other.values.items():
            self.values[value] = self.values.get(value, 0) + count
        self.omitted += other.omitted
        self.trim()

    def encoded(self) -> bytes:
        """The array and its count of omitted occurrences."""
        self.trim()
        return avro.array([avro.string(value) for value in sorted(self.values)]) + avro.long(self.omitted)


def _sample_order(value: str) -> tuple[int, str]:
    return crc32(value.encode("utf-8", "surrogatepass")), value


class ReadSummary(msgspec.Struct, array_like=True):
    """One row, or the part of it that one worker saw."""

    cluster: str
    window: int
    key: Key
    count: int = 0
    merged: int = 0
    size: int = 0
    first: int = 0
    last: int = 0
    names: Sample = msgspec.field(default_factory=lambda: Sample(NAMES_KEPT))
    addresses: Sample = msgspec.field(default_factory=lambda: Sample(ADDRESSES_KEPT))
    audit_ids: Sample = msgspec.field(default_factory=lambda: Sample(AUDIT_IDS_KEPT))
    order: tuple[int, int, int, int] = (0, 0, 0, 0)  # (stageTimestamp, file, offset, item) of the exemplar
    exemplar: bytes = b""  # an encoded audit_event

    def merge(self, other: ReadSummary) -> None:
        """Add another part of the row, or a row that spills into `__other__`."""
        if not self.count or other.order < self.order:
            self.order, self.exemplar = other.order, other.exemplar
        self.first = min(self.first, other.first) if self.count else other.first
        self.last = max(self.last, other.last) if self.count else other.last
        self.count += other.count
        self.merged += other.merged
        self.size += other.size
        self.names.merge(other.names)
        self.addresses.merge(other.addresses)
        self.audit_ids.merge(other.audit_ids)

    def encoded(self, length: int, *, late: bool = False) -> bytes:
        """The row as a record of `schemas/read_summary.avsc`; `length` of the window in microseconds, `late`: it was closed."""
        *texts, code = self.key
        return b"".join(
            (
                avro.string(self.cluster),
                avro.long(self.window),
                avro.long(self.window + length),
                avro.TRUE if late else avro.FALSE,
                *map(avro.nullable, texts),
                avro.NULL if code is None else avro.SOME + avro.long(code),
                avro.long(self.count),
                avro.long(self.merged),
                avro.long(self.size),
                avro.long(self.first),
                avro.long(self.last),
                self.names.encoded(),
                self.addresses.encoded(),
                self.audit_ids.encoded(),
                avro.SOME + self.exemplar if self.exemplar else avro.NULL,
            )
        )


def key_hash(cluster: str, key: Key) -> bytes:
    """What decides which groups of a crowded window stay: the smallest."""
    return blake2b(msgspec.msgpack.encode((cluster, key)), digest_size=8).digest()


def merge_rows(rows: Iterable[ReadSummary], limit: int = GROUPS_KEPT) -> list[ReadSummary]:
    """Rows of one window merged by cluster and key, by key hash; past `limit` groups the rest becomes one row `__other__`.

    Exact in any order and any cut: a group that stays in the whole stays in every part. Memory is bounded by the limit.
    """
    groups: dict[tuple[str, Key], ReadSummary] = {}
    spilled: dict[str, ReadSummary] = {}
    for row in rows:
        if row.key == OTHER_KEY:
            _spill(spilled, row)
            continue
        found = groups.get((row.cluster, row.key))
        if found is None:
            groups[row.cluster, row.key] = row
            if len(groups) > 2 * limit:
                groups = _bounded(groups, limit, spilled)
        else:
            found.merge(row)
    if len(groups) > limit:
        groups = _bounded(groups, limit, spilled)
    ordered = sorted(groups.values(), key=lambda row: (row.cluster, key_hash(row.cluster, row.key)))
    return ordered + [spilled[cluster] for cluster in sorted(spilled)]


def _bounded(groups: dict[tuple[str, Key], ReadSummary], limit: int, spilled: dict[str, ReadSummary]) -> dict[tuple[str, Key], ReadSummary]:
    staying = set(heapq.nsmallest(limit, groups, key=lambda group: (key_hash(*group), group[0])))
    for group, row in groups.items():
        if group not in staying:
            _spill(spilled, row)
    return {group: row for group, row in groups.items() if group in staying}


def _spill(spilled: dict[str, ReadSummary], row: ReadSummary) -> None:
    other = spilled.get(row.cluster)
    if other is None:
        other = spilled[row.cluster] = ReadSummary(row.cluster, row.window, OTHER_KEY)
    other.merge(row)


def totals(rows: Iterable[ReadSummary]) -> Counter[str]:
    """Sums of count, mergedStages and bytes."""
    out: Counter[str] = Counter()
    for row in rows:
        out.update(count=row.count, merged=row.merged, bytes=row.size)
    return out
