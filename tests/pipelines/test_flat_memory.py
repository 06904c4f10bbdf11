"""A job that goes on for months holds no more after many runs than after few, and gives back what a run needed."""

from __future__ import annotations

import gc
import json
import platform
import subprocess
import sys
import threading
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.audit.logs import TARGETS, stages_of
from tests.examples import line
from tests.pipelines.followed import URI, FakeClock, Followed
from tests.pipelines.job import ROOT
from transforms.connectors.sources import Stretch

if TYPE_CHECKING:
    from collections.abc import Mapping

REQUESTS: Final = 40  # of a run, two events each
SECONDS: Final = 10  # from one run to the next
WINDOW: Final = 20  # seconds: every second run closes one
HORIZON: Final = 40  # seconds
LOOKS: Final = 3
WARM: Final = 10  # runs after which the horizons are reached, and windows close that the first runs opened


class EndlessSource:
    """Gives new requests each time it is asked, as of then; knows nothing of those before."""

    at_end = False

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self._at = 0

    def resume(self, positions: Mapping[tuple[str, int | None], int], reach: Any) -> None:
        """Nothing is there yet."""

    def fetch(self, room: int, seconds: float) -> list[Stretch]:
        self._clock.pass_by(SECONDS)
        now = datetime.fromtimestamp(self._clock.moment(), UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        times = {"requestReceivedTimestamp": now, "stageTimestamp": now}
        events = [
            line({**event, **times})
            for number in range(REQUESTS)
            for event in stages_of(
                TARGETS[number % len(TARGETS)], ("RequestReceived", "ResponseComplete"), [""], auditID=f"{self._at}-{number}"
            )
        ]
        start, self._at = self._at, self._at + len(events)
        return [Stretch(URI, 0, start, self._at, None, [*enumerate(events, start)])]

    def acknowledge(self) -> None:
        """Nothing waits for it."""

    def caught_up(self) -> Mapping[tuple[str, int | None], bool]:
        return {(URI, 0): False}

    def gaps(self) -> list[Any]:
        return []

    def gauges(self) -> Mapping[str, float]:
        return {}

    def close(self) -> None:
        """Nothing is open."""


def held() -> tuple[str, dict[str, int]]:
    """What can be counted: objects by type, as a text, since a table of them would be one more; and some sums."""
    gc.unfreeze()  # a job freezes what was there before its first run, tables that may grow among it
    for _ in range(2):
        gc.collect()
    found = gc.get_objects()
    kinds = Counter(f"{type(each).__module__}.{type(each).__qualname__}" for each in found)
    counts = {
        "threads": threading.active_count(),
        "open files": len([*Path("/proc/self/fd").iterdir()]),
        "entries": sum(len(each) for each in found if type(each) in (list, dict, set)),
        "blocks": sys.getallocatedblocks(),
    }
    return json.dumps(kinds), counts


def looked_at(directory: str) -> dict[str, Any]:
    """What is held after few runs and after many."""
    clock = FakeClock()
    followed = Followed(directory, EndlessSource(clock), clock, wait=HORIZON, horizon=HORIZON, window=WINDOW * 1_000_000)
    try:
        followed.go(WARM)
        kinds, few = held()
        followed.go(WARM)
        kinds_then, many = held()
        for _ in range(LOOKS):  # what another thread has in hand at one look it has not at all of them; a leak it is not
            followed.go(2)
            kinds_now, now = held()
            kinds_then = json.dumps(Counter(json.loads(kinds_then)) & Counter(json.loads(kinds_now)))
            many = {name: min(count, now[name]) for name, count in many.items()}
    finally:
        followed.leave()
    return {
        "runs": followed.consumers[0].runs,
        "events": followed.gauges["events_total"],
        "grown": Counter(json.loads(kinds_then)) - Counter(json.loads(kinds)),
        "few": few,
        "many": many,
    }


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="open files are counted in /proc")
def test_what_is_held_after_many_runs_is_what_was_held_after_few(tmp_path: Path):
    # In a process of its own: what other tests leave behind comes and goes.
    program = "import json, sys; from tests.pipelines.test_flat_memory import looked_at; print(json.dumps(looked_at(sys.argv[1])))"
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True, cwd=ROOT)
    found = json.loads(done.stdout)
    few, many = found["few"], found["many"]
    assert found["runs"] == 2 * (WARM + LOOKS)
    assert found["events"] == 2 * (WARM + LOOKS) * 2 * REQUESTS
    # Nothing that refers to others, be it of a run, an event, a request or a file.
    assert found["grown"] == {}
    assert {name: many[name] - few[name] for name in ("threads", "open files")} == {"threads": 0, "open files": 0}
    assert many["entries"] <= few["entries"]
    # Nor a text or number for each request; some for the times of each run, in tables that are bounded and not full yet.
    assert many["blocks"] - few["blocks"] < WARM * REQUESTS


_HOLES: Final = """
from pathlib import Path
from pipelines.spare_memory import give_back, map_large_blocks

def taken():
    return int(Path("/proc/self/status").read_text().partition("RssAnon:")[2].split()[0]) >> 10

def texts(size):
    return b"x" * size

map_large_blocks()
blocks = [texts(1 << 20) for _ in range(8)]
del blocks  # once such a block is freed, glibc left alone takes the next ones from its heap
before = taken()
large, small = [], []
for _ in range(64):
    large.append(texts(1 << 20))
    small.append(texts(3000))
del large
print(taken() - before)
pages = [texts(30_000) for _ in range(4096)]
outlive = pages[::64]
del pages
give_back()
print(taken() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's allocator is told to give back")
def test_memory_that_a_run_needed_goes_back_although_small_things_outlive_it():
    done = subprocess.run([sys.executable, "-c", _HOLES], capture_output=True, text=True, check=True, cwd=ROOT)
    mapped, given_back = map(int, done.stdout.split())
    assert mapped < 8  # MiB: of 64 in large blocks nothing is left
    assert given_back < 16  # of 117 in others, what outlives them: some 2
