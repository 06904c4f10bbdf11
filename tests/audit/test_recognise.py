"""Whatever should hold an event counts as one, and says what is wrong where there is none."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import UNSET

from tests.audit.envelopes.mutations import mutated
from tests.examples import an_event, line
from transforms.audit.recognise import CODES, MAX_WRAPS, Found, recognise

REAL = [one for one in (Path(__file__).parent / "data" / "real_events.ndjson").read_bytes().split(b"\n") if one]
EVENT = line(an_event()).strip()
HEAD = b'{"level":"Metadata","auditID":"a","stage":"ResponseComplete"'
TINY = HEAD + b"}"


def outcomes(record: bytes) -> list[str]:
    return [one.code or "event" for one in recognise(record)]


def the_event(record: bytes) -> Any:
    (found,) = recognise(record)
    assert found.event is not None, found
    return found.event


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (EVENT, ["event"]),
        (EVENT + b"\r", ["event"]),
        (b"\xef\xbb\xbf" + EVENT, ["event"]),
        (b"\x00\x00\x00" + EVENT, ["event"]),
        (b"\x1e" + EVENT, ["event"]),
        (b"[" + EVENT + b"," + TINY + b"]", ["event"] * 2),
        (b'{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":[' + EVENT + b"," + TINY + b"]}", ["event"] * 2),
        (b'{"items":[' + EVENT + b'],"metadata":{"resourceVersion":"1"},"extra":1}', ["event"]),
        (b"[[" + TINY + b"],[" + TINY + b"]]", ["event"] * 2),
        (TINY + TINY, ["event"] * 2),
        (b"[]", []),
        (b'{"items":[]}', []),
        (b'{"kind":"EventList","apiVersion":"audit.k8s.io/v1","items":null}', []),
        (b'{"kind":"EventList","apiVersion":"audit.k8s.io/v1"}', []),
        (b"[" + TINY + b',{"kind":"Event","apiVersion":"v1","reason":"Started"},null,1,"x",[]]', ["event"] + ["NOT_AUDIT"] * 4),
        (b"{}", ["NOT_AUDIT"]),
        (b"12", ["NOT_AUDIT"]),
        (b'"text"', ["NOT_AUDIT"]),
        (b'{"level":"info","stage":"build","msg":"hello"}', ["NOT_AUDIT"]),
        (b'{"kind":"Pod","apiVersion":"v1","stage":"x"}', ["NOT_AUDIT"]),
        (b'{"kind":"Policy","apiVersion":"audit.k8s.io/v1","rules":[{"level":"Metadata"}]}', ["NOT_AUDIT"]),
        (b'{"auditID":"a"}', ["NOT_AUDIT"]),
        (b'{"auditID":"a","requestURI":"/"}', ["event"]),
        (b'{"stage":"Panic","level":"Request"}', ["event"]),
        (b'{"kind":"Event","apiVersion":"audit.k8s.io/v1beta1"}', ["event"]),
        (b"hello world", ["INVALID_JSON"]),
        (b"\x00\x00\x00", ["INVALID_JSON"]),
        (EVENT[:-1], ["INVALID_JSON"]),
        (EVENT + b"}", ["INVALID_JSON"]),
        (EVENT + b" x", ["INVALID_JSON"]),
        (EVENT + EVENT[:50], ["INVALID_JSON"]),
        (EVENT.replace(b":", b":NaN,", 1), ["INVALID_JSON"]),
        (HEAD + b',"verb":"a\x00b"}', ["INVALID_JSON"]),
        (b'["kind":"Event"]', ["INVALID_JSON"]),
        (HEAD + b',"verb":"\xff"}', ["INVALID_UTF8"]),
        (HEAD + b',"requestObject":{"a":"\xc3\x28"}}', ["INVALID_UTF8"]),
        (b'{"items":[' + TINY + b"," + HEAD + b',"verb":"\xff"}]}', ["event", "INVALID_UTF8"]),
        (b'{"kind":"EventList","items":[' + TINY + b"," + TINY[:-9], ["event", "BROKEN_DOCUMENT"]),
        (b"[" + TINY + b"," + TINY + b",", ["event", "event", "BROKEN_DOCUMENT"]),
        (b"[" + TINY + b"," + TINY[:-1] + b',"a":tru},' + TINY + b"]", ["event", "INVALID_JSON", "event"]),
        (b"[" * 10_000 + b"]" * 10_000, ["TOO_DEEP"]),
        (HEAD + b',"requestObject":' + b"[" * 10_000 + b"]" * 10_000 + b"}", ["TOO_DEEP"]),
        (b"[" + TINY + b"," + HEAD + b',"user":' + b'{"a":' * 10_000 + b"1" + b"}" * 10_000 + b"}]", ["event", "TOO_DEEP"]),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_a_record_gives_what_it_holds(record: bytes, expected: list[str]) -> None:
    assert outcomes(record) == expected


def test_every_code_has_its_sentence() -> None:
    assert all(sentence.endswith(".") for sentence in CODES.values())


def test_an_event_knows_its_length_and_a_dead_letter_its_bytes() -> None:
    assert recognise(b"[" + TINY + b", 7 ]")[0] == Found(recognise(TINY)[0].event, None, "", None, len(TINY), b"")
    found = recognise(b"  {broken \r")[0]
    assert (found.length, found.raw) == (11, b"  {broken \r")


@pytest.mark.parametrize(
    ("field", "value", "text", "unknown"),
    [
        ("verb", b'"get"', "get", None),
        ("verb", b'""', "", None),
        ("verb", b"null", UNSET, b"null"),
        ("verb", b"7", UNSET, b"7"),
        ("stageTimestamp", b"null", UNSET, b"null"),
        ("level", b'{"a": [1, 2]}', UNSET, b'{"a":[1,2]}'),
        ("auditID", b"12345678901234567890123", UNSET, b"12345678901234567890123"),
        ("requestURI", b'"\\ud800/x"', UNSET, b'"\\ud800/x"'),
        ("userAgent", b'"\\ud83d\\ude00"', "\U0001f600", None),
    ],
)
def test_text_of_another_type_is_kept_as_an_unknown_field(field: str, value: bytes, text: Any, unknown: bytes | None) -> None:
    fields: dict[str, bytes] = {
        "level": b'"Metadata"',
        "auditID": b'"a"',
        "stage": b'"Panic"',
        "kind": b'"Event"',
        "apiVersion": b'"audit.k8s.io/v1"',
    }
    fields[field] = value
    event = the_event(b"{" + b",".join(b'"%s":%s' % (name.encode(), raw) for name, raw in fields.items()) + b"}")
    assert getattr(event, field) == text
    assert event.unknown == (None if unknown is None else {f"/{field}": unknown})


def test_fields_that_the_schema_does_not_know_keep_their_json() -> None:
    event = the_event(HEAD + b',"metadata":{"creationTimestamp": null},"a/b~c":1.50,"\\ud800":"\\ud800","":[ ]}')
    assert event.unknown == {
        "/metadata": b'{"creationTimestamp":null}',
        "/a~1b~0c": b"1.50",
        "/~ud800": b'"\\ud800"',
        "/": b"[]",
    }


def test_a_body_with_lone_surrogates_stays_as_it_was_written() -> None:
    event = the_event(HEAD + b',"requestObject":{"a":"\\udead","n":1.0E+2, "big":12345678901234567890}}')
    assert bytes(event.requestObject) == b'{"a":"\\udead","n":1.0E+2, "big":12345678901234567890}'
    (first, second) = recognise(b'{"items":[' + HEAD + b',"requestObject":"\\udc00"},' + TINY + b"]}")
    assert (bytes(first.event.requestObject), second.event.auditID) == (b'"\\udc00"', "a")  # type: ignore[union-attr]


def test_another_kind_is_kept_where_the_rest_says_that_it_is_an_event() -> None:
    event = the_event(HEAD + b',"kind":"Audit","apiVersion":"example.com/v1","x":1}')
    assert event.unknown == {"/kind": b'"Audit"', "/apiVersion": b'"example.com/v1"', "/x": b"1"}


def test_of_equal_names_the_last_counts() -> None:
    assert the_event(HEAD + b',"verb":"get","verb":"delete","x":1,"x":2}').verb == "delete"


@pytest.mark.parametrize("name", ["offset", "source", "cluster", "rule", "flags", "reductions", "our flags", "merged"])
def test_fields_named_like_ours_stay_the_events_own(name: str) -> None:
    event = the_event(HEAD + b',"' + name.encode() + b'":"forged"}')
    assert event.unknown == {f"/{name}": b'"forged"'}
    assert (event.flags, event.reductions, event.cluster, event.rule, event.merged, event.offset) == (None,) * 6


def test_null_under_a_name_of_ours_does_no_harm() -> None:
    event = the_event(HEAD + b',"our flags":null}')
    assert event.flags is None


def wrapped(record: bytes, times: int) -> bytes:
    for _ in range(times):
        record = json.dumps({"message": record.decode(), "host": "h"}).encode()
    return record


def test_envelopes_nest_four_deep_and_no_deeper() -> None:
    assert the_event(wrapped(EVENT, MAX_WRAPS)) == the_event(EVENT)
    assert outcomes(wrapped(EVENT, MAX_WRAPS + 1)) == ["TOO_DEEP"]
    assert outcomes(wrapped(b"[" + TINY + b",1]", MAX_WRAPS)) == ["event", "NOT_AUDIT"]


def test_messages_carry_no_content() -> None:
    for record in (b'{"secret":"hunter2"', b'[{"hunter2":1}]', b"hunter2", wrapped(b'{"hunter2"', 2), HEAD + b',"verb":hunter2}'):
        for found in recognise(record):
            assert found.code in CODES
            assert "hunter2" not in found.message


@settings(max_examples=300)
@given(st.binary(max_size=200))
def test_no_bytes_raise(record: bytes) -> None:
    for found in recognise(record):
        assert (found.event is None) == (found.code is not None)
        assert found.code is None or found.code in CODES


def test_ten_thousand_mutated_lines_never_raise_and_count_once() -> None:
    seed = 7
    chance = random.Random(seed)
    lines = [one for one in REAL if len(one) < 20_000]
    for _ in range(10_000):
        record = mutated(chance.choice(lines), chance)
        if chance.randrange(2):
            record = mutated(record, chance) if record else record
        if record.strip(b" \t\r\n"):
            found = recognise(record)
            assert len(found) == 1, record
            assert (found[0].event is None) != (found[0].code is None)


def test_a_mutated_item_of_a_list_leaves_the_items_before_it_alone() -> None:
    chance = random.Random(11)
    lines = [one for one in REAL if len(one) < 5_000][:50]
    for _ in range(1000):
        before = [chance.choice(lines) for _ in range(3)]
        record = (
            b'{"kind":"EventList","apiVersion":"audit.k8s.io/v1","items":['
            + b",".join([*before, mutated(chance.choice(lines), chance)])
            + b"]}"
        )
        found = recognise(record)
        assert [one.event for one in found[:3]] == [recognise(one)[0].event for one in before]
        assert len(found) >= 3


def test_events_of_old_versions_keep_their_old_fields() -> None:
    first, second = (the_event(one) for one in (Path(__file__).parent / "data" / "v1beta1.ndjson").read_bytes().splitlines())
    assert first.unknown == {"/metadata": b'{"creationTimestamp":"2017-09-11T19:55:05Z"}', "/timestamp": b'"2017-09-11T19:55:05Z"'}
    assert (first.verb, first.stageTimestamp) == ("list", UNSET)
    assert (second.level, second.stageTimestamp) == ("RequestResponse", "2018-10-26T14:26:34.242498Z")
