"""The bench measures what it says: the same events, all of them, in every envelope."""

from __future__ import annotations

from tests.bench import kafka
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


def test_memory_that_grows_over_minutes_is_said_to_grow_however_it_swings():
    swinging = [(float(second), (400 + 50 * (second % 2)) * 10**6) for second in range(1, 901)]
    growing = [(second, memory + int(second) * 10**5) for second, memory in swinging]
    flat, grown = kafka.held(swinging), kafka.held(growing)
    assert (flat["second third MB"], flat["last third MB"], flat["growth"], flat["peak MB"]) == (425.0, 425.0, 0.0, 450.0)
    assert flat["by minute"] == [[425, 450]] * 15
    assert (round(grown["second third MB"], 2), round(grown["last third MB"], 2), round(grown["growth"], 3)) == (470.05, 500.05, 0.064)
    said = [*kafka.described([{"step": "at full speed", "events": 3_000_000, "events per CPU s": 5000.0, **grown}], 7000.0)]
    assert said[1].startswith("  memory: 470 MB on average in the second third, 500 in the last: +6.4% (bound 3 % over 15 minutes)")
