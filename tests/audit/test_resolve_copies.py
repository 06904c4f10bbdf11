"""What becomes of the events that share a cluster and an audit ID."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from transforms.audit.resolve_copies import AUDIT_ID_COLLISION, NO_COMPLETION, LooseEvent, resolve_copies

READ = ("alice", None, "get", "", "pods", None, "shop", "kubectl", None, 200)


def loose(stage: str, says: str, offset: int = 0, **changes: Any) -> LooseEvent:
    """An event that says a word: its content items are the letters."""
    fields: dict[str, Any] = {
        "cluster": "east",
        "audit_id": "id",
        "stage": stage,
        "file": 0,
        "start": 0,
        "offset": offset,
        "item": 0,
        "stream": b"",
        "size": 1,
        "moment": 5,
        "alone": False,
        "request": b"r",
        "items": [letter.encode() for letter in says],
        "content": f"{stage} {says}".encode(),
        "rule": None,
        "reductions": None,
        "flags": None,
    }
    known = {name: value for name, value in {**fields, **changes}.items() if name in LooseEvent.__struct_fields__}
    extra = {name: ("", "", "") for name in LooseEvent.__struct_fields__ if name == "key"}
    return LooseEvent(**{**extra, **known})


def told(events: list[LooseEvent], *, merge: bool = True, fold: bool = True) -> list[tuple[int, str, list[int], list[str]]]:
    """(offset, outcome, offsets merged into it, flags) by offset."""
    found = resolve_copies(events, merge=merge, fold=fold)
    return sorted(
        (each.event.offset, each.outcome, [stage.offset for stage in each.merged], sorted(each.event.flags or ())) for each in found
    )


def test_the_first_of_several_copies_is_written():
    assert told([loose("ResponseComplete", "a", at) for at in (7, 3, 9)]) == [
        (3, "kept", [], []),
        (7, "duplicate", [], []),
        (9, "duplicate", [], []),
    ]


def test_an_earlier_file_goes_before_a_smaller_offset():
    events = [loose("ResponseComplete", "a", 1, file=1), loose("ResponseComplete", "a", 9, file=0)]
    assert told(events) == [(1, "duplicate", [], []), (9, "kept", [], [])]


def test_an_early_stage_merges_into_the_copy_that_is_written():
    events = [loose("RequestReceived", "a", 1), loose("ResponseComplete", "ab", 5), loose("ResponseComplete", "ab", 4)]
    assert told(events) == [(1, "merged", [], []), (4, "kept", [1], []), (5, "duplicate", [], [])]


def test_an_early_stage_that_says_more_is_kept_unflagged():
    assert told([loose("RequestReceived", "ax", 1), loose("ResponseComplete", "ab", 2)]) == [(1, "kept", [], []), (2, "kept", [], [])]


def test_an_early_stage_of_another_request_is_not_completed():
    events = [loose("RequestReceived", "a", 1, request=b"other"), loose("ResponseComplete", "ab", 2)]
    assert told(events) == [(1, "kept", [], [NO_COMPLETION]), (2, "kept", [], [])]


def test_a_stage_that_stands_alone_by_nature_lacks_nothing():
    assert told([loose("ResponseStarted", "a", 1, alone=True)]) == [(1, "kept", [], [])]
    assert told([loose("ResponseStarted", "a", 1)]) == [(1, "kept", [], [NO_COMPLETION])]


def test_an_early_stage_without_a_readable_time_is_kept_because_the_record_could_not_hold_it():
    assert told([loose("RequestReceived", "a", 1, moment=None), loose("ResponseComplete", "ab", 2)])[0] == (1, "kept", [], [])


def test_a_final_stage_nobody_knows_completes_nothing():
    assert told([loose("RequestReceived", "a", 1), loose("Afterwards", "ab", 2)]) == [(1, "kept", [], [NO_COMPLETION]), (2, "kept", [], [])]


def test_equal_ids_with_different_content_are_flagged_and_not_folded_and_take_their_own_stages():
    events = [
        loose("RequestReceived", "a", 1, request=b"mine"),
        loose("ResponseComplete", "ab", 2, request=b"mine", read=READ),
        loose("RequestReceived", "c", 3, request=b"theirs"),
        loose("ResponseComplete", "cd", 4, request=b"theirs", read=READ),
    ]
    flagged = [AUDIT_ID_COLLISION]
    assert told(events) == [(1, "merged", [], flagged), (2, "kept", [1], flagged), (3, "merged", [], flagged), (4, "kept", [3], flagged)]


def test_copies_are_no_collision():
    events = [loose("ResponseComplete", "a", at, read=READ) for at in (1, 2)]
    assert told(events) == [(1, "folded", [], []), (2, "duplicate", [], [])]


def test_events_without_an_id_are_no_collision_and_never_merge():
    events = [
        loose("RequestReceived", "a", 1, audit_id=None),
        loose("ResponseComplete", "ab", 2, audit_id=None),
        loose("ResponseComplete", "x", 3, audit_id=None),
    ]
    assert told(events) == [(1, "kept", [], []), (2, "kept", [], []), (3, "kept", [], [])]


def test_without_merging_stages_stay_and_lack_nothing():
    assert told([loose("RequestReceived", "a", 1), loose("ResponseComplete", "ab", 2)], merge=False) == [
        (1, "kept", [], []),
        (2, "kept", [], []),
    ]


def test_without_folding_reads_are_kept():
    assert told([loose("ResponseComplete", "a", 1, read=READ)], fold=False) == [(1, "kept", [], [])]


STAGES = st.sampled_from(("RequestReceived", "ResponseStarted", "ResponseComplete", "Panic"))


@given(st.lists(st.tuples(STAGES, st.sampled_from(("a", "ab", "abc")), st.sampled_from((b"r", b"s"))), max_size=8), st.randoms())
def test_outcomes_depend_on_places_and_not_on_the_order_of_arrival(shapes: list[tuple[str, str, bytes]], chance):
    def made() -> list[LooseEvent]:
        return [
            loose(stage, says, at, request=request, content=f"{stage} {says} {request!r}".encode())
            for at, (stage, says, request) in enumerate(shapes)
        ]

    shuffled = made()
    chance.shuffle(shuffled)
    if shapes:
        outcomes = told(made())
        assert told(shuffled) == outcomes
        assert [at for at, *_ in outcomes] == list(range(len(shapes)))
        assert sum(outcome == "merged" for _, outcome, *_ in outcomes) == sum(len(merged) for _, _, merged, _ in outcomes)
