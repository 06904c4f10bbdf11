"""What may stay of a JSON pointer (RFC 6901) into a sensitive object: the field or key that a patch touches, never a value."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from transforms.audit.credentials import MASKED
from transforms.audit.evidence import About, plain

if TYPE_CHECKING:
    from transforms.audit.embedded import Search

_POINTER: Final = re.compile(
    r"(/(?:data|stringData|metadata/(?:annotations|labels)))(?:/[A-Za-z0-9._~\-]{1,320})?(?=\Z|/)|(/metadata/(?:name|namespace|resourceVersion|uid|finalizers|ownerReferences|"
    r"generateName|creationTimestamp)|/metadata|/type|/immutable|/kind|/apiVersion|/spec|/status)(?=\Z|/)"
)


def pointer(path: str, search: Search, about: About) -> str:
    """A JSON pointer as far as it names what a Secret has: a key of its data, a label, an annotation, a field of its metadata."""
    if path in ("", "/") or MASKED.fullmatch(path) or path.endswith("bytes>"):
        return path
    found = _POINTER.match(path)
    if found is None:
        return search.masked("secret", path)
    known = found[1] or found[2]
    rest = path[len(known) :]
    if not rest:
        return path
    if about.failed:
        search.count("secret", len(rest))
        return known
    return path if found[0] == path and plain(rest[1:]) else f"{known}/{search.masked('secret', rest[1:])}"
