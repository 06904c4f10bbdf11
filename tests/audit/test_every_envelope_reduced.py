"""The same events in every envelope give the same reduced records, through everything that the job does."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING, Any, Final

import msgspec
import pytest

from tests.audit.envelopes.wraps import WRAPS, compact, cri_fragments, docker, gke
from tests.audit.reduction import Outcome, closes, reduce_files
from tests.pipelines.job import sample_lines

if TYPE_CHECKING:
    from collections.abc import Callable

LINES: Final = [line for line in sample_lines(400).splitlines() if len(line) < 60_000]
CLUSTER: Final = ["c"]


def pretty(events: list[bytes]) -> bytes:
    """An EventList over many lines."""
    return msgspec.json.format(WRAPS["event_list"](events), indent=2)


def mixed(events: list[bytes]) -> bytes:
    """A line or two of each envelope, one after the other."""
    names = sorted(WRAPS.keys() - {"firehose"})
    return b"\n".join(WRAPS[names[at % len(names)]](events[at : at + 7]) for at in range(0, len(events), 7))


ALL: Final[dict[str, Callable[[list[bytes]], bytes]]] = {
    **WRAPS,
    "docker": docker,
    "cri_fragments": cri_fragments,
    "pretty": pretty,
    "mixed": mixed,
    "gzip": lambda events: (
        gzip.compress(WRAPS["firehose"](events[:200]), mtime=0) + gzip.compress(WRAPS["firehose"](events[200:]), mtime=0)
    ),
}


def facts(outcome: Outcome) -> Any:
    """All that was written, less where it was read and how many bytes it took there."""
    for event in outcome.events:
        event["reductions"] = [{**each, "bytes": 0} if each["kind"] == "managedFields" else each for each in event["reductions"]]
    events = [{name: value for name, value in event.items() if name != "source"} for event in outcome.events]
    reads = [{name: value for name, value in row.items() if name != "bytes"} for row in outcome.reads]
    for row in reads:
        if row["exemplar"]:
            row["exemplar"] = row["exemplar"]["digest"]
    return events, sorted(reads, key=repr)


PLAIN: Final = reduce_files([b"\n".join(LINES)], clusters=CLUSTER)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("block_size", [1 << 20, 50_000])
def test_the_records_are_those_of_the_plain_lines(name: str, block_size: int) -> None:
    outcome = reduce_files([ALL[name](LINES)], clusters=CLUSTER, block_size=block_size)
    assert (outcome.account.events, outcome.account.dead_lettered) == (len(LINES), {})
    assert closes(outcome)
    assert facts(outcome) == facts(PLAIN)


def test_gke_says_as_much_as_its_entries_hold() -> None:
    """What the table in the README lists differs, and nothing else."""
    final = [line for line in LINES if b'"stage":"ResponseComplete"' in line]
    plain = reduce_files([b"\n".join(final)], clusters=CLUSTER, fold=False)
    outcome = reduce_files([gke(final)], clusters=CLUSTER, fold=False)
    assert closes(outcome)
    assert (outcome.account.events, len(outcome.events)) == (len(final), len(plain.events))
    for entry, event in zip(outcome.events, plain.events, strict=True):
        same = ["stage", "verb", "auditID", "userAgent", "stageTimestamp", "annotations", "cluster"]
        if event["responseStatus"]["code"] < 400:
            same += ["requestObject", "responseObject"]
        assert {name: entry[name] for name in same} == {name: event[name] for name in same}
        assert entry["user"]["username"] == event["user"]["username"]
        assert entry["sourceIPs"] == event["sourceIPs"][:1]
        assert {"GROUPS_UNKNOWN", "LEVEL_INFERRED", "QUERY_UNKNOWN", "URI_INFERRED"} <= set(entry["flags"])
        if event["objectRef"]:
            names = ["resource", "namespace", "name", "apiGroup", "apiVersion", "subresource"]
            assert {name: entry["objectRef"][name] for name in names} == {name: event["objectRef"][name] for name in names}


def test_envelopes_in_envelopes_give_the_records_too() -> None:
    inner = [WRAPS["event_list"](LINES[at : at + 5]) for at in range(0, 100, 5)]
    deep = WRAPS["cri"]([WRAPS["vector"]([WRAPS["azure"]([WRAPS["cloudwatch"]([one])])]) for one in inner])
    assert facts(reduce_files([deep], clusters=CLUSTER)) == facts(reduce_files([b"\n".join(LINES[:100])], clusters=CLUSTER))
    wrapped = b"\n".join(compact({"message": line.decode()}) for line in deep.splitlines()) + b"\n"
    outcome = reduce_files([wrapped], clusters=CLUSTER)
    assert outcome.account.dead_lettered == {"TOO_DEEP": 20}
    assert closes(outcome)
