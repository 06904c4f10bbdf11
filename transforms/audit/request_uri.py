"""Redact a request URI: parameter names stay, values and proxied paths go where they may carry credentials."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, unquote, unquote_plus

from transforms.audit.credential_names import sensitive_key
from transforms.audit.embedded import Search
from transforms.audit.evidence import DNS_SUBDOMAIN
from transforms.audit.sensitivity import SUBRESOURCES
from transforms.audit.skeleton import OAUTH, SECRET

if TYPE_CHECKING:
    from transforms.audit.sensitivity import Address

GONE: Final = "REDACTED"

# Parameters of the Kubernetes API (meta/v1 options, pod log, exec, proxy): their values are settings and selectors.
_API: Final = frozenset(
    "watch limit timeout timeoutSeconds resourceVersion resourceVersionMatch allowWatchBookmarks "
    "sendInitialEvents fieldManager fieldValidation force dryRun pretty "
    "gracePeriodSeconds propagationPolicy orphanDependents follow previous tailLines sinceSeconds "
    "sinceTime timestamps limitBytes stream container stdin stdout stderr tty verbose "
    "ports includeObject includeUninitialized insecureSkipTLSVerifyBackend "
    "exact export allowUnsafe ignoreStoreReadErrorWithClusterBreakingPotential".split()
)
_SETTING: Final = re.compile(r"[A-Za-z0-9_.,:/\-+]{0,100}")
_PLAIN: Final = re.compile(r"true|false|\d{1,6}(?:ms|s|m|h)?", re.IGNORECASE)
_OPAQUE: Final = re.compile(r"(?=.*[0-9])(?=.*[A-Za-z])[A-Za-z0-9_.\-]{12,}")
_WORDS: Final = re.compile(r"[A-Za-z_.,:/\-]{0,40}|[A-Za-z0-9_.,:/\-]{0,11}")
_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.\-\[\]]{0,39}")
_SELECTOR: Final = re.compile(r"(!?[A-Za-z0-9_./\-]+)(?:(\s*(?:==?|!=|[<>])\s*)([^,()=!<>\s]*)|(\s+(?:not\s*)?in\s*)\(([^()]*)\)|\s*)")
# Field labels that Kubernetes knows; what follows any other is a client's invention.
_FIELDS: Final = re.compile(
    r"metadata\.(?:name|namespace)|"
    r"spec\.(?:nodeName|restartPolicy|schedulerName|serviceAccountName|hostNetwork|unschedulable|signerName|clusterIP|type)|"
    r"status\.(?:phase|podIPs?|nominatedNodeName|replicas|successful)|involvedObject\.[a-zA-Z]+|"
    r"regarding\.[a-zA-Z]+|reason|reportingComponent|source|type"
)
# Lower-case names carry no token of any known shape, and nothing that is encoded.
_DNS: Final = re.compile(r"[a-z0-9.\-]{0,63}")
_DIGEST: Final = re.compile(r"[0-9A-F]{64,128}")
_PROGRAM: Final = re.compile(r"[A-Za-z0-9_./+\-]{1,100}")
_WORD: Final = re.compile(r"[A-Za-z_.\-]{1,40}|v\d+(?:(?:alpha|beta)\d+)?|[A-Za-z0-9_.:\-]{1,10}")
_BEFORE: Final = re.compile(
    r"secret|token|passw|login|auth|cred|session|reset|verify|invite|confirm|apikey|key|bearer|sign|cubbyhole|kv|bot|webhook|import",
    re.IGNORECASE,
)
_ROUTES: Final = re.compile(
    r"tokens?|secrets?|authorize|oauth2?|login|logout|callback|keys|sessions?|certs|verify|renew|lookup(?:-self)?|data|info|self"
)
_SERVED: Final = frozenset(
    "api apis healthz livez readyz version openapi metrics swagger swaggerapi logs debug .well-known openid configz flagz statusz".split()
)


# Most URIs are this: names, and settings of the API.
_USUAL: Final = re.compile(
    r"(?:/[a-z0-9.\-]{1,63})+(?:\?(?:(?:allowWatchBookmarks|continue|dryRun|fieldManager|fieldValidation|force|"
    r"gracePeriodSeconds|limit|propagationPolicy|resourceVersion|"
    r"resourceVersionMatch|sendInitialEvents|timeout|timeoutSeconds|watch)="
    r"(?:[a-z0-9.\-]{0,63}|All|Strict|Warn|Ignore|Exact|NotOlderThan|Background|Foreground|Orphan)(?:&|$))*)?"
)


def redact_uri(uri: str, address: Address, search: Search, exec_args: str) -> str:
    """The URI without credentials; unchanged parts keep their spelling. Cuts are counted on `search`."""
    path, mark, query = uri.partition("?")
    if address.shape is None and address.known and "proxy" not in uri and path.count("/") <= address.fixed and _USUAL.fullmatch(uri):
        return uri
    path = _path(path, address, search)
    if mark:
        query = _query(query, address, search, exec_args)
    return path + mark + query


def _gone(search: Search, kind: str, value: str) -> str:
    if value != GONE:
        search.count(kind, len(value.encode("utf-8", "surrogatepass")))
    return GONE


def _searched(plain: str, search: Search) -> str:
    return plain if _DNS.fullmatch(plain) else Search(search.catalogue, None, search.clean).text(plain)


def _path(path: str, address: Address, search: Search) -> str:
    parts = path.split("/")
    words = [at for at, part in enumerate(parts) if part]
    if not address.known or "//" in path or "%2f" in path.lower():
        if words and unquote(parts[words[0]]) in _SERVED and len(words) < 4:
            return "/".join(_clean(part, search) for part in parts)
        return _proxied(parts, 0, search)
    names = {address.name} if address.name else set()
    for at, part in enumerate(parts):
        if not part or unquote(part) not in names or at < 2:
            continue
        if not _name_may_stay(unquote(part), address):
            parts[at] = _gone(search, "name", part)
    if address.shape and len(words) >= address.fixed and address.subresource not in SUBRESOURCES:
        parts[words[address.fixed - 1]] = _gone(search, "path", parts[words[address.fixed - 1]])
    # The API's own part ends after the subresource; `proxy/…` and all that follows belongs to somebody else's service.
    end = words[address.fixed] if len(words) > address.fixed else len(parts)
    head = [_clean(part, search) if len(part) > 15 and not (address.shape and unquote(part) in names) else part for part in parts[:end]]
    if end == len(parts):
        return "/".join(head)
    return _proxied(head + parts[end:], end, search)


def _name_may_stay(name: str, address: Address) -> bool:
    if address.shape == OAUTH and address.resource != "oauthclients":
        return name.startswith("sha256~") and len(name) == 50
    if address.shape == SECRET:
        return DNS_SUBDOMAIN.fullmatch(name) is not None
    return True


def _clean(part: str, search: Search) -> str:
    plain = unquote(part)
    return part if _searched(plain, search) == plain else _gone(search, "credential", part)


def _proxied(parts: list[str], start: int, search: Search) -> str:
    before = "" if start == 0 else unquote(parts[start - 1])
    for at in range(start, len(parts)):
        part = parts[at]
        if not part:
            continue
        plain = unquote(part)
        if part != GONE and (not _WORD.fullmatch(plain) or (before and _BEFORE.search(before) and not _ROUTES.fullmatch(plain))):
            parts[at] = _gone(search, "path", part)
        before = "" if parts[at] == GONE else plain  # as a second redaction sees it
    return "/".join(parts)


def _query(query: str, address: Address, search: Search, exec_args: str) -> str:
    out: list[str] = []
    command: list[str] = []
    proxied = not address.known or "proxy" in (address.subresource, address.resource) or address.subresource.startswith("proxy")
    for pair in query.split("&"):
        name, equals, value = pair.partition("=")
        plain_name, plain = unquote_plus(name), unquote_plus(value)
        if plain_name == "command" and address.subresource != "proxy" and address.known:
            out.append(f"{name}={_argument(value, plain, command, search, exec_args)}")
            continue
        if not _NAME.fullmatch(plain_name) or (plain_name not in _API and _OPAQUE.search(plain_name)):
            name = _gone(search, "query", name) if name and not (name == GONE or GONE in name) else name
        if not equals:
            out.append(
                name
                if not name or not (proxied or address.shape) or _PLAIN.fullmatch(plain_name) or plain_name in _API or plain_name == GONE
                else _gone(search, "query", name)
            )
            continue
        out.append(f"{name}={_value(plain_name, value, plain, address, search, proxied)}")
    return "&".join(out)


def _value(name: str, value: str, plain: str, address: Address, search: Search, proxied: bool) -> str:
    if value in ("", GONE):
        return value
    if _PLAIN.fullmatch(plain) and not sensitive_key(name):
        return value
    if name in ("labelSelector", "fieldSelector") and address.known and not proxied:
        return _selector(value, plain, address, search, name)
    if name == "continue" and not proxied and address.shape is None:
        return value if _searched(plain, search) == plain else _gone(search, "query", value)
    if name == "hash" and _DIGEST.fullmatch(plain):  # of an OpenAPI document
        return value
    if name == "dryRun" and plain == "All":
        return value
    if not proxied and name in _API and _SETTING.fullmatch(plain) and _searched(plain, search) == plain:
        return value
    # A parameter that the API does not have: nobody knows what it is for.
    if proxied or address.shape or sensitive_key(name) or not _WORDS.fullmatch(plain) or _searched(plain, search) != plain:
        return _gone(search, "query", value)
    return value


def _selector(value: str, plain: str, address: Address, search: Search, kind: str) -> str:
    """A selector whose requirements all read as one keeps its innocent values; another goes as a whole."""
    out, at = "", 0
    while at < len(plain):
        found = _SELECTOR.match(plain, at)
        if found is None or not found[0]:
            return _gone(search, "query", value)
        if kind == "fieldSelector" and not _FIELDS.fullmatch(found[1]):
            return _gone(search, "query", value)
        out += _requirement(found, address, search)
        at = found.end()
        if at < len(plain):
            if plain[at] != ",":
                return _gone(search, "query", value)
            out += ","
            at += 1
    return value if out == plain else quote(out, safe="")


def _requirement(found: re.Match[str], address: Address, search: Search) -> str:
    key, operator, value = found[1], found[2], found[3]
    if operator is None:
        listed = found[5]
        if listed and (sensitive_key(key) or _searched(listed, search) != listed):
            return f"{key}{found[4]}({_gone(search, 'query', listed)})"
        return found[0]
    if not value or value == GONE:
        return found[0]
    named = key == "metadata.name" and address.shape is not None
    safe = DNS_SUBDOMAIN.fullmatch(value) is not None and address.shape != OAUTH if named else _searched(value, search) == value
    return found[0] if safe and not sensitive_key(key) else f"{key}{operator}{_gone(search, 'query', value)}"


def _argument(value: str, plain: str, command: list[str], search: Search, exec_args: str) -> str:
    """One word of an exec's command, judged with the words before it."""
    command.append(plain)
    if value == GONE:
        return value
    if exec_args == "none" or (exec_args == "program" and len(command) > 1):
        return _gone(search, "execArgument", value)
    words = list(command)
    if len(command) == 1 and exec_args == "program" and not _PROGRAM.fullmatch(plain):
        return _gone(search, "execArgument", value)
    if Search(search.catalogue, None, search.clean).node(words)[-1] != plain:
        return _gone(search, "execArgument", value)
    return value
