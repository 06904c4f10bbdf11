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
    from collections.abc import Iterator

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


def _words(array: Any) -> Checked:
    return Checked(array, np.uint64)


class CheckedKernels:
    """As `kernels.Kernels`."""

    def __init__(self, modules: dict[str, Any]) -> None:
        self._of = modules

    def scan_lines(self, data: Any, ends: Any, lines: Any, moments: Any) -> None:
        self._of["scan_lines"].scan_lines(Checked(data), Checked(ends), CheckedRows(lines, COLUMNS), CheckedRows(moments, 2))

    def pair_lines(self, data: Any, lines: Any, seed: Any, slots: Any, partners: Any) -> None:
        self._of["pair_lines"].pair_lines(Checked(data), CheckedRows(lines, COLUMNS), seed, Checked(slots), Checked(partners))

    def number_parts(self, data: Any, lines: Any, chosen: Any, places: Any, seed: Any, *table: Any) -> None:
        slots, hashes, starts, sizes, arena, state, out = table
        held = (Checked(slots), _words(hashes), Checked(starts), Checked(sizes), Checked(arena), Checked(state))
        given = (Checked(data), CheckedRows(lines, COLUMNS), Checked(chosen), Checked(places))
        self._of["number_parts"].number_parts(*given, seed, held, Checked(out))

    def encode_rows(self, *given: Any) -> None:
        kinds: Any = [
            *(Checked, lambda each: CheckedRows(each, COLUMNS), Checked, Checked, lambda each: CheckedRows(each, 2), Checked, Checked),
            lambda each: CheckedRows(each, 5),
            *[Checked, lambda each: CheckedRows(each, 2)] * 5,
            *(Checked, lambda each: CheckedRows(each, 4), Checked, Checked, lambda each: CheckedRows(each, 2)),
            *(_words, _words, Checked, Checked, lambda each: Checked(each.reshape(-1))),
        ]
        taken = [kind(each) for kind, each in zip(kinds, given, strict=True)]
        words = tuple(zip(taken[8:18:2], taken[9:18:2], strict=True))
        self._of["encode_rows"].encode_rows(*taken[:8], words, *taken[18:])


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
            names = ("scan_lines", "pair_lines", "number_parts", "encode_rows", "blake2b")
            found = CheckedKernels({name: importlib.import_module(f"{_PACKAGE}.{name}") for name in names})
        for user in ("plain_rows", "words", "settle_rows"):
            stack.enter_context(mock.patch(f"transforms.audit.rows.{user}.kernels", return_value=found))
        stack.enter_context(np.errstate(over="ignore"))  # hashes multiply beyond 64 bits
        yield found
