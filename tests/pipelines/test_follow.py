"""The loop of cycles, with a source that a test scripts and a clock that it sets: nothing lost, nothing twice, and in time."""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from pipelines import checkpoint, cycles, ledger_index, verify
from pipelines.checkpoint import CheckpointError
from pipelines.ledger import read_ledger
from tests.audit.logs import TARGETS, stages_of
from tests.audit.reduction import KEY, plain, settings
from tests.examples import line
from tests.pipelines.followed import URI, FakeClock, Followed, Journal, ScriptedSource
from tests.pipelines.job import account, records, sample_lines
from transforms.audit.block import Split
from transforms.audit.reduce_all import reduce_all
from transforms.audit.settings import Compiled
from transforms.connectors.held_messages import hold, read_split
from transforms.connectors.sources import Gap, Stretch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

READ, WRITE = TARGETS[0], TARGETS[7]
BOTH = ("RequestReceived", "ResponseComplete")


def request(audit_id: str, target: Any = WRITE, stages: Any = BOTH, second: str = "05:20:00", **changes: Any) -> list[bytes]:
    """The lines of one request, all at that second."""
    made = stages_of(target, stages, [""], auditID=audit_id, **changes)
    return [line({**event, "stageTimestamp": f"2026-11-23T{second}.{at:06d}Z"}) for at, event in enumerate(made)]


@contextmanager
def following(path: Path, journal: Journal, clock: FakeClock, **options: Any) -> Iterator[Followed]:
    """A follower; leaving it is a crash after its last commit and acknowledgement. What it leaves must be closed."""
    source = ScriptedSource(journal, most=options.pop("most", 1 << 30), follow=options.get("forever", True))
    followed = Followed(str(path), source, clock, **options)
    try:
        yield followed
    finally:
        followed.leave()
    closed(path)


def closed(path: Path) -> None:
    assert verify.verify(str(path)).problems == []


def events(path: Path) -> list[tuple[str, list[str], list[str]]]:
    """(audit ID, stages, flags) of what is kept, in the order of positions."""
    found = sorted(
        records(path, "events"), key=lambda each: (each["source"]["partition"], each["source"]["offset"], each["source"]["item"])
    )
    return [(each["auditID"], [stage["stage"] for stage in each["stages"]], each["flags"]) for each in found]


def reads(path: Path) -> list[tuple[str, int, int, bool]]:
    """(start of the window, count, merged stages, late) of the summaries."""
    return sorted((f"{each['windowStart']:%H:%M}", each["count"], each["mergedStages"], each["late"]) for each in records(path, "reads"))


def pending(path: Path) -> int:
    return account(path).pending


def test_a_drain_in_many_cycles_gives_what_one_batch_run_gives(tmp_path: Path):
    journal = Journal(2)
    for at, each in enumerate(sample_lines(600).splitlines()):
        journal.publish(each, partition=at // 7 % 2)
    with following(tmp_path / "out", journal, FakeClock(), most=70, forever=False) as followed:
        followed.go()
        assert followed.source.commits == 5
    splits = [Split(at, URI, hold(list(enumerate(found))), 0, len(found), None, at) for at, found in enumerate(journal.partitions)]
    batch = plain(reduce_all(splits, lambda split: read_split(split, KEY), Compiled(settings(), KEY)))

    def said(found: list[dict[str, Any]]) -> Counter[str]:
        return Counter(repr((each["digest"], sorted(map(repr, each["stages"])), each["flags"], each["policyRule"])) for each in found)

    assert said(records(tmp_path / "out", "events")) == said(batch.events)
    summed: Counter[Any] = Counter()
    for row in batch.reads:
        summed[row["windowStart"], row["username"], row["verb"], row["resource"], row["code"]] += row["count"]
    for row in records(tmp_path / "out", "reads"):
        summed[row["windowStart"], row["username"], row["verb"], row["resource"], row["code"]] -= row["count"]
    assert set(summed.values()) <= {0}
    mine = account(tmp_path / "out")
    assert (mine.events, mine.kept, mine.folded, mine.merged, mine.duplicate, mine.pending) == (
        600,
        batch.account.kept,
        batch.account.folded,
        batch.account.merged,
        batch.account.duplicate,
        0,
    )


def test_an_early_stage_waits_for_its_final_event_over_cycles_and_crashes(tmp_path: Path):
    journal, clock = Journal(), FakeClock()
    received, complete = request("a")
    journal.publish(received, *request("b"))
    with following(tmp_path / "out", journal, clock) as followed:
        followed.go(2)
    assert events(tmp_path / "out") == [("b", ["RequestReceived", "ResponseComplete"], [])]
    assert pending(tmp_path / "out") == 1
    journal.publish(complete)
    with following(tmp_path / "out", journal, clock) as followed:
        followed.go(1)
    assert [found[:2] for found in events(tmp_path / "out")] == [("b", list(BOTH)), ("a", list(BOTH))]
    assert pending(tmp_path / "out") == 0
    assert (account(tmp_path / "out").events, account(tmp_path / "out").merged) == (4, 2)


def test_an_early_stage_meets_its_final_event_although_copies_are_recognised_for_less_long(tmp_path: Path):
    journal, clock = Journal(), FakeClock()
    received, complete = request("a")
    with following(tmp_path / "out", journal, clock, horizon=1, wait=600) as followed:
        for each in (received, complete):
            journal.publish(each)
            followed.go(1)
            clock.pass_by(599)
    assert [found[:2] for found in events(tmp_path / "out")] == [("a", list(BOTH))]


def test_an_early_stage_that_waited_long_enough_is_given_up_and_its_final_event_is_late(tmp_path: Path):
    journal, clock = Journal(), FakeClock()
    received, complete = request("a", READ)
    journal.publish(received)
    with following(tmp_path / "out", journal, clock, wait=600) as followed:
        followed.go(1)
        clock.pass_by(599)
        followed.go(1)
        assert pending(tmp_path / "out") == 1
        clock.pass_by(1)
        followed.go(1)
        assert events(tmp_path / "out") == [("a", ["RequestReceived"], ["NO_COMPLETION"])]
        journal.publish(complete)
        followed.go(1)
    assert events(tmp_path / "out")[1:] == [("a", ["ResponseComplete"], ["LATE_COMPLETION"])]
    assert (pending(tmp_path / "out"), reads(tmp_path / "out")) == (0, [])


def test_where_too_much_waits_it_waits_less_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert [cycles.shortened(600, size, 100) for size in (0, 100, 101, 200, 1000)] == [600, 600, 588, 150, 6]
    journal, clock = Journal(), FakeClock()
    monkeypatch.setattr(cycles.shortened, "__defaults__", (1,))
    journal.publish(request("a")[0])
    with following(tmp_path / "out", journal, clock) as followed:
        followed.go(1)
        assert events(tmp_path / "out") == []
        clock.pass_by(1)
        journal.publish(request("b")[0])
        followed.go(1)
        assert events(tmp_path / "out") == [("a", ["RequestReceived"], ["NO_COMPLETION"])]


def test_an_early_stage_after_its_final_event_waits_in_vain_and_says_so(tmp_path: Path):
    journal, clock = Journal(), FakeClock()
    received, complete = request("a")
    journal.publish(complete)
    with following(tmp_path / "out", journal, clock) as followed:
        followed.go(1)
        journal.publish(received)
        followed.go(1)
        clock.pass_by(600)
        followed.go(1)
    assert events(tmp_path / "out") == [("a", ["ResponseComplete"], []), ("a", ["RequestReceived"], ["LATE_STAGE"])]


def test_copies_are_recognised_within_the_horizon(tmp_path: Path):
    journal, clock = Journal(), FakeClock()
    journal.publish(*request("a"))
    with following(tmp_path / "out", journal, clock, horizon=60, wait=60) as followed:
        followed.go(1)
        clock.pass_by(60)
        journal.publish(*request("a"))
        followed.go(1)
        assert (account(tmp_path / "out").duplicate, account(tmp_path / "out").kept) == (2, 1)
        clock.pass_by(61)
        journal.publish(*request("a"))
        followed.go(1)
    assert (account(tmp_path / "out").duplicate, account(tmp_path / "out").kept) == (2, 2)


def test_a_copy_of_what_waits_is_a_duplicate(tmp_path: Path):
    journal, clock = Journal(), FakeClock()
    received, complete = request("a")
    with following(tmp_path / "out", journal, clock) as followed:
        for each in (received, received, complete, complete):
            journal.publish(each)
            followed.go(1)
    assert [found[:2] for found in events(tmp_path / "out")] == [("a", list(BOTH))]
    assert (account(tmp_path / "out").duplicate, account(tmp_path / "out").merged, pending(tmp_path / "out")) == (2, 1, 0)


def test_another_event_of_an_audit_id_is_flagged_in_a_later_cycle(tmp_path: Path):
    journal, clock = Journal(), FakeClock()
    with following(tmp_path / "out", journal, clock) as followed:
        for code in (200, 201):
            journal.publish(*request("a", READ, ("ResponseComplete",), userAgent=f"curl/{code}"))
            followed.go(1)
        clock.pass_by(91)
        followed.go(1)
    assert events(tmp_path / "out") == [("a", ["ResponseComplete"], ["AUDIT_ID_COLLISION"])]
    assert reads(tmp_path / "out") == [("05:20", 1, 0, False)]


def test_a_window_is_written_once_when_the_watermark_passes_its_end(tmp_path: Path):
    journal, clock = Journal(), FakeClock()
    with following(tmp_path / "out", journal, clock) as followed:
        for at, second in enumerate(("05:19:58", "05:20:01", "05:20:29")):
            journal.publish(*request(f"r{at}", READ, second=second))
            followed.go(2)
            assert reads(tmp_path / "out") == []
        assert pending(tmp_path / "out") == 6
        journal.publish(*request("r3", READ, second="05:21:29"))
        followed.go(2)
        assert (reads(tmp_path / "out"), pending(tmp_path / "out")) == ([("05:19", 1, 1, False)], 6)
        journal.publish(*request("r5", READ, second="05:21:30"))
        followed.go(2)
        assert reads(tmp_path / "out") == [("05:19", 1, 1, False), ("05:20", 2, 2, False)]
        assert pending(tmp_path / "out") == 4
        journal.publish(*request("r6", READ, second="05:20:30"))
        followed.go(1)
        assert reads(tmp_path / "out") == [("05:19", 1, 1, False), ("05:20", 1, 1, True), ("05:20", 2, 2, False)]


def test_a_window_stays_open_over_a_crash(tmp_path: Path):
    journal, clock = Journal(), FakeClock()
    for number in range(3):
        journal.publish(*request(f"r{number}", READ, second="05:20:00"))
        with following(tmp_path / "out", journal, clock) as followed:
            followed.go(2)
    assert (reads(tmp_path / "out"), pending(tmp_path / "out")) == ([], 6)
    with following(tmp_path / "out", journal, clock, forever=False) as followed:
        followed.go()
    assert (reads(tmp_path / "out"), pending(tmp_path / "out")) == ([("05:20", 3, 3, False)], 0)


def test_a_slow_stream_holds_windows_open_and_an_idle_one_does_not(tmp_path: Path):
    journal, clock = Journal(2), FakeClock()
    journal.publish(*request("a", READ, second="05:20:00"), partition=0)
    journal.publish(*request("b", READ, second="05:22:00"), partition=1)
    with following(tmp_path / "out", journal, clock) as followed:
        followed.go(2)
        clock.pass_by(29)
        journal.publish(*request("c", READ, second="05:22:01"), partition=1)
        followed.go(2)
        assert reads(tmp_path / "out") == []
        clock.pass_by(2)
        journal.publish(*request("d", READ, second="05:22:02"), partition=1)
        followed.go(2)
        assert reads(tmp_path / "out") == [("05:20", 1, 1, False)]


def test_where_all_streams_are_silent_time_goes_on_and_the_last_windows_close(tmp_path: Path):
    journal, clock = Journal(), FakeClock()
    journal.publish(*request("a", READ, second="05:20:00"))
    with following(tmp_path / "out", journal, clock) as followed:
        followed.go(1)
        clock.pass_by(89)
        followed.go(2)
        assert reads(tmp_path / "out") == []
        clock.pass_by(2)
        followed.go(1)
    assert reads(tmp_path / "out") == [("05:20", 1, 1, False)]


def test_a_window_that_an_earlier_session_left_open_closes_although_nothing_comes(tmp_path: Path):
    journal, clock = Journal(), FakeClock()
    journal.publish(*request("a", READ, second="05:20:00"))
    with following(tmp_path / "out", journal, clock) as followed:
        followed.go(2)
    with following(tmp_path / "out", journal, clock) as followed:
        clock.pass_by(91)
        followed.go(1)
    assert reads(tmp_path / "out") == [("05:20", 1, 1, False)]


def test_a_time_of_tomorrow_does_not_close_the_windows_of_today(tmp_path: Path):
    journal, clock = Journal(), FakeClock()
    journal.publish(*request("a", READ, second="05:20:00"))
    journal.publish(
        line({**stages_of(READ, ("ResponseComplete",), ["05:20:00"], auditID="f")[0], "stageTimestamp": "2026-11-25T04:00:00.000000Z"})
    )
    with following(tmp_path / "out", journal, clock) as followed:
        followed.go(3)
        assert followed.follower._watermark.reached <= clock.now()


def test_what_was_committed_and_not_acknowledged_is_not_reduced_again(tmp_path: Path):
    journal, clock = Journal(), FakeClock()
    journal.publish(*request("a"))
    with following(tmp_path / "out", journal, clock) as followed:
        followed.source.acknowledge = lambda: (_ for _ in ()).throw(KeyboardInterrupt)
        with pytest.raises(KeyboardInterrupt):
            followed.go(1)
    assert journal.acknowledged == [0]
    journal.publish(*request("b"))
    with following(tmp_path / "out", journal, clock) as followed:
        followed.go(1)
    assert [found[0] for found in events(tmp_path / "out")] == ["a", "b"]
    assert (account(tmp_path / "out").events, account(tmp_path / "out").duplicate) == (4, 0)


def test_nothing_is_acknowledged_that_is_not_committed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    journal, clock = Journal(), FakeClock()
    journal.publish(*request("a"))
    with following(tmp_path / "out", journal, clock) as followed:
        monkeypatch.setattr(followed.output, "commit_shares", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        with pytest.raises(OSError, match="No space"):
            followed.go(1)
        assert (followed.source.commits, journal.acknowledged) == (0, [0])
    with following(tmp_path / "out", journal, clock) as followed:
        followed.go(1)
    assert (account(tmp_path / "out").events, account(tmp_path / "out").kept) == (2, 1)


def test_a_bounded_source_is_drained_to_the_end_seen_at_the_start_and_nothing_is_left_waiting(tmp_path: Path):
    journal, clock = Journal(), FakeClock()
    received, complete = request("a")
    journal.publish(*request("r", READ), received)
    with following(tmp_path / "out", journal, clock, forever=False) as followed:
        journal.publish(complete)
        followed.go()
    assert events(tmp_path / "out") == [("a", ["RequestReceived"], ["NO_COMPLETION"])]
    assert (reads(tmp_path / "out"), pending(tmp_path / "out")) == ([("05:20", 1, 1, False)], 0)
    with following(tmp_path / "out", journal, clock, forever=False) as followed:
        followed.go()
    assert events(tmp_path / "out")[1:] == [("a", ["ResponseComplete"], ["LATE_COMPLETION"])]


def test_an_idle_loop_commits_nothing(tmp_path: Path):
    journal, clock = Journal(), FakeClock()
    journal.publish(*request("a"))
    with following(tmp_path / "out", journal, clock) as followed:
        followed.go(50)
    assert len(read_ledger(str(tmp_path / "out"))) == 1


def test_what_comes_while_a_cycle_works_has_been_waiting_already(tmp_path: Path):
    journal, clock = Journal(), FakeClock()
    journal.publish(*[line for number in range(3) for line in request(f"r{number}")])
    waits: list[float] = []
    works = iter((0.25, 4.0, 0.0))
    with following(tmp_path / "out", journal, clock, most=2) as follower:
        give = follower.source.fetch

        def fetch(room: int, seconds: float) -> Any:
            waits.append(round(seconds, 3))
            return give(room, seconds)

        follower.source.fetch = fetch
        follower.source.acknowledge = lambda: clock.pass_by(next(works))
        follower.go(4)
    assert waits == [1, 0.75, 0.1, 1]


def test_a_gap_is_one_event_that_cannot_be_read_and_the_stream_goes_on_behind_it(tmp_path: Path):
    journal, clock = Journal(), FakeClock()
    journal.publish(*[b""] * 5, *request("a"))
    with following(tmp_path / "out", journal, clock) as followed:
        followed.source._at = [5]
        followed.source.lost = [Gap(URI, 0, 0, 5, "retention")]
        followed.go(1)
        assert followed.gauges["gaps_total"] == 1
    assert account(tmp_path / "out").dead_lettered == {"SOURCE_GAP": 1}
    assert [(each.account.start, each.account.end) for each in read_ledger(str(tmp_path / "out"))[0].ranges] == [(0, 5), (5, 7)]


@pytest.mark.parametrize(("uri", "partition"), [("kafka://test/gone", 2), ("/var/log/audit.log", None)])
def test_a_stream_that_is_gone_is_one_gap_however_often_its_source_says_so(uri: str, partition: int | None, tmp_path: Path):
    journal, clock = Journal(), FakeClock()
    gone = Gap(uri, partition, 7, None, "deleted, and made anew")
    for _ in range(2):
        with following(tmp_path / "out", journal, clock) as follower:
            for _ in range(2):
                follower.source.lost = [gone]
                follower.go(1)
    letters = records(tmp_path / "out", "dead_letters")
    assert [(each["code"], each["source"]["partition"], each["source"]["offset"]) for each in letters] == [("SOURCE_GAP", partition, 7)]


def test_a_message_that_is_delivered_again_counts_once(tmp_path: Path):
    clock, journal = FakeClock(), Journal()
    poison = b"{not JSON"
    with following(tmp_path / "out", journal, clock) as followed:
        fetch = followed.source.fetch

        def identified(room: int, seconds: float) -> Any:
            found = fetch(room, seconds)
            for stretch in found:
                stretch.identities = [str(value) for _, value in stretch.messages]
            return found

        followed.source.fetch = identified
        journal.publish(poison, *request("a"), poison)
        followed.go(1)
        journal.publish(poison, *request("a"))
        followed.go(1)
        journal.publish(*request("b"), poison)
        followed.go(1)
    sums = account(tmp_path / "out")
    assert (sums.events, sums.kept, sums.merged, sums.duplicate, sums.dead_lettered) == (5, 2, 2, 0, {"INVALID_JSON": 1})


def test_a_damaged_checkpoint_is_refused_while_something_waits_in_it(tmp_path: Path):
    journal, clock = Journal(), FakeClock()
    journal.publish(request("a")[0])
    with following(tmp_path / "out", journal, clock) as followed:
        followed.go(1)
    path = tmp_path / "out" / "_state" / "follow" / "checkpoint"
    whole = path.read_bytes()
    for damaged in (whole[:-1] + bytes([whole[-1] ^ 1]), whole[:20], b"", None):
        path.unlink(missing_ok=True)
        if damaged is not None:
            path.write_bytes(damaged)
        source = ScriptedSource(journal)
        with pytest.raises(CheckpointError, match="1 events wait for their outcome"):
            Followed(str(tmp_path / "out"), source, clock)
        assert source.commits == 0
    path.write_bytes(whole)
    with following(tmp_path / "out", journal, clock, forever=False) as followed:
        followed.go()
    assert events(tmp_path / "out") == [("a", ["RequestReceived"], ["NO_COMPLETION"])]


def test_an_older_checkpoint_is_not_taken_for_the_last(tmp_path: Path):
    journal, clock = Journal(), FakeClock()
    path = tmp_path / "out" / "_state" / "follow" / "checkpoint"
    journal.publish(request("a")[0])
    with following(tmp_path / "out", journal, clock) as followed:
        followed.go(1)
        older = path.read_bytes()
        journal.publish(request("b")[0])
        followed.go(1)
    path.write_bytes(older)
    with pytest.raises(CheckpointError, match="another run's"):
        Followed(str(tmp_path / "out"), ScriptedSource(journal), clock)


def test_without_its_checkpoint_an_output_where_nothing_waits_goes_on_and_says_what_is_forgotten(tmp_path: Path):
    journal, clock = Journal(), FakeClock()
    journal.publish(*request("a"))
    with following(tmp_path / "out", journal, clock) as followed:
        followed.go(1)
    (tmp_path / "out" / "_state" / "follow" / "checkpoint").unlink()
    journal.publish(*request("a"), *request("b"))
    with following(tmp_path / "out", journal, clock) as followed:
        assert "will not be recognised" in followed.warnings[0]
        followed.go(1)
    assert [found[0] for found in events(tmp_path / "out")] == ["a", "a", "b"]


def test_damaged_rows_are_said_and_not_used(tmp_path: Path):
    journal, clock = Journal(), FakeClock()
    journal.publish(*request("a"))
    with following(tmp_path / "out", journal, clock) as followed:
        followed.go(1)
    rows = next((tmp_path / "out" / "_state" / "follow").glob("*.rows"))
    rows.write_bytes(rows.read_bytes()[:-1] + b"?")
    with following(tmp_path / "out", journal, clock) as followed:
        assert "damaged" in followed.warnings[0]
        journal.publish(*request("a"))
        followed.go(1)
    assert account(tmp_path / "out").kept == 2
    assert not rows.exists()


def test_files_of_rows_stay_few_and_go_when_their_time_is_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(checkpoint, "TIER", 3)
    journal, clock = Journal(), FakeClock()
    with following(tmp_path / "out", journal, clock, horizon=3600) as followed:
        for number in range(8):
            journal.publish(*request(f"a{number}"))
            followed.go(1)
            clock.pass_by(1)
        there = list((tmp_path / "out" / "_state" / "follow").glob("*.rows"))
        assert sorted(str(path.relative_to(tmp_path / "out")) for path in there) == sorted(
            file.path for file in followed.consumers[0].checkpoint.settled
        )
        assert len(there) < 4
        for number in range(8):
            journal.publish(*request(f"a{number}"))
        followed.go(1)
        assert account(tmp_path / "out").duplicate == 16
        clock.pass_by(3601)
        journal.publish(*request("b"))
        followed.go(1)
        assert len(list((tmp_path / "out" / "_state" / "follow").glob("*.rows"))) == 1


def test_inputs_of_several_kinds_are_followed_together_and_share_room_and_time(tmp_path: Path):
    journal, other, clock = Journal(), Journal(), FakeClock()
    received, complete = request("a")
    journal.publish(received)
    other.publish(complete, *request("b"))
    second = ScriptedSource(other, uri="pubsub://test/audit", cluster="default")
    asked: list[tuple[int, float]] = []
    fetch = second.fetch

    def slowly(room: int, seconds: float) -> Any:
        asked.append((room, seconds))
        return fetch(room, seconds)

    second.fetch = slowly
    with following(tmp_path / "out", journal, clock, more=[second]) as followed:
        followed.go(1)
        assert (followed.source.commits, second.commits) == (1, 1)
    assert asked == [((64 << 20) - len(received), 1.0)]
    assert sorted(found[:2] for found in events(tmp_path / "out")) == [("a", list(BOTH)), ("b", list(BOTH))]
    assert pending(tmp_path / "out") == 0
    with following(tmp_path / "out", journal, clock, more=[ScriptedSource(other, uri="pubsub://test/audit")]) as followed:
        followed.go(1)
    assert account(tmp_path / "out").events == 4


def test_content_gathers_for_as_long_as_asked_while_there_is_no_more_of_it_and_sources_never_wait_long(tmp_path: Path):
    journal, clock = Journal(), FakeClock()
    journal.publish(*request("a"))
    with following(tmp_path / "out", journal, clock, seconds=60, most=1) as followed:
        asked: list[tuple[float, float]] = []
        fetch = followed.source.fetch

        def noted(room: int, seconds: float) -> Any:
            asked.append((round(clock.moment() - began, 3), seconds))
            return fetch(room, seconds)

        followed.source.fetch = noted
        began = clock.moment()
        followed.go(4)
    # The first message, at once the second, for there was more; then a minute for each look, of which the source may take two seconds.
    assert asked == [(0.0, 2.0), (0.0, 2.0), (58.0, 2.0), (116.0, 2.0)]


def test_a_log_that_begins_anew_under_its_name_while_something_of_it_waits_is_told_apart(tmp_path: Path):
    journal, clock = Journal(), FakeClock()
    old, new = tmp_path / "old.log", tmp_path / "new.log"
    old.write_bytes(request("a")[0])
    new.write_bytes(request("b")[1] + request("c")[1])
    with following(tmp_path / "out", journal, clock, wait=60) as followed:
        for path in (old, new):
            stretch = Stretch("/var/log/audit.log", None, 0, path.stat().st_size, "east", None, str(path))
            followed.cycles.run([stretch], [], 0)
            clock.pass_by(60)
    kept = sorted((each["auditID"], each["source"]["offset"], each["flags"]) for each in records(tmp_path / "out", "events"))
    assert kept == [("a", 0, ["NO_COMPLETION"]), ("b", 0, []), ("c", len(request("b")[1]), [])]
    assert [each.account.pending for each in read_ledger(str(tmp_path / "out"))[1].ranges] == [0, -1]


def test_a_start_reads_no_more_of_the_ledger_than_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    journal, clock = Journal(), FakeClock()
    for number in range(3):
        journal.publish(*request(f"a{number}"))
        with following(tmp_path / "out", journal, clock) as followed:
            followed.go(1)
    head = followed.consumers[0].head
    monkeypatch.setattr(followed.output.__class__, "runs", lambda *_: pytest.fail("the ledger was read"))
    with following(tmp_path / "out", journal, clock) as followed:
        assert (followed.consumers[0].head, followed.consumers[0].runs) == (head, 3)
        assert followed.consumers[0].where.positions == {(URI, 0): 6}


def test_an_index_that_is_not_the_ledgers_is_not_believed(tmp_path: Path):
    journal, clock = Journal(), FakeClock()
    index = tmp_path / "out" / "_state" / "follow" / "index"
    for number in range(2):
        journal.publish(*request(f"a{number}"))
        with following(tmp_path / "out", journal, clock) as followed:
            followed.go(1)
        if not number:
            older = index.read_bytes()
    whole = index.read_bytes()
    for damaged in (older, whole[:-1], whole[:-1] + b"?", b""):
        index.write_bytes(damaged)
        assert ledger_index.read_index(str(tmp_path / "out"), KEY) is None
    assert ledger_index.read_index(str(tmp_path / "out"), KEY) is None
    index.write_bytes(whole)
    assert ledger_index.read_index(str(tmp_path / "out"), KEY) is not None
    assert ledger_index.read_index(str(tmp_path / "out"), b"another key of at least 16 bytes") is None
    index.unlink()
    with following(tmp_path / "out", journal, clock) as followed:
        assert followed.consumers[0].runs == 2
        followed.go(1)
    assert account(tmp_path / "out").events == 4


def test_consumers_follow_together_and_never_part(tmp_path: Path):
    policy = "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Metadata}]\n"
    journal, clock = Journal(), FakeClock()
    names = ("one", "two")
    for number in range(2):
        journal.publish(*request(f"a{number}"), request(f"w{number}")[0], *request(f"r{number}", READ))
        with following_all(tmp_path / "out", journal, clock, names, policy) as followed:
            followed.go(1)
    for name in names:
        assert verify.verify(str(tmp_path / "out" / name)).problems == []
        assert [found[0] for found in events(tmp_path / "out" / name)] == ["a0", "a1"]
        assert pending(tmp_path / "out" / name) == 6
    with following_all(tmp_path / "out", journal, clock, names, policy) as followed:
        clock.pass_by(91)
        followed.go(2)
    for name in names:
        assert verify.verify(str(tmp_path / "out" / name)).problems == []
        assert reads(tmp_path / "out" / name) == [("05:20", 2, 2, False)]
        assert pending(tmp_path / "out" / name) == 2


@contextmanager
def following_all(path: Path, journal: Journal, clock: FakeClock, names: Any, policy: str) -> Iterator[Followed]:
    followed = Followed(str(path), ScriptedSource(journal), clock, names=names, policy=policy)
    try:
        yield followed
    finally:
        followed.leave()
