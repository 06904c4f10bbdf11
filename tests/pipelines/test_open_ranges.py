"""What waits of a range stands in its entry, and later entries settle just that."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pipelines.ledger import Run
from pipelines.open_ranges import OpenRange, OpenRanges, pending_of
from transforms.audit.account import Account
from transforms.audit.block import Split

SPLIT = Split(7, "kafka://c/t", "held:0", 0, 100, "east", 3)


def said(ranges: list[Any]) -> list[tuple[int, int, int, int, int, int, int]]:
    accounts = [each.account for each in ranges]
    return [(each.start, each.end, each.events, each.kept, each.folded, each.merged, each.pending) for each in accounts]


def test_reads_of_windows_that_stay_open_are_pending_until_these_close():
    account = Account(7, 0, 100, events=10, kept=2, folded=5, merged=3, windows={60: [2, 1], 120: [3, 1]})
    after, ranges = OpenRanges().settle([account], [SPLIT], 120)
    assert said(ranges) == [(0, 100, 10, 2, 2, 2, 4)]
    assert after.items() == [((7, 0), OpenRange("kafka://c/t", 3, "east", 100, 0, {120: [3, 1]}))]
    again, ranges = after.settle([], [], 180)
    assert said(ranges) == [(0, 100, 0, 0, 3, 1, -4)]
    assert (ranges[0].uri, ranges[0].partition, ranges[0].cluster) == ("kafka://c/t", 3, "east")
    assert len(again) == 0


def test_an_early_stage_that_merges_into_a_read_of_an_open_window_goes_on_waiting():
    after, ranges = OpenRanges().settle([Account(7, 0, 100, events=1, pending=1)], [SPLIT], 0)
    assert (said(ranges), after.waiting) == ([(0, 100, 1, 0, 0, 0, 1)], 1)
    merged = Account(7, 0, merged=1, pending=-1, windows={60: [0, 1]})
    after, ranges = after.settle([merged], [], 60)
    assert (ranges, after.waiting, after.pending) == ([], 0, 1)
    after, ranges = after.settle([], [], 120)
    assert (said(ranges), after.pending) == ([(0, 100, 0, 0, 0, 1, -1)], 0)


def test_a_log_that_begins_anew_under_its_name_has_ranges_of_its_own():
    first, second = Split(1, "log", "a", 0, 10), Split(2, "log", "b", 0, 20)
    after, _ = OpenRanges().settle([Account(1, 0, 10, events=1, pending=1)], [first], 0)
    after, _ = after.settle([Account(2, 0, 20, events=1, pending=1)], [second], 0)
    assert after.by_range() == {(("log", None), 0, 10): 1, (("log", None), 0, 20): 1}
    _, ranges = after.settle([Account(2, 0, kept=1, pending=-1)], [], 0)
    assert said(ranges) == [(0, 20, 0, 1, 0, 0, -1)]


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4), st.integers(0, 4), st.integers(0, 2)), max_size=12),
    st.lists(st.integers(0, 5)),
)
def test_whatever_comes_the_ledger_says_what_is_open(runs: list[tuple[int, int, int, int]], closings: list[int]):
    opened = OpenRanges()
    ledger: list[Run] = []
    closed = 0
    for number, (waiting, folded, merged, window) in enumerate(runs):
        closed = max([closed, *closings[number : number + 1]])
        split = Split(number, "log", "", number * 10, number * 10 + 10)
        windows = {closed + window: [folded, merged]} if folded + merged else {}
        account = Account(
            number, number * 10, number * 10 + 10, waiting + folded + merged, folded=folded, merged=merged, pending=waiting, windows=windows
        )
        opened, ranges = opened.settle([account], [split], closed)
        assert all(each.account.events == each.account.accounted for each in ranges)
        ledger.append(Run("", "", None, [], "{}", "", ranges))
        assert pending_of(ledger) == opened.by_range()
    opened, ranges = opened.settle([], [], 1 << 62)
    ledger.append(Run("", "", None, [], "{}", "", ranges))
    assert pending_of(ledger) == opened.by_range()
    assert opened.pending == opened.waiting == sum(waiting for waiting, *_ in runs)
