"""Apply an audit Policy to rows: what it decides depends on few of their parts, and is asked once for all rows that share them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from transforms.audit.consumers import own
from transforms.audit.policy import RANK, cut
from transforms.audit.request_info import request_info
from transforms.audit.rows.columns import ALONE, LEVELS, MORE, OBJECT
from transforms.audit.rows.parts import OF_CALLER, OF_NOTES, OF_REFERENCE, OF_URI, OF_VERB
from transforms.audit.rows.words import MOST

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from transforms.audit.account import Account
    from transforms.audit.event import Event
    from transforms.audit.policy import Decision, Policy
    from transforms.audit.rows.plain_rows import Rows


def copy_rows(rows: Rows, account: Account) -> Rows:
    """The rows for one of several consumers: with bodies and an account of its own."""
    mine = rows.take(np.ones(len(rows), dtype=bool), copied=True)
    mine.account, mine.shared = account, True
    mine.bodies = [None if body is None else own(body, account) for body in rows.bodies]
    return mine


def decide_rows(policy: Policy, rows: Rows) -> tuple[Rows, list[Event]]:
    """The rows that the policy keeps, cut to its level; the others are counted. Where it does more, the rows' events as they were read."""
    if not len(rows):
        return rows, []
    decisions, which = _decisions(policy, rows)
    account = rows.account
    sizes, early = rows.sizes()
    fate = np.array([_fate(decision) for decision in decisions], dtype=np.int8)[which]
    fate[_doubtful(rows)] = _FALLS
    omitted = np.array(["RequestReceived" in (decision.omit_stages or ()) for decision in decisions], dtype=bool)[which]
    fallen: list[Event] = []
    for place in np.flatnonzero(fate == _FALLS).tolist():
        fallen += [event for event in rows.event(place) if event is not None]
    weighed = 0
    for place in np.flatnonzero(fate == _DROPPED).tolist():
        rule = decisions[which[place]].rule
        account.drop_by_rule(rule)
        if rows.partners[place] != ALONE:
            account.drop_by_rule(rule)
        weighed += int(sizes[place] + early[place])
    shed = (fate == _KEPT) & omitted & (rows.partners != ALONE)
    account.dropped_by_stage += int(shed.sum())
    weighed += int(early[shed].sum())
    account.weigh("dropped", weighed)
    kept = fate == _KEPT
    rows = rows.take(kept, copied=True)
    rows.partners[shed[kept]] = ALONE
    rows.decisions = [decisions[at] for at in which[kept].tolist()]
    rows.rules = np.array([-1 if decision.rule is None else decision.rule for decision in rows.decisions], dtype=np.int32)
    _lower(rows)
    return rows, fallen


_KEPT, _DROPPED, _FALLS = range(3)


def _fate(decision: Decision) -> int:
    if decision.drops("RequestReceived") == "rule" and decision.drops("ResponseComplete") == "rule":
        return _DROPPED
    return _FALLS if decision.undecidable or decision.drops("ResponseComplete") is not None else _KEPT


def _decisions(policy: Policy, rows: Rows) -> tuple[list[Decision], NDArray[np.int64]]:
    """The distinct decisions, and which of them each row has."""
    numbers = rows.numbers.astype(np.int64)
    of_whom = numbers[:, OF_CALLER] * MOST + numbers[:, OF_VERB]
    keys = (of_whom * MOST + numbers[:, OF_URI]) * (MOST + 1) + numbers[:, OF_REFERENCE] + 1
    distinct, first, which = np.unique(keys, return_index=True, return_inverse=True)
    known: dict[int, Decision] = rows.parts.caches.setdefault(policy, {})
    out = []
    for key, place in zip(distinct.tolist(), first.tolist(), strict=True):
        decision = known.get(key)
        if decision is None:
            decision = known[key] = policy.decide(rows.probe(place))
        out.append(decision)
    return out, which


def _doubtful(rows: Rows) -> NDArray[np.bool_]:
    """Rows that the policy may have more to do with.

    Pairs of which the first line may have another decision, for its reference says less, and that counts where the URI says nothing;
    and rows with a webhook's patches, which level Metadata leaves out.
    """
    out = (rows.lines[rows.chosen, OBJECT] == MORE) & (rows.partners != ALONE)
    for place in np.flatnonzero(out).tolist():
        out[place] = not rows.cached(_is_resource_request, OF_URI, place)
    for place in np.flatnonzero(rows.numbers[:, OF_NOTES] >= 0).tolist():
        out[place] |= rows.cached(_holds_patches, OF_NOTES, place)
    return out


def _is_resource_request(uri: str) -> bool:
    return request_info(uri.partition("?")[0]).is_resource_request


def _holds_patches(annotations: bytes) -> bool:
    return b"patch.webhook" in annotations or b"\\u" in annotations


def _lower(rows: Rows) -> None:
    """Cut rows to the level that was decided."""
    ranks = np.array([RANK[level] for level in LEVELS], dtype=np.int8)
    decided: Any = rows.decisions
    for place, decision in enumerate(decided):
        body = rows.bodies[place]
        if body is not None and decision.omit_managed_fields:
            body.strips = True  # type: ignore[assignment]
        level = decision.level
        if level != "RequestResponse" and RANK[level] < ranks[rows.levels[place]]:
            rows.levels[place] = LEVELS.index(level)
            if body is not None:
                cut(body, decision)
