"""Strip and redact rows: parts that redaction leaves as they are stay in their rows, bodies are judged as those of events are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from transforms.audit.event import ODD_BEFORE
from transforms.audit.managed_fields import strip_managed_fields
from transforms.audit.redaction import is_failed
from transforms.audit.rows.parts import OF_CALLER, OF_NOTES, OF_REFERENCE, OF_STATUS, OF_URI

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

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
    rows.stripped[:] = not keep
    if keep and rows.decision_of is not None:
        rows.stripped[:] = np.array([decision.omit_managed_fields for decision in rows.decisions], dtype=bool)[rows.decision_of]
    rows.bodies.texts(strips=True).strip(rows.numbers_of_bodies(rows.stripped))


def redact_rows(rows: Rows, redactor: Redactor, latest: int, *, keep: bool) -> tuple[Rows, list[Event]]:
    """The rows, redacted; and as redacted events those in which there is more to redact than bodies, or later than `latest`."""
    judges = rows.parts.caches.get(redactor)
    if judges is None:
        judges = rows.parts.caches[redactor] = _judges(redactor)
    reached = rows.moments[rows.chosen, 1]
    left = (reached >= ODD_BEFORE) & (reached <= latest)
    for column, judge in judges.items():
        left &= rows.answers(judge, column) | (rows.numbers[:, column] < 0)
    for strips in (True, False):
        left &= ~_redact_bodies(rows, redactor, left & (rows.stripped == strips), strips=strips)
    fallen = []
    for place in np.flatnonzero(~left).tolist():
        event = rows.merged_event(place)
        if not keep or event.strips:
            strip_managed_fields(event)
        redactor.redact(event)
        fallen.append(event)
    return rows.take(left), fallen


def _redact_bodies(rows: Rows, redactor: Redactor, mask: NDArray[np.bool_], *, strips: bool) -> NDArray[np.bool_]:
    """Redact the bodies of some rows; of which rows something was withheld."""
    withheld = np.zeros(len(rows), dtype=bool)
    which = rows.numbers_of_bodies(mask)
    if not len(which):
        return withheld
    texts = rows.bodies.texts(strips=strips)
    texts.strip(which)
    closer = rows.answers(redactor.looks_closer, OF_URI) | rows.answers(is_failed, OF_STATUS)
    of = np.flatnonzero(mask)[np.searchsorted(rows.of[mask], which >> 1)]
    rows_of = dict(zip(which.tolist(), of.tolist(), strict=True))

    def redact(event: Event, body: int) -> None:
        row = rows_of[body]
        status = rows.known(OF_STATUS, row)
        redactor.redact_bodies(event, rows.known(OF_URI, row), b"" if status is None else status)

    texts.redact(which, closer[of], redact)
    withheld[of[texts.withheld(which)]] = True
    return withheld
