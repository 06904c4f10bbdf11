"""Redact the small parts of an event: who asked, what the server noted, what it answered; the fields that nobody knows."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from transforms.audit.credential_names import sensitive_key
from transforms.audit.credentials import MASKED, mask, opaque
from transforms.audit.embedded import UNREADABLE, Search, dump, load
from transforms.audit.event import Event, reduced
from transforms.audit.evidence import DIGITS, DNS_SUBDOMAIN, UID, About
from transforms.audit.sensitivity import SUBRESOURCES
from transforms.audit.skeleton import OAUTH
from transforms.audit.status_message import redact_message, redact_opaque

if TYPE_CHECKING:
    from transforms.audit.sensitivity import Address

_KEPT_EXTRAS: Final = (
    "authentication.kubernetes.io/",
    "scopes.authorization.openshift.io",
    "arn",
    "canonicalArn",
    "sessionName",
    "accessKeyId",
    "principalId",
)
_KEPT_ANNOTATIONS: Final = (
    "authorization.k8s.io/decision",
    "authorization.k8s.io/reason",
    "authentication.k8s.io/",
    "authentication.kubernetes.io/",
    "audit.k8s.io/",
    "mutation.webhook.admission.k8s.io/",
    "pod-security.kubernetes.io/",
    "apiserver.latency.k8s.io/",
    "k8s.io/deprecated",
    "k8s.io/removed-release",
    "failed-open.",
    "authentication.openshift.io/",
    "command.gke.io/",
)


# The patch of a webhook, under the number of its round (kubernetes/apiserver `pkg/admission/plugin/webhook/mutating/dispatcher.go`).
_PATCH: Final = "patch.webhook.admission.k8s.io/"
# What the server writes of an object; of a sensitive one nothing else stays.
_PLURAL: Final = re.compile(r"[a-z0-9.\-]{1,63}")
_REFERENCE: Final = {
    "resource": _PLURAL,
    "subresource": re.compile("|".join(SUBRESOURCES)),
    "namespace": DNS_SUBDOMAIN,
    "uid": UID,
    "apiGroup": DNS_SUBDOMAIN,
    "apiVersion": re.compile(r"[a-z0-9.\-]{1,63}"),
    "resourceVersion": DIGITS,
}
_FIELD: Final = re.compile(r"(?:/(?:[A-Za-z_.\-]{1,60}|\d{1,4}))+")


def record(event: Event, cuts: dict[str, list[int]], path: str) -> None:
    """Put what a search cut on the event's account."""
    for kind, (count, size) in cuts.items():
        reduced(event, kind, path, count, size)


def named(where: Address, ref: Any, shape: str) -> tuple[str, str]:
    """The name and namespace that may stay: the object reference's, else the URI's, if they are DNS names."""
    held = ref if isinstance(ref, dict) else {}
    name, namespace = held.get("name") or where.name, held.get("namespace") or where.namespace
    safe = isinstance(name, str) and (
        len(name) == 50 and name.startswith("sha256~")
        if shape == OAUTH and where.resource != "oauthclients"
        else DNS_SUBDOMAIN.fullmatch(name)
    )
    return (name if safe else "", namespace if isinstance(namespace, str) and DNS_SUBDOMAIN.fullmatch(namespace) else "")


def redact_reference(ref: dict[str, Any], about: About, search: Search) -> dict[str, Any]:
    """An object reference whose name is masked unless it may stay."""
    out = {}
    for field, value in ref.items():
        if field == "name" and value != about.name:
            out[field] = search.masked("name", value) if isinstance(value, str) and value else ""
        elif field == "name":
            out[field] = value
        elif isinstance(value, str):
            form = _REFERENCE.get(field)
            out[field] = value if not value or (form is not None and form.fullmatch(value)) else search.masked("name", value)
        else:
            search.count("name", len(dump(value)))
    return out


def redact_user(user: dict[str, Any], search: Search) -> dict[str, Any]:
    """A user keeps name, groups and the extras that Kubernetes and its clouds define; other extras may be signed assertions."""
    extra = user.get("extra")
    if isinstance(extra, dict):
        user["extra"] = {key: _extra(key, values, search) for key, values in extra.items()}
    elif extra is not None:
        search.count("extra", len(dump(user.pop("extra"))))
    for field, value in user.items():
        if field not in {"extra", "username"}:
            user[field] = search.node(value, key=field)
    return user


def _extra(key: str, values: Any, search: Search) -> Any:
    if not isinstance(values, list):
        return [search.masked("extra", dump(values).decode())]
    return [
        value
        if isinstance(value, str) and _extra_may_stay(key, value, search)
        else search.masked("extra", value if isinstance(value, str) else dump(value).decode())
        for value in values
    ]


def _extra_may_stay(key: str, value: str, search: Search) -> bool:
    if Search(search.catalogue).text(value) != value:
        return False
    if key.startswith(_KEPT_EXTRAS):
        return True
    return not sensitive_key(key) and len(value) <= 24 and not opaque(value)


def redact_annotation_key(key: str, search: Search) -> str:
    """The key of an audit annotation: a webhook chooses what follows its name."""
    if key.startswith((*_KEPT_ANNOTATIONS, _PATCH)):
        return key
    prefix, slash, name = search.text(key).rpartition("/")
    return prefix + slash + redact_opaque(name, search)


def redact_annotation(key: str, value: Any, search: Search) -> Any:
    """An audit annotation about an ordinary object, searched; a webhook's or policy's free text without opaque words."""
    if not isinstance(value, str):
        return search.node(value)
    if key.startswith(_KEPT_ANNOTATIONS):
        return search.text(value)
    value = redact_message(search.value(key, value), search)
    return value if key.startswith(_PATCH) else redact_opaque(value, search)


def redact_sensitive_annotation(key: str, value: Any, search: Search) -> str:
    """About a sensitive object only the server's own annotations stay; a webhook's or a policy's may quote the object."""
    if isinstance(value, str) and key.startswith(_KEPT_ANNOTATIONS):
        return search.text(value)
    return search.masked("annotation", value if isinstance(value, str) else dump(value).decode())


def redact_status(status: Any, search: Search) -> Any:
    """A Status about an ordinary object, without the values that its messages quote."""
    if not isinstance(status, dict):
        return search.node(status)
    if isinstance(status.get("message"), str):
        status["message"] = redact_message(status["message"], search)
    details = status.get("details")
    if isinstance(details, dict):
        if "userextras" in str(details.get("kind", "")) and isinstance(details.get("name"), str):
            details["name"] = search.masked("extra", details["name"])
        causes = details.get("causes")
        for cause in causes if isinstance(causes, list) else ():
            if isinstance(cause, dict) and isinstance(cause.get("message"), str):
                cause["message"] = redact_message(cause["message"], search)
    return search.node(status)


def redact_unknown(event: Event, search: Search) -> None:
    """Search the fields that the schema does not know; one that cannot be read is masked."""
    fields: Any = event.unknown
    for pointer, raw in list(fields.items()):
        key = pointer.rpartition("/")[2].replace("~1", "/").replace("~0", "~")
        try:
            clean = dump(search.node(load(raw), 0, 0, key))
        except UNREADABLE:
            clean = dump(mask("x" * len(raw)))
            search.count("unreadable", len(raw))
        name = search.text(pointer)
        if name != pointer:
            del fields[pointer]
        fields[name] = clean
    record(event, search.cuts, "/unknown")


def mask_unknown(event: Event) -> None:
    """Mask the fields that the schema does not know, of an event about a sensitive object."""
    fields: Any = event.unknown
    kept = {}
    for pointer, raw in fields.items():
        stand_in = raw if raw in (b"null", b"true", b"false") or raw.startswith(b'"<redacted: ') else dump(mask("x" * len(raw)))
        if stand_in != raw:
            reduced(event, "unknown", "/unknown", 1, len(raw))
        kept[pointer if _FIELD.fullmatch(pointer) or MASKED.search(pointer) else "/" + mask(pointer)] = stand_in
    event.unknown = kept  # type: ignore[assignment]
