"""A source that a test scripts, a clock that it sets, and a follower of it into a real output."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from apache_beam.options.pipeline_options import DirectOptions

from pipelines.cycles import Clock, Consumer, Cycles, Horizons
from pipelines.follow import Follower
from pipelines.gauges import Gauges
from pipelines.graph import RepeatedOptions, local_options
from pipelines.output import Output
from pipelines.watermark import Watermark
from tests.audit.reduction import KEY, STARTED, settings
from transforms.connectors.sources import Gap, Stretch

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

URI: Final = "kafka://test/audit"
MINUTE: Final = 60_000_000


class FakeClock(Clock):
    """Shows what it is set to."""

    def __init__(self, now: int = STARTED) -> None:
        self.shows = now

    def moment(self) -> float:
        return self.shows / 1e6

    def now(self) -> int:
        return self.shows

    def pass_by(self, seconds: float) -> bool:
        self.shows += int(seconds * 1e6)
        return False


class Journal:
    """What a broker holds: messages by partition, which stay, and what it was told to be done with."""

    def __init__(self, partitions: int = 1) -> None:
        self.partitions: list[list[bytes]] = [[] for _ in range(partitions)]
        self.identities: list[list[str]] = [[] for _ in range(partitions)]
        self.acknowledged: list[int] = [0] * partitions

    def publish(self, *values: bytes, partition: int = 0) -> None:
        self.partitions[partition] += values


class ScriptedSource:
    """Gives what the journal holds, at most `most` messages of a partition at once; says how often it was told of a commit."""

    def __init__(self, journal: Journal, *, most: int = 1 << 30, follow: bool = True, cluster: str | None = None, uri: str = URI) -> None:
        self._journal = journal
        self._uri = uri
        self._most = most
        self._follow = follow
        self._cluster = cluster
        self._at = [0] * len(journal.partitions)
        self._ends = [0] * len(journal.partitions)
        self.lost: list[Gap] = []
        self.commits = 0
        self.closed = False

    def resume(self, positions: Mapping[tuple[str, int | None], int], reach: Any) -> None:
        self._at = [positions.get((self._uri, number), 0) for number in range(len(self._at))]
        self._ends = [len(messages) for messages in self._journal.partitions]

    def fetch(self, room: int, seconds: float) -> list[Stretch]:
        out = []
        for number, messages in enumerate(self._journal.partitions):
            start = self._at[number]
            end = min(len(messages) if self._follow else self._ends[number], start + self._most)
            if end > start:
                out.append(Stretch(self._uri, number, start, end, self._cluster, [(at, messages[at]) for at in range(start, end)]))
                self._at[number] = end
        return out

    def acknowledge(self) -> None:
        self.commits += 1
        self._journal.acknowledged = list(self._at)

    @property
    def at_end(self) -> bool:
        ends = map(len, self._journal.partitions) if self._follow else self._ends
        return all(at >= end for at, end in zip(self._at, ends, strict=True))

    def caught_up(self) -> Mapping[tuple[str, int | None], bool]:
        return {(self._uri, number): at >= len(self._journal.partitions[number]) for number, at in enumerate(self._at)}

    def gaps(self) -> list[Gap]:
        lost, self.lost = self.lost, []
        return lost

    def gauges(self) -> Mapping[str, float]:
        return {
            f'lag{{partition="{number}"}}': float(len(messages) - self._at[number])
            for number, messages in enumerate(self._journal.partitions)
        }

    def close(self) -> None:
        self.closed = True


class Followed:
    """An output that a source is followed into. Leaving it is as good as a crash: nothing is done that a commit has not done."""

    def __init__(
        self,
        path: str,
        source: Any,
        clock: FakeClock,
        *,
        forever: bool = True,
        wait: int = 600,
        horizon: int = 3600,
        names: Sequence[str | None] = (None,),
        more: Sequence[Any] = (),
        seconds: float = 1,
        **changes: Any,
    ) -> None:
        self.output = Output(path)
        self.output.acquire()
        self.clock = clock
        self.source = source
        self.warnings: list[str] = []
        self.turns = 0
        outputs = [self.output if name is None else self.output.below(name) for name in names]
        try:
            self.consumers = [
                Consumer(name, own, settings(**changes), KEY, self.warnings) for name, own in zip(names, outputs, strict=True)
            ]
        except BaseException:
            self.leave()
            raise
        options = RepeatedOptions([])
        options.view_as(DirectOptions).direct_running_mode = "in_memory"
        local_options(options, 1, 0)
        horizons = Horizons(horizon * 1_000_000, wait * 1_000_000)
        self.cycles = Cycles(self.output, self.consumers, KEY, options, horizons, clock)
        self.gauges = Gauges()
        before = self.consumers[0].checkpoint
        self.follower = Follower(
            [source, *more],
            self.cycles,
            Watermark(clock.moment(), before.watermark, before.latest),
            clock,
            self.gauges,
            forever=forever,
            seconds=seconds,
            stopped=self._stopped,
            pause=clock.pass_by,
        )
        self.follower.resume(KEY)

    def _stopped(self) -> bool:
        self.turns -= 1
        return self.turns < 0

    def go(self, turns: int = 1 << 30) -> None:
        """Turn the loop so often."""
        self.turns = turns
        self.follower.run()

    def leave(self) -> None:
        """Let others in."""
        self.output.release()
