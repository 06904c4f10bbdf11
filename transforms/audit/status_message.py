"""Redact the messages of Status objects and failed requests: the server quotes what it was sent, and what it has stored."""

from __future__ import annotations

import re
from typing import Final

from transforms.audit.embedded import Search

# `patch: Invalid value` prints the whole patched object, old decoders print their context
# (kubernetes/apiserver `pkg/endpoints/handlers/patch.go`); an unrecognised body is quoted in hex (`handlers/rest.go` summarizeData).
_OBJECT: Final = re.compile(r"(patch: Invalid value|bigger context|last-applied-configuration|Invalid value: (?=\{|map\[|\[|[a-z]+\.[A-Z]|&|\\?\"\s*[\[{]))")
_QUOTED: Final = re.compile(r"((?:Invalid|Unsupported|Duplicate|Not supported|Too long|Required|Too many)\s?(?:value)?: )(\"(?:[^\"\\]|\\.)*\"|[^\s\",:]+)")
_HEX: Final = re.compile(r"\((?:0x)?[0-9a-fA-F]{4,}[0-9a-fA-F .]*\)")
_EXTRA: Final = re.compile(r"(userextras(?:[./][^\s\"]*)? )(\"(?:[^\"\\]|\\.)*\")")
_GO_MAP: Final = re.compile(r"map\[.*", re.DOTALL)
_MAY_QUOTE: Final = ("alue", "ontext", "\n", "map[", "userextras", "(", "applied")


def redact_message(text: str, search: Search) -> str:
    """The message without the values that it quotes; what failed, where and why stays."""
    if any(sign in text for sign in _MAY_QUOTE):
        text = _unquoted(text, search)
    return search.text(text)


def _unquoted(text: str, search: Search) -> str:
    found = _OBJECT.search(text)
    if found:
        rest = text[found.end() :].lstrip(": ")
        if rest and not rest.startswith("<redacted"):
            text = f"{text[: found.end()].rstrip(': ')}: {search.masked('message', rest)}"
    if "\n" in text and ("orbidden" in text or "is invalid" in text or "denied" in text):
        first, _, rest = text.partition("\n")
        text = f"{first} {search.masked('message', rest)}"
    text = _QUOTED.sub(lambda part: part[1] + _mask(part[2], search), text)
    text = _EXTRA.sub(lambda part: part[1] + _mask(part[2], search), text)
    text = _HEX.sub(lambda part: f"({search.masked('message', part[0])})", text)
    return _GO_MAP.sub(lambda part: search.masked("message", part[0]), text)


def _mask(quoted: str, search: Search) -> str:
    if quoted in ("null", "true", "false", '""') or quoted.startswith("<redacted"):
        return quoted
    if quoted.startswith('"'):
        inner = quoted[1:-1]
        return f'"{search.masked("message", inner)}"'
    return search.masked("message", quoted)
