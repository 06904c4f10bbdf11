"""Redact the messages of Status objects and failed requests: the server quotes what it was sent, and what it has stored."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from transforms.audit.request_uri import redact_uri
from transforms.audit.sensitivity import address_of

if TYPE_CHECKING:
    from transforms.audit.embedded import Search

# `patch: Invalid value` prints the whole patched object, old decoders print their context
# (kubernetes/apiserver `pkg/endpoints/handlers/patch.go`); a body without a kind is printed whole (kubernetes/apimachinery
# `pkg/runtime/error.go`), and a value that is of another type than the applied field (structured-merge-diff).
# An unrecognised body is quoted in hex (`handlers/rest.go` summarizeData).
_OBJECT: Final = re.compile(
    r"(patch: Invalid value|bigger context|last-applied-configuration|is missing in '|: expected [a-z]+, got |"
    r"Invalid value: (?=\{|map\[|\[|[a-z]+\.[A-Z]|&|\\?\"\s*[\[{]))"
)
_QUOTED: Final = re.compile(
    r"((?:Invalid|Unsupported|Duplicate|Not supported|Too long|Required|Too many)\s?(?:value)?: )(\"(?:[^\"\\]|\\.)*\"|[^\s\",:]+)"
)
_HEX: Final = re.compile(r"\((?:0x)?[0-9a-fA-F]{4}[0-9a-fA-F .]*\)")
_EXTRA: Final = re.compile(r"(userextras(?:[./][^\s\"]*)?)(?: (\"(?:[^\"\\]|\\.)*\"))?")
_GO_MAP: Final = re.compile(r"map\[.*", re.DOTALL)
# What a webhook or an admission policy says is free text, and may quote any value of the object in a word of its own.
_DENIED: Final = re.compile(r"denied (?:the )?request: ")
_OPAQUE: Final = re.compile(
    r"(?<![A-Za-z0-9_~+./:@\-])(?=(?:[A-Za-z_~+\-]*\d){2})(?=[\d_~+\-]*[A-Za-z])[A-Za-z0-9_~+\-]{12,}={0,2}(?![A-Za-z0-9./:@])"
)
_PATH: Final = re.compile(r"(cannot [a-z]+ path )(\"/(?:[^\"\\]|\\.)*\")")
_MAY_QUOTE: Final = ("alue", ", got ", " missing in ", "ontext", "\n", "map[", "userextras", "(", "applied", "denied", " path ")

_SIGNS: Final = (*(sign.replace("\n", "\\n").encode() for sign in _MAY_QUOTE), b"Required", b"Too ", b'List"')


def may_quote(status: bytes) -> bool:
    """Whether a Status in JSON may hold a message that quotes values."""
    return b'"message"' in status and any(sign in status for sign in _SIGNS)


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
    text = _EXTRA.sub(lambda part: f"{part[1]} {_mask(part[2], search)}" if part[2] else part[0], text)
    text = _HEX.sub(lambda part: f"({search.masked('message', part[0])})", text)
    found = _DENIED.search(text)
    if found:
        text = text[: found.end()] + redact_opaque(text[found.end() :], search)
    text = _PATH.sub(lambda part: f'{part[1]}"{_path(part[2][1:-1], search)}"', text)
    return _GO_MAP.sub(lambda part: search.masked("message", part[0]), text)


def redact_opaque(text: str, search: Search) -> str:
    """Free text without the words in it that nobody would write: letters with two digits, twelve or more."""
    return _OPAQUE.sub(lambda word: search.masked("message", word[0]), text)


def _path(path: str, search: Search) -> str:
    return redact_uri(path, address_of(path), search, "program")


def _mask(quoted: str, search: Search) -> str:
    if quoted in ("null", "true", "false", '""') or quoted.startswith("<redacted"):
        return quoted
    if quoted.startswith('"'):
        inner = quoted[1:-1]
        return f'"{search.masked("message", inner)}"'
    return search.masked("message", quoted)
