"""Envelopes: what clouds and shippers wrap around audit events. One module each, found by being in this folder.

A module names the members by which its envelope is known (`FIELDS`) and gives `unwrap`, or it gives `unwrap_text` for
records that are not JSON, or both. Envelopes with a small `ORDER` are asked first. Adding one means adding one file.
One that comes by the million also gives `unwrap_whole`, which reads a record in one go where it is written as usual, and
the members that such a record may begin with (`OPENS`); what it declines, `unwrap` is asked about, and both say the same.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules
from re import compile as pattern
from typing import TYPE_CHECKING, Any, Final

from transforms.audit.envelopes.inner import Inner

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from transforms.audit.members import Members

__all__ = ["Inner", "unwrap", "unwrap_text", "unwrap_whole"]

_modules: Final[list[ModuleType]] = sorted(
    (import_module(f"{__name__}.{found.name}") for found in iter_modules(__path__)),
    key=lambda module: (getattr(module, "ORDER", 50), module.__name__),
)
_by_field: Final[dict[str, tuple[int, Callable[[Members], list[Inner] | None]]]] = {
    field: (at, module.unwrap) for at, module in reversed(list(enumerate(_modules))) for field in getattr(module, "FIELDS", ())
}
_fields: Final = frozenset(_by_field)
_wholes: Final[dict[bytes, Callable[[bytes], list[Inner] | None]]] = {
    name.encode(): module.unwrap_whole for module in _modules for name in getattr(module, "OPENS", ())
}
_first_name: Final = pattern(rb'\{[ \t\r\n]*+"([A-Za-z]*+)"').match
_texts: Final[list[Callable[[bytes], list[Inner] | None]]] = [module.unwrap_text for module in _modules if hasattr(module, "unwrap_text")]


def unwrap(members: Members) -> list[Inner] | None:
    """What the object wraps, in order; None where no envelope knows it. Raises nothing."""
    known: Any = members.keys() & _fields
    for _, module in sorted((_by_field[field] for field in known), key=_rank) if len(known) > 1 else [_by_field[field] for field in known]:
        found = module(members)
        if found is not None:
            return found
    return None


def unwrap_whole(record: bytes) -> list[Inner] | None:
    """What a JSON object in one of the common envelopes wraps; None where it must be looked at member by member."""
    name = _first_name(record)
    whole = _wholes.get(name[1]) if name else None
    return None if whole is None else whole(record)


def unwrap_text(record: bytes) -> list[Inner] | None:
    """What a record that is neither JSON object nor array wraps; None where no envelope knows it."""
    for module in _texts:
        found = module(record)
        if found is not None:
            return found
    return None


def _rank(module: tuple[int, Any]) -> int:
    return module[0]
