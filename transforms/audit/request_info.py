"""Read from a request's URI what kube-apiserver read from it: which resource, in which namespace, by which name."""

from __future__ import annotations

from typing import Final
from urllib.parse import unquote_to_bytes

import msgspec

from transforms.audit.list_options import selected_name

API_PREFIXES: Final = frozenset({"api", "apis"})
SPECIAL_VERBS: Final = frozenset({"proxy", "watch"})
NAMESPACE_SUBRESOURCES: Final = frozenset({"status", "finalize"})
VERBS_THAT_SELECT_A_NAME: Final = frozenset({"list", "watch"})


class RequestInfo(msgspec.Struct, frozen=True, gc=False):
    """What a URI says about a request (kubernetes/apiserver `pkg/endpoints/request/requestinfo.go`, `RequestInfo`).

    `path` is percent-decoded and without query; bytes that are not UTF-8 are lone surrogates (`surrogateescape`).
    `parts` starts at the resource. A request for no resource has only a path, and what prefix and group it has.
    """

    is_resource_request: bool
    path: str
    api_prefix: str = ""
    api_group: str = ""
    api_version: str = ""
    namespace: str = ""
    resource: str = ""
    subresource: str = ""
    name: str = ""
    parts: tuple[str, ...] = ()


def request_info(uri: str, verb: str = "") -> RequestInfo:
    """The attributes of the request that asked for `uri`, as recorded in `requestURI`. Never raises, whatever the string.

    `verb` is the event's own: only a `list` or `watch` takes its name from `fieldSelector=metadata.name=…`.
    """
    escaped, _, query = uri.partition("?")
    # A target such as `x:api/v1/pods` is recorded without its scheme, and leaves the server with no path at all.
    if not escaped.startswith("/"):
        return RequestInfo(False, "*" if escaped == "*" else "")
    path = decoded_path(escaped)
    parts = path.strip("/").split("/")
    prefix = parts[0]
    if len(parts) < 3 or prefix not in API_PREFIXES:
        return RequestInfo(False, path)
    group = ""
    at = 1
    if prefix == "apis":
        if len(parts) < 4:
            return RequestInfo(False, path, prefix)
        group = parts[1]
        at = 2
    return _resource_request(path, prefix, group, parts[at], parts[at + 1 :], query, verb)


def _resource_request(path: str, prefix: str, group: str, version: str, parts: list[str], query: str, verb: str) -> RequestInfo:
    special = ""
    if parts[0] in SPECIAL_VERBS:
        if len(parts) < 2:  # upstream answers 500 before it audits
            return RequestInfo(True, path, prefix, group, version)
        special = parts[0]
        parts = parts[1:]
    namespace = ""
    if parts[0] == "namespaces" and len(parts) > 1:
        namespace = parts[1]
        if len(parts) > 2 and parts[2] not in NAMESPACE_SUBRESOURCES:
            parts = parts[2:]
    subresource = parts[2] if len(parts) > 2 and special != "proxy" else ""
    name = parts[1] if len(parts) > 1 else ""
    if not name and not special and query and verb in VERBS_THAT_SELECT_A_NAME:
        name = selected_name(query)
    return RequestInfo(True, path, prefix, group, version, namespace, parts[0], subresource, name, tuple(parts))


def decoded_path(escaped: str) -> str:
    """The path as Go's `URL.Path` has it: percent-decoded, nothing else normalised."""
    if "%" not in escaped:
        return escaped
    return unquote_to_bytes(escaped.encode("utf-8", "surrogatepass")).decode("utf-8", "surrogateescape")
