"""Resolve copies: bring together what shares an audit ID across splits, and settle it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple
from zlib import crc32

import apache_beam as beam
import msgspec
from apache_beam.typehints.native_type_compatibility import convert_to_beam_type

from transforms.audit import avro
from transforms.audit.account import Account
from transforms.audit.audit_ids import find_recalls
from transforms.audit.avro_blocks import AvroBlock
from transforms.audit.block import Split
from transforms.audit.cycle import Cycle
from transforms.audit.read_summary import ReadSummary
from transforms.audit.reduce_all import loose_ids
from transforms.audit.reduce_split import reduce_split
from transforms.audit.resolve_copies import LooseEvent
from transforms.audit.settings import Settings
from transforms.audit.settle_events import Unit
from transforms.audit.settle_loose import settle_loose
from transforms.audit.waiting import MARK, concerned, joined
from transforms.carried import Carried
from transforms.connectors.held_messages import read_split
from transforms.connectors.spill import Spill, fetch_data
from transforms.elements import compiled
from transforms.spilling import Spilling

SHARDS = 16
UNIT, RECALL = 0, 1
WAITING, SETTLED = "waiting", "settled"


class Settled(NamedTuple):
    """What events became: encoded blocks, partial summaries by window, partial accounts; and what a followed input carries on."""

    blocks: beam.PCollection[AvroBlock]
    reads: beam.PCollection[tuple[int, bytes]]
    accounts: beam.PCollection[Account]
    carried: beam.PCollection[tuple[str, bytes]] | None = None


def ids_of_unit(unit: tuple[Split, Unit]) -> tuple[int, tuple[bytes, bytes, bytes]]:
    """(0, (split, settled audit IDs, loose audit IDs)): all go to one place."""
    return 0, (msgspec.msgpack.encode(unit[0]), unit[1].ids, loose_ids(unit[1].loose))


class PackedUnit(msgspec.Struct, array_like=True):
    """A unit on its way: its rows by window and its loose events by shard are packed once, and may be spilled as its blocks may."""

    blocks: list[AvroBlock]
    reads: list[tuple[int, bytes]]
    loose: list[tuple[int, bytes]]
    accounts: list[Account]
    settled: bytes


def pack(unit: Unit, spill: Spill) -> PackedUnit:
    """A unit for its shuffles."""
    shards: dict[int, list[LooseEvent]] = {}
    for event in unit.loose:
        shards.setdefault(_shard_of(event), []).append(event)
    reads = [(window, spill.data(packed_rows(rows))) for window, rows in unit.reads.items()]
    loose = [(shard, spill.data(packed_events(events))) for shard, events in shards.items()]
    return PackedUnit([spill.block(block) for block in unit.blocks], reads, loose, unit.accounts, unit.settled)


class PackUnit(Spilling):
    """(split, (UNIT, the unit)) as bytes: what goes through a shuffle beside recalls needs one coder for both."""

    def process(self, element: tuple[Split, Unit]) -> Iterator[tuple[bytes, tuple[int, bytes]]]:
        """One unit."""
        yield msgspec.msgpack.encode(element[0]), (UNIT, msgspec.msgpack.encode(pack(element[1], self.spill)))


def recalls(found: tuple[int, Iterable[tuple[bytes, bytes, bytes]]]) -> Iterator[tuple[bytes, tuple[int, bytes]]]:
    """(split, (RECALL, hashes)): the audit IDs to leave loose, for each split that must be reduced again."""
    units = list(found[1])
    splits = {split: at for at, split in enumerate(dict.fromkeys(split for split, _, _ in units))}
    recalled, beyond = find_recalls(
        [(splits[split], ids) for split, ids, _ in units], [(splits[split], loose) for split, _, loose in units]
    )
    if beyond:
        beam.metrics.Metrics.counter("reduce", "auditIDsNotCompared").inc(beyond)
    names = list(splits)
    for at, ids in recalled.items():
        yield names[at], (RECALL, ids)


class RecallSplit(Spilling):
    """Lets a split's units pass, or reduces it again with the recalled audit IDs left loose."""

    def __init__(self, settings: Settings, key: bytes, cycle: Cycle | None, aside: str | None) -> None:
        super().__init__(aside)
        self._settings = settings
        self._key = key
        self._cycle = cycle

    def process(self, element: tuple[bytes, Iterable[tuple[int, bytes]]]) -> Iterator:
        """One split."""
        encoded, found = element
        values = list(found)
        recalled = [value for kind, value in values if kind == RECALL]
        if recalled:
            split = msgspec.msgpack.decode(encoded, type=Split)
            blocks = read_split(split, self._key)
            again = reduce_split(blocks, compiled(self._settings, self._key), split, recalled[0], cycle=self._cycle)
            units: Iterable[PackedUnit] = (pack(unit, self.spill) for unit in again)
        else:
            units = (msgspec.msgpack.decode(value, type=PackedUnit) for _, value in values)
        for unit in units:
            yield from _outputs(unit)
            for loose in unit.loose:
                yield beam.pvalue.TaggedOutput("loose", loose)


class SettleShard(Spilling):
    """`settle_loose` on the loose events of one shard of audit IDs."""

    def __init__(self, settings: Settings, key: bytes, cycle: Cycle | None, aside: str | None) -> None:
        super().__init__(aside)
        self._settings = settings
        self._key = key
        self._cycle = cycle

    def process(self, element: tuple[int, Iterable[bytes]]) -> Iterator:
        """One shard."""
        shard, packed = element
        cycle = self._cycle
        if cycle is None:
            unit = settle_loose(compiled(self._settings, self._key), unpacked(packed), shard)
            yield from _outputs(pack(unit, self.spill))
            return
        pieces = list(packed)
        events = list(unpacked(piece for piece in pieces if not piece.startswith(MARK)))
        waited, rest = concerned([piece for piece in pieces if piece.startswith(MARK)], events, cycle.now - cycle.wait)
        unit = settle_loose(compiled(self._settings, self._key), chain(waited, events), shard, cycle=cycle)
        waiting = joined(rest, unit.loose)
        unit.loose = []
        yield from _outputs(pack(unit, self.spill))
        if waiting is not None:
            yield beam.pvalue.TaggedOutput("carried", (WAITING, msgspec.msgpack.encode((shard, waiting))))


def packed_events(events: list[LooseEvent]) -> bytes:
    """Loose events for their shuffle."""
    return avro.compress(msgspec.msgpack.encode(events), avro.IN_TRANSIT)


def _shard_of(event: LooseEvent) -> int:
    return crc32(f"{event.cluster} {event.audit_id}".encode("utf-8", "surrogatepass")) % SHARDS


def unpacked(packed: Iterable[bytes]) -> Iterator[LooseEvent]:
    """Loose events from their shuffle."""
    for each in packed:
        yield from msgspec.msgpack.decode(avro.decompress(fetch_data(each)), type=list[LooseEvent])


def _outputs(unit: PackedUnit) -> Iterator:
    for block in unit.blocks:
        yield beam.pvalue.TaggedOutput("blocks", block)
    for rows in unit.reads:
        yield beam.pvalue.TaggedOutput("reads", rows)
    for account in unit.accounts:
        yield beam.pvalue.TaggedOutput("accounts", account)
    if unit.settled:
        yield beam.pvalue.TaggedOutput("carried", (SETTLED, unit.settled))


def packed_rows(rows: list[ReadSummary]) -> bytes:
    """Partial summaries for their shuffle, or for a later run."""
    return avro.compress(msgspec.msgpack.encode(rows), avro.IN_TRANSIT)


def rows_of(packed: Iterable[bytes]) -> Iterator[ReadSummary]:
    """Partial summaries from their shuffle."""
    for each in packed:
        yield from msgspec.msgpack.decode(avro.decompress(fetch_data(each)), type=list[ReadSummary])


@dataclass
class ResolveCopies(beam.PTransform):
    """Deduplicate, merge and flag across splits: one shuffle of audit IDs finds what must meet, a second brings it together.

    Guarantee: an event is `duplicate` only if an event of equal digest is written; the outcome is the same however the input
    was cut. Loses nothing: audit IDs beyond the limit of `find_recalls` are not compared, so copies of them are kept.

    Attributes:
      settings: what to merge and fold.
      key: of the output.
      cycle: which run of a followed input this is.
      waiting: what earlier runs left, by shard: their `carried` WAITING.
      aside: where all that is big is spilled before it goes through a shuffle; None: it goes through it as it is.
    """

    settings: Settings
    key: bytes
    cycle: Cycle | None = None
    waiting: Sequence[tuple[int, bytes]] = ()
    aside: str | None = None

    def expand(self, units: beam.PCollection[tuple[Split, Unit]]) -> Settled:
        """Find recalls, reduce again where there are any, settle the loose events."""
        found = (
            units
            | "IdsOfUnit" >> beam.Map(ids_of_unit).with_output_types(tuple[int, tuple[bytes, bytes, bytes]])
            | "GatherIds" >> beam.GroupByKey()
            | "Recalls" >> beam.FlatMap(recalls).with_output_types(tuple[bytes, tuple[int, bytes]])
        )
        packed = units | "PackUnit" >> beam.ParDo(PackUnit(self.aside)).with_output_types(tuple[bytes, tuple[int, bytes]])
        tags = ("blocks", "reads", "accounts", "loose", "carried")
        settled = (
            (packed, found)
            | "UnitsAndRecalls" >> beam.Flatten()
            | "GatherSplits" >> beam.GroupByKey()
            | "RecallSplit" >> beam.ParDo(RecallSplit(self.settings, self.key, self.cycle, self.aside)).with_outputs(*tags)
        )
        loose = typed(settled.loose, tuple[int, bytes])
        if self.waiting:
            earlier = units.pipeline | "Waiting" >> Carried(self.waiting)
            loose = (loose, earlier) | "LooseAndWaiting" >> beam.Flatten()
        resolved = (
            loose
            | "GatherLoose" >> beam.GroupByKey()
            | "SettleShard" >> beam.ParDo(SettleShard(self.settings, self.key, self.cycle, self.aside)).with_outputs(*tags)
        )
        carried = None
        if self.cycle is not None:
            both = (typed(settled.carried, tuple[str, bytes]), typed(resolved.carried, tuple[str, bytes]))
            carried = both | "Carried" >> beam.Flatten()
        return Settled(
            (typed(settled.blocks, AvroBlock), typed(resolved.blocks, AvroBlock)) | "Blocks" >> beam.Flatten(),
            (typed(settled.reads, tuple[int, bytes]), typed(resolved.reads, tuple[int, bytes])) | "Reads" >> beam.Flatten(),
            (typed(settled.accounts, Account), typed(resolved.accounts, Account)) | "Accounts" >> beam.Flatten(),
            carried,
        )


def typed(outputs: beam.PCollection, kind: type) -> beam.PCollection:
    """One of several outputs, with the type of its elements."""
    # A tagged output has no type of its own, and without one no coder of ours.
    outputs.element_type = convert_to_beam_type(kind)
    return outputs
