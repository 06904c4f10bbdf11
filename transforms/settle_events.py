"""Settle events: fold reads, encode what is kept."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import apache_beam as beam
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.windowed_value import WindowedValue

from transforms.audit.account import Account
from transforms.audit.avro_blocks import AvroBlock, BlockBuilder
from transforms.audit.block import EventBlock, Split
from transforms.audit.record import encode_loose
from transforms.audit.settings import Settings, hour_of
from transforms.audit.settle_events import EventSettler, Unit
from transforms.elements import compiled


class SettleSplit(beam.DoFn):
    """One `EventSettler` per split; its blocks come in order, and the last one says so."""

    def __init__(self, settings: Settings, key: bytes, *, followed: bool) -> None:
        self._settings = settings
        self._key = key
        self._followed = followed

    def start_bundle(self) -> None:
        """No split is under way."""
        self._settlers: dict[Split, EventSettler] = {}

    def process(self, block: EventBlock) -> Iterator[tuple[Split, Unit]]:
        """One block; most give nothing until enough is together."""
        split = block.split
        settler = self._settlers.get(split)
        if settler is None:
            settler = self._settlers[split] = EventSettler(compiled(self._settings, self._key), split, followed=self._followed)
        unit = settler.feed(block)
        if block.last:
            del self._settlers[split]
        if unit is not None:
            yield split, unit

    def finish_bundle(self) -> Iterator[WindowedValue]:
        """What is left, where a bundle ends within a split."""
        for split, settler in self._settlers.items():
            unit = settler.feed(EventBlock(split, Account(split.file, split.start), [], [], last=True))
            if unit is not None:
                yield WindowedValue((split, unit), 0, [GlobalWindow()])


@dataclass
class SettleEvents(beam.PTransform):
    """Fold the reads and encode the rest, as units that are final unless an audit ID of theirs turns up elsewhere.

    Attributes:
      settings: windows, guards, what to fold.
      key: of the output.
      followed: whether later runs go on with this input.
    """

    settings: Settings
    key: bytes
    followed: bool = False

    def expand(self, blocks: beam.PCollection[EventBlock]) -> beam.PCollection[tuple[Split, Unit]]:
        """One step, block by block."""
        return blocks | "SettleEvents" >> beam.ParDo(SettleSplit(self.settings, self.key, followed=self.followed)).with_output_types(
            tuple[Split, Unit]
        )


class EncodeUnit(beam.DoFn):
    """The blocks of a unit, and its loose events as further blocks."""

    def __init__(self, settings: Settings, key: bytes) -> None:
        self._settings = settings
        self._key = key

    def process(self, element: tuple[Split, Unit]) -> Iterator[AvroBlock]:
        """One unit."""
        split, unit = element
        believable = compiled(self._settings, self._key).believable
        yield from unit.blocks
        builder = BlockBuilder(split.file, -1 - split.start)
        for event in unit.loose:
            builder.add("events", hour_of(believable(event.moment)), event.key, encode_loose(event, []))
        yield from builder.rest()


@dataclass
class EncodeAvro(beam.PTransform):
    """Encode redacted events as Avro blocks, one record each, and dead letters beside them.

    For pipelines of one's own, with steps that the main job does not know: copies stay, and nothing is flagged.

    Attributes:
      settings: `merge=False, fold=False`.
      key: of the output.
    """

    settings: Settings
    key: bytes

    def expand(self, blocks: beam.PCollection[EventBlock]) -> beam.PCollection[AvroBlock]:
        """Settle, and take all events."""
        units = blocks | SettleEvents(self.settings, self.key)
        return units | "EncodeUnit" >> beam.ParDo(EncodeUnit(self.settings, self.key)).with_output_types(AvroBlock)
