"""Kafka to Avro on one core: events per CPU second, memory over minutes at full speed, and seconds from publish to commit.

The broker runs on the other cores. Speed and memory are those of the process that `pipelines.reduce` is, the client's
threads included.
"""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from multiprocessing import get_context
from pathlib import Path
from statistics import fmean, median
from typing import TYPE_CHECKING, Any, Final, Self

import fastavro
from confluent_kafka import Consumer, Producer, TopicPartition

from tests.bench.corpus import SAMPLE, unpacked
from tests.bench.measure import pinned, start
from tests.integration.kafka.broker import LARGEST, Broker, missing

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import TracebackType

    from confluent_kafka import Message

PARTITIONS: Final = 3
BACKLOG: Final = 100_000  # messages that wait to be read, at most: full speed, and a disk that does not fill
SAMPLED: Final = 1.0  # seconds between two looks at memory, which goes up and down with each cycle
HORIZON: Final = "1m"  # where memory is looked at
PACE: Final = 2000  # events a second, where latency is measured
LATENCY_SECONDS: Final = 30
START: Final = 10  # seconds that the job has to start, and
SETTLE: Final = 15  # to commit what was published last
_TICK: Final = 0.01
_TIME: Final = re.compile(rb'"stageTimestamp":"([^"]+)"')
_AUDIT_ID: Final = re.compile(rb'("auditID":")([^"]{8})')
_MOMENT: Final = re.compile(rb'("(?:requestReceivedTimestamp|stageTimestamp)":")(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)')
_KIB: Final = 1 << 10


def partition_of(line: bytes) -> int:
    """Where a producer that uses the audit ID as key puts an event."""
    found = _AUDIT_ID.search(line)
    return zlib.crc32(found[0]) % PARTITIONS if found else 0


def write(producer: Producer, topic: str, line: bytes, **more: Any) -> None:
    """Hand one message over; waits while the producer's queue is full."""
    while True:
        try:
            producer.produce(topic, line, partition=partition_of(line), **more)
        except BufferError:
            producer.poll(0.1)
        else:
            return


def measured(paths: Sequence[Path], work: Path, minutes: float) -> list[dict[str, Any]]:
    """What the module says, each as one row; none where no broker can be run."""
    if missing():
        print(f"no rows of Kafka: a broker needs {', '.join(missing())}", file=sys.stderr)
        return []
    place = work / "broker"
    place.mkdir()
    with Broker(place) as broker:
        print("Kafka: a topic with the same events is drained", file=sys.stderr)
        rows = [drained(broker, paths, work)]
        print(f"Kafka: {PACE:,} events/s are published", file=sys.stderr)
        rows.append(latency(broker, work))
        print(f"Kafka: full speed for {minutes:g} minutes", file=sys.stderr)
        rows.append(soaked(broker, minutes, work))
    return rows


def described(rows: Sequence[dict[str, Any]], of_files: float) -> Iterator[str]:
    """The rows for people; `of_files` are the file path's events per CPU second."""
    for each in rows:
        if "median s" in each:
            seconds = f"median {each['median s']:.1f} s, 99 % {each['p99 s']:.1f} s, longest {each['max s']:.1f} s"
            yield f"{each['step']}: {seconds} (bound 5); {each['cores']:.2f} cores"
            continue
        share = each["events per CPU s"] / of_files
        yield f"{each['step']}: {each['events']:,} events, {each['events per CPU s']:,.0f} per CPU second, {share:.2f} of the file path's"
        if "by minute" in each:
            thirds = f"{each['second third MB']:,.0f} MB on average in the second third, {each['last third MB']:,.0f} in the last"
            yield f"  memory: {thirds}: {each['growth']:+.1%} (bound 3 % over 15 minutes); {each['peak MB']:,.0f} at most"
            yield "  by minute, average/most: " + " ".join(f"{mean}/{most}" for mean, most in each["by minute"])
        else:
            yield f"  bound 0.60; {each['peak MB']:,.0f} MB at most"


def drained(broker: Broker, paths: Sequence[Path], work: Path) -> dict[str, Any]:
    """Drain a topic that holds the events of the files, in the order of their time, as a cluster would have written them."""
    broker.create("drained", PARTITIONS)
    # In a process of its own: what this one holds would count as the peak of those that it starts.
    writer = get_context("spawn").Process(target=_publish, args=(broker.servers, [*map(str, paths)]))
    writer.start()
    writer.join()
    if writer.exitcode:
        raise RuntimeError(f"what was to be drained could not be published: exit {writer.exitcode}")
    done = pinned(*_reduce(broker, "drained", work / "drained"), "--json")
    events = done.said["events"]
    return {"step": "Kafka to Avro", "events": events, "events per CPU s": events / done.cpu, "peak MB": done.peak / 1e6}


def _publish(servers: str, paths: Sequence[str]) -> None:
    lines = [line for path in paths for line in Path(path).read_bytes().splitlines() if line]
    lines.sort(key=lambda line: found[1] if (found := _TIME.search(line)) else b"")
    producer = Producer({"bootstrap.servers": servers, "linger.ms": 20, "message.max.bytes": LARGEST})
    for line in lines:
        write(producer, "drained", line)
    producer.flush()


def _reduce(broker: Broker, topic: str, output: Path) -> tuple[str, ...]:
    source = f"--input=kafka://{broker.servers}/{topic}?group={topic}"
    return ("-m", "pipelines.reduce", "--runner=DirectRunner", source, f"--output={output}")


def live_events(work: Path) -> Iterator[bytes]:
    """The bundled sample again and again, each time with audit IDs of its own, and as of now."""
    lines = unpacked(SAMPLE, work).read_bytes().splitlines()
    turn = 0
    while True:
        mark = b"%08x" % (turn * 0x9E3779B1 & 0xFFFFFFFF)
        for line in lines:
            now = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime()).encode()
            yield _MOMENT.sub(lambda found, now=now: found[1] + now, _AUDIT_ID.sub(lambda found, mark=mark: found[1] + mark, line))
        turn += 1


class Following:
    """A job that follows a topic, and what is known of it from outside. As a context: stopped in the end."""

    def __init__(self, broker: Broker, topic: str, work: Path, *more: str, pin: bool = True) -> None:
        broker.create(topic, PARTITIONS)
        self.output = work / topic
        self._broker = broker
        self._topic = topic
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the job
        self._job = start(self._errors, *_reduce(broker, topic, self.output), "--follow", *more, errors=self._errors, pin=pin)
        self._group = Consumer({"bootstrap.servers": broker.servers, "group.id": topic, "log_level": 0})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._job.send_signal(signal.SIGTERM)
        try:
            self._job.wait(60)
        except subprocess.TimeoutExpired:
            self._job.kill()
        self._group.close()
        self._errors.seek(0)
        said = self._errors.read().decode()
        self._errors.close()
        if self._job.returncode:
            raise RuntimeError(f"following {self._topic}: exit {self._job.returncode}: {said}")

    def committed(self) -> list[int]:
        """Messages that are committed, by partition."""
        found = self._group.committed([TopicPartition(self._topic, number) for number in range(PARTITIONS)], 10)
        return [max(0, each.offset) for each in found]

    def forget(self, offsets: Sequence[int]) -> None:
        """Have the broker delete what is committed, so that its disk does not fill."""
        for number, offset in enumerate(offsets):
            self._broker.delete_before(self._topic, number, offset)

    def memory(self) -> int:
        """Bytes that it holds now, less mapped files, which are the system's to keep or drop."""
        status = Path(f"/proc/{self._job.pid}/status").read_text()
        return int(status.partition("RssAnon:")[2].split()[0]) * _KIB

    def cpu(self) -> float:
        """CPU seconds that it used so far."""
        return sum(map(int, Path(f"/proc/{self._job.pid}/stat").read_text().rpartition(")")[2].split()[11:13])) / 100


def soaked(broker: Broker, minutes: float, work: Path) -> dict[str, Any]:
    """Feed a job as fast as it reads, and look at its memory all the time: the first third of it is for warming up."""
    samples: list[tuple[float, int, int]] = []
    over = threading.Event()
    # What is remembered grows to the end of both horizons, by 8 bytes an event and twice that at most; then no longer.
    with Following(broker, "soak", work, f"--dedupe_horizon={HORIZON}", f"--completion_wait={HORIZON}") as job:
        feeder = threading.Thread(target=_feed, args=(broker, job, work, over))
        feeder.start()
        try:
            while not sum(job.committed()):
                time.sleep(0.2)
            began, first, used = time.monotonic(), sum(job.committed()), job.cpu()
            while time.monotonic() - began < 60 * minutes:
                time.sleep(SAMPLED)
                samples.append((time.monotonic() - began, job.memory(), sum(job.committed()) - first))
            used = job.cpu() - used
        finally:
            over.set()
            feeder.join()
    seconds, _, events = samples[-1]
    found = held([(at, memory) for at, memory, _ in samples])
    return {
        "step": f"at full speed for {seconds / 60:.1f} minutes",
        "events": events,
        "events/s": events / seconds,
        "events per CPU s": events / used,
        **found,
    }


def held(samples: Sequence[tuple[float, int]]) -> dict[str, Any]:
    """What (second, bytes) come to: in MB the peak, the averages of the second and the last third of the time, and each minute's."""
    whole = max(1, round(samples[-1][0] / 60))
    third = samples[-1][0] / 3
    second = fmean(memory for at, memory in samples if third < at <= 2 * third) / 1e6
    last = fmean(memory for at, memory in samples if at > 2 * third) / 1e6
    minutes: dict[int, list[int]] = {}
    for at, memory in samples:
        minutes.setdefault(min(int(at // 60), whole - 1), []).append(memory)
    return {
        "peak MB": max(memory for _, memory in samples) / 1e6,
        "second third MB": second,
        "last third MB": last,
        "growth": last / second - 1,
        "by minute": [[round(fmean(found) / 1e6), round(max(found) / 1e6)] for _, found in sorted(minutes.items())],
    }


def _feed(broker: Broker, job: Following, work: Path, over: threading.Event) -> None:
    producer = broker.producer(linger_ms=20, compression_type="lz4")
    for wrote, line in enumerate(live_events(work), 1):
        write(producer, "soak", line)
        if wrote % 5000 == 0:
            while not over.is_set() and wrote - sum(job.committed()) > BACKLOG:
                over.wait(0.05)
            if wrote % 100_000 == 0:
                job.forget(job.committed())
        if over.is_set():
            break
    producer.flush()


def latency(broker: Broker, work: Path) -> dict[str, Any]:
    """Publish at a steady pace, and see when each kept event can be read in the output."""
    published: dict[tuple[int, int], float] = {}
    seen: list[float] = []
    with Following(broker, "paced", work, pin=False) as job:
        feeder = threading.Thread(target=_pace, args=(broker, work, published))
        feeder.start()
        known: set[Path] = set()
        used = 0.0
        until = None  # what was published last is waited for, too
        while until is None or time.monotonic() < until:
            used = used or (job.cpu() if published else 0.0)
            until = until or (None if feeder.is_alive() else time.monotonic() + SETTLE)
            for path in set((job.output / "events").glob("*/*/*.avro")) - known:
                known.add(path)
                now = time.monotonic()
                with path.open("rb") as file:
                    places = [(each["source"]["partition"], each["source"]["offset"]) for each in fastavro.reader(file)]
                seen += [now - published[place] for place in places if place in published]
            time.sleep(0.02)
        used = job.cpu() - used
    seen.sort()
    return {
        "step": f"publish to commit at {PACE:,} events/s",
        "events": len(seen),
        "median s": median(seen),
        "p99 s": seen[len(seen) * 99 // 100],
        "max s": seen[-1],
        "cores": used / LATENCY_SECONDS,
    }


def _pace(broker: Broker, work: Path, published: dict[tuple[int, int], float]) -> None:
    """Publish so many events every tick. The first seconds, while the job starts, are published and not counted."""
    producer = broker.producer(linger_ms=1)
    events = live_events(work)
    began = time.monotonic()
    wrote = 0
    while (passed := time.monotonic() - began) < START + LATENCY_SECONDS:
        for _ in range(int(passed * PACE) - wrote):
            write(producer, "paced", next(events), on_delivery=_noting(published, time.monotonic(), counts=passed > START))
            wrote += 1
        producer.poll(0)
        time.sleep(_TICK)
    producer.flush()


def _noting(published: dict[tuple[int, int], float], at: float, *, counts: bool) -> Any:
    def note(error: object, message: Message) -> None:
        place: Any = message.partition(), message.offset()
        if counts and error is None:
            published[place] = at

    return note
