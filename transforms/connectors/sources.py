"""What a source without end is to the engine: it gives stretches, and hears when all that came of them is committed.

A source never acknowledges by itself. What it gave and was not told to be committed comes again after a crash: from the
position that the ledger names (Kafka, files), or because the broker delivers it again (Pub/Sub).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import IO, Protocol

import msgspec

# How far the ledger holds a decompressed stream of a cluster from its start on, by content, and whether it ends there: what
# `Held.reach` of the batch planner says. It answers by all that is committed at the time it is asked.
Reach = Callable[[IO[bytes], str | None], tuple[int, bool]]


class SourceError(Exception):
    """A source cannot be used, or not any longer; the message says which, why and what to do, and quotes no content."""


class Gap(msgspec.Struct, frozen=True):
    """What a source lost before it was read: `start` to `end` of a stream (`end` None: nobody can tell), and why."""

    uri: str
    partition: int | None
    start: int
    end: int | None
    why: str


class Stretch(msgspec.Struct):
    """Consecutive content of one stream, new since the last fetch: messages held in memory, or a piece of a file.

    `start` and `end` are positions of the stream, half open: Kafka offsets (holes included), running numbers of Pub/Sub
    messages, bytes of a decompressed file. `messages` are (offset, value) in order; None for a file: `path` is what
    the split is to open (`read_split`), be it the name of a file or of a piece that the source holds until it hears of the commit.
    `identities` are what a broker without positions knows its messages by; empty elsewhere.
    """

    uri: str
    partition: int | None
    start: int
    end: int
    cluster: str | None = None
    messages: Sequence[tuple[int, bytes]] | None = None
    path: str = ""
    identities: Sequence[str] = ()


class Source(Protocol):
    """One `--input` that is followed, or a broker that is drained.

    Calls come from one thread, in this order: `resume` once, then `fetch` and `acknowledge` in turn, `close` at the end.
    Whatever must go on while a cycle works (polling, lease extension) is the source's own business.
    """

    def resume(self, positions: Mapping[tuple[str, int | None], int], reach: Reach) -> None:
        """Go on where the ledger ends: (uri, partition) to the next position; what is not named starts as the source sees fit.

        Positions come in the order in which streams were last read. Files are found by content, for they are renamed and
        compressed while nobody looks: `reach` tells what the ledger holds of one.

        Raises SourceError where the source is unreachable or a position cannot be: all problems in one text.
        """

    def fetch(self, room: int, seconds: float) -> list[Stretch]:
        """About `room` bytes of new content (the last message may go beyond), waiting at most `seconds` for it.

        Gives what is there as soon as `room` is full, a bounded source is at its end, or the time is up; then perhaps
        nothing. One stretch per stream. A passing failure is waited out here, within `seconds`; raises SourceError where
        it cannot pass.
        """

    def acknowledge(self) -> None:
        """All stretches of the last fetch are committed: tell the broker. Never raises for a passing failure: the ledger rules."""

    @property
    def at_end(self) -> bool:
        """Bounded: all that was there at the start has been given. Following: nothing more is waiting right now."""

    def caught_up(self) -> Mapping[tuple[str, int | None], bool]:
        """For each stream that is known: whether all of it that is known has been given; one that is idle never holds up a window."""

    def gaps(self) -> list[Gap]:
        """What was lost since the last call."""

    def gauges(self) -> Mapping[str, float]:
        """Numbers for people and metrics, by Prometheus name and labels: `lag{partition="topic/0"}`, the source's own."""

    def close(self) -> None:
        """Let go of everything; idempotent; never acknowledges."""
