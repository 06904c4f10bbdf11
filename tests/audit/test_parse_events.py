"""Lines become events, each with its place; what cannot be read becomes a dead letter that tells nothing."""

from __future__ import annotations

import hmac
from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from tests.audit.reduction import KEY
from tests.examples import ABSENT, an_event, an_event_list, line, lines
from transforms.audit.account import Account
from transforms.audit.block import EventBlock, RawBlock, Split
from transforms.audit.parse_events import parse_events


def parsed(data: bytes, *, offset: int = 0, **changes: Any) -> EventBlock:
    return parse_events(RawBlock(Split(0, "/log", "/log"), Account(0, offset), offset, data, **changes), KEY)


def places(block: EventBlock) -> list[tuple[Any, Any, Any]]:
    return [(event.offset, event.item, event.size) for event in block.events]


def codes(block: EventBlock) -> list[tuple[str, int, int, int]]:
    return [(letter.code, letter.offset, letter.item, letter.length) for letter in block.dead_letters]


def test_each_line_is_an_event_at_its_offset_in_the_stream():
    first, second = line(an_event()), line(an_event(verb="get"))
    block = parsed(first + b"\n  \t\n" + second, offset=1000)
    assert places(block) == [(1000, 0, len(first) - 1), (1000 + len(first) + 5, 0, len(second) - 1)]
    assert [event.verb for event in block.events] == ["update", "get"]
    assert (block.account.events, block.dead_letters) == (2, [])


def test_what_could_not_be_split_into_records_says_why_in_words_of_its_own():
    why = ("SOURCE_GAP", "UNRECOGNISED_FILE", "BROKEN_STREAM", "LINE_TOO_LONG", "ITEM_TOO_LONG", "BROKEN_DOCUMENT")
    block = parsed(b"", items=[(0, number, None, code) for number, code in enumerate(why)])
    assert [(letter.code, letter.message) for letter in block.dead_letters] == [
        ("SOURCE_GAP", "lost before it was read"),
        ("UNRECOGNISED_FILE", "no record of the file is anything that is known"),
        ("BROKEN_STREAM", "the compressed stream breaks off here"),
        ("LINE_TOO_LONG", "longer than a line may be"),
        ("ITEM_TOO_LONG", "longer than an item may be"),
        ("BROKEN_DOCUMENT", "the document is broken here"),
    ]


def test_bodies_stay_the_bytes_they_came_as():
    text = line(an_event(requestObject="@")).replace(b'"@"', b'{ "a": 1.0, "a": 1e2, "\\u0062": "\\ud83d\\ude00" }')
    (event,) = parsed(text).events
    assert bytes(event.requestObject) == b'{ "a": 1.0, "a": 1e2, "\\u0062": "\\ud83d\\ude00" }'


def test_absent_null_and_empty_are_three_things():
    (event,) = parsed(line(an_event(requestObject=None, responseObject=ABSENT, annotations={}))).events
    assert (bytes(event.requestObject), bytes(event.responseObject), bytes(event.annotations)) == (b"null", b"", b"{}")


def test_no_event_forges_what_is_ours():
    forged = {f"our {name}": None for name in ("flags", "offset", "account")}
    block = parsed(line({**an_event(), **forged, "flags": ["x"], "rule": 3}))
    (event,) = block.events
    assert (event.offset, event.rule, event.flags) == (0, None, None)
    assert {"/flags", "/rule"} <= set(event.unknown or ())  # type: ignore[call-overload]


def test_items_of_a_list_are_counted_in_their_line():
    listed = an_event_list(an_event(), an_event(verb="get"))
    block = parsed(listed + b"\n" + line(an_event()), offset=7)
    assert [(event.offset, event.item) for event in block.events] == [(7, 0), (7, 1), (7 + len(listed) + 1, 0)]
    assert block.account.events == 3


def test_what_is_no_json_is_a_dead_letter_with_its_place_and_mac_and_without_its_content():
    data = line(an_event()) + b"cnry-secret {\n"
    block = parsed(data)
    assert codes(block) == [("INVALID_JSON", len(line(an_event())), 0, 13)]
    (letter,) = block.dead_letters
    assert letter.mac == hmac.digest(KEY, b"cnry-secret {", "sha256")
    assert b"cnry" not in orjson.dumps([letter.code, letter.step, letter.message])
    assert (block.account.events, block.account.dead_lettered) == (2, {"INVALID_JSON": 1})


def test_a_last_line_that_breaks_off_is_told_from_a_broken_one():
    half = line(an_event())[:50]
    assert codes(parsed(half, unterminated=True)) == [("UNTERMINATED_LINE", 0, 0, 50)]
    assert codes(parsed(half + b"\n")) == [("INVALID_JSON", 0, 0, 50)]


def test_a_last_line_without_a_line_feed_that_can_be_read_is_an_event():
    assert len(parsed(line(an_event())[:-1], unterminated=True).events) == 1


def test_bytes_that_are_no_utf_8_are_found_wherever_they_hide():
    good = line(an_event(requestObject={"k": "@"}))
    block = parsed(good.replace(b"@", b"\xff") + good)
    assert [code for code, *_ in codes(block)] == ["INVALID_UTF8"]
    assert len(block.events) == 1


def test_json_that_is_no_audit_event_is_a_dead_letter():
    assert [code for code, *_ in codes(parsed(b'{"kind":"Pod"}\n7\n'))] == ["NOT_AUDIT", "NOT_AUDIT"]


def test_an_item_that_a_document_broke_off_in_is_a_dead_letter_after_the_events_before_it():
    items = [(5, 0, line(an_event())[:-1], None), (5, 1, b'{"half', "BROKEN_DOCUMENT")]
    block = parsed(b"", items=items)
    assert places(block) == [(5, 0, len(line(an_event())) - 1)]
    assert codes(block) == [("BROKEN_DOCUMENT", 5, 1, 6)]
    assert block.account.events == 2


@given(
    st.lists(
        st.one_of(
            st.binary(max_size=60),
            st.sampled_from([line(an_event())[:-1], b"", b" ", an_event_list(an_event()), b"[" * 5000, b'{"a":' * 3000]),
        ),
        max_size=8,
    )
)
def test_whatever_the_bytes_nothing_is_raised_and_everything_is_counted(records: list[bytes]):
    data = b"\n".join(records) + b"\n"
    block = parsed(data)
    assert block.account.events == len(block.events) + len(block.dead_letters)
    assert sum(block.account.dead_lettered.values()) == len(block.dead_letters)
    blank = sum(not piece.strip() for piece in data.split(b"\n"))
    assert block.account.events >= len(data.split(b"\n")) - blank - sum(
        set(piece) <= set(b"\0\x1e \t\r\xef\xbb\xbf") for piece in data.split(b"\n") if piece.strip()
    )


@given(st.integers(0, 3), st.lists(st.sampled_from(["get", "list", "create"]), min_size=1, max_size=6))
def test_an_event_is_the_same_wherever_its_block_begins(start: int, verbs: list[str]):
    data = lines(*[an_event(verb=verb) for verb in verbs])
    whole = parsed(data)
    cut = len(lines(*[an_event(verb=verb) for verb in verbs[:start]]))
    parts = [parsed(data[:cut]), parsed(data[cut:], offset=cut)]
    assert [place for part in parts for place in places(part)] == places(whole)
