"""What rows ask for, as far as policies tell it apart: numbered once for all policies, for few things are asked for in many ways."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from transforms.audit.policy import REMEMBERED, named_by
from transforms.audit.request_info import request_info
from transforms.audit.rows.parts import OF_REFERENCE, OF_URI

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from transforms.audit.rows.parts import Parts
    from transforms.audit.rows.plain_rows import Rows

BY_ITSELF: Final = -1
_NEW: Final = -2


def ask_rows(rows: Rows) -> None:
    """Number by row what is asked for: a resource in a namespace, whatever its name, or a path; BY_ITSELF where that is not all."""
    if rows.asked is not None:
        return
    found = rows.parts.caches.get(_Asked)
    if found is None:
        found = rows.parts.caches[_Asked] = _Asked(rows.parts)
    rows.asked = found.which(rows.numbers)


class _Asked:
    """What parts say, by their number: of a URI what is asked for and of which kind that is, of a reference the kind that it names."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._numbers: dict[Any, int] = {}
        self._kinds: dict[Any, int] = {}
        most = len(parts.words[OF_URI].plain)
        self._asked, self._kind = np.full(most, _NEW, dtype=np.int64), np.empty(most, dtype=np.int64)
        self._named = np.full(most, _NEW, dtype=np.int64)

    def which(self, numbers: NDArray[np.int32]) -> NDArray[np.int64]:
        uris, references = numbers[:, OF_URI], numbers[:, OF_REFERENCE]
        for uri in set(uris[self._asked[uris] == _NEW].tolist()):
            self._learn_uri(uri)
        for reference in set(references[(references >= 0) & (self._named[references] == _NEW)].tolist()):
            self._named[reference] = self._number(self._kinds, named_by(self._parts.known(OF_REFERENCE, reference).raw))
        asked = self._asked[uris]
        named = self._named[references]
        asked[(references >= 0) & ((named != self._kind[uris]) | (named == BY_ITSELF))] = BY_ITSELF
        return asked

    def _learn_uri(self, uri: int) -> None:
        info = request_info(self._parts.known(OF_URI, uri).partition("?")[0])
        asked: Any = info.path
        kind: Any = info.path
        if info.is_resource_request:
            kind = info.api_group, info.resource, info.subresource
            asked = *kind, info.namespace
        self._asked[uri], self._kind[uri] = self._number(self._numbers, asked), self._number(self._kinds, kind)

    def _number(self, known: dict[Any, int], what: Any) -> int:
        return known.setdefault(what, len(known)) if what is not None and len(known) < REMEMBERED else BY_ITSELF
