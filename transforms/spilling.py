"""A step that spills what it gives to a shuffle."""

from __future__ import annotations

import apache_beam as beam

from transforms.connectors.spill import Spill


class Spilling(beam.DoFn):
    """Has `spill`, whose files are complete when a bundle ends: what it gives is to be fetched behind a shuffle, not before.

    `aside` is the directory or prefix that only this run uses; None: nothing is spilled.
    """

    def __init__(self, aside: str | None) -> None:
        self._aside = aside

    def start_bundle(self) -> None:
        """No file yet."""
        self.spill = Spill(self._aside)

    def finish_bundle(self) -> None:
        """From here on all can be fetched."""
        self.spill.close()
