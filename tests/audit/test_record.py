"""Events become records: what fastavro reads of them, and what their digest covers."""

from __future__ import annotations

import io
import json
from typing import Any

import fastavro
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import schema
from tests.examples import ABSENT, an_event
from transforms.audit.account import Account
from transforms.audit.block import RawBlock, Split
from transforms.audit.event import Event, flag, reduced
from transforms.audit.parse_events import parse_events
from transforms.audit.parts import _reference_part, json_text, reference_part
from transforms.audit.record import content, digest, encode_event, stream_part
from transforms.audit.times import lenient_micros, micros, time_part

SCHEMA = fastavro.parse_schema(json.loads(schema("audit_event")))


def parsed(*events: dict[str, Any] | bytes) -> list[Event]:
    text = b"\n".join(event if isinstance(event, bytes) else orjson.dumps(event) for event in events)
    return parse_events(RawBlock(Split(0, "a.log", "a.log"), Account(0, 0), 0, text), b"k" * 32).events


def record_of(event: Event) -> dict[str, Any]:
    raw, *_ = encode_event(event, "prod", stream_part("a.log", None))
    file = io.BytesIO(raw)
    record: Any = fastavro.schemaless_reader(file, SCHEMA)  # type: ignore[call-arg]
    assert file.tell() == len(raw)
    return record


def digest_of(event: dict[str, Any] | bytes, cluster: str = "prod") -> bytes:
    (found,) = parsed(event)
    return digest(cluster, content(found))


def test_a_record_says_where_its_event_was_read():
    first, second = parsed(an_event(auditID="1"), an_event(auditID="2"))
    assert record_of(first)["source"] == {"uri": "a.log", "partition": None, "offset": 0, "item": 0}
    assert record_of(second)["source"]["offset"] == len(orjson.dumps(an_event(auditID="1"))) + 1


def test_a_record_names_its_cluster_and_its_own_stage():
    (event,) = parsed(an_event())
    record = record_of(event)
    assert record["cluster"] == "prod"
    assert [stage["stage"] for stage in record["stages"]] == ["ResponseComplete"]
    assert record["stages"][0]["timestamp"] == record["stageTimestamp"]


@pytest.mark.parametrize("early", [["RequestReceived"], ["RequestReceived", "ResponseStarted"], ["ResponseStarted"]])
def test_merged_stages_stand_in_the_order_of_their_times(early: list[str]):
    times = {"RequestReceived": "05:00:00.000001", "ResponseStarted": "05:00:00.000002", "ResponseComplete": "05:00:00.000003"}
    final, *stages = parsed(
        *[an_event(stage=stage, stageTimestamp=f"2026-11-23T{times[stage]}Z") for stage in ("ResponseComplete", *reversed(early))]
    )
    final.merged = stages  # type: ignore[assignment]
    assert [stage["stage"] for stage in record_of(final)["stages"]] == [*early, "ResponseComplete"]


def test_a_stage_without_a_time_comes_last():
    final, early = parsed(an_event(stageTimestamp=ABSENT), an_event(stage="RequestReceived"))
    final.merged = [early]  # type: ignore[assignment]
    assert [(stage["stage"], stage["timestamp"] is None) for stage in record_of(final)["stages"]] == [
        ("RequestReceived", False),
        ("ResponseComplete", True),
    ]


def test_reductions_and_flags_are_sorted_and_do_not_count_for_the_digest():
    (event,) = parsed(an_event())
    before = record_of(event)["digest"]
    reduced(event, "secret", "/responseObject", 1, 10)
    reduced(event, "managedFields", "/items", 2, 20)
    flag(event, "NO_COMPLETION")
    flag(event, "AUDIT_ID_COLLISION")
    event.rule = 3  # type: ignore[assignment]
    record = record_of(event)
    assert [cut["kind"] for cut in record["reductions"]] == ["managedFields", "secret"]
    assert record["flags"] == ["AUDIT_ID_COLLISION", "NO_COMPLETION"]
    assert record["policyRule"] == 3
    assert record["digest"] == before


@pytest.mark.parametrize(
    "changes",
    [
        {"verb": "patch"},
        {"requestObject": ABSENT},
        {"requestObject": None},
        {"annotations": {}},
        {"annotations": ABSENT},
        {"user__groups": ["system:authenticated", "developers"]},
        {"stageTimestamp": "2026-11-23T05:19:24.931245+00:00"},
        {"unknown": None},
        {"objectRef__name": ABSENT},
        {"objectRef__name": ""},
    ],
)
def test_the_digest_tells_contents_apart(changes: dict[str, Any]):
    assert digest_of(an_event(**changes)) != digest_of(an_event())


def test_the_digest_tells_clusters_apart_whose_names_and_contents_join_alike():
    assert digest_of(an_event(), "a") != digest_of(an_event(), "b")


def test_the_digest_does_not_see_the_order_of_fields_and_maps():
    event = an_event()
    turned = {
        name: dict(reversed(value.items())) if name in ("user", "annotations", "objectRef") else value for name, value in event.items()
    }
    assert digest_of(dict(reversed(turned.items()))) == digest_of(event)


def test_the_digest_does_not_see_white_space_or_the_type_of_the_event():
    event = an_event()
    untyped = an_event(kind=ABSENT, apiVersion=ABSENT)
    wide = json.dumps(untyped, indent=3).replace("\n", "\t").encode()
    assert digest_of(wide) == digest_of(event)


def test_the_digest_sees_how_a_body_is_written():
    line = orjson.dumps(an_event())
    assert digest_of(line.replace(b'"replicas":3', b'"replicas":3.0', 1)) != digest_of(line)


def test_maps_are_written_by_key_so_that_equal_maps_have_equal_bytes():
    record = record_of(parsed(an_event(annotations={"b": "1", "a": "2", "ä": "3"}))[0])
    assert list(record["annotations"]) == ["a", "b", "ä"]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=())),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@given(json_values, st.sampled_from([None, 0, 2, "\t"]))
def test_insignificant_white_space_goes_and_nothing_else(value: Any, indent: Any):
    assert json_text(json.dumps(value, indent=indent).encode()) == json.dumps(value, separators=(",", ":")).encode()


_SPACE = st.text(" \t\r\n", max_size=2)
_SCALARS = st.sampled_from(
    ['""', '"\\\\"', '"a, b"', '"{ }"', '": ["', '"\\": {\\"a\\": 1"', "0", "-1.5e3", "1E2", "true", "false", "null"]
)


@st.composite
def _spaced(draw: st.DrawFn, depth: int = 3) -> tuple[str, str]:
    """A JSON text with white space anywhere between its tokens, and without."""
    kind = draw(st.sampled_from("sao" if depth else "s"))
    before, after = draw(_SPACE), draw(_SPACE)
    if kind == "s":
        scalar = draw(_SCALARS)
        return before + scalar + after, scalar
    items = draw(st.lists(_spaced(depth - 1), max_size=3))
    if kind == "a":
        return before + "[" + (",".join(loose for loose, _ in items) or draw(_SPACE)) + "]" + after, "[" + ",".join(
            tight for _, tight in items
        ) + "]"
    keys = [draw(st.sampled_from(['""', '"k"', '"k\\\\"', '"\\""'])) for _ in items]
    spaced = [draw(_SPACE) + key + draw(_SPACE) + ":" + loose for key, (loose, _) in zip(keys, items, strict=True)]
    tight = [f"{key}:{value}" for key, (_, value) in zip(keys, items, strict=True)]
    return before + "{" + (",".join(spaced) or draw(_SPACE)) + "}" + after, "{" + ",".join(tight) + "}"


@given(_spaced())
def test_white_space_between_tokens_goes_and_within_strings_stays(texts: tuple[str, str]):
    loose, tight = texts
    assert json_text(loose.encode()).decode() == tight


def test_a_body_nested_deeper_than_the_decoder_goes_still_loses_its_white_space():
    deep = b"[ " * 5000 + b'" \\" "' + b" ]" * 5000
    assert json_text(deep) == b"[" * 5000 + b'" \\" "' + b"]" * 5000


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1970-01-01T00:00:00.000001Z", 1),
        ("1969-12-31T23:59:59.999999Z", -1),
        ("2026-11-23T05:20:19.632000Z", 1_795_411_219_632_000),
    ],
)
def test_a_micro_time_is_microseconds_since_the_epoch(text: str, expected: int):
    assert micros(text) == lenient_micros(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-11-23T05:20:19.632Z",
        "2026-11-23T05:20:19.632000z",
        "2026-11-23 05:20:19.632000Z",
        "2026-11-23T24:00:00.000000Z",
        "2026-11-31T05:20:19.632000Z",
        "2026-W47-1T05:20:19.63200Z",
        "٢٠٢٦-11-23T05:20:19.632000Z",
    ],
)
def test_whatever_kubernetes_does_not_write_is_no_plain_time(text: str):
    assert not time_part(text)[2]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-23T06:20:19+01:00", 1_795_411_219_000_000),
        ("2026-11-23T05:20:19.123456789Z", 1_795_411_219_123_456),
        ("2026-11-23T05:20:19", None),
        ("2026-11-23T24:00:00Z", None),
        ("20261123T052019Z", None),
        ("9999-12-31T23:59:59-12:00", None),
        ("0001-01-01T00:00:00+12:00", None),
        ("soon", None),
    ],
)
def test_an_odd_time_counts_where_every_reader_can_show_it(text: str, expected: int | None):
    assert lenient_micros(text) == expected


@pytest.mark.parametrize(
    "around",
    [
        b'{"resource":"pods","namespace":"shop","name":"web","uid":"1","apiVersion":"v1"%b}',
        b'{"resource":"deployments","name":"web","apiGroup":"apps","apiVersion":"v1"%b,"subresource":"status"}',
        b'{"resource":"pods","apiVersion":"v1"%b,"subresource":"A\\"b"}',
        b'{"resource":"pods","resourceVersion":"7","apiVersion":"v1"%b}',
        b'{"resource":"pods"%b,"name":"later"}',
        b'{"resource":"pods"%b,"other":"x"}',
        b'{"resource":null%b}',
    ],
)
def test_a_reference_is_encoded_alike_whatever_was_encoded_before(around: bytes):
    for version in (b"812", b"813", b"", b"8x", b"0", b"\xd9\xa1", b'81","resourceVersion":"9'):
        raw = around % (b',"resourceVersion":"%b"' % version)
        assert reference_part(raw) == _reference_part(raw, "/objectRef")
