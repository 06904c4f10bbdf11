"""What runs settled is found again by audit ID, among any number of files, and only as long as it is held."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transforms.audit.audit_ids import hash_ids
from transforms.audit.memory import GIVEN_UP, MESSAGE, Memory, SettledRows, encode_rows, message_rows, row_id

if TYPE_CHECKING:
    from pathlib import Path


def rows(*audit_ids: str | None, stage: str = "ResponseComplete", cluster: str = "east") -> bytes:
    settled = SettledRows()
    for audit_id in audit_ids:
        settled.add(cluster, audit_id, stage, (audit_id or "none").encode().ljust(16, b".")[:16])
    return settled.packed()


def test_what_was_settled_is_recalled_with_stage_and_digest(tmp_path: Path):
    settled = SettledRows()
    settled.add("east", "a", "ResponseComplete", b"1" * 16)
    settled.add("east", "a", "SomeStageOfTomorrow", b"2" * 16)
    settled.give_up("east", "b")
    settled.add("west", "a", "Panic", b"3" * 16)
    (tmp_path / "1").write_bytes(encode_rows([settled.packed(), message_rows(["m"])]))
    memory = Memory()
    memory.hold([str(tmp_path / "1")])
    ids = [row_id("east", "a"), row_id("east", "b"), row_id("west", "a"), row_id("west", "b"), int(hash_ids("message", ["m"])[0])]
    assert memory.recall(ids) == {
        ids[0]: [(2, b"1" * 16), (4, b"2" * 16)],
        ids[1]: [(GIVEN_UP, bytes(16))],
        ids[2]: [(3, b"3" * 16)],
        ids[4]: [(MESSAGE, bytes(16))],
    }
    assert len(memory) == 5


def test_events_without_an_audit_id_share_a_number_of_their_own():
    assert row_id("east", None) != row_id("east", "")
    assert rows(None)[:8] == row_id("east", None).to_bytes(8, "little")
    assert rows("")[:8] == row_id("east", "").to_bytes(8, "little")


@given(st.lists(st.lists(st.integers(0, 40), max_size=30), max_size=8), st.data())
def test_just_what_the_held_files_say_is_recalled(tmp_path_factory: pytest.TempPathFactory, files: list[list[int]], data: st.DataObject):
    directory = tmp_path_factory.mktemp("rows")
    memory = Memory()
    paths = []
    for at, numbers in enumerate(files):
        paths.append(str(directory / str(at)))
        (directory / str(at)).write_bytes(encode_rows([rows(*map(str, numbers))] if numbers else []))
        held = data.draw(st.sets(st.integers(0, at)))
        memory.hold([paths[each] for each in sorted(held)])
        expected = [number for each in held for number in files[each]]
        everything = hash_ids("east", [str(number) for number in range(41)])
        found = memory.recall(everything)
        assert {number: len(found.get(int(everything[number]), ())) for number in range(41)} == {
            number: expected.count(number) for number in range(41)
        }
        assert set(np.flatnonzero(memory.known(everything))) >= set(expected)


def test_a_file_that_is_something_else_is_refused(tmp_path: Path):
    np.save(tmp_path / "other.npy", np.zeros(3))
    with pytest.raises(ValueError, match="not a file of rows"):
        Memory().hold([str(tmp_path / "other.npy")])
