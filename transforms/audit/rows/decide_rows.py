"""Apply an audit Policy to rows: what it decides depends on few of their parts, and is asked once for all rows that share them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from transforms.audit.policy import RANK, REMEMBERED
from transforms.audit.request_info import request_info
from transforms.audit.rows.ask_rows import BY_ITSELF
from transforms.audit.rows.bodies import REQUEST, RESPONSE
from transforms.audit.rows.columns import LEVELS
from transforms.audit.rows.parts import OF_CALLER, OF_NOTES, OF_REFERENCE, OF_URI, OF_VERB
from transforms.audit.rows.words import MOST

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from transforms.audit.account import Account
    from transforms.audit.event import Event
    from transforms.audit.policy import Decision, Policy
    from transforms.audit.rows.plain_rows import Rows


def copy_rows(rows: Rows, account: Account) -> Rows:
    """The rows for one of several consumers, with an account of its own."""
    mine = rows.take(np.ones(len(rows), dtype=bool), copied=True)
    mine.account, mine.waited = account, {}
    return mine


_KEPT, _DROPPED, _FALLS = range(3)
_RANKS: Final = np.array([RANK[level] for level in LEVELS], dtype=np.int8)


class _Decided:
    """What a policy has decided, and what that means for rows, by its number."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._numbers: dict[Decision, int] = {}
        self._known: dict[int, int] = {}
        self.decisions: list[Decision] = []
        self.fates = self.omits = self.ranks = self.strips = np.empty(0, dtype=np.int8)

    def which(self, rows: Rows) -> NDArray[np.int64]:
        """By row, the number of what is decided."""
        asked: Any = rows.asked
        numbers = rows.numbers.astype(np.int64)
        by_itself = (asked == BY_ITSELF) | rows.answers(self._policy.may_name, OF_URI)
        exactly = numbers[:, OF_URI] * (MOST + 1) + numbers[:, OF_REFERENCE] + 1
        of_whom = numbers[:, OF_CALLER] * MOST + numbers[:, OF_VERB]
        keys = of_whom * 4 * MOST * MOST + np.where(by_itself, 2 * MOST * MOST + exactly, asked)
        distinct, first, which = np.unique(keys, return_index=True, return_inverse=True)
        if len(self._known) > REMEMBERED:
            self._known.clear()
        known = self._known.get
        found = [known(key, -1) for key in distinct.tolist()]
        for place in [place for place, number in enumerate(found) if number < 0]:
            decision = self._policy.decide(rows.request(int(first[place])))
            found[place] = self._known[int(distinct[place])] = self._number(decision)
        return np.array(found, dtype=np.int64)[which]

    def _number(self, decision: Decision) -> int:
        known = self._numbers.get(decision)
        if known is not None:
            return known
        number = self._numbers[decision] = len(self.decisions)
        self.decisions.append(decision)
        self.fates = np.append(self.fates, np.int8(_fate(decision)))
        self.omits = np.append(self.omits, np.int8(decision.drops("RequestReceived") == "stage"))
        self.ranks = np.append(self.ranks, np.int8(RANK[decision.level]))
        self.strips = np.append(self.strips, np.int8(decision.omit_managed_fields))
        return number


def _fate(decision: Decision) -> int:
    if decision.drops("RequestReceived") == "rule" and decision.drops("ResponseComplete") == "rule":
        return _DROPPED
    return _FALLS if decision.undecidable or decision.drops("ResponseComplete") is not None else _KEPT


def decide_rows(policy: Policy, rows: Rows) -> tuple[Rows, list[Event]]:
    """The rows that the policy keeps, cut to its level; the others are counted. Where it does more, the rows' events as they were read."""
    if not len(rows):
        return rows, []
    decided = rows.parts.caches.get(policy)
    if decided is None:
        decided = rows.parts.caches[policy] = _Decided(policy)
    which = decided.which(rows)
    fates = decided.fates[which]
    fates[_doubtful(rows)] = _FALLS
    fallen: list[Event] = []
    for place in np.flatnonzero(fates == _FALLS).tolist():
        fallen += [event for event in rows.event(place) if event is not None]
    sizes, paired = rows.sizes() + rows.first_sizes, rows.merged
    dropped = fates == _DROPPED
    for number in np.unique(which[dropped]).tolist():
        found = dropped & (which == number)
        rows.account.drop_by_rule(decided.decisions[number].rule, int(found.sum() + (found & paired).sum()))
    kept = fates == _KEPT
    shed = kept & paired & (decided.omits[which] > 0)
    rows.account.dropped_by_stage += int(shed.sum())
    rows.account.weigh("dropped", int(sizes[dropped].sum() + rows.first_sizes[shed].sum()))
    rows = rows.take(kept, copied=True)
    rows.part_from_first(shed[kept])
    _cut(rows, decided, which[kept])
    return rows, fallen


def _cut(rows: Rows, decided: _Decided, which: NDArray[np.int64]) -> None:
    """Cut rows to the level that was decided."""
    rows.decision_of, rows.decisions = which, decided.decisions
    rules = np.array([-1 if decision.rule is None else decision.rule for decision in decided.decisions], dtype=np.int32)
    rows.rules = rules[which]
    lowered = decided.ranks[which] < _RANKS[rows.levels]
    rows.levels[lowered] = decided.ranks[which][lowered] - _RANKS[0]
    left_out = lowered[:, None] & rows.has
    left_out[:, REQUEST] &= decided.ranks[which] < RANK["Request"]
    bodies = rows.bodies.spans[2 * rows.of[:, None] + (REQUEST, RESPONSE)]
    rows.lowered = np.where(left_out, bodies[:, :, 1] - bodies[:, :, 0], 0)
    rows.has &= ~left_out


def _doubtful(rows: Rows) -> NDArray[np.bool_]:
    """Rows that the policy may have more to do with.

    Those with a reference of which the URI says nothing: then its name counts, which is no part, and may be the final line's alone;
    and rows with a webhook's patches, which level Metadata leaves out.
    """
    # What is asked for is not numbered where a reference goes with a path that is no resource's.
    doubtful = (rows.numbers[:, OF_REFERENCE] >= 0) & (rows.asked == BY_ITSELF)
    doubtful[doubtful] = ~rows.parts.answers(_is_resource_request, OF_URI, rows.numbers[doubtful, OF_URI])
    return doubtful | rows.answers(_holds_patches, OF_NOTES)


def _is_resource_request(uri: str) -> bool:
    return request_info(uri.partition("?")[0]).is_resource_request


def _holds_patches(annotations: bytes) -> bool:
    return b"patch.webhook" in annotations or b"\\u" in annotations
