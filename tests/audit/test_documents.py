"""Documents are cut into the same items whatever the chunks, and broken ones give what stands before the break."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.examples import an_event, line
from transforms.audit.documents import BROKEN, TOO_LONG, DocumentCutter, Item, looks_like_document
from transforms.audit.pieces import cut_document

A, B, C = (line(an_event(auditID=name)).strip() for name in "abc")
LIST = b'{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":['

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from(['"', "\\", '\\"', "}{", "],[", '"items":[']),
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(st.text(max_size=4), inside, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.sampled_from(["a", "b", "kind", 'x"', "\\"]), JSON, min_size=1, max_size=3)


def cut(data: bytes, size: int | None = None, limit: int = 1 << 20) -> list[Item]:
    cutter = DocumentCutter(limit)
    size = size or len(data) or 1
    return [item for at in range(0, len(data), size) for item in cutter.feed(data[at : at + size])] + cutter.close()


def raws(items: list[Item]) -> list[bytes | None]:
    return [item.raw for item in items]


def codes(items: list[Item]) -> list[str | None]:
    return [item.code for item in items]


@pytest.mark.parametrize(
    ("document", "items"),
    [
        (LIST + A + b"," + B + b"]}", [A, B]),
        (b'{"items":[' + A + b"," + B + b'],"kind":"EventList"}', [A, B]),
        (b"[" + A + b",\n" + B + b"\n]\n", [A, B]),
        (b"[]", []),
        (LIST + b"]}", []),
        (b" \n ", []),
        (b"", []),
        (A, [A]),
        (A + B + b"\n" + C, [A, B, C]),
        (b"\xef\xbb\xbf" + A, [A]),
        (b'[1, "x", null, [2], {}]', [b"1", b'"x"', b"null", b"[2]", b"{}"]),
        (b'{"logEvents":[' + A + b"]}", [b'{"logEvents":[' + A + b"]}"]),
        (LIST + A + b"]}[" + B + b"]" + C, [A, B, C]),
        (b'{"a":{"items":[1]},"b":"\\"items\\":["}', [b'{"a":{"items":[1]},"b":"\\"items\\":["}']),
        (b'{"a":",\\"items\\":[","b":[2]}', [b'{"a":",\\"items\\":[","b":[2]}']),
        (A[:-1] + b',"items":[{}]}', [A[:-1] + b',"items":[{}]}']),
    ],
)
@pytest.mark.parametrize("size", [None, 1, 7])
def test_a_document_gives_its_items(document: bytes, items: list[bytes], size: int | None) -> None:
    assert raws(cut(document, size)) == items
    assert set(codes(cut(document, size))) <= {None}


def test_each_item_says_which_document_it_is_of() -> None:
    first = LIST + A + b"," + B + b"]}"
    assert [(item.offset, item.index) for item in cut(b"\n" + first + b"\n" + C + b"[" + A + b"," + B + b"]")] == [
        (1, 0),
        (1, 1),
        (2 + len(first), 0),
        (2 + len(first) + len(C), 0),
        (2 + len(first) + len(C), 1),
    ]


@settings(max_examples=150)
@given(
    objects=st.lists(OBJECTS, min_size=1, max_size=6),
    indent=st.sampled_from([None, 2]),
    shape=st.sampled_from(["array", "list", "stream"]),
    size=st.integers(1, 40),
    ascii_only=st.booleans(),
)
def test_any_chunks_give_the_items_that_a_json_reader_finds(
    objects: list[dict[str, Any]], indent: int | None, shape: str, size: int, ascii_only: bool
) -> None:
    def text(value: object) -> bytes:
        return json.dumps(value, indent=indent, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")

    whole = {
        "array": lambda: text(objects),
        "list": lambda: text({"kind": "List", "items": objects}),
        "stream": lambda: b"\n".join(map(text, objects)),
    }[shape]()
    assert [json.loads(raw or b"") for raw in raws(cut(whole, size))] == objects
    assert cut(whole, size) == cut(whole)


@settings(max_examples=150)
@given(count=st.integers(0, 4), data=st.data(), size=st.integers(1, 50), indent=st.sampled_from([None, 1]))
def test_a_list_cut_off_after_n_items_gives_n_and_one(count: int, data: st.DataObject, size: int, indent: int | None) -> None:
    events = [an_event(auditID=str(number), requestObject=None, responseObject=None) for number in range(count + 1)]
    whole = json.dumps({"kind": "EventList", "items": events}, indent=indent).encode()
    last = whole.rindex(b'"auditID"')
    short = whole[: data.draw(st.integers(last, len(whole) - 1))].rstrip()
    ended = short.count(b'"annotations"') if short.endswith((b"}", b"]")) and _complete(short) else count
    items = cut(short, size)
    assert codes(items) == [None] * ended + [BROKEN]
    assert items == cut(short)
    assert [json.loads(item.raw or b"") for item in items[:-1]] == events[:ended]


def _complete(short: bytes) -> bool:
    """Whether the last event is whole in a list cut off here."""
    try:
        json.loads(short.rstrip(b"]").rstrip() + b"]}")
    except ValueError:
        return False
    return True


def test_what_is_broken_inside_an_item_does_not_touch_the_others() -> None:
    bad = b'{"a":tru,"b":}'
    assert raws(cut(b"[" + A + b"," + bad + b"," + B + b"]")) == [A, bad, B]


@pytest.mark.parametrize("rubbish", [b"x", b"}", b":", b'"', b'"\n"', b'{"a":"\x01"}', b'"a" "b"'])
@pytest.mark.parametrize("size", [None, 1])
def test_rubbish_between_items_ends_the_document(rubbish: bytes, size: int | None) -> None:
    items = cut(b"[" + A + b"," + B + rubbish + b"," + C + b"]", size)
    assert codes(items) == [None, None, BROKEN]
    assert raws(items)[:2] == [A, B]


def test_after_a_broken_document_the_next_one_is_read() -> None:
    pretty = json.dumps(json.loads(A), indent=2).encode()
    items = cut(pretty[:40] + b'"\x00' + pretty[41:] + b"\n" + pretty + b"\n" + pretty, 10)
    assert codes(items) == [BROKEN, None, None]
    assert raws(items)[1:] == [pretty, pretty]


def test_an_envelope_that_breaks_off_gives_its_items_in_their_context() -> None:
    head = b'{"messageType":"DATA_MESSAGE","logGroup":"/aws/eks/prod/cluster","logEvents":['
    assert cut(head + b'{"message":"1"},{"message":"2"},{"mess', 9) == [
        (len(head), 0, head + b'{"message":"1"}]}', None),
        (len(head) + 16, 0, head + b'{"message":"2"}]}', None),
        (0, 2, head + b'{"message":"1"},{"message":"2"},{"mess', BROKEN),
    ]


def test_items_that_may_be_several_events_have_places_of_their_own() -> None:
    nested = LIST + A + b"," + B + b"]}"
    text = json.dumps("[" + A.decode() + "]").encode()
    items = cut(b"[" + b",".join([A, nested, b"[" + A + b"]", text, b'{"x":1}', B]) + b"]", 50)
    places = [(item.offset, item.index) for item in items]
    assert [places[0], places[-1]] == [(0, 0), (0, 5)]
    assert [index for _, index in places[1:-1]] == [0] * 4
    assert len(set(places)) == len(places)


@pytest.mark.parametrize("size", [None, 1, 64])
def test_an_item_beyond_the_limit_is_one_dead_letter_and_is_not_held(size: int | None) -> None:
    items = cut(b"[" + A + b',{"a":"' + b"x" * 5000 + b'"},' + B + b"]", size, limit=2000)
    assert codes(items) == [None, TOO_LONG, None]
    assert raws(items) == [A, None, B]
    assert [(item.offset, item.index) for item in items][::2] == [(0, 0), (0, 2)]


def test_memory_stays_within_an_item_and_a_chunk() -> None:
    cutter = DocumentCutter(limit=1 << 16)
    cutter.feed(b'[{"a":"')
    held = 0
    for _ in range(64):
        cutter.feed(b"x" * (1 << 14) + b'","b":"')
        held = max(held, len(cutter._data))
    assert held < 1 << 17


def test_a_document_of_a_hundred_thousand_items_is_streamed() -> None:
    cutter = DocumentCutter()
    count = len(cutter.feed(LIST + A))
    for _ in range(100):
        count += len(cutter.feed((b"," + A) * 1000))
        assert len(cutter._data) < 4 << 20
    assert count + len(cutter.feed(b"]}")) + len(cutter.close()) == 100_001


def test_deep_nesting_is_no_recursion() -> None:
    deep = b"[" * 100_000 + b"]" * 100_000
    assert raws(cut(b"[" + deep + b"," + A + b"]", 1 << 14)) == [deep, A]


def test_a_single_broken_thing_has_no_pieces() -> None:
    assert cut_document(A[:-4]) is None
    assert cut_document(b"[" + A[:-4]) is None
    assert cut_document(b"") is None


PRETTY = json.dumps({"kind": "EventList", "items": [json.loads(A), json.loads(B)]}, indent=4).encode()
NDJSON = A + b"\n" + B + b"\n"


@pytest.mark.parametrize(
    ("head", "whole", "expected"),
    [
        (NDJSON, True, False),
        (A, True, False),
        (b"\n\n" + NDJSON, True, False),
        (A + b"\r\n" + B, True, False),
        (LIST + A + b"]}\n" + LIST + B + b"]}\n", True, False),
        (b"[" + A + b"]\n", True, False),
        (PRETTY, True, True),
        (PRETTY[:200], False, True),
        (json.dumps(json.loads(A), indent=1).encode() * 2, True, True),
        (b"[\n" + A + b",\n" + B + b"\n]\n", True, True),
        (b"[" + A + b",\n" + B + b"]\n", True, True),
        (LIST + b"\n" + A + b",\n" + B + b"]}", True, True),
        (LIST + A + b"," + B, False, True),
        (b"[" + A[:100], False, True),
        (A + B + C[:20], False, True),
        (b'{"messageType":"DATA_MESSAGE","logEvents":[{"message":"', False, True),
        (b'{"kind":"Event","requestObject":{"a":"xxxxxxxxxx', False, False),
        (A[:100] + b"\n" + B + b"\n", True, False),
        (A[: A.index(b'{"username"') + 1] + b"\n" + B + b"\n", True, False),
        (A + B + b"\n" + C + b"\n", True, False),
        (b'2026-01-02T03:04:05Z AUDIT: id="x"\n', True, False),
        (b"2026-01-02T03:04:05Z stdout F " + A + b"\n", True, False),
        (b"", True, False),
        (b"\x00\x01\x02", True, False),
    ],
)
def test_a_document_is_told_from_lines(head: bytes, whole: bool, expected: bool) -> None:
    assert looks_like_document(head, whole) is expected


def test_broken_first_lines_make_no_document_of_a_log():
    event = b'{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"a","stage":"ResponseComplete"}\n'
    assert not looks_like_document(event[:40] + b"\n" + event[:60] + b"\n" + event * 3, whole=True)
    assert not looks_like_document(b'{"kind":"EventList","items":[' + event[:60] + b"\n" + event * 3, whole=True)
    assert looks_like_document(b'{"kind":"EventList","items":[\n' + event[:-1] + b",\n" + event + b"]}\n", whole=True)
