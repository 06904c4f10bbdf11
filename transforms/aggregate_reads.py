"""Aggregate reads: add up the partial summaries of each window and encode the rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import apache_beam as beam

from transforms.audit.avro_blocks import AvroBlock, BlockBuilder
from transforms.audit.parts import NO_OBJECT
from transforms.audit.read_summary import ReadSummary, merge_rows
from transforms.audit.settings import Settings, hour_of
from transforms.resolve_copies import rows_of


def encode_rows(window: int, rows: Iterable[ReadSummary], length: int) -> list[AvroBlock]:
    """Summaries of one window, added up, as Avro blocks."""
    builder = BlockBuilder(0, window)
    blocks = []
    for row in merge_rows(rows):
        builder.add("reads", hour_of(window), NO_OBJECT, row.encoded(length))
        blocks += builder.full()
    return blocks + builder.rest()


class AggregateWindow(beam.DoFn):
    """`encode_rows` on each window."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def process(self, window: tuple[int, Iterable[bytes]]) -> Iterator[AvroBlock]:
        """One window."""
        start, packed = window
        yield from encode_rows(start, rows_of(packed), self._settings.window)


@dataclass
class AggregateReads(beam.PTransform):
    """One row per window and key, from partial summaries by window; past the bound on groups the rest adds up in `__other__`.

    Attributes:
      settings: the length of a window.
    """

    settings: Settings

    def expand(self, partials: beam.PCollection[tuple[int, bytes]]) -> beam.PCollection[AvroBlock]:
        """Gather each window, add up, encode."""
        return (
            partials
            | "GatherWindows" >> beam.GroupByKey()
            | "AggregateWindow" >> beam.ParDo(AggregateWindow(self.settings)).with_output_types(AvroBlock)
        )
