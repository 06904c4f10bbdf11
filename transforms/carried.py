"""What an earlier run of a followed input carried on, as a collection."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, Final
from weakref import WeakValueDictionary

import apache_beam as beam


class _Values(list[Any]):
    """A list that can be referred to weakly."""


_held: Final[WeakValueDictionary[int, _Values]] = WeakValueDictionary()
_numbers: Final = count()


class _Hand(beam.DoFn):
    """Hands over what is held under a number, once."""

    def __init__(self, number: int) -> None:
        self._number = number

    def process(self, _: bytes) -> Iterator[Any]:
        """All of it."""
        yield from _held[self._number]


@dataclass
class Carried(beam.PTransform):
    """`Create` for values that stay in this process, as all that is followed does: it would pickle and pack them six times.

    Attributes:
      values: compressed already, and held for as long as this transform, and so its pipeline, is.
    """

    values: Sequence[tuple[int, bytes]]

    def expand(self, root: beam.pvalue.PBegin) -> beam.PCollection[tuple[int, bytes]]:
        """One impulse, and all values."""
        number = next(_numbers)
        self._kept = _held[number] = _Values(self.values)
        return root | "Once" >> beam.Impulse() | "Hand" >> beam.ParDo(_Hand(number)).with_output_types(tuple[int, bytes])
