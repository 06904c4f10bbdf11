"""Take managedFields out of the bodies."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import apache_beam as beam

from transforms.audit.block import EventBlock
from transforms.audit.reduce_split import strip_block


class StripBlock(beam.DoFn):
    """`strip_managed_fields` on each event of a block."""

    def __init__(self, ) -> None:
        super().__init__()

    def process(self, block: EventBlock) -> Iterator[EventBlock]:
        """One block."""
        strip_block(block)
        yield block


@dataclass
class StripManagedFields(beam.PTransform):
    """Take managedFields out of objects, list items, Table rows and wherever else they hide."""


    def expand(self, blocks: beam.PCollection[EventBlock]) -> beam.PCollection[EventBlock]:
        """One step, block by block."""
        return blocks | "StripManagedFields" >> beam.ParDo(StripBlock()).with_output_types(EventBlock)
