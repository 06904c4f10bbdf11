"""One run of a followed input after another: the graph that batch uses, and a commit of all that came of it."""

from __future__ import annotations

import hashlib
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import apache_beam as beam
import msgspec

from pipelines.checkpoint import CHECKPOINT, FOLLOW, Checkpoint, RowFile, encode, is_sound, load, merged_tier, recorded
from pipelines.graph import Task, build
from pipelines.ledger import BROKERS, Range, Stream
from pipelines.ledger_index import INDEX, Whereabouts, encode_index, read_index
from pipelines.open_ranges import OpenRanges
from pipelines.output import Output, Share
from pipelines.watermark import closing, oldest
from transforms.aggregate_reads import OPEN
from transforms.audit.account import Account, total
from transforms.audit.audit_ids import hash_ids
from transforms.audit.block import Split
from transforms.audit.cycle import Cycle, memory_of
from transforms.audit.memory import MESSAGE, ROW, encode_rows, message_rows
from transforms.audit.settings import HOUR
from transforms.close_accounts import MANIFEST, Manifest
from transforms.connectors import storage
from transforms.connectors.held_messages import GAP, hold, let_go
from transforms.elements import compiled
from transforms.resolve_copies import SETTLED, WAITING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from apache_beam.options.pipeline_options import PipelineOptions

    from transforms.audit.settings import Settings
    from transforms.connectors.sources import Gap, Stretch

END: Final = 1 << 62  # of time: a last run closes all windows that begin before it
PIECES: Final = 64  # of a window's rows before they are added up
OPEN_LIMIT: Final = 64 << 20  # bytes of rows of open windows; past that the oldest close, and what comes for them later is late

WAITING_LIMIT: Final = 16 << 20  # bytes of early stages that wait; past that they wait less long


class Clock:
    """The time, in microseconds since the epoch, which never goes back; and seconds of a clock that nobody sets."""

    def __init__(self) -> None:
        self._last = 0
        self._moment = 0.0

    def moment(self) -> float:
        """Seconds since some time or other."""
        return time.monotonic()

    def now(self) -> int:
        """The system's time, unless that was set back: then it goes on from where it was."""
        moment = self.moment()
        self._last = max(time.time_ns() // 1000, self._last + int((moment - self._moment) * 1e6)) if self._last else time.time_ns() // 1000
        self._moment = moment
        return self._last


class Horizons(msgspec.Struct, frozen=True):
    """How long is waited and remembered, in microseconds."""

    dedupe: int
    wait: int

    @property
    def memory(self) -> int:
        """How long what was settled is remembered: by it a final event finds the stages that wait for it, so no shorter than these do."""
        return max(self.dedupe, self.wait)


class Consumer:
    """An output that is followed into: where its ledger ends, and what its runs carry on."""

    def __init__(self, name: str | None, output: Output, settings: Settings, key: bytes, warnings: list[str]) -> None:
        self.name = name
        self.path = output.path
        self.settings = settings
        indexed = read_index(output.path, key)
        if indexed is not None and is_sound(output, indexed[1]):
            index, last = indexed
            runs, self.runs = [last], index.runs
            self.where = Whereabouts(index)
        else:
            runs = output.runs(key)
            self.runs = len(runs)
            self.where = Whereabouts()
            for run in runs:
                self.where.add(run.ranges)
        self.head = runs[-1].head if runs else None
        self.checkpoint: Checkpoint = load(output, runs, warnings)
        self.open = OpenRanges(self.checkpoint.open)
        # Since when early stages wait, by run; of those before, nobody knows any longer: they are looked at at once.
        self.since: list[int] = [0] if self.checkpoint.waiting else []

    def below(self, path: str) -> str:
        """A path below the output."""
        return storage.join(self.path, path)


class Done(msgspec.Struct):
    """What a cycle committed, for one consumer."""

    ranges: list[Range]
    account: Account
    latest: dict[Stream, int]
    files: int = 0
    bytes: int = 0


class Cycles:
    """Runs and commits. All consumers share one commit record, so they never part."""

    def __init__(
        self, output: Output, consumers: Sequence[Consumer], key: bytes, options: PipelineOptions, horizons: Horizons, clock: Clock
    ) -> None:
        self._output = output
        self._key = key
        self._options = options
        self._horizons = horizons
        self._clock = clock
        self.consumers = consumers
        self._stretch = max(consumer.checkpoint.stretch for consumer in consumers)
        self._now = max(consumer.checkpoint.now for consumer in consumers)
        self._started = 0

    def now(self) -> int:
        """The time, which goes on from that of the last run even if the system's was set back in between."""
        self._now = max(self._now, self._clock.now())
        return self._now

    def due(self, watermark: int) -> bool:
        """Whether something that waits is to be settled now, without anything new."""
        now = self.now()
        for consumer in self.consumers:
            bound = closing(watermark, consumer.settings.window, consumer.checkpoint.closed)
            if any(window < bound for window in consumer.checkpoint.rows):
                return True
            if consumer.since and consumer.since[0] + self._horizons.wait <= now:
                return True
        return False

    def run(self, stretches: Sequence[Stretch], gaps: Sequence[Gap], watermark: int, *, last: bool = False) -> list[Done]:
        """Reduce the stretches and commit what comes of them; with `last` all that waits is settled too."""
        now = self.now()
        cycles = [self._cycle(consumer, now, watermark, last=last) for consumer in self.consumers]
        lost = [self._gap(gap) for gap in gaps if storage.scheme(gap.uri) in BROKERS]
        splits, remembered = self._splits(stretches, cycles[0])
        splits = [*lost, *splits, *[self._gap(gap) for gap in gaps if storage.scheme(gap.uri) not in BROKERS]]
        aside = self._output.aside(f"{self.consumers[0].runs + 1:06d}-{uuid.uuid4().hex[:8]}")
        try:
            tasks = [self._task(consumer, cycle, aside) for consumer, cycle in zip(self.consumers, cycles, strict=True)]
            pipeline = beam.Pipeline(options=self._options)
            build(pipeline, splits, tasks, self._key)
            pipeline.run().wait_until_finish()
            drafts = [
                self._draft(consumer, task, splits, remembered, watermark) for consumer, task in zip(self.consumers, tasks, strict=True)
            ]
            changed = [draft for draft in drafts if draft.share.ranges or draft.share.files]
            if changed:
                heads = self._output.commit_shares(aside, [draft.share for draft in drafts], self._key)
                for consumer, draft, head in zip(self.consumers, drafts, heads, strict=True):
                    self._adopt(consumer, draft, head)
            else:
                storage.delete_below(aside)
            for consumer in self.consumers:
                consumer.since = [each for each in consumer.since if each + self._horizons.wait > now and not last]
        finally:
            for split in splits:
                let_go(split.path)
        return [draft.done for draft in drafts]

    def _cycle(self, consumer: Consumer, now: int, watermark: int, *, last: bool) -> Cycle:
        before = consumer.checkpoint
        window = consumer.settings.window
        sizes = [(start, sum(map(len, pieces))) for start, pieces in before.rows.items()]
        bound = max(closing(watermark, window, before.closed), oldest(sizes, window, OPEN_LIMIT))
        alive = [file for file in before.settled if file.newest >= now - self._horizons.memory]
        return Cycle(
            now=now,
            closed=before.closed,
            closing=END if last else bound,
            wait=0 if last else shortened(self._horizons.wait, sum(len(packed) for _, packed in before.waiting)),
            memory=tuple(consumer.below(file.path) for file in alive),
            output=consumer.path,
        )

    def _splits(self, stretches: Sequence[Stretch], cycle: Cycle) -> tuple[list[Split], bytes]:
        """What to read, and the rows that remember the messages in it; those that are remembered already are left out."""
        splits: list[Split] = []
        remembered: list[bytes] = []
        for each in stretches:
            messages, identities = each.messages, each.identities
            if identities and messages is not None:
                new = _unknown(identities, cycle)
                messages = [messages[at] for at in new]
                remembered.append(message_rows([identities[at] for at in new]))
                if not messages:
                    continue
            path = each.path if messages is None else hold(messages)
            splits.append(Split(self._number(), each.uri, path, each.start, each.end, each.cluster, each.partition))
        return splits, b"".join(remembered)

    def _gap(self, gap: Gap) -> Split:
        # What a file has lost is not bytes that were read: its entry stands between two of them.
        end = gap.end if storage.scheme(gap.uri) in BROKERS else None
        return Split(self._number(), gap.uri, GAP, gap.start, end, None, gap.partition)

    def _number(self) -> int:
        self._stretch += 1
        return self._stretch - 1

    def _task(self, consumer: Consumer, cycle: Cycle, aside: str) -> Task:
        started = cycle.now - cycle.now % HOUR
        if started != self._started:  # other settings: what was made ready for the last ones, with its caches, is of no more use
            compiled.cache_clear()
            self._started = started
        before = consumer.checkpoint
        taken = [start for start, pieces in before.rows.items() if start < cycle.closing or len(pieces) > PIECES]
        return Task(
            consumer.name,
            msgspec.structs.replace(consumer.settings, started=started),
            consumer.runs + 1,
            storage.join(aside, consumer.name) if consumer.name else aside,
            cycle,
            before.waiting,
            [(start, piece) for start in sorted(taken) for piece in before.rows[start]],
        )

    def _draft(self, consumer: Consumer, task: Task, splits: Sequence[Split], remembered: bytes, watermark: int) -> Draft:
        cycle: Any = task.cycle
        manifest = _manifest(task.aside)
        rows = {start: pieces for start, pieces in consumer.checkpoint.rows.items() if start >= cycle.closing and len(pieces) <= PIECES}
        waiting: list[tuple[int, bytes]] = []
        settled: list[bytes] = [remembered] if remembered else []
        for kind, carried in manifest.carried:
            if kind == OPEN:
                start, piece = msgspec.msgpack.decode(carried, type=tuple[int, bytes])
                rows[start] = [*rows.get(start, ()), piece]
            elif kind == WAITING:
                waiting.append(msgspec.msgpack.decode(carried, type=tuple[int, bytes]))
            elif kind == SETTLED:
                settled.append(carried)
        streams = {split.file: (split.uri, split.partition) for split in splits}
        latest = dict.fromkeys(streams.values(), 0)
        for account in manifest.accounts:
            if account.file in streams:
                stream = streams[account.file]
                latest[stream] = max(latest[stream], account.latest)
        windows = [window for account in manifest.accounts for window in account.windows] + list(consumer.checkpoint.rows)
        closed = max([cycle.closed, *(window + consumer.settings.window for window in windows)]) if cycle.closing == END else cycle.closing
        begins = any(account.pending > 0 for account in manifest.accounts)
        after, ranges = consumer.open.settle(manifest.accounts, splits, cycle.closing)
        files, gone = self._settled(consumer, task, settled)
        checkpoint = Checkpoint(
            run=task.run,
            now=cycle.now,
            window=consumer.settings.window,
            closed=closed,
            watermark=watermark,
            latest=max(consumer.checkpoint.latest, min(max(latest.values(), default=0), cycle.now)),
            stretch=self._stretch,
            open=after.items(),
            waiting=waiting,
            rows=rows,
            settled=files,
        )
        data = encode(checkpoint)
        storage.write(storage.join(task.aside, CHECKPOINT), [data])
        times = {"now": cycle.now, "closed": cycle.closed, "closing": cycle.closing, "wait": cycle.wait}
        new = [file.path for file in files if file.path not in {known.path for known in consumer.checkpoint.settled}]
        config = recorded(task.settings, times, data)

        def index(ledger: str, head: str) -> tuple[str, bytes]:
            consumer.where.add(ranges)
            return INDEX, encode_index(ledger, head, task.run, self._key, consumer.where)

        share = Share(manifest.files, consumer.head, config, ranges, consumer.name or "", [*new, CHECKPOINT], index)
        account = total([each.account for each in ranges])
        account.windows = {}
        done = Done(ranges, account, latest, len(manifest.files), sum(file.bytes for file in manifest.files))
        return Draft(share, checkpoint, after, gone, done, begins=begins)

    def _settled(self, consumer: Consumer, task: Task, packed: Sequence[bytes]) -> tuple[list[RowFile], list[str]]:
        """The files of rows after a run, its own among them, many small ones made one; and the paths of those that go."""
        cycle: Any = task.cycle
        before = consumer.checkpoint.settled
        files = [file for file in before if consumer.below(file.path) in cycle.memory]
        if any(packed):
            files.append(_write_rows(task, packed, cycle.now, cycle.now, 0))
        for turn in range(1, 10):
            merged = merged_tier(files, self._horizons.memory // TIER_SPAN)
            if not merged:
                break
            known = {file.path for file in before}
            contents = [
                _rows_in(consumer.below(file.path) if file.path in known else storage.join(task.aside, file.path)) for file in merged
            ]
            one = _write_rows(task, contents, min(file.oldest for file in merged), max(file.newest for file in merged), turn)
            files = [file for file in files if file not in merged] + [one]
        kept = {file.path for file in files}
        return files, [file.path for file in before if file.path not in kept]

    def _adopt(self, consumer: Consumer, draft: Draft, head: str) -> None:
        consumer.head = head
        consumer.runs += 1
        consumer.checkpoint = draft.checkpoint
        consumer.open = draft.open
        if draft.begins:
            consumer.since.append(draft.checkpoint.now)
        for path in draft.gone:
            storage.delete_file(consumer.below(path))


class Draft(msgspec.Struct):
    """What is to be committed for a consumer, and what is true of it afterwards."""

    share: Share
    checkpoint: Checkpoint
    open: OpenRanges
    gone: list[str]
    done: Done
    begins: bool  # something of this run waits


def shortened(wait: int, size: int, limit: int = WAITING_LIMIT) -> int:
    """How long early stages wait where `size` bytes of them do: less the further that is beyond the limit, so that it falls back."""
    return wait if size <= limit else wait * limit * limit // (size * size)


TIER_SPAN: Final = 8  # of the horizon: rows outlive it by no more than this part


def _unknown(identities: Sequence[str], cycle: Cycle) -> list[int]:
    """Places of the messages that are new: neither remembered, nor the same as one before them."""
    numbers = hash_ids("message", identities)
    known = memory_of(cycle).recall(numbers)
    seen = {number for number, rows in known.items() if any(stage == MESSAGE for stage, _ in rows)}
    out: list[int] = []
    for at, number in enumerate(map(int, numbers)):
        if number not in seen:
            seen.add(number)
            out.append(at)
    return out


def _manifest(aside: str) -> Manifest:
    path = storage.join(aside, MANIFEST)
    return msgspec.msgpack.decode(storage.read(path), type=Manifest) if storage.exists(path) else Manifest([], [])


def _write_rows(task: Task, packed: Sequence[bytes], oldest_run: int, newest_run: int, turn: int) -> RowFile:
    data = encode_rows(packed)
    path = f"{FOLLOW}/{task.run:06d}-{turn}.rows"
    storage.write(storage.join(task.aside, path), [data])
    count = sum(map(len, packed)) // ROW.itemsize
    return RowFile(path, count, oldest_run, newest_run, hashlib.sha256(data).hexdigest())


def _rows_in(path: str) -> bytes:
    data = Path(path).read_bytes()
    return data[_header_size(data) :]


def _header_size(data: bytes) -> int:
    """Of NumPy's format, version 1: magic, version, a little-endian length, and so much text."""
    return 10 + int.from_bytes(data[8:10], "little")
