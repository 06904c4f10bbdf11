"""Several consumers of one stream: what some of them keep of an event alike is stripped, redacted and encoded once.

Each consumer works on copies of the events, and policies cut them to different levels. The first that has redacted a copy leaves
it, and each of its bodies, with what the copies share. A copy that another policy cut to the same level is taken over whole, and
of one cut to another level the bodies that both have: for no part of an event is redacted differently because another part is gone.
"""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING, Any, Final

import msgspec

from transforms.audit.block import EventBlock
from transforms.audit.event import ABSENT, Event, Reduction, reduced

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from transforms.audit.account import Account

_copy: Callable[[Event], Event] = Event.__copy__  # type: ignore[attr-defined]  # half of what `copy` takes is to find it
_BODIES: Final = ("requestObject", "responseObject")


class Redacted(msgspec.Struct):
    """An event at one level, redacted; once one consumer has encoded it, also what its record begins with and what follows the rule.

    `encoded`: the record up to its source, what it is sorted by, its reductions and flags, its digest (`record.encode_event`).
    """

    event: Event
    encoded: tuple[tuple[bytes, ...], tuple[str, str, str], bytes, bytes] | None = None


class _Body(msgspec.Struct):
    """A body, redacted, and what was cut from it."""

    clean: bytes
    reductions: list[Reduction]


class Shared(msgspec.Struct):
    """What the copies of one event share: the event by level, and its bodies by name."""

    levels: dict[Any, Redacted] = {}
    bodies: dict[Any, _Body] = {}


class _Rest(msgspec.Struct):
    """Of a copy whose bodies another consumer has redacted already: what they are, and how long they were."""

    shared: Shared
    bodies: list[tuple[str, int, _Body]]


def without_events(block: EventBlock) -> EventBlock:
    """The block for one of several consumers, with an account of its own and no events yet."""
    account = copy(block.account)
    account.dropped_by_rule = dict(account.dropped_by_rule)
    account.dead_lettered = dict(account.dead_lettered)
    account.sizes = dict(account.sizes)
    account.windows = {window: list(counts) for window, counts in account.windows.items()}
    return EventBlock(block.split, account, [], list(block.dead_letters), block.last)


def own(event: Event, account: Account) -> Event:
    """A copy of the event for one consumer; what both hold is shared, and never changed."""
    if event.shared is None:
        event.shared = Shared()  # type: ignore[assignment]
    mine = _copy(event)
    mine.account = account  # type: ignore[assignment]
    if mine.unknown is not None:
        mine.unknown = dict(mine.unknown)
    if mine.flags is not None:
        mine.flags = list(mine.flags)
    if mine.reductions is not None:
        mine.reductions = list(mine.reductions)
    return mine


def _cut(event: Event, *, strips: bool) -> Hashable:
    """What of a consumer's policy shows in the event: equal for copies that are stripped and redacted alike."""
    return event.level if event.flags is None and strips else (event.level, strips, tuple(event.flags or ()))


def take_over(events: list[Event], *, keep: bool) -> None:
    """Put in place of copies that are not stripped yet what other consumers have redacted of them.

    `keep`: managedFields go only where the policy omits them.
    """
    for at, event in enumerate(events):
        shared: Any = event.shared
        if type(shared) is not Shared or not shared.levels:
            continue
        strips = not keep or bool(event.strips)
        redacted = shared.levels.get(_cut(event, strips=strips))
        if redacted is not None:
            mine = events[at] = _copy(redacted.event)
            mine.account, mine.rule, mine.merged = event.account, event.rule, event.merged
            mine.completes, mine.strips = event.completes, event.strips
            mine.shared = redacted  # type: ignore[assignment]
        elif shared.bodies:
            rest = []
            for name in _BODIES:
                raw = getattr(event, name)
                body = shared.bodies.get((name, strips)) if raw else None
                if body is not None:
                    rest.append((name, len(bytes(raw)), body))
                    setattr(event, name, ABSENT)
            if rest:
                event.shared = _Rest(shared, rest)  # type: ignore[assignment]


def redact_once(event: Event, redact: Callable[[Event], None], *, keep: bool) -> None:
    """Redact a copy, unless it was taken over redacted, and leave the result to the other consumers."""
    shared: Any = event.shared
    if type(shared) is Redacted:
        return
    rest: list[tuple[str, int, _Body]] = []
    if type(shared) is _Rest:
        shared, rest = shared.shared, shared.bodies
    strips = not keep or bool(event.strips)
    cut = _cut(event, strips=strips)
    plain = event.flags is None
    redact(event)
    withheld = event.flags is not None and "CONTENT_WITHHELD" in event.flags
    for name, size, body in rest:
        if withheld:
            reductions: Any = event.reductions
            event.reductions = [(*each[:3], each[3] + size) if each[0] == "withheld" else each for each in reductions]  # type: ignore[assignment]
            continue
        setattr(event, name, body.clean)
        for reduction in body.reductions:
            reduced(event, *reduction)
    mine = _copy(event)
    mine.shared = None  # nothing may hold itself: events are not garbage collected
    shared.levels[cut] = event.shared = Redacted(mine)  # type: ignore[assignment]
    if plain and event.flags is None:
        _leave_bodies(event, shared, strips=strips)


def _leave_bodies(event: Event, shared: Shared, *, strips: bool) -> None:
    for name in _BODIES:
        body = getattr(event, name)
        if body and (name, strips) not in shared.bodies:
            found: Any = event.reductions
            place = "/" + name
            cuts = [cut for cut in found or () if cut[1].startswith(place) and cut[0] != "level"]
            shared.bodies[name, strips] = _Body(bytes(body), cuts)
