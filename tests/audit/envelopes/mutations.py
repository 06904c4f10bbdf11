"""Records, damaged."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random

INSERTS = [
    b"",
    b"{",
    b"}",
    b"[",
    b"]",
    b'"',
    b"\\",
    b",",
    b":",
    b"\x00",
    b"\xff",
    b"\\ud800",
    b"null",
    b"1e999",
    b"\xef\xbb\xbf",
    b"\\u0000",
]


def mutated(record: bytes, chance: random.Random) -> bytes:
    """The record cut short, with a piece left out or put in, or with one byte changed."""
    at, to = sorted(chance.randrange(len(record) + 1) for _ in range(2))
    match chance.randrange(4):
        case 0:
            return record[:at]
        case 1:
            return record[:at] + record[min(to, at + 30) :]
        case 2:
            return record[:at] + chance.choice(INSERTS) + record[at:]
        case _:
            return record[:at] + bytes([chance.randrange(256)]) + record[at + 1 :]
