"""Settle the loose events: all of one audit ID together, whichever splits they come from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from transforms.audit.account import Account, weigh_cuts
from transforms.audit.avro_blocks import BlockBuilder
from transforms.audit.cycle import Cycle, memory_of
from transforms.audit.memory import SettledRows, row_id
from transforms.audit.read_summary import ReadSummary, merge_rows
from transforms.audit.record import digest, encode_loose
from transforms.audit.resolve_copies import NEVER_COMPLETED, PENDING, Earlier, LooseEvent, resolve_copies
from transforms.audit.settings import hour_of
from transforms.audit.settle_events import Unit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from transforms.audit.settings import Compiled

LAST: Final = 1 << 40  # behind the blocks of all inputs


def settle_loose(
    compiled: Compiled,
    events: Iterable[LooseEvent],
    shard: int = 0,
    trace: Callable[[LooseEvent, str, str | None], None] | None = None,
    cycle: Cycle | None = None,
) -> Unit:
    """Outcomes of loose events, given all events of each audit ID among them. `shard` tells calls apart.

    Where the input is followed, the unit's `loose` are those that wait on.
    """
    settings = compiled.settings
    groups: dict[tuple[str, str | None], list[LooseEvent]] = {}
    for event in events:
        groups.setdefault((event.cluster, event.audit_id), []).append(event)
    builder = BlockBuilder(LAST, shard)
    blocks = []
    accounts: dict[tuple[int, int], Account] = {}
    reads: dict[int, list[ReadSummary]] = {}
    waiting: list[LooseEvent] = []
    settled = SettledRows()

    def account_of(event: LooseEvent) -> Account:
        at = (event.file, event.start)
        return accounts.get(at) or accounts.setdefault(at, Account(*at))

    earlier = _earlier(groups, cycle)
    for group_of, group in sorted(groups.items(), key=lambda group: (group[0][0], group[0][1] or "")):
        for resolved in resolve_copies(group, merge=settings.merge, fold=settings.fold, earlier=earlier.get(group_of)):
            event, outcome = resolved.event, resolved.outcome
            if cycle is not None:
                _remember(event, outcome, account_of(event), settled)
            if outcome == PENDING:
                event.since = cycle.now if cycle is not None and event.since is None else event.since
                waiting.append(event)
                continue
            account = account_of(event)
            setattr(account, outcome, getattr(account, outcome) + 1)
            account.weigh(outcome, event.size)
            if outcome == "kept" and event.reductions:
                weigh_cuts(account, event.reductions)
            if outcome == "kept":
                builder.add("events", hour_of(compiled.believable(event.moment)), event.key, encode_loose(event, resolved.merged))
            elif outcome == "folded":
                row = _row(event, resolved.merged, settings.window)
                reads.setdefault(row.window, []).append(row)
                if cycle is not None:
                    account.fold_into(row.window, 1, 0)
                    for stage in resolved.merged:
                        account_of(stage).fold_into(row.window, 0, 1)
            if trace:
                trace(event, outcome, _why(event, outcome))
        blocks += builder.full()
    blocks += builder.rest()
    merged = {window: merge_rows(rows) for window, rows in reads.items()}
    return Unit(blocks, merged, waiting, list(accounts.values()), settled=settled.packed())


def _earlier(groups: Iterable[tuple[str, str | None]], cycle: Cycle | None) -> dict[tuple[str, str | None], Earlier]:
    """What earlier runs know of each group; nothing where the input is not followed."""
    if cycle is None:
        return {}
    ids = {group: row_id(*group) for group in groups}
    known = memory_of(cycle).recall(ids.values())
    return {group: Earlier(known.get(number, []), cycle.now - cycle.wait, cycle.now) for group, number in ids.items()}


def _remember(event: LooseEvent, outcome: str, account: Account, settled: SettledRows) -> None:
    """Note what later runs must know, and what no longer waits."""
    given_up = outcome == "kept" and not NEVER_COMPLETED.isdisjoint(event.flags or ())
    if event.since is None and outcome != "duplicate":
        settled.add(event.cluster, event.audit_id, event.stage, digest(event.cluster, event.content))
    if given_up and event.audit_id is not None:
        settled.give_up(event.cluster, event.audit_id)
    if event.since is None and outcome == PENDING:
        account.pending += 1
    elif event.since is not None and outcome != PENDING:
        account.pending -= 1


def _why(event: LooseEvent, outcome: str) -> str | None:
    collided = outcome == "kept" and event.why is None and "AUDIT_ID_COLLISION" in (event.flags or ())
    return "collision" if collided else event.why


def _row(event: LooseEvent, merged: list[LooseEvent], window: int) -> ReadSummary:
    moment: Any = event.moment
    row = ReadSummary(event.cluster, moment - moment % window, event.read or (), 1, len(merged), event.size, moment, moment)
    row.size += sum(stage.size for stage in merged)
    if event.name is not None:
        row.names.add(event.name)
    for address in event.addresses:
        row.addresses.add(address)
    if event.audit_id is not None:
        row.audit_ids.add(event.audit_id)
    row.order = (moment, event.file, event.offset, event.item)
    row.exemplar = encode_loose(event, merged)
    return row
