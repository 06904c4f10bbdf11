"""The main job, from files to a committed output, in this process."""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING, Any

import pytest
import zstandard
from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions

from pipelines.graph import WORTH_WORKERS, local_options
from pipelines.options import SAMPLE
from pipelines.reduce import main
from tests.audit.logs import TARGETS, stages_of
from tests.examples import an_event, lines
from tests.pipelines.job import account, assert_sound, leftovers, plain, positions, records

if TYPE_CHECKING:
    from pathlib import Path

JSON_KEYS = "events bytesIn bytesOut kept folded merged duplicate droppedByRule droppedByStage deadLettered files seconds head".split()


@pytest.fixture(autouse=True)
def no_key_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AUDIT_KEY", raising=False)


class Job:
    """A log, an output, and runs from one to the other."""

    def __init__(self, directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.log, self.output = directory / "audit.log", directory / "reduced"
        self._capsys = capsys

    def run(self, *flags: str, code: int = 0) -> dict[str, Any]:
        """Run with these flags; what `--json` says."""
        given = [] if any(flag.startswith("--input") for flag in flags) else [f"--input={self.log}"]
        assert main(["--runner=DirectRunner", f"--output={self.output}", "--json", *given, *flags]) == code
        said = self._capsys.readouterr()
        self.said = said.err
        return json.loads(said.out) if said.out else {}


@pytest.fixture
def job(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Job:
    return Job(tmp_path, capsys)


def a_log() -> bytes:
    """Every kind of request, its stages, a copy of one, and two lines that are no events."""
    ids = [f"{number:08x}-7a55-4c0d-9f3a-0c8f2f5b9b11" for number in range(len(TARGETS))]
    events = [
        event
        for target, audit_id in zip(TARGETS, ids, strict=True)
        for event in stages_of(target, ("RequestReceived", "ResponseComplete"), ["05:20:00"], auditID=audit_id)
    ]
    return lines(*events, events[0]) + b'{"no": "event"}\nbroken {\n'


def test_counts_records_and_files_agree(job: Job):
    job.log.write_bytes(a_log())
    said = job.run()
    assert list(said) == JSON_KEYS
    assert said["events"] == 2 * len(TARGETS) + 3
    assert said["events"] == said["kept"] + said["folded"] + said["merged"] + said["duplicate"] + sum(said["deadLettered"].values())
    assert (said["merged"], said["duplicate"], said["bytesIn"]) == (len(TARGETS), 1, len(a_log()))
    files = [path for path in job.output.rglob("*.avro") if path.parent.name != "ledger"]
    assert (said["files"], said["bytesOut"]) == (len(files), sum(path.stat().st_size for path in files))
    assert (len(records(job.output, "events")), len(records(job.output, "dead_letters"))) == (said["kept"], 2)
    assert_sound(job.output)
    assert "the accounts are closed" in job.said


def test_files_lie_by_day_and_hour(job: Job):
    times = ("2026-11-23T05:59:59.999999Z", "2026-11-23T06:00:00.000000Z", "2099-01-01T00:00:00.000000Z", "never")
    job.log.write_bytes(lines(*[an_event(stageTimestamp=when, auditID=when) for when in times]))
    job.run()
    there = {str(path.parent.relative_to(job.output)) for path in (job.output / "events").rglob("*.avro")}
    assert there == {"events/dt=2026-11-23/hour=05", "events/dt=2026-11-23/hour=06", "events/dt=unknown/hour=00"}


def test_the_same_input_again_adds_nothing(job: Job):
    job.log.write_bytes(a_log())
    head = job.run()["head"]
    before = plain(job.output)
    again = job.run()
    assert (again["events"], again["head"]) == (0, head)
    assert plain(job.output) == before
    assert "nothing new" in job.said


def test_a_log_that_grew_adds_its_tail(job: Job):
    first, second = lines(an_event(auditID="1")), lines(an_event(auditID="2"))
    job.log.write_bytes(first)
    job.run()
    job.log.write_bytes(first + second)
    assert job.run()["events"] == 1
    assert [offset for _, _, offset, _ in positions(job.output)] == [0, len(first)]
    assert_sound(job.output)


def test_a_last_line_that_was_unreadable_and_grew_is_read_whole(job: Job):
    first, second = lines(an_event(auditID="1")), lines(an_event(auditID="2"))
    job.log.write_bytes(first + second[:100])
    assert job.run()["deadLettered"] == {"UNTERMINATED_LINE": 1}
    assert job.run()["events"] == 0
    job.log.write_bytes(first + second)
    assert job.run()["kept"] == 1
    assert sorted(each["auditID"] for each in records(job.output, "events")) == ["1", "2"]
    assert (account(job.output).events, leftovers(job.output)) == (3, [])


def test_a_last_line_without_its_line_feed_is_read_and_stays(job: Job):
    first, second = lines(an_event(auditID="1")), lines(an_event(auditID="2"))
    job.log.write_bytes(first[:-1])
    assert job.run()["kept"] == 1
    job.log.write_bytes(first + second)
    assert job.run()["kept"] == 1
    assert_sound(job.output)


def test_a_policy_drops_and_counts_by_rule(job: Job, tmp_path: Path):
    (tmp_path / "policy").write_text(
        "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\n"
        "rules:\n- level: None\n  verbs: [list]\n- level: Metadata\n  verbs: [get]\n- level: None\n  verbs: [watch]\n"
    )
    job.log.write_bytes(a_log())
    said = job.run(f"--policy={tmp_path}/policy")
    # Two lists and one watch with two stages each; a create and an update match no rule; of five gets, the first stages, and one again.
    assert said["droppedByRule"] == {"0": 4, "2": 2, "none": 4}
    assert (said["droppedByStage"], said["kept"] + said["folded"]) == (5, 4)
    assert {each["policyRule"] for each in records(job.output, "events")} == {1}
    assert "matched no rule" in job.said
    assert_sound(job.output)


def test_clusters_are_told_apart(job: Job, tmp_path: Path):
    for name in ("east", "west"):
        (tmp_path / name).write_bytes(lines(an_event()))
    said = job.run(f"--input=cluster=east,{tmp_path}/east", f"--input={tmp_path}/west", "--cluster=other")
    assert (said["kept"], said["duplicate"]) == (2, 0)
    assert sorted(each["cluster"] for each in records(job.output, "events")) == ["east", "other"]


def test_another_key_is_refused_and_the_right_one_goes_on(job: Job, tmp_path: Path):
    for name, key in (("mine", b"m" * 32), ("other", b"o" * 32)):
        (tmp_path / name).write_bytes(key)
    job.log.write_bytes(lines(an_event()))
    job.run(f"--key_file={tmp_path}/mine")
    job.run(f"--key_file={tmp_path}/other", code=2)
    assert "another key" in job.said
    assert job.run(f"--key_file={tmp_path}/mine")["events"] == 0


def test_an_output_that_cannot_be_written_is_refused(job: Job, tmp_path: Path):
    job.log.write_bytes(lines(an_event()))
    job.output.write_bytes(b"a file")
    job.run(code=2)
    assert "cannot be written" in job.said


def test_no_input_is_an_empty_run_where_that_is_allowed(job: Job, tmp_path: Path):
    (tmp_path / "none").mkdir()
    job.run(f"--input={tmp_path}/none", code=2)
    assert job.run(f"--input={tmp_path}/none", "--allow_empty")["events"] == 0


def test_an_empty_file_is_an_account_of_nothing(job: Job):
    job.log.write_bytes(b"")
    assert job.run()["events"] == 0
    assert leftovers(job.output) == []


def test_a_damaged_ledger_is_refused_not_overwritten(job: Job):
    job.log.write_bytes(lines(an_event()))
    job.run()
    (ledger,) = (job.output / "ledger").iterdir()
    ledger.write_bytes(ledger.read_bytes()[:-1])
    job.run(code=2)
    assert "pipelines.verify" in job.said


def test_ctrl_c_in_the_midst_of_a_step_ends_with_130_and_leaves_nothing_aside(job: Job, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("transforms.redact_secrets.redact_block", lambda *_: signal.raise_signal(signal.SIGINT))
    job.log.write_bytes(lines(an_event()))
    job.run(code=130)
    assert job.said.splitlines()[-1] == "interrupted: nothing of this run is in the output; run it again"
    assert sorted(path.name for path in (job.output / "_state").iterdir()) == ["key", "lock"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_log_and_webhook_of_the_bundled_sample_leave_their_union(job: Job):
    said = job.run(f"--input={SAMPLE}")
    assert (said["events"], said["duplicate"], said["deadLettered"]) == (4364, 37, {})
    assert_sound(job.output)


def test_whatever_is_compressed_is_the_same_log(job: Job, tmp_path: Path):
    (tmp_path / "plain").write_bytes(a_log())
    (tmp_path / "packed").write_bytes(zstandard.compress(a_log()))
    said = job.run(f"--input={tmp_path}/plain", f"--input={tmp_path}/packed")
    assert said["duplicate"] == 1 + 2 * len(TARGETS) + 1
    assert_sound(job.output)


def test_a_bug_in_a_step_ends_with_1_and_says_nothing_of_the_event(
    job: Job, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    def failing(*arguments: object) -> None:
        raise ValueError("cnry-do-not-tell")

    monkeypatch.setattr("transforms.redact_secrets.redact_block", failing)
    job.log.write_bytes(lines(an_event()))
    job.run(code=1)
    assert job.said.splitlines()[-1].startswith("failed midway")
    assert "cnry-do-not-tell" not in job.said
    assert positions(job.output) == []
    monkeypatch.undo()
    assert job.run()["kept"] == 1
    assert_sound(job.output)


@pytest.mark.parametrize(("flags", "said"), [([], "multi_processing"), (["--direct_running_mode=in_memory"], "in_memory with 1 worker(s)")])
def test_a_mode_that_is_asked_for_is_used_even_if_it_is_beams_default(flags: list[str], said: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1})
    options = PipelineOptions(flags)
    local_options(options, 4, WORTH_WORKERS, chosen=bool(flags))
    mode = options.view_as(DirectOptions)
    assert said in f"{mode.direct_running_mode} with {mode.direct_num_workers} worker(s)"
