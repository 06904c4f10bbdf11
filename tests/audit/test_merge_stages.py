"""Which earlier stages a final event takes in, and which must wait for others of their audit ID."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.audit.logs import TARGETS, stages_of
from tests.audit.reduction import KEY
from tests.examples import ABSENT, lines
from transforms.audit.account import Account
from transforms.audit.audit_ids import hash_ids
from transforms.audit.block import EventBlock, RawBlock, Split
from transforms.audit.merge_stages import StageMerger, content_hashes, content_items, ends_alone, repeats, request_hash, same_request
from transforms.audit.parse_events import _decode, parse_events

if TYPE_CHECKING:
    from transforms.audit.event import Event

SPLIT = Split(0, "/log", "/log")
PAIR = ("RequestReceived", "ResponseComplete")


def pair(target: int = 0, **changes: Any) -> tuple[Event, Event]:
    """Both stages of a request; changes are of the early one."""
    early, final = stages_of(TARGETS[target], PAIR, ["05:20:00"])
    for name, value in changes.items():
        if value is ABSENT:
            early.pop(name, None)
        else:
            early[name] = value
    return _decode(lines(early)), _decode(lines(final))


def fed(merger: StageMerger, *events: dict[str, Any], last: bool = False) -> EventBlock:
    data = lines(*events)
    block = parse_events(RawBlock(SPLIT, Account(0, 0), 0, data, last=last), KEY)
    merger.feed(block)
    return block


def told(block: EventBlock) -> tuple[list[tuple[str, list[str]]], list[str]]:
    """(stage, stages merged into it) of the settled events, and the loose ones' stages."""
    settled = [(str(event.stage), [str(stage.stage) for stage in event.merged or ()]) for event in block.events]  # type: ignore[attr-defined]
    return settled, [str(event.stage) for event, *_ in block.loose]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"annotations": {"authorization.k8s.io/decision": "allow"}},
        {"objectRef": ABSENT},
        {"objectRef": {"resource": "pods", "apiVersion": "v1"}},
        {"user": {"groups": ["system:authenticated"], "username": "alice"}},
        {"stageTimestamp": "2026-11-23T05:21:00.000000Z"},
    ],
    ids=str,
)
def test_what_the_final_event_says_as_well_is_repeated(changes: dict[str, Any]):
    early, final = pair(**changes)
    assert same_request(early, final)
    assert repeats(early, final)
    assert content_items(early) <= content_items(final)
    assert set(content_hashes(early, KEY)) <= set(content_hashes(final, KEY))
    assert request_hash(early, KEY) == request_hash(final, KEY)


@pytest.mark.parametrize(
    "changes",
    [
        {"annotations": {"authorization.k8s.io/decision": "forbid"}},
        {"annotations": {"example.org/own": "x"}},
        {"annotations": {"authorization.k8s.io/decision": 7}},
        {"objectRef": {"resource": "pods", "namespace": "bank", "apiVersion": "v1"}},
        {"objectRef": {"resource": "pods", "subresource": "log", "apiVersion": "v1"}},
        {"objectRef": {"resource": "pods", "uid": "u", "apiVersion": "v1"}},
        {"objectRef": {"resource": "pods", "apiVersion": "v1", "more": 1}},
        {"objectRef": "pods"},
        {"responseStatus": {"metadata": {}, "code": 500}},
        {"requestObject": {"kind": "Pod"}},
        {"responseObject": None},
        {"impersonatedUser": {"username": "root"}},
        {"authenticationMetadata": {"impersonationConstraint": "x"}},
        {"level": "Request"},
        {"userAgent": "curl"},
        {"userAgent": ABSENT},
    ],
    ids=str,
)
def test_what_only_the_early_stage_says_is_not_repeated(changes: dict[str, Any]):
    early, final = pair(**changes)
    assert same_request(early, final)
    assert not repeats(early, final)
    assert not content_items(early) <= content_items(final)
    assert not set(content_hashes(early, KEY)) <= set(content_hashes(final, KEY))


@pytest.mark.parametrize("when", [ABSENT, "soon", "2026-11-23T05:20:00.000000001Z"])
def test_a_time_that_the_record_cannot_hold_is_not_repeated(when: Any):
    early, final = pair(stageTimestamp=when)
    assert not repeats(early, final)


@pytest.mark.parametrize("when", ["2026-11-23T05:20:00Z", "2026-11-23T06:20:00.5+01:00"])
def test_a_time_in_another_spelling_is_as_good(when: str):
    early, final = pair(stageTimestamp=when)
    assert repeats(early, final)


@pytest.mark.parametrize(
    "changes",
    [
        {"user": {"username": "bob"}},
        {"user": {"username": "alice", "groups": []}},
        {"verb": "list"},
        {"requestURI": "/api/v1/namespaces/shop/pods/cart-1?x"},
        {"requestReceivedTimestamp": "2026-11-23T05:19:58.000002Z"},
        {"requestReceivedTimestamp": ABSENT},
        {"sourceIPs": ["10.0.0.8"]},
        {"sourceIPs": ABSENT},
    ],
    ids=str,
)
def test_another_request_is_another_request(changes: dict[str, Any]):
    early, final = pair(**changes)
    assert not same_request(early, final)
    assert request_hash(early, KEY) != request_hash(final, KEY)


def test_a_hash_of_content_needs_the_key():
    early, _ = pair()
    assert request_hash(early, KEY) != request_hash(early, b"another key of sixteen bytes")
    assert set(content_hashes(early, KEY)).isdisjoint(content_hashes(early, b"another key of sixteen bytes"))


@pytest.mark.parametrize(("code", "alone"), [(200, False), (399, False), (400, True), (401, True)])
def test_a_response_that_began_with_an_error_gets_no_final_event(code: int, alone: bool):
    (started,) = stages_of(TARGETS[0]._replace(code=code), ("ResponseStarted",), ["05:20:00"])
    assert ends_alone(_decode(lines(started))) is alone


def test_a_pair_in_one_block_merges_in_either_order():
    early, final = stages_of(TARGETS[0], PAIR, ["05:20:00"])
    for events in ((early, final), (final, early)):
        assert told(fed(StageMerger(SPLIT, KEY), *events)) == ([("ResponseComplete", ["RequestReceived"])], [])


def test_an_early_stage_waits_over_blocks_for_its_final_event():
    early, started, final = stages_of(TARGETS[6], ("RequestReceived", "ResponseStarted", "ResponseComplete"), ["05:20:00"])
    merger = StageMerger(SPLIT, KEY)
    assert told(fed(merger, early)) == ([], [])
    assert told(fed(merger, started)) == ([], [])
    assert told(fed(merger, final, last=True)) == ([("ResponseComplete", ["RequestReceived", "ResponseStarted"])], [])


def test_what_still_waits_at_the_end_is_loose():
    (early,) = stages_of(TARGETS[0], ("RequestReceived",), ["05:20:00"])
    assert told(fed(StageMerger(SPLIT, KEY), early, last=True)) == ([], ["RequestReceived"])


def test_what_waits_is_bounded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("transforms.audit.merge_stages.PENDING_LIMIT", 10)
    early = [stages_of(TARGETS[0], ("RequestReceived",), ["05:20:00"], auditID=f"{number}")[0] for number in range(11)]
    merger = StageMerger(SPLIT, KEY)
    assert told(fed(merger, *early[:10])) == ([], [])
    assert told(fed(merger, early[10])) == ([], ["RequestReceived"] * 11)


def test_copies_and_collisions_are_loose():
    early, final = stages_of(TARGETS[0], PAIR, ["05:20:00"])
    other = {**final, "user": {"username": "bob"}}
    assert told(fed(StageMerger(SPLIT, KEY), early, final, final))[0] == []
    assert told(fed(StageMerger(SPLIT, KEY), final, other))[0] == []
    assert told(fed(StageMerger(SPLIT, KEY), early, {**final, "user": {"username": "bob"}}))[0] == []


def test_a_stage_that_nobody_knows_takes_nothing_in():
    early, final = stages_of(TARGETS[0], ("RequestReceived", "Afterwards"), ["05:20:00"])
    for events in ((early, final), (final, early)):
        assert told(fed(StageMerger(SPLIT, KEY), *events))[0] == []


def test_a_recalled_id_is_left_loose():
    early, final = stages_of(TARGETS[0], PAIR, ["05:20:00"])
    more = [stages_of(TARGETS[0], PAIR, ["05:20:00"], auditID=f"{number}") for number in range(3)]
    recalled = hash_ids("default", [final["auditID"]]).tobytes()
    block = fed(StageMerger(SPLIT, KEY, recalled=recalled), early, final, *[event for events in more for event in events])
    assert told(block) == ([("ResponseComplete", ["RequestReceived"])] * 3, ["RequestReceived", "ResponseComplete"])


def test_an_event_without_an_id_is_loose():
    (final,) = stages_of(TARGETS[0], ("ResponseComplete",), ["05:20:00"], auditID=ABSENT)
    assert told(fed(StageMerger(SPLIT, KEY), final, last=True)) == ([], ["ResponseComplete"])


def test_without_merging_a_pair_stays_two_events():
    early, final = stages_of(TARGETS[0], PAIR, ["05:20:00"])
    assert told(fed(StageMerger(SPLIT, KEY, merge=False), early, final)) == ([("RequestReceived", []), ("ResponseComplete", [])], [])
