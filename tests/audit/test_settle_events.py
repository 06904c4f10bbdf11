"""What a split sends on, and when."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.audit.logs import TARGETS, stages_of
from tests.audit.reduction import KEY, STARTED, record, records, settings
from tests.examples import an_event, lines
from transforms.audit.account import Account
from transforms.audit.block import DeadLetter, RawBlock, Split
from transforms.audit.cycle import Cycle
from transforms.audit.memory import ROW
from transforms.audit.record import source_part, stream_part
from transforms.audit.reduce_split import reduce_split
from transforms.audit.settings import UNKNOWN_HOUR, Compiled, hour_of
from transforms.audit.settle_events import Unit, encode_dead_letter
from transforms.audit.times import micros

SPLIT = Split(0, "/log", "/log")
COMPILED = Compiled(settings(), KEY)


def units(*data: bytes) -> list[Unit]:
    """The units of a split whose blocks hold these bytes."""
    blocks, at = [], 0
    for number, each in enumerate(data, 1):
        blocks.append(RawBlock(SPLIT, Account(0, at, at + len(each), size=len(each)), at, each, last=number == len(data)))
        at += len(each)
    return list(reduce_split(blocks, COMPILED, SPLIT))


def test_a_small_split_is_one_unit_with_an_account_per_block():
    (unit,) = units(lines(an_event(auditID="1")), lines(an_event(auditID="2")) + b"broken\n")
    assert [(account.start, account.events, account.kept, account.accounted) for account in unit.accounts] == [
        (0, 1, 1, 1),
        (unit.accounts[0].end, 2, 1, 2),
    ]
    assert sorted(block.kind for block in unit.blocks) == ["dead_letters", "events"]


def test_every_settled_id_is_told_as_a_hash():
    (unit,) = units(lines(*[an_event(auditID=f"{number}", requestReceivedTimestamp="x") for number in range(5)]))
    assert len(unit.ids) + 8 * len(unit.loose) == 40


def test_what_is_remembered_is_what_the_record_says_whatever_else_it_holds():
    looks_like_its_source = source_part(stream_part("/log", None), 0, 0).decode()
    data = lines(an_event(auditID=looks_like_its_source), an_event(auditID="plain"), an_event(auditID="plain", stage="Panic"))
    block = RawBlock(SPLIT, Account(0, 0, len(data), size=len(data)), 0, data, last=True)
    (unit,) = reduce_split([block], COMPILED, SPLIT, cycle=Cycle(now=STARTED, closed=0, closing=0, wait=0))
    kept = [each for found in unit.blocks for each in records(found)]
    assert {each["auditID"] for each in kept} >= {looks_like_its_source}
    assert len(kept) + len(unit.loose) == 3
    remembered = {row.tobytes() for row in np.frombuffer(unit.settled, dtype=ROW)["digest"]}
    assert remembered == {each["digest"] for each in kept}


def test_many_rows_go_before_the_split_ends(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("transforms.audit.settle_events.ROWS_LIMIT", 2)
    reads = [
        stages_of(TARGETS[0], ("ResponseComplete",), ["05:20:00"], auditID=f"{number}", userAgent=f"{number}")[0] for number in range(6)
    ]
    found = units(lines(*reads[:4]), lines(*reads[4:]))
    assert [sum(len(rows) for rows in unit.reads.values()) for unit in found] == [4, 2]
    assert [len(unit.accounts) for unit in found] == [0, 2]


def test_much_that_is_loose_goes_before_the_split_ends(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("transforms.audit.settle_events.LOOSE_BYTES", 10_000)
    copies = lines(*[an_event(responseObject={"text": "x" * 4000})] * 2)
    found = units(copies, copies, copies)
    assert [len(unit.loose) for unit in found] == [4, 2]
    assert [len(unit.accounts) for unit in found] == [0, 3]


def test_an_accounts_events_add_up_once_the_loose_ones_are_settled():
    early, final = stages_of(TARGETS[0], ("RequestReceived", "ResponseComplete"), ["05:20:00"])
    (unit,) = units(lines(early, final, final))
    (account,) = unit.accounts
    assert (account.events, account.accounted + len(unit.loose)) == (3, 3)


def test_what_is_loose_is_redacted_already():
    body = {"kind": "Secret", "apiVersion": "v1", "data": {"k": "Y25yeS1zZWNyZXQ="}}
    secret = an_event(objectRef__resource="secrets", objectRef__apiGroup="", responseObject=body)
    (unit,) = units(lines(secret, secret))
    assert len(unit.loose) == 2
    assert all(b"Y25yeS1zZWNyZXQ" not in event.content for event in unit.loose)


def test_a_dead_letter_is_a_record_without_its_payload():
    letter = DeadLetter("INVALID_JSON", "ParseEvents", 70, 2, 9, b"m" * 32, "not JSON")
    found = record(encode_dead_letter(letter, stream_part("/log", None)), "dead_letters")
    assert found == {
        "code": "INVALID_JSON",
        "step": "ParseEvents",
        "source": {"uri": "/log", "partition": None, "offset": 70, "item": 2},
        "length": 9,
        "mac": b"m" * 32,
        "message": "not JSON",
    }


@pytest.mark.parametrize(
    ("when", "hour"),
    [
        ("2026-11-23T05:59:59.999999Z", "2026-11-23T05:00:00.000000Z"),
        ("2026-11-23T06:00:00.000000Z", "2026-11-23T06:00:00.000000Z"),
        ("2014-01-01T00:00:00.000000Z", "2014-01-01T00:00:00.000000Z"),
        ("2013-12-31T23:59:59.999999Z", None),
        ("2026-11-25T05:20:00.000000Z", "2026-11-25T05:00:00.000000Z"),
        ("2026-11-25T06:40:00.000001Z", None),
        ("yesterday", None),
    ],
)
def test_events_lie_in_the_hour_of_their_time_or_in_none_if_nobody_can_believe_it(when: str, hour: Any):
    (unit,) = units(lines(an_event(stageTimestamp=when)))
    expected = UNKNOWN_HOUR if hour is None else micros(hour)
    assert [(block.hour, [each["auditID"] for each in records(block)]) for block in unit.blocks] == [(expected, [an_event()["auditID"]])]
    assert hour is None or hour_of(micros(when)) == expected
