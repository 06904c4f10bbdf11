"""The reads of a split, folded: counts, times, samples, and the event that stands for them."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st

from tests.audit.logs import TARGETS, stages_of
from tests.examples import line
from transforms.audit.aggregate_reads import ReadGuard, Reads, addresses
from transforms.audit.parse_events import _decode
from transforms.audit.read_summary import _sample_order
from transforms.audit.times import micros

if TYPE_CHECKING:
    from transforms.audit.event import Event
    from transforms.audit.read_summary import ReadSummary

WINDOW = 60_000_000


def a_read(second: str = "05:20:00", offset: int = 0, **changes: Any) -> Event:
    (fields,) = stages_of(TARGETS[0], ("ResponseComplete",), [second], **changes)
    event = _decode(line(fields))
    event.offset, event.item, event.size = offset, 0, 100  # type: ignore[assignment]
    event.moment = micros(event.stageTimestamp)  # type: ignore[assignment]
    return event


def folded(events: list[Event], window: int = WINDOW) -> list[ReadSummary]:
    reads, guard = Reads(window), ReadGuard()
    for event in events:
        read, name, why = guard.classify(event)
        assert read is not None
        assert why is None
        reads.add(event, read, name, "east")
    flushed = reads.flush(3, lambda event, cluster: f"{cluster} {event.offset}".encode())
    assert len(reads) == 0
    return [row for at in sorted(flushed) for row in flushed[at]]


def test_reads_in_one_window_become_one_summary():
    (row,) = folded([a_read("05:20:01", 7), a_read("05:20:00", 9), a_read("05:20:00", 8)])
    assert (row.cluster, row.count, row.size, row.last - row.first) == ("east", 3, 300, 1_000_000)
    assert (row.exemplar, row.order[1:]) == (b"east 8", (3, 8, 0))


def test_windows_are_aligned_to_the_epoch_and_end_before_the_next_begins():
    rows = folded([a_read("05:19:59"), a_read("05:20:00")])
    assert [row.window % WINDOW for row in rows] == [0, 0]
    assert rows[1].window - rows[0].window == WINDOW
    assert len(folded([a_read("05:19:59"), a_read("05:20:00")], 3_600_000_000)) == 1


def test_merged_stages_count_and_weigh():
    event = a_read()
    event.merged = [a_read("05:19:59"), a_read("05:19:58")]  # type: ignore[assignment]
    (row,) = folded([event, a_read()])
    assert (row.count, row.merged, row.size) == (2, 2, 400)


def test_whoever_asks_otherwise_is_another_row():
    changes: list[dict[str, Any]] = [
        {},
        {"user": {"username": "bob"}},
        {"userAgent": "curl"},
        {"verb": "watch"},
        {"objectRef": {"resource": "pods", "namespace": "bank", "apiVersion": "v1"}},
        {"objectRef": {"resource": "pods", "namespace": "shop", "subresource": "status", "apiVersion": "v1"}},
        {"objectRef": {"resource": "services", "namespace": "shop", "apiVersion": "v1"}},
        {"objectRef": {"resource": "pods", "apiGroup": "metrics.k8s.io", "namespace": "shop"}},
    ]
    rows = folded([a_read(**each) for each in changes] * 2)
    assert [row.count for row in rows] == [2] * len(changes)


def test_names_addresses_and_version_do_not_part_rows_but_are_sampled():
    events = [
        a_read(
            objectRef={"resource": "pods", "namespace": "shop", "name": f"cart-{number}", "apiVersion": version},
            sourceIPs=[f"10.0.0.{number}"],
        )
        for number, version in ((1, "v1"), (2, "v2"), (2, "v1"))
    ]
    (row,) = folded(events)
    assert row.names.values == {"cart-1": 1, "cart-2": 2}
    assert row.addresses.values == {"10.0.0.1": 1, "10.0.0.2": 2}


@given(st.lists(st.integers(0, 30), min_size=1, max_size=100))
def test_samples_are_the_smallest_by_hash_with_exact_counts(numbers: list[int]):
    (row,) = folded([a_read(auditID=f"id-{number}") for number in numbers])
    counted = Counter(f"id-{number}" for number in numbers)
    smallest = sorted(counted, key=_sample_order)[:4]
    assert row.audit_ids.values == {audit_id: counted[audit_id] for audit_id in smallest}
    assert row.audit_ids.omitted == len(numbers) - sum(row.audit_ids.values.values())


def test_ten_thousand_ids_in_a_row_are_not_held():
    reads, guard = Reads(WINDOW), ReadGuard()
    event = a_read()
    for number in range(10_000):
        event.auditID = f"id-{number}"
        read, name, _ = guard.classify(event)
        reads.add(event, read, name, "east")  # type: ignore[arg-type]
    (held,) = reads._rows.values()
    assert len(held.audit_ids) <= 4096
    ((row,),) = reads.flush(0, lambda event, cluster: b"").values()
    assert (len(row.audit_ids.values), row.audit_ids.omitted) == (4, 9996)


def test_odd_addresses_are_none():
    assert [addresses(raw) for raw in (b"", b"null", b'"10.0.0.1"', b"[1]", b'["10.0.0.1","x"]')] == [[], [], [], [], ["10.0.0.1", "x"]]
