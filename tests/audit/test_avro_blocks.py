"""Records become blocks, and those of many splits the blocks of a file."""

from __future__ import annotations

import random

from transforms.audit import avro
from transforms.audit.avro_blocks import BLOCK_BYTES, WHOLE_BYTES, AvroBlock, BlockBuilder, rebuilt

SIZE = 4096


def records_of(number: int, count: int) -> list[bytes]:
    chance = random.Random(number)
    return [chance.randbytes(64) * (SIZE // 64) for _ in range(count)]


def blocks_of(split: int, runs: dict[str, list[bytes]]) -> list[AvroBlock]:
    builder = BlockBuilder(0, split)
    for resource, records in runs.items():
        for record in records:
            builder.add("events", 0, (resource, "", ""), record)
    return builder.rest()


def record_bytes(blocks: list[AvroBlock]) -> list[bytes]:
    raw = b"".join(avro.decompress(block.packed) for block in blocks)
    return sorted(raw[at : at + SIZE] for at in range(0, len(raw), SIZE))


def test_a_block_of_two_mib_goes_to_its_file_as_it_is_and_smaller_ones_are_joined():
    splits = [{"pods": records_of(split, 1600), "leases": records_of(10 + split, 3)} for split in range(3)]
    blocks = [block for split, runs in enumerate(splits) for block in blocks_of(split, runs)]
    assert [(block.order[0], block.count, block.whole) for block in blocks] == [
        ("leases", 3, False),
        ("pods", 1024, True),
        ("pods", 576, True),
    ] * 3
    files = list(rebuilt(reversed(blocks)))
    assert [(block.order[0], block.count) for block in files] == [("pods", 1024), ("pods", 576)] * 3 + [("leases", 9)]
    assert all(any(block is whole for whole in blocks) for block in files[:-1])
    assert record_bytes(files) == sorted(record for runs in splits for records in runs.values() for record in records)


def test_what_many_splits_have_little_of_becomes_blocks_of_about_four_mib():
    blocks = [block for split in range(40) for block in blocks_of(split, {"pods": records_of(split, 60)})]
    assert all(block.size < WHOLE_BYTES and not block.whole for block in blocks)
    *full, rest = rebuilt(blocks)
    assert [BLOCK_BYTES <= block.size <= BLOCK_BYTES + BLOCK_BYTES // 4 for block in full] == [True, True]
    assert sum(block.count for block in [*full, rest]) == 2400
