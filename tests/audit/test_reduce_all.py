"""The whole reduction against the contract's definitions, however the input is cut."""

from __future__ import annotations

import random
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.audit.logs import AUDIT_IDS, TARGETS, log_file, log_files, stages_of
from tests.audit.oracle import judge, rows_of
from tests.audit.reduction import STARTED, closes, reduce_files, traced
from tests.examples import an_event, lines

if TYPE_CHECKING:
    from tests.audit.logs import File
    from tests.audit.oracle import Told
    from tests.audit.reduction import Outcome

BLOCK_SIZES = st.sampled_from((400, 1500, 5000, 1 << 20))
SPLIT_SIZES = st.sampled_from((300, 2000, 6000, 64 << 20))


def place(source: dict[str, Any]) -> tuple[int, int, int]:
    return int(source["uri"].removesuffix(".log")), source["offset"], source["item"]


def in_micros(moment: Any) -> int | None:
    return None if moment is None else round(moment.timestamp() * 1_000_000)


def written(outcome: Outcome) -> dict[Any, Any]:
    """What is in the output, by where it came from."""
    return {
        place(each["source"]): (each["stage"], frozenset(each["flags"]), sorted(entry["stage"] for entry in each["stages"]))
        for each in outcome.events
    }


def told_to_be_written(judged: list[Told]) -> dict[Any, Any]:
    kept = [told for told in judged if told.outcome == "kept"]
    return {
        told.place: (
            told.event["stage"],
            frozenset(told.flags),
            sorted([told.event["stage"], *[stage.event["stage"] for stage in told.merged]]),
        )
        for told in kept
    }


def summarised(outcome: Outcome) -> dict[Any, Any]:
    rows = {}
    for row in outcome.reads:
        key = tuple(
            row[name]
            for name in (
                "username",
                "impersonatedUsername",
                "verb",
                "apiGroup",
                "resource",
                "subresource",
                "namespace",
                "userAgent",
                "nonResourcePath",
                "code",
            )
        )
        rows[in_micros(row["windowStart"]), row["cluster"], key] = (
            row["count"],
            row["mergedStages"],
            row["bytes"],
            in_micros(row["firstTimestamp"]),
            in_micros(row["lastTimestamp"]),
            set(row["names"]),
            set(row["sourceIPs"]),
            place(row["exemplar"]["source"]),
        )
    return rows


def told_to_be_summarised(judged: list[Told], window: int) -> dict[Any, Any]:
    return {
        at: (row.count, row.merged, row.size, min(row.times), max(row.times), set(row.names), set(row.addresses), row.first[1:])
        for at, row in rows_of(judged, window).items()
        if row.first
    }


def assert_as_defined(files: list[File], outcome: Outcome, *, merge: bool = True, fold: bool = True, window: int = 60_000_000) -> None:
    judged = judge([told for file in files for told in file.told], merge=merge, fold=fold, now=STARTED)
    assert written(outcome) == told_to_be_written(judged)
    assert summarised(outcome) == told_to_be_summarised(judged, window)
    counted = Counter(told.outcome for told in judged)
    account = outcome.account
    assert {"kept": account.kept, "folded": account.folded, "merged": account.merged, "duplicate": account.duplicate} == {
        name: counted[name] for name in ("kept", "folded", "merged", "duplicate")
    }
    assert closes(outcome)


@given(log_files(), BLOCK_SIZES, SPLIT_SIZES, st.lists(st.integers(0, 5), max_size=5))
@settings(max_examples=150)
def test_every_event_has_the_outcome_that_the_contract_defines(files: list[File], block_size: int, split_size: int, order: list[int]):
    outcome = reduce_files([file.content for file in files], block_size=block_size, split_size=split_size, order=order)
    assert_as_defined(files, outcome)


@given(log_files(most=6), BLOCK_SIZES, SPLIT_SIZES, st.booleans(), st.booleans(), st.sampled_from((1, 60, 3600)))
@settings(max_examples=60)
def test_folding_and_merging_are_independent_choices(
    files: list[File], block_size: int, split_size: int, merge: bool, fold: bool, window: int
):
    asked = {"merge": merge, "fold": fold, "window": window * 1_000_000}
    outcome = reduce_files([file.content for file in files], block_size=block_size, split_size=split_size, **asked)
    assert_as_defined(files, outcome, **asked)


@given(log_files(), BLOCK_SIZES, SPLIT_SIZES, st.lists(st.integers(0, 5), max_size=5))
@settings(max_examples=60)
def test_the_rows_are_the_same_however_the_input_is_cut(files: list[File], block_size: int, split_size: int, order: list[int]):
    contents = [file.content for file in files]
    whole = reduce_files(contents)
    cut = reduce_files(contents, block_size=block_size, split_size=split_size, order=order)
    assert (cut.events, cut.reads, cut.dead_letters, cut.account) == (whole.events, whole.reads, whole.dead_letters, whole.account)


def events_of(count: int, **changes: Any) -> list[dict[str, Any]]:
    """Reads of as many users' agents as asked for, all in one window."""
    (read,) = stages_of(TARGETS[0], ["ResponseComplete"], ["05:20:00"], **changes)
    return [{**read, "userAgent": f"agent/{number}", "auditID": f"{number:08x}-7a55-4c0d-9f3a-0c8f2f5b9b11"} for number in range(count)]


def test_a_rotated_file_and_its_twin_leave_one_of_each():
    ids = [f"{number:08x}-7a55-4c0d-9f3a-0c8f2f5b9b11" for number in range(len(TARGETS))]
    stages = ("RequestReceived", "ResponseComplete")
    events = [
        event for target, audit_id in zip(TARGETS, ids, strict=True) for event in stages_of(target, stages, ["05:20:00"], auditID=audit_id)
    ]
    once = reduce_files([lines(*events)])
    twice = reduce_files([lines(*events), lines(*events)])
    assert (twice.events, twice.reads) == (once.events, once.reads)
    assert (once.account.duplicate, twice.account.duplicate) == (0, len(events))


def test_the_same_content_in_two_clusters_is_no_copy():
    log = lines(an_event())
    outcome = reduce_files([log, log, log], clusters=["east", "west", "east"])
    assert [(each["cluster"], each["source"]["uri"]) for each in outcome.events] == [("east", "000.log"), ("west", "001.log")]
    assert outcome.account.duplicate == 1
    assert outcome.events[0]["digest"] != outcome.events[1]["digest"]


def test_kind_and_api_version_do_not_tell_copies_apart():
    bare = an_event()
    del bare["kind"], bare["apiVersion"]
    outcome = reduce_files([lines(an_event()), lines(bare)])
    assert (outcome.account.kept, outcome.account.duplicate) == (1, 1)


def test_an_hour_long_watch_merges_whatever_lies_between():
    started, complete = stages_of(
        TARGETS[6], ("ResponseStarted", "ResponseComplete"), ["05:20:00"], auditID="11111111-7a55-4c0d-9f3a-0c8f2f5b9b11"
    )
    complete["stageTimestamp"] = "2026-11-23T06:20:00.000000Z"
    between = [
        event
        for number in range(50)
        for event in stages_of(TARGETS[7], ("ResponseComplete",), ["05:20:01"], auditID=f"{number:08x}-0000-4c0d-9f3a-0c8f2f5b9b11")
    ]
    outcome = reduce_files([lines(started, *between, complete)], block_size=3000, split_size=9000)
    (row,) = outcome.reads
    assert (row["count"], row["mergedStages"], [stage["stage"] for stage in row["exemplar"]["stages"]]) == (
        1,
        1,
        ["ResponseStarted", "ResponseComplete"],
    )
    assert outcome.account.kept == len(between)


def test_a_request_that_a_client_gave_the_id_of_another_is_flagged_and_kept():
    mine, theirs = (
        stages_of(TARGETS[0], ("RequestReceived", "ResponseComplete"), ["05:20:00"], auditID=AUDIT_IDS[0], user={"username": name})
        for name in ("alice", "bob")
    )
    outcome = reduce_files([lines(*mine, *theirs)])
    assert [(each["user"]["username"], each["flags"], len(each["stages"])) for each in outcome.events] == [
        ("alice", ["AUDIT_ID_COLLISION"], 2),
        ("bob", ["AUDIT_ID_COLLISION"], 2),
    ]
    assert outcome.reads == []


def test_a_401_is_a_lone_response_started_and_nothing_is_missing():
    (refused,) = stages_of(TARGETS[0]._replace(code=401), ("ResponseStarted",), ["05:20:00"], user={})
    (begun,) = stages_of(TARGETS[0], ("ResponseStarted",), ["05:20:00"], auditID=AUDIT_IDS[1])
    outcome = reduce_files([lines(refused, begun)])
    assert [(each["responseStatus"]["code"], each["flags"]) for each in outcome.events] == [(401, []), (200, ["NO_COMPLETION"])]


def test_times_that_nobody_can_believe_go_to_no_window_and_no_event_vanishes():
    odd = [
        "1999-12-31T23:59:59.000000Z",
        "2099-01-01T00:00:00.000000Z",
        "0000-00-00T00:00:00.000000Z",
        "soon",
    ]
    events = [
        event
        for number, when in enumerate(odd)
        for event in stages_of(TARGETS[0], ("ResponseComplete",), [when], auditID=AUDIT_IDS[number])
    ]
    outcome = reduce_files([lines(*events)])
    assert (outcome.account.kept, outcome.account.folded, outcome.reads) == (len(odd), 0, [])
    assert [each["unknownFields"].get("/stageTimestamp") for each in outcome.events] == [None, None, *[f'"{when}"' for when in odd[2:]]]
    assert closes(outcome)


def test_times_in_other_spellings_are_times():
    spelt = ["2026-11-23T05:20:00Z", "2026-11-23T06:20:01+01:00", "2026-11-23T05:20:02.000000001Z"]
    events = [
        event
        for number, when in enumerate(spelt)
        for event in stages_of(TARGETS[0], ("ResponseComplete",), [when], auditID=AUDIT_IDS[number])
    ]
    outcome = reduce_files([lines(*events)])
    assert (outcome.account.folded, [row["count"] for row in outcome.reads]) == (3, [3])
    assert closes(outcome)


def test_many_user_agents_in_one_window_spill_into_one_row_with_totals_kept(monkeypatch):
    monkeypatch.setattr("transforms.audit.settle_events.ROWS_LIMIT", 300)
    monkeypatch.setattr("transforms.audit.read_summary.GROUPS_KEPT", 100)
    monkeypatch.setattr("transforms.audit.read_summary.merge_rows.__defaults__", (100,))
    events = events_of(2000)
    random.Random(7).shuffle(events)
    outcome = reduce_files([lines(*events)], block_size=20_000, split_size=100_000)
    *rows, other = outcome.reads
    assert (other["username"], other["verb"], other["userAgent"], other["code"]) == ("__other__", None, None, None)
    assert (len(rows), other["count"], outcome.account.folded) == (100, 1900, 2000)
    assert sum(row["bytes"] for row in outcome.reads) == sum(len(line) for line in lines(*events).splitlines())
    assert other["auditIDsOmitted"] + len(other["auditIDs"]) == 1900


def test_which_groups_stay_in_a_crowded_window_depends_on_nothing_but_the_groups(monkeypatch):
    monkeypatch.setattr("transforms.audit.settle_events.ROWS_LIMIT", 50)
    monkeypatch.setattr("transforms.audit.read_summary.merge_rows.__defaults__", (20,))
    events = events_of(400)
    whole = reduce_files([lines(*events)])
    random.Random(7).shuffle(events)
    cut = reduce_files([lines(*events[:100]), lines(*events[100:])], block_size=5000, split_size=30_000)

    def told(outcome: Outcome) -> list[Any]:
        return [{name: value for name, value in row.items() if name != "exemplar"} for row in outcome.reads]

    assert told(cut) == told(whole)


@given(log_files(most=8), BLOCK_SIZES, SPLIT_SIZES)
@settings(max_examples=40)
def test_what_overflows_a_bound_costs_time_and_changes_nothing(files: list[File], block_size: int, split_size: int):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("transforms.audit.merge_stages.PENDING_LIMIT", 2)
        patch.setattr("transforms.audit.settle_events.ROWS_LIMIT", 3)
        outcome = reduce_files([file.content for file in files], block_size=block_size, split_size=split_size)
    assert_as_defined(files, outcome)


def test_a_log_without_events_has_an_account_of_nothing():
    outcome = reduce_files([b"", b"\n\n  \n"])
    assert (outcome.account.events, outcome.events, outcome.reads, outcome.dead_letters) == (0, [], [], [])


def test_a_trace_is_told_the_outcome_of_every_event_once():
    events = [
        event
        for target in TARGETS
        for event in stages_of(target, ("RequestReceived", "ResponseComplete"), ["05:20:00"], auditID=AUDIT_IDS[0])
    ]
    files = [log_file(0, events), log_file(1, events)]
    judged = judge([told for file in files for told in file.told], merge=True, fold=True, now=STARTED)
    assert traced([file.content for file in files]) == sorted((*told.place, told.outcome) for told in judged)
