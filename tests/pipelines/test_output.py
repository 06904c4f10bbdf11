"""The commit protocol, killed before every single thing it does to the disk."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pipelines.ledger import Range
from pipelines.output import Output, OutputError
from tests.pipelines.job import leftovers
from transforms.audit.account import Account
from transforms.audit.avro_blocks import AvroBlock
from transforms.connectors import storage
from transforms.connectors.avro_files import write_file
from transforms.connectors.spill import SMALL, Spill

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

KEY = b"a key of tests: at least 16 bytes"
HOURS = (1_795_411_200_000_000, 1_795_414_800_000_000, -1)


class Killed(BaseException):
    """The process is gone: nobody catches this."""


class Disk:
    """The project's file operations, which stop for good before number `last`; a write stops halfway."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.last: int | None = None
        self.done = 0
        for name in ("rename", "sync_directory", "delete_below"):
            monkeypatch.setattr(storage, name, self._stopping(getattr(storage, name)))
        monkeypatch.setattr(storage, "write", self._tearing(storage.write))
        monkeypatch.setattr(Path, "unlink", self._stopping(Path.unlink))
        monkeypatch.setattr(os, "fsync", lambda descriptor: None)

    def stop_before(self, last: int | None) -> None:
        self.last, self.done = last, 0

    def _stopped(self) -> bool:
        self.done += 1
        return self.last is not None and self.done >= self.last

    def _stopping(self, operation: Callable[..., Any]) -> Callable[..., Any]:
        def stopping(*arguments: Any, **options: Any) -> Any:
            if self._stopped():
                raise Killed
            return operation(*arguments, **options)

        return stopping

    def _tearing(self, write: Callable[..., Any]) -> Callable[..., Any]:
        def tearing(path: str, pieces: Any, **options: bool) -> None:
            if self._stopped():
                if self.done == self.last:
                    whole = b"".join(pieces)
                    write(path, [whole[: len(whole) // 2]])
                raise Killed
            write(path, pieces, **options)

        return tearing


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


def a_run(output: Output, number: int) -> str:
    """Commit a run of three files of its own; gives the new head."""
    runs = output.runs()
    aside = output.aside(f"{number:06d}-test")
    packed = b"(\xb5/\xfd not read here %d" % number + bytes(SMALL)
    spill = Spill(aside)
    blocks = [spill.block(AvroBlock("events", hour, ("", 0, 0, 0), 1, 10, packed)) for hour in HOURS]
    spill.close()
    assert all(block.place for block in blocks)
    files = [write_file(aside, number, "events", block.hour, [block]) for block in blocks]
    account = Account(0, number, number + 1, events=3, kept=3, mac=bytes([number]) * 32)
    return output.commit(aside, files, runs[-1].head if runs else None, "{}", KEY, [Range("log", None, account)])


def events_of(output: Output) -> set[str]:
    """The event files that a reader sees."""
    base = Path(output.path)
    return {str(path.relative_to(base)) for path in (base / "events").rglob("*.avro")}


def listed(output: Output) -> set[str]:
    return {file.path for run in output.runs() for file in run.files}


def attempt(output: Output, what: Callable[[Output], Any]) -> bool:
    """Whether it lived to its end; the lock goes with the process either way."""
    try:
        output.acquire()
        what(output)
    except Killed:
        return False
    finally:
        output.release()
    return True


def moments() -> Iterator[int]:
    yield from range(1, 100)


def test_killed_before_anything_it_does_a_run_has_happened_or_not(tmp_path: Path, disk: Disk):
    for last in moments():
        output = Output(str(tmp_path / f"{last}"))
        disk.stop_before(None)
        attempt(output, lambda output: a_run(output, 1))
        first = events_of(output)
        disk.stop_before(last)
        lived = attempt(output, lambda output: a_run(output, 2))
        disk.stop_before(None)
        assert attempt(output, lambda output: None)
        runs = output.runs()
        assert len(runs) in ({2} if lived else {1, 2})
        assert events_of(output) == listed(output) >= first
        assert len(events_of(output)) == 3 * len(runs)
        assert leftovers(tmp_path / f"{last}") == []
        if lived:
            break
    else:
        pytest.fail("the run never lived to its end")


def test_killed_while_it_recovers_it_recovers_the_next_time(tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch):
    for last in moments():
        output = Output(str(tmp_path / f"{last}"))
        die_behind_the_record(output, disk, monkeypatch)
        disk.stop_before(last)
        lived = attempt(output, lambda output: None)
        disk.stop_before(None)
        assert attempt(output, lambda output: None)
        assert len(output.runs()) == 2
        assert events_of(output) == listed(output)
        assert leftovers(tmp_path / f"{last}") == []
        if lived:
            break
    else:
        pytest.fail("recovery never lived to its end")


def die_behind_the_record(output: Output, disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """One run whole, and of a second nothing but its files aside and its commit record."""
    disk.stop_before(None)
    attempt(output, lambda output: a_run(output, 1))
    rename = storage.rename

    def dying(source: str, target: str) -> None:
        rename(source, target)
        if target.endswith("commit.msgpack"):
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(storage, "rename", dying)
        assert not attempt(output, lambda output: a_run(output, 2))


def test_a_second_writer_is_refused(tmp_path: Path):
    with Output(str(tmp_path / "out")), pytest.raises(OutputError, match="another run is writing"), Output(str(tmp_path / "out")):
        pass


def test_the_lock_goes_with_its_holder(tmp_path: Path):
    with Output(str(tmp_path / "out")):
        pass
    with Output(str(tmp_path / "out")) as output:
        assert output.runs() == []


def test_an_output_that_cannot_be_made_is_refused(tmp_path: Path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match="cannot be written"), Output(str(tmp_path / "file" / "out")):
        pass


def test_a_store_that_cannot_be_reached_is_refused(monkeypatch: pytest.MonkeyPatch):
    def unreachable(_: str) -> None:
        raise OSError("exists() operation failed")

    monkeypatch.setattr(storage, "filesystem", unreachable)
    with pytest.raises(OutputError, match=r"s3://logs/reduced: cannot be reached \(OSError\)"), Output("s3://logs/reduced"):
        pass


def test_the_key_is_made_once_and_is_nobody_elses_to_read(tmp_path: Path):
    with Output(str(tmp_path / "out")) as output:
        key = output.key(None)
        assert output.key(None) == key
        assert len(key) == 32
    path = tmp_path / "out" / "_state" / "key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("below", [None, "siem"])
def test_no_key_is_made_for_a_ledger_that_has_lost_its_own(tmp_path: Path, below: str | None):
    with Output(str(tmp_path / "out")) as output:
        a_run(output if below is None else output.below(below), 1)
        with pytest.raises(OutputError, match="_state/key: not there"):
            output.key(None)
    assert not (tmp_path / "out" / "_state" / "key").exists()


def test_a_key_that_is_given_is_not_stored(tmp_path: Path):
    with Output(str(tmp_path / "out")) as output:
        assert output.key(KEY) == KEY
    assert not (tmp_path / "out" / "_state" / "key").exists()


def test_another_key_than_the_ledgers_is_refused(tmp_path: Path):
    with Output(str(tmp_path / "out")) as output:
        a_run(output, 1)
        with pytest.raises(OutputError, match="another key"):
            output.runs(b"another key of at least 16 bytes")
        assert len(output.runs(KEY)) == 1


def test_only_the_owner_sees_what_is_written(tmp_path: Path):
    with Output(str(tmp_path / "out")) as output:
        a_run(output, 1)
    there = [tmp_path / "out", *(tmp_path / "out").rglob("*")]
    assert {stat.S_IMODE(path.stat().st_mode) for path in there if path.is_dir()} == {0o700}
    assert {stat.S_IMODE(path.stat().st_mode) for path in there if path.is_file()} == {0o600}


def test_runs_are_read_in_the_order_of_their_chain(tmp_path: Path):
    with Output(str(tmp_path / "out")) as output:
        heads = [a_run(output, number) for number in range(1, 6)]
        runs = output.runs(KEY)
    assert [run.head for run in runs] == heads
    assert [run.previous for run in runs] == [None, *heads[:-1]]


def test_a_lost_file_of_a_committed_run_is_told_not_passed_over(tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch):
    output = Output(str(tmp_path / "out"))
    monkeypatch.setattr(output, "_finish", lambda record: None)
    output.acquire()
    a_run(output, 1)
    output.release()
    next((tmp_path / "out" / "_state").rglob("aside-*/events/**/*.avro")).unlink()
    with pytest.raises(OutputError, match="part of a committed run"), Output(str(tmp_path / "out")):
        pass
