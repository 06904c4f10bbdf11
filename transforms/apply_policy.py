"""Apply an audit Policy after the fact."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import apache_beam as beam

from transforms.audit.apply_policy import apply_policy
from transforms.audit.block import EventBlock
from transforms.audit.settings import Settings
from transforms.elements import compiled


class ApplyPolicyToBlock(beam.DoFn):
    """`apply_policy` on each block."""

    def __init__(self, settings: Settings, shared: bool) -> None:
        self._settings = settings
        self._shared = shared

    def process(self, block: EventBlock) -> Iterator[EventBlock]:
        """One block."""
        yield apply_policy(compiled(self._settings, b"").policy, block, shared=self._shared)


@dataclass
class ApplyPolicy(beam.PTransform):
    """Drop events, or cut them to the level of the rule that matches; without a policy nothing changes.

    Attributes:
      settings: hold the policy.
      shared: other consumers take the same blocks, so this one works on copies.
    """

    settings: Settings
    shared: bool = False

    def expand(self, blocks: beam.PCollection[EventBlock]) -> beam.PCollection[EventBlock]:
        """One step, block by block."""
        return blocks | "ApplyPolicy" >> beam.ParDo(ApplyPolicyToBlock(self.settings, self.shared)).with_output_types(EventBlock)
