"""Records that were split on their way come together again, and what stays incomplete is not lost."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.audit.envelopes import wraps
from tests.audit.envelopes.outcomes import fields, the_event
from tests.audit.envelopes.test_gke import POD, entry
from tests.audit.envelopes.wraps import compact
from tests.examples import an_event, line
from transforms.audit import joiner
from transforms.audit.envelopes.docker import PIECE
from transforms.audit.joiner import Joiner, needs_joiner
from transforms.audit.recognise import recognise

EVENT = line(an_event()).strip()


def cri(text: bytes, tag: bytes = b"F", stream: bytes = b"stdout") -> bytes:
    return b"2026-01-02T03:04:05.678901234Z " + stream + b" " + tag + b" " + text


def joined(*records: bytes, stream: str = "file") -> tuple[list[tuple[bytes, int]], list[tuple[bytes, int]]]:
    """What comes out while the records go in, and what is left."""
    made: Joiner[int] = Joiner()
    out = [one for at, record in enumerate(records) for one in made.feed(record, stream, at)]
    return out, made.close()


def docker(text: str, stream: str = "stdout", **more: str) -> bytes:
    return compact({"log": text, "stream": stream, "time": "2026-01-02T03:04:05.678901234Z", **more})


def codes(records: list[tuple[bytes, int]]) -> list[str | None]:
    return [found.code for record, _ in records for found in recognise(record)]


@given(cuts=st.lists(st.integers(0, len(EVENT)), max_size=5).map(sorted))
def test_fragments_of_a_line_are_the_line(cuts: list[int]) -> None:
    pieces = [EVENT[start:end] for start, end in zip([0, *cuts], [*cuts, len(EVENT)], strict=True)]
    records = [cri(piece, b"P") for piece in pieces[:-1]] + [cri(pieces[-1])]
    assert joined(*records) == ([(cri(EVENT), 0)], [])


LONG = line(an_event(requestObject={"a": "é" * 30_000, "b": ["\\", '"'] * 9_000})).strip()


@pytest.mark.parametrize("event", [LONG, EVENT, LONG + EVENT.replace(b"{", b"[", 1)])
def test_pieces_of_a_line_of_dockers_are_the_line(event: bytes) -> None:
    pieces = wraps.docker([event]).split(b"\n")
    assert len(pieces) == -(-len(event.decode() + "\n") // PIECE)
    out, left = joined(*pieces)
    assert (len(out), left) == (1, [])
    assert (codes(out), out[0][1]) == (codes([(wraps.docker([event], 1 << 30), 0)]), 0)
    assert [found.event for found in recognise(out[0][0])] == [found.event for found in recognise(event)]


def test_pieces_of_two_streams_and_of_two_containers_do_not_mix() -> None:
    text = LONG.decode() + "\n"
    first, second, rest = text[:PIECE], text[PIECE : 2 * PIECE], text[2 * PIECE : 3 * PIECE - 1] + "\n"
    one, two = [docker(piece) for piece in (first, second, rest)], [docker(piece, "stderr") for piece in (first, second, rest)]
    out, left = joined(one[0], two[0], one[1], two[1], two[2], one[2])
    assert ([tag for _, tag in out], left) == ([1, 0], [])
    made: Joiner[str] = Joiner()
    assert [tag for at in range(3) for file in "ab" for _, tag in made.feed(one[at], file, f"{file}{at}")] == ["a0", "b0"]


def test_a_line_of_dockers_that_breaks_off_is_one_incomplete_record() -> None:
    pieces = wraps.docker([LONG]).split(b"\n")
    out, left = joined(docker(EVENT.decode() + "\n"), *pieces[:-1])
    assert (codes(out), codes(left)) == ([None], ["INCOMPLETE_RECORD"])
    assert [tag for _, tag in left] == [1]
    assert codes([(pieces[0], 0)]) == ["INCOMPLETE_RECORD"]
    assert codes([(pieces[-1], 0)]) == ["NOT_AUDIT"]


def test_lines_whose_line_feeds_a_shipper_cut_off_are_no_pieces() -> None:
    whole = [docker(one.decode()) for one in (EVENT, LONG, EVENT)]
    assert joined(*whole) == ([(record, at) for at, record in enumerate(whole)], [])
    broken = docker(LONG.decode()[:-9])
    out, left = joined(whole[0], broken, whole[2])
    assert (codes(out), left) == ([None, "INCOMPLETE_RECORD", None], [])
    short = docker("klog")
    assert joined(short, whole[0]) == ([(short, 0), (whole[0], 1)], [])


def test_an_event_as_long_as_a_piece_and_its_line_feed_are_one_event() -> None:
    event = line(an_event(requestObject={"a": ""})).strip()
    event = event.replace(b'"a":""', b'"a":"%s"' % (b"x" * (PIECE - len(event))))
    out, left = joined(*wraps.docker([event]).split(b"\n"))
    assert (codes(out), left) == ([None], [])


def test_fluent_bit_says_itself_which_line_goes_on() -> None:
    text = EVENT.decode()
    out, left = joined(
        docker(text[:50], logtag="P"), docker(text[50:90], logtag="P"), docker(text[90:], logtag="F"), docker(text, logtag="F")
    )
    assert ([tag for _, tag in out], codes(out), left) == ([0, 3], [None, None], [])
    _, left = joined(docker(text, logtag="P"))
    assert codes(left) == ["INCOMPLETE_RECORD"]


def test_streams_do_not_mix() -> None:
    out, left = joined(cri(EVENT[:50], b"P"), cri(b"klog ", b"P", b"stderr"), cri(EVENT[50:]), cri(b"text", b"F", b"stderr"))
    assert out == [(cri(EVENT), 0), (cri(b"klog text", b"F", b"stderr"), 1)]
    assert left == []


def test_files_do_not_mix() -> None:
    made: Joiner[str] = Joiner()
    assert made.feed(cri(EVENT[:50], b"P"), "a", "a1") == []
    assert made.feed(cri(EVENT[50:]), "b", "b1") == [(cri(EVENT[50:]), "b1")]
    assert made.feed(cri(EVENT[50:]), "a", "a2") == [(cri(EVENT), "a1")]


def test_fragments_without_an_end_are_one_incomplete_record() -> None:
    out, left = joined(cri(EVENT), cri(EVENT[:50], b"P"), cri(EVENT[50:90], b"P"))
    assert out == [(cri(EVENT), 0)]
    assert left == [(cri(EVENT[:90], b"P"), 1)]
    assert codes(left) == ["INCOMPLETE_RECORD"]


@pytest.mark.parametrize(
    "record", [EVENT, b"text", b"", b'{"message":"x"}', entry(), entry(split={"uid": "u", "index": 0, "totalSplits": 1})]
)
def test_what_is_no_part_goes_through(record: bytes) -> None:
    assert joined(record) == ([(record, 0)], [])


def split(index: int, total: int, uid: str = "u", **payload: Any) -> bytes:
    return entry(payload, split={"uid": uid, "index": index, "totalSplits": total}, insertId=f"i-{index}")


SPEC = {"containers": [{"image": "a"}, {"image": "b"}], "nodeName": "n"}


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
def test_the_parts_of_a_split_entry_are_one_event(order: tuple[int, ...]) -> None:
    kind = {"@type": "core.k8s.io/v1.Pod"}
    parts = [
        split(0, 3, request={**kind, "spec": {"containers": [{"image": "a"}]}}),
        split(1, 3, request={**kind, "spec": {"containers": [{"image": "b"}]}}),
        split(2, 3, request={"spec": {"nodeName": "n"}}, response={**kind, "status": {}}),
    ]
    out, left = joined(*(parts[at] for at in order))
    assert left == []
    ((record, tag),) = out
    assert tag == 0
    event = the_event(record)
    assert fields(event)["requestObject"] == {"kind": "Pod", "apiVersion": "v1", "spec": SPEC}
    assert fields(event)["responseObject"]["status"] == {}
    assert "BODIES_UNKNOWN" not in (event.flags or ())


def test_a_text_that_was_split_comes_together() -> None:
    out, _ = joined(split(0, 2, request={"data": "abc"}), split(1, 2, request={"data": "déf"}))
    assert fields(the_event(out[0][0]))["requestObject"] == {"data": "abcdéf"}


def test_a_split_entry_with_a_part_missing_is_one_event_without_bodies() -> None:
    out, left = joined(split(0, 3, request={"a": 1}), split(2, 3, request={"b": 2}), split(0, 3, request={"a": 1}))
    assert out == []
    ((record, tag),) = left
    assert tag == 0
    event = the_event(record)
    assert bytes(event.requestObject) == b""
    assert "BODIES_UNKNOWN" in (event.flags or ())


FIRST = entry({"request": {"a": 1}, "status": None}, operation={"id": "o", "first": True}, timestamp="2026-01-02T03:04:05Z")
LAST = entry({"response": {"b": 2}}, operation={"id": "o", "last": True}, timestamp="2026-01-02T03:04:09Z")


def test_the_halves_of_an_operation_are_one_event() -> None:
    out, left = joined(FIRST, EVENT, LAST)
    assert [tag for _, tag in out] == [1, 0]
    assert left == []
    event = the_event(out[1][0])
    assert fields(event) | {"annotations": None} == fields(event) | {
        "stage": "ResponseComplete",
        "requestObject": {"a": 1},
        "responseObject": {"b": 2},
        "requestReceivedTimestamp": "2026-01-02T03:04:05.000000Z",
        "stageTimestamp": "2026-01-02T03:04:09.000000Z",
        "annotations": None,
    }
    assert "STAGE_INFERRED" not in (event.flags or ())


def test_halves_that_only_share_the_id_stay_apart() -> None:
    other = entry({"resourceName": POD + "-other"}, operation={"id": "o", "last": True})
    out, left = joined(FIRST, other)
    assert (out, left) == ([(other, 1)], [(FIRST, 0)])


def test_a_half_without_the_other_is_an_event() -> None:
    assert joined(LAST) == ([(LAST, 0)], [])
    assert joined(FIRST, FIRST) == ([(FIRST, 0)], [(FIRST, 1)])
    assert codes([(FIRST, 0), (LAST, 0)]) == [None, None]


def test_memory_is_bounded_and_the_oldest_leaves_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joiner, "PENDING_RECORDS", 2)
    out, left = joined(*(split(0, 2, uid=str(number), request={"a": number}) for number in range(4)))
    assert [tag for _, tag in out] == [0, 1]
    assert [tag for _, tag in left] == [2, 3]
    monkeypatch.setattr(joiner, "PENDING_LIMIT", 100)
    out, left = joined(cri(b"x" * 90, b"P"), cri(b"y" * 90))
    assert codes(out) == ["INCOMPLETE_RECORD", "NOT_AUDIT"]
    assert left == []


@given(
    st.lists(
        st.sampled_from([FIRST, LAST, EVENT, cri(EVENT), cri(EVENT[:9], b"P"), cri(EVENT[9:]), split(0, 2), split(1, 2), entry()]),
        max_size=8,
    )
)
def test_no_record_is_lost_or_made(records: list[bytes]) -> None:
    out, left = joined(*records)
    assert len(out) + len(left) <= len(records)
    assert {tag for _, tag in out + left} <= set(range(len(records)))
    assert bool(out + left) is bool(records)


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (EVENT, False),
        (cri(EVENT), True),
        (b"text\n" + cri(EVENT, b"P"), True),
        (entry(), True),
        (docker("x"), True),
        (json.dumps({"message": "x"}).encode(), False),
        (b"", False),
    ],
)
def test_only_some_files_need_joining(head: bytes, expected: bool) -> None:
    assert needs_joiner(head) is expected
