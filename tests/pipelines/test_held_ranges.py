"""However many ranges are held, each is found again by where it begins."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines import held_ranges
from pipelines.held_ranges import HeldRanges

MACS = [bytes([number]) * 32 for number in range(3)] + [bytes(32), b"\1" + bytes(31)]
RANGES = st.tuples(st.sampled_from([None, "east", "None"]), st.integers(0, 5), st.integers(0, 5), st.sampled_from(MACS), st.booleans())


@pytest.fixture(scope="module", autouse=True)
def few() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(held_ranges, "LATEST", 4)
        yield


@given(st.lists(RANGES, max_size=40))
def test_what_is_held_is_found_by_cluster_and_start(given_ranges: list[Any]):
    held = HeldRanges()
    for cluster, start, end, mac, unfinished in given_ranges:
        held.add(cluster, start, end, mac, unfinished=unfinished)
    for cluster in (None, "east", "None", "west"):
        for start in range(6):
            expected: Any = {}
            for each in given_ranges:
                if each[:2] == (cluster, start):
                    expected.setdefault(each[2], set()).add(each[3:])
            assert held.at(cluster, start) == expected


def test_offsets_of_any_size_are_held():
    held = HeldRanges()
    for start in range(5):
        held.add(None, start << 60, (start << 60) + 1, MACS[0], unfinished=False)
    assert held.at(None, 4 << 60) == {(4 << 60) + 1: {(MACS[0], False)}}
