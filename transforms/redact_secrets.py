"""Redact secrets: from here on the content of events may leave the worker."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import apache_beam as beam

from transforms.audit.block import EventBlock
from transforms.audit.reduce_split import redact_block
from transforms.audit.settings import Settings
from transforms.elements import compiled


class RedactBlock(beam.DoFn):
    """`redact_secrets` on each event of a block."""

    def __init__(self, settings: Settings, key: bytes) -> None:
        self._settings = settings
        self._key = key

    def process(self, block: EventBlock) -> Iterator[EventBlock]:
        """One block."""
        redact_block(compiled(self._settings, self._key), block)
        yield block


@dataclass
class RedactSecrets(beam.PTransform):
    """Take secrets out of the events, failing closed.

    Attributes:
      settings: hold the rules.
      key: makes the keyed digests of `hash` rules.
    """

    settings: Settings
    key: bytes

    def expand(self, blocks: beam.PCollection[EventBlock]) -> beam.PCollection[EventBlock]:
        """One step, block by block."""
        return blocks | "RedactSecrets" >> beam.ParDo(RedactBlock(self.settings, self.key)).with_output_types(EventBlock)
