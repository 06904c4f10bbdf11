"""Lines in fields, lines with prefixes, and what base64 and gzip hold."""

from __future__ import annotations

import gzip
import json
from base64 import b64encode, urlsafe_b64encode

import pytest

from tests.audit.envelopes.outcomes import outcomes
from tests.audit.envelopes.wraps import compact, packed
from tests.examples import an_event, line
from transforms.audit.envelopes.unpack import UNPACKED_LIMIT, Unpackable, decoded, unpacked
from transforms.audit.recognise import recognise

EVENT = line(an_event()).strip()
TEXT = EVENT.decode()
CRI = b"2026-01-02T03:04:05.678901234Z stdout F "


@pytest.mark.parametrize(
    ("wrap", "expected"),
    [
        ({"log": TEXT + "\n", "stream": "stdout", "time": "2026-01-02T03:04:05Z"}, ["event"]),
        ({"log": "\n", "stream": "stdout", "time": "2026-01-02T03:04:05Z"}, []),
        ({"stream": "stdout", "log": TEXT + "\n", "x": 1}, ["event"]),
        ({"stream": "stdout", "log": "klog\n", "time": 7}, ["NOT_AUDIT"]),
        ({"stream": "stdout"}, ["NOT_AUDIT"]),
        ({"message": TEXT, "log": "other text"}, ["event"]),
        ({"message": "other text", "log": TEXT}, ["event"]),
        ({"structured": an_event(), "message": ""}, ["event"]),
        ({"_raw": TEXT, "_time": "1"}, ["event"]),
        ({"topic": "audit", "partition": 0, "offset": 7, "value": TEXT}, ["event"]),
        ({"MESSAGE": TEXT, "PRIORITY": "6"}, ["event"]),
        ({"message": "started", "level": "info"}, ["NOT_AUDIT"]),
        ({"message": 7}, ["NOT_AUDIT"]),
        ({"message": TEXT[:-9]}, ["TRUNCATED"]),
        ({"message": "[" + TEXT + "," + TEXT + "]"}, ["event", "event"]),
        ({"message": "[]"}, []),
        (
            {"Records": [{"Sns": {"Message": TEXT}}, {"body": TEXT}, {"Data": packed(EVENT)}, {}, 7]},
            ["event", "event", "event", "NOT_AUDIT", "NOT_AUDIT"],
        ),
        ({"Records": 7}, ["NOT_AUDIT"]),
        ({"records": [{"recordId": "1", "data": packed(EVENT)}]}, ["event"]),
        ({"message": {"data": b64encode(EVENT).decode(), "messageId": "1"}}, ["event"]),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_a_line_in_a_field_is_read(wrap: object, expected: list[str]) -> None:
    assert outcomes(compact(wrap)) == expected


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (CRI + EVENT, ["event"]),
        (b"2026-01-02T03:04:05.678901234+02:00 stderr F " + EVENT, ["event"]),
        (b"2026-01-02T03:04:05Z stdout F:tag " + EVENT, ["event"]),
        (CRI + b"I0102 03:04:05 klog", ["NOT_AUDIT"]),
        (CRI, []),
        (CRI.rstrip(), []),
        (CRI.replace(b"F", b"P") + EVENT[:100], ["INCOMPLETE_RECORD"]),
        (CRI + EVENT[100:], ["NOT_AUDIT"]),
        (CRI + EVENT[:100], ["TRUNCATED"]),
        (b"2026-01-02T03:04:05.678Z " + EVENT, ["event"]),
        (b"2026-01-02T03:04:05.678Z text", ["NOT_AUDIT"]),
        (b"2026-01-02 text", ["INVALID_JSON"]),
    ],
)
def test_a_line_with_a_prefix_is_read(record: bytes, expected: list[str]) -> None:
    assert outcomes(record) == expected


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (b64encode(EVENT), ["event"]),
        (b64encode(EVENT).rstrip(b"="), ["event"]),
        (urlsafe_b64encode(EVENT + "ÿ?>".encode()), ["TRUNCATED"]),
        (gzip.compress(EVENT, mtime=0), ["event"]),
        (gzip.compress(EVENT, mtime=0) + gzip.compress(b"\n" + EVENT, mtime=0), ["event", "event"]),
        (packed(b"[" + EVENT + b"," + EVENT + b"]").encode(), ["event", "event"]),
        (packed(EVENT)[:200].encode(), ["BROKEN_ENCODING"]),
        (gzip.compress(EVENT, mtime=0)[:-20], ["BROKEN_ENCODING"]),
        (b"\x1f\x8b\x08 no gzip", ["BROKEN_ENCODING"]),
        (b64encode(b'{"level":"\xff"}' + b" " * 9), ["INVALID_UTF8"]),
        (b"aVeryLongWordThatIsNoBase64OfJson", ["INVALID_JSON"]),
        (b"abc", ["INVALID_JSON"]),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_base64_and_gzip_are_unpacked(record: bytes, expected: list[str]) -> None:
    assert outcomes(record) == expected


def test_unpacking_is_bounded() -> None:
    with pytest.raises(Unpackable, match="too much"):
        unpacked(gzip.compress(b"x" * (UNPACKED_LIMIT + 1)))
    many = gzip.compress(b"x" * (UNPACKED_LIMIT // 2)) * 3
    with pytest.raises(Unpackable, match="too much"):
        decoded(b64encode(many))


def test_a_dead_letter_says_nothing_of_the_text() -> None:
    for record in (compact({"message": '{"password":"hunter2'}), CRI + b'{"hunter2"', b64encode(b'{"password":"hunter2"')):
        (found,) = recognise(record)
        assert "hunter2" not in found.message


def test_an_array_of_json_texts_is_read() -> None:
    assert outcomes(json.dumps([TEXT, "klog", TEXT]).encode()) == ["event", "NOT_AUDIT", "event"]
