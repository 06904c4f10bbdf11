r"""The members of a JSON object, their values as the JSON they came as.

Python's own JSON reader stands in where the fast one gives up: a body that a client sent may hold lone surrogates
(`"\ud800"`), which JSON allows and UTF-8 does not.
"""

from __future__ import annotations

from json.decoder import JSONDecoder, scanstring  # type: ignore[attr-defined]
from re import compile as pattern
from typing import Final, NoReturn, TypeVar

import msgspec

from transforms.audit.fresh_stack import on_fresh_stack

Members = dict[str, msgspec.Raw]
T = TypeVar("T")

_members: Final = msgspec.json.Decoder(Members).decode
_text: Final = msgspec.json.Decoder(str).decode
_list: Final = msgspec.json.Decoder(list[msgspec.Raw]).decode
_surrogate: Final = pattern(rb"\\u[dD][89a-fA-F]").search
_space: Final = pattern(r"[ \t\n\r]*").match
unreadable: Final = (msgspec.MsgspecError, UnicodeError, RecursionError)


def _refuse(name: str) -> NoReturn:
    raise ValueError(name)  # NaN and Infinity are not JSON


# Numbers stay text: conversion costs, and has limits of its own.
_scan_once: Final = JSONDecoder(parse_int=str, parse_float=str, parse_constant=_refuse).scan_once  # type: ignore[attr-defined]


def members(record: bytes | msgspec.Raw) -> Members:
    """The members of an object; of equal names the last. Raises one of `unreadable` where the record is not an object."""
    try:
        return _read_members(record)
    except RecursionError:
        return on_fresh_stack(_read_members, record)


def _read_members(record: bytes | msgspec.Raw) -> Members:
    try:
        return _members(record)
    except msgspec.DecodeError:
        text = bytes(record)
        if not _surrogate(text):
            raise
    return {name: msgspec.Raw(value) for name, value in _slow_members(text)}


def elements(record: bytes | msgspec.Raw) -> list[msgspec.Raw]:
    """The elements of an array; raises as `members` does."""
    try:
        return _read_elements(record)
    except RecursionError:
        return on_fresh_stack(_read_elements, record)


def _read_elements(record: bytes | msgspec.Raw) -> list[msgspec.Raw]:
    try:
        return _list(record)
    except msgspec.DecodeError:
        text = bytes(record)
        if not _surrogate(text):
            raise
    return [msgspec.Raw(value) for value in _slow_elements(text)]


def string(value: bytes | msgspec.Raw | None) -> str | None:
    """The text of a JSON string; None for any other value, none, and a string that UTF-8 cannot write."""
    if not value:
        return None
    try:
        return _text(value)
    except unreadable:
        return None


def compact(value: bytes | msgspec.Raw) -> bytes:
    """JSON without insignificant white space, otherwise as written."""
    try:
        return _compact(bytes(value))
    except RecursionError:
        return on_fresh_stack(_compact, bytes(value))


def _compact(value: bytes) -> bytes:
    try:
        return msgspec.json.format(value, indent=-1)
    except msgspec.MsgspecError:
        return value  # lone surrogates


def _slow_members(record: bytes) -> list[tuple[str, bytes]]:
    text, at = _opened(record, "{")
    found: list[tuple[str, bytes]] = []
    if text[at : at + 1] == "}":
        return _closed(text, at, found)
    while True:
        if text[at : at + 1] != '"':
            raise msgspec.DecodeError("no name")
        name, at = _scan(text, at)
        at = _skip(text, at)
        if text[at : at + 1] != ":":
            raise msgspec.DecodeError("no colon")
        start = _skip(text, at + 1)
        _, at = _scan(text, start)
        found.append((str(name), text[start:at].encode()))
        at = _skip(text, at)
        if text[at : at + 1] == "}":
            return _closed(text, at, found)
        if text[at : at + 1] != ",":
            raise msgspec.DecodeError("no comma")
        at = _skip(text, at + 1)


def _slow_elements(record: bytes) -> list[bytes]:
    text, at = _opened(record, "[")
    found: list[bytes] = []
    if text[at : at + 1] == "]":
        return _closed(text, at, found)
    while True:
        start = at
        _, at = _scan(text, start)
        found.append(text[start:at].encode())
        at = _skip(text, at)
        if text[at : at + 1] == "]":
            return _closed(text, at, found)
        if text[at : at + 1] != ",":
            raise msgspec.DecodeError("no comma")
        at = _skip(text, at + 1)


def _opened(record: bytes, bracket: str) -> tuple[str, int]:
    text = record.decode()
    at = _skip(text, 0)
    if text[at : at + 1] != bracket:
        raise msgspec.DecodeError("another type")
    return text, _skip(text, at + 1)


def _closed(text: str, at: int, found: list[T]) -> list[T]:
    if _skip(text, at + 1) != len(text):
        raise msgspec.DecodeError("trailing characters")
    return found


def _skip(text: str, at: int) -> int:
    return _space(text, at).end()  # type: ignore[union-attr]


def _scan(text: str, at: int) -> tuple[object, int]:
    try:
        if text[at : at + 1] == '"':
            return scanstring(text, at + 1, True)
        return _scan_once(text, at)
    except (ValueError, StopIteration) as error:
        raise msgspec.DecodeError("not JSON") from error
