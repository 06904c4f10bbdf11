"""Collect encoded records into compressed Avro blocks, by kind and hour, like beside like.

An event compresses best beside others of its object: a pod's create, its updates and its patches share most of their bodies.
So records are sorted by resource, namespace and name before they are cut into blocks, first within a split, then, resource
by resource, across splits. On a gigabyte with bodies that saves a quarter of what the plain order takes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from transforms.audit import avro

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

BLOCK_BYTES: Final = 4 << 20
HELD_BYTES: Final = 48 << 20  # records that wait to be sorted
THOROUGH: Final = avro.LEVEL
QUICK: Final = avro.IN_TRANSIT
LARGE_RECORD: Final = 1500  # bytes; smaller records, without bodies, gain 1 % by the thorough level, for five times the work
WHOLE_BYTES: Final = 2 << 20  # a block of this size gains nothing by others beside it, so it is compressed once and for all

SortKey = tuple[str, str, str]  # resource, namespace, name
Place = tuple[str, int, int]  # path, offset, length


class AvroBlock(msgspec.Struct, array_like=True):
    """Encoded records of one kind and hour, compressed: what stands in a container file between its markers.

    `order` sorts the blocks of a file, so that the same input gives the same file: resource, input, split, number. `whole`
    is a block that goes to its file as it is; others are joined first. `place` is where the bytes of a spilled block lie, whose
    `packed` is empty.
    """

    kind: str
    hour: int
    order: tuple[str, int, int, int]
    count: int
    size: int  # of the records, not compressed
    packed: bytes
    whole: bool = False
    place: Place | None = None


class BlockBuilder:
    """Collects records of a split; memory is bounded whatever their mix of hours and resources."""

    def __init__(self, file: int, start: int) -> None:
        self._place = (file, start)
        self._taken = 0
        # By key: an object's records come one after another, and few objects make up a log.
        self._records: dict[tuple[str, int], dict[SortKey, list[bytes]]] = {}
        self._held = 0

    def add(self, kind: str, hour: int, key: SortKey, record: bytes) -> None:
        """Add one record."""
        records = self._records.get((kind, hour))
        if records is None:
            records = self._records[kind, hour] = {}
        found = records.get(key)
        if found is None:
            records[key] = [record]
        else:
            found.append(record)
        self._held += len(record)

    def add_many(self, kind: str, records: Iterable[tuple[int, SortKey, bytes]]) -> None:
        """Add records, each with its hour and key: `add` for thousands."""
        last: int | None = None
        held = 0
        of_hour: dict[SortKey, list[bytes]] = {}
        for hour, key, record in records:
            if hour != last:
                of_hour, last = self._records.setdefault((kind, hour), {}), hour
            found = of_hour.get(key)
            if found is None:
                of_hour[key] = [record]
            else:
                found.append(record)
            held += len(record)
        self._held += held

    def full(self) -> list[AvroBlock]:
        """Nothing, until so much is held that it must go."""
        return self.rest() if self._held > HELD_BYTES else []

    def rest(self) -> list[AvroBlock]:
        """All that is held, sorted, as blocks in transit."""
        out: list[AvroBlock] = []
        for (kind, hour), records in self._records.items():
            run: list[bytes] = []
            size = 0
            resource = ""
            for key in sorted(records):
                if run and key[0] != resource:
                    out.append(self._block(kind, hour, resource, run))
                    run, size = [], 0
                resource = key[0]
                size_of_all = sum(map(len, records[key]))
                if size + size_of_all < BLOCK_BYTES:
                    run += records[key]
                    size += size_of_all
                    continue
                for record in records[key]:
                    if size >= BLOCK_BYTES:
                        out.append(self._block(kind, hour, resource, run))
                        run, size = [], 0
                    run.append(record)
                    size += len(record)
            out.append(self._block(kind, hour, resource, run))
        self._records.clear()
        self._held = 0
        return out

    def _block(self, kind: str, hour: int, resource: str, records: list[bytes]) -> AvroBlock:
        self._taken += 1
        raw = b"".join(records)
        order = (resource, *self._place, self._taken)
        whole = len(raw) >= WHOLE_BYTES
        level = _level(len(raw), len(records)) if whole else avro.IN_TRANSIT
        return AvroBlock(kind, hour, order, len(records), len(raw), avro.compress(raw, level), whole)


def held(block: AvroBlock) -> bytes:
    """The compressed records of a block that is not spilled."""
    return block.packed


def rebuilt(blocks: Iterable[AvroBlock], fetch: Callable[[AvroBlock], bytes] = held) -> Iterator[AvroBlock]:
    """The blocks of a file, from those in transit of one kind and hour: the whole ones, and the rest joined to about four MiB."""
    waiting: list[AvroBlock] = []
    size = 0
    for block in sorted(blocks, key=lambda block: block.order):
        if block.whole:
            yield block
            continue
        if waiting and size + block.size > BLOCK_BYTES + BLOCK_BYTES // 4:
            yield _joined(waiting, fetch)
            waiting, size = [], 0
        waiting.append(block)
        size += block.size
        if size >= BLOCK_BYTES:
            yield _joined(waiting, fetch)
            waiting, size = [], 0
    if waiting:
        yield _joined(waiting, fetch)


def _joined(blocks: list[AvroBlock], fetch: Callable[[AvroBlock], bytes]) -> AvroBlock:
    raw = b"".join(avro.decompress(fetch(block)) for block in blocks)
    count = sum(block.count for block in blocks)
    first = blocks[0]
    packed = avro.compress(raw, _level(len(raw), count))
    return AvroBlock(first.kind, first.hour, first.order, count, len(raw), packed, whole=True)


def _level(size: int, count: int) -> int:
    return THOROUGH if size > LARGE_RECORD * count else QUICK
