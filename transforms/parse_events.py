"""Parse blocks of bytes into blocks of events; what cannot be read becomes a dead letter."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import apache_beam as beam

from transforms import elements  # noqa: F401 - registers the coders
from transforms.audit.block import EventBlock, RawBlock
from transforms.audit.parse_events import parse_events


class ParseBlock(beam.DoFn):
    """`parse_events` on each block."""

    def __init__(self, key: bytes, *, rows: bool) -> None:
        self._key = key
        self._rows = rows

    def process(self, block: RawBlock) -> Iterator[EventBlock]:
        """One block."""
        yield parse_events(block, self._key, rows=self._rows)


@dataclass
class ParseEvents(beam.PTransform):
    """Parse the lines of each block, of whatever envelope.

    Attributes:
      key: makes the MACs of dead letters.
      rows: whether the steps that follow know rows (`transforms.audit.rows`): ours do, and a step of one's own need not.
    """

    key: bytes
    rows: bool = False

    def expand(self, blocks: beam.PCollection[RawBlock]) -> beam.PCollection[EventBlock]:
        """One step, block by block."""
        return blocks | "ParseEvents" >> beam.ParDo(ParseBlock(self.key, rows=self.rows)).with_output_types(EventBlock)
