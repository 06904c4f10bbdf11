"""Reduce one split: all steps in their order, without Beam. The pipeline runs the same steps as transforms of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from transforms.audit.apply_policy import apply_policy
from transforms.audit.consumers import Redacted, redact_once, take_over
from transforms.audit.cycle import memory_of
from transforms.audit.managed_fields import strip_managed_fields
from transforms.audit.merge_stages import StageMerger
from transforms.audit.parse_events import parse_events
from transforms.audit.rows.redact_rows import redact_rows, strip_rows
from transforms.audit.settings import ODD_AFTER
from transforms.audit.settle_events import EventSettler, Unit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from transforms.audit.block import EventBlock, RawBlock, Split
    from transforms.audit.cycle import Cycle
    from transforms.audit.event import Event
    from transforms.audit.settings import Compiled


def strip_block(block: EventBlock, *, keep: bool = False) -> None:
    """Take managedFields out of a block's events; with `keep` only where the policy omits them."""
    if block.rows is not None:
        strip_rows(block.rows, keep=keep)
    take_over(block.events, keep=keep)
    for event in block.events:
        if (not keep or event.strips) and type(event.shared) is not Redacted:
            strip_managed_fields(event)
    for event, *_ in block.loose:
        if not keep or event.strips:
            strip_managed_fields(event)


def redact_block(compiled: Compiled, block: EventBlock) -> None:
    """Redact a block's events; from here on their content may leave the worker."""
    redact, keep = compiled.redactor.redact, compiled.settings.keep_managed_fields
    fallen: list[Event] = []
    if block.rows is not None:
        latest = compiled.settings.started + ODD_AFTER
        block.rows, fallen = redact_rows(block.rows, compiled.redactor, latest, keep=keep)
    for event in block.events:
        if event.shared is None:
            redact(event)
        else:
            redact_once(event, redact, keep=keep)
    for event, *_ in block.loose:
        redact(event)
    block.events += fallen


def reduce_split(
    blocks: Iterable[RawBlock],
    compiled: Compiled,
    split: Split,
    recalled: bytes = b"",
    trace: Callable[[Any, str, str | None], None] | None = None,
    cycle: Cycle | None = None,
) -> Iterator[Unit]:
    """All units of a split. `recalled` are hashes of audit IDs that turn up elsewhere too: their events are left loose."""
    memory = None if cycle is None else memory_of(cycle)
    merger = StageMerger(split, compiled.key, merge=compiled.settings.merge, recalled=recalled, memory=memory)
    settler = EventSettler(compiled, split, trace, followed=cycle is not None)
    for block in blocks:
        parsed = parse_events(block, compiled.key, rows=trace is None)
        apply_policy(compiled.policy, parsed, trace)
        merger.feed(parsed)
        strip_block(parsed, keep=compiled.settings.keep_managed_fields)
        redact_block(compiled, parsed)
        unit = settler.feed(parsed)
        if unit is not None:
            yield unit
