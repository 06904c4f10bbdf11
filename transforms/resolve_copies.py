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
from transforms.elements import UnitCoder, compiled

SHARDS = 16
UNIT, RECALL = 0, 1
WAITING, SETTLED = "waiting", "settled"
_units = UnitCoder()


class Settled(NamedTuple):
    """What events became: encoded blocks, partial summaries by window, partial accounts; and what a followed input carries on."""

    blocks: beam.PCollection[AvroBlock]
    reads: beam.PCollection[tuple[int, bytes]]
    accounts: beam.PCollection[Account]
    carried: beam.PCollection[tuple[str, bytes]] | None = None


def ids_of_unit(unit: tuple[Split, Unit]) -> tuple[int, tuple[bytes, bytes, bytes]]:
    """(0, (split, settled audit IDs, loose audit IDs)): all go to one place."""
    return 0, (msgspec.msgpack.encode(unit[0]), unit[1].ids, loose_ids(unit[1].loose))


def packed_unit(unit: tuple[Split, Unit]) -> tuple[bytes, tuple[int, bytes]]:
    """(split, (UNIT, the unit)) as bytes: what goes through a shuffle beside recalls needs one coder for both."""
    return msgspec.msgpack.encode(unit[0]), (UNIT, _units.encode(unit[1]))


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


class RecallSplit(beam.DoFn):
    """Lets a split's units pass, or reduces it again with the recalled audit IDs left loose."""

    def __init__(self, settings: Settings, key: bytes, cycle: Cycle | None) -> None:
        self._settings = settings
        self._key = key
        self._cycle = cycle

    def process(self, element: tuple[bytes, Iterable[tuple[int, bytes]]]) -> Iterator:
        """One split."""
        encoded, found = element
        values = list(found)
        shards: dict[int, list[LooseEvent]] = {}
        recalled = [value for kind, value in values if kind == RECALL]
        if recalled:
            split = msgspec.msgpack.decode(encoded, type=Split)
            blocks = read_split(split, self._key)
            units = reduce_split(blocks, compiled(self._settings, self._key), split, recalled[0], cycle=self._cycle)
        else:
            units = map(_units.decode, [value for _, value in values])
        for unit in units:
            yield from _outputs(unit)
            for event in unit.loose:
                shards.setdefault(_shard_of(event), []).append(event)
        for shard, events in shards.items():
            yield beam.pvalue.TaggedOutput("loose", (shard, packed_events(events)))


class SettleShard(beam.DoFn):
    """`settle_loose` on the loose events of one shard of audit IDs."""

    def __init__(self, settings: Settings, key: bytes, cycle: Cycle | None) -> None:
        self._settings = settings
        self._key = key
        self._cycle = cycle

    def process(self, element: tuple[int, Iterable[bytes]]) -> Iterator:
        """One shard."""
        shard, packed = element
        cycle = self._cycle
        if cycle is None:
            yield from _outputs(settle_loose(compiled(self._settings, self._key), unpacked(packed), shard))
            return
        pieces = list(packed)
        events = list(unpacked(piece for piece in pieces if not piece.startswith(MARK)))
        waited, rest = concerned([piece for piece in pieces if piece.startswith(MARK)], events, cycle.now - cycle.wait)
        unit = settle_loose(compiled(self._settings, self._key), chain(waited, events), shard, cycle=cycle)
        yield from _outputs(unit)
        waiting = joined(rest, unit.loose)
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
        yield from msgspec.msgpack.decode(avro.decompress(each), type=list[LooseEvent])


def _outputs(unit: Unit) -> Iterator:
    for block in unit.blocks:
        yield beam.pvalue.TaggedOutput("blocks", block)
    for window, rows in unit.reads.items():
        yield beam.pvalue.TaggedOutput("reads", (window, avro.compress(msgspec.msgpack.encode(rows), avro.IN_TRANSIT)))
    for account in unit.accounts:
        yield beam.pvalue.TaggedOutput("accounts", account)
    if unit.settled:
        yield beam.pvalue.TaggedOutput("carried", (SETTLED, unit.settled))


def rows_of(packed: Iterable[bytes]) -> Iterator[ReadSummary]:
    """Partial summaries from their shuffle."""
    for each in packed:
        yield from msgspec.msgpack.decode(avro.decompress(each), type=list[ReadSummary])


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
    """

    settings: Settings
    key: bytes
    cycle: Cycle | None = None
    waiting: Sequence[tuple[int, bytes]] = ()

    def expand(self, units: beam.PCollection[tuple[Split, Unit]]) -> Settled:
        """Find recalls, reduce again where there are any, settle the loose events."""
        found = (
            units
            | "IdsOfUnit" >> beam.Map(ids_of_unit).with_output_types(tuple[int, tuple[bytes, bytes, bytes]])
            | "GatherIds" >> beam.GroupByKey()
            | "Recalls" >> beam.FlatMap(recalls).with_output_types(tuple[bytes, tuple[int, bytes]])
        )
        packed = units | "PackedUnits" >> beam.Map(packed_unit).with_output_types(tuple[bytes, tuple[int, bytes]])
        tags = ("blocks", "reads", "accounts", "loose", "carried")
        settled = (
            (packed, found)
            | "UnitsAndRecalls" >> beam.Flatten()
            | "GatherSplits" >> beam.GroupByKey()
            | "RecallSplit" >> beam.ParDo(RecallSplit(self.settings, self.key, self.cycle)).with_outputs(*tags)
        )
        loose = typed(settled.loose, tuple[int, bytes])
        if self.waiting:
            earlier = units.pipeline | "Waiting" >> Carried(self.waiting)
            loose = (loose, earlier) | "LooseAndWaiting" >> beam.Flatten()
        resolved = (
            loose
            | "GatherLoose" >> beam.GroupByKey()
            | "SettleShard" >> beam.ParDo(SettleShard(self.settings, self.key, self.cycle)).with_outputs(*tags)
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
