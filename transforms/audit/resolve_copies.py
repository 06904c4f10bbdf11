"""Decide what becomes of the events that share a cluster and an audit ID: copies, stages and collisions.

Clients choose audit IDs, so an equal ID proves nothing; equal content does. One pass over the events of an ID serves
deduplication, merging and the flags, because copies, stages and collisions of an event all carry its ID.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from transforms.audit.event import EARLY_STAGES, FINAL_STAGES
from transforms.audit.record import digest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

NO_COMPLETION: Final = "NO_COMPLETION"
AUDIT_ID_COLLISION: Final = "AUDIT_ID_COLLISION"


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

    @property
    def order(self) -> tuple[int, int, int]:
        """Precedence among copies."""
        return self.file, self.offset, self.item


class Resolved(msgspec.Struct):
    """An event's outcome, and the earlier stages merged into it where it is kept or folded."""

    event: LooseEvent
    outcome: str
    merged: list[LooseEvent] = []


def resolve_copies(events: Iterable[LooseEvent], *, merge: bool, fold: bool) -> Iterator[Resolved]:
    """Outcomes of all events of one cluster and audit ID, whatever their order."""
    unique: dict[bytes, LooseEvent] = {}
    for event in sorted(events, key=lambda event: event.order):
        if unique.setdefault(digest(event.cluster, event.content), event) is not event:
            yield Resolved(event, "duplicate")
    left = list(unique.values())
    if left[0].audit_id is not None:
        _flag_collisions(left)
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
                _flag(event, NO_COMPLETION)
            yield Resolved(event, "kept")
    for final in finals:
        folds = fold and final.read is not None and AUDIT_ID_COLLISION not in (final.flags or ())
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
