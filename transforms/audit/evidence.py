"""What may stay of an object about which nothing may leak: words of a known form that encode nothing, and lengths."""

from __future__ import annotations

import base64
import binascii
import re
from typing import TYPE_CHECKING, Any, Final

import msgspec

from transforms.audit.credential_names import sensitive_key
from transforms.audit.credentials import benign_value, mask, scrub_text

if TYPE_CHECKING:
    from transforms.audit.embedded import Search


class About:
    """What the event itself says about the object whose body is reduced: its name if that is safe, and whether the request failed."""

    __slots__ = ("failed", "name", "namespace")

    def __init__(self, name: str = "", namespace: str = "", failed: bool = False) -> None:
        self.name, self.namespace, self.failed = name, namespace, failed


NOTHING: Final = About()

DNS_SUBDOMAIN: Final = re.compile(r"[a-z0-9](?:[a-z0-9\-.]{0,251}[a-z0-9])?")
API_VERSION: Final = re.compile(r"(?:[a-z0-9][a-z0-9.\-]{0,80}/)?v\d{1,2}(?:(?:alpha|beta)\d{1,2})?")
UID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?Z")
DIGITS: Final = re.compile(r"\d{1,20}")
DATA_KEY: Final = re.compile(r"[\-._a-zA-Z0-9]{1,253}")
_LABEL_KEY: Final = re.compile(r"(?:[a-z0-9](?:[a-z0-9.\-]{0,251}[a-z0-9])?/)?[A-Za-z0-9](?:[\-._A-Za-z0-9]{0,61}[A-Za-z0-9])?")
_LABEL: Final = re.compile(r"(?:[A-Za-z0-9](?:[\-._A-Za-z0-9]{0,61}[A-Za-z0-9])?)?")
WORD: Final = re.compile(r"[A-Za-z]{1,40}")


def size(node: Any) -> int:
    """How many bytes of JSON a value is."""
    return len(msgspec.json.encode(node))


def cut(node: Any, search: Search, kind: str = "secret") -> Any:
    """A value that nothing is known about, as its length."""
    if node is None or node is False or node is True:
        return node
    if isinstance(node, str):
        return search.masked(kind, node)
    length = size(node)
    search.count(kind, length)
    return mask("x" * length)


def drop(value: Any, search: Search, kind: str = "secret") -> None:
    """Count a value that goes without a trace."""
    search.count(kind, size(value))


def labels(labels: dict[str, Any], node: dict[str, Any], search: Search) -> dict[str, Any]:
    """Labels as they are, but for values that were copied from the data, in clear or encoded, and those of a credential's name."""
    held = _values(node)
    out = {}
    for key, value in labels.items():
        name = key if _LABEL_KEY.fullmatch(key) and plain(key) else search.masked("label", key)
        if value is None or (isinstance(value, str) and _LABEL.fullmatch(value) and value not in held and (not value or plain(value))):
            out[name] = value if not value or not sensitive_key(key) or benign_value(value) else search.masked("label", value)
        else:
            out[name] = cut(value, search, "label")
    return out


def _values(node: dict[str, Any]) -> set[str]:
    held: set[str] = set()
    for field in ("data", "stringData"):
        data = node.get(field)
        for value in data.values() if isinstance(data, dict) else ():
            if isinstance(value, str) and len(value) > 3:
                held.update((value, value.rstrip("=")))
                held.add(_decoded(value))
    return held - {""}


def _decoded(value: str) -> str:
    try:
        text = base64.b64decode(value + "=" * (-len(value) % 4), validate=True).decode()
    except (binascii.Error, ValueError):
        return ""
    return text if text.isprintable() else ""


def plain(value: str) -> bool:
    """Whether a word is not an encoding of text, and no credential by its shape."""
    if scrub_text(value) != value:
        return False
    if len(value) < 12:
        return True
    for text in (value.replace("-", "+").replace("_", "/"), value.partition(".")[0]):
        decoded = _decoded(text) or _decoded(text[: len(text) // 4 * 4])
        if len(decoded) >= 9 and _TEXTUAL.fullmatch(decoded):
            return False
    return not (
        len(value) % 2 == 0
        and _HEXED.fullmatch(value)
        and bytes.fromhex(value).decode("latin-1").isprintable()
        and bytes.fromhex(value).isascii()
    )


_TEXTUAL: Final = re.compile(r"[ -~\n\t]+")
_HEXED: Final = re.compile(r"[0-9a-fA-F]{16,}")
