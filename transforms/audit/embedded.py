"""Search content of any shape, at any depth and in any wrapping, for Secrets and credentials, and mask what it finds.

A Secret hides in lists, templates, patches, in JSON and YAML inside strings, in base64, in gzip inside base64. What cannot be
searched (too deep, too large, compressed beyond the bound) is masked, never passed.
"""

from __future__ import annotations

import base64
import binascii
import bz2
import hashlib
import lzma
import re
import zlib
from html import unescape
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

import msgspec

from transforms.audit import secret_text, skeleton
from transforms.audit.catalogue import Catalogue, FieldRules, mask_tree
from transforms.audit.command_line import mask_arguments, mask_commands
from transforms.audit.credential_names import counts_as_number, sensitive_key
from transforms.audit.credentials import MASKED, benign_value, is_credential, mask, scrub_text
from transforms.audit.fresh_stack import on_fresh_stack
from transforms.audit.typed_fields import VALUES, is_login, mask_typed, name_of_value

MAX_DEPTH: Final = 120  # of objects and arrays within one document
MAX_WRAPPINGS: Final = 6  # of documents within strings
if TYPE_CHECKING:
    from collections.abc import Callable

_REMEMBERED: Final = 50_000
_LONG: Final = 300  # letters from which a string is remembered by its digest
_LONG_REMEMBERED: Final = 512
_LONGEST_REMEMBERED: Final = 32 << 10  # letters up to which what became of a string is remembered, if anything did
MAX_UNPACKED: Final = 8 << 20  # bytes that one compressed value may unpack to
LAST_APPLIED: Final = "kubectl.kubernetes.io/last-applied-configuration"


# Passed down where a rule of ours keeps a field: its name alone does not condemn what is below.
SPARED: Final = FieldRules()


class TooDeep(ValueError):
    """Content is nested beyond what is searched."""


# What `load` raises for content that cannot be read, and a search for content that is too deep.
UNREADABLE: Final = (msgspec.DecodeError, UnicodeError, RecursionError, TooDeep)


def _number(text: str) -> msgspec.Raw:
    return msgspec.Raw(text.encode())


# Floats stay the text they were: 1.0 must not become 1, nor 0.10 become 0.1.
_decoder: Final = msgspec.json.Decoder(float_hook=_number)


def load(text: bytes | str) -> Any:
    """Parse JSON so that `dump` gives every number back as it was spelt. Raises `msgspec.DecodeError`, `RecursionError`."""
    try:
        return _decoder.decode(text)
    except RecursionError:
        return on_fresh_stack(_decoder.decode, text)


def dump(tree: Any) -> bytes:
    """The JSON of what `load` gave. Raises `RecursionError`."""
    try:
        return _encode(tree)
    except RecursionError:
        return on_fresh_stack(_encode, tree)


_encode: Final[Callable[[Any], bytes]] = msgspec.json.encode

_BASE64: Final = re.compile(r"[A-Za-z0-9+/\-_\s]{8,}(?:={1,2}\s*)?")
_BASE64_WORD: Final = re.compile(r"[A-Za-z0-9+/_\-]{24,}={0,2}")
_HEX: Final = re.compile(r"(?:0x)?(?:[0-9A-Fa-f]{2}){8,}")
_ESCAPE: Final = re.compile(r"(?<!\\)\\+(?:u([0-9A-Fa-f]{4})|x([0-9A-Fa-f]{2}))")
_PERCENT: Final = re.compile(r"%[0-9A-Fa-f]{2}")
_HEX_WORD: Final = re.compile(r"(?<![0-9A-Za-z])(?:[0-9A-Fa-f]{2}){16,}(?![0-9A-Za-z])")
_REQUEST: Final = re.compile(r"-----BEGIN CERTIFICATE REQUEST-----[A-Za-z0-9+/=\s]*-----END CERTIFICATE REQUEST-----")
_USERS: Final = re.compile(r'^("[^"\n]+"[ \t]+")([^"\n]+)(?="[ \t\r]*$)', re.MULTILINE)
_PRINTS: Final = re.compile(r"[^\x00-\x08\x0e-\x1f\x7f]*")


class Search:
    """One event's search: what is cut is counted by kind in `cuts` (kind -> [count, bytes])."""

    def __init__(
        self,
        catalogue: Catalogue | None = None,
        hash_key: bytes | None = None,
        clean: set[str] | None = None,
        long: dict[bytes, tuple[str | None, dict[str, list[int]]]] | None = None,
    ) -> None:
        self.catalogue = catalogue
        # Short strings that were searched and found innocent: names, images and settings come again and again.
        self.clean = set() if clean is None else clean
        self.long = long
        self.hash_key = hash_key
        self.cuts: dict[str, list[int]] = {}

    def count(self, kind: str, size: int, times: int = 1) -> None:
        """Note that `times` values of `size` bytes were cut."""
        found = self.cuts.setdefault(kind, [0, 0])
        found[0] += times
        found[1] += size

    def masked(self, kind: str, value: str) -> str:
        """The value masked, and counted unless it was masked before."""
        stand_in = mask(value)
        if stand_in != value:
            self.count(kind, len(value.encode("utf-8", "surrogatepass")))
        return stand_in

    def node(self, node: Any, depth: int = 0, wrapped: int = 0, key: str = "", rules: FieldRules | None = None) -> Any:
        """The node without Secrets and credentials; changed in place where it is an object or an array."""
        if isinstance(node, str):
            return self.value(key, node, wrapped)
        if isinstance(node, dict):
            return self._object(node, depth + 1, wrapped, rules)
        if isinstance(node, list):
            return self._array(node, depth + 1, wrapped, key, rules)
        if key and isinstance(node, (int, msgspec.Raw)) and not isinstance(node, bool) and counts_as_number(key) and sensitive_key(key):
            return self.masked("credential", dump(node).decode())
        return node

    def value(self, key: str, text: str, wrapped: int = 0) -> str:
        """A string field's value, judged by its key and its content."""
        if key and text and is_credential(key, text):
            return self.masked("credential", text)
        if key == "auth" and is_login(text):
            return self.masked("credential", text)
        if "userlist" in key:  # PgBouncer's
            text = _USERS.sub(lambda found: found[1] + self.masked("credential", found[2]), text)
        if key == LAST_APPLIED and text:
            return self._last_applied(text, wrapped)
        return self.text(text, wrapped)

    def _last_applied(self, text: str, wrapped: int) -> str:
        try:
            tree = load(text)
        except (msgspec.DecodeError, RecursionError, UnicodeError):
            return self.masked("lastApplied", text)
        return self._rewrap(tree, text, wrapped)

    def _rewrap(self, tree: Any, text: str, wrapped: int) -> str:
        before = dump(tree)
        after = dump(self.node(tree, 0, wrapped + 1))
        return text if after == before and not _has_duplicates(text, before) else after.decode()

    def _array(self, items: list[Any], depth: int, wrapped: int, key: str, rules: FieldRules | None) -> list[Any]:
        if depth > MAX_DEPTH:
            raise TooDeep
        option = ""  # the name of the one before
        mask_arguments(items, self)
        for at, item in enumerate(items):
            if not isinstance(item, str):
                items[at] = self.node(item, depth, wrapped, "" if isinstance(item, (dict, list)) else key, rules)
                continue
            if option and not item.startswith("-") and is_credential(option, item):
                items[at] = self.masked("credential", item)
            else:
                items[at] = self.value("" if key == "secrets" else key, item, wrapped)
            bare = item.lstrip("-")
            option = bare if item != bare and len(bare) < 100 and "=" not in bare else ""
        return items

    def _object(self, node: dict[str, Any], depth: int, wrapped: int, rules: FieldRules | None = None) -> Any:
        if depth > MAX_DEPTH:
            raise TooDeep
        if rules is not SPARED:
            shape = skeleton.shape_of(node)
            if shape is not None:
                return skeleton.reduce(node, shape, self)
        if is_patch_operation(node):
            return self._operation(node, depth, wrapped)
        if self.catalogue is not None and "kind" in node and rules is not SPARED:
            own = self.catalogue.for_kind(node)
            if own is not None:
                mask_tree(node, own, self)
                rules = rules or own
        if rules is not SPARED:
            mask_typed(node, self)
        if isinstance(node.get("columnDefinitions"), list) and isinstance(node.get("rows"), list):
            self._columns(node["columnDefinitions"], node["rows"])
        named = name_of_value(node)
        for field, value in list(node.items()):
            if value is None or isinstance(value, bool):
                continue
            below = rules.under(field) if rules is not None else None
            if rules is SPARED or below == "keep":
                node[field] = self.node(value, depth, wrapped, "", SPARED)
                continue
            key = named if named and field in VALUES else field
            node[field] = self.node(value, depth, wrapped, key, below if isinstance(below, FieldRules) else None)
            if len(field) > 40 and scrub_text(field) != field:
                node[self.masked("credential", field)] = node.pop(field)
        return node

    def _columns(self, columns: list[Any], rows: list[Any]) -> None:
        """Mask the cells of a Table under columns that a credential's name heads: a printer column may show any field."""
        secret = {at for at, column in enumerate(columns) if isinstance(column, dict) and sensitive_key(str(column.get("name")))}
        for row in rows if secret else ():
            cells = row.get("cells") if isinstance(row, dict) else None
            if isinstance(cells, list):
                for at in secret & set(range(len(cells))):
                    if isinstance(cells[at], str) and not benign_value(cells[at]):
                        cells[at] = self.masked("credential", cells[at])

    def _operation(self, operation: dict[str, Any], depth: int, wrapped: int) -> dict[str, Any]:
        """One operation of a JSON patch (RFC 6902): the last name in its path is the key of its value."""
        path = operation["path"]
        parts = [part.replace("~1", "/").replace("~0", "~") for part in path.split("/")]
        key = next((part for part in reversed(parts) if part and part != "-" and not part.isdigit()), "")
        if "value" in operation:
            plain = isinstance(operation["value"], str)
            if plain and ((key == "value" and "env" in parts) or "stringData" in parts):
                operation["value"] = self.masked("credential", operation["value"])
            else:
                operation["value"] = self.node(operation["value"], depth, wrapped, key)
        for field, held in operation.items():
            if field != "value" and isinstance(held, (dict, list)):
                operation[field] = self.node(held, depth, wrapped)
            elif field != "value" and isinstance(held, str):
                operation[field] = self.text(held, wrapped)
        return operation

    def text(self, text: str, wrapped: int = 0) -> str:
        """A string without the Secrets and credentials in it, whatever it is wrapped in."""
        if len(text) < 6 or text in self.clean or MASKED.fullmatch(text):
            return text
        if len(text) >= _LONG and self.long is not None:
            return self._long_text(text, wrapped, self.long)
        scrubbed = self._text(text, wrapped)
        if scrubbed is text and len(text) < _LONG:
            if len(self.clean) > _REMEMBERED:
                self.clean.clear()
            self.clean.add(text)
        return scrubbed

    def _long_text(self, text: str, wrapped: int, known: dict[bytes, tuple[str | None, dict[str, list[int]]]]) -> str:
        """A long string, remembered by its digest: the same ConfigMap is read again and again."""
        key = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16, salt=bytes([wrapped])).digest()
        remembered = known.get(key)
        if remembered is None:
            inner = Search(self.catalogue, self.hash_key, self.clean, known)
            scrubbed = inner._text(text, wrapped)
            remembered = (None if scrubbed == text else scrubbed, inner.cuts)
            if remembered[0] is None or len(text) <= _LONGEST_REMEMBERED:
                if len(known) >= _LONG_REMEMBERED:
                    known.clear()
                known[key] = remembered
        found, cuts = remembered
        for kind, (times, size) in cuts.items():
            self.count(kind, size, times)
        return text if found is None else found

    def _text(self, text: str, wrapped: int) -> str:
        if wrapped > MAX_WRAPPINGS:
            return self.masked("embedded", text)
        first = text[0] if not text[0].isspace() else text.lstrip()[:1]
        if first and first in '{["':
            try:
                tree = load(text)
            except (msgspec.DecodeError, RecursionError, UnicodeError):
                pass
            else:
                return self._rewrap(tree, text, wrapped)
        if parts := secret_text.documents(text):
            text = "".join(
                part if MASKED.fullmatch(part.strip()) or not secret_text.is_secret(part) else self.masked("embedded", part)
                for part in parts
            )
        if self._wraps(text, wrapped):
            return self.masked("embedded", text)
        seen = mask_commands(self._words(text, wrapped), self)
        scrubbed = scrub_text(seen)
        if scrubbed != seen:
            self.count("credential", max(0, len(seen.encode("utf-8", "surrogatepass")) - len(scrubbed.encode("utf-8", "surrogatepass"))))
        return text if scrubbed == text else scrubbed

    def _wraps(self, text: str, wrapped: int) -> bool:
        """Whether the string as a whole is an encoding of something that holds a Secret or a credential."""
        if _BASE64.fullmatch(text) and self._taints_base64(text, wrapped):
            return True
        if _HEX.fullmatch(text) and self.taints(bytes.fromhex(text.removeprefix("0x")), wrapped):
            return True
        if "\\" in text and _ESCAPE.search(text):
            plain = _ESCAPE.sub(lambda found: chr(int(found[1] or found[2], 16)), text)
            if plain != text and self._taints_text(plain, wrapped):
                return True
        if "%" in text and _PERCENT.search(text):
            plain = unquote(text)
            if plain != text and self._taints_text(plain, wrapped):
                return True
        return "&quot;" in text and self._taints_text(unescape(text), wrapped)

    def _words(self, text: str, wrapped: int) -> str:
        """Mask the base64 and hex words within a longer text that wrap a Secret or a credential."""
        if len(text) < 24:
            return text
        if len(text) >= 32:
            text = _HEX_WORD.sub(lambda found: self.masked("embedded", found[0]) if self._taints_hex(found[0], wrapped) else found[0], text)
        if text.islower():
            return text
        return _BASE64_WORD.sub(
            lambda found: self.masked("embedded", found[0]) if self._taints_base64(found[0], wrapped) else found[0], text
        )

    def _taints_hex(self, text: str, wrapped: int) -> bool:
        content = bytes.fromhex(text)
        return content.isascii() and self.taints(content, wrapped)

    def _taints_base64(self, text: str, wrapped: int) -> bool:
        # Encoded text of some length always has capitals; names, digests and UUIDs have none.
        if text.islower() or text.isupper() or text.isdigit():
            return False
        packed = "".join(text.split()).rstrip("=")
        raw = packed.replace("-", "+").replace("_", "/")
        for skip in range(1 if raw == packed and len(raw) < 40 else 4):
            try:
                cut = raw[skip:]
                decoded = base64.b64decode(cut[: len(cut) - (len(cut) % 4 == 1)] + "=" * (-(len(cut) - (len(cut) % 4 == 1)) % 4))
            except (binascii.Error, ValueError):
                continue
            if len(decoded) >= 6 and self.taints(decoded, wrapped, whole=skip == 0):
                return True
        return False

    def taints(self, content: bytes, wrapped: int, *, whole: bool = True) -> bool:
        """Whether decoded content holds a Secret or a credential, or is compressed and cannot be searched."""
        if wrapped >= MAX_WRAPPINGS:
            return True
        unpacked = _unpack(content) if whole else None
        if unpacked is not None:
            return unpacked is _UNKNOWN or self.taints(unpacked, wrapped + 1)
        try:
            text = content.decode()
        except UnicodeDecodeError:
            text = content.decode("latin-1")
            if not whole or not re.search(r"[ -~]{12}", text):
                return False
            return _scrubs(text)
        if not _PRINTS.fullmatch(text) and not whole:
            return False
        # A request for a certificate is public; what was pasted beside it is not.
        if "-----BEGIN CERTIFICATE REQUEST" in text and _REQUEST.sub("", text).strip():
            return True
        return self._taints_text(text, wrapped)

    def _taints_text(self, text: str, wrapped: int) -> bool:
        try:
            return Search(self.catalogue, None).text(text, wrapped + 1) != text
        except TooDeep:
            return True


_UNKNOWN: Final = b"?"


def _unpack(content: bytes) -> bytes | None:
    """What compressed content unpacks to; None if it is not compressed, `_UNKNOWN` if it cannot be unpacked within the bound."""
    try:
        if content.startswith(b"\x1f\x8b") or content[:2] in (b"\x78\x9c", b"\x78\xda", b"\x78\x01"):
            inflate = zlib.decompressobj(47)
            out = inflate.decompress(content, MAX_UNPACKED)
            return _UNKNOWN if inflate.unconsumed_tail or not out else out
        if content.startswith(b"BZh") and len(content) > 10:
            return bz2.BZ2Decompressor().decompress(content, MAX_UNPACKED) or _UNKNOWN
        if content.startswith(b"\xfd7zXZ\x00"):
            return lzma.LZMADecompressor(memlimit=64 << 20).decompress(content, MAX_UNPACKED) or _UNKNOWN
        if content.startswith((b"\x28\xb5\x2f\xfd", b"PK\x03\x04")):
            return _UNKNOWN
    except (zlib.error, OSError, ValueError, EOFError, lzma.LZMAError):
        return _UNKNOWN if content.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ")) else None
    return None


def _scrubs(text: str) -> bool:
    return scrub_text(text) != text or secret_text.is_secret(text)


def _has_duplicates(text: str, dumped: bytes) -> bool:
    """Whether an object in the JSON text may have named a key twice: then its copy may hold what its tree does not."""
    return text.count('":') + text.count('" :') > dumped.count(b'":')


def is_patch_operation(node: dict[str, Any]) -> bool:
    """Whether the object is one operation of a JSON patch (RFC 6902)."""
    return isinstance(node.get("op"), str) and isinstance(node.get("path"), str)
