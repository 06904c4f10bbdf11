"""What may stay of a Secret, a token or an OAuth object: an allow-list, applied to every shape that a body can have.

Kept is evidence: which object, which keys, how long the values. Everything that is not named here goes.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import TYPE_CHECKING, Any, Final

import msgspec

from transforms.audit.credentials import MASKED, mask, scrub_text

if TYPE_CHECKING:
    from transforms.audit.embedded import Search

SECRET: Final = "secret"
TOKEN: Final = "token"
OAUTH: Final = "oauth"

_KINDS: Final = {
    "secret": SECRET, "secretlist": SECRET,
    "tokenreview": TOKEN, "tokenrequest": TOKEN,
    "oauthaccesstoken": OAUTH, "oauthaccesstokenlist": OAUTH, "oauthauthorizetoken": OAUTH, "oauthauthorizetokenlist": OAUTH,
    "useroauthaccesstoken": OAUTH, "useroauthaccesstokenlist": OAUTH, "oauthclient": OAUTH, "oauthclientlist": OAUTH,
}  # fmt: skip
# A `kind: Secret` with only these beside it points to a Secret, or names its type, and holds nothing of it.
_REFERENCE: Final = frozenset(
    "kind apiversion apigroup group version name namespace uid resourceversion fieldpath controller blockownerdeletion optional key singularname pluralname "
    "plural singular namespaced verbs shortnames categories storageversionhash listkind code reason causes retryafterseconds".split()
)  # fmt: skip
_SECRET_TYPE: Final = re.compile(
    r"Opaque|kubernetes\.io/(?:service-account-token|dockercfg|dockerconfigjson|basic-auth|ssh-auth|tls)|bootstrap\.kubernetes\.io/token|helm\.sh/release\.v\d+", re.IGNORECASE
)


def shape_of(node: dict[str, Any]) -> str | None:
    """Which skeleton an object needs, by its kind, its `@type` or the shape of its fields; None for an ordinary object."""
    kind = node.get("kind")
    if kind is None or not isinstance(kind, str) or kind.lower() not in _KINDS:
        kind = None
        for key, value in node.items():
            if isinstance(value, str) and len(key) <= 5 and key.lower() in ("kind", "@type") and value.rpartition(".")[2].lower() in _KINDS:
                kind = value.rpartition(".")[2]
                break
    if kind is not None:
        shape = _KINDS[kind.lower()]
        return None if _is_reference(node) else shape
    for key in node:
        if len(key) in (10, 11) and key.lower().replace("_", "") == "stringdata":
            return SECRET
    held = node.get("type")
    if isinstance(held, str) and "data" in node and _SECRET_TYPE.fullmatch(held):
        return SECRET
    return None


def _is_reference(node: dict[str, Any]) -> bool:
    return all(key.lower() in _REFERENCE and not isinstance(value, (dict, list)) or key in ("verbs", "shortNames", "categories", "causes") for key, value in node.items())


class About:
    """What the event itself says about the object whose body is reduced: its name if that is safe, and whether the request failed."""

    __slots__ = ("failed", "name", "namespace")

    def __init__(self, name: str = "", namespace: str = "", failed: bool = False) -> None:
        self.name, self.namespace, self.failed = name, namespace, failed


NOTHING: Final = About()

DNS_SUBDOMAIN: Final = re.compile(r"[a-z0-9](?:[a-z0-9\-.]{0,251}[a-z0-9])?")
_API_VERSION: Final = re.compile(r"(?:[a-z0-9][a-z0-9.\-]{0,80}/)?v\d{1,2}(?:(?:alpha|beta)\d{1,2})?")
_KIND: Final = re.compile(
    r"Secret|List|Table|Status|PartialObjectMetadata|(?:Secret|PartialObjectMetadata)List|DeleteOptions|(?:Token(?:Review|Request))|"
    r"(?:User)?OAuth(?:Access|Authorize)Token(?:List)?|OAuthClient(?:List)?|Patch|APIStatus|ConfigMap"
)
_UID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?Z")
_DIGITS: Final = re.compile(r"\d{1,20}")
_DATA_KEY: Final = re.compile(r"[\-._a-zA-Z0-9]{1,253}")
_LABEL_KEY: Final = re.compile(r"(?:[a-z0-9](?:[a-z0-9.\-]{0,251}[a-z0-9])?/)?[A-Za-z0-9](?:[\-._A-Za-z0-9]{0,61}[A-Za-z0-9])?")
_LABEL: Final = re.compile(r"(?:[A-Za-z0-9](?:[\-._A-Za-z0-9]{0,61}[A-Za-z0-9])?)?")
_TYPE: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.\-]{0,100}/)?[A-Za-z0-9.\-_]{0,100}")
_WORD: Final = re.compile(r"[A-Za-z]{1,40}")
_POINTER: Final = re.compile(
    r"(/(?:data|stringData|metadata/(?:annotations|labels)))(?:/[A-Za-z0-9._~\-]{1,320})?(?=\Z|/)|(/metadata/(?:name|namespace|resourceVersion|uid|finalizers|ownerReferences|"
    r"generateName|creationTimestamp)|/metadata|/type|/immutable|/kind|/apiVersion|/spec|/status)(?=\Z|/)"
)

_TOP: Final = frozenset("kind apiVersion metadata type immutable data stringData items rows spec status".split())
_CASES: Final = {name.lower(): name for name in _TOP}


def reduce(node: Any, shape: str, search: Search, about: About = NOTHING, depth: int = 0) -> Any:
    """The skeleton of a sensitive body, of whatever shape the body is. Counts what goes on `search`."""
    if isinstance(node, list):
        return [_operation(item, shape, search, about) if isinstance(item, dict) else _cut(item, search) for item in node]
    if not isinstance(node, dict) or depth > 20:
        return _cut(node, search)
    if _miscased(node):
        return _withhold(node, search)
    kind = node.get("kind")
    if kind == "Status" or (kind is None and "status" in node and "reason" in node):
        return status(node, search, about)
    if kind == "DeleteOptions":
        return _delete_options(node, search)
    if "rows" in node:
        return _table(node, shape, search, about, depth)
    if isinstance(node.get("items"), list):
        return _list(node, shape, search, about, depth)
    if isinstance(kind, str) and kind.lower() in _KINDS:
        shape = _KINDS[kind.lower()]
    if "object" in node and "type" in node and isinstance(node["object"], dict):  # one event of a watch
        return {"type": "event", "object": reduce(node["object"], shape, search, about, depth + 1)}
    out = _head(node, search)
    for field, value in node.items():
        if field in out or field in ("kind", "apiVersion"):
            continue
        if field == "metadata":
            out[field] = _metadata(node, search, about, shape)
        elif shape == SECRET:
            _secret_field(out, field, value, search, about)
        elif shape == TOKEN:
            _token_field(out, field, value, search)
        else:
            _oauth_field(out, field, value, search)
    return out


def _miscased(node: dict[str, Any]) -> bool:
    return any(key not in _TOP and key.lower() in _CASES for key in node)


def _withhold(node: Any, search: Search) -> Any:
    search.count("withheld", _size(node))
    return {}


def _size(node: Any) -> int:
    return len(msgspec.json.encode(node))


def _cut(node: Any, search: Search, kind: str = "secret") -> Any:
    """A value that nothing is known about, as its length."""
    if node is None or node is False or node is True:
        return node
    if isinstance(node, str):
        return search.masked(kind, node)
    size = _size(node)
    search.count(kind, size)
    return mask("x" * size)


def _drop(value: Any, search: Search, kind: str = "secret") -> None:
    search.count(kind, _size(value))


def _head(node: dict[str, Any], search: Search) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for field, pattern in (("kind", _KIND), ("apiVersion", _API_VERSION)):
        value = node.get(field)
        if isinstance(value, str):
            out[field] = value if pattern.fullmatch(value) else search.masked("secret", value)
    return out


def _secret_field(out: dict[str, Any], field: str, value: Any, search: Search, about: About) -> None:
    if field in ("data", "stringData"):
        out[field] = _data(value, search, about)
    elif field == "type" and isinstance(value, str) and not about.failed and _TYPE.fullmatch(value) and _plain(value):
        out[field] = value
    elif field == "immutable" and isinstance(value, bool):
        out[field] = value
    else:
        _drop(value, search)


def _data(value: Any, search: Search, about: About) -> Any:
    """Key names and value lengths; of a failed request not even the names, for nothing has checked that they are names."""
    if not isinstance(value, dict):
        return _cut(value, search)
    if about.failed:
        search.count("secret", _size(value), len(value)) if value else None
        return {}
    out = {}
    for key, item in value.items():
        named = key if _DATA_KEY.fullmatch(key) and scrub_text(key) == key else search.masked("secret", key)
        out[named] = _cut(item, search)
    return out


def _token_field(out: dict[str, Any], field: str, value: Any, search: Search) -> None:
    """TokenRequest and TokenReview (authentication.k8s.io): whom a token is for and how long, never the token."""
    if field not in ("spec", "status") or not isinstance(value, dict):
        _drop(value, search, "token")
        return
    kept: dict[str, Any] = {}
    for name, item in value.items():
        if name in ("expirationSeconds", "authenticated") and isinstance(item, (int, bool)):
            kept[name] = item
        elif name == "expirationTimestamp" and (item is None or (isinstance(item, str) and _TIME.fullmatch(item))):
            kept[name] = item
        elif name == "audiences" and isinstance(item, list):
            kept[name] = [scrub_text(one) if isinstance(one, str) else _cut(one, search, "token") for one in item]
        elif name == "boundObjectRef" and isinstance(item, dict):
            kept[name] = {key: one for key, one in item.items() if key in ("kind", "apiVersion", "name", "uid") and isinstance(one, str) and _plain(one) and len(one) < 254}
        elif name == "user" and isinstance(item, dict):
            kept[name] = {key: one for key, one in item.items() if key in ("username", "uid", "groups") and _names(one)}
        elif item is None or item == "":
            kept[name] = item
        else:
            _drop(item, search, "token")
    out[field] = kept


def _names(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, list) and all(isinstance(one, str) for one in value))


def _oauth_field(out: dict[str, Any], field: str, value: Any, search: Search) -> None:
    """OpenShift's OAuth objects (oauth.openshift.io): who, for which client, how long."""
    if field in ("userName", "userUID", "clientName") and isinstance(value, str) and _plain(value) and len(value) < 254:
        out[field] = value
    elif field in ("expiresIn", "inactivityTimeoutSeconds", "accessTokenMaxAgeSeconds", "accessTokenInactivityTimeoutSeconds", "respondWithChallenges") and isinstance(value, int):
        out[field] = value
    elif field == "scopes" and _names(value):
        out[field] = value
    elif field == "grantMethod" and isinstance(value, str) and _WORD.fullmatch(value):
        out[field] = value
    else:
        _drop(value, search, "token")


_METADATA: Final = {
    "namespace": DNS_SUBDOMAIN, "uid": _UID, "resourceVersion": _DIGITS, "creationTimestamp": _TIME, "deletionTimestamp": _TIME,
}  # fmt: skip


def _metadata(node: dict[str, Any], search: Search, about: About, shape: str) -> Any:
    metadata = node["metadata"]
    if not isinstance(metadata, dict):
        return _cut(metadata, search)
    out: dict[str, Any] = {}
    for field, value in metadata.items():
        pattern = _METADATA.get(field)
        if field == "name" and isinstance(value, str):
            safe = value == about.name or (shape == OAUTH and _HASHED_NAME.fullmatch(value))
            out[field] = value if value and safe else search.masked("name", value)
        elif field == "namespace" and about.namespace and value != about.namespace:
            _drop(value, search, "name")
        elif pattern is not None and (value is None or (isinstance(value, str) and pattern.fullmatch(value))):
            out[field] = value
        elif field in ("generation", "deletionGracePeriodSeconds") and isinstance(value, int):
            out[field] = value
        elif field == "labels" and isinstance(value, dict) and not about.failed:
            out[field] = _labels(value, node, search)
        elif field == "managedFields":
            continue
        else:
            _drop(value, search, "annotation" if field == "annotations" else "secret")
    return out


_HASHED_NAME: Final = re.compile(r"sha256~[A-Za-z0-9_\-]{43}")


def _labels(labels: dict[str, Any], node: dict[str, Any], search: Search) -> dict[str, Any]:
    """Labels as they are, but for values that were copied from the data, in clear or encoded."""
    held = _values(node)
    out = {}
    for key, value in labels.items():
        name = key if _LABEL_KEY.fullmatch(key) and _plain(key) else search.masked("label", key)
        if value is None or (isinstance(value, str) and _LABEL.fullmatch(value) and value not in held and (not value or _plain(value))):
            out[name] = value
        else:
            out[name] = _cut(value, search, "label")
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


def _plain(value: str) -> bool:
    """Whether a word is not an encoding of text, and no credential by its shape."""
    if scrub_text(value) != value:
        return False
    if len(value) < 12:
        return True
    for text in (value.replace("-", "+").replace("_", "/"), value.partition(".")[0]):
        decoded = _decoded(text) or _decoded(text[: len(text) // 4 * 4])
        if len(decoded) >= 9 and _TEXTUAL.fullmatch(decoded):
            return False
    return not (len(value) % 2 == 0 and _HEXED.fullmatch(value) and bytes.fromhex(value).decode("latin-1").isprintable() and bytes.fromhex(value).isascii())


_TEXTUAL: Final = re.compile(r"[ -~\n\t]+")
_HEXED: Final = re.compile(r"[0-9a-fA-F]{16,}")


def _list(node: dict[str, Any], shape: str, search: Search, about: About, depth: int) -> dict[str, Any]:
    kind = node.get("kind")
    if isinstance(kind, str) and kind.lower() in _KINDS:
        shape = _KINDS[kind.lower()]
    out = _head(node, search)
    if isinstance(node.get("metadata"), dict):
        out["metadata"] = {key: value for key, value in node["metadata"].items() if key == "resourceVersion" and isinstance(value, str) and _DIGITS.fullmatch(value)}
    out["items"] = [reduce(item, shape, search, about, depth + 1) if isinstance(item, dict) else _cut(item, search) for item in node["items"]]
    for field, value in node.items():
        if field not in ("kind", "apiVersion", "metadata", "items"):
            _drop(value, search)
    return out


def _table(node: dict[str, Any], shape: str, search: Search, about: About, depth: int) -> dict[str, Any]:
    """A Table (meta.k8s.io) keeps its rows' objects as skeletons; cells repeat them."""
    out = _head(node, search)
    rows = node["rows"] if isinstance(node["rows"], list) else []
    out["rows"] = []
    for row in rows:
        held = row.get("object") if isinstance(row, dict) else None
        out["rows"].append({"object": reduce(held, shape, search, about, depth + 1) if isinstance(held, dict) else None})
        if isinstance(row, dict) and row.get("cells"):
            _drop(row["cells"], search)
    for field, value in node.items():
        if field not in ("kind", "apiVersion", "rows", "metadata", "columnDefinitions"):
            _drop(value, search)
    return out


def _operation(operation: dict[str, Any], shape: str, search: Search, about: About) -> dict[str, Any]:
    """An operation of a JSON patch: what it does and where, and the keys it sets; never a value."""
    if not isinstance(operation.get("path"), str):
        return reduce(operation, shape, search, about, 1)
    out: dict[str, Any] = {}
    for field, value in operation.items():
        if field == "op" and value in ("add", "remove", "replace", "move", "copy", "test"):
            out[field] = value
        elif field in ("path", "from") and isinstance(value, str):
            out[field] = _pointer(value, search, about)
        elif field == "value":
            out[field] = _patched(operation["path"], value, shape, search, about)
        else:
            _drop(value, search)
    return out


def _pointer(path: str, search: Search, about: About) -> str:
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
    return path if found[0] == path and _plain(rest[1:]) else f"{known}/{search.masked('secret', rest[1:])}"


def _patched(path: str, value: Any, shape: str, search: Search, about: About) -> Any:
    if isinstance(value, dict):
        parts = path.strip("/").split("/")
        if path in ("", "/"):
            return reduce(value, shape, search, about, 1)
        if shape == SECRET and parts in (["data"], ["stringData"]):
            return _data(value, search, about)
        if parts == ["metadata"]:
            return _metadata({"metadata": value}, search, about, shape)
    return _cut(value, search, "patch")


def _delete_options(node: dict[str, Any], search: Search) -> dict[str, Any]:
    out = _head(node, search)
    for field, value in node.items():
        if field in ("gracePeriodSeconds", "orphanDependents") and isinstance(value, (int, bool)):
            out[field] = value
        elif field == "propagationPolicy" and isinstance(value, str) and _WORD.fullmatch(value):
            out[field] = value
        elif field == "preconditions" and isinstance(value, dict):
            out[field] = {key: one for key, one in value.items() if isinstance(one, str) and (_UID.fullmatch(one) or _DIGITS.fullmatch(one))}
        elif field == "dryRun" and value == ["All"]:
            out[field] = value
        elif field not in ("kind", "apiVersion"):
            _drop(value, search)
    return out


_REASON: Final = re.compile(r"[A-Z][A-Za-z]{1,40}")
_USUAL: Final = re.compile(
    r"[a-z0-9.]{1,80} (?:\"(?P<name>[^\"\\]+)\" )?(?:not found|already exists|is forbidden: User \"(?P<user>[^\"\\]{1,253})\" cannot [a-z]{1,20} "
    r"resource \"[a-z0-9/.\-]{1,80}\" in API group \"[a-z0-9.\-]{0,80}\"(?: in the namespace \"(?P<namespace>[a-z0-9\-]{1,63})\"| at the cluster scope)?)|Unauthorized|Forbidden"
)


def message(text: str, search: Search, about: About) -> str:
    """A Status message about a sensitive object: only what the event's head says as well may stay."""
    usual = _USUAL.fullmatch(text)
    if usual and (usual["name"] is None or usual["name"] == about.name) and (not about.namespace or usual["namespace"] in (None, about.namespace)):
        return text
    return search.masked("message", text)


def status(node: dict[str, Any], search: Search, about: About) -> dict[str, Any]:
    """A Status (meta/v1) about a sensitive object: reason, code and the shape of the details; no text that quotes."""
    out: dict[str, Any] = {}
    for field, value in node.items():
        if field == "kind" and value == "Status":
            out[field] = value
        elif field == "apiVersion" and isinstance(value, str) and _API_VERSION.fullmatch(value):
            out[field] = value
        elif field == "metadata" and value in ({}, None):
            out[field] = value
        elif field == "status" and value in ("Success", "Failure"):
            out[field] = value
        elif field == "message" and isinstance(value, str):
            out[field] = message(value, search, about) if value else value
        elif field == "reason" and isinstance(value, str):
            out[field] = value if not value or _REASON.fullmatch(value) else search.masked("message", value)
        elif field == "code" and isinstance(value, int):
            out[field] = value
        elif field == "details" and isinstance(value, dict):
            out[field] = _details(value, search, about)
        elif field == "metadata" and isinstance(value, dict):
            out[field] = {}
        else:
            _drop(value, search, "message")
    return out


def _details(details: dict[str, Any], search: Search, about: About) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for field, value in details.items():
        if field == "name" and isinstance(value, str):
            out[field] = value if value == about.name else search.masked("name", value)
        elif field in ("kind", "group") and isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9.\-]{0,80}", value):
            out[field] = value
        elif field == "uid" and isinstance(value, str) and _UID.fullmatch(value):
            out[field] = value
        elif field == "retryAfterSeconds" and isinstance(value, int):
            out[field] = value
        elif field == "causes" and isinstance(value, list):
            out[field] = [_cause(cause, search) for cause in value]
        else:
            _drop(value, search, "message")
    return out


def _cause(cause: Any, search: Search) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for field, value in cause.items() if isinstance(cause, dict) else ():
        if field == "reason" and isinstance(value, str) and _REASON.fullmatch(value):
            out[field] = value
        elif field == "message" and isinstance(value, str):
            out[field] = search.masked("message", value)
        else:
            _drop(value, search, "message")
    return out
