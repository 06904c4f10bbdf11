"""Lines that are plain but for something become the same, as rows or as events: one of them among others, or many at once."""

from __future__ import annotations

import random
from itertools import permutations
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tests.audit.envelopes.wraps import WRAPS
from tests.audit.reduction import STARTED
from tests.audit.rows.both_ways import assert_same, both_ways, both_ways_of_messages, by_consumer
from tests.audit.rows.odd_lines import BODIES, LONG, MORE, TEXTS, VALUES, a_log, drawn, enveloped
from tests.audit.rows.plain_lines import MEMBERS, an_id, early, final, joined, padding
from tests.audit.rows.test_rows_and_events import CHANGES
from transforms.audit import cycle as cycles
from transforms.audit.cycle import Cycle
from transforms.audit.memory import encode_rows

# A failing example is shown as it was found: making it smaller takes minutes.
PHASES: Final = (Phase.explicit, Phase.reuse, Phase.generate)
CONSUMERS: Final = ("eks", "heads", "managed fields omitted by a policy")

seeds = st.integers(0, 1 << 40).map(random.Random)


def every_value(name: str) -> list[str]:
    return [text for value in VALUES[name] for text in ([value.replace("%s", text) for text in TEXTS] if "%s" in value else [value])]


@pytest.mark.parametrize("name", VALUES)
def test_every_odd_value_of_a_member(name: str):
    """In the final event alone, and in both of its stages, at a level with bodies where it is one."""
    about = {"level": '"RequestResponse"'} if name.endswith("Object") else {}
    lines = padding()
    for number, value in enumerate(every_value(name)):
        changes = about | {"auditID": an_id(2 * number)} | {name: value}
        lines += [joined(early(**about, auditID=an_id(2 * number))), joined(final(**changes))]
        changes |= {"auditID": an_id(2 * number + 1)} if name != "auditID" else {}
        lines += [joined(early(**changes)), joined(final(**changes))]
    found = both_ways(b"\n".join(lines), block=64 << 10)
    assert_same(found)
    assert found.as_rows >= 12


def test_every_member_missing_twice_there_or_elsewhere():
    lines = padding()
    members = final(auditID=an_id(0), requestObject="{}", level='"Request"')
    for at, member in enumerate(members):
        lines.append(joined([*members[:at], *members[at + 1 :]]))
        for to in range(len(members) + 1):
            rest = members[:at] + members[at + 1 :]
            lines += [joined([*rest[:to], member, *rest[to:]]), joined([*members[:to], member, *members[to:]])]
            lines += [joined([*members[:to], more, *members[to:]]) for more in MORE]
    numbered = [line.replace(b"00000000-", b"%08x-" % number) for number, line in enumerate(lines[24:])]
    found = both_ways(b"\n".join([*lines[:24], *numbered]) + b"\n", block=64 << 10)
    assert_same(found)
    assert len(found.events.records) > 100


def test_white_space_anywhere():
    line = joined(final(auditID=an_id(0)))
    lines = [
        (line[:at] + space + line[at:]).replace(b"00000000-", b"%08x-" % (4 * at + which))
        for at in range(len(line) + 1)
        for which, space in enumerate((b" ", b"\t", b"\r", b"\0"))
    ]
    assert_same(both_ways(b"\n".join([*padding(), *lines]), block=256 << 10))


def test_a_body_that_ends_anywhere():
    """Bodies are found by what stands around them; here what stands around them is moved into them, and out of them."""
    lines = padding()
    for number, (one, other) in enumerate((one, other) for one in BODIES for other in BODIES):
        changes = {"auditID": an_id(number), "level": '"RequestResponse"', "requestObject": one, "responseObject": other}
        if number % 3 == 0:
            changes |= {"annotations": None}
        lines.append(joined(final(**changes)).replace(b"%s", LONG[number % len(LONG)].encode()))
    assert_same(both_ways(b"\n".join(lines), block=256 << 10))


@settings(max_examples=60, phases=PHASES)
@given(chance=seeds, bytewise=st.booleans())
def test_a_log_with_odd_lines(chance: random.Random, bytewise: bool):
    log = b"\n".join(a_log(chance, 60, bytewise=bytewise)) + chance.choice((b"", b"\n", b"\n\n"))
    assert_same(both_ways(log, block=chance.choice((8 << 10, 64 << 10)), **drawn(chance, CHANGES)))


@pytest.mark.parametrize(
    "name", ["merge_stages.PENDING_LIMIT", "settle_events.ROWS_LIMIT", "aggregate_reads._COUNTED", "scanner.MOST_PLACES"]
)
def test_limits_that_are_reached(name: str, monkeypatch: pytest.MonkeyPatch):
    for limit in (1, 3):
        monkeypatch.setattr(f"transforms.audit.{name}", limit)
        chance = random.Random(limit)
        for block in (8 << 10, 64 << 10):
            assert_same(both_ways(b"\n".join(a_log(chance, 60)) + b"\n", block=block))


@settings(max_examples=30, phases=PHASES)
@given(chance=seeds, changes=st.sampled_from(sorted(CHANGES)))
def test_messages_with_odd_lines(chance: random.Random, changes: str):
    log = a_log(chance, 60, bytewise=True)
    log += [b"\n".join(log[:2]), b"\n", b"{}\n{}"]
    assert_same(both_ways_of_messages(log, piece=chance.choice((16 << 10, 4 << 20)), **CHANGES[changes]))


@pytest.mark.parametrize("name", WRAPS)
def test_odd_lines_in_envelopes(name: str):
    chance = random.Random(name)
    as_rows = 0
    for block in (64 << 10, 4 << 20):
        records = enveloped(a_log(chance, 60), WRAPS[name], chance)
        found = [both_ways(b"\n".join(records) + b"\n", block=block), both_ways_of_messages(records, piece=block)]
        for each in found:
            assert_same(each)
            as_rows += each.as_rows
    assert as_rows


@settings(max_examples=15, phases=PHASES)
@given(chance=seeds, changes=st.sampled_from(["gke", "not merged", "not folded", "first stages omitted"]) | st.none())
def test_a_followed_input_with_odd_lines(chance: random.Random, changes: str | None):
    log = a_log(chance, 90)
    memory: list[str] = []
    waiting: list[Any] = []
    with TemporaryDirectory() as directory:
        for number, start in enumerate(range(0, len(log), 60)):
            cycle = Cycle(STARTED + number * 1_000_000, 0, 0, 600_000_000, tuple(memory), directory)
            some = log[max(0, start - 20) : start + 60]
            found = both_ways_of_messages(some, cycle=cycle, waiting=waiting, **CHANGES.get(changes or "", {}))
            assert_same(found)
            waiting = found.waiting
            file = Path(directory) / f"{number}.rows"
            file.write_bytes(encode_rows([found.settled]))
            memory.append(str(file))
        cycles._memory_of_worker.cache_clear()


@settings(max_examples=10, phases=PHASES)
@given(chance=seeds, keep=st.booleans())
def test_each_of_several_consumers_gets_what_it_gets_alone(chance: random.Random, keep: bool):
    log = b"\n".join(a_log(chance, 60, bytewise=True))
    asked = {name: {"policy": CHANGES[name]["policy"], "keep_managed_fields": keep} for name in CONSUMERS}
    asked["all"] = {"keep_managed_fields": keep}
    for rows in (False, True):
        alone = {name: by_consumer(log, [changes], rows=rows)[0] for name, changes in asked.items()}
        for order in permutations(asked, 3):
            assert by_consumer(log, [asked[name] for name in order], rows=rows) == [alone[name] for name in order]


def test_members_are_those_of_the_samples():
    assert list(MEMBERS) == [name for name, _ in final()]
