"""Read audit logs as blocks of bytes, each with the account of the range it covers."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import apache_beam as beam

from transforms.audit.block import RawBlock, Split
from transforms.connectors.held_messages import read_split
from transforms.progress import Progress


@cache
def _look_less_often() -> None:
    # Once in a process: what is frozen is never freed, and a followed input comes here every cycle.
    gc.freeze()
    gc.set_threshold(2_000_000, 50, 50)


class ReadBlocks(beam.DoFn):
    """The blocks of each split, in order."""

    def __init__(self, key: bytes, progress: str | None = None) -> None:
        self._key = key
        self._progress_path = progress

    def setup(self) -> None:
        """The collector walks thousands of live events again and again for nothing; let it look less often."""
        _look_less_often()
        self._progress = Progress(self._progress_path)

    def process(self, split: Split) -> Iterator[RawBlock]:
        """Read one split."""
        for block in read_split(split, self._key):
            yield block
            self._progress.add(block.account.size, block.account.events)

    def teardown(self) -> None:
        """Close the progress file."""
        self._progress.close()


@dataclass
class ReadAuditLogs(beam.PTransform):
    """Read splits of audit log files (`plan_splits`) as blocks of up to four MiB.

    Attributes:
      splits: what to read.
      key: makes the MACs of the ranges.
      progress: directory in which workers note how far they are.
    """

    splits: Sequence[Split]
    key: bytes
    progress: str | None = None

    def expand(self, root: beam.pvalue.PBegin) -> beam.PCollection[RawBlock]:
        """Create the splits, spread them over the workers, read them."""
        return (
            root
            | "Splits" >> beam.Create(list(self.splits)).with_output_types(Split)
            | "ReadBlocks" >> beam.ParDo(ReadBlocks(self.key, self.progress)).with_output_types(RawBlock)
        )
