"""The ledger: what is written is read back, and what was tampered with is named."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.ledger import LedgerError, Range, Run, encode_run, key_id, ranges_of, read_ledger, read_run
from transforms.audit.account import Account
from transforms.audit.block import Split
from transforms.connectors import storage
from transforms.connectors.avro_files import OutputFile

if TYPE_CHECKING:
    from pathlib import Path

KEY = b"a key of tests: at least 16 bytes"
FILE = OutputFile("events/dt=2026-11-23/hour=05/000001-aa.avro", 3, 400, "00" * 32)


def a_range(**changes: object) -> Range:
    counts = {
        "events": 9,
        "size": 100,
        "kept": 1,
        "folded": 2,
        "merged": 1,
        "duplicate": 1,
        "dropped_by_rule": {"0": 1, "none": 1},
        "dropped_by_stage": 1,
        "dead_lettered": {"INVALID_JSON": 1},
        "mac": b"m" * 32,
    }
    return Range("/logs/audit.log", "east", Account(file=0, start=10, end=110, **{**counts, **changes}))


def written(output: Path, number: int, previous: str | None, *ranges: Range) -> Run:
    """A run's ledger file, written and read back."""
    name, pieces = encode_run([FILE], previous, f'{{"number": {number}}}', KEY, ranges)
    path = str(output / "ledger" / f"{name}.avro")
    storage.write(path, pieces)
    return read_run(path)


def test_a_run_is_read_back_as_it_was_written(tmp_path: Path):
    run = written(tmp_path, 1, None, a_range())
    assert (run.files, run.previous, run.config, run.key_id) == ([FILE], None, '{"number": 1}', key_id(KEY))
    assert run.ranges == [a_range()]


@given(
    st.integers(0, 1 << 50), st.dictionaries(st.text(min_size=1, max_size=5), st.integers(0, 1 << 40), max_size=4), st.binary(max_size=32)
)
def test_counts_of_any_size_are_read_back(tmp_path_factory, events: int, counts: dict[str, int], mac: bytes):
    odd = a_range(events=events, dropped_by_rule=counts, dead_lettered=counts, mac=mac)
    assert written(tmp_path_factory.mktemp("out"), 1, None, odd).ranges == [odd]


def test_runs_come_in_the_order_of_their_chain_whatever_their_names(tmp_path: Path):
    heads: list[str | None] = [None]
    for number in range(8):
        heads.append(written(tmp_path, number, heads[-1], a_range()).head)
    assert [run.head for run in read_ledger(str(tmp_path))] == heads[1:]


def test_an_output_without_a_ledger_has_no_runs(tmp_path: Path):
    assert read_ledger(str(tmp_path)) == []


def test_a_lost_run_in_the_middle_is_named(tmp_path: Path):
    first = written(tmp_path, 1, None)
    second = written(tmp_path, 2, first.head)
    third = written(tmp_path, 3, second.head)
    (tmp_path / "ledger" / second.path.rpartition("/")[2]).unlink()
    with pytest.raises(LedgerError, match=f"{third.path}.*missing or was changed"):
        read_ledger(str(tmp_path))


def test_two_runs_that_follow_the_same_are_named(tmp_path: Path):
    first = written(tmp_path, 1, None)
    written(tmp_path, 2, first.head)
    written(tmp_path, 3, first.head)
    with pytest.raises(LedgerError, match="follows the same run"):
        read_ledger(str(tmp_path))


@pytest.mark.parametrize("at", [0, 3, 40, -1, -20, -40])
def test_one_changed_byte_is_found(tmp_path: Path, at: int):
    first = written(tmp_path, 1, None, a_range())
    written(tmp_path, 2, first.head, a_range())
    path = tmp_path / "ledger" / first.path.rpartition("/")[2]
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)
    with pytest.raises(LedgerError):
        read_ledger(str(tmp_path))


def test_a_cut_off_file_is_unreadable(tmp_path: Path):
    run = written(tmp_path, 1, None, a_range())
    path = tmp_path / "ledger" / run.path.rpartition("/")[2]
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(LedgerError, match="unreadable"):
        read_ledger(str(tmp_path))


def test_a_key_is_named_without_being_told():
    assert key_id(KEY) != key_id(KEY + b"!")
    assert KEY.hex() not in key_id(KEY)


def test_accounts_get_the_names_of_their_sources():
    splits = [Split(0, "/a", "/a", 0, 10, "east"), Split(1, "/b", "/b", 0, 10, None)]
    found = ranges_of([Account(1, 0), Account(0, 5)], splits)
    assert [(each.uri, each.cluster, each.account.start) for each in found] == [("/b", None, 0), ("/a", "east", 5)]
