"""No room: the run fails, says why, leaves a clean state, and a later run with room does it all."""

from __future__ import annotations

import resource
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.integration.conftest import DISK, fill
from tests.pipelines.job import ROOT, assert_sound, command, environment, positions, reduced, sample_lines

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.integration


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "audit.log"
    path.write_bytes(sample_lines(1200))
    return path


def assert_failed_cleanly(done: subprocess.CompletedProcess[str], output: Path) -> None:
    assert done.returncode == 1, done.stderr
    assert done.stderr.splitlines()[-1].startswith("failed midway")
    assert "Traceback" not in done.stderr
    assert positions(output) == []
    assert not (output / "ledger").exists()


def test_a_file_that_may_not_grow_fails_the_run_and_a_later_run_does_it_all(log: Path, tmp_path: Path):
    output = tmp_path / "reduced"

    def bounded() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    done = subprocess.run(
        command("--input", log, "--output", output),
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=bounded,
    )
    assert_failed_cleanly(done, output)
    assert reduced("--input", log, "--output", output)["events"] == 1200
    assert_sound(output)


def test_a_disk_that_fills_while_the_job_works_fails_the_run_and_a_later_run_does_it_all(log: Path, small_disk: Path):
    output, ballast = small_disk / "reduced", small_disk / "ballast"
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
            if line.startswith("DirectRunner:"):  # planned, and found room enough
                break
        fill(ballast)
        said = job.communicate(timeout=60)[1]
    assert_failed_cleanly(subprocess.CompletedProcess([], job.returncode, "", said), output)
    assert "No space left on device" in said
    ballast.unlink()
    assert reduced("--input", log, "--output", output)["events"] == 1200
    assert_sound(output)


def test_a_disk_without_room_is_refused_before_work(log: Path, small_disk: Path):
    (small_disk / "ballast").write_bytes(b"\1" * (DISK - (6 << 20)))
    done = subprocess.run(
        command("--input", log, "--output", small_disk / "reduced"),
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, positions(small_disk / "reduced")) == (2, [])
    assert "MiB free" in done.stderr
