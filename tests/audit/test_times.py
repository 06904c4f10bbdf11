"""Times read many at once are what they are when read one by one."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import UNSET

from transforms.audit import times
from transforms.audit.times import note_times, time_part

# Two hundred of one day, so that there are enough to be read at once.
MANY = [f"2026-11-23T{at % 24:02}:{at * 7 % 60:02}:{at * 13 % 60:02}.{at * 4999 % 1_000_000:06}Z" for at in range(200)]


def forget() -> None:
    times._times.clear()
    times._times[UNSET] = times._NO_TIME


def one_by_one(timestamps: list[object]) -> list[object]:
    forget()
    return [time_part(each) for each in timestamps]


def test_many_times_of_one_day_are_read_at_once():
    expected = one_by_one(MANY)
    forget()
    note_times(set(MANY))
    assert times._times.keys() == {UNSET, *MANY}
    assert [time_part(each) for each in MANY] == expected


@pytest.mark.parametrize(
    "odd",
    [
        "2026-11-23T24:00:00.000000Z",
        "2026-11-23T23:59:60.000000Z",
        "2026-11-23T23:60:00.000000Z",
        "2026-11-24T00:00:00.000000Z",
        "2026-11-23T05:20:19.63200٣Z",
        "2026-11-23T05:20:19.63200:Z",
        "2026-11-23T05:20:19.63200/Z",
        "2026-11-23 05:20:19.632000Z",
        "2026-11-23T05:20:19.632000z",
        "2026-11-23T05:20:19+00:00.0",
        "2026-11-23T05:20:19Z",
        "",
        "\ud800" * 27,
        UNSET,
    ],
)
def test_one_odd_time_among_many_changes_none(odd):
    texts = [*MANY, odd]
    expected = one_by_one(texts)
    forget()
    note_times(set(texts))
    assert [time_part(each) for each in texts] == expected


@pytest.mark.parametrize("year", ["0001", "1969", "1970", "1978", "1979", "2540", "2541", "9999", "0000", "20x6"])
def test_times_of_any_year_are_read_alike(year):
    texts = [year + text[4:] for text in MANY]
    expected = one_by_one(texts)
    forget()
    note_times(set(texts))
    assert [time_part(each) for each in texts] == expected


def test_texts_that_only_look_well_when_joined_are_not_cut_anew():
    texts = [*MANY, "2026-11-23T00:00:00.000000", "Z2026-11-23T00:00:01.000000Z"]
    expected = one_by_one(texts)
    forget()
    note_times(set(texts))
    assert [time_part(each) for each in texts] == expected


@settings(deadline=None, max_examples=15)
@given(st.lists(st.from_regex(r"2026-11-23T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z", fullmatch=True), min_size=130, max_size=140))
def test_any_digits_are_read_alike(texts):
    expected = one_by_one(texts)
    forget()
    note_times(set(texts))
    assert [time_part(each) for each in texts] == expected
