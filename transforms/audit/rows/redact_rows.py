"""Strip and redact rows: parts that redaction leaves as they are stay in their rows, bodies are judged as those of events are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from transforms.audit.consumers import Redacted, redact_once, take_over
from transforms.audit.event import ODD_BEFORE
from transforms.audit.managed_fields import strip_managed_fields
from transforms.audit.rows.columns import NO, UNKNOWN, YES
from transforms.audit.rows.parts import OF_CALLER, OF_NOTES, OF_REFERENCE, OF_STATUS, OF_URI

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from transforms.audit.event import Event
    from transforms.audit.redaction import Redactor
    from transforms.audit.rows.parts import Parts
    from transforms.audit.rows.plain_rows import Rows


class _Verdicts:
    """What a redactor does with parts: by column, whether it leaves them as they are."""

    def __init__(self, parts: Parts, redactor: Redactor) -> None:
        self._parts = parts
        self.leaves: dict[int, NDArray[np.uint8]] = {
            column: np.zeros(len(parts.words[column].plain), dtype=np.uint8)
            for column in (OF_URI, OF_CALLER, OF_REFERENCE, OF_STATUS, OF_NOTES)
        }
        self._judges: dict[int, Callable[[Any], bool]] = {
            OF_URI: redactor.leaves_uri,
            OF_CALLER: lambda caller: redactor.leaves_caller(caller.user, caller.sourceIPs, caller.userAgent),
            OF_REFERENCE: lambda reference: redactor.leaves_reference(reference.raw),
            OF_STATUS: redactor.leaves_status,
            OF_NOTES: redactor.leaves_annotations,
        }

    def left(self, rows: Rows) -> NDArray[np.bool_]:
        """The rows all of whose parts are left as they are."""
        out = np.ones(len(rows), dtype=bool)
        for column, leaves in self.leaves.items():
            numbers = rows.numbers[:, column]
            found = leaves[numbers]
            new = numbers[(found == UNKNOWN) & (numbers >= 0)]
            if len(new):
                for part in set(new.tolist()):
                    leaves[part] = self._judge(column, part)
                found = leaves[numbers]
            out &= (found == YES) | (numbers < 0)
        return out

    def _judge(self, column: int, part: int) -> int:
        try:
            return YES if self._judges[column](self._parts.known(column, part)) else NO
        except Exception:  # noqa: BLE001 - what cannot be judged is not left as it is: its events are withheld, one by one
            return NO


def strip_rows(rows: Rows, *, keep: bool) -> None:
    """Take managedFields out of the rows' bodies; with `keep` only where the policy omits them."""
    places = [place for place, body in enumerate(rows.bodies) if body is not None]
    bodies: list[Any] = [rows.bodies[place] for place in places]
    if rows.shared:
        take_over(bodies, keep=keep)
        for place, body in zip(places, bodies, strict=True):
            rows.bodies[place] = body
    for body in bodies:
        if (not keep or body.strips) and type(body.shared) is not Redacted:
            strip_managed_fields(body)


def redact_rows(rows: Rows, redactor: Redactor, latest: int, *, keep: bool) -> tuple[Rows, list[Event]]:
    """The rows, redacted; and as redacted events those in which there is more to redact than bodies, or later than `latest`."""
    caches = rows.parts.caches
    verdicts = caches.get(redactor)
    if verdicts is None:
        verdicts = caches[redactor] = _Verdicts(rows.parts, redactor)
    reached = rows.moments[rows.chosen, 1]
    left = verdicts.left(rows) & (reached >= ODD_BEFORE) & (reached <= latest)
    for place in np.flatnonzero(left).tolist():
        body = rows.bodies[place]
        if body is not None and not _redact_bodies(rows, place, body, redactor, keep=keep):
            left[place] = False
    fallen = []
    for place in np.flatnonzero(~left).tolist():
        event = rows.merged(place)
        if not keep or event.strips:
            strip_managed_fields(event)
        redactor.redact(event)
        fallen.append(event)
    return rows.take(left), fallen


def _redact_bodies(rows: Rows, place: int, body: Event, redactor: Redactor, *, keep: bool) -> bool:
    """Whether the bodies are redacted, and nothing was withheld."""
    uri, status = rows.known(OF_URI, place), rows.known(OF_STATUS, place)
    try:
        if body.shared is None:
            redactor.redact_bodies(body, uri, status)
        else:
            redact_once(body, lambda event: redactor.redact_bodies(event, uri, status), keep=keep)
    except Exception:  # noqa: BLE001 - the whole event is withheld
        return False
    return body.flags is None
