"""Reduce many splits in one process, without Beam: what verify, explain and report do, and what the pipeline must equal."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

import msgspec

from transforms.audit.account import Account, sum_accounts
from transforms.audit.audit_ids import find_recalls, hash_ids
from transforms.audit.avro_blocks import AvroBlock
from transforms.audit.read_summary import ReadSummary, merge_rows
from transforms.audit.reduce_split import reduce_split
from transforms.audit.resolve_copies import LooseEvent
from transforms.audit.settle_events import LOOSE
from transforms.audit.settle_loose import settle_loose

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from transforms.audit.block import RawBlock, Split
    from transforms.audit.cycle import Cycle
    from transforms.audit.settings import Compiled
    from transforms.audit.settle_events import Unit


class Reduced(msgspec.Struct):
    """All that came of a run's inputs."""

    blocks: list[AvroBlock]
    reads: list[ReadSummary]
    accounts: list[Account]
    waiting: list[LooseEvent] = []  # of a followed input
    settled: bytes = b""  # rows for its `memory`


def reduce_all(
    splits: Sequence[Split],
    read: Callable[[Split], Iterable[RawBlock]],
    compiled: Compiled,
    trace: Callable[[Any, str, str | None], None] | None = None,
    cycle: Cycle | None = None,
    waiting: Iterable[LooseEvent] = (),
) -> Reduced:
    """The result for all splits. `trace(event, outcome, why)` is told every event's outcome once; the order is not the input's.

    Where the input is followed, `cycle` says which run this is and `waiting` are the events that earlier ones left.
    """
    traces: list[list[tuple[Any, str, str | None]]] = [[] for _ in splits]

    def reduce_one(at: int, recalled: bytes) -> list[Unit]:
        traces[at] = []
        return list(reduce_split(read(splits[at]), compiled, splits[at], recalled, _teller(traces[at]) if trace else None, cycle))

    units = reduce_splits(len(splits), reduce_one)
    if trace:
        for told in traces:
            for event, outcome, why in told:
                if outcome != LOOSE:
                    trace(event, outcome, why)
    flat = [unit for found in units for unit in found]
    settled = settle_loose(compiled, chain(waiting, *(unit.loose for unit in flat)), trace=trace, cycle=cycle)
    flat.append(settled)
    windows: dict[int, list[ReadSummary]] = {}
    for unit in flat:
        for window, rows in unit.reads.items():
            windows.setdefault(window, []).extend(rows)
    return Reduced(
        [block for unit in flat for block in unit.blocks],
        [row for window in sorted(windows) for row in merge_rows(windows[window])],
        sum_accounts(account for unit in flat for account in unit.accounts),
        settled.loose,
        b"".join(unit.settled for unit in flat),
    )


def reduce_splits(count: int, reduce_one: Callable[[int, bytes], list[Unit]]) -> list[list[Unit]]:
    """The units of each of `count` splits: `reduce_one(split, recalled)`, once more where audit IDs turn up in several places."""
    units = [reduce_one(at, b"") for at in range(count)]
    recalls, _ = find_recalls(
        [(at, unit.ids) for at, found in enumerate(units) for unit in found],
        [(at, loose_ids(unit.loose)) for at, found in enumerate(units) for unit in found],
    )
    for at, recalled in recalls.items():
        units[at] = reduce_one(at, recalled)
    return units


def _teller(told: list[tuple[Any, str, str | None]]) -> Callable[[Any, str, str | None], None]:
    return lambda event, outcome, why: told.append((event, outcome, why))


def loose_ids(events: Iterable[LooseEvent]) -> bytes:
    """Hashes of the audit IDs of loose events."""
    by_cluster: dict[str, set[str]] = {}
    for event in events:
        if event.audit_id is not None:
            by_cluster.setdefault(event.cluster, set()).add(event.audit_id)
    return b"".join(hash_ids(cluster, sorted(audit_ids)).tobytes() for cluster, audit_ids in by_cluster.items())
