"""What the loops compute, against what computes the same elsewhere."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Any, Final

import numpy as np
import pytest

from tests.audit.rows.both_ways import assert_same, both_ways
from tests.audit.rows.checked_kernels import Checked, checked_kernels
from tests.audit.rows.odd_lines import TIMES
from tests.audit.rows.plain_lines import a_line, an_id
from transforms.audit.rows import words
from transforms.audit.rows.columns import COLUMNS, KIND, ODD
from transforms.audit.rows.kernels import kernels
from transforms.audit.times import micros

LINE: Final = a_line()
WHEN: Final = b"2026-11-23T05:19:24.906789Z"
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def moments(times: list[str]) -> list[int | None]:
    """When the stages of so many lines were reached; None of those that are odd."""
    lines = [LINE.replace(WHEN, time.encode()) for time in times]
    ends = np.cumsum([len(line) + 1 for line in lines]) - 1
    rows, found = np.zeros((len(lines), COLUMNS), dtype=np.int32), np.zeros((len(lines), 2), dtype=np.int64)
    kernels().scan_lines(np.frombuffer(b"\n".join(lines), dtype=np.uint8), ends, rows, found)
    return [None if kind == ODD else moment for kind, moment in zip(rows[:, KIND].tolist(), found[:, 0].tolist(), strict=True)]


def said(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ").rjust(27, "0")


def test_every_day_of_five_centuries():
    days = [EPOCH + timedelta(days=day, microseconds=day * 86_399_999_999 // 182_622) for day in range(182_622)]
    found = moments([said(day) for day in days])
    assert found == [(day - EPOCH) // timedelta(microseconds=1) for day in days]


def test_every_second_of_a_day_and_every_other_spelling_of_one():
    seconds = [said(datetime(2026, 2, 28, tzinfo=UTC) + timedelta(seconds=second)) for second in range(86_400)]
    assert moments(seconds) == list(map(micros, seconds))
    odd = [
        f"2026-{month:02}-{day:02}T{hour:02}:05:24.906789Z"
        for month in range(14)
        for day in (0, 28, 29, 30, 31, 32)
        for hour in (0, 23, 24)
    ]
    odd += [f"{year}-02-29T00:00:00.000000Z" for year in (1900, 1904, 1972, 2000, 2023, 2024, 2100, 2400, 9996, 9999)]
    odd += ["9999-12-31T23:59:59.999999Z", "1970-01-01T00:00:00.000000Z", *[time.strip('"') for time in TIMES if len(time) == 29]]
    odd += [said(EPOCH)[:at] + bad + said(EPOCH)[at + 1 :] for at in range(27) for bad in "/:-9 AZz"]
    expected = [None if moment is None or moment < 0 else moment for moment in map(micros, odd)]
    assert moments(odd) == expected
    assert {None} < set(expected)


@pytest.mark.parametrize("prefix", [b"", b"a", b"\x0edefault", b"x" * 127, b"x" * 128, b"x" * 129, b"x" * 300])
def test_digests_are_those_of_hashlib(prefix: bytes):
    chance = random.Random(len(prefix))
    with checked_kernels() as loops:
        digest = loops.blake2b.blake2b
        for size in (*range(1, 20), *range(100, 140), 255, 256, 257, 384, 385, 1000):
            data = chance.randbytes(size + 5)
            out = np.zeros(16, dtype=np.uint8)
            working = [Checked(np.zeros(count, dtype=np.uint64), np.uint64) for count in (8, 16)]
            digest(
                Checked(np.frombuffer(prefix, dtype=np.uint8)), Checked(np.frombuffer(data, dtype=np.uint8)), 3, 3 + size, *working, out, 0
            )
            assert out.tobytes() == blake2b(prefix + data[3 : 3 + size], digest_size=16).digest()


def test_records_of_every_length_have_their_digests():
    lines = [a_line(auditID=an_id(at), requestURI=f'"/{"a" * at}"') for at in range(300)]
    assert_same(both_ways(b"\n".join(lines) + b"\n", fold=False))


@pytest.mark.parametrize("most", [64, words.MOST])
def test_parts_are_numbered_by_their_bytes(most: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(words, "MOST", most)
    chance = random.Random(most)
    judged: list[bytes] = []
    table = words.Words(lambda part: None if part.startswith(b"b") else (judged.append(part) or part * 2, part))  # type: ignore[func-returns-value]
    known: dict[bytes, int] = {}
    for _ in range(3):
        texts = [bytes(chance.choices(b"ab\0", k=chance.randrange(5))) + b"c" * chance.randrange(20) for _ in range(20)]
        left_out = [chance.randrange(len(text) + 1) for text in texts]
        assert table.room(len(texts), sum(map(len, texts)))
        data, rows, parts = b"\n", [], []
        for text, at in zip(texts, left_out, strict=True):
            start = len(data)
            cut = chance.choice((b"", b"xyz"))
            data += text[:at] + cut + text[at:] + b"\n"
            rows.append([start, len(data) - 1, start + at, start + at + len(cut)] if chance.randrange(6) else [start, 0, 0, 0])
            parts.append(text if rows[-1][1] else None)
        columns = np.zeros((len(rows), COLUMNS), dtype=np.int32)
        columns[:, :4] = rows
        chosen: Any = np.arange(len(rows))[::-1].copy()
        numbers = table.number(np.frombuffer(data, dtype=np.uint8), columns, chosen, (0, 1, 2, 3)).tolist()
        for part, number in zip(reversed(parts), numbers, strict=True):
            assert number == (-1 if part is None else known.setdefault(part, len(known)))
    assert [table.known[number] for number in known.values()] == [None if part.startswith(b"b") else part for part in known]
    for part, number in known.items():
        start, end = table.places[number].tolist()
        assert table.plain[number] == (not part.startswith(b"b"))
        assert table.encoded[start:end].tobytes() == (b"" if part.startswith(b"b") else part * 2)
    assert len(judged) == sum(not part.startswith(b"b") for part in known)
