"""A hundred thousand broken inputs: never an exception, never a leak, the equation closed every time.

`FUZZ_CASES` sets another number.
"""

from __future__ import annotations

import os
import random
from typing import TYPE_CHECKING

import pytest

from tests.audit import test_redaction_properties
from tests.audit.envelopes.mutations import mutated
from tests.audit.reduction import closes, reduce_files
from tests.pipelines.job import sample_lines

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.integration
CASES = int(os.environ.get("FUZZ_CASES", "100000"))
AT_ONCE = 10_000
SHORT = 4_000  # bytes; long bodies would only make it slow


def test_mutated_bodies_of_secrets_never_raise_and_never_leak(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(test_redaction_properties, "FUZZED", CASES)
    test_redaction_properties.test_mutated_bodies_never_raise_and_never_leak()


def mutations(lines: list[bytes], count: int, chance: random.Random) -> Iterator[bytes]:
    """Real lines with up to three changes each, without line feeds of their own."""
    while count:
        record = chance.choice(lines)
        for _ in range(chance.randrange(1, 4)):
            record = mutated(record, chance) if record else record
        record = record.replace(b"\n", b" ")
        if record.strip():
            count -= 1
            yield record


@pytest.mark.parametrize("seed", range(max(1, CASES // AT_ONCE)))
def test_mutated_lines_each_count_once_and_the_accounts_close(seed: int):
    chance = random.Random(seed)
    lines = _short_lines()
    records = list(mutations(lines, min(AT_ONCE, CASES), chance))
    outcome = reduce_files([b"\n".join(records) + b"\n"], block_size=1 << 16)
    assert closes(outcome)
    assert outcome.account.events >= len(records)


def _short_lines() -> list[bytes]:
    return [line for line in sample_lines(2000).split(b"\n") if 0 < len(line) < SHORT]
