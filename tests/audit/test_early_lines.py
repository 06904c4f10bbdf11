"""Early stages that are paired as text: only where decoding them would have said the same."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from tests.audit.reduction import KEY
from tests.examples import ABSENT, an_event, line, lines
from transforms.audit.account import Account
from transforms.audit.apply_policy import apply_policy, copied
from transforms.audit.block import EventBlock, RawBlock, Split
from transforms.audit.early_lines import EarlyLine, apart, early_id
from transforms.audit.merge_stages import StageMerger, repeats, same_request
from transforms.audit.parse_events import parse_events
from transforms.audit.policy import load_policy

if TYPE_CHECKING:
    from collections.abc import Iterable

    from transforms.audit.event import Event

SPLIT = Split(0, "/log", "/log")
BODIES = {"responseStatus": ABSENT, "requestObject": ABSENT, "responseObject": ABSENT, "annotations": ABSENT}
REFERENCE = {"resource": "deployments", "namespace": "shop", "name": "cart", "apiGroup": "apps", "apiVersion": "v1"}
TIMES = {"requestReceivedTimestamp": "2026-11-23T05:19:24.906789Z", "stageTimestamp": "2026-11-23T05:19:24.906789Z"}


def early(**changes: Any) -> dict[str, Any]:
    """The first stage of `an_event`, its fields in the API server's order."""
    return an_event(**({"stage": "RequestReceived", "objectRef": REFERENCE} | BODIES | TIMES | changes))


def final(**changes: Any) -> dict[str, Any]:
    return an_event(**changes)


def parsed(data: bytes, *, pair: bool = True, unterminated: bool = False) -> EventBlock:
    return parse_events(RawBlock(SPLIT, Account(0, 0), 0, data, unterminated=unterminated), KEY, pair=pair)


def told(events: Iterable[Event]) -> list[tuple[str, list[str]]]:
    return [(str(event.stage), [type(stage).__name__ for stage in event.merged or ()]) for event in events]  # type: ignore[attr-defined]


def test_a_first_stage_that_its_final_event_repeats_is_not_decoded():
    data = lines(early(), final())
    block = parsed(data)
    assert told(block.events) == [("ResponseComplete", ["EarlyLine"])]
    (stage,) = block.events[0].merged  # type: ignore[misc]
    first = data.split(b"\n")[0]
    assert stage == EarlyLine(first, block.account, 0, len(first), TIMES["stageTimestamp"])
    assert (block.account.events, block.events[0].offset) == (2, len(first) + 1)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"objectRef": ABSENT},
        {"objectRef": {"resource": "deployments", "apiGroup": "apps", "apiVersion": "v1"}},
        {"userAgent": ABSENT},
    ],
    ids=str,
)
def test_what_the_final_event_adds_does_not_matter(changes: dict[str, Any]):
    both = {name: value for name, value in changes.items() if name != "objectRef"}
    assert told(parsed(lines(early(**changes), final(**both))).events) == [("ResponseComplete", ["EarlyLine"])]


@pytest.mark.parametrize(
    "changes",
    [
        {"level": "Metadata"},
        {"requestURI": "/api/v1/pods"},
        {"verb": "patch"},
        {"user": {"username": "mallory"}},
        {"user__groups": ["system:authenticated"]},
        {"sourceIPs": ["10.0.0.8"]},
        {"userAgent": "curl/8"},
        {"userAgent": "kubectl/v1.37.2 (linux/amd64) kubernetes/abcdef"},
        {"objectRef": {"resource": "pods", "apiVersion": "v1"}},
        {"objectRef": REFERENCE | {"subresource": "scale"}},
        {"objectRef": REFERENCE | {"other": "x"}},
        {"requestReceivedTimestamp": "2026-11-23T05:19:24.906788Z"},
        {"requestReceivedTimestamp": "2026-11-23T05:19:24.9067890Z"},
        {"stageTimestamp": "2026-11-23T05:19:24.906789123Z"},
        {"stageTimestamp": "2026-11-23T25:19:24.906789Z"},
        {"annotations": {"authorization.k8s.io/decision": "allow"}},
        {"requestObject": {"kind": "Deployment"}},
        {"extra": 1},
        {"stage": "ResponseStarted"},
        {"auditID": "6d0f1a8e-7a55-4c0d-9f3a-0c8f2f5b9b12"},
        {"auditID": "short"},
        {"userAgent": "kubectl é"},
    ],
    ids=str,
)
def test_whatever_else_it_says_it_is_decoded(changes: dict[str, Any]):
    data = lines(early(**changes), final())
    assert [merged for _, merged in told(parsed(data).events)] == [[], []]
    assert parsed(data).events == parsed(data, pair=False).events


def test_a_broken_first_stage_is_a_dead_letter_and_no_stage():
    first = line(early())
    for broken in (
        first.replace(b'"groups":[', b'"groups":'),
        first.replace(b'"verb":"update",', b'"verb":"update"'),
        first.replace(b',"requestReceivedTimestamp"', b'},"requestReceivedTimestamp"'),
        first.replace(b'"userAgent":"kubectl', b'"userAgent":"\x01'),
    ):
        whole = broken + line(final())
        block = parsed(whole)
        assert told(block.events) == [("ResponseComplete", [])]
        assert [letter.code for letter in block.dead_letters] == ["INVALID_JSON"]
        assert (block.dead_letters, block.account) == (parsed(whole, pair=False).dead_letters, parsed(whole, pair=False).account)


def test_a_first_stage_without_its_final_event_stands_where_it_was():
    other = "6d0f1a8e-7a55-4c0d-9f3a-0c8f2f5b9b12"
    data = lines(early(auditID=other), early(), final(), final(auditID="6d0f1a8e-7a55-4c0d-9f3a-0c8f2f5b9b13"))
    events = parsed(data).events
    assert told(events) == [("RequestReceived", []), ("ResponseComplete", ["EarlyLine"]), ("ResponseComplete", [])]
    assert [event.offset for event in events] == sorted(event.offset for event in events)  # type: ignore[type-var]


def test_an_unterminated_first_stage_that_cannot_be_read_is_waited_for():
    first = line(early())[:-1]
    cut = first[: len(first) - 106] + first[-106:].replace(b":", b";", 1)
    assert early_id(cut) is not None
    assert [letter.code for letter in parsed(cut, unterminated=True).dead_letters] == ["UNTERMINATED_LINE"]


def test_the_merger_takes_a_pair_apart_where_its_audit_id_turns_up_again():
    data = lines(early(), final(), final(responseStatus={"metadata": {}, "code": 201}))
    block = parsed(data)
    StageMerger(SPLIT, KEY).feed(block)
    assert (told(block.events), sorted(str(event.stage) for event, *_ in block.loose)) == (
        [],
        ["RequestReceived", "ResponseComplete", "ResponseComplete"],
    )
    assert [event.merged for event, *_ in block.loose] == [None, None, None]


def test_a_second_first_stage_takes_the_pair_apart():
    block = parsed(lines(early(), early(), final()))
    StageMerger(SPLIT, KEY).feed(block)
    assert (block.events, len(block.loose)) == ([], 3)


def policy(*rules: dict[str, Any], **more: Any) -> Any:
    return load_policy(msgspec.json.encode({"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": rules, **more}))


ALL = {"level": "RequestResponse"}


@pytest.mark.parametrize(
    "decides",
    [
        policy(ALL),
        policy(ALL, omitStages=["RequestReceived"]),
        policy(ALL, omitStages=["ResponseComplete"]),
        policy(ALL, omitStages=["RequestReceived", "ResponseComplete"]),
        policy({"level": "None", "users": ["alice"]}, ALL),
        policy({"level": "None", "users": ["bob"]}),
        policy({"level": "Metadata"}),
    ],
    ids=["all", "no first", "no final", "neither", "not alice", "no match", "metadata"],
)
def test_a_policy_decides_of_a_pair_as_of_its_stages(decides: Any):
    data = lines(early(), final())
    found = []
    for pair in (True, False):
        block = parsed(data, pair=pair)
        apply_policy(decides, block)
        found.append((block.account, [each for event in block.events for each in apart(event)]))
    assert found[0] == found[1]


def test_each_consumer_counts_a_pair_for_itself():
    block = parsed(lines(early(), final()))
    mine = copied(block)
    (stage,) = mine.events[0].merged  # type: ignore[misc]
    assert stage.account is mine.account
    assert block.events[0].merged[0].account is block.account  # type: ignore[index]


def test_whatever_is_paired_would_have_been_merged():
    """Real shapes, mutated: no line is paired that the decoded events would not merge, and nothing else changes."""
    rng = random.Random(1)
    first, last = line(early()), line(final())
    paired = 0
    for _ in range(4000):
        one, two = bytearray(first), bytearray(last)
        for _ in range(rng.randrange(3)):
            victim = rng.choice((one, two))
            at = rng.randrange(len(victim) - 1)
            kind = rng.randrange(4)
            if kind == 0:
                victim[at] = rng.choice(b'"\\{}[],:ax09 \x00\xff')
            elif kind == 1:
                del victim[at : at + rng.randrange(1, 30)]
            elif kind == 2:
                victim[at:at] = rng.choice((b'"', b',"verb":"get"', b'\\"', b" ", b'"x":1,', b"}"))
            else:
                one[at : at + 1] = two[at : at + 1] = rng.choice((b'"', b"q", b"\\", b","))
        data = bytes(one) + bytes(two)
        block, plain = parsed(data), parsed(data, pair=False)
        assert block.account == plain.account
        assert block.dead_letters == plain.dead_letters
        for event in block.events:
            for stage in event.merged or ():  # type: ignore[attr-defined]
                paired += 1
                assert same_request(stage.event(), event)
                assert repeats(stage.event(), event)
        assert [each for event in block.events for each in apart(event)] == plain.events
    assert paired > 1000
