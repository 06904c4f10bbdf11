from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transforms.audit.event import Event
from transforms.audit.managed_fields import strip_managed_fields

DECODER = msgspec.json.Decoder(Event)
MANAGED = [
    {
        "manager": "kubectl",
        "operation": "Update",
        "apiVersion": "v1",
        "time": "2026-01-01T00:00:00Z",
        "fieldsType": "FieldsV1",
        "fieldsV1": {"f:spec": {'k:{"name":"a]"}': {".": {}, 'v:["x"]': {}}}},
    },
    {"manager": "kubelet", "operation": "Update", "fieldsV1": {}, "subresource": "status"},
]


def stripped(**fields: object) -> Event:
    event = DECODER.decode(json.dumps(fields, separators=(",", ":")))
    strip_managed_fields(event)
    return event


def test_the_object_the_list_the_table_and_the_template_lose_them():
    table = {
        "requestObject": {
            "metadata": {"name": "a", "managedFields": MANAGED, "uid": "u"},
            "spec": {"template": {"metadata": {"managedFields": MANAGED}}},
        },
        "responseObject": {
            "kind": "PodList",
            "items": [{"metadata": {"managedFields": MANAGED}}, {"metadata": {"labels": {}, "managedFields": MANAGED}}],
        },
    }
    event = stripped(**table)
    assert json.loads(event.requestObject) == {"metadata": {"name": "a", "uid": "u"}, "spec": {"template": {"metadata": {}}}}
    assert json.loads(event.responseObject) == {"kind": "PodList", "items": [{"metadata": {}}, {"metadata": {"labels": {}}}]}


@pytest.mark.parametrize(("kind", "place"), [("Table", "rows"), ("PodList", "items")])
def test_white_space_does_not_change_the_place(kind: str, place: str):
    objects = [{"metadata": {"managedFields": MANAGED}}]
    body = {"kind": kind, place: [{"object": each} for each in objects] if place == "rows" else objects}
    told = []
    for raw in (json.dumps(body, separators=(",", ":")), json.dumps(body, indent=1)):
        event = Event(responseObject=msgspec.Raw(raw.encode()))
        strip_managed_fields(event)
        told += [(kind, path, count) for kind, path, count, _ in event.reductions]
    assert told == [("managedFields", f"/responseObject/{place}", 1)] * 2


def test_bytes_are_counted_exactly_by_place():
    body = {"kind": "Table", "rows": [{"cells": [], "object": {"metadata": {"name": "a", "managedFields": MANAGED}}}, {"object": None}]}
    before = len(json.dumps(body, separators=(",", ":")))
    event = stripped(responseObject=body)
    assert event.reductions == [("managedFields", "/responseObject/rows", 1, before - len(event.responseObject))]
    assert json.loads(event.responseObject)["rows"] == [{"cells": [], "object": {"metadata": {"name": "a"}}}, {"object": None}]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([{"op": "replace", "path": "/metadata/managedFields", "value": MANAGED}], [{"op": "replace", "path": "/metadata/managedFields"}]),
        (
            [{"op": "add", "path": "", "value": {"metadata": {"managedFields": MANAGED}}}],
            [{"op": "add", "path": "", "value": {"metadata": {}}}],
        ),
        ({"metadata": {"managedFields": None}}, {"metadata": {}}),
        ({"metadata": {"managedFields": [{}]}}, {"metadata": {}}),
        ({"data": {"spec": {"template": {"metadata": {"managedFields": MANAGED}}}}}, {"data": {"spec": {"template": {"metadata": {}}}}}),
        (
            {"spec": {"versions": [{"schema": {"managedFields": {"type": "array"}}}]}},
            {"spec": {"versions": [{"schema": {"managedFields": {"type": "array"}}}]}},
        ),
        ({"data": {"managedFields": "is a word"}}, {"data": {"managedFields": "is a word"}}),
        ({"managedFields": MANAGED, "a": '"managedFields":['}, {"a": '"managedFields":['}),
        ({'x"managedFields': [1], "a": 1}, {'x"managedFields': [1], "a": 1}),
    ],
)
def test_every_kind_of_body(before, after):
    assert json.loads(bytes(stripped(requestObject=before).requestObject)) == after


def test_last_applied_and_webhook_patches_lose_them():
    applied = json.dumps({"metadata": {"name": "a", "managedFields": MANAGED}})
    patch = json.dumps({"configuration": "c", "patch": [{"op": "add", "path": "/x", "value": {"metadata": {"managedFields": MANAGED}}}]})
    event = stripped(
        requestObject={"metadata": {"annotations": {"kubectl.kubernetes.io/last-applied-configuration": applied}}},
        annotations={"patch.webhook.admission.k8s.io/round_0_index_0": patch, "authorization.k8s.io/decision": "allow"},
    )
    annotations = json.loads(event.annotations)
    assert json.loads(annotations["patch.webhook.admission.k8s.io/round_0_index_0"]) == {
        "configuration": "c",
        "patch": [{"op": "add", "path": "/x", "value": {"metadata": {}}}],
    }
    held = json.loads(event.requestObject)["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"]
    assert json.loads(held) == {"metadata": {"name": "a"}}
    assert {path for _, path, _, _ in event.reductions} == {"/requestObject/lastApplied/metadata", "/annotations/patch/metadata"}


def test_an_event_without_any_keeps_its_bytes_and_has_no_reductions():
    body = b'{ "metadata" : {"name":"a", "n":1.10} }'
    event = DECODER.decode(b'{"requestObject":' + body + b"}")
    strip_managed_fields(event)
    assert bytes(event.requestObject) == body
    assert event.reductions is None


def test_a_body_that_does_not_parse_stays_for_redaction_to_judge():
    event = Event(requestObject=b'{"metadata":{"managedFields":[{"manager"')  # type: ignore[arg-type]
    strip_managed_fields(event)
    assert bytes(event.requestObject) == b'{"metadata":{"managedFields":[{"manager"'


def test_numbers_keep_their_spelling():
    event = DECODER.decode(
        b'{"requestObject":{"a":1.10,"b":123456789012345678901234567890,"c":1e5,"s":"{\\"managedFields\\":null,\\"d\\":2.50}","managedFields":null}}'
    )
    strip_managed_fields(event)
    assert bytes(event.requestObject) == b'{"a":1.10,"b":123456789012345678901234567890,"c":1e5,"s":"{\\"d\\":2.50}"}'


texts = st.text(alphabet='"\\[]{}:,ab managedFields', max_size=12)
leaves = st.none() | st.booleans() | st.integers() | texts
entries = st.lists(
    st.fixed_dictionaries(
        {"manager": texts, "fieldsV1": st.dictionaries(texts, st.dictionaries(texts, st.just({}), max_size=2), max_size=3)}
    ),
    max_size=3,
)
trees = st.recursive(leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3), max_leaves=12)


def without(node: object) -> object:
    if isinstance(node, list):
        return [without(item) for item in node]
    if isinstance(node, dict):
        return {key: without(value) for key, value in node.items() if key != "managedFields"}
    return node


@settings(max_examples=300, deadline=None)
@given(trees.filter(lambda tree: "managedFields" not in json.dumps(tree)), entries, texts)
def test_cutting_by_slices_equals_cutting_in_the_tree(tree, managed, text):
    body = {
        "a": tree,
        "metadata": {"managedFields": managed, "z": text.replace("managedFields", "")},
        "items": [{"metadata": {"n": 1, "managedFields": managed}, "t": tree}],
    }
    event = stripped(responseObject=body)
    assert json.loads(bytes(event.responseObject)) == without(body)
    once = bytes(event.responseObject)
    strip_managed_fields(event)
    assert bytes(event.responseObject) == once


# Text within the array, and what follows it, that look like its end.
ends = st.lists(
    st.sampled_from(["]", "[", "}", "{", ",", '"', "\\", "a", "}]", '}],"a', "]}}}", '],"managedFields":[', ":", " "]), max_size=6
).map("".join)


@settings(max_examples=1000, deadline=None)
@given(st.lists(ends, max_size=3), ends, st.sampled_from(["", "a", "1", " ", "ä"]), st.booleans())
def test_what_looks_like_the_end_of_the_array_is_not_taken_for_it(texts, text, after, last):
    managed = [{"manager": each, "fieldsV1": {each: {}}} for each in texts]
    rest = {after + text: [text]}
    metadata = {"managedFields": managed} | rest if not last else rest | {"managedFields": managed}
    body = {"kind": "Table", "rows": [{"object": {"metadata": metadata}}] * 2, "x": text}
    event = stripped(responseObject=body)
    assert json.loads(bytes(event.responseObject)) == {"kind": "Table", "rows": [{"object": {"metadata": rest}}] * 2, "x": text}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b'{"managedFields":[{}],"managedFields":[{}],"a":1}', b'{"a":1}'),
        (b'{"managedFields":[],"managedFields":[],"managedFields":[],"a":1}', b'{"a":1}'),
        (b'{"managedFields":[{}],"managedFields":[]}', b"{}"),
        (b'{"a":1,"managedFields":[],"managedFields":[],"b":2}', b'{"a":1,"b":2}'),
        (b'[{"managedFields":[{}],"managedFields":[{}],"managedFields":null,"a":1}]', b'[{"a":1}]'),
        (b'{"metadata":{"managedFields":[{}] ,"a":1}}', b'{"metadata":{"a":1}}'),
        (b'{"metadata":{"managedFields":[{}]\n}}', b'{"metadata":{}}'),
        (b'{"metadata":{"a":1,"managedFields":[] ,"b":2}}', b'{"metadata":{"a":1 ,"b":2}}'),
    ],
)
def test_what_is_left_is_valid_json(before: bytes, after: bytes):
    event = Event(requestObject=msgspec.Raw(before))
    strip_managed_fields(event)
    assert bytes(event.requestObject) == after
