"""Which requests concern Secrets, tokens or OAuth objects: the union of what the URI and the object reference say.

Neither is trusted alone: `objectRef` is filled in from the body, envelopes lose fields, and clients write paths such as
`//api//v1/secrets%00`.
"""

from __future__ import annotations

import functools
import re
from typing import Final, NamedTuple
from urllib.parse import unquote

import msgspec

from transforms.audit.event import Event, text
from transforms.audit.skeleton import OAUTH, SECRET, TOKEN

_RESOURCES: Final = {
    "secrets": SECRET,
    "secret": SECRET,
    "tokenreviews": TOKEN,
    "tokenreview": TOKEN,
    "tokenrequests": TOKEN,
    "tokenrequest": TOKEN,
    "oauthaccesstokens": OAUTH,
    "oauthauthorizetokens": OAUTH,
    "useroauthaccesstokens": OAUTH,
    "oauthclients": OAUTH,
    "oauthaccesstoken": OAUTH,
    "oauthauthorizetoken": OAUTH,
    "oauthclient": OAUTH,
}
# What stands after the name of a sensitive object; anything else there is a client's.
SUBRESOURCES: Final = ("token", "status", "finalize")
_ODD: Final = re.compile(r"//|/\.{1,2}(?:/|$)|[^A-Za-z0-9/._:\-]")


_VERSION: Final = re.compile(r"v\d{1,3}(?:(?:alpha|beta)\d{1,3})?")


class Address(NamedTuple):
    """What a request URI addresses, as far as secrets are concerned (kubernetes/apiserver `pkg/endpoints/request/requestinfo.go`)."""

    shape: str | None  # which skeleton its bodies need; None for an ordinary resource
    group: str
    resource: str
    subresource: str
    namespace: str
    name: str
    fixed: int  # how many leading segments of the path are the API's own; the rest is a client's
    known: bool  # whether the path is one of a resource


def address_of(uri: str) -> Address:
    """Take the path of a request URI apart. Never raises; what it cannot read is `SECRET`."""
    path = uri.partition("?")[0]
    if not path.startswith("/"):
        return Address(SECRET if not path else _shape_of_words(path), "", "", "", "", "", 0, False)
    parts = unquote(path).strip("/").split("/")
    if parts[0] == "api" and len(parts) > 2:
        group, at = "", 2
    elif parts[0] == "apis" and len(parts) > 3:
        group, at = parts[1], 3
    else:
        # Behind a gateway the API has a prefix (`/k8s/clusters/c-1/api/v1/…`); whatever else serves secrets is no better known.
        shape = _shape_of_words(path) if len(parts) > 1 else None
        return Address(shape, "", "", "", "", "", 0, False)
    proxied = parts[at] == "proxy"
    odd = _VERSION.fullmatch(parts[at - 1]) is None  # then the parts may be something else than they seem
    if parts[at] in ("watch", "proxy") and len(parts) > at + 1:
        at += 1
    namespace = ""
    if parts[at] == "namespaces" and len(parts) > at + 1:
        namespace = parts[at + 1]
        if len(parts) > at + 2 and parts[at + 2] not in ("status", "finalize"):
            at += 2
    rest = [*parts[at:], "", "", ""]
    shape = _shape(rest[0], rest[2])
    if shape is None and (odd or _ODD.search(path)):
        shape = _shape_of_words(path)
    if proxied:  # of old: what follows the name is another server's
        return Address(shape, group, rest[0], "proxy", namespace, rest[1], at + 2, True)
    return Address(shape, group, rest[0], rest[2], namespace, rest[1], at + 3, True)


@functools.lru_cache(maxsize=4096)
def _shape(resource: str, subresource: str) -> str | None:
    word = _word(resource)
    if word in _RESOURCES:
        return _RESOURCES[word]
    return TOKEN if _word(subresource) == "token" else None


def _word(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())


def _shape_of_words(path: str) -> str | None:
    for part in unquote(unquote(path)).split("/"):
        for name in (part, part.partition(";")[0]):
            if _word(name) in _RESOURCES:
                return _RESOURCES[_word(name)]
    return None


class _Reference(msgspec.Struct):
    resource: str = ""
    subresource: str = ""


_reference: Final = msgspec.json.Decoder(_Reference)


def shape_of_reference(raw: bytes) -> str | None:
    """Which skeleton an `objectRef` asks for; one that cannot be read asks for a Secret's."""
    low = raw.lower()
    if b"secret" not in low and b"token" not in low and b"oauth" not in low and b"\\" not in low:
        return None
    try:
        reference = _reference.decode(raw)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return None if raw in (b"", b"null") else SECRET
    return _shape(reference.resource, reference.subresource)


_addresses: dict[str, Address] = {}


def address(uri: str) -> Address:
    """`address_of`, remembered."""
    known = _addresses.get(uri)
    if known is None:
        if len(_addresses) > 50_000:
            _addresses.clear()
        known = _addresses[uri] = address_of(uri)
    return known


def sensitive_read(event: Event) -> bool:
    """Whether the event touches Secrets, tokens or OAuth objects, by its URI or its object reference."""
    uri = text(event.requestURI)
    if address(uri).shape is not None and (uri or not bytes(event.objectRef)):
        return True
    return shape_of_reference(bytes(event.objectRef)) is not None
