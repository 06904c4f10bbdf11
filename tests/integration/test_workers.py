"""One process or several, whatever the runner's mode: the same output. And an attack with a million user agents."""

from __future__ import annotations

import os
import random
import re
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from tests.audit.logs import TARGETS, stages_of
from tests.examples import line
from tests.pipelines.job import ROOT, SAMPLE, assert_sound, command, environment, records, reduced, reduced_within, run, sample_lines

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.integration

AGENTS = int(os.environ.get("AGENTS", "1000000"))
MODES = {
    "in_memory": ["--direct_running_mode=in_memory", "--direct_num_workers=1"],
    "multi_threading": ["--direct_running_mode=multi_threading", "--direct_num_workers=3"],
    "multi_processing": ["--direct_running_mode=multi_processing", "--direct_num_workers=2"],
}


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three logs: the same activity twice, in part and shuffled, so that workers must meet over it."""
    directory = tmp_path_factory.mktemp("logs")
    lines = sample_lines(1500).splitlines(keepends=True)
    (directory / "1.log").write_bytes(b"".join(lines[:1000]))
    random.Random(7).shuffle(lines)
    (directory / "2.log").write_bytes(b"".join(lines[:700]))
    (directory / "3.log").write_bytes(b"".join(lines[700:]) + b"broken {\n")
    return directory


def whole(output: Path) -> dict[str, list[Any]]:
    """Every record of the output, in full, in an order of its own."""
    return {kind: sorted(map(repr, records(output, kind))) for kind in ("events", "reads", "dead_letters")}


@pytest.fixture(scope="module")
def outputs(logs: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[dict[str, Any], Path]]:
    directory = tmp_path_factory.mktemp("outputs")
    (directory / "key").write_bytes(b"k" * 32)
    found = {}
    for mode, flags in MODES.items():
        output = directory / mode
        found[mode] = reduced("--input", logs, "--output", output, "--key_file", directory / "key", *flags), output
        assert_sound(output)
    return found


@pytest.mark.parametrize("mode", ["multi_threading", "multi_processing"])
def test_every_mode_of_the_runner_gives_the_same_records_and_counts(mode: str, outputs: dict[str, tuple[dict[str, Any], Path]]):
    (alone, alone_in), (many, many_in) = outputs["in_memory"], outputs[mode]
    for said in (alone, many):
        for name in ("seconds", "head", "files", "bytesOut"):
            said.pop(name, None)
    assert many == alone
    assert many["duplicate"] >= 1000
    assert whole(many_in) == whole(alone_in)


def test_worker_processes_print_nothing_of_their_own(logs: Path, tmp_path: Path):
    done = run("--input", logs, "--output", tmp_path / "out", *MODES["multi_processing"])
    assert done.returncode == 0
    assert not re.search("INFO|WARNING|ERROR|Traceback", done.stderr)


def test_a_worker_process_that_fails_tells_place_and_kind_and_no_more(logs: Path, tmp_path: Path):
    limited = [
        "bash",
        "-c",
        'ulimit -f 8; "$@"',
        "bash",
        *command("--input", logs, "--output", tmp_path / "out", *MODES["multi_processing"]),
    ]
    done = subprocess.run(limited, cwd=ROOT, env=environment(), capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 1
    said = [line for line in done.stderr.splitlines() if not re.fullmatch(r"error in [\w.]+:\d+ ?\w*", line)]
    assert [line.partition(" ")[0] for line in said] == ["DirectRunner:", "failed"]
    assert len(said) < len(done.stderr.splitlines())
    assert list((tmp_path / "out" / "_state").glob("aside-*")) == []


def test_a_compressed_log_gives_the_same_records_as_its_plain_text(tmp_path: Path):
    plain = tmp_path / SAMPLE.name
    plain.write_bytes(sample_lines(4295))
    outputs = []
    for source in (SAMPLE, plain):
        reduced("--input", source, "--output", tmp_path / f"out{len(outputs)}")
        outputs.append(whole(tmp_path / f"out{len(outputs)}"))
    compressed, text = [
        {kind: [each.replace(str(SAMPLE), "X").replace(str(plain), "X") for each in found] for kind, found in output.items()}
        for output in outputs
    ]
    assert compressed == text


@pytest.fixture
def attack(tmp_path: Path) -> Path:
    """A log of reads by as many user agents as there are lines, in one window."""
    (read,) = stages_of(TARGETS[0], ("ResponseComplete",), ["05:20:00"], annotations={})
    head, _, tail = line({**read, "auditID": "@ID@", "userAgent": "@AGENT@"}).partition(b"@ID@")
    middle, _, end = tail.partition(b"@AGENT@")
    path = tmp_path / "audit.log"
    with path.open("wb") as file:
        for number in range(AGENTS):
            file.write(b"%s%08x-7a55-4c0d-9f3a-0c8f2f5b9b11%smozilla/%d%s" % (head, number, middle, number, end))
    return path


def test_a_million_user_agents_leave_memory_bounded_and_counts_exact(attack: Path, tmp_path: Path):
    output = tmp_path / "reduced"
    # An ordinary log of this size takes about 320 MiB, 60 of them for the machine code of rows.
    counts = reduced_within(780, "--input", attack, "--output", output, *MODES["in_memory"])
    assert (counts["events"], counts["folded"]) == (AGENTS, AGENTS)
    rows = records(output, "reads")
    (other,) = [row for row in rows if row["username"] == "__other__"]
    assert len(rows) == 10_001
    assert sum(row["count"] for row in rows) == AGENTS
    assert sum(row["bytes"] for row in rows) == attack.stat().st_size - AGENTS
    assert other["count"] == AGENTS - 10_000
