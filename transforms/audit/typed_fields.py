"""Mask the values that an object's own form gives away as secret, whatever its kind: no name of theirs says so."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Any, Final

from transforms.audit import skeleton
from transforms.audit.command_line import mask_arguments
from transforms.audit.credential_names import doubtful_key, sensitive_key
from transforms.audit.credentials import benign_value, opaque

if TYPE_CHECKING:
    from transforms.audit.embedded import Search

# The private parts of a JSON Web Key (RFC 7518).
_JWK: Final = ("k", "d", "p", "q", "dp", "dq", "qi")
# Under a credential's name: its value given in place, beside references to where it is kept; a schema's default for it.
_LITERALS: Final = (
    "value",
    "literal",
    "inline",
    "inlineString",
    "plain",
    "plaintext",
    "stringValue",
    "content",
    "exact",
    "default",
    "example",
)
# A value and its name as two fields of an object.
VALUES: Final = frozenset("value Value default defaultValue val string stringValue literal plainText headerValue ParameterValue".split())
_NAMES: Final = "name key id field property variable parameter option header headerName attribute env envVar Name Key ParameterKey".split()
# Maps whose every value is secret: Grafana's data sources, generators of Secrets.
_MAPS: Final = frozenset({"securejsondata", "secretdata", "secretvalues", "sensitivedata", "passwords", "github-oauth", "gitlab-token"})


def is_login(text: str) -> bool:
    """Whether what is called `auth` is a credential, as in a Docker configuration (`user:password` in base64), and not a setting."""
    if opaque(text):
        return True
    try:
        return ":" in base64.b64decode(text, validate=True).decode()
    except (binascii.Error, ValueError):
        return False


def name_of_value(node: dict[str, Any]) -> str:
    """The credential's name that an object gives to the value beside it (`{"name": "token", "value": …}`), or nothing."""
    if VALUES.isdisjoint(node):
        return ""
    named = (node[name] for name in _NAMES if isinstance(node.get(name), str))
    return next((name for name in named if sensitive_key(name) or doubtful_key(name)), "")


def mask_typed(node: dict[str, Any], search: Search) -> None:
    """Mask what the object's form gives away, in place."""
    if "kty" in node:
        _mask(node, _JWK, search)
    if node.get("sensitive") is True or node.get("type") == "password":
        _mask(node, ("value",), search)
    if "apiVersion" in node and str(node.get("kind")).endswith("Secret"):
        _copies(node, search)
    if "args" in node:
        if "command" in node:
            _command_line(node["command"], node["args"], search)
        elif isinstance(node.get("image"), str):  # its program most often has its name
            _command_line([node["image"].rpartition("/")[2].partition(":")[0].partition("@")[0]], node["args"], search)
    for field, value in node.items():
        if type(value) is dict:
            _below(node, field, value, search)
        elif field == "secretGenerator" and isinstance(value, list):  # kustomize
            for one in value:
                if isinstance(one, dict) and isinstance(one.get("literals"), list):
                    one["literals"] = [search.masked("secret", text) if isinstance(text, str) else text for text in one["literals"]]


def _copies(node: dict[str, Any], search: Search) -> None:
    """What another kind of Secret, of whatever group, holds for the Secrets that are made of it: in maps called `data`."""
    spec = node.get("spec")
    template = spec.get("template") if isinstance(spec, dict) else None
    for holder in (node, spec, template):
        if isinstance(holder, dict) and isinstance(holder.get("data"), dict):
            _leaves(holder["data"], search)


def _command_line(command: Any, args: Any, search: Search) -> None:
    """A container's program may stand in one list and its arguments in the other."""
    if isinstance(command, list) and isinstance(args, list):
        whole = command + args
        mask_arguments(whole, search)
        command[:], args[:] = whole[: len(command)], whole[len(command) :]


def _below(node: dict[str, Any], field: str, held: dict[str, Any], search: Search) -> None:
    if field == "kind":  # of the object in an AdmissionRequest (admission.k8s.io)
        shape = skeleton.shape_of({"kind": held.get("kind"), "data": {}})
        for name in ("object", "oldObject") if shape else ():
            if isinstance(node.get(name), dict):
                node[name] = skeleton.reduce(node[name], shape or skeleton.SECRET, search)
    elif field == "target" and isinstance(node.get("patch"), str) and str(held.get("kind")).lower() == "secret":  # kustomize
        node["patch"] = search.masked("secret", node["patch"])
    elif field.lower().replace("_", "") in _MAPS:
        _leaves(held, search)
    elif sensitive_key(field) or field == "secretTemplate":
        _mask(held, _LITERALS, search)
        for name in ("data", "stringData"):
            if isinstance(held.get(name), dict) and "ecret" in field:
                _leaves(held[name], search)


def _mask(node: dict[str, Any], fields: tuple[str, ...], search: Search) -> None:
    for field in fields:
        value = node.get(field)
        if isinstance(value, str) and not benign_value(value):
            node[field] = search.masked("credential", value)


def _leaves(node: dict[str, Any], search: Search) -> None:
    for field, value in node.items():
        if isinstance(value, str) and value:
            node[field] = search.masked("secret", value)
        elif isinstance(value, dict):
            _leaves(value, search)
