"""Settle the loose events: all of one audit ID together, whichever splits they come from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from transforms.audit.account import Account
from transforms.audit.avro_blocks import BlockBuilder
from transforms.audit.read_summary import ReadSummary, merge_rows
from transforms.audit.record import encode_loose
from transforms.audit.resolve_copies import LooseEvent, resolve_copies
from transforms.audit.settings import hour_of
from transforms.audit.settle_events import Unit, weigh_cuts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from transforms.audit.settings import Compiled

LAST: Final = 1 << 40  # behind the blocks of all inputs


def settle_loose(
    compiled: Compiled, events: Iterable[LooseEvent], shard: int = 0, trace: Callable[[LooseEvent, str, str | None], None] | None = None
) -> Unit:
    """Outcomes of loose events, given all events of each audit ID among them. `shard` tells calls apart."""
    settings = compiled.settings
    groups: dict[tuple[str, str | None], list[LooseEvent]] = {}
    for event in events:
        groups.setdefault((event.cluster, event.audit_id), []).append(event)
    builder = BlockBuilder(LAST, shard)
    blocks = []
    accounts: dict[tuple[int, int], Account] = {}
    reads: dict[int, list[ReadSummary]] = {}
    for _, group in sorted(groups.items(), key=lambda group: (group[0][0], group[0][1] or "")):
        for resolved in resolve_copies(group, merge=settings.merge, fold=settings.fold):
            event, outcome = resolved.event, resolved.outcome
            at = (event.file, event.start)
            account = accounts.get(at) or accounts.setdefault(at, Account(*at))
            setattr(account, outcome, getattr(account, outcome) + 1)
            account.weigh(outcome, event.size)
            if outcome == "kept" and event.reductions:
                weigh_cuts(account, event.reductions)
            if outcome == "kept":
                builder.add("events", hour_of(compiled.believable(event.moment)), event.key, encode_loose(event, resolved.merged))
            elif outcome == "folded":
                row = _row(event, resolved.merged, settings.window)
                reads.setdefault(row.window, []).append(row)
            if trace:
                trace(event, outcome, _why(event, outcome))
        blocks += builder.full()
    blocks += builder.rest()
    return Unit(blocks, {window: merge_rows(rows) for window, rows in reads.items()}, [], list(accounts.values()))


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
