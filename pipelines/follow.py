"""Follow inputs without end, or drain what is there: one bounded cycle after another, each committed before it is acknowledged."""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter
from typing import IO, TYPE_CHECKING, Any, Final, Self

import msgspec

from pipelines.gauges import EVERY, Gauges, Reporter
from pipelines.ledger import read_ranges
from pipelines.plan import Held
from pipelines.spare_memory import give_back
from transforms.audit.account import Account
from transforms.connectors.sources import SourceError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import FrameType, TracebackType

    from pipelines.cycles import Clock, Cycles, Done
    from pipelines.ledger import Stream
    from pipelines.watermark import Watermark
    from transforms.connectors.sources import Gap, Source, Stretch

ROOM: Final = 64 << 20  # bytes of content in a cycle: it is in memory several times over
LONGEST: Final = 2.0  # seconds that sources are asked to wait at once: so soon it is seen that somebody asked to stop
LEAST: Final = 0.1  # seconds that sources have to give what is there, however long the cycle before took
PAUSE: Final = 0.1  # seconds before sources that give nothing at once are asked again
BOUND: Final = 25.0  # seconds that the last cycle may take once somebody asked to stop


class Stop:
    """Whether somebody asked to stop: SIGTERM or SIGINT. The first ends the loop after its cycle, the second the process.

    So does the time that the last cycle may take. Nothing is lost by it: what is not committed comes again.
    """

    def __init__(self, bound: float = BOUND) -> None:
        self._bound = bound
        self._asked = threading.Event()
        self.code = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._before[number] = signal.signal(number, self._on)
        self._before[signal.SIGALRM] = signal.signal(signal.SIGALRM, self._at_once)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _on(self, number: int, frame: FrameType | None) -> None:
        if self._asked.is_set():
            self._at_once(number, frame)
        self.code = 130 if number == signal.SIGINT else 0
        self._asked.set()
        signal.setitimer(signal.ITIMER_REAL, self._bound)
        os.write(2, b"stopping: the cycle at work is finished first; ask again to stop at once\n")

    def _at_once(self, number: int, _: FrameType | None) -> None:
        os.write(2, b"stopped at once: what is not committed comes again\n")
        os._exit(130 if number == signal.SIGINT else 128 + signal.SIGTERM)

    @property
    def asked(self) -> bool:
        """Whether to stop."""
        return self._asked.is_set()

    def wait(self, seconds: float) -> bool:
        """Do nothing for so long, unless asked to stop; gives whether that is so."""
        return self._asked.wait(seconds)


class Total(msgspec.Struct):
    """What all cycles of a consumer committed."""

    account: Account
    files: int = 0
    bytes: int = 0


class Follower:
    """The loop. `seconds` is how long content is gathered before it is reduced; without `forever` it ends with what was there.

    `stopped` says whether to end after the cycle at work; `pause` does nothing for some seconds, less if asked to stop: then it
    gives true.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        cycles: Cycles,
        watermark: Watermark,
        clock: Clock,
        gauges: Gauges,
        *,
        forever: bool,
        seconds: float,
        stopped: Callable[[], bool] = lambda: False,
        pause: Callable[[float], bool],
        room: int = ROOM,
    ) -> None:
        self._sources = sources
        self._cycles = cycles
        self._watermark = watermark
        self._clock = clock
        self._gauges = gauges
        self._forever = forever
        self._seconds = seconds
        self._stopped = stopped
        self._pause = pause
        self._room = room
        self._reporter = Reporter(gauges, clock.moment())
        self.totals = [Total(Account(0, 0)) for _ in cycles.consumers]
        self._held: Held | None = None
        self._lost = set(cycles.consumers[0].where.lost)

    def resume(self, key: bytes) -> None:
        """Let every source go on where the ledger ends. Raises SourceError."""
        first = self._cycles.consumers[0]

        def reach(file: IO[bytes], cluster: str | None) -> tuple[int, bool]:
            if self._held is None:  # nobody but files asks, and brokers do not owe the reading
                self._held = Held((), key)
                self._held.add(read_ranges(first.path))
            return self._held.reach(file, cluster)

        for source in self._sources:
            source.resume(first.where.positions, reach)
        streams = Counter(stream for source in self._sources for stream in source.caught_up() if stream[1] is not None)
        twice = sorted({uri for (uri, _), count in streams.items() if count > 1})
        if twice:
            raise SourceError("\n".join(f"{uri}: several inputs name it, and each would read all of it; give it once" for uri in twice))

    def run(self) -> None:
        """Cycle after cycle, until the end or until asked to stop. Raises SourceError, and whatever a cycle fails with."""
        gathered = self._clock.moment()
        while not self._stopped():
            began = self._clock.moment()
            stretches, gaps = self._fetch(gathered)
            gathered = self._clock.moment()  # what comes while the cycle works has been waiting already
            last = not self._forever and all(source.at_end for source in self._sources)
            caught_up = self._caught_up()
            for stretch in stretches:
                caught_up[stretch.uri, stretch.partition] = False  # what it gives now is not reduced yet
            watermark = self._watermark.advance(caught_up, self._cycles.now(), self._clock.moment())
            if stretches or gaps or last or self._cycles.due(watermark):
                self._gauges.since(began if stretches else None)
                self._cycle(stretches, gaps, watermark, began, last=last)
            elif self._clock.moment() - began < PAUSE:
                self._pause(PAUSE)
            self._tell()
            if last:
                break
            self._wait(gathered)

    def _wait(self, since: float) -> None:
        """Let content gather, where there is nothing more right now; the last of the time is the sources' to wait."""
        while all(source.at_end for source in self._sources):
            left = since + self._seconds - LONGEST - self._clock.moment()
            if left <= 0 or self._pause(min(left, EVERY)):
                break
            self._tell()

    def _fetch(self, since: float) -> tuple[list[Stretch], list[Gap]]:
        """What is new of every source, which share room and time."""
        stretches: list[Stretch] = []
        gaps: list[Gap] = []
        room = self._room
        for at, source in enumerate(self._sources):
            left = len(self._sources) - at
            seconds = min(LONGEST, max(LEAST, since + self._seconds - self._clock.moment()))
            found = source.fetch(max(1, room // left), seconds / left)
            room -= sum(map(_weight, found))
            stretches += found
            gaps += filter(self._is_new, source.gaps())
        return stretches, gaps

    def _is_new(self, gap: Gap) -> bool:
        """Whether the ledger does not hold it. A source that finds its stream gone says so each time, as it has no position behind it."""
        lost = (gap.uri, gap.partition), gap.start
        # A file may lose something at the same place again, but not what nobody could measure: then it is another stream.
        known = (gap.partition is not None or gap.end is None) and lost in self._lost
        self._lost.add(lost)
        return not known

    def _caught_up(self) -> dict[Stream, bool]:
        found: dict[Stream, bool] = {}
        for source in self._sources:
            found.update(source.caught_up())
        return found

    def _cycle(self, stretches: list[Stretch], gaps: list[Gap], watermark: int, began: float, *, last: bool) -> None:
        done = self._cycles.run(stretches, gaps, watermark, last=last)
        give_back()
        for source in self._sources:
            source.acknowledge()
        self._gauges.since(None)
        if self._held is not None:
            self._held.add(done[0].ranges)
        now, moment = self._cycles.now(), self._clock.moment()
        for stream in done[0].latest:
            self._watermark.saw(stream, max(each.latest[stream] for each in done), now, moment)
        for sums, each in zip(self.totals, done, strict=True):
            sums.account.add(each.account)
            sums.files += each.files
            sums.bytes += each.bytes
        self._count(done, gaps, moment - began)

    def _count(self, done: Sequence[Done], gaps: Sequence[Gap], seconds: float) -> None:
        first = done[0].account
        self._gauges.add(
            events_total=first.events,
            bytes_read_total=first.size,
            bytes_written_total=sum(each.bytes for each in done),
            files_total=sum(each.files for each in done),
            cycles_total=1,
            gaps_total=len(gaps),
        )
        consumers = self._cycles.consumers
        self._gauges.set(
            cycle_seconds=seconds,
            pending_events=sum(consumer.open.pending for consumer in consumers),
            state_bytes=sum(consumer.checkpoint.size for consumer in consumers),
            remembered_events=sum(file.rows for consumer in consumers for file in consumer.checkpoint.settled),
        )

    def _tell(self) -> None:
        now = self._cycles.now()
        self._gauges.set(watermark_seconds=self._watermark.reached / 1e6, watermark_lag_seconds=self._watermark.lag(now))
        found: list[Mapping[str, float]] = [source.gauges() for source in self._sources]
        self._gauges.of_sources(found)
        self._reporter.tick(self._clock.moment())

    def close(self) -> None:
        """Let go of the sources."""
        for source in self._sources:
            source.close()


def _weight(stretch: Stretch) -> int:
    return stretch.end - stretch.start if stretch.messages is None else sum(len(value) for _, value in stretch.messages)
