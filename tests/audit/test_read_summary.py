"""Summaries add up to the same in any order and any cut."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from tests.audit.reduction import record
from transforms.audit.read_summary import OTHER_KEY, ReadSummary, Sample, _sample_order, key_hash, merge_rows, totals

if TYPE_CHECKING:
    from collections.abc import Sequence

WINDOW = 60_000_000
VALUES = st.lists(st.sampled_from([f"value-{number}" for number in range(40)]) | st.text(max_size=3), max_size=120)


def key(agent: str) -> tuple[Any, ...]:
    return ("alice", None, "get", "", "pods", None, "shop", agent, None, 200)


def a_row(agent: str, moment: int = WINDOW, *, cluster: str = "east", name: str = "cart", order: Sequence[int] = (0, 0, 0)) -> ReadSummary:
    row = ReadSummary(cluster, WINDOW, key(agent), 1, 0, 100, moment, moment, order=(moment, *order), exemplar=b"")
    row.names.add(name)
    return row


def copied(row: ReadSummary) -> ReadSummary:
    return msgspec.msgpack.decode(msgspec.msgpack.encode(row), type=ReadSummary)


@given(VALUES, st.lists(st.integers(0, 120), max_size=5))
def test_a_sample_is_the_same_however_its_values_are_cut(values: list[str], cuts: list[int]):
    whole = Sample(4)
    for value in values:
        whole.add(value)
    whole.trim()
    parts = Sample(4)
    edges = sorted({0, len(values), *[min(cut, len(values)) for cut in cuts]})
    for start, end in pairwise(edges):
        part = Sample(4)
        for value in values[start:end]:
            part.add(value)
        part.trim()
        parts.merge(part)
    parts.trim()
    counted = Counter(values)
    smallest = sorted(counted, key=_sample_order)[:4]
    assert whole.values == parts.values == {value: counted[value] for value in smallest}
    assert whole.omitted == parts.omitted == len(values) - sum(whole.values.values())


ROWS = st.lists(
    st.builds(
        a_row,
        st.sampled_from("abcdefgh"),
        st.integers(WINDOW, WINDOW + 5),
        cluster=st.sampled_from(["east", "west"]),
        name=st.sampled_from("uvwxyz"),
        order=st.tuples(st.integers(0, 1), st.integers(0, 99), st.integers(0, 2)),
    ),
    max_size=40,
)


@given(ROWS, st.integers(1, 10), st.lists(st.integers(0, 40), max_size=4), st.randoms())
def test_rows_are_the_same_in_any_order_and_any_cut(rows: list[ReadSummary], limit: int, cuts: list[int], chance):
    # Two events never stand at the same place.
    rows = list({(row.cluster, row.order): row for row in rows}.values())
    whole = merge_rows([copied(row) for row in rows], limit)
    chance.shuffle(rows)
    edges = sorted({0, len(rows), *[min(cut, len(rows)) for cut in cuts]})
    parts = [row for start, end in pairwise(edges) for row in merge_rows([copied(row) for row in rows[start:end]], limit)]
    assert merge_rows(parts, limit) == whole
    assert totals(whole) == totals(rows)


@given(ROWS, st.integers(1, 10))
def test_the_groups_with_the_smallest_hashes_stay_and_the_rest_is_one_row_per_cluster(rows: list[ReadSummary], limit: int):
    groups = {(row.cluster, row.key) for row in rows}
    merged = merge_rows([copied(row) for row in rows], limit)
    staying = sorted(groups, key=lambda group: (key_hash(*group), group[0]))[:limit]
    assert {(row.cluster, row.key) for row in merged if row.key != OTHER_KEY} == set(staying)
    spilled = {cluster for cluster, _ in groups - set(staying)}
    assert sorted(row.cluster for row in merged if row.key == OTHER_KEY) == sorted(spilled)


def test_the_earliest_event_is_the_exemplar_and_equal_times_go_by_place():
    rows = [a_row("a", WINDOW + 5, order=(0, 0, 0)), a_row("a", WINDOW, order=(1, 7, 0)), a_row("a", WINDOW, order=(0, 9, 0))]
    for number, row in enumerate(rows):
        row.exemplar = b"%d" % number
    (merged,) = merge_rows(rows)
    assert (merged.exemplar, merged.order, merged.first, merged.last) == (b"2", (WINDOW, 0, 9, 0), WINDOW, WINDOW + 5)


def test_a_row_is_read_back_as_it_was_meant():
    row = a_row("kubectl")
    row.addresses.add("10.0.0.1", 3)
    row.audit_ids.add("id")
    found = record(row.encoded(WINDOW), "reads")
    assert (found["cluster"], found["username"], found["userAgent"], found["code"], found["late"]) == (
        "east",
        "alice",
        "kubectl",
        200,
        False,
    )
    assert (found["windowEnd"] - found["windowStart"]).total_seconds() == 60
    assert (found["names"], found["namesOmitted"], found["sourceIPs"], found["auditIDs"]) == (["cart"], 0, ["10.0.0.1"], ["id"])
    assert found["exemplar"] is None
