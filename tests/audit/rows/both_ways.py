"""Reduce the same input with its plain requests as rows and as events, and say what came out so that it can be compared."""

from __future__ import annotations

import io
from collections import Counter
from contextlib import nullcontext
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final
from unittest import mock

import fastavro
import msgspec
import numpy as np

from tests.audit.reduction import _SCHEMAS, KEY, settings
from transforms.audit import avro
from transforms.audit.account import Account, total
from transforms.audit.apply_policy import apply_policy
from transforms.audit.block import Split
from transforms.audit.memory import ROW
from transforms.audit.merge_stages import StageMerger
from transforms.audit.parse_events import parse_events
from transforms.audit.reduce_all import reduce_all
from transforms.audit.reduce_split import redact_block, strip_block
from transforms.audit.settings import Compiled
from transforms.audit.settle_events import EventSettler, Unit
from transforms.connectors.audit_files import read_blocks
from transforms.connectors.held_messages import hold, let_go, read_split

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from transforms.audit.block import EventBlock, RawBlock
    from transforms.audit.cycle import Cycle

SPLIT: Final = Split(0, "file:audit.log", "audit.log")


class Came(msgspec.Struct):
    """What came of an input. Records and rows of memory stand in no order."""

    records: Counter[Any]
    reads: Counter[Any]
    accounts: list[Account]
    sizes: dict[str, int]  # of all accounts together, for of the ranges of a split any may have those of another
    waiting: list[bytes]
    settled: Counter[bytes]


class Both(msgspec.Struct):
    """What came of an input both ways, and how many requests went as rows, right after they were read."""

    events: Came
    rows: Came
    as_rows: int
    waiting: list[Any] = []
    settled: bytes = b""


def both_ways(
    data: bytes,
    *,
    block: int = 4 << 20,
    split: Split = SPLIT,
    cycle: Cycle | None = None,
    waiting: Sequence[Any] = (),
    **changes: Any,
) -> Both:
    """Reduce a file of these bytes both ways, in blocks of so many bytes."""

    def read(split: Split) -> Iterator[RawBlock]:
        return read_blocks(split, KEY, block, lambda _: nullcontext(io.BytesIO(data)), piece_size=block)

    return _both(read, split, cycle, waiting, changes)


def both_ways_of_messages(
    messages: Sequence[bytes], *, piece: int = 4 << 20, cycle: Cycle | None = None, waiting: Sequence[Any] = (), **changes: Any
) -> Both:
    """Reduce a broker's messages both ways."""
    path = hold(list(enumerate(messages)))
    split = Split(0, "kafka://test/audit", path, 0, len(messages))
    found = _both(lambda split: read_split(split, KEY, piece), split, cycle, waiting, changes)
    let_go(path)
    return found


def _both(
    read: Callable[[Split], Iterator[RawBlock]], split: Split, cycle: Cycle | None, waiting: Sequence[Any], changes: dict[str, Any]
) -> Both:
    asked = settings(**changes)
    came: list[Came] = []
    seen = [0, 0]
    for rows in (False, True):

        def parse(block: RawBlock, key: bytes, *, rows: bool, asked: bool = rows) -> EventBlock:
            assert rows
            parsed = parse_events(block, key, rows=asked)
            seen[asked] += 0 if parsed.rows is None else len(parsed.rows)
            return parsed

        with mock.patch("transforms.audit.reduce_split.parse_events", parse):
            found = reduce_all([split], read, Compiled(asked, KEY), cycle=cycle, waiting=waiting)
        came.append(
            Came(
                Counter(record for block in found.blocks for record in _records(block)),
                Counter(row.encoded(asked.window) for row in found.reads),
                [msgspec.structs.replace(account, sizes={}) for account in found.accounts],
                total(found.accounts).sizes,
                sorted(map(msgspec.msgpack.encode, found.waiting)),
                Counter(row.tobytes() for row in np.frombuffer(found.settled, dtype=ROW)),
            )
        )
    assert not seen[False]
    return Both(*came, seen[True], found.waiting, found.settled)


def _records(block: Any) -> list[Any]:
    data = avro.decompress(block.packed)
    stream = io.BytesIO(data)
    ends = [0]
    for _ in range(block.count):
        fastavro.schemaless_reader(stream, _SCHEMAS[block.kind], None)
        ends.append(stream.tell())
    assert ends[-1] == len(data)
    return [(block.kind, block.hour, block.order[0], data[start:end]) for start, end in pairwise(ends)]


def assert_same(found: Both) -> None:
    """That both ways gave the same; else say what differs, field by field."""
    for name in Came.__struct_fields__:
        events, rows = getattr(found.events, name), getattr(found.rows, name)
        if isinstance(events, Counter):
            assert (list((events - rows).items())[:3], list((rows - events).items())[:3]) == ([], []), name
        assert events == rows, name


def by_consumer(data: bytes, asked: Sequence[dict[str, Any]], *, rows: bool, block: int = 64 << 10) -> list[Any]:
    """What each of several consumers of one stream gets, before what is loose is settled: each block is parsed once for all of them."""
    compiled = [Compiled(settings(**changes), KEY) for changes in asked]
    mergers = [StageMerger(SPLIT, KEY, merge=each.settings.merge) for each in compiled]
    settlers = [EventSettler(each, SPLIT) for each in compiled]
    out: list[list[Unit]] = [[] for _ in asked]
    for raw in read_blocks(SPLIT, KEY, block, lambda _: nullcontext(io.BytesIO(data)), piece_size=block):
        parsed = parse_events(raw, KEY, rows=rows)
        for each, merger, settler, found in zip(compiled, mergers, settlers, out, strict=True):
            mine = apply_policy(each.policy, parsed, shared=len(asked) > 1)
            merger.feed(mine)
            strip_block(mine, keep=each.settings.keep_managed_fields)
            redact_block(each, mine)
            found.extend(filter(None, [settler.feed(mine)]))
    return [_units(units, each.settings.window) for units, each in zip(out, compiled, strict=True)]


def _units(units: list[Unit], window: int) -> list[Any]:
    accounts = [account for unit in units for account in unit.accounts]
    return [
        Counter(record for unit in units for block in unit.blocks for record in _records(block)),
        Counter(row.encoded(window) for unit in units for rows in unit.reads.values() for row in rows),
        sorted(msgspec.msgpack.encode(event) for unit in units for event in unit.loose),
        [msgspec.structs.replace(account, sizes={}) for account in accounts],
        total(accounts).sizes,
        sorted(np.frombuffer(b"".join(unit.ids for unit in units), dtype=np.uint64).tolist()),
    ]
