"""Bodies that lie side by side become, each, what the steps for events make of it alone."""

from __future__ import annotations

import random
from itertools import product
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from msgspec import Raw

from tests.audit.rows.checked_kernels import checked_kernels
from tests.audit.rows.odd_bodies import a_body
from tests.audit.test_body_scan import traps
from transforms.audit import scanner
from transforms.audit.body_scan import VARIABLES, scan_bodies, scan_body
from transforms.audit.event import Event
from transforms.audit.managed_fields import strip_managed_fields
from transforms.audit.parts import json_text
from transforms.audit.redaction import Redactor
from transforms.audit.rows.bodies import Bodies
from transforms.audit.rows.kernels import kernels
from transforms.audit.self_test import self_test

if TYPE_CHECKING:
    from collections.abc import Sequence

URI: Final = "/api/v1/namespaces/shop/pods"
STATUS: Final = b'{"metadata":{},"code":200}'
NAMES: Final = ("requestObject", "responseObject")
PHASES: Final = (Phase.explicit, Phase.reuse, Phase.generate)
seeds = st.integers(0, 1 << 40).map(random.Random)
redactor: Final = Redactor()


class Became(NamedTuple):
    """What a body became; nothing, and nothing cut, if its event is withheld."""

    text: bytes | None
    cut: list[Any]


def redact(event: Event, _: int = 0) -> None:
    redactor.redact_bodies(event, URI, STATUS)


def alone(body: bytes, number: int, *, strips: bool) -> Became:
    """As an event with nothing else."""
    event = Event(**{NAMES[number & 1]: Raw(body)})  # type: ignore[arg-type]
    if strips:
        strip_managed_fields(event)
    redact(event)
    if event.flags is not None:
        return Became(None, [])
    return Became(json_text(bytes(getattr(event, NAMES[number & 1]))), sorted(event.reductions or []))


def laid(bodies: Sequence[bytes], chance: random.Random) -> tuple[bytes, Any]:
    """The bodies in lines, with what a line has around them or nothing at all; and where they are."""
    data, spans = b"", []
    for body in bodies:
        data += chance.choice((b"", b"", b',"responseObject":', b'"managedFields":[', b"managedFields", b'"value":"', b"\n"))
        spans.append((len(data), len(data) + len(body)))
        data += body
    return data + chance.choice((b"", b"}\n")), np.array(spans, dtype=np.int64)


def together(bodies: Sequence[bytes], chance: random.Random, *, strips: bool) -> list[Became]:
    """As bodies of a block, which several consumers want one after another: the first some, the last all of them."""
    texts = Bodies(*laid(bodies, chance)).texts(strips=strips)
    for share in (*(chance.random() for _ in range(chance.randrange(3))), 1):
        which = np.flatnonzero([chance.random() < share for _ in bodies])
        texts.strip(which[: chance.randrange(len(which) + 1)])
        texts.strip(which)
        closer = np.array([chance.randrange(20) == 0 for _ in which], dtype=bool)
        texts.redact(which, closer, redact)
        texts.compact(which[~texts.withheld(which)])
    withheld = texts.withheld(np.arange(len(bodies))).tolist()
    became = [Became(texts.text(number), sorted(texts.reductions_of(number))) for number in range(len(bodies))]
    return [Became(None, []) if gone else each for each, gone in zip(became, withheld, strict=True)]


def assert_same(bodies: Sequence[bytes], chance: random.Random, *, strips: bool = True) -> list[Became]:
    found = together(bodies, chance, strips=strips)
    for number, (body, became) in enumerate(zip(bodies, found, strict=True)):
        assert (body, became) == (body, alone(body, number, strips=strips))
        assert became.text is None or _is_json(became.text)
    return found


def drawn(chance: random.Random, most: int) -> list[bytes]:
    found = [a_body(chance) for _ in range(chance.randrange(1, most))]
    assert all(map(_is_json, found))
    return found


def _is_json(text: bytes) -> bool:
    return bool(msgspec.json.Decoder(Raw).decode(text))


@settings(max_examples=300, deadline=None, phases=PHASES)
@given(chance=seeds, strips=st.booleans())
def test_bodies_side_by_side_become_what_each_becomes_alone(chance: random.Random, strips: bool):
    assert_same(drawn(chance, 60), chance, strips=strips)


@settings(max_examples=40, deadline=None, phases=PHASES)
@given(chance=seeds)
def test_neighbours_and_order_do_not_matter(chance: random.Random):
    bodies = drawn(chance, 20)
    expected = sorted(zip(bodies, [became.text for became in together(bodies, chance, strips=True)], strict=True), key=repr)
    for _ in range(3):
        chance.shuffle(bodies)
        found = zip(bodies, [became.text for became in together(bodies, chance, strips=True)], strict=True)
        assert sorted(found, key=repr) == expected


def test_the_traps_are_traps():
    """Bodies are stripped by slices and in trees, masked, redacted and made dense."""
    chance = random.Random(1)
    bodies = [a_body(chance) for _ in range(2500)]
    texts = Bodies(*laid(bodies, chance)).texts(strips=True)
    which = np.arange(len(bodies))
    texts.strip(which)
    stripped = len(texts.reductions)
    sliced = int((texts.cuts[:, 1, 0] > 0).sum())
    texts.redact(which, np.zeros(len(which), dtype=bool), redact)
    masked = int((texts.cuts[:, 0, 0] > 0).sum())
    redacted = sum("credential" in [kind for kind, *_ in cuts] for cuts in texts.reductions.values())
    before = texts.pool.size and texts.spans.copy()
    texts.compact(which)
    dense = int((before != texts.spans).any(axis=1).sum())
    assert min(stripped, sliced, masked, redacted, dense) > 40, (stripped, sliced, masked, redacted, dense)


@pytest.mark.parametrize("limit", [1, 7])
def test_more_matches_than_are_worth_telling(limit: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(scanner, "MOST_PLACES", limit)
    chance = random.Random(limit)
    for _ in range(5):
        assert_same(drawn(chance, 30), chance)


@pytest.mark.parametrize("seed", range(4))
def test_no_loop_reads_or_writes_beyond_its_arrays(seed: int):
    bodies = drawn(random.Random(seed), 50)
    compiled = assert_same(bodies, random.Random(seed))
    with checked_kernels():
        assert assert_same(bodies, random.Random(seed)) == compiled


SMALL: Final = (b'{"managedFields":[]}', b"{}", b"0", b'""', b'{"name":"TOKEN","value":"x"}', b'[{"managedFields":[{}],"a":"b c"}]', b"[ ]")


def test_the_least_bodies_at_the_ends_of_their_arrays():
    with checked_kernels():
        for first, last, strips in product(SMALL, SMALL, (True, False)):
            texts = Bodies(first + last, np.array([(0, len(first)), (len(first), len(first + last))])).texts(strips=strips)
            which = np.arange(2)
            texts.strip(which)
            texts.redact(which, np.zeros(2, dtype=bool), redact)
            texts.compact(which)
            for number, body in enumerate((first, last)):
                assert (texts.text(number), sorted(texts.reductions_of(number))) == alone(body, number, strips=strips)


@pytest.mark.parametrize("size", [40, 47, 48, 49, 95, 96, 97, 4000, 4095, 4096, 4097, 8191, 8192, 8193])
@pytest.mark.parametrize("letters", [b"Ab", b"A."])
def test_what_is_long_is_found_wherever_it_stands(size: int, letters: bytes):
    """Runs of letters, and strings without a quote, at every distance from the steps in which the loops look."""
    long = (letters * size)[:size]
    bodies = [b'{"%b":"%b"%b}' % (b"k." * at, long, end) for at in range(0, 60, 7) for end in (b"", b',"' + long + b'":"%b"' % long[:-1])]
    bodies += [b'["%b%b"]' % (b"." * at, long) for at in range(100)] + [b'"%b"' % long, b'["%b","%b"]' % (long[:-1], long[:-1])]
    data, spans = b"".join(bodies), np.cumsum([0, *map(len, bodies)])
    found = np.zeros(len(bodies), dtype=np.uint8)
    kernels().find_runs(np.frombuffer(data, dtype=np.uint8), np.stack([spans[:-1], spans[1:]], axis=1), found)
    seen = [min(scan_body(body), default=0) < 0 for body in bodies]
    assert found.astype(bool).tolist() == seen
    if size in (48, 4096):
        assert seen[0] == (letters == b"Ab" or size > 48)


@settings(max_examples=300, deadline=None, phases=PHASES)
@given(parts=st.lists(traps, min_size=1, max_size=6))
def test_what_is_found_in_one_body_is_found_among_others(parts: list[bytes]):
    bodies = [b'{"a":"%b"}' % part for part in parts]
    data, ends = b"".join(bodies), np.cumsum(list(map(len, bodies)))
    starts = ends - list(map(len, bodies))
    numbers, places = scan_bodies.places(data)
    runs = np.zeros(len(bodies), dtype=np.uint8)
    kernels().find_runs(np.frombuffer(data, dtype=np.uint8), np.stack([starts, ends], axis=1), runs)
    for body, start, end, run in zip(bodies, starts.tolist(), ends.tolist(), runs.tolist(), strict=True):
        seen, within = scan_body(body), (places > start) & (places <= end)
        assert run or (numbers[within] != VARIABLES).any() or min(seen, default=0) == 0 or min(seen) > 0, body
        found = sorted((places[within & (numbers == VARIABLES)] - start).tolist())
        assert found == [place for place in seen if place > 0]


def test_a_body_that_nobody_can_search_is_withheld_and_its_neighbours_are_not():
    deep = b"[" * 400 + b'"password=hunter2-hunter2"' + b"]" * 400
    bodies = [b'{"a":1}', deep, b'{"name":"DB_PASSWORD","value":"x"}', deep, b'{"managedFields":[]}']
    texts = [became.text for became in assert_same(bodies, random.Random(0))]
    assert texts == [b'{"a":1}', None, b'{"name":"DB_PASSWORD","value":"<redacted: 1 bytes>"}', None, b"{}"]


TWICE: Final = (
    b'{"managedFields":[{}],"managedFields":[{}]}',
    b'{"managedFields":[{}],"managedFields":[{}],"a":1}',
    b'{"managedFields":[],"managedFields":[],"managedFields":[],"a":1}',
    b'{"a":1,"managedFields":[],"managedFields":[],"b":2,"managedFields":[]}',
    b'[{"managedFields":[],"managedFields":[],"a":{}},{"managedFields":[],"managedFields":[],"a":{}}]',
)


@pytest.mark.parametrize("body", TWICE)
def test_what_stands_there_twice_takes_no_comma_twice(body: bytes):
    bodies = [b'{"a":1}', body, body, b'{"b":2}']
    assert_same(bodies, random.Random(0))
    with checked_kernels():
        assert_same(bodies, random.Random(0))


def test_the_self_test_tells_that_nobody_looks(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("transforms.audit.rows.bodies.Texts._look", lambda *_: None)
    assert {"pod variables and arguments", "secret in base64", "last-applied", "escaped key"} <= set(self_test(Redactor()))
