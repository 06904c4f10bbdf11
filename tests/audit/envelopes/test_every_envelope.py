"""The same events come out of every envelope."""

from __future__ import annotations

import random
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.audit.envelopes.mutations import mutated
from tests.audit.envelopes.wraps import WRAPS
from transforms.audit.recognise import CODES, recognise

if TYPE_CHECKING:
    from transforms.audit.event import Event

REAL = [line for line in (Path(__file__).parents[1] / "data" / "real_events.ndjson").read_bytes().split(b"\n") if line and len(line) < 8000]
GKE = (Path(__file__).parents[1] / "data" / "gke_entries.ndjson").read_bytes().splitlines()
CLUSTERS = {"cloudwatch": "prod", "lambda_event": "prod", "kinesis": "prod", "firehose": "prod", "azure": "TEST-CLUSTER"}


def events(records: bytes) -> list[Event | str | None]:
    return [found.event or found.code for line in records.split(b"\n") for found in recognise(line)]


@pytest.mark.parametrize("name", WRAPS)
@settings(max_examples=25)
@given(chosen=st.lists(st.sampled_from(REAL), min_size=1, max_size=4))
def test_wrapped_events_are_the_events(name: str, chosen: list[bytes]) -> None:
    assert events(WRAPS[name](chosen)) == events(b"\n".join(chosen))


@pytest.mark.parametrize("name", WRAPS)
def test_a_wrapped_event_counts_the_bytes_of_the_event(name: str) -> None:
    if name != "splunk":  # an object within an object is what its JSON is there
        (found,) = recognise(WRAPS[name]([REAL[0]]))
        assert found.length == len(REAL[0])


@pytest.mark.parametrize("name", WRAPS)
def test_an_envelope_contributes_the_cluster_that_it_names(name: str) -> None:
    (found,) = recognise(WRAPS[name]([REAL[0]]))
    assert found.cluster == CLUSTERS.get(name)


@settings(max_examples=200)
@given(
    names=st.lists(st.sampled_from(sorted(WRAPS.keys() - {"lambda_event", "kinesis", "pubsub"})), min_size=2, max_size=4),
    chosen=st.lists(st.sampled_from(REAL[:40]), min_size=1, max_size=2),
)
def test_envelopes_in_envelopes_up_to_four_deep(names: list[str], chosen: list[bytes]) -> None:
    records = chosen
    for name in names:
        assume(name not in {"splunk", "event_list"} or records[0][:1] in {b"{", b'"'})  # they hold JSON only
        records = [WRAPS[name]([record]) for record in records]
    assert [found.event for record in records for found in recognise(record)] == events(b"\n".join(chosen))


def test_the_cluster_named_nearest_to_the_event_counts() -> None:
    (found,) = recognise(WRAPS["azure"]([WRAPS["cloudwatch"]([REAL[0]])]))
    assert found.cluster == "prod"
    (found,) = recognise(WRAPS["cloudwatch"]([WRAPS["vector"]([REAL[0]])]))
    assert found.cluster == "prod"


@pytest.mark.parametrize("name", sorted(WRAPS.keys() - {"event_list"}))
def test_a_cut_event_in_an_envelope_is_one_dead_letter(name: str) -> None:
    if name == "splunk":
        return
    records = WRAPS[name]([REAL[0][:-30], REAL[1]])
    outcomes = [found.code for line in records.split(b"\n") for found in recognise(line)]
    assert outcomes[1:] == [None]
    assert outcomes[0] in {"TRUNCATED", "INVALID_JSON"}


@pytest.mark.parametrize("name", [*WRAPS, "gke"])
def test_mutated_envelopes_never_raise(name: str) -> None:
    chance = random.Random(name)
    short = [line for line in REAL if len(line) < 2500]
    for _ in range(500):
        record = chance.choice(GKE) if name == "gke" else WRAPS[name](chance.sample(short, 2))
        for _ in range(chance.randrange(1, 4)):
            record = mutated(record, chance) or b"x"
        for found in recognise(record):
            assert (found.event is None) == (found.code is not None)
            assert found.code is None or found.code in CODES
