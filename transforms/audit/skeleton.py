"""What may stay of a Secret, a token or an OAuth object: an allow-list, applied to every shape that a body can have.

Kept is evidence: which object, which keys, how long the values. Everything that is not named here goes.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from transforms.audit.credentials import scrub_text
from transforms.audit.evidence import (
    API_VERSION,
    DATA_KEY,
    DIGITS,
    DNS_SUBDOMAIN,
    NOTHING,
    TIME,
    UID,
    WORD,
    About,
    cut,
    drop,
    labels,
    plain,
    size,
)
from transforms.audit.patch_pointer import pointer
from transforms.audit.sensitive_status import status

if TYPE_CHECKING:
    from transforms.audit.embedded import Search

SECRET: Final = "secret"
TOKEN: Final = "token"
OAUTH: Final = "oauth"

_KINDS: Final = {
    "secret": SECRET,
    "secretlist": SECRET,
    "tokenreview": TOKEN,
    "tokenrequest": TOKEN,
    "oauthaccesstoken": OAUTH,
    "oauthaccesstokenlist": OAUTH,
    "oauthauthorizetoken": OAUTH,
    "oauthauthorizetokenlist": OAUTH,
    "useroauthaccesstoken": OAUTH,
    "useroauthaccesstokenlist": OAUTH,
    "oauthclient": OAUTH,
    "oauthclientlist": OAUTH,
}
# A `kind: Secret` with only these beside it points to a Secret, or names its type, and holds nothing of it.
_REFERENCE: Final = frozenset(
    "kind apiversion apigroup group version name namespace uid resourceversion fieldpath controller blockownerdeletion optional key "
    "singularname pluralname plural singular namespaced verbs shortnames categories "
    "storageversionhash listkind code reason causes retryafterseconds".split()
)
_SECRET_TYPE: Final = re.compile(
    r"Opaque|kubernetes\.io/(?:service-account-token|dockercfg|dockerconfigjson|basic-auth|ssh-auth|tls)|"
    r"bootstrap\.kubernetes\.io/token|helm\.sh/release\.v\d+",
    re.IGNORECASE,
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
    return all(
        (key.lower() in _REFERENCE and not isinstance(value, (dict, list))) or key in ("verbs", "shortNames", "categories", "causes")
        for key, value in node.items()
    )


_KIND: Final = re.compile(
    r"Secret|List|Table|Status|PartialObjectMetadata|(?:Secret|PartialObjectMetadata)List|DeleteOptions|(?:Token(?:Review|Request))|"
    r"(?:User)?OAuth(?:Access|Authorize)Token(?:List)?|OAuthClient(?:List)?|Patch|APIStatus|ConfigMap"
)
_TYPE: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.\-]{0,100}/)?[A-Za-z0-9.\-_]{0,100}")
_TOP: Final = frozenset("kind apiVersion metadata type immutable data stringData items rows spec status".split())
_CASES: Final = {name.lower(): name for name in _TOP}


def reduce(node: Any, shape: str, search: Search, about: About = NOTHING, depth: int = 0) -> Any:
    """The skeleton of a sensitive body, of whatever shape the body is. Counts what goes on `search`."""
    if isinstance(node, list):
        return [_operation(item, shape, search, about) if isinstance(item, dict) else cut(item, search) for item in node]
    if not isinstance(node, dict) or depth > 20:
        return cut(node, search)
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
    search.count("withheld", size(node))
    return {}


def _head(node: dict[str, Any], search: Search) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for field, pattern in (("kind", _KIND), ("apiVersion", API_VERSION)):
        value = node.get(field)
        if isinstance(value, str):
            out[field] = value if pattern.fullmatch(value) else search.masked("secret", value)
    return out


def _secret_field(out: dict[str, Any], field: str, value: Any, search: Search, about: About) -> None:
    if field in ("data", "stringData"):
        out[field] = _data(value, search, about)
    elif (field == "type" and isinstance(value, str) and not about.failed and _TYPE.fullmatch(value) and plain(value)) or (
        field == "immutable" and isinstance(value, bool)
    ):
        out[field] = value
    else:
        drop(value, search)


def _data(value: Any, search: Search, about: About) -> Any:
    """Key names and value lengths; of a failed request not even the names, for nothing has checked that they are names."""
    if not isinstance(value, dict):
        return cut(value, search)
    if about.failed:
        search.count("secret", size(value), len(value)) if value else None
        return {}
    out = {}
    for key, item in value.items():
        named = key if DATA_KEY.fullmatch(key) and scrub_text(key) == key else search.masked("secret", key)
        out[named] = cut(item, search)
    return out


def _token_field(out: dict[str, Any], field: str, value: Any, search: Search) -> None:
    """TokenRequest and TokenReview (authentication.k8s.io): whom a token is for and how long, never the token."""
    if field not in ("spec", "status") or not isinstance(value, dict):
        drop(value, search, "token")
        return
    kept: dict[str, Any] = {}
    for name, item in value.items():
        if (name in ("expirationSeconds", "authenticated") and isinstance(item, (int, bool))) or (
            name == "expirationTimestamp" and (item is None or (isinstance(item, str) and TIME.fullmatch(item)))
        ):
            kept[name] = item
        elif name == "audiences" and isinstance(item, list):
            kept[name] = [scrub_text(one) if isinstance(one, str) else cut(one, search, "token") for one in item]
        elif name == "boundObjectRef" and isinstance(item, dict):
            kept[name] = {
                key: one
                for key, one in item.items()
                if key in ("kind", "apiVersion", "name", "uid") and isinstance(one, str) and plain(one) and len(one) < 254
            }
        elif name == "user" and isinstance(item, dict):
            kept[name] = {key: one for key, one in item.items() if key in ("username", "uid", "groups") and _names(one)}
        elif item is None or item == "":
            kept[name] = item
        else:
            drop(item, search, "token")
    out[field] = kept


def _names(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, list) and all(isinstance(one, str) for one in value))


def _oauth_field(out: dict[str, Any], field: str, value: Any, search: Search) -> None:
    """OpenShift's OAuth objects (oauth.openshift.io): who, for which client, how long."""
    if (
        (field in ("userName", "userUID", "clientName") and isinstance(value, str) and plain(value) and len(value) < 254)
        or (
            field
            in (
                "expiresIn",
                "inactivityTimeoutSeconds",
                "accessTokenMaxAgeSeconds",
                "accessTokenInactivityTimeoutSeconds",
                "respondWithChallenges",
            )
            and isinstance(value, int)
        )
        or (field == "scopes" and _names(value))
        or (field == "grantMethod" and isinstance(value, str) and WORD.fullmatch(value))
    ):
        out[field] = value
    else:
        drop(value, search, "token")


_METADATA: Final = {
    "namespace": DNS_SUBDOMAIN,
    "uid": UID,
    "resourceVersion": DIGITS,
    "creationTimestamp": TIME,
    "deletionTimestamp": TIME,
}


def _metadata(node: dict[str, Any], search: Search, about: About, shape: str) -> Any:
    metadata = node["metadata"]
    if not isinstance(metadata, dict):
        return cut(metadata, search)
    out: dict[str, Any] = {}
    for field, value in metadata.items():
        pattern = _METADATA.get(field)
        if field == "name" and isinstance(value, str):
            safe = value == about.name or (shape == OAUTH and _HASHED_NAME.fullmatch(value))
            out[field] = value if value and safe else search.masked("name", value)
        elif field == "namespace" and about.namespace and value != about.namespace:
            drop(value, search, "name")
        elif (pattern is not None and (value is None or (isinstance(value, str) and pattern.fullmatch(value)))) or (
            field in ("generation", "deletionGracePeriodSeconds") and isinstance(value, int)
        ):
            out[field] = value
        elif field == "labels" and isinstance(value, dict) and not about.failed:
            out[field] = labels(value, node, search)
        elif field == "managedFields":
            continue
        else:
            drop(value, search, "annotation" if field == "annotations" else "secret")
    return out


_HASHED_NAME: Final = re.compile(r"sha256~[A-Za-z0-9_\-]{43}")


def _list(node: dict[str, Any], shape: str, search: Search, about: About, depth: int) -> dict[str, Any]:
    kind = node.get("kind")
    if isinstance(kind, str) and kind.lower() in _KINDS:
        shape = _KINDS[kind.lower()]
    out = _head(node, search)
    if isinstance(node.get("metadata"), dict):
        out["metadata"] = {
            key: value
            for key, value in node["metadata"].items()
            if key == "resourceVersion" and isinstance(value, str) and DIGITS.fullmatch(value)
        }
    out["items"] = [
        reduce(item, shape, search, about, depth + 1) if isinstance(item, dict) else cut(item, search) for item in node["items"]
    ]
    for field, value in node.items():
        if field not in ("kind", "apiVersion", "metadata", "items"):
            drop(value, search)
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
            drop(row["cells"], search)
    for field, value in node.items():
        if field not in ("kind", "apiVersion", "rows", "metadata", "columnDefinitions"):
            drop(value, search)
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
            out[field] = pointer(value, search, about)
        elif field == "value":
            out[field] = _patched(operation["path"], value, shape, search, about)
        else:
            drop(value, search)
    return out


def _patched(path: str, value: Any, shape: str, search: Search, about: About) -> Any:
    if isinstance(value, dict):
        parts = path.strip("/").split("/")
        if path in ("", "/"):
            return reduce(value, shape, search, about, 1)
        if shape == SECRET and parts in (["data"], ["stringData"]):
            return _data(value, search, about)
        if parts == ["metadata"]:
            return _metadata({"metadata": value}, search, about, shape)
    return cut(value, search, "patch")


def _delete_options(node: dict[str, Any], search: Search) -> dict[str, Any]:
    out = _head(node, search)
    for field, value in node.items():
        if (field in ("gracePeriodSeconds", "orphanDependents") and isinstance(value, (int, bool))) or (
            field == "propagationPolicy" and isinstance(value, str) and WORD.fullmatch(value)
        ):
            out[field] = value
        elif field == "preconditions" and isinstance(value, dict):
            out[field] = {key: one for key, one in value.items() if isinstance(one, str) and (UID.fullmatch(one) or DIGITS.fullmatch(one))}
        elif field == "dryRun" and value == ["All"]:
            out[field] = value
        elif field not in ("kind", "apiVersion"):
            drop(value, search)
    return out
