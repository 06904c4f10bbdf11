"""Kill a job that follows wherever it is, start it again: nothing lost, nothing twice, and the accounts closed, whatever waited."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from pipelines import verify
from tests.audit.logs import TARGETS
from tests.pipelines.followed import FakeClock, Followed, Journal, ScriptedSource
from tests.pipelines.job import ROOT, account, environment, positions, records, reduced, sample_lines
from tests.pipelines.test_follow import request
from tests.pipelines.test_output import Disk, Killed

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.integration

KILLS = int(os.environ.get("KILLS", "15"))
SEED = int(os.environ.get("KILLS_SEED", str(random.SystemRandom().randrange(1 << 32))))


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


def said(output: Path) -> dict[str, Any]:
    """What the output says, but for positions: equal for a followed stream and for one batch run."""
    rows: Counter[Any] = Counter()
    for each in records(output, "reads"):
        at = [str(each[name]) for name in ("windowStart", "username", "verb", "resource", "namespace", "userAgent", "code")]
        rows.update({(*at, "count"): each["count"], (*at, "merged"): each["mergedStages"], (*at, "bytes"): each["bytes"]})
    events = Counter((each["digest"], len(each["stages"]), tuple(each["flags"])) for each in records(output, "events"))
    return {"events": events, "reads": rows, "letters": Counter(each["code"] for each in records(output, "dead_letters"))}


def assert_closed(output: Path) -> None:
    assert verify.verify(str(output)).problems == []
    seen = positions(output)
    assert len(seen) == len(set(seen))


@pytest.mark.parametrize("names", [(None,), ("one", "two")])
def test_stopped_before_anything_that_a_cycle_does_to_the_disk_the_next_session_goes_on_as_if_nothing_had_been(
    names: tuple[str | None, ...], tmp_path: Path, disk: Disk
):
    """Two cycles: stages that wait, a window that stays open and is closed, copies, and files of rows that go."""
    first = [*request("a"), request("w")[0], *request("r1", TARGETS[0], second="05:19:00")]
    second = [request("w")[1], *request("a"), *request("r2", TARGETS[0], second="05:22:00"), b"{poison"]

    def session(path: Path, journal: Journal, clock: FakeClock, last: int | None = None, *, forever: bool = True) -> bool:
        disk.stop_before(None)
        followed = Followed(str(path), ScriptedSource(journal, follow=forever), clock, forever=forever, horizon=1, wait=3, names=names)
        try:
            disk.stop_before(last)
            followed.go(1)
        except (Killed, RuntimeError):  # Beam gives what a step raises a type of its own
            return False
        finally:
            disk.stop_before(None)
            followed.leave()
        return True

    whole: dict[str, Any] | None = None
    every = 1 if names == (None,) else 6  # what there is twice is looked at here and there
    for last in [None, *range(1, 160, every)]:
        path, journal, clock = tmp_path / str(last), Journal(), FakeClock()
        journal.publish(*first)
        assert session(path, journal, clock)
        clock.pass_by(2)
        journal.publish(*second)
        lived = session(path, journal, clock, last)
        assert session(path, journal, clock, forever=False)
        for name in names:
            output = path / name if name else path
            assert_closed(output)
            assert account(output).pending == 0
            found = said(output)
            whole = whole or found
            assert found == whole, last
        left = {each.name for each in (path / "_state").iterdir()} - {"lock", "follow"}
        assert left == set()
        if lived and last is not None:
            break
    else:
        pytest.fail("the cycle never lived to its end")


RUN = """
import os, sys, time
from pipelines import reduce
from tests.pipelines.followed import Journal, ScriptedSource
log, most, dies = sys.argv[1], int(sys.argv[2]), sys.argv[3]
class Source(ScriptedSource):
    def fetch(self, room, seconds):
        with open(log, "rb") as file:
            self._journal.partitions[0] = [line for line in file.read().splitlines()]
        found = super().fetch(room, seconds)
        if not found:
            time.sleep(min(seconds, 0.05))
        return found
    def acknowledge(self):
        if dies == "acknowledge":
            os._exit(9)
        super().acknowledge()
follow = "--follow" in sys.argv
source = Source(Journal(), most=most, follow=follow)
with open(log, "rb") as file:
    source._journal.partitions[0] = file.read().splitlines()
reduce.sources_of = lambda *_: [source]
if dies == "record":
    from transforms.connectors import storage
    rename = storage.rename
    def dying(old, new):
        rename(old, new)
        if new.endswith("commit.msgpack"):
            os._exit(9)
    storage.rename = dying
sys.exit(reduce.main(sys.argv[4:]))
"""


def job(log: Path, output: Path, *flags: str, most: int = 1 << 30, dies: str = "") -> subprocess.Popen[str]:
    """The main job on a source that reads its messages from a file."""
    arguments = ["--runner=DirectRunner", "--input=kafka://127.0.0.1:1/audit", f"--output={output}", *flags]
    return subprocess.Popen(
        [sys.executable, "-c", RUN, str(log), str(most), dies, *arguments],
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="module")
def lines() -> list[bytes]:
    """A log with copies."""
    found = sample_lines(1200).splitlines(keepends=True)
    return found + found[100:200]


@pytest.fixture(scope="module")
def whole(lines: list[bytes], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What one batch run over all of it says."""
    path = tmp_path_factory.mktemp("whole")
    (path / "audit.log").write_bytes(b"".join(lines))
    reduced("--input", path / "audit.log", "--output", path / "out")
    return said(path / "out")


def test_killed_at_any_moment_a_followed_stream_gives_what_a_batch_run_gives(lines: list[bytes], whole: dict[str, Any], tmp_path: Path):
    chance = random.Random(SEED)
    sys.stderr.write(f"KILLS={KILLS} KILLS_SEED={SEED}\n")
    log, output = tmp_path / "journal", tmp_path / "reduced"
    log.write_bytes(b"")
    steps = sorted(chance.sample(range(1, len(lines)), KILLS - 1)) if KILLS > 1 else []
    for start, end in zip([0, *steps], [*steps, len(lines)], strict=True):
        with log.open("ab") as file:
            file.write(b"".join(lines[start:end]))
        with job(log, output, "--follow", "--commit_every=1s", most=chance.choice((7, 40, 1 << 30))) as running:
            assert running.stderr is not None
            for line in running.stderr:
                if line.startswith("following:"):
                    break
            time.sleep(chance.uniform(0, 2.5))
            running.kill()
        seen = positions(output)
        assert len(seen) == len(set(seen)), f"KILLS_SEED={SEED}"
    with job(log, output) as drained:
        assert drained.wait(120) == 0, drained.stderr
    assert account(output).events == len(lines)
    assert account(output).pending == 0
    assert said(output) == whole, f"KILLS_SEED={SEED}"
    assert_closed(output)


@pytest.mark.parametrize("dies", ["record", "acknowledge"])
def test_killed_at_the_worst_moment_of_every_cycle_each_cycle_counts_once(
    dies: str, lines: list[bytes], whole: dict[str, Any], tmp_path: Path
):
    log, output = tmp_path / "journal", tmp_path / "reduced"
    log.write_bytes(b"".join(lines))
    for number in range(1, 4):
        with job(log, output, "--follow", most=300, dies=dies) as running:
            assert running.wait(60) == 9
        assert account(output).events == 300 * (number - (dies == "record"))
    with job(log, output) as drained:
        assert drained.wait(120) == 0
    assert account(output).events == len(lines)
    assert said(output) == whole
    assert_closed(output)


def test_sigterm_finishes_the_cycle_and_what_waits_waits_for_the_next_session(lines: list[bytes], whole: dict[str, Any], tmp_path: Path):
    log, output = tmp_path / "journal", tmp_path / "reduced"
    log.write_bytes(b"".join(lines))
    for number in (signal.SIGTERM, signal.SIGINT):
        with job(log, output, "--follow", "--commit_every=1s", most=300) as running:
            assert running.stderr is not None
            for line in running.stderr:
                if line.startswith("following:"):
                    break
            time.sleep(1)
            running.send_signal(number)
            told = running.communicate(timeout=60)[1]
        assert running.returncode == (0 if number == signal.SIGTERM else 130), told
        assert "Traceback" not in told
        assert account(output).events % 100 == 0
        assert_closed(output)
    with job(log, output) as drained:
        assert drained.wait(120) == 0
    assert said(output) == whole
    assert_closed(output)
