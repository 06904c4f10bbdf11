"""Tell the text of a Secret's manifest from other text: YAML, JSON amid words, templates, patches, what generates a Secret."""

from __future__ import annotations

import re
from typing import Final

# A tag, an anchor or a block scalar may stand before the kind, a group or a package within it.
_KIND: Final = re.compile(
    r"(?:kind|@type)\\*[\"']?\s*[:=]\s*(?:!!?[\w:]{1,40}\s+|[>|][-+0-9]{0,4}\s+|&\w{1,40}\s+)?\\*[\"']?(?:[\w./\-]{1,80}[./])?Secret(?:List)?\b"
    r"|kubernetes_secret(?:_v1)?\\*\"",
    re.IGNORECASE,
)
_TYPE: Final = re.compile(
    r"\btype\\*[\"']?\s*[:=]\s*\\*[\"']?(?:Opaque\b|kubernetes\.io/(?:service-account-token|dockercfg|dockerconfigjson|basic-auth|ssh-auth|tls)\b|"
    r"bootstrap\.kubernetes\.io/token|helm\.sh/release\.v\d)",
    re.IGNORECASE,
)
_DATA: Final = re.compile(r"\bdata\\*[\"']?\s*[:=]|string_?data", re.IGNORECASE)
_STRING_DATA: Final = re.compile(r"string_?data\\*[\"']?\s*[:=]", re.IGNORECASE)
_LITERALS: Final = re.compile(r"\bliterals\\*[\"']?\s*:")
# Without one of these, in lower case, no text is a Secret's.
_TYPES: Final = ("opaque", "io/tls", "io/dockercfg", "io/dockerconfigjson", "-auth", "service-account-token", "helm.sh/", "io/token")
_HINTS: Final = ("secret", "stringdata", "string_data", *_TYPES)
_DOCUMENTS: Final = re.compile(r"(^---[^\n]*\n?)", re.MULTILINE)


def documents(text: str) -> list[str]:
    """The YAML documents in a text that may hold a Secret, and what divides them; together they are the text. Else nothing."""
    low = text.lower()
    return _DOCUMENTS.split(text) if True in map(low.__contains__, _HINTS) else []


def is_secret(text: str) -> bool:
    """Whether a document is, holds, patches or generates a Secret with its values."""
    low = text.lower()
    if "data" in low:
        if ("string" in low and _STRING_DATA.search(text)) or ("/stringdata/" in low and "value" in low):
            return True
        if _DATA.search(text) and (
            ("secret" in low and _KIND.search(text)) or (True in map(low.__contains__, _TYPES) and _TYPE.search(text))
        ):
            return True
    return "secretgenerator" in low and _LITERALS.search(text) is not None
