"""Audit IDs as numbers: the same everywhere, and those that turn up twice are found."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from transforms.audit.audit_ids import find_recalls, hash_groups, hash_ids

IDS = st.uuids().map(str) | st.text(max_size=40) | st.sampled_from(["", "a", "ü" * 36, "x" * 36, "\ud800"])


def packed(*numbers: int) -> bytes:
    return np.array(numbers, dtype=np.uint64).tobytes()


def unpacked(hashes: bytes) -> list[int]:
    return [int(number) for number in np.frombuffer(hashes, dtype=np.uint64)]


def test_a_hash_is_the_same_on_every_machine():
    assert [f"{number:016x}" for number in hash_ids("default", ["6d0f1a8e-7a55-4c0d-9f3a-0c8f2f5b9b11", "", "ü"])] == [
        "d0c8e30a6d216734",
        "e068ff9bcfbceebf",
        "7f9b30bdabb53ece",
    ]


@given(st.lists(IDS, unique=True, max_size=30))
def test_an_id_has_one_hash_whatever_stands_beside_it(audit_ids: list[str]):
    together = list(hash_ids("east", audit_ids))
    assert together == [hash_ids("east", [audit_id])[0] for audit_id in audit_ids]
    assert len(set(together)) == len(audit_ids)


@given(IDS)
def test_the_same_id_in_another_cluster_is_another(audit_id: str):
    assert hash_ids("east", [audit_id])[0] != hash_ids("west", [audit_id])[0]


def test_neighbouring_uuids_have_different_hashes():
    audit_ids = [f"{number:08x}-7a55-4c0d-9f3a-0c8f2f5b9b{last:02x}" for number in range(2000) for last in range(10)]
    assert len(set(hash_ids("default", audit_ids).tolist())) == len(audit_ids)


def test_groups_name_their_cluster_or_have_the_splits():
    groups, hashes = hash_groups(["a", ("west", "b"), ("east", "a"), None, ("west", None)], "east")
    expected = [hash_ids("east", ["a"])[0], hash_ids("west", ["b"])[0], hash_ids("east", ["a"])[0]]
    assert sorted(map(int, hashes)) == sorted(map(int, expected))
    assert sorted(map(str, groups)) == sorted(map(str, ["a", ("west", "b"), ("east", "a")]))


@given(
    st.lists(st.tuples(st.integers(0, 3), st.lists(st.integers(0, 12), max_size=6)), max_size=6),
    st.lists(st.tuples(st.integers(0, 3), st.lists(st.integers(0, 12), max_size=6)), max_size=6),
)
def test_what_turns_up_elsewhere_is_recalled_with_what_was_loose_there(
    settled: list[tuple[int, list[int]]], loose: list[tuple[int, list[int]]]
):
    everywhere = [number for _, numbers in settled for number in numbers]
    loosely = {number for _, numbers in loose for number in numbers}
    expected = {}
    for split in {split for split, _ in settled}:
        own = {number for at, numbers in settled if at == split for number in numbers}
        recalled = {number for number in own if everywhere.count(number) > 1 or number in loosely}
        if recalled:
            expected[split] = sorted(recalled | {number for at, numbers in loose if at == split for number in numbers})
    found, beyond = find_recalls(
        [(split, packed(*numbers)) for split, numbers in settled], [(split, packed(*numbers)) for split, numbers in loose]
    )
    assert ({split: unpacked(hashes) for split, hashes in found.items()}, beyond) == (expected, 0)


def test_ids_beyond_the_limit_are_counted_and_not_recalled():
    assert find_recalls([(0, packed(1, 2, 3)), (1, packed(1, 2, 3))], [], limit=4) == ({0: packed(1), 1: packed(1)}, 2)
