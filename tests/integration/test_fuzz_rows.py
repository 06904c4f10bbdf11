"""A hundred thousand odd lines, many of them broken, among plain ones: as rows they become what they become as events.

`FUZZ_CASES` sets another number.
"""

from __future__ import annotations

import os
import random
from typing import Final

import pytest

from tests.audit.envelopes.mutations import mutated
from tests.audit.envelopes.wraps import WRAPS
from tests.audit.rows.both_ways import assert_same, both_ways, both_ways_of_messages
from tests.audit.rows.odd_lines import a_log, drawn, enveloped
from tests.audit.rows.test_rows_and_events import CHANGES
from tests.pipelines.job import sample_lines

pytestmark = pytest.mark.integration
CASES: Final = int(os.environ.get("FUZZ_CASES", "100000"))
AT_ONCE: Final = 10_000
SHORT: Final = 4_000  # bytes; long bodies would only make it slow


@pytest.mark.parametrize("seed", range(max(1, CASES // AT_ONCE)))
def test_odd_lines(seed: int):
    chance = random.Random(seed)
    left, as_rows = min(AT_ONCE, CASES), 0
    while left > 0:
        log = a_log(chance, 60, bytewise=True)
        left -= len(log)
        data = b"\n".join(log) + chance.choice((b"", b"\n"))
        found = both_ways(data, block=chance.choice((8 << 10, 64 << 10, 4 << 20)), **drawn(chance, CHANGES))
        assert_same(found)
        as_rows += found.as_rows
    assert as_rows > min(AT_ONCE, CASES) // 10


@pytest.mark.parametrize("seed", range(max(1, CASES // AT_ONCE)))
def test_real_lines_of_which_some_are_broken(seed: int):
    chance = random.Random(seed)
    real = [line for line in sample_lines(4000).split(b"\n") if 0 < len(line) < SHORT]
    left, as_rows = min(AT_ONCE, CASES), 0
    while left > 0:
        at = chance.randrange(len(real) - 200)
        log = [mutated(line, chance).replace(b"\n", b" ") if chance.randrange(6) == 0 else line for line in real[at : at + 200]]
        left -= len(log)
        found = both_ways(b"\n".join(log), block=chance.choice((64 << 10, 4 << 20)), **drawn(chance, CHANGES))
        assert_same(found)
        as_rows += found.as_rows
    assert as_rows > min(AT_ONCE, CASES) // 10


@pytest.mark.parametrize("name", WRAPS)
def test_odd_lines_in_envelopes(name: str):
    chance = random.Random(name)
    left = CASES // len(WRAPS)
    while left > 0:
        records = enveloped(a_log(chance, 60), WRAPS[name], chance)
        left -= 60
        asked = drawn(chance, CHANGES)
        assert_same(both_ways(b"\n".join(records) + b"\n", block=chance.choice((16 << 10, 64 << 10, 4 << 20)), **asked))
        assert_same(both_ways_of_messages(records, **asked))
