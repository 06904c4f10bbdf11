"""Explain each event of a run: which rule matched, what became of it, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from transforms.audit.block import DeadLetter
from transforms.audit.event import EARLY_STAGES, FINAL_STAGES, text
from transforms.audit.guards import FOLDABLE_VERBS
from transforms.audit.merge_stages import ends_alone
from transforms.audit.policy import UNDECIDABLE
from transforms.audit.resolve_copies import AUDIT_ID_COLLISION, NO_COMPLETION, LooseEvent
from transforms.audit.settle_events import LOOSE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from transforms.audit.block import Split
    from transforms.audit.event import Event, Reduction
    from transforms.audit.settings import Compiled

# Every reason there is, closed. NAME, N and CODE stand for what `guards`, the policy and `recognise` name.
REASONS: Final = {
    "code:CODE": "dead_letter: the record cannot be read; schemas/README.md lists the codes",
    "rule:N": "dropped_by_rule: the policy's rule N (from 0) has level None",
    "no_rule": "dropped_by_rule: no rule of the policy matched, which means None",
    "stage:NAME": "dropped_by_stage: the policy omits this stage",
    "same_digest": "duplicate: an earlier copy holds the same",
    "repeated_by_final": "merged: the request's final event says all that this stage says",
    "unguarded_read": "folded: a get, list or watch that no guard protects",
    "guard:NAME": "kept: a read that a guard protects, by the guard's name",
    "not_a_read": "kept: the verb is none of get, list and watch",
    "no_completion": "kept: an early stage whose final event is not in the input",
    "ends_alone": "kept: an early stage after which no other comes",
    "not_repeated": "kept: an early stage that says something its final event does not repeat",
    "odd_stage": "kept: the stage is none that Kubernetes has",
    "fold_off": "kept: a read, and --fold does not name reads",
    "merge_off": "kept: an early stage, and --fold does not name stages",
    "undecidable": "the envelope hides what the policy asks for, so the policy was not applied; besides the reason proper",
}


class Place(msgspec.Struct, gc=False):
    """Where an event was read."""

    uri: str
    partition: None
    offset: int
    item: int


class Cut(msgspec.Struct, gc=False):
    """A reduction of the event."""

    kind: str
    path: str
    count: int
    bytes: int


class Explained(msgspec.Struct, gc=False):
    """One event's line. `level` is the effective level, None for a dead letter; `rule` the index of the rule that matched."""

    source: Place
    policy: str | None
    auditID: str | None
    stage: str | None
    verb: str | None
    rule: int | None
    level: str | None
    omitStages: tuple[str, ...]
    omitManagedFields: bool
    outcome: str
    why: tuple[str, ...]
    reductions: Any  # list[Reduction] until it is shown, then list[Cut]


class Explainer:
    """Collects what a trace tells, split by split. Holds some 600 bytes per event, and no content.

    Args:
        compiled: the run's settings.
        audit_id: hold only events with this audit ID.
        consumer: whose policy it is, where several are told apart by name.
    """

    def __init__(self, compiled: Compiled, audit_id: str | None = None, consumer: str | None = None) -> None:
        self._consumer = consumer
        self._policy = compiled.policy
        self._settings = compiled.settings
        self._audit_id = audit_id
        self._splits: dict[int, list[Explained]] = {}
        self._rows: list[Explained] = []
        self._loose: dict[tuple[int, int, int], Explained] = {}
        self._split: Split | None = None
        self._decided: dict[tuple[int | None, bool, str | None], tuple[str | None, tuple[str, ...], bool]] = {}
        self._reasons: dict[str, tuple[str, ...]] = {}

    def begin(self, at: int, split: Split) -> None:
        """What is told from here on is of split number `at`; what was told of it before is void."""
        self._split = split
        self._rows = self._splits[at] = []

    def tell(self, event: Event | LooseEvent | DeadLetter, outcome: str, why: str | None) -> None:
        """The trace: see `EventSettler` and `settle_loose`."""
        if type(event) is LooseEvent:
            self._resolve(event, outcome)
        elif type(event) is DeadLetter:
            self._bury(event)
        elif self._audit_id is None or self._audit_id == event.auditID:  # type: ignore[union-attr]
            self._event(event, outcome, why)  # type: ignore[arg-type]

    def _event(self, event: Event, outcome: str, why: str | None) -> None:
        split: Any = self._split
        flags: Any = event.flags
        undecided = flags is not None and UNDECIDABLE in flags
        level = event.level if isinstance(event.level, str) else None
        decided = self._decided.get((event.rule, undecided, level)) or self._decide(event.rule, level, undecided=undecided)
        reason: tuple[str, ...]
        if undecided and why is None:
            reason = (self._reason(event, outcome), "undecidable")
        elif undecided:
            reason = (f"guard:{why}", "undecidable")
        else:
            name = f"guard:{why}" if why is not None and self._settings.fold else self._reason(event, outcome)
            reason = self._reasons.get(name) or self._reasons.setdefault(name, (name,))
        row = Explained(
            Place(split.uri, None, event.offset, event.item),  # type: ignore[arg-type]
            self._consumer,
            event.auditID if isinstance(event.auditID, str) else None,
            event.stage if isinstance(event.stage, str) else None,
            event.verb if isinstance(event.verb, str) else None,
            event.rule,
            *decided,
            outcome,
            reason,
            event.reductions,
        )
        self._rows.append(row)
        if outcome == LOOSE:
            self._loose[split.file, event.offset, event.item] = row  # type: ignore[index]

    def _decide(self, rule: int | None, level: str | None, *, undecided: bool) -> tuple[str | None, tuple[str, ...], bool]:
        if self._policy is None or undecided:
            found: tuple[str | None, tuple[str, ...], bool] = (level, (), False)
        else:
            decision = self._policy.decision(rule)
            found = (decision.effective(level or ""), tuple(sorted(decision.omit_stages)), decision.omit_managed_fields)
        if len(self._decided) > 10_000:
            self._decided.clear()
        return self._decided.setdefault((rule, undecided, level), found)

    def _reason(self, event: Event, outcome: str) -> str:
        if outcome == "kept":
            return self._reason_to_keep(
                text(event.stage), text(event.verb), alone=None if event.stage in FINAL_STAGES else ends_alone(event)
            )
        if outcome == "dropped_by_rule":
            return "no_rule" if event.rule is None else f"rule:{event.rule}"
        if outcome == "dropped_by_stage":
            return f"stage:{text(event.stage)}"
        return _PLAIN.get(outcome, "")

    def _reason_to_keep(self, stage: str, verb: str, *, alone: bool | None, completed: bool = True) -> str:
        if stage in EARLY_STAGES:
            if not completed:
                return "no_completion"
            if alone:
                return "ends_alone"
            return "not_repeated" if self._settings.merge else "merge_off"
        if verb not in FOLDABLE_VERBS:
            return "not_a_read"
        if not self._settings.fold:
            return "fold_off"
        return "odd_stage"

    def _resolve(self, event: LooseEvent, outcome: str) -> None:
        row = self._loose.get((event.file, event.offset, event.item))
        if row is None:
            return
        row.outcome = outcome
        flags = event.flags or ()
        if outcome != "kept":
            name = _PLAIN[outcome]
        elif event.stage in FINAL_STAGES and row.verb in FOLDABLE_VERBS and self._settings.fold:
            name = f"guard:{event.why}" if event.why is not None or AUDIT_ID_COLLISION not in flags else "guard:collision"
        else:
            name = self._reason_to_keep(event.stage, row.verb or "", alone=event.alone, completed=NO_COMPLETION not in flags)
        reason = self._reasons.get(name) or self._reasons.setdefault(name, (name,))
        row.why = (*reason, "undecidable") if UNDECIDABLE in flags else reason

    def _bury(self, letter: DeadLetter) -> None:
        if self._audit_id is None:
            place = Place(self._split.uri, None, letter.offset, letter.item)  # type: ignore[union-attr]
            why = (f"code:{letter.code}",)
            self._rows.append(Explained(place, self._consumer, None, None, None, None, None, (), False, "dead_letter", why, None))

    def explained(self) -> Iterator[list[Explained]]:
        """The events of each split, in input order, once all is told. Gives them up as it goes."""
        for at in sorted(self._splits):
            rows = self._splits.pop(at)
            rows.sort(key=lambda row: (row.source.offset, row.source.item))
            for row in rows:
                cuts: list[Reduction] = row.reductions or []
                row.reductions = [Cut(*cut) for cut in sorted(cuts)] if row.outcome not in _DROPPED else []
            yield rows


_PLAIN: Final = {"merged": "repeated_by_final", "folded": "unguarded_read", "duplicate": "same_digest"}
_DROPPED: Final = frozenset({"dropped_by_rule", "dropped_by_stage", "dead_letter"})
