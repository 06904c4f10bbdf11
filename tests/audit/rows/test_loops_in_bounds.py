"""No loop reads or writes beyond its arrays, whatever the lines, and compiled it gives what it says."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests.audit.rows.both_ways import assert_same, both_ways_of_messages
from tests.audit.rows.checked_kernels import Checked, CheckedRows, checked_kernels
from tests.audit.rows.odd_lines import a_log
from tests.audit.rows.plain_lines import a_line, a_pair, an_id
from transforms.audit.rows.columns import COLUMNS, FINAL, KIND, ODD

if TYPE_CHECKING:
    from collections.abc import Sequence


def checked(lines: Sequence[bytes], **more: Any) -> int:
    """As messages, the last of which ends where their bytes end."""
    with checked_kernels():
        found = both_ways_of_messages(lines, **more)
    assert_same(found)
    assert found.rows == both_ways_of_messages(lines, **more).rows
    return found.as_rows


def test_the_bounds_are_known():
    rows = CheckedRows(np.zeros((2, 3), dtype=np.int32), 3)
    for at in ((0, -1), (0, 3), (2, 0), (-1, 0)):
        with pytest.raises(IndexError):
            rows[at]
        with pytest.raises(IndexError):
            rows[at] = 1
    with pytest.raises(IndexError):
        Checked(np.zeros(9, dtype=np.uint8)).word(2)
    assert Checked(np.arange(9, dtype=np.uint8)).word(1) == 0x0807060504030201


@pytest.mark.parametrize("seed", range(3))
def test_odd_lines(seed: int):
    assert checked(a_log(random.Random(seed), 40, bytewise=True)) > 5


def test_a_line_cut_anywhere_at_the_end_of_its_block():
    line = a_line(auditID=an_id(1), level='"Request"', requestObject='{"a":"b"}')
    assert len(line) > 600
    kinds = set()
    with checked_kernels() as loops:
        for end in range(380, len(line) + 1):
            for tail in (b"", b"}", b'"}', b'"}}'):
                data = line[:end] + tail
                lines, moments = np.zeros((1, COLUMNS), dtype=np.int32), np.zeros((1, 2), dtype=np.int64)
                loops.scan_lines(np.frombuffer(data, dtype=np.uint8), np.array([len(data)]), lines, moments)
                kinds.add((int(lines[0, KIND]), end))
    assert (FINAL, len(line)) in kinds
    assert {kind for kind, end in kinds if end < 600} == {ODD}


def test_nothing_but_records_of_the_least_and_of_the_largest_size():
    short = a_line(auditID=an_id(7), annotations=None, objectRef=None, userAgent=None, user="{}", sourceIPs='["::1"]', requestURI='"/"')
    short = short.replace(b'"/"', b'"/%b"' % (b"a" * (400 - len(short))))
    assert len(short) == 400
    log = [short.replace(b"00000007", b"%08x" % at) for at in range(10)]
    assert checked(log) == 10
    assert checked([line.replace(b"aa", b"a") for line in log]) == 0
    long = {"userAgent": f'"{"a" * 8000}"', "requestURI": f'"/{"b" * 8000}"', "annotations": '{"a":"' + "c" * 8000 + '"}'}
    reference = '{"resource":"pods","namespace":"n","name":"' + "d" * 8000 + '","resourceVersion":"' + "7" * 8000 + '"}'
    log = [line for at in range(8) for line in a_pair(auditID=an_id(at), objectRef=reference, **long)]
    assert checked(log, fold=False) == 8


@pytest.mark.integration
@pytest.mark.parametrize("seed", range(5))
def test_a_thousand_odd_lines_and_more(seed: int):
    chance = random.Random(seed)
    for _ in range(10):
        checked(a_log(chance, 60, bytewise=True), piece=64 << 10)
