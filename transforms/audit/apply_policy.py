"""Apply an audit Policy to a block of events: drop, or cut to the rule's level."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from transforms.audit.block import DEFAULT_CLUSTER
from transforms.audit.consumers import own, without_events
from transforms.audit.policy import cut
from transforms.audit.rows.ask_rows import ask_rows
from transforms.audit.rows.decide_rows import copy_rows, decide_rows
from transforms.audit.rows.object_keys import number_objects

if TYPE_CHECKING:
    from collections.abc import Callable

    from transforms.audit.block import EventBlock
    from transforms.audit.policy import Policy


def apply_policy(
    policy: Policy | None, block: EventBlock, trace: Callable[[Any, str, str | None], None] | None = None, *, shared: bool = False
) -> EventBlock:
    """The block with the events that the policy keeps, cut to its level; the others are counted. No policy keeps all.

    `shared`: other consumers take the same block, so this one gets a block of its own, with copies of what it keeps.
    """
    mine = without_events(block) if shared else block
    account = mine.account
    if block.rows is not None:
        if policy is not None:
            ask_rows(block.rows)  # this and more once for all consumers
        if shared:
            number_objects(block.rows)
            block.rows.hashed(block.split.cluster or block.rows.cluster or DEFAULT_CLUSTER)
        mine.rows = copy_rows(block.rows, account) if shared else block.rows
    if policy is None:
        if shared:
            mine.events = [own(event, account) for event in block.events]
        return mine
    left = []
    events = block.events
    if mine.rows is not None:
        mine.rows, fallen = decide_rows(policy, mine.rows)
        events = fallen + events
    dropped = 0
    for event in events:
        decision = policy.decide(event)
        drops = decision.drops(event.stage)
        if drops is None:
            kept = own(event, account) if shared else event
            cut(kept, decision)
            kept.rule = decision.rule  # type: ignore[assignment]
            if decision.omit_stages and "ResponseComplete" in decision.omit_stages:
                kept.completes = False  # type: ignore[assignment]
            if decision.omit_managed_fields:
                kept.strips = True  # type: ignore[assignment]
            left.append(kept)
            continue
        dropped += event.size  # type: ignore[operator]
        if drops == "rule":
            account.drop_by_rule(decision.rule)
        else:
            account.dropped_by_stage += 1
        if trace:
            cut(event, decision)
            event.rule = decision.rule  # type: ignore[assignment]
            trace(event, f"dropped_by_{drops}", None)
    account.weigh("dropped", dropped)
    mine.events = left
    return mine
