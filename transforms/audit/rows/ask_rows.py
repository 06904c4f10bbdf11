"""What rows ask for, as far as policies tell it apart: numbered once for all policies, for few things are asked for in many ways."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from transforms.audit.policy import REMEMBERED, named_by
from transforms.audit.request_info import request_info
from transforms.audit.rows.parts import OF_REFERENCE, OF_URI
from transforms.audit.rows.words import MOST

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from transforms.audit.rows.parts import Parts
    from transforms.audit.rows.plain_rows import Rows

BY_ITSELF = -1


def ask_rows(rows: Rows) -> None:
    """Number by row what is asked for: a resource in a namespace, whatever its name, or a path; BY_ITSELF where that is not all."""
    if rows.asked is not None:
        return
    found = rows.parts.caches.get(_Asked)
    if found is None:
        found = rows.parts.caches[_Asked] = _Asked(rows.parts)
    rows.asked = found.which(rows.numbers)


class _Asked:
    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._numbers: dict[Any, int] = {}
        self._known: dict[int, int] = {}

    def which(self, numbers: NDArray[np.int32]) -> NDArray[np.int64]:
        keys = numbers[:, OF_URI].astype(np.int64) * (MOST + 1) + numbers[:, OF_REFERENCE] + 1
        distinct, which = np.unique(keys, return_inverse=True)
        if len(self._known) > REMEMBERED:
            self._known.clear()
        known = self._known
        found = []
        for key in distinct.tolist():
            number = known.get(key)
            if number is None:
                number = known[key] = self._number(key // (MOST + 1), key % (MOST + 1) - 1)
            found.append(number)
        return np.array(found, dtype=np.int64)[which]

    def _number(self, uri: int, reference: int) -> int:
        info = request_info(self._parts.known(OF_URI, uri).partition("?")[0])
        asked: Any = info.path
        if info.is_resource_request:
            asked = info.api_group, info.resource, info.subresource, info.namespace
        if reference >= 0 and named_by(self._parts.known(OF_REFERENCE, reference).raw) != asked[:3]:
            return BY_ITSELF
        return self._numbers.setdefault(asked, len(self._numbers)) if len(self._numbers) < REMEMBERED else BY_ITSELF
