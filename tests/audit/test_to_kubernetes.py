"""An event goes to Avro and comes back: nothing is lost, nothing is added."""

from __future__ import annotations

import io
import json
from pathlib import Path
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
from transforms.audit.parse_events import parse_events
from transforms.audit.record import encode_event, stream_part
from transforms.audit.to_kubernetes import OURS, event_json, kubernetes_event, micro_time

KEY = b"k" * 32
SCHEMA = fastavro.parse_schema(json.loads(schema("audit_event")))
SAMPLES = Path(__file__).parent / "data" / "real_events.ndjson"


def exact(text: bytes) -> Any:
    """The value of a JSON text; numbers stay the text they are, so that 1.10 is not 1.1."""
    return json.loads(text, parse_int=lambda number: ("number", number), parse_float=lambda number: ("number", number))


def records(text: bytes) -> list[dict[str, Any]]:
    """The lines as the records that fastavro reads, unredacted."""
    split = Split(0, "file", "file")
    parsed = parse_events(RawBlock(split, Account(0, 0, len(text)), 0, text), KEY)
    assert [letter.code for letter in parsed.dead_letters] == []
    encoded = [encode_event(event, "c", stream_part("file", None))[0] for event in parsed.events]
    return [fastavro.schemaless_reader(io.BytesIO(each), SCHEMA) for each in encoded]  # type: ignore[call-arg,misc]


def there_and_back(line: bytes) -> Any:
    (record,) = records(line)
    return exact(event_json(record))


def typed(event: dict[str, Any]) -> dict[str, Any]:
    """The event as it must come back: its type is not content, and is always printed as what it is."""
    return {"kind": "Event", "apiVersion": "audit.k8s.io/v1", **event}


def comes_back(event: dict[str, Any]) -> None:
    line = json.dumps(event).encode()
    assert there_and_back(line) == exact(json.dumps(typed(event)).encode())


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, id="plain"),
        pytest.param({"requestObject": ABSENT, "responseObject": ABSENT}, id="no bodies"),
        pytest.param({"requestObject": None}, id="a body that is null"),
        pytest.param({"requestObject": [{"op": "add"}], "responseObject": "text"}, id="bodies that are no objects"),
        pytest.param({"requestObject": True, "responseObject": 17}, id="scalar bodies"),
        pytest.param({"requestObject": {}}, id="an empty body"),
        pytest.param({"requestObject": {"n": 12345678901234567890123, "f": 1e300, "g": 0.1}}, id="numbers no float holds"),
        pytest.param({"verb": ""}, id="an empty verb"),
        pytest.param({"verb": ABSENT}, id="no verb"),
        pytest.param({"verb": None}, id="a verb that is null"),
        pytest.param({"verb": 7}, id="a verb that is a number"),
        pytest.param({"level": None, "requestURI": None}, id="head fields that are null"),
        pytest.param({"userAgent": ABSENT}, id="no user agent"),
        pytest.param({"userAgent": ""}, id="an empty user agent"),
        pytest.param({"user": {}}, id="an empty user, as a 401 has"),
        pytest.param({"user": None}, id="a user that is null"),
        pytest.param({"user": ABSENT}, id="no user"),
        pytest.param({"user": "alice"}, id="a user that is a text"),
        pytest.param({"user": {"username": None, "uid": "", "groups": None, "extra": None}}, id="null inside the user"),
        pytest.param({"user": {"username": "a", "groups": [], "extra": {}}}, id="empty lists inside the user"),
        pytest.param({"user": {"username": "a", "extra": {"k": []}}}, id="an extra field without values"),
        pytest.param({"user": {"username": "a", "extra": {"k": None, "l": ["v"]}}}, id="an extra field that is null"),
        pytest.param({"user": {"username": "a", "new/field~": {"x": 1}}}, id="an unknown field inside the user"),
        pytest.param(
            {"impersonatedUser": {"username": "b", "groups": ["g"], "shoe": 1}}, id="an unknown field inside the impersonated user"
        ),
        pytest.param({"authenticationMetadata": {"impersonationConstraint": "impersonate:user-info"}}, id="authentication metadata"),
        pytest.param({"sourceIPs": []}, id="empty source IPs"),
        pytest.param({"sourceIPs": None}, id="source IPs that are null"),
        pytest.param({"sourceIPs": ["a", None]}, id="a source IP that is null"),
        pytest.param({"objectRef": {}}, id="an empty objectRef"),
        pytest.param({"objectRef": None}, id="an objectRef that is null"),
        pytest.param({"objectRef": {"resource": "..", "name": "secrets\u0000", "subresource": ""}}, id="a nonsense objectRef"),
        pytest.param({"objectRef": {"resource": None, "name": 3, "unheardOf": []}}, id="wrong types inside objectRef"),
        pytest.param({"objectRef": ["pods"]}, id="an objectRef that is a list"),
        pytest.param({"responseStatus": {}}, id="a status without its metadata"),
        pytest.param({"responseStatus": {"metadata": {"resourceVersion": "3"}, "code": 200}}, id="a status with metadata"),
        pytest.param({"responseStatus": {"metadata": None, "code": 200}}, id="status metadata that is null"),
        pytest.param({"responseStatus": {"metadata": {}, "code": None, "details": None}}, id="null inside the status"),
        pytest.param({"responseStatus": {"metadata": {}, "code": 1 << 40}}, id="a code beyond 32 bits"),
        pytest.param({"responseStatus": {"metadata": {}, "code": "200"}}, id="a code that is a text"),
        pytest.param(
            {"responseStatus": {"metadata": {}, "code": 404, "details": {"causes": []}, "more": 1}}, id="an unknown field inside the status"
        ),
        pytest.param({"annotations": {}}, id="empty annotations"),
        pytest.param({"annotations": None}, id="annotations that are null"),
        pytest.param({"annotations": {"a/b~c": 1}}, id="an annotation that is a number"),
        pytest.param({"annotations": {"a": "text", "b": {"c": None}}}, id="an annotation that is an object"),
        pytest.param({"stageTimestamp": "2026-11-23T05:20:19.123456789Z"}, id="nanoseconds"),
        pytest.param({"stageTimestamp": "2026-11-23T05:20:19Z"}, id="whole seconds"),
        pytest.param({"stageTimestamp": "2026-11-23T06:20:19.632000+01:00"}, id="another zone"),
        pytest.param({"stageTimestamp": "9999-12-31T23:59:59-12:00"}, id="a time after the last year"),
        pytest.param({"stageTimestamp": "0001-01-01T00:00:00.000000Z"}, id="Go's zero time"),
        pytest.param({"stageTimestamp": "2026-11-23T24:00:00.000000Z"}, id="hour 24"),
        pytest.param({"stageTimestamp": "soon", "requestReceivedTimestamp": None}, id="no time at all"),
        pytest.param({"stageTimestamp": ABSENT, "requestReceivedTimestamp": ABSENT}, id="no times"),
        pytest.param({"timestamp": "2018-01-01T00:00:00Z", "metadata": {"creationTimestamp": None}}, id="fields of v1beta1"),
        pytest.param({"": 0, "/": 1, "~": 2, "~1": 3, "a/b": {"deep": []}}, id="unknown fields with odd names"),
        pytest.param({"userAgent": "\u2028<&>\u0000\u00e9\U0001f600"}, id="text of all planes"),
        pytest.param({"userAgent": "\ud800", "verb": "\udfff"}, id="lone surrogates in the head"),
        pytest.param({"user": {"username": "a\ud800", "uid": "u"}, "sourceIPs": ["\ud800"]}, id="lone surrogates in the user"),
        pytest.param({"objectRef": {"name": "\ud800", "resource": "pods"}}, id="lone surrogates in objectRef"),
        pytest.param({"requestObject": {"a \ud800 b": ["\udc00", " "]}}, id="lone surrogates in a body"),
        pytest.param({"annotations": {"\ud800": "\ud800", "~ud800": "x", "\\ud800": 1}}, id="lone surrogates in annotations"),
        pytest.param({"\udead": {"x": 1}, "~udead": 2}, id="lone surrogates in the name of a field"),
    ],
)
def test_an_event_comes_back_from_avro_as_it_was(changes: dict[str, Any]):
    comes_back(an_event(**changes))


@pytest.mark.parametrize("number", [b"-0", b"200.0", b"2e2", b"1" * 40, b"-1", b"2147483648"])
def test_a_status_code_keeps_the_text_it_is(number: bytes):
    line = orjson.dumps(an_event()).replace(b'"code":200', b'"code":' + number)
    assert there_and_back(line) == exact(line)


@pytest.mark.parametrize("version", ["audit.k8s.io/v1", "audit.k8s.io/v1beta1", "audit.k8s.io/v1alpha1"])
def test_the_type_of_an_event_is_not_content(version: str):
    assert there_and_back(orjson.dumps(an_event(apiVersion=version))) == exact(orjson.dumps(an_event()))


def test_the_item_of_a_list_comes_back_with_its_type():
    item = an_event(kind=ABSENT, apiVersion=ABSENT)
    (record,) = records(orjson.dumps({"kind": "EventList", "apiVersion": "audit.k8s.io/v1", "items": [item]}))
    assert exact(event_json(record)) == exact(orjson.dumps(an_event()))


def test_bodies_are_printed_byte_for_byte():
    body = rb'{"a":"\u0026\/","n":1.10,"n":1.1e+400,"z":[]}'
    line = orjson.dumps(an_event(requestObject="BODY")).replace(b'"BODY"', b' { "a" : "\\u0026\\/" ,"n":1.10, "n":1.1e+400,\t"z":[ ]}')
    (record,) = records(line)
    assert b'"requestObject":' + body + b"," in event_json(record)


def test_white_space_in_the_empty_metadata_of_a_status_is_no_content():
    wide = orjson.dumps(an_event()).replace(b'"metadata":{},"code"', b'"metadata": { } ,"code"')
    (record,) = records(wide)
    assert record["digest"] == records(orjson.dumps(an_event()))[0]["digest"]


def test_fields_come_in_the_order_that_kubernetes_writes():
    line = orjson.dumps(an_event())
    (record,) = records(line)
    names = list(orjson.loads(event_json(record)))
    expected = ["kind", "apiVersion", "level", "auditID", "stage", "requestURI", "verb", "user", "sourceIPs", "userAgent", "objectRef"]
    assert names == [
        *expected,
        "responseStatus",
        "requestObject",
        "responseObject",
        "requestReceivedTimestamp",
        "stageTimestamp",
        "annotations",
    ]


def test_our_own_fields_come_only_when_asked_for():
    (record,) = records(orjson.dumps(an_event()))
    assert OURS not in kubernetes_event(record)
    ours = orjson.loads(event_json(record, ours=True))[OURS]
    assert ours == {
        "cluster": "c",
        "digest": record["digest"].hex(),
        "source": {"uri": "file", "partition": None, "offset": 0, "item": 0},
        "stages": [{"stage": "ResponseComplete", "timestamp": "2026-11-23T05:19:24.931245Z"}],
        "policyRule": None,
        "reductions": [],
        "flags": [],
    }


def test_a_time_is_printed_as_kubernetes_prints_a_micro_time():
    (record,) = records(orjson.dumps(an_event(stageTimestamp="2026-11-23T05:20:00.000000Z")))
    assert micro_time(record["stageTimestamp"]) == "2026-11-23T05:20:00.000000Z"


def test_real_events_come_back_as_they_were():
    text = SAMPLES.read_bytes()
    lines = text.splitlines()
    assert len(lines) > 200
    assert [exact(event_json(record)) for record in records(text)] == [typed(exact(line)) for line in lines]


texts = st.text(st.characters(exclude_categories=()), max_size=6)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3), max_leaves=8)
times = st.datetimes().map(lambda moment: moment.isoformat(timespec="microseconds") + "Z")
odd_times = st.sampled_from(
    ["", "0001-01-01T00:00:00Z", "2026-13-01T00:00:00.000000Z", "2026-W47-1T00:00:00.0000000Z", "9999-12-31T23:59:59+00:00"]
)


def fields(known: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """An object with some of the known fields, now and then one of a wrong type, now and then one that nobody knows."""
    optional = {name: strategy | values for name, strategy in known.items()}
    return st.builds(
        lambda some, more: {**more, **some}, st.fixed_dictionaries({}, optional=optional), st.dictionaries(texts, values, max_size=2)
    )


users = fields(
    {
        "username": texts,
        "uid": texts,
        "groups": st.lists(texts, max_size=3),
        "extra": st.dictionaries(texts, st.lists(texts, max_size=2), max_size=2),
    }
)
references = fields(
    dict.fromkeys(["resource", "namespace", "name", "uid", "apiGroup", "apiVersion", "resourceVersion", "subresource"], texts)
)
statuses = fields(
    {"metadata": st.just({}), "code": st.integers(0, 600), "status": texts, "reason": texts, "message": texts, "details": values}
)
events = st.builds(
    lambda head, rest: {**rest, **head},
    st.fixed_dictionaries(
        {"auditID": texts, "stage": st.sampled_from(["RequestReceived", "Panic"]), "level": st.sampled_from(["Metadata", "Request"])}
    ),
    fields(
        {
            "requestURI": texts,
            "verb": texts,
            "userAgent": texts,
            "user": users,
            "impersonatedUser": users,
            "authenticationMetadata": values,
            "sourceIPs": st.lists(texts, max_size=3),
            "objectRef": references,
            "responseStatus": statuses,
            "requestObject": values,
            "responseObject": values,
            "requestReceivedTimestamp": times | odd_times,
            "stageTimestamp": times | odd_times,
            "annotations": st.dictionaries(texts, texts, max_size=3),
        }
    ),
)


@given(events)
def test_any_event_comes_back_as_it_was(event: dict[str, Any]):
    event.pop("kind", None)
    event.pop("apiVersion", None)
    comes_back(event)
