"""Remember what was judged and found innocent, so that it is judged once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Hashable

_LONGEST: Final = 32_768  # bytes
_MOST: Final = 16 << 20  # bytes


class Innocent:
    """Bodies with all that the judgement depends on, up to 16 MiB; then it forgets them all. A copy for another worker is empty."""

    def __init__(self) -> None:
        self._known: set[tuple[bytes, Hashable]] = set()
        self._size = 0

    def __reduce__(self) -> tuple[type[Innocent], tuple[()]]:
        return Innocent, ()

    def __contains__(self, body: tuple[bytes, Hashable]) -> bool:
        return body in self._known

    def add(self, body: tuple[bytes, Hashable]) -> None:
        """Remember a body, unless it is long."""
        if len(body[0]) < _LONGEST:
            if self._size > _MOST:
                self._known.clear()
                self._size = 0
            self._size += len(body[0])
            self._known.add(body)
