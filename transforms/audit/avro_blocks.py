"""Collect encoded records into compressed Avro blocks, by kind and hour."""

from __future__ import annotations

from typing import Final

import msgspec

from transforms.audit import avro

BLOCK_BYTES: Final = 4 << 20
BUFFER_BYTES: Final = 24 << 20


class AvroBlock(msgspec.Struct, array_like=True):
    """Encoded records of one kind and hour, compressed: what stands in a container file between its markers.

    `order` sorts the blocks of a file, so that the same input gives the same file.
    """

    kind: str
    hour: int
    order: tuple[int, int, int]
    count: int
    size: int  # of the records, not compressed
    packed: bytes


class BlockBuilder:
    """Collects records by kind and hour, and gives blocks of about four MiB; memory is bounded whatever the mix of hours."""

    def __init__(self, file: int, start: int) -> None:
        self._order = (file, start)
        self._taken = 0
        self._records: dict[tuple[str, int], list[bytes]] = {}
        self._sizes: dict[tuple[str, int], int] = {}
        self._held = 0

    def add(self, kind: str, hour: int, record: bytes) -> None:
        """Add one record."""
        at = (kind, hour)
        found = self._records.get(at)
        if found is None:
            self._records[at] = [record]
            self._sizes[at] = len(record)
        else:
            found.append(record)
            self._sizes[at] += len(record)
        self._held += len(record)

    def full(self) -> list[AvroBlock]:
        """Blocks that are large enough, or must go for others to have room."""
        out = [self._take(at) for at, size in list(self._sizes.items()) if size >= BLOCK_BYTES]
        if self._held > BUFFER_BYTES:
            out += self.rest()
        return out

    def rest(self) -> list[AvroBlock]:
        """All that is left."""
        return [self._take(at) for at in list(self._records)]

    def _take(self, at: tuple[str, int]) -> AvroBlock:
        records = self._records.pop(at)
        size = self._sizes.pop(at)
        self._held -= size
        self._taken += 1
        return AvroBlock(at[0], at[1], (*self._order, self._taken), len(records), size, avro.compress(b"".join(records)))


def rebuilt(blocks: list[AvroBlock], smallest: int = 1 << 20) -> list[AvroBlock]:
    """The blocks in order, small ones joined: compression wants company, and a block costs a reader time."""
    out: list[AvroBlock] = []
    small: list[AvroBlock] = []
    for block in sorted(blocks, key=lambda block: block.order):
        if block.size >= smallest:
            out.append(block)
            continue
        small.append(block)
        if sum(one.size for one in small) >= BLOCK_BYTES:
            out.append(_joined(small))
            small = []
    if small:
        out.append(_joined(small))
    return out


def _joined(blocks: list[AvroBlock]) -> AvroBlock:
    raw = b"".join(avro.decompress(block.packed) for block in blocks)
    first = blocks[0]
    return AvroBlock(first.kind, first.hour, first.order, sum(block.count for block in blocks), len(raw), avro.compress(raw))
