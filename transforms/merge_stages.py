"""Merge the earlier stages of requests into their final events."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import apache_beam as beam
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.windowed_value import WindowedValue

from transforms.audit.account import Account
from transforms.audit.block import EventBlock, Split
from transforms.audit.cycle import Cycle, memory_of
from transforms.audit.merge_stages import StageMerger
from transforms.audit.settings import Settings


class MergeStagesOfSplit(beam.DoFn):
    """One `StageMerger` per split; its blocks come in order, and the last one says so."""

    def __init__(self, settings: Settings, key: bytes, cycle: Cycle | None) -> None:
        self._settings = settings
        self._key = key
        self._cycle = cycle

    def start_bundle(self) -> None:
        """No split is under way."""
        self._mergers: dict[Split, StageMerger] = {}

    def process(self, block: EventBlock) -> Iterator[EventBlock]:
        """One block."""
        merger = self._mergers.get(block.split)
        if merger is None:
            memory = None if self._cycle is None else memory_of(self._cycle)
            merger = self._mergers[block.split] = StageMerger(block.split, self._key, merge=self._settings.merge, memory=memory)
        merger.feed(block)
        if block.last:
            del self._mergers[block.split]
        yield block

    def finish_bundle(self) -> Iterator[WindowedValue]:
        """What still waits, where a bundle ends within a split."""
        for split, merger in self._mergers.items():
            rest = EventBlock(split, Account(split.file, split.start), [], [], last=True)
            merger.feed(rest)
            yield WindowedValue(rest, 0, [GlobalWindow()])


@dataclass
class MergeStages(beam.PTransform):
    """Merge earlier stages that their final event repeats; set apart what must first meet others of its audit ID.

    Attributes:
      settings: whether to merge.
      key: makes the hashes that such events travel with.
      cycle: which run of a followed input this is.
    """

    settings: Settings
    key: bytes
    cycle: Cycle | None = None

    def expand(self, blocks: beam.PCollection[EventBlock]) -> beam.PCollection[EventBlock]:
        """One step, block by block."""
        return blocks | "MergeStages" >> beam.ParDo(MergeStagesOfSplit(self.settings, self.key, self.cycle)).with_output_types(EventBlock)
