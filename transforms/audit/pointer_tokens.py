"""JSON pointers (RFC 6901), the keys of `unknownFields`.

JSON allows names with lone surrogates and UTF-8 does not: in a pointer such a code unit is written `~u` and four hex
digits, which RFC 6901 leaves free, because `~` in a name is always written `~0`.
"""

from __future__ import annotations

from re import Match
from re import compile as pattern
from typing import Final

_surrogates: Final = pattern("[\ud800-\udfff]").sub
_escapes: Final = pattern("~(0|1|u[0-9a-f]{4})").sub


def escape_pointer(name: str) -> str:
    """A name as one token of a pointer."""
    token = name.replace("~", "~0").replace("/", "~1")
    return token if token.isascii() else _surrogates(_escaped, token)


def pointer_tokens(pointer: str) -> list[str]:
    """The names that a pointer leads through."""
    tokens = pointer.split("/")[1:]
    return [_escapes(_unescaped, token) for token in tokens] if "~" in pointer else tokens


def _escaped(found: Match[str]) -> str:
    return f"~u{ord(found[0]):04x}"


def _unescaped(found: Match[str]) -> str:
    code = found[1]
    return "~" if code == "0" else "/" if code == "1" else chr(int(code[1:], 16))
