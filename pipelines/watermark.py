"""Up to when all that was said is known: which read windows of a followed input may close."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pipelines.ledger import Stream

SLACK: Final = 30_000_000  # microseconds: shippers and the API server's webhook deliver in batches, up to so much out of order
IDLE: Final = 30.0  # seconds without anything new after which a stream that is caught up holds nothing up


class _Seen(msgspec.Struct):
    latest: int  # event time, microseconds since the epoch; 0: nothing of it says a time
    arrived: float  # when something of it last arrived, seconds of a clock that only goes forward


class Watermark:
    """The least of the latest event times of the streams that are not idle, less `slack`. Never goes back.

    A stream that is behind counts with what it has given; one of which nothing is given yet holds everything; one that is
    caught up and silent holds nothing. Where all are silent, time passes as it does for us.
    """

    def __init__(self, moment: float, reached: int = 0, latest: int = 0, slack: int = SLACK, idle: float = IDLE) -> None:
        self._slack = slack
        self._idle = idle
        self._streams: dict[Stream, _Seen] = {}
        self._before = _Seen(latest, moment)  # all of an earlier session
        self.reached = reached

    def saw(self, stream: Stream, latest: int, now: int, moment: float) -> None:
        """Something of a stream was reduced; `latest` is its latest event time, of which what is ahead of `now` is not believed."""
        seen = self._streams.get(stream)
        if seen is None:
            seen = self._streams[stream] = _Seen(0, moment)
        seen.latest = max(seen.latest, min(latest, now))
        seen.arrived = moment

    def advance(self, caught_up: Mapping[Stream, bool], now: int, moment: float) -> int:
        """The watermark, microseconds since the epoch, given which of the known streams are caught up."""
        for stream in self._streams.keys() - caught_up.keys():
            del self._streams[stream]  # gone: a log that was deleted, a partition that is another's now
        holding: list[int] = []
        idle: list[int] = []
        if self._before.latest and moment - self._before.arrived >= self._idle:
            idle.append(self._before.latest + int((moment - self._before.arrived) * 1_000_000))
        for stream, whole in caught_up.items():
            seen = self._streams.get(stream)
            if seen is None:
                if not whole:
                    return self.reached
            elif seen.latest:
                if whole and moment - seen.arrived >= self._idle:
                    idle.append(seen.latest + int((moment - seen.arrived) * 1_000_000))
                else:
                    holding.append(seen.latest)
        if holding or idle:
            time = min(holding) if holding else min(max(idle), now)
            self.reached = max(self.reached, time - self._slack)
        return self.reached

    def lag(self, now: int) -> float:
        """Seconds that the watermark is behind; 0 where there is none yet."""
        return (now - self.reached) / 1e6 if self.reached else 0.0


def closing(watermark: int, window: int, closed: int) -> int:
    """Read windows that begin before this may close: those that end before the watermark. `closed` is what did so already."""
    return max(closed, watermark - watermark % window)


def oldest(windows: Iterable[tuple[int, int]], window: int, limit: int) -> int:
    """Read windows that begin before this must close, so that no more than `limit` bytes stay open. `windows`: (start, bytes)."""
    ordered = sorted(windows)
    held = sum(size for _, size in ordered)
    bound = 0
    for start, size in ordered:
        if held <= limit:
            break
        held -= size
        bound = start + window
    return bound
