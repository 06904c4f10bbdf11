"""The bench measures what it says: the same events, all of them, in every envelope."""

from __future__ import annotations

from tests.bench.envelopes import ENVELOPES, FINAL, PLAIN, measured
from tests.pipelines.job import sample_lines


def test_every_envelope_stands_beside_plain_lines_of_the_same_events():
    lines = sample_lines(300).splitlines()
    rows = {row["envelope"]: row for row in measured(lines, rounds=1)}
    final = sum(b'"stage":"ResponseComplete"' in line for line in lines)
    assert {name: row["events"] for name, row in rows.items()} == {PLAIN: 300, FINAL: final} | {
        each.name: 300 if each.beside == PLAIN else final for each in ENVELOPES
    }
    assert all(row["CPU s/GB"] > 0 < row["read and parse"] for row in rows.values())
