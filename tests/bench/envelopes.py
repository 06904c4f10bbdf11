"""What envelopes cost: the same events as plain lines and wrapped, each reduced whole, without Beam and without start-up.

Each envelope is measured beside plain lines, in turn and several times, and the quickest time counts. CPU seconds are per GB
of the events, not of what is wrapped around them. GKE has one entry per request, so it stands beside the final events only.
"""

from __future__ import annotations

import gc
import gzip
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import orjson

from pipelines.plan import plan
from tests.audit.envelopes import wraps
from transforms.audit.block import BLOCK_SIZE
from transforms.audit.parse_events import parse_events
from transforms.audit.reduce_all import reduce_all
from transforms.audit.settings import Compiled, Settings
from transforms.connectors.audit_files import decompressed, read_blocks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

KEY: Final = b"the bench needs no secret at all"
ROUNDS: Final = 3
BOUND: Final = 1.6
PLAIN: Final = "plain"
FINAL: Final = "plain, final stages"
_BATCH: Final = 100  # events in one message
_FINAL_STAGES: Final = (b'"stage":"ResponseComplete"', b'"stage":"Panic"')


class Envelope(NamedTuple):
    """A log in an envelope, and what it stands beside."""

    name: str
    beside: str
    write: Callable[[list[bytes]], bytes]


def in_batches(wrap: Callable[[list[bytes]], bytes], between: bytes = b"\n") -> Callable[[list[bytes]], bytes]:
    """A log of messages that hold some events each."""

    def write(events: list[bytes]) -> bytes:
        return between.join(wrap(events[at : at + _BATCH]) for at in range(0, len(events), _BATCH)) + between

    return write


def eks(events: list[bytes]) -> bytes:
    """An object that Firehose wrote: documents with nothing between them, compressed."""
    return gzip.compress(in_batches(wraps.cloudwatch, b"")(events), compresslevel=6, mtime=0)


ENVELOPES: Final = (
    Envelope("EventList, one a line", PLAIN, in_batches(wraps.event_list)),
    Envelope("EventList, one in all", PLAIN, wraps.event_list),
    Envelope("EKS (gzip)", PLAIN, eks),
    Envelope("AKS", PLAIN, in_batches(wraps.azure)),
    Envelope("CRI, 16 KiB fragments", PLAIN, wraps.cri_fragments),
    Envelope("GKE", FINAL, wraps.gke),
)


class Log:
    """One file, and the quickest time that each thing done to it took."""

    def __init__(self, name: str, path: Path, size: int, count: int) -> None:
        self.name, self.path = name, path
        self.size, self.count = size, count  # of the events as plain lines
        self.cpu: dict[str, float] = {}
        self._compiled = Compiled(Settings(started=int(time.time() * 1_000_000)), KEY)

    def measure(self) -> None:
        """Once more. Raises RuntimeError where an event is missing."""
        splits = plan([(str(self.path), None)]).splits
        with self._clock("unpack"):
            _unpack(self.path)
        with self._clock("read and parse"):
            for split in splits:
                for block in read_blocks(split, KEY, piece_size=BLOCK_SIZE):
                    parse_events(block, KEY, rows=True)
        with self._clock("whole"):
            reduced = reduce_all(splits, lambda split: read_blocks(split, KEY, piece_size=BLOCK_SIZE), self._compiled)
        found = sum(account.events - sum(account.dead_lettered.values()) for account in reduced.accounts)
        if found != self.count:
            raise RuntimeError(f"{self.name}: {found} events of {self.count}")

    def _clock(self, name: str) -> _Quickest:
        return _Quickest(self.cpu, name)


class _Quickest:
    def __init__(self, times: dict[str, float], name: str) -> None:
        self._times, self._name = times, name

    def __enter__(self) -> None:
        gc.collect()
        self._began = time.process_time()

    def __exit__(self, *error: object) -> None:
        took = time.process_time() - self._began
        self._times[self._name] = min(took, self._times.get(self._name, took))


def _unpack(path: Path) -> None:
    with path.open("rb") as file:
        stream = decompressed(file)
        if stream is not file:
            while stream.read(1 << 20):
                pass


def logs(lines: list[bytes], work: Path) -> Iterator[Log]:
    """The log of plain lines, that of the final events, and all envelopes."""
    events = {PLAIN: lines, FINAL: [line for line in lines if any(stage in line for stage in _FINAL_STAGES)]}
    plain = [Envelope(name, name, lambda chosen: b"\n".join(chosen) + b"\n") for name in events]
    for number, envelope in enumerate([*plain, *ENVELOPES]):
        chosen = events[envelope.beside]
        path = work / f"{number}.log"
        path.write_bytes(envelope.write(chosen))
        yield Log(envelope.name, path, sum(map(len, chosen)) + len(chosen), len(chosen))


def measured(lines: list[bytes], rounds: int = ROUNDS) -> list[dict[str, Any]]:
    """A row for each log."""
    beside = {envelope.name: envelope.beside for envelope in ENVELOPES}
    with tempfile.TemporaryDirectory(prefix="envelopes-") as work:
        made = list(logs(lines, Path(work)))
        for _ in range(rounds):
            for log in made:
                log.measure()
    by_name = {log.name: log for log in made}
    rows = []
    for log in made:
        plain = by_name[beside.get(log.name, log.name)]
        gb = log.size / 1e9
        allowed = BOUND * plain.cpu["whole"] + log.cpu["unpack"]
        rows.append(
            {
                "envelope": log.name,
                "events": log.count,
                "read and parse": log.cpu["read and parse"] / gb,
                "unpack": log.cpu["unpack"] / gb,
                "CPU s/GB": log.cpu["whole"] / gb,
                "of plain": (log.cpu["whole"] - log.cpu["unpack"]) / plain.cpu["whole"],
                "bound": "held" if log is plain or log.cpu["whole"] <= allowed else "MISSED",
            }
        )
    return rows


def main(paths: list[str]) -> None:
    """Print the rows as one JSON document."""
    gc.freeze()
    gc.set_threshold(2_000_000, 50, 50)  # as the pipeline's workers do
    lines = [line for path in paths for line in Path(path).read_bytes().split(b"\n") if line]
    print(orjson.dumps({"rows": measured(lines)}).decode())


if __name__ == "__main__":
    main(sys.argv[1:])
