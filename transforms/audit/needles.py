"""Decide by its bytes whether a body can hold a Secret or a credential at all, so that most bodies are never parsed."""

from __future__ import annotations

import re
from typing import Final

# In any case of letters. `key` covers private keys in PEM as well.
_WORDS: Final = (b"pass", b"pwd", b"secret", b"token", b"key", b"cred", b"bearer", b"assertion", b"authorization", b"auth", b"cookie", b"docker")
# As they are: a JSON object, a YAML document or PEM block, gzip, and `Secret` at its three alignments, all in base64.
_ENCODED: Final = (b"eyJ", b"LS0t", b"H4sI", b"U2VjcmV0", b"NlY3Jld", b"TZWNyZX", b"AKIA")
_ESCAPED_LETTER: Final = re.compile(rb"\\u00[2-7]", re.IGNORECASE)


def may_hold_secret(body: bytes) -> bool:
    """Whether anything in the body speaks for a Secret, a credential, or an escape that could hide one."""
    if b"@" in body and b"://" in body:
        return True
    if b"\\" in body and b"\\u00" in body and _ESCAPED_LETTER.search(body):
        return True
    low = body.lower()
    return any(word in low for word in _WORDS) or any(word in body for word in _ENCODED)
