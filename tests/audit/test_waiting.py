"""Early stages that wait: a run unpacks those that it concerns, and passes the others on."""

from __future__ import annotations

from typing import Any

from transforms.audit.resolve_copies import LooseEvent
from transforms.audit.waiting import concerned, joined, pack_waiting, unpack_waiting


def early(audit_id: str | None, since: int | None, **changes: Any) -> LooseEvent:
    fields: dict[str, Any] = {
        "cluster": "east",
        "audit_id": audit_id,
        "stage": "RequestReceived",
        "file": 0,
        "start": 0,
        "offset": 0,
        "item": 0,
        "stream": b"",
        "size": 1,
        "moment": 1,
        "alone": False,
        "request": b"r",
        "items": [],
        "content": b"c",
        "key": ("", "", ""),
        "rule": None,
        "reductions": None,
        "flags": None,
        "since": since,
    }
    return LooseEvent(**{**fields, **changes})


def test_what_is_packed_is_unpacked():
    events = [early("a", 5), early(None, 6), early("ü", 7, items=[b"x"])]
    assert unpack_waiting(pack_waiting(events)) == events


def test_those_of_the_same_audit_id_and_those_that_waited_long_enough_are_unpacked():
    first, second = pack_waiting([early("a", 5), early("b", 6), early("a", 7)]), pack_waiting([early("c", 8)])
    found, rest = concerned([first, second], [early("a", None)], given_up=4)
    assert [(each.audit_id, each.since) for each in found] == [("a", 5), ("a", 7)]
    left = joined(rest, [early("d", 9)])
    assert left is not None
    assert [(each.audit_id, each.since) for each in unpack_waiting(left)] == [("b", 6), ("c", 8), ("d", 9)]
    found, rest = concerned([left], [], given_up=8)
    assert [each.audit_id for each in found] == ["b", "c"]
    assert [each.audit_id for each in unpack_waiting(joined(rest, []) or b"")] == ["d"]


def test_an_audit_id_of_another_cluster_is_another():
    found, _ = concerned([pack_waiting([early("a", 5)])], [early("a", None, cluster="west")], given_up=0)
    assert found == []


def test_where_nothing_waits_there_is_no_piece():
    assert joined([], []) is None
