"""Take managedFields out of the bodies."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import apache_beam as beam

from transforms.audit.block import EventBlock
from transforms.audit.reduce_split import strip_block


class StripBlock(beam.DoFn):
    """`strip_managed_fields` on each event of a block."""

    def __init__(self, keep: bool) -> None:
        self._keep = keep

    def process(self, block: EventBlock) -> Iterator[EventBlock]:
        """One block."""
        strip_block(block, keep=self._keep)
        yield block


@dataclass
class StripManagedFields(beam.PTransform):
    """Take managedFields out of objects, list items, Table rows and wherever else they hide.

    Attributes:
      keep: only where the policy omits them.
    """

    keep: bool = False

    def expand(self, blocks: beam.PCollection[EventBlock]) -> beam.PCollection[EventBlock]:
        """One step, block by block."""
        return blocks | "StripManagedFields" >> beam.ParDo(StripBlock(self.keep)).with_output_types(EventBlock)
