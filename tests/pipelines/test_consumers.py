"""Several named policies: one reading, a complete output for each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipelines import verify
from tests.pipelines import job
from transforms.connectors.avro_files import records_of

POLICIES = Path(__file__).parents[2] / "transforms" / "audit" / "policies"
NAMES = ("cks", "cost-saving")


def records(output: Path) -> dict[str, list[Any]]:
    """All records of an output by kind, sorted, without the names of files."""
    return {
        kind: sorted(
            (
                json.dumps(record, default=str, sort_keys=True)
                for path in sorted((output / kind).rglob("*.avro"))
                for record in records_of(str(path), kind)
            ),
        )
        for kind in ("events", "reads", "dead_letters")
    }


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """Two consumers' outputs, and what the run printed."""
    output = tmp_path_factory.mktemp("consumers") / "reduced"
    done = job.run(f"--output={output}", "--json", *[f"--policy={name}={POLICIES / name}.yaml" for name in NAMES])
    assert done.returncode == 0, done.stderr
    return output, json.loads(done.stdout)


def test_each_consumer_gets_what_its_policy_alone_would_give(outputs: tuple[Path, dict[str, Any]], tmp_path: Path):
    output, printed = outputs
    for name in NAMES:
        alone = tmp_path / name
        done = job.run(f"--output={alone}", "--json", f"--policy={POLICIES / name}.yaml")
        counts = json.loads(done.stdout)
        for key in ("events", "kept", "folded", "merged", "duplicate", "droppedByRule", "droppedByStage", "deadLettered"):
            assert printed["consumers"][name][key] == counts[key], key
        assert records(output / name) == records(alone)


def test_each_consumers_accounts_close_with_the_key_that_they_share(outputs: tuple[Path, dict[str, Any]]):
    output, _ = outputs
    for name in NAMES:
        assert verify.main(["--output", str(output / name), "--input", str(Path(__file__).parents[2] / "pipelines" / "sample")]) == 0
    assert (output / "_state" / "key").exists()
    assert not (output / NAMES[0] / "_state" / "key").exists()


def test_a_consumer_that_comes_later_reads_all_while_the_others_read_nothing_again(outputs: tuple[Path, dict[str, Any]]):
    output, printed = outputs
    policies = [f"--policy={name}={POLICIES / name}.yaml" for name in (*NAMES, "forensic")]
    done = job.run(f"--output={output}", "--json", *policies)
    counts = json.loads(done.stdout)["consumers"]
    assert [counts[name]["events"] for name in (*NAMES, "forensic")] == [0, 0, printed["consumers"]["cks"]["events"]]


def test_named_and_unnamed_policies_do_not_share_an_output(outputs: tuple[Path, dict[str, Any]]):
    output, _ = outputs
    done = job.run(f"--output={output}", f"--policy={POLICIES / 'cks'}.yaml")
    assert done.returncode == 2
    assert "named policies" in done.stderr
