"""Aggregate reads: add up the partial summaries of each window and encode the rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import apache_beam as beam
import msgspec

from transforms.audit.avro_blocks import AvroBlock, BlockBuilder
from transforms.audit.cycle import Cycle
from transforms.audit.parts import NO_OBJECT
from transforms.audit.read_summary import ReadSummary, merge_rows
from transforms.audit.settings import Settings, hour_of
from transforms.carried import Carried
from transforms.resolve_copies import packed_rows, rows_of, typed
from transforms.spilling import Spilling

OPEN = "open"


class Aggregated(NamedTuple):
    """Rows as Avro blocks, and those of windows that stay open."""

    blocks: beam.PCollection[AvroBlock]
    carried: beam.PCollection[tuple[str, bytes]]


def encode_rows(window: int, rows: Iterable[ReadSummary], length: int, *, late: bool = False) -> list[AvroBlock]:
    """Summaries of one window, added up, as Avro blocks."""
    builder = BlockBuilder(0, window)
    blocks = []
    for row in merge_rows(rows):
        builder.add("reads", hour_of(window), NO_OBJECT, row.encoded(length, late=late))
        blocks += builder.full()
    return blocks + builder.rest()


class AggregateWindow(Spilling):
    """`encode_rows` on each window."""

    def __init__(self, settings: Settings, aside: str | None) -> None:
        super().__init__(aside)
        self._settings = settings

    def process(self, window: tuple[int, Iterable[bytes]]) -> Iterator[AvroBlock]:
        """One window."""
        start, packed = window
        yield from map(self.spill.block, encode_rows(start, rows_of(packed), self._settings.window))


class CloseWindow(beam.DoFn):
    """`encode_rows` on each window that closes; the rows of one that stays open, added up."""

    def __init__(self, settings: Settings, cycle: Cycle) -> None:
        self._settings = settings
        self._cycle = cycle

    def process(self, window: tuple[int, Iterable[bytes]]) -> Iterator[beam.pvalue.TaggedOutput]:
        """One window."""
        start, packed = window
        rows = rows_of(packed)
        if start >= self._cycle.closing:
            yield beam.pvalue.TaggedOutput("carried", (OPEN, msgspec.msgpack.encode((start, packed_rows(merge_rows(rows))))))
            return
        for block in encode_rows(start, rows, self._settings.window, late=start < self._cycle.closed):
            yield beam.pvalue.TaggedOutput("blocks", block)


@dataclass
class AggregateReads(beam.PTransform):
    """One row per window and key, from partial summaries by window; past the bound on groups the rest adds up in `__other__`.

    Attributes:
      settings: the length of a window.
      aside: where rows are spilled before they go through a shuffle; None: they go through it as they are.
    """

    settings: Settings
    aside: str | None = None

    def expand(self, partials: beam.PCollection[tuple[int, bytes]]) -> beam.PCollection[AvroBlock]:
        """Gather each window, add up, encode."""
        return (
            partials
            | "GatherWindows" >> beam.GroupByKey()
            | "AggregateWindow" >> beam.ParDo(AggregateWindow(self.settings, self.aside)).with_output_types(AvroBlock)
        )


@dataclass
class AggregateOpenReads(beam.PTransform):
    """`AggregateReads` of a followed input: rows of the windows that close with this run, and what the open ones carry on.

    Attributes:
      settings: the length of a window.
      cycle: which run this is: it says which windows close.
      open_rows: (window, rows) that earlier runs carried on.
    """

    settings: Settings
    cycle: Cycle
    open_rows: Sequence[tuple[int, bytes]] = ()

    def expand(self, partials: beam.PCollection[tuple[int, bytes]]) -> Aggregated:
        """Gather each window; add up and encode, or carry on."""
        if self.open_rows:
            earlier = partials.pipeline | "OpenRows" >> Carried(self.open_rows)
            partials = (partials, earlier) | "PartialAndOpen" >> beam.Flatten()
        aggregated = (
            partials
            | "GatherWindows" >> beam.GroupByKey()
            | "CloseWindow" >> beam.ParDo(CloseWindow(self.settings, self.cycle)).with_outputs("blocks", "carried")
        )
        return Aggregated(typed(aggregated.blocks, AvroBlock), typed(aggregated.carried, tuple[str, bytes]))
