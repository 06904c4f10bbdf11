"""The objects that rows are about, as records are sorted by them: each distinct one decoded once, for all consumers."""

from __future__ import annotations

from threading import local
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from transforms.audit.parts import NO_OBJECT, decode_reference
from transforms.audit.rows.columns import REFERENCE, REFERENCE_END, UID, UID_END, VERSION, VERSION_END
from transforms.audit.rows.parts import or_odd
from transforms.audit.rows.words import Words

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from transforms.audit.avro_blocks import SortKey
    from transforms.audit.rows.plain_rows import Rows

_PLACES: Final = (REFERENCE, REFERENCE_END, UID, UID_END, VERSION, VERSION_END)
_own: Final = local()  # tables are filled by one thread


@or_odd
def _read(raw: bytes) -> tuple[bytes, Any]:
    reference = decode_reference(raw)
    return b"", (reference.resource or "", reference.namespace or "", reference.name or "")


def _judge(raw: bytes) -> tuple[bytes, Any]:
    return _read(raw) or (b"", NO_OBJECT)


def number_objects(rows: Rows) -> None:
    """Number the rows' objects, unless they are more than a table holds."""
    if rows.objects is not None:
        return
    lines = rows.lines[rows.chosen]
    size = int((lines[:, REFERENCE_END] - lines[:, REFERENCE]).sum())
    found: Words | None = _own.__dict__.get("objects")
    if found is None or not found.room(len(rows), size):
        found = Words(_judge)
        if not found.room(len(rows), size):
            return
        _own.objects = found
    rows.objects = found.number(np.frombuffer(rows.data, dtype=np.uint8), rows.lines, rows.chosen, _PLACES)
    rows.object_keys = found.known


def object_keys(rows: Rows, places: NDArray[np.int64]) -> list[SortKey]:
    """What the records of some rows are sorted by."""
    number_objects(rows)
    if rows.objects is None:
        return [_key(rows, place) for place in places.tolist()]
    known = rows.object_keys
    return [known[number] if number >= 0 else NO_OBJECT for number in rows.objects[places].tolist()]


def _key(rows: Rows, place: int) -> SortKey:
    line = rows.lines[rows.chosen[place]]
    return _judge(rows.data[line[REFERENCE] : line[REFERENCE_END]])[1] if line[REFERENCE_END] else NO_OBJECT
