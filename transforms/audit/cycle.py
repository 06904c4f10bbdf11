"""One run of a followed input, and what it must know beside its settings: the time, the open windows, the memory."""

from __future__ import annotations

from functools import lru_cache

import msgspec

from transforms.audit.memory import Memory


class Cycle(msgspec.Struct, frozen=True):
    """What distinguishes one run of a followed input from the next. Times in microseconds since the epoch.

    Read windows that begin before `closed` were closed by an earlier run, so rows for them are late; those that begin before
    `closing` are closed by this one; the rest stay open. An early stage that has waited `wait` for its final event is given up.
    """

    now: int
    closed: int
    closing: int
    wait: int
    memory: tuple[str, ...] = ()  # paths of the files of rows of what was settled within the horizon
    output: str = ""  # whose memory it is


@lru_cache(maxsize=64)
def _memory_of_worker(output: str) -> Memory:  # noqa: ARG001 - one for each
    return Memory()


def memory_of(cycle: Cycle) -> Memory:
    """The cycle's memory, opened. A worker keeps what it holds from one cycle to the next. Raises OSError, ValueError."""
    memory = _memory_of_worker(cycle.output)
    memory.hold(cycle.memory)
    return memory
