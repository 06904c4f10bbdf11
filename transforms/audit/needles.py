"""Decide by its bytes whether a body can hold a Secret or a credential at all, so that most bodies are never parsed.

A word such as `token` alone says little: every Pod mounts one. What follows it decides: a scalar that it is the key of, a
`value` that it is the name of, an assignment, an option. `embedded` judges for good; here the answer may be yes too often.
One case is settled here because a fifth of all Pods has it: an environment variable in plain form, `{"name":"DB_PASSWORD","value":"…"}`.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Final

from transforms.audit.body_scan import RUN, SEARCH, TOKEN, WORDS, find_run, find_token, scan_body
from transforms.audit.credentials import is_credential, mask, scrub_text

# What most credentials' names end in, in any case of letters. `key` covers private keys in PEM as well.
_WORDS: Final = (
    (b"pass", rb"(?:w(?:or)?ds?|wd|wort|phrase|code|key|wrd)?"),
    (b"secret", rb"s?(?:[ _.\-]?(?:access)?[ _.\-]?keys?)?"),
    (b"token", rb"s?"),
    (b"key", rb"s?"),
)
_ENDING: Final = (
    rb"(?:[ _.\-]?(?:value|val|base64|b64|plain|plaintext|text|string|data|raw|literal|current|previous|old|new|env"
    rb"|hash|sha[0-9]{1,3}|hex|json|pem|prod|dev|primary|secondary|v[0-9]))?[ _.\-]?\d{0,4}"
)
# What comes after the name: `"value":` (1), another string, or the end of an object (2), a scalar or a list of strings
# that it is the key of, an assignment, a word or a PEM header's dashes (neither).
_AFTER: Final = (
    rb"(?:\\*[\"'`]\s*(?:,\s*(\\*\"value\\*\"\s*:)|([,}])|:\s*(?:\[\s*)?(?:\\*[\"']|[0-9\-|>]))"
    rb"|[\"'`\]]?\s*(?:=>|:=|=|:)\s*[^\s{\[}\],]|\s+[^\s=:{}\[\]]|--)"
)
_CONTEXTS: Final = tuple((word, len(word), re.compile(tail + _ENDING + _AFTER)) for word, tail in _WORDS)
_BEFORE_KEY: Final = re.compile(
    rb"(?:private|api|app|application|access|secret|priv|encrypt|encryption|decryption|"
    rb"signing|sign|master|account|storage|shared|auth|user|admin|root|"
    rb"session|license|deploy|hmac|rsa|gpg|pgp|crypto|cipher|aes|consumer|"
    rb"subscription|instrumentation|integration|client|bucket|signature|jwt|ssh|fernet|unseal|sec|"
    rb"tls|service|recovery|gcp|certificate|sa)[ _.\-]?\Z"
)
# Anything encoded that holds a Secret is a long run of these: base64 in any alignment and depth, compressed or not, and hex.
_RUN: Final = 48
_after_run: Final = re.compile(rb"[^A-Za-z0-9+/_\-=]").search
_DIGESTS: Final = frozenset({40, 56, 64, 96, 128})  # SHA-1 and SHA-2 in hex
# Within a string a quote is escaped: `{"` is always the start of an object, and so this is one whole object of two fields.
_VARIABLE: Final = re.compile(rb'\{"name":"([^"\\]*)","value":"([^"\\]*)"\}')
_SETTING: Final = re.compile(r"[A-Za-z0-9 _.\-]{0,20}")
_UNSEEN: Final = (b"", -1)
_variables: dict[bytes, tuple[bytes, int] | None] = {}  # masked, and bytes of the value; 0 for an innocent one


# A body with its plain environment variables masked, how many these are, and how many bytes of values.
Masked = tuple[bytes, int, int]


def examine(body: bytes) -> Masked | None:
    """The body with plain environment variables masked (itself, if there is nothing to do), or None if it must be searched."""
    seen = scan_body(body)
    if not seen:
        return body, 0, 0
    if min(seen) < 0 and _must_be_searched(body, seen):
        return None
    return _masked(body, seen)


def _must_be_searched(body: bytes, seen: list[int]) -> bool:
    """Whether anything but environment variables asks for a search."""
    if SEARCH in seen or (TOKEN in seen and not _only_continues(body)):
        return True
    if RUN in seen and _encodes(body):
        return True
    if WORDS in seen:
        low = body.lower()
        for word, size, context in _CONTEXTS:
            at = low.find(word)
            while at >= 0:
                if _speaks(low, at, word, context.match(low, at + size)):
                    return True
                at = low.find(word, at + size)
    return False


def _masked(body: bytes, seen: list[int]) -> Masked | None:
    """The body with its environment variables masked where their names ask for it; None where only a search can tell."""
    parts: list[bytes] = []
    done = count = cut = 0
    for value in seen:
        if value < 0:
            continue
        start, end = body.rfind(b"{", 0, value), body.find(b"}", value) + 1
        pair = body[start:end]
        masked = _variables.get(pair, _UNSEEN)
        if masked is _UNSEEN:
            masked = judge_variable(pair)
        if masked is None:
            return None
        if masked[1]:
            parts += (body[done:start], masked[0])
            done = end
            count += 1
            cut += masked[1]
    if not parts:
        return body, 0, 0
    parts.append(body[done:])
    return b"".join(parts), count, cut


def _speaks(low: bytes, at: int, word: bytes, found: re.Match[bytes] | None) -> bool:
    """Whether a word in its context names a credential's value."""
    before = low[at - 1 : at]
    if before == b"/" and low[at + len(word) : at + len(word) + 2] == b"s/":  # the path of a mount
        return False
    if word == b"key":
        return (
            found is not None
            and before != b'"'
            and (low[at + 3 : at + 5] == b"--" or _BEFORE_KEY.search(low[max(0, at - 18) : at]) is not None)
        )
    if word == b"secret" and before in _MAY_BE_KIND and _KIND.search(low[max(0, at - 60) : at]):
        return True
    if found is None:
        return False
    kind = found.lastindex
    if kind == 1:  # a variable: settled above, unless it is within a string or in pretty-printed JSON
        return b"\\" in found[0] or b" " in found[0] or low[found.end() : found.end() + 1] != b'"'
    return kind is None or _optional(low, at)


_MAY_BE_KIND: Final = frozenset({b'"', b"'", b" ", b".", b":", b"=", b"\\", b"n", b"t", b"r", b";"})
_KIND: Final = re.compile(rb"(?:kind|@type)[\\\"'\s:=a-z0-9./!>|&;_\-]*\Z")


def _encodes(body: bytes) -> bool:
    """Whether a long run may be an encoding: names and digests are in one case of letters, a continue token says where it stands."""
    rest = memoryview(body)
    while found := find_run(rest):
        start = len(body) - len(rest) + found[0] - _RUN
        after = _after_run(body, start + _RUN)
        run = body[start : after.start() if after else len(body)]
        if run.islower() or run.isdigit():
            if len(run) % 2 == 0 and len(run) not in _DIGESTS and _HEX.fullmatch(run):
                return True
        elif body[start - 12 : start] != b'"continue":"':
            return True
        rest = rest[found[0] - _RUN + len(run) :]
    return False


_HEX: Final = re.compile(rb"[0-9a-f]+")
# A list's continue token: base64 of where the next page starts (kubernetes/apiserver `pkg/storage/continue.go`).
_CONTINUE: Final = re.compile(rb'\{"v":"meta\.k8s\.io/v1","rv":-?\d{1,20},"start":"(?:[a-z0-9./\-]|\\u0000){0,600}"\}\n?')


def _only_continues(body: bytes) -> bool:
    rest = memoryview(body)
    while found := find_token(rest):
        at = len(body) - len(rest) + found[0] - 3
        end = body.find(b'"', at)
        if body[at - 12 : at] != b'"continue":"' or end < 0:
            return False
        try:
            token = base64.b64decode(body[at:end] + b"=" * (-(end - at) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            return False
        if not _CONTINUE.fullmatch(token):
            return False
        rest = rest[found[0] - 3 + end - at :]
    return True


def judge_variable(pair: bytes) -> tuple[bytes, int] | None:
    """An object that has a string `value`, masked, and the bytes of that; None if only a search can tell."""
    found = _VARIABLE.fullmatch(pair)
    masked: tuple[bytes, int] | None = None
    if found is not None:
        name, value = found[1].decode(), found[2].decode()
        if not value or not is_credential(name, value):
            masked = (pair, 0) if _SETTING.fullmatch(value) or scrub_text(value) == value else None
        else:
            stand_in = mask(value)
            masked = (b'{"name":"%b","value":"%b"}' % (found[1], stand_in.encode()), len(found[2]) if stand_in != value else 0)
    if len(_variables) > 20_000:
        _variables.clear()
    if len(pair) < 1000:
        _variables[pair] = masked
    return masked


def _optional(low: bytes, at: int) -> bool:
    """Whether the string that ends at a name is an option (`"--token","x"`), or a name that comes after its value."""
    start = low.rfind(b'"', max(0, at - 4096), at)
    if start < 0 or low[start + 1 : start + 2] == b"-":
        return True
    if low[max(0, start - 7) : start] not in (b'"name":', b'{"key":') and not low[max(0, start - 16) : start].rstrip(b" \\").endswith(
        (b'name":', b'name\\":')
    ):
        return False
    return low.rfind(b"value", max(0, start - 4096), start) > low.rfind(b"{", max(0, start - 4096), start)
