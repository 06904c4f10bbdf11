"""Follow a log that is rotated as kube-apiserver rotates it, with real processes: killed, started again, stopped."""

from __future__ import annotations

import gzip
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.test_follow_crashes import assert_closed
from tests.pipelines.job import ROOT, account, command, environment, positions, records, reduced, sample_lines

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

pytestmark = pytest.mark.integration

KILLS = int(os.environ.get("KILLS", "8"))
SEED = int(os.environ.get("KILLS_SEED", str(random.SystemRandom().randrange(1 << 32))))
SIZE = 250_000  # of a log, where kube-apiserver has 100 MB


class ApiServer(threading.Thread):
    """Writes a log as the API server's rotation does: renamed at its size, then compressed beside what goes on.

    `pace` is in bytes a second. With `backups` only so many rotated files stay, and none is compressed.
    """

    def __init__(self, directory: Path, lines: Sequence[bytes], pace: float = 3e6, *, backups: int | None = None) -> None:
        super().__init__()
        self._directory, self._lines, self._pace, self._backups = directory, lines, pace, backups
        self._log = directory / "audit.log"
        self._compressing: list[threading.Thread] = []
        self._rotated = len(list(directory.glob("audit-*")))

    def run(self) -> None:
        file = self._log.open("ab", buffering=0)
        for line in self._lines:
            if file.tell() + len(line) > SIZE:
                file.close()
                self._rotate()
                file = self._log.open("ab", buffering=0)
            file.write(line)
            time.sleep(len(line) / self._pace)
        file.close()
        for thread in self._compressing:
            thread.join()

    def _rotate(self) -> None:
        self._rotated += 1
        backup = self._directory / f"audit-2026-11-25T13-00-{self._rotated:06.3f}.log"
        self._log.rename(backup)
        if self._backups is not None:
            for old in sorted(self._directory.glob("audit-*"))[: -self._backups]:
                old.unlink()
        else:
            self._compressing.append(threading.Thread(target=self._compress, args=(backup,)))
            self._compressing[-1].start()

    def _compress(self, backup: Path) -> None:
        with backup.open("rb") as plain, gzip.open(f"{backup}.gz", "wb", 1) as packed:
            while chunk := plain.read(40_000):
                packed.write(chunk)
                time.sleep(0.01)
        backup.unlink()


@contextmanager
def follow(logs: Path, output: Path, *further: str) -> Iterator[subprocess.Popen[str]]:
    """The main job, once it follows; killed at the end, unless it has stopped."""
    flags = ("--input", logs, "--output", output, "--follow", "--commit_every=1s", "--json", *further)
    with subprocess.Popen(command(*flags), cwd=ROOT, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as job:
        try:
            assert job.stderr is not None
            for line in job.stderr:
                if line.startswith("following:"):
                    break
            yield job
        finally:
            job.kill()


def wait_for(output: Path, job: subprocess.Popen[str], events: int, pending: int | None = None) -> None:
    """Until so many events are in the accounts, and so many of them wait."""
    for _ in range(600):
        assert job.poll() is None
        sums = account(output)
        if sums.events == events and pending in (None, sums.pending):
            return
        time.sleep(0.2)
    pytest.fail(f"after two minutes: {sums.events} events of {events}, {sums.pending} pending")


def settle(logs: Path, output: Path, events: int) -> None:
    """All is read: what waits is settled, its final events being there or not."""
    with follow(logs, output, "--completion_wait=1s") as job:
        wait_for(output, job, events, pending=0)
        stop(job)


def stop(job: subprocess.Popen[str], number: int = signal.SIGTERM) -> None:
    job.send_signal(number)
    said = job.communicate(timeout=60)
    assert job.returncode == 0, said
    assert "Traceback" not in said[1]


def said(output: Path) -> dict[str, Any]:
    """What the output says, whatever file it was read from, and in whatever order the files were found."""
    reads: Counter[tuple[Any, ...]] = Counter()
    for row in records(output, "reads"):
        at = [str(row[name]) for name in ("windowStart", "username", "verb", "resource", "namespace", "userAgent", "code")]
        reads[tuple(at)] += row["count"]
    events = Counter(each["digest"] for each in records(output, "events") if "LATE_STAGE" not in each["flags"])
    return {"events": events, "reads": reads, "letters": Counter(each["code"] for each in records(output, "dead_letters"))}


def assert_as_one_batch_run(output: Path, lines: Sequence[bytes], place: Path) -> None:
    """The same as what one run gives that reads all of it at once."""
    place.mkdir()
    (place / "whole.log").write_bytes(b"".join(lines))
    reduced("--input", place / "whole.log", "--output", place / "reduced")
    assert said(output) == said(place / "reduced")
    assert account(output).events == len(lines)
    assert_closed(output)


def test_killed_at_any_moment_nothing_of_a_rotated_log_is_lost_or_twice(tmp_path: Path):
    chance = random.Random(SEED)
    sys.stderr.write(f"KILLS={KILLS} KILLS_SEED={SEED}\n")
    logs, output = tmp_path / "logs", tmp_path / "reduced"
    logs.mkdir()
    lines = sample_lines(min(200 * (KILLS + 1), 2500))
    cuts = sorted(chance.sample(range(1, len(lines.splitlines())), KILLS))
    each = lines.splitlines(keepends=True)
    for start, end in zip([0, *cuts], [*cuts, len(each)], strict=True):
        server = ApiServer(logs, each[start:end])
        server.start()
        with follow(logs, output):
            time.sleep(chance.uniform(0, 3))
        server.join()
        seen = positions(output)
        assert len(seen) == len(set(seen)), f"KILLS_SEED={SEED}"
    with follow(logs, output) as job:
        wait_for(output, job, len(each))
        stop(job)
    settle(logs, output, len(each))
    assert_as_one_batch_run(output, each, tmp_path / "batch")
    before = said(output)
    assert reduced("--input", logs, "--output", output)["events"] == 0
    assert said(output) == before
    assert_closed(output)
    assert list(logs.glob("*.gz")) != []


def test_a_burst_that_rotates_many_times_and_keeps_two_backups_loses_nothing(tmp_path: Path):
    logs, output = tmp_path / "logs", tmp_path / "reduced"
    logs.mkdir()
    lines = sample_lines(2500).splitlines(keepends=True)
    (logs / "audit.log").write_bytes(lines[0])
    with follow(logs, output) as job:
        wait_for(output, job, 1)
        server = ApiServer(logs, lines[1:], 5e5, backups=2)
        server.start()
        server.join()
        wait_for(output, job, len(lines))
        stop(job)
    settle(logs, output, len(lines))
    assert len(list(logs.iterdir())) == 3
    assert_as_one_batch_run(output, lines, tmp_path / "batch")
