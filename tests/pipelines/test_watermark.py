"""The watermark: the least of what streams have said, less the slack; silence holds nothing up."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from pipelines.cycles import Clock
from pipelines.watermark import Watermark, closing, oldest

if TYPE_CHECKING:
    import pytest

SECOND = 1_000_000
NOW = 1_000 * SECOND
A, B = ("a", 0), ("b", None)


def test_it_is_behind_the_stream_that_is_furthest_behind():
    watermark = Watermark(0.0, slack=10 * SECOND)
    watermark.saw(A, 500 * SECOND, NOW, 0.0)
    watermark.saw(B, 300 * SECOND, NOW, 0.0)
    assert watermark.advance({A: True, B: False}, NOW, 1.0) == 290 * SECOND


def test_it_never_goes_back():
    watermark = Watermark(0.0, slack=0)
    watermark.saw(A, 500 * SECOND, NOW, 0.0)
    assert watermark.advance({A: True}, NOW, 1.0) == 500 * SECOND
    watermark.saw(B, 300 * SECOND, NOW, 1.0)
    assert watermark.advance({A: True, B: False}, NOW, 2.0) == 500 * SECOND


def test_a_stream_of_which_nothing_was_given_yet_holds_everything():
    watermark = Watermark(0.0, slack=0)
    watermark.saw(A, 500 * SECOND, NOW, 0.0)
    assert watermark.advance({A: True, B: False}, NOW, 1000.0) == 0
    assert watermark.advance({A: True, B: True}, NOW, 1.0) == 500 * SECOND


def test_a_stream_that_says_no_time_holds_nothing():
    watermark = Watermark(0.0, slack=0)
    watermark.saw(A, 500 * SECOND, NOW, 0.0)
    watermark.saw(B, 0, NOW, 0.0)
    assert watermark.advance({A: False, B: False}, NOW, 1.0) == 500 * SECOND


def test_a_stream_that_is_gone_holds_nothing():
    watermark = Watermark(0.0, slack=0)
    watermark.saw(A, 500 * SECOND, NOW, 0.0)
    watermark.saw(B, 300 * SECOND, NOW, 0.0)
    assert watermark.advance({A: False}, NOW, 1.0) == 500 * SECOND


def test_in_silence_time_goes_on_from_the_latest_event_and_not_beyond_now():
    watermark = Watermark(0.0, slack=0, idle=30.0)
    watermark.saw(A, 500 * SECOND, NOW, 0.0)
    watermark.saw(B, 300 * SECOND, NOW, 0.0)
    assert watermark.advance({A: True, B: True}, NOW, 29.0) == 300 * SECOND
    assert watermark.advance({A: True, B: True}, NOW, 40.0) == 540 * SECOND
    assert watermark.advance({A: True, B: True}, NOW, 4000.0) == NOW


def test_a_time_ahead_of_the_clock_is_not_believed():
    watermark = Watermark(0.0, slack=0)
    watermark.saw(A, NOW + 500 * SECOND, NOW, 0.0)
    assert watermark.advance({A: False}, NOW, 1.0) == NOW


def test_what_an_earlier_session_saw_counts_once_it_is_silent():
    watermark = Watermark(5.0, reached=100 * SECOND, latest=130 * SECOND, slack=30 * SECOND, idle=30.0)
    assert watermark.advance({}, NOW, 34.0) == 100 * SECOND
    assert watermark.advance({}, NOW, 45.0) == 140 * SECOND


def test_windows_close_that_end_before_it():
    assert closing(179, 60, 0) == 120
    assert closing(180, 60, 0) == 180
    assert closing(100, 60, 120) == 120


def test_past_the_bound_the_oldest_windows_close_first():
    windows = [(120, 30), (0, 50), (60, 40)]
    assert oldest(windows, 60, 120) == 0
    assert oldest(windows, 60, 119) == 60
    assert oldest(windows, 60, 30) == 120
    assert oldest(windows, 60, 0) == 180


def test_a_clock_that_is_set_back_goes_on_from_where_it_was(monkeypatch: pytest.MonkeyPatch):
    shown = {"system": 1000.0, "moment": 5.0}
    monkeypatch.setattr(time, "time_ns", lambda: int(shown["system"] * 1e9))
    monkeypatch.setattr(time, "monotonic", lambda: shown["moment"])
    clock = Clock()
    assert clock.now() == 1000 * SECOND
    shown.update(system=1003.0, moment=8.0)
    assert clock.now() == 1003 * SECOND
    shown.update(system=3.0, moment=10.0)
    assert clock.now() == 1005 * SECOND
    shown.update(system=5.0, moment=12.0)
    assert clock.now() == 1007 * SECOND
    shown.update(system=90_000.0, moment=13.0)
    assert clock.now() == 90_000 * SECOND
