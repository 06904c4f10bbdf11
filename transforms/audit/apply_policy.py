"""Apply an audit Policy to a block of events: drop, or cut to the rule's level."""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING, Any

from transforms.audit.block import EventBlock
from transforms.audit.policy import apply_policy as apply_to_event

if TYPE_CHECKING:
    from collections.abc import Callable

    from transforms.audit.account import Account
    from transforms.audit.policy import Policy


def apply_policy(policy: Policy | None, block: EventBlock, trace: Callable[[Any, str, str | None], None] | None = None) -> None:
    """Leave in the block the events that the policy keeps, cut to its level; count the others. No policy: keep all."""
    if policy is None:
        return
    left = []
    for event in block.events:
        decision = apply_to_event(policy, event)
        event.rule = decision.rule  # type: ignore[assignment]
        drops = decision.drops(event.stage)
        if drops is None:
            if decision.omit_stages and "ResponseComplete" in decision.omit_stages:
                event.completes = False  # type: ignore[assignment]
            if decision.omit_managed_fields:
                event.strips = True  # type: ignore[assignment]
            left.append(event)
            continue
        account: Account = event.account  # type: ignore[assignment]
        account.weigh("dropped", event.size)  # type: ignore[arg-type]
        if drops == "rule":
            account.drop_by_rule(decision.rule)
        else:
            account.dropped_by_stage += 1
        if trace:
            trace(event, f"dropped_by_{drops}", None)
    block.events = left


def copied(block: EventBlock) -> EventBlock:
    """The block for one of several consumers: its events and account are its own, what they hold is shared and never changed."""
    account = copy(block.account)
    account.dropped_by_rule = dict(account.dropped_by_rule)
    account.dead_lettered = dict(account.dead_lettered)
    account.sizes = dict(account.sizes)
    account.windows = {window: list(counts) for window, counts in account.windows.items()}
    events = [copy(event) for event in block.events]
    for event in events:
        event.account = account  # type: ignore[assignment]
        event.unknown = dict(event.unknown) if event.unknown else None
        event.flags = list(event.flags) if event.flags else None
        event.reductions = list(event.reductions) if event.reductions else None
    return EventBlock(block.split, account, events, list(block.dead_letters), block.last)
