"""Requests that are nearly plain, and blocks that are no good for rows."""

from __future__ import annotations

import json
import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest

from tests.audit.reduction import KEY
from tests.audit.rows.both_ways import SPLIT, Both, assert_same, both_ways
from tests.audit.rows.plain_lines import a_line, a_pair, an_id, early, final, joined, padding
from tests.audit.test_deep_nesting import below
from transforms.audit.account import Account
from transforms.audit.block import RawBlock
from transforms.audit.parse_events import parse_events
from transforms.audit.rows import bodies, object_keys, parts, words
from transforms.audit.rows.decide_rows import _Decided

if TYPE_CHECKING:
    from collections.abc import Iterator


def lines(*lines: bytes) -> bytes:
    return b"\n".join([*lines, *padding()]) + b"\n"


def policy(*rules: dict[str, Any]) -> str:
    return json.dumps({"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": rules})


def same(data: bytes, **changes: Any) -> Both:
    found = both_ways(data, **changes)
    assert_same(found)
    return found


def test_the_padding_becomes_rows():
    assert same(lines()).as_rows == 12


def test_where_the_path_says_nothing_a_reference_s_name_decides():
    resources = [{"group": "", "resources": ["pods"], "resourceNames": ["cart-1"]}]
    named = policy({"level": "None", "resources": resources}, {"level": "Metadata"})
    other = '{"resource":"pods","namespace":"shop","name":"cart-2","apiVersion":"v1"}'
    log = [line for at, reference in enumerate((None, other, None)) for line in pair_about(at, "/odd", reference)]
    found = same(lines(*log), policy=named)
    assert found.rows.accounts[0].dropped_by_rule == {"0": 24 + 4}


def pair_about(number: int, uri: str, reference: str | None) -> list[bytes]:
    changes = {} if reference is None else {"objectRef": reference}
    return a_pair(auditID=an_id(number), requestURI=f'"{uri}"', **changes)


def test_a_first_stage_without_a_reference_is_decided_by_itself():
    pods = policy({"level": "None", "resources": [{"group": "", "resources": ["pods"]}]}, {"level": "Metadata"})
    for uri in ("/odd", "/api/v1/namespaces/shop/services/cart-1"):
        changes = {"auditID": an_id(1), "requestURI": f'"{uri}"'}
        found = same(lines(joined(early(**changes | {"objectRef": None})), joined(final(**changes))), policy=pods)
        assert found.rows.accounts[0].dropped_by_rule["0"] == 25


def test_a_first_stage_whose_reference_says_less_merges():
    less = '{"resource":"pods","namespace":"shop","apiVersion":"v1"}'
    more = '{"resource":"pods","namespace":"shop","name":"x","uid":"y","apiVersion":"v1","resourceVersion":"7"}'
    changes = {"auditID": an_id(1), "verb": '"create"', "requestURI": '"/api/v1/namespaces/shop/pods"'}
    found = same(lines(joined(early(**changes, objectRef=less)), joined(final(**changes, objectRef=more))))
    assert (found.as_rows, found.rows.accounts[0].merged) == (13, 13)
    found = same(lines(joined(early(**changes, objectRef=more)), joined(final(**changes, objectRef=less))))
    assert (found.as_rows, found.rows.accounts[0].merged) == (12, 12)


def nested(depth: int) -> bytes:
    body = '{"a":' * depth + "1" + "}" * depth
    return a_line(auditID=an_id(depth), level='"RequestResponse"', verb='"update"', requestObject=body)


def test_a_body_may_nest_as_deep_as_the_stack_has_room_and_its_line_is_read_again():
    # The URI's query is redacted, so that the rows become events once more, deeper in the stack than they were read.
    deep = [nested(depth).replace(b"cart-1", b"cart-1?sig=hunter2hunter2") for depth in range(700, 990)]
    for frames in (0, 7, 150):
        assert below(frames, lambda: same(lines(*deep)).as_rows) > 12


@pytest.fixture
def small_tables(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(words, "MOST", 64)
    monkeypatch.setattr(parts, "MOST", 64)
    monkeypatch.setattr(words, "ARENA", 40_000)
    for users in (0, 1):
        for each in (parts, bodies, object_keys):
            each._own.__dict__.clear()
        if not users:
            yield


@pytest.mark.usefixtures("small_tables")
def test_tables_that_are_full_begin_anew():
    log = b""
    for at in range(400):
        log += b"\n".join(a_pair(auditID=an_id(at), requestURI=f'"/api/v1/namespaces/shop/pods/cart-{at}"')) + b"\n"
    found = same(log, block=24 << 10)
    assert found.as_rows > 300


@pytest.mark.usefixtures("small_tables")
def test_parts_that_no_table_holds_are_no_rows():
    agent = '"' + "x" * 8000 + '"'
    long = [a_line(auditID=an_id(at), sourceIPs=f'["{at:08d}{"y" * 7000}"]', userAgent=agent) for at in range(20)]
    assert same(b"\n".join(long) + b"\n").as_rows == 0
    many = [a_line(auditID=an_id(at), requestURI=f'"/api/v1/namespaces/shop/pods/cart-{at}"') for at in range(65)]
    assert same(b"\n".join(many) + b"\n").as_rows == 0


@pytest.mark.usefixtures("small_tables")
def test_variables_that_no_table_holds_are_judged_one_by_one():
    log = []
    for at in range(30):
        variables = ",".join(f'{{"name":"PASSWORD_{at}","value":"hunter{at}-{number}"}}' for number in range(80))
        changes = {"verb": '"create"', "level": '"RequestResponse"', "requestObject": f'{{"env":[{variables}]}}'}
        log.append(a_line(auditID=an_id(at), **changes))
    found = same(b"\n".join(log) + b"\n")
    assert found.as_rows == 30
    assert "hunter" not in repr(found.rows.records)


def test_a_table_has_room_for_what_is_copied_to_it_before_it_is_compared():
    parts._own.__dict__.clear()
    found = parts.parts_for(10, 1000)
    assert found is not None
    assert parts.parts_for(10, 1000) is found
    for each in found.words:
        each._state[words.USED] = words.ARENA - 999
    assert parts.parts_for(10, 1000) is not found
    assert parts.parts_for(words.MOST + 1, 1000) is None
    assert parts.parts_for(1, words.ARENA + 1) is None


def test_parts_longer_than_all_others_together_fit(monkeypatch: pytest.MonkeyPatch):
    """Three pieces of a caller may each be as long as one part may be."""
    parts._own.__dict__.clear()
    agent = '"' + "x" * 8000 + '"'
    groups = '{"username":"a","groups":["' + "g" * 8000 + '"]}'
    rooms: list[tuple[int, int]] = []
    whole = parts.parts_for

    def noted(rows: int, size: int) -> Any:
        rooms.append((rows, size))
        return whole(rows, size)

    monkeypatch.setattr("transforms.audit.rows.read_rows.parts_for", noted)
    long = [a_line(auditID=an_id(at), user=groups, sourceIPs=f'["{at:08d}{"y" * 7000}"]', userAgent=agent) for at in range(40)]
    found = same(b"\n".join(long) + b"\n")
    assert found.as_rows == 40
    assert rooms[0][1] > 40 * 23_000


def test_a_block_of_short_lines_takes_no_more_memory_than_its_events():
    peaks = []
    data = lines() + b"\n" * 100_000
    for rows in (False, True):
        tracemalloc.start()
        parsed = parse_events(RawBlock(SPLIT, Account(0, 0), 0, data), KEY, rows=rows)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert (parsed.rows, len(parsed.events)) == (None, 24)
    assert peaks[1] < 1.1 * peaks[0]
    assert same(data).as_rows == 0


def test_what_is_decided_and_classified_is_remembered_within_bounds(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("transforms.audit.rows.decide_rows.REMEMBERED", 5)
    monkeypatch.setattr("transforms.audit.rows.settle_rows._KNOWN", 5)
    log = b"\n".join(line for at in range(60) for line in a_pair(auditID=an_id(at), userAgent=f'"agent-{at}"')) + b"\n"
    parts._own.__dict__.clear()
    assert same(log, block=8 << 10, policy=policy({"level": "Metadata"})).as_rows >= 50
    kept = [len(cache) for cache in parts._own.parts.caches.values() if isinstance(cache, dict)]
    kept += [len(cache._known) for cache in parts._own.parts.caches.values() if isinstance(cache, _Decided)]
    assert len(kept) > 1
    assert max(kept) <= 15


@pytest.mark.parametrize("member", ["namespace", "name", "uid", "resourceVersion"])
@pytest.mark.parametrize("odd", ["", "\udcf9", "\\u0041", "\x01", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.dozjgNryP4J3jVmNHl0w5N"])
def test_what_is_odd_in_a_reference_is_seen_however_long_it_is(member: str, odd: str):
    log = []
    for size in (100, 8190, 8191, 8192, 8193):
        values = {"resource": "pods", "namespace": "shop", "name": "a", "uid": "u", "apiVersion": "v1", "resourceVersion": "7"}
        values[member] = "x" * (size - 100) + odd + "x" * (100 - len(odd.encode("utf-8", "surrogateescape")))
        reference = "{" + ",".join(f'"{name}":"{value}"' for name, value in values.items()) + "}"
        log += a_pair(auditID=an_id(size), objectRef=reference)
    assert same(lines(*log), fold=False).as_rows == 12 + (0 if odd else 3)
