"""verify: an honest output closes, and whatever is taken, added or changed is found and its place named."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import random
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import zstandard

from pipelines import ledger, plan, reduce, replay, verify
from tests.examples import ABSENT, an_event, line
from transforms.audit import avro
from transforms.connectors.avro_files import OutputFile
from transforms.connectors.strict_avro import Container, Entry

if TYPE_CHECKING:
    from collections.abc import Callable

HOUR = "dt=2026-11-23/hour=05"


def request(number: int, **changes: Any) -> bytes:
    """A request as two lines, its stages a millisecond apart."""
    same = {
        "auditID": f"request-{number}",
        "requestURI": f"/apis/apps/v1/namespaces/shop/deployments/cart-{number}",
        "requestReceivedTimestamp": f"2026-11-23T05:19:{number:02d}.000000Z",
        **changes,
    }
    event = an_event(**same, stageTimestamp=f"2026-11-23T05:19:{number:02d}.001000Z")
    early = {
        name: value for name, value in event.items() if name not in {"responseStatus", "requestObject", "responseObject", "annotations"}
    }
    return line({**early, "stage": "RequestReceived", "stageTimestamp": f"2026-11-23T05:19:{number:02d}.000000Z"}) + line(event)


def read(number: int) -> bytes:
    """A get that folds, as two lines."""
    path = "/version"
    return request(number, verb="get", requestURI=path, objectRef=ABSENT, requestObject=ABSENT, responseObject=ABSENT)


def first_log() -> bytes:
    return b"".join(map(request, range(10))) + b"".join(map(read, range(10, 16))) + request(1) + b'{"kind":"Eve\n'


def second_log() -> bytes:
    return b"".join(map(request, range(20, 24))) + request(3)


WHOLE = b"".join(map(request, range(100)))
BROKEN = {
    "gzip": gzip.compress(WHOLE)[:-200],
    "gzip of nothing": gzip.compress(WHOLE)[:12],
    "zstandard": zstandard.ZstdCompressor().compress(random.Random(1).randbytes(200_000).hex().encode() + b"\n")[:150_000],
    "a document": gzip.compress(b'{"kind":"EventList","apiVersion":"audit.k8s.io/v1","items":[\n' + WHOLE.replace(b"}\n", b"},\n"))[:-200],
    "nothing": b"",
}


def reduced(directory: Path, *logs: str) -> None:
    flags = [f"--input={directory / 'logs' / name}" for name in logs]
    assert reduce.main(["--runner=DirectRunner", f"--output={directory / 'out'}", *flags]) == 0


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs into one output."""
    directory = tmp_path_factory.mktemp("made")
    logs = directory / "logs"
    logs.mkdir()
    (logs / "a.log").write_bytes(first_log())
    (logs / "b.log").write_bytes(second_log())
    reduced(directory, "a.log")
    reduced(directory, "a.log", "b.log")
    return directory


@pytest.fixture
def place(made: Path, tmp_path: Path) -> Path:
    """A copy to do harm to."""
    shutil.copytree(made / "out", tmp_path / "out")
    return tmp_path / "out"


@pytest.fixture
def logs(made: Path) -> list[str]:
    return [str(made / "logs")]


def run_verify(capsys: pytest.CaptureFixture[str], output: Path, *flags: str) -> tuple[int, dict[str, Any]]:
    capsys.readouterr()
    code = verify.main([f"--output={output}", "--json", *flags])
    return code, json.loads(capsys.readouterr().out)


def problems(output: Path, logs: list[str] | None = None) -> str:
    key = (output / "_state" / "key").read_bytes()
    files = [str(path) for name in logs for path in sorted(Path(name).iterdir())] if logs else None
    return "\n".join(verify.verify(str(output), files=files, key=key).problems)


def the_file(output: Path, kind: str, run: int = 1) -> Path:
    return next((output / kind).rglob(f"{run:06d}-*.avro"))


def ledger_files(output: Path) -> list[Path]:
    """In the order of the chain."""
    return [Path(run.path) for run in ledger.read_ledger(str(output))]


def rewrite(path: Path, change: Callable[[list[Entry]], list[bytes]]) -> OutputFile:
    """Write a file's records again, changed, in a container that is sound."""
    container = Container(path.read_bytes())
    records = change(list(container.entries()))
    header = path.read_bytes()[: path.read_bytes().index(container.sync)]
    raw = avro.block(len(records), avro.compress(b"".join(records)), container.sync)
    path.write_bytes(header + container.sync + raw)
    output = next(parent for parent in path.parents if parent.name == "out")
    return OutputFile(str(path.relative_to(output)), len(records), path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest())


def rewrite_ledger(output: Path, number: int, change: Callable[[ledger.Run], None]) -> Path:
    """Write a run's ledger file again, changed, under the name that its content gives it."""
    run = ledger.read_ledger(str(output))[number]
    change(run)
    key = (output / "_state" / "key").read_bytes()
    name, pieces = ledger.encode_run(run.files, run.previous, run.config, key, run.ranges)
    Path(run.path).unlink()
    path = output / "ledger" / f"{name}.avro"
    path.write_bytes(b"".join(pieces))
    return path


def relist(output: Path, file: OutputFile, number: int = 0) -> None:
    """Make the ledger list the changed file; for the last run nothing but the head would tell."""

    def change(run: ledger.Run) -> None:
        run.files = [file if each.path == file.path else each for each in run.files]

    rewrite_ledger(output, number, change)


def test_an_untouched_output_is_closed(place: Path, capsys: pytest.CaptureFixture[str]):
    code, verdict = run_verify(capsys, place)
    assert (code, verdict["closed"], verdict["problems"]) == (0, True, [])
    assert verdict["head"] == ledger.read_ledger(str(place))[-1].head
    totals = verdict["totals"]
    assert (totals["runs"], totals["events"], totals["deadLettered"]) == (2, 45, {"INVALID_JSON": 1})
    outcomes = [totals[name] for name in ("kept", "folded", "merged", "duplicate")]
    assert outcomes == [15, 6, 21, 2]


def test_the_input_read_again_gives_the_same_records(place: Path, logs: list[str], capsys: pytest.CaptureFixture[str]):
    code, verdict = run_verify(capsys, place, f"--input={logs[0]}")
    assert (code, verdict["problems"]) == (0, [])


def test_verify_writes_nothing(place: Path, logs: list[str]):
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in place.rglob("*") if path.is_file()}
    assert problems(place, logs) == ""
    assert {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in place.rglob("*") if path.is_file()} == before


def test_a_missing_record_is_named_by_its_range(place: Path):
    path = the_file(place, "events")
    rewrite(path, lambda entries: [entry.raw for entry in entries[1:]])
    found = problems(place)
    assert f"{path}: its SHA-256 is not the ledger's" in found
    assert f"{path}: 9 records can be read, but the ledger has 10" in found
    assert "a.log from 0 to" in found
    assert "10 events kept, but 9 records of it" in found


def test_a_missing_record_is_found_even_where_the_ledger_agrees(place: Path):
    relist(place, rewrite(the_file(place, "events", 2), lambda entries: [entry.raw for entry in entries[1:]]), 1)
    assert "5 events kept, but 4 records of it" in problems(place)


def test_a_missing_summary_is_found(place: Path):
    path = the_file(place, "reads")
    rewrite(path, lambda entries: [entry.raw for entry in entries[:-1]])
    found = problems(place)
    assert str(path) in found
    assert "6 folded events in the run's ranges, but its records in reads stand for 0" in found


def test_a_missing_dead_letter_is_found(place: Path):
    path = the_file(place, "dead_letters")
    rewrite(path, lambda _: [])
    assert "1 dead letters INVALID_JSON, but 0 in" in problems(place)


@pytest.mark.parametrize("kind", ["events", "reads", "dead_letters"])
def test_a_missing_file_is_named(place: Path, kind: str):
    path = the_file(place, kind)
    path.unlink()
    assert f"{path}: cannot be read" in problems(place)


@pytest.mark.parametrize("kind", ["events", "reads", "dead_letters"])
def test_a_missing_byte_is_found_in_its_file(place: Path, kind: str):
    path = the_file(place, kind)
    path.write_bytes(path.read_bytes()[:-1])
    assert f"{path}: {path.stat().st_size} bytes, but the ledger has {path.stat().st_size + 1}" in problems(place)


@pytest.mark.parametrize("run", [0, 1])
def test_a_byte_changed_anywhere_in_a_ledger_file_is_found(place: Path, run: int):
    path = ledger_files(place)[run]
    sound = path.read_bytes()
    for at in [*range(0, len(sound), 97), len(sound) - 1]:
        path.write_bytes(sound[:at] + bytes((sound[at] ^ 1,)) + sound[at + 1 :])
        assert str(path) in problems(place), at
    path.write_bytes(sound)
    assert problems(place) == ""


@pytest.mark.parametrize("kind", ["events", "reads", "dead_letters"])
def test_a_byte_changed_anywhere_in_a_file_is_found(place: Path, kind: str):
    path = the_file(place, kind)
    sound = path.read_bytes()
    for at in [*range(0, len(sound), 501), len(sound) - 1]:
        path.write_bytes(sound[:at] + bytes((sound[at] ^ 0x80,)) + sound[at + 1 :])
        assert f"{path}: its SHA-256 is not the ledger's" in problems(place), at


def test_a_missing_first_run_breaks_the_chain(place: Path):
    first, second = ledger_files(place)
    first.unlink()
    found = problems(place)
    assert f"{second}: the run before it" in found
    assert f"{the_file(place, 'events')}: no run in the ledger wrote it" in found


def test_a_missing_last_run_leaves_files_that_nobody_wrote(place: Path):
    ledger_files(place)[1].unlink()
    assert f"{the_file(place, 'events', 2)}: no run in the ledger wrote it" in problems(place)


def test_a_missing_last_run_with_all_its_files_is_found_by_the_head(place: Path, capsys: pytest.CaptureFixture[str]):
    head = ledger.read_ledger(str(place))[-1].head
    assert run_verify(capsys, place, f"--head={head}")[0] == 0
    ledger_files(place)[1].unlink()
    for path in place.rglob("000002-*.avro"):
        path.unlink()
    assert run_verify(capsys, place)[0] == 0
    code, verdict = run_verify(capsys, place, f"--head={head}")
    assert code == 1
    assert f"{place}/ledger: --head {head} is not the ledger's head; the ledger does not hold it" in verdict["problems"][0]


def test_a_head_that_is_not_the_last_says_how_far_the_ledger_went_on(place: Path, capsys: pytest.CaptureFixture[str]):
    code, verdict = run_verify(capsys, place, f"--head={ledger.read_ledger(str(place))[0].head}")
    assert code == 1
    assert "goes on behind it for 1 runs" in verdict["problems"][0]


def test_a_changed_count_breaks_the_equation_of_its_range(place: Path):
    def change(run: ledger.Run) -> None:
        run.ranges[0].account.duplicate += 1

    path = rewrite_ledger(place, 1, change)
    found = problems(place)
    assert f"{path}: " in found
    assert "b.log from 0 to" in found
    assert "10 events, but outcomes for 11" in found


def test_a_changed_count_in_an_earlier_run_breaks_the_chain_too(place: Path):
    def change(run: ledger.Run) -> None:
        run.ranges[0].account.events += 1

    rewrite_ledger(place, 0, change)
    assert "the run before it" in problems(place)


def test_counts_that_are_changed_so_that_they_add_up_are_found_in_the_output(place: Path):
    def change(run: ledger.Run) -> None:
        run.ranges[0].account.kept -= 1
        run.ranges[0].account.duplicate += 1

    rewrite_ledger(place, 1, change)
    assert "4 events kept, but 5 records of it" in problems(place)


def test_counts_that_agree_with_the_output_are_found_by_the_input(place: Path, logs: list[str]):
    def change(run: ledger.Run) -> None:
        run.ranges[0].account.events += 1
        run.ranges[0].account.duplicate += 1

    rewrite_ledger(place, 1, change)
    assert problems(place) == ""
    assert "the ledger says events 11, but it gives 10; duplicate 1, but it gives 0" in problems(place, logs)


def test_a_changed_record_is_named_by_its_digest(place: Path):
    path = the_file(place, "events", 2)
    relist(place, rewrite(path, lambda entries: [entries[0].raw.replace(b"alice", b"mally"), *[entry.raw for entry in entries[1:]]]), 1)
    found = problems(place)
    assert f"{path}: record 0, from " in found
    assert "its digest is not that of its content" in found


def test_a_record_changed_where_no_digest_reaches_is_found_by_the_input(place: Path, logs: list[str]):
    path = the_file(place, "events", 2)
    # The last field: one flag in place of none.
    forged = lambda entries: [entries[0].raw[:-1] + b"\2\2F\0", *[entry.raw for entry in entries[1:]]]  # noqa: E731
    relist(place, rewrite(path, forged), 1)
    assert problems(place) == ""
    found = problems(place, logs)
    assert f"{path}: record 0, from " in found
    assert "the input does not give this record" in found
    assert f"{place}/events/{HOUR}: record missing, from " in found


def test_a_position_that_is_written_twice_is_found(place: Path):
    relist(place, rewrite(the_file(place, "events", 2), lambda entries: [entry.raw for entry in (*entries[:-1], entries[0])]), 1)
    assert "more than one record" in problems(place)


def test_a_file_that_no_run_wrote_is_found(place: Path):
    stray = place / "reads" / HOUR / "stray.avro"
    shutil.copy(the_file(place, "reads"), stray)
    assert problems(place) == f"{stray}: no run in the ledger wrote it"


def test_a_commit_that_was_not_finished_is_said(place: Path):
    (place / "_state" / "commit.msgpack").write_bytes(b"")
    assert "a run is committed but not finished; run pipelines.reduce again" in problems(place)


def test_logs_are_found_wherever_they_are_and_however_packed(made: Path, place: Path, tmp_path: Path):
    moved = tmp_path / "moved"
    moved.mkdir()
    with gzip.open(moved / "x", "wb") as file:
        file.write(first_log())
    (moved / "y").write_bytes(second_log() + request(50))
    assert problems(place, [str(moved)]) == ""


def test_an_input_that_was_changed_since_is_named(place: Path, tmp_path: Path):
    changed = tmp_path / "changed"
    changed.mkdir()
    (changed / "a.log").write_bytes(first_log().replace(b"alice", b"mally", 1))
    (changed / "b.log").write_bytes(second_log())
    found = problems(place, [str(changed)])
    assert "a.log from 0 to" in found
    assert "none of the inputs holds what was read there" in found


def test_a_log_that_grew_is_read_again_as_it_was_each_time(tmp_path: Path):
    logs = tmp_path / "logs"
    logs.mkdir()
    grown = request(1) + request(2)
    (logs / "a.log").write_bytes(grown[: len(request(1)) + 11])
    reduced(tmp_path, "a.log")
    (logs / "a.log").write_bytes(grown)
    reduced(tmp_path, "a.log")
    assert problems(tmp_path / "out", [str(logs)]) == ""
    assert [run.ranges[-1].account.dead_lettered for run in ledger.read_ledger(str(tmp_path / "out"))] == [{"UNTERMINATED_LINE": 1}, {}]


def test_a_compressed_log_that_breaks_off_is_read_again_as_far_as_it_goes(tmp_path: Path):
    logs = tmp_path / "logs"
    logs.mkdir()
    whole = gzip.compress(b"".join(map(request, range(30))))
    (logs / "a.log.gz").write_bytes(whole[: len(whole) // 2])
    reduced(tmp_path, "a.log.gz")
    assert problems(tmp_path / "out", [str(logs)]) == ""
    (logs / "a.log.gz").write_bytes(whole)
    assert "the stream broke off there" in problems(tmp_path / "out", [str(logs)])


@pytest.mark.parametrize("stored", BROKEN.values(), ids=BROKEN.keys())
def test_a_log_that_ends_in_the_middle_is_not_read_again(tmp_path: Path, stored: bytes):
    path = tmp_path / "logs" / "a"
    path.parent.mkdir()
    path.write_bytes(stored)
    reduced(tmp_path, "a")
    key = (tmp_path / "out" / "_state" / "key").read_bytes()
    held = plan.Held(ledger.read_ledger(str(tmp_path / "out")), key)
    assert plan.plan([(str(path), None)], held).splits == []
    assert problems(tmp_path / "out", [str(path.parent)]) == ""


def test_two_copies_of_a_log_that_end_at_different_places_are_not_read_again(tmp_path: Path):
    logs = tmp_path / "logs"
    logs.mkdir()
    for name, end in (("a", 400), ("b", 300)):
        (logs / name).write_bytes(request(1) + request(2)[:end])
    reduced(tmp_path, "a", "b")
    key = (tmp_path / "out" / "_state" / "key").read_bytes()
    held = plan.Held(ledger.read_ledger(str(tmp_path / "out")), key)
    assert plan.plan([(str(logs / "a"), None), (str(logs / "b"), None)], held).splits == []


def test_a_log_whose_name_no_record_could_say_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / os.fsdecode(b"\xff.log")).write_bytes(request(1))
    assert reduce.main([f"--output={tmp_path / 'out'}", f"--input={tmp_path}"]) == 2
    assert "its name is not UTF-8" in capsys.readouterr().err


def test_an_input_in_many_blocks_and_splits_is_compared_range_by_range(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(replay, "SPLIT_SIZE", 5000)
    logs = tmp_path / "logs"
    logs.mkdir()
    body = {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "cart"}, "data": {"text": "x" * 100_000}}
    (logs / "a.log").write_bytes(b"".join(request(number, requestObject=body) for number in range(100)))
    reduced(tmp_path, "a.log")
    (run,) = ledger.read_ledger(str(tmp_path / "out"))
    assert len(run.ranges) > 2
    assert problems(tmp_path / "out", [str(logs)]) == ""

    def change(run: ledger.Run) -> None:
        run.ranges[1].account.merged += 1
        run.ranges[1].account.events += 1

    rewrite_ledger(tmp_path / "out", 0, change)
    place = f"a.log from {run.ranges[1].account.start} to {run.ranges[1].account.end}: the ledger says events"
    assert place in problems(tmp_path / "out", [str(logs)])


def test_what_cannot_be_verified_is_refused(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    other = tmp_path / "key"
    other.write_bytes(b"k" * 32)
    refused = [
        [f"--output={tmp_path / 'none'}"],
        [f"--output={place}", f"--input={tmp_path / 'none'}"],
        [f"--output={place}", f"--input={place.parent}", f"--key_file={other}"],
        [f"--output={place}", "--inptu=x"],
        [],
    ]
    for flags in refused:
        assert verify.main(flags) == 2, flags
        assert "refused" in capsys.readouterr().err


def test_where_no_accounts_are_nothing_is_called_closed(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "empty").mkdir()
    assert verify.main([f"--output={tmp_path}/empty"]) == 2
    assert "no output of pipelines.reduce" in capsys.readouterr().err
    for name in ("siem", "archive"):
        shutil.copytree(place, tmp_path / "named" / name)
    assert verify.main([f"--output={tmp_path}/named"]) == 2
    assert f"verify each: {tmp_path}/named/archive, {tmp_path}/named/siem" in capsys.readouterr().err


def test_an_output_without_its_key_is_refused_only_where_the_key_is_needed(
    place: Path, logs: list[str], capsys: pytest.CaptureFixture[str]
):
    (place / "_state" / "key").unlink()
    assert verify.main([f"--output={place}"]) == 0
    assert verify.main([f"--output={place}", f"--input={logs[0]}"]) == 2
    assert "--key_file" in capsys.readouterr().err
