"""Kill the job wherever it is, run it again: every event once, the accounts closed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.pipelines.job import ROOT, account, assert_sound, command, environment, plain, positions, reduced, run, sample_lines

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.integration

KILLS = int(os.environ.get("KILLS", "10"))
SEED = int(os.environ.get("KILLS_SEED", str(random.SystemRandom().randrange(1 << 32))))


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("logs") / "audit.log"
    path.write_bytes(sample_lines(1200))
    return path


@pytest.fixture(scope="module")
def undisturbed(log: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """What a run gives that nobody kills, and how long it takes."""
    output = tmp_path_factory.mktemp("whole") / "reduced"
    began = time.monotonic()
    reduced("--input", log, "--output", output)
    return output, time.monotonic() - began


def test_killed_at_any_moment_and_run_again_leaves_every_event_once(log: Path, undisturbed: tuple[Path, float], tmp_path: Path):
    whole, took = undisturbed
    chance = random.Random(SEED)
    sys.stderr.write(f"KILLS={KILLS} KILLS_SEED={SEED}\n")
    for number in range(KILLS):
        output = tmp_path / str(number)
        for _ in range(chance.choice((1, 1, 2))):
            job = subprocess.Popen(
                command("--input", log, "--output", output),
                cwd=ROOT,
                env=environment(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            try:
                job.wait(chance.uniform(0, 1.1 * took))
            except subprocess.TimeoutExpired:
                job.kill()
            job.wait()
            seen = positions(output)
            assert len(seen) == len(set(seen))
        reduced("--input", log, "--output", output)
        assert plain(output) == plain(whole), f"KILLS_SEED={SEED}, kill {number}"
        assert_sound(output)


DIES = """
import os, sys
from transforms.connectors import storage
from pipelines.reduce import main
left = int(sys.argv[1])
rename = storage.rename
def dying(source, target):
    global left
    rename(source, target)
    left -= 1
    if not left:
        os._exit(9)
storage.rename = dying
sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.parametrize("renames", [1, 2, 3, 5])
def test_killed_after_a_rename_the_next_run_finishes_the_commit(renames: int, log: Path, undisturbed: tuple[Path, float], tmp_path: Path):
    output = tmp_path / "reduced"
    arguments = ["--runner=DirectRunner", f"--input={log}", f"--output={output}"]
    died = subprocess.run(
        [sys.executable, "-c", DIES, str(renames), *arguments], cwd=ROOT, env=environment(), capture_output=True, check=False
    )
    assert died.returncode == 9, died.stderr
    again = reduced("--input", log, "--output", output)
    # The first renames are the key's and the commit record's: once that one is in place, the run has happened.
    assert (again["events"] == 0) == (renames >= 2)
    assert plain(output) == plain(undisturbed[0])
    assert_sound(output)


@contextmanager
def at_work(log: Path, output: Path) -> Iterator[subprocess.Popen[str]]:
    """A job that has planned its run and begun it."""
    with subprocess.Popen(
        command("--input", log, "--output", output),
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as job:
        assert job.stderr is not None
        for line in job.stderr:
            if line.startswith("DirectRunner:"):
                break
        yield job


def test_ctrl_c_ends_with_130_and_leaves_nothing_of_the_run(log: Path, undisturbed: tuple[Path, float], tmp_path: Path):
    output = tmp_path / "reduced"
    with at_work(log, output) as job:
        job.send_signal(signal.SIGINT)
        said = job.communicate(timeout=60)[1]
    assert job.returncode == 130, said
    assert "interrupted" in said
    assert "Traceback" not in said
    assert positions(output) == []
    reduced("--input", log, "--output", output)
    assert plain(output) == plain(undisturbed[0])
    assert_sound(output)


def test_a_second_writer_is_refused_while_the_first_is_at_work(log: Path, tmp_path: Path):
    output = tmp_path / "reduced"
    with at_work(log, output) as first:
        first.send_signal(signal.SIGSTOP)
        try:
            second = run("--input", log, "--output", output)
        finally:
            first.send_signal(signal.SIGCONT)
        said = first.communicate(timeout=60)[1]
    assert (second.returncode, first.returncode) == (2, 0), said
    assert "another run is writing" in second.stderr
    assert_sound(output)


def test_the_same_input_again_adds_nothing_and_a_grown_log_adds_its_tail(tmp_path: Path):
    lines = sample_lines(300).splitlines(keepends=True)
    log, output = tmp_path / "audit.log", tmp_path / "reduced"
    log.write_bytes(b"".join(lines[:200]))
    assert reduced("--input", log, "--output", output)["events"] == 200
    before = plain(output)
    assert reduced("--input", log, "--output", output)["events"] == 0
    assert plain(output) == before
    with log.open("ab") as file:
        file.write(b"".join(lines[200:]))
    assert reduced("--input", log, "--output", output)["events"] == 100
    assert account(output).events == 300
    assert_sound(output)
