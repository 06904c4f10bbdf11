"""Runs of the main job as a user starts them, and what they leave in the output."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any, Final

import fastavro
import zstandard

from pipelines.ledger import read_ledger
from transforms.audit.account import Account, total

ROOT: Final = Path(__file__).parent.parent.parent
SAMPLE: Final = ROOT / "pipelines" / "sample" / "audit.log.zst"


def command(*arguments: object) -> list[str]:
    """The main job with these flags."""
    return [sys.executable, "-m", "pipelines.reduce", "--runner=DirectRunner", *map(str, arguments)]


def environment(**changes: str) -> dict[str, str]:
    """The test's own, without a key that would be used for the output."""
    return {**{name: value for name, value in os.environ.items() if name != "AUDIT_KEY"}, **changes}


def run(*arguments: object, **changes: str) -> subprocess.CompletedProcess[str]:
    """Run the main job to its end."""
    return subprocess.run(
        command(*arguments), cwd=ROOT, env=environment(**changes), capture_output=True, text=True, check=False, timeout=120
    )


def reduced(*arguments: object, **changes: str) -> dict[str, Any]:
    """Run the main job; what `--json` says. Fails where the job does."""
    done = run(*arguments, "--json", **changes)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


_MEASURED: Final = """
import json, resource, subprocess, sys
done = subprocess.run(sys.argv[1:], stdout=subprocess.PIPE)
print(json.dumps({"status": done.returncode, "said": done.stdout.decode(), "peak": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss}))
"""


def reduced_within(mebibytes: int, *arguments: object) -> dict[str, Any]:
    """Run the main job; what `--json` says. Fails where the job does, or where a process of it held more memory at any time.

    A small process starts the job: a child's peak, as the kernel counts it, begins with what the process that starts it holds,
    and tests before this one may have left a gigabyte.
    """
    done = subprocess.run(
        [sys.executable, "-c", _MEASURED, *command(*arguments, "--json")], cwd=ROOT, env=environment(), capture_output=True, check=False
    )
    measured = json.loads(done.stdout)
    assert measured["status"] == 0, done.stderr.decode()
    assert measured["peak"] < mebibytes << 10, f"{measured['peak'] >> 10} MiB"
    return json.loads(measured["said"])


def sample_lines(count: int) -> bytes:
    """The first lines of the bundled sample."""
    with SAMPLE.open("rb") as packed, zstandard.ZstdDecompressor().stream_reader(packed) as stream:
        data = stream.read(count * 6000)
    lines = data.splitlines(keepends=True)[:count]
    assert len(lines) == count
    assert lines[-1].endswith(b"\n")
    return b"".join(lines)


def records(output: Path, kind: str) -> list[dict[str, Any]]:
    """All records of a kind, read by fastavro as any reader would who globs the output."""
    found = []
    for path in sorted((output / kind).rglob("*.avro")):
        with path.open("rb") as file:
            found += list(fastavro.reader(file))
    return found


def positions(output: Path) -> list[tuple[str, int, int, int]]:
    """Where the events and dead letters come from: URI, partition (-1 of a file), offset, item."""
    return sorted(
        (
            each["source"]["uri"],
            -1 if each["source"]["partition"] is None else each["source"]["partition"],
            each["source"]["offset"],
            each["source"]["item"],
        )
        for kind in ("events", "dead_letters")
        for each in records(output, kind)
    )


def plain(output: Path) -> dict[str, Any]:
    """All that the output holds, in an order of its own, less names of files: equal for outputs that say the same."""
    return {
        "events": sorted(
            (each["source"]["uri"], each["source"]["offset"], each["source"]["item"], each["digest"], len(each["stages"]))
            for each in records(output, "events")
        ),
        "reads": Counter(
            (str(each["windowStart"]), each["username"], each["verb"], each["resource"], each["count"]) for each in records(output, "reads")
        ),
        "dead_letters": sorted((each["source"]["offset"], each["code"]) for each in records(output, "dead_letters")),
    }


def account(output: Path) -> Account:
    """The sum over the ledger's ranges."""
    return total([each.account for run in read_ledger(str(output)) for each in run.ranges])


def leftovers(output: Path) -> list[str]:
    """What stands in the output beside what its ledger lists: nothing, when all is well."""
    listed = {file.path for run in read_ledger(str(output)) for file in run.files}
    there = {str(path.relative_to(output)) for path in output.rglob("*.avro") if path.parent.name != "ledger"}
    state = {path.name for path in (output / "_state").iterdir()} - {"key", "lock", "follow"}
    return sorted(there ^ listed) + sorted(state)


def assert_sound(output: Path) -> None:
    """Every position once, the equation closed with the records, nothing left over."""
    sums = account(output)
    events, reads, letters = (records(output, kind) for kind in ("events", "reads", "dead_letters"))
    assert sums.events == sums.accounted
    assert (sums.kept, sums.folded) == (len(events), sum(row["count"] for row in reads))
    assert sums.merged == sum(len(each["stages"]) - 1 for each in events) + sum(row["mergedStages"] for row in reads)
    assert sums.dead_lettered == Counter(each["code"] for each in letters)
    seen = positions(output)
    assert len(seen) == len(set(seen))
    assert leftovers(output) == []
