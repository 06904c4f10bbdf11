"""The compiled loops as plain Python, over arrays that know their bounds: what reads or writes beyond one raises IndexError."""

from __future__ import annotations

import importlib
import sys
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Final
from unittest import mock

import numpy as np

from transforms.audit.rows.columns import COLUMNS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_PACKAGE: Final = "transforms.audit.rows.compiled"
_WORD: Final = 8


class Checked:
    """A row of numbers that is read and written by the number, and neither before its beginning nor behind its end."""

    def __init__(self, held: Any, kind: type = int) -> None:
        self._held = held
        self._kind = kind

    def __len__(self) -> int:
        return len(self._held)

    def _place(self, at: Any) -> int:
        place = int(at)
        if not 0 <= place < len(self._held):
            raise IndexError(f"{place} of {len(self._held)}")
        return place

    def __getitem__(self, at: Any) -> Any:
        return self._kind(self._held[self._place(at)])

    def __setitem__(self, at: Any, value: Any) -> None:
        self._held[self._place(at)] = value

    def word(self, at: int) -> Any:
        place, _ = self._place(at), self._place(at + _WORD - 1)
        return np.uint64(int.from_bytes(bytes(self._held[place : place + _WORD]), "little"))


class CheckedRows:
    """Rows of rows."""

    def __init__(self, held: Any, columns: int) -> None:
        self._rows = [Checked(row) for row in held.reshape(-1, columns)]

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, at: Any) -> Any:
        if isinstance(at, tuple):
            return self[at[0]][at[1]]
        if not 0 <= at < len(self._rows):
            raise IndexError(f"{at} of {len(self._rows)}")
        return self._rows[at]

    def __setitem__(self, at: tuple[Any, Any], value: Any) -> None:
        self[at[0]][at[1]] = value


def _load(array: Any, at: Any) -> Any:
    return (array if isinstance(array, Checked) else Checked(array)).word(int(at))


class _Given:
    """Arguments, as `entries` takes them: an array by its number, a number by twice its own."""

    def __init__(self, arguments: tuple[Any, ...]) -> None:
        self.arguments = arguments

    def __getitem__(self, at: int) -> Any:
        return self.arguments[at // 2]


def _array(kind: type) -> Callable[[_Given, int], Checked]:
    return lambda given, at: Checked(given.arguments[at].reshape(-1), kind)


def _rows(columns: int) -> Callable[[_Given, int], CheckedRows]:
    return lambda given, at: CheckedRows(given.arguments[at], columns)


class CheckedKernels:
    """As `kernels.Kernels`."""

    def __init__(self, entries: Any, blake2b: Any) -> None:
        self.blake2b = blake2b
        for name in ("_bytes", "_ints", "_longs"):
            setattr(entries, name, _array(int))
        entries._words = _array(np.uint64)
        columns = {"_lines": COLUMNS, "_spans": 2, "_parts": 5, "_pairs": 2, "_threes": 3, "_fours": 4, "_twelves": 12}
        for name, count in columns.items():
            setattr(entries, name, _rows(count))
        for name, entry in entries.ENTRIES.items():
            setattr(self, name, lambda *arguments, entry=entry: entry(_Given(arguments)))

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Callable[..., None]: ...


@contextmanager
def checked_kernels() -> Iterator[CheckedKernels]:
    """The loops as they stand in the source, nothing compiled, in place of the compiled ones."""

    def as_it_is(*_: Any, **__: Any) -> Any:
        return lambda function: function

    with ExitStack() as stack:
        stack.enter_context(mock.patch.dict(sys.modules))
        for name in [name for name in sys.modules if name.startswith(_PACKAGE + ".")]:
            del sys.modules[name]
        with mock.patch("numba.njit", as_it_is), mock.patch("numba.extending.intrinsic", lambda function: function):
            importlib.import_module(f"{_PACKAGE}.eight_bytes").load = _load  # type: ignore[attr-defined]
            found = CheckedKernels(*(importlib.import_module(f"{_PACKAGE}.{name}") for name in ("entries", "blake2b")))
        for user in ("read_rows", "words", "bodies", "settle_rows"):
            stack.enter_context(mock.patch(f"transforms.audit.rows.{user}.kernels", return_value=found))
        stack.enter_context(np.errstate(over="ignore"))  # hashes multiply beyond 64 bits
        yield found
