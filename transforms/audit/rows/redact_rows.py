"""Strip and redact rows: parts that redaction leaves as they are stay in their rows, bodies are judged as those of events are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from transforms.audit.consumers import Redacted, redact_once, take_over
from transforms.audit.event import ODD_BEFORE
from transforms.audit.managed_fields import strip_managed_fields
from transforms.audit.rows.parts import OF_CALLER, OF_NOTES, OF_REFERENCE, OF_STATUS, OF_URI

if TYPE_CHECKING:
    from collections.abc import Callable

    from transforms.audit.event import Event
    from transforms.audit.redaction import Redactor
    from transforms.audit.rows.plain_rows import Rows


def _judges(redactor: Redactor) -> dict[int, Callable[[Any], bool]]:
    """By column, what says whether redaction leaves a part as it is."""
    judges: dict[int, Callable[[Any], bool]] = {
        OF_URI: redactor.leaves_uri,
        OF_CALLER: lambda caller: redactor.leaves_caller(caller.user, caller.sourceIPs, caller.userAgent),
        OF_REFERENCE: lambda reference: redactor.leaves_reference(reference.raw),
        OF_STATUS: redactor.leaves_status,
        OF_NOTES: redactor.leaves_annotations,
    }
    return {column: _or_not(judge) for column, judge in judges.items()}


def _or_not(judge: Callable[[Any], bool]) -> Callable[[Any], bool]:
    def judged(part: Any) -> bool:
        try:
            return judge(part)
        except Exception:  # noqa: BLE001 - what cannot be judged is not left as it is: its events are withheld, one by one
            return False

    return judged


def strip_rows(rows: Rows, *, keep: bool) -> None:
    """Take managedFields out of the rows' bodies; with `keep` only where the policy omits them."""
    places = [place for place, body in enumerate(rows.bodies) if body is not None]
    bodies: list[Any] = [rows.bodies[place] for place in places]
    if rows.shared:
        take_over(bodies, keep=keep)
        for place, body in zip(places, bodies, strict=True):
            rows.bodies[place] = body
    for body in bodies:
        if (not keep or body.strips) and type(body.shared) is not Redacted and (body.requestObject or body.responseObject):
            strip_managed_fields(body)


def redact_rows(rows: Rows, redactor: Redactor, latest: int, *, keep: bool) -> tuple[Rows, list[Event]]:
    """The rows, redacted; and as redacted events those in which there is more to redact than bodies, or later than `latest`."""
    judges = rows.parts.caches.get(redactor)
    if judges is None:
        judges = rows.parts.caches[redactor] = _judges(redactor)
    reached = rows.moments[rows.chosen, 1]
    left = (reached >= ODD_BEFORE) & (reached <= latest)
    for column, judge in judges.items():
        left &= rows.answers(judge, column) | (rows.numbers[:, column] < 0)
    uris, statuses = (rows.parts.words[column].known for column in (OF_URI, OF_STATUS))
    for place, (uri, status) in enumerate(zip(rows.numbers[:, OF_URI].tolist(), rows.numbers[:, OF_STATUS].tolist(), strict=True)):
        body = rows.bodies[place]
        if body is not None and left[place] and not _redact_bodies(body, uris[uri], statuses[status], redactor, keep=keep):
            left[place] = False
    fallen = []
    for place in np.flatnonzero(~left).tolist():
        event = rows.merged_event(place)
        if not keep or event.strips:
            strip_managed_fields(event)
        redactor.redact(event)
        fallen.append(event)
    return rows.take(left), fallen


def _redact_bodies(body: Event, uri: str, status: bytes, redactor: Redactor, *, keep: bool) -> bool:
    """Whether the bodies are redacted, and nothing was withheld."""
    shared: Any = body.shared
    if type(shared) is Redacted or not (body.requestObject or body.responseObject):  # by another consumer, or there is nothing left
        return body.flags is None
    try:
        if shared is None:
            redactor.redact_bodies(body, uri, status)
        else:
            redact_once(body, lambda event: redactor.redact_bodies(event, uri, status), keep=keep)
    except Exception:  # noqa: BLE001 - the whole event is withheld
        return False
    return body.flags is None
