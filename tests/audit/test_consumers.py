"""Consumers that share the work on an event get what each would have got alone."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path
from typing import Any

import orjson
import pytest
import zstandard

from tests.examples import an_event
from transforms.audit.account import Account
from transforms.audit.apply_policy import apply_policy
from transforms.audit.block import EventBlock, RawBlock, Split
from transforms.audit.consumers import Redacted
from transforms.audit.parse_events import parse_events
from transforms.audit.policy import load_policy
from transforms.audit.record import encode_event
from transforms.audit.redaction import Redactor
from transforms.audit.reduce_split import redact_block, strip_block
from transforms.audit.settings import Compiled, Settings
from transforms.audit.withhold import withhold

KEY = b"a key of tests: at least 16 bytes"
DATA = Path(__file__).parents[1] / "data"
POLICIES = {
    "all": [{"level": "RequestResponse"}],
    "requests": [{"level": "Request"}],
    "heads": [{"level": "Metadata"}],
    "mixed": [
        {"level": "None", "verbs": ["watch"]},
        {"level": "Metadata", "resources": [{"group": "", "resources": ["secrets", "configmaps"]}]},
        {"level": "RequestResponse", "verbs": ["update"], "omitManagedFields": True},
        {"level": "Request", "verbs": ["create", "patch"]},
        {"level": "Metadata"},
    ],
}


def policy(name: str) -> Any:
    return load_policy(orjson.dumps({"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": POLICIES[name]}))


def parsed(data: bytes) -> EventBlock:
    split = Split(0, "audit.log", "audit.log", cluster="prod")
    return parse_events(RawBlock(split, Account(0, 0, len(data), size=len(data)), 0, data, last=True), KEY)


def reduced(block: EventBlock, name: str, *, keep: bool = False, shared: bool = False) -> EventBlock:
    mine = apply_policy(policy(name), block, shared=shared)
    strip_block(mine, keep=keep)
    redact_block(Compiled(Settings(started=0, keep_managed_fields=keep), KEY), mine)
    return mine


def told(block: EventBlock) -> list[Any]:
    """All that is written of the events, and the account."""
    encoded = [encode_event(event, "prod", b"") for event in block.events]
    return [*encoded, [sorted(event.reductions or ()) for event in block.events], block.account]


@pytest.fixture(scope="module")
def log() -> bytes:
    planted = zstandard.decompress((Path(__file__).parent / "data" / "planted.ndjson.zst").read_bytes())
    with zstandard.open(DATA / "everything.log.zst", "rb") as stream:
        real = stream.read().split(b"\n")
    return b"\n".join([*planted.strip().split(b"\n"), *real[:1500]])


@pytest.mark.parametrize("keep", [False, True])
def test_any_order_of_consumers_gives_each_what_it_gets_alone(log: bytes, keep: bool):
    alone = {name: told(reduced(parsed(log), name, keep=keep)) for name in POLICIES}
    for order in permutations(POLICIES, 3):
        block = parsed(log)
        for name in order:
            assert told(reduced(block, name, keep=keep, shared=True)) == alone[name], (order, name)


def test_a_copy_cut_to_the_same_level_is_taken_over_and_not_redacted_again():
    block = parsed(orjson.dumps(an_event()))
    first, second = reduced(block, "heads", shared=True).events[0], reduced(block, "heads", shared=True).events[0]
    assert isinstance(first.shared, Redacted)
    assert second.shared is first.shared


def test_a_body_that_two_levels_have_is_redacted_once(monkeypatch: pytest.MonkeyPatch):
    seen: list[bytes] = []
    redact = Redactor.redact

    def spied(self: Redactor, event: Any) -> None:
        seen.append(bytes(event.requestObject))
        redact(self, event)

    monkeypatch.setattr(Redactor, "redact", spied)
    secret = an_event(requestObject={"kind": "ConfigMap", "data": {"password": "hunter2hunter2"}})
    block = parsed(orjson.dumps(secret))
    full, half = reduced(block, "all", shared=True).events[0], reduced(block, "requests", shared=True).events[0]
    assert seen == [orjson.dumps(secret["requestObject"]), b""]
    assert b"hunter2" not in bytes(full.requestObject)
    assert half.requestObject == full.requestObject
    assert [cut for cut in half.reductions if cut[0] != "level"] == full.reductions


@pytest.mark.parametrize("order", [("all", "requests"), ("requests", "all")])
def test_content_that_is_withheld_at_one_level_does_not_come_back_from_another(monkeypatch: pytest.MonkeyPatch, order: tuple[str, str]):
    redact = Redactor.redact

    def fails(self: Redactor, event: Any) -> None:
        if event.responseObject:
            withhold(event)
        else:
            redact(self, event)

    monkeypatch.setattr(Redactor, "redact", fails)
    line = orjson.dumps(an_event())
    alone = {name: told(reduced(parsed(line), name)) for name in order}
    block = parsed(line)
    for name in order:
        mine = reduced(block, name, shared=True)
        assert told(mine) == alone[name]
        assert (mine.events[0].flags == ["CONTENT_WITHHELD"]) is (name == "all")


def test_what_one_consumer_drops_another_keeps():
    block = parsed(orjson.dumps(an_event(verb="watch")))
    dropped, kept = apply_policy(policy("mixed"), block, shared=True), apply_policy(policy("all"), block, shared=True)
    assert (dropped.events, dropped.account.dropped_by_rule) == ([], {"0": 1})
    assert ([event.verb for event in kept.events], kept.account.dropped_by_rule) == (["watch"], {})
