"""Decide what becomes of the events that share a cluster and an audit ID: copies, stages and collisions.

Clients choose audit IDs, so an equal ID proves nothing; equal content does. One pass over the events of an ID serves
deduplication, merging and the flags, because copies, stages and collisions of an event all carry its ID.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from transforms.audit.event import EARLY_STAGES, FINAL_STAGES
from transforms.audit.memory import FINAL_CODES, GIVEN_UP, STAGE_CODES, Known
from transforms.audit.record import digest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

NO_COMPLETION: Final = "NO_COMPLETION"
AUDIT_ID_COLLISION: Final = "AUDIT_ID_COLLISION"
LATE_STAGE: Final = "LATE_STAGE"
LATE_COMPLETION: Final = "LATE_COMPLETION"
PENDING: Final = "pending"
NEVER_COMPLETED: Final = frozenset({NO_COMPLETION, LATE_STAGE})
NEVER_FOLDED: Final = frozenset({AUDIT_ID_COLLISION, LATE_COMPLETION})


class LooseEvent(msgspec.Struct, array_like=True):
    """A reduced and redacted event that must meet the others of its audit ID before its outcome is known.

    `request` and `items` are keyed hashes of what identifies its request and of what it says (`merge_stages`); `read` is
    the key it would be folded by, None where a guard protects it or it is no read.
    """

    cluster: str
    audit_id: str | None
    stage: str
    file: int
    start: int  # of its source range
    offset: int
    item: int
    stream: bytes  # its source, as `record.stream_part` encodes it
    size: int
    moment: int | None
    alone: bool  # no final event is to come
    request: bytes
    items: list[bytes]
    content: bytes
    key: tuple[str, str, str]  # what its record is sorted by
    rule: int | None
    reductions: list[tuple[str, str, int, int]] | None
    flags: list[str] | None
    read: tuple[Any, ...] | None = None
    name: str | None = None
    addresses: list[str] = []
    why: str | None = None  # the guard that protects it
    since: int | None = None  # when it began to wait, of a followed input: it comes from an earlier run

    @property
    def order(self) -> tuple[int, int, int]:
        """Precedence among copies."""
        return self.file, self.offset, self.item


class Resolved(msgspec.Struct):
    """An event's outcome, or `pending`, and the earlier stages merged into it where it is kept or folded."""

    event: LooseEvent
    outcome: str
    merged: list[LooseEvent] = []


class Earlier(msgspec.Struct, frozen=True):
    """What runs before this one of a followed input settled under the audit ID (`memory`), and which of the waiting are given up."""

    known: Known
    given_up: int  # those that wait since then, or longer
    now: int = 1 << 62  # since when those of this run wait

    def waits(self, event: LooseEvent) -> bool:
        """Whether an early stage goes on waiting for its final event."""
        return (self.now if event.since is None else event.since) > self.given_up

    def settled(self, event: LooseEvent, digested: bytes) -> bool:
        """Whether a copy of the event was settled; one that waits is remembered too, and is no copy of itself."""
        return event.since is None and any(stage < GIVEN_UP and found == digested for stage, found in self.known)

    def collides(self, event: LooseEvent, digested: bytes) -> bool:
        """Whether another event of the same audit ID and stage was settled."""
        code = STAGE_CODES.get(event.stage)
        return code is not None and any(stage == code and found != digested for stage, found in self.known)

    @property
    def completed(self) -> bool:
        """Whether a final event was settled."""
        return any(stage in FINAL_CODES for stage, _ in self.known)

    @property
    def missed(self) -> bool:
        """Whether an early stage was given up."""
        return any(stage == GIVEN_UP for stage, _ in self.known)


def resolve_copies(events: Iterable[LooseEvent], *, merge: bool, fold: bool, earlier: Earlier | None = None) -> Iterator[Resolved]:
    """Outcomes of all events of one cluster and audit ID, whatever their order. `earlier` where the input is followed."""
    unique: dict[bytes, LooseEvent] = {}
    for event in sorted(events, key=lambda event: (event.since is None, event.order)):
        digested = digest(event.cluster, event.content)
        if unique.setdefault(digested, event) is not event or (earlier is not None and earlier.settled(event, digested)):
            yield Resolved(event, "duplicate")
            if unique[digested] is event:
                del unique[digested]
    left = list(unique.values())
    if left and left[0].audit_id is not None:
        _flag_collisions(left)
        if earlier is not None:
            for digested, event in unique.items():
                if earlier.collides(event, digested):
                    _flag(event, AUDIT_ID_COLLISION)
    finals = [event for event in left if event.stage not in EARLY_STAGES]
    merged: dict[int, list[LooseEvent]] = {}
    for event in left:
        if event.stage in EARLY_STAGES:
            into = _final_of(event, finals) if merge else None
            if into is not None:
                merged.setdefault(id(into), []).append(event)
                yield Resolved(event, "merged")
                continue
            completed = any(final.stage in FINAL_STAGES and final.request == event.request for final in finals)
            if not completed and not event.alone:
                if earlier is not None and event.audit_id is not None and earlier.waits(event):
                    yield Resolved(event, PENDING)
                    continue
                if earlier is not None and earlier.completed and event.audit_id is not None:
                    _flag(event, LATE_STAGE)
                else:
                    _flag(event, NO_COMPLETION)
            yield Resolved(event, "kept")
    for final in finals:
        if earlier is not None and earlier.missed and final.stage in FINAL_STAGES:
            _flag(final, LATE_COMPLETION)
        folds = fold and final.read is not None and NEVER_FOLDED.isdisjoint(final.flags or ())
        yield Resolved(final, "folded" if folds else "kept", merged.get(id(final), []))


def _final_of(early: LooseEvent, finals: list[LooseEvent]) -> LooseEvent | None:
    """The first final event of the same request that repeats the early stage; without audit ID or readable time none does."""
    if early.audit_id is None or early.moment is None:
        return None
    says = set(early.items)
    for final in finals:
        if final.stage in FINAL_STAGES and final.request == early.request and says <= set(final.items):
            return final
    return None


def _flag_collisions(events: list[LooseEvent]) -> None:
    by_stage: dict[str, list[LooseEvent]] = {}
    for event in events:
        by_stage.setdefault(event.stage, []).append(event)
    for same in by_stage.values():
        if len(same) > 1:
            for event in same:
                _flag(event, AUDIT_ID_COLLISION)


def _flag(event: LooseEvent, name: str) -> None:
    if event.flags is None:
        event.flags = [name]
    elif name not in event.flags:
        event.flags.append(name)
