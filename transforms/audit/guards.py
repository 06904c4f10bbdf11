"""Guards: the reads that are never folded, each with its reason."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Final

import msgspec
import yaml

if TYPE_CHECKING:
    from collections.abc import Sequence

FOLDABLE_VERBS: Final = frozenset({"get", "list", "watch"})

BUILT_IN: Final = {
    "secrets": "Reading a Secret or a token is what an intruder is after.",
    "subresource": "exec, attach, portforward, proxy and log reach into workloads although their verb is get; "
    "of an unknown subresource nobody knows.",
    "code": "A read that failed tells of probing and of missing rights.",
    "impersonated": "Someone acted as someone else.",
    "anonymous": "Nobody knows who it was.",
    "reviews": "Asking what one may do is reconnaissance.",
    "truncated": "The API server cut the event; what is left is all there is.",
    "withheld": "Redaction withheld content; the event stays as the trace of it.",
    "collision": "Audit IDs repeat only where a client chose them.",
    "cluster_list": "Listing a resource in all namespaces harvests; system components do it all day, people and workloads should not.",
    "unknown_word": "A verb or resource that Kubernetes does not know is an odd request.",
    "panic": "The API server panicked on it.",
    "odd_time": "Without a believable time an event belongs to no window.",
    "failed_open": "An admission webhook failed and was ignored.",
    "profiling": "Profiles, node logs and flags of the API server are read in debugging and in attacks.",
}

KNOWN_SUBRESOURCES: Final = frozenset({"", "status", "scale"})
CORE_RESOURCES: Final = frozenset(
    """bindings componentstatuses configmaps endpoints events limitranges namespaces nodes persistentvolumeclaims persistentvolumes
    pods podtemplates replicationcontrollers resourcequotas secrets serviceaccounts services""".split()
)
_RESOURCE = re.compile(r"[a-z][a-z0-9-]{0,62}").fullmatch
_GROUP = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?").fullmatch
# Users that are parts of Kubernetes; what lists cluster-wide as one of them is expected to.
SYSTEM_USERS: Final = re.compile(
    r"system:(apiserver|kube-apiserver|kube-controller-manager|kube-scheduler|kube-proxy|kube-aggregator|node:.*|serviceaccount:kube-system:.*"
    r"|serviceaccount:openshift-[^:]*:.*|aggregator|konnectivity-server|cloud-controller-manager|openshift-.*)"
).fullmatch
_PROFILING: Final = ("/debug/", "/logs", "/flagz", "/configz", "/statusz")
# Flags that say what an envelope lacks, not that the event is odd.
HARMLESS_FLAGS: Final = frozenset(
    {
        "GROUPS_UNKNOWN",
        "QUERY_UNKNOWN",
        "LEVEL_INFERRED",
        "URI_INFERRED",
        "STAGE_INFERRED",
        "BODIES_UNKNOWN",
        "STAGE_TIME_INFERRED",
        "CODE_INFERRED",
    }
)


class Read(msgspec.Struct, frozen=True, eq=False):
    """What a read is folded by, and the object's name. Compared by identity: equal reads share one object while cached."""

    username: str | None
    impersonated: str | None
    verb: str
    group: str | None
    resource: str | None
    subresource: str | None
    namespace: str | None
    agent: str | None
    path: str | None
    code: int | None

    @property
    def key(self) -> tuple[Any, ...]:
        """The summary's key fields in the order of the schema."""
        return (
            self.username,
            self.impersonated,
            self.verb,
            self.group,
            self.resource,
            self.subresource,
            self.namespace,
            self.agent,
            self.path,
            self.code,
        )


def guard_of_read(read: Read, groups: Sequence[str]) -> str | None:
    """Name of the built-in guard that protects a read by what it is folded by; None: none does."""
    if read.code is None or not 200 <= read.code < 300:
        return "code"
    if read.impersonated is not None:
        return "impersonated"
    if not read.username or read.username == "system:anonymous" or "system:unauthenticated" in groups:
        return "anonymous"
    if read.resource is None:
        return "profiling" if (read.path or "").startswith(_PROFILING) else None
    if (read.subresource or "") not in KNOWN_SUBRESOURCES:
        return "subresource"
    if read.resource.endswith("reviews"):
        return "reviews"
    if not _known_word(read):
        return "unknown_word"
    if read.verb == "list" and not read.namespace and not SYSTEM_USERS(read.username):
        return "cluster_list"
    return None


def _known_word(read: Read) -> bool:
    if read.group:
        return bool(_RESOURCE(read.resource or "") and _GROUP(read.group))
    return read.resource in CORE_RESOURCES


class Guard(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A guard of the user's: a read that matches every given list is never folded. `*` and `?` are wildcards."""

    name: str
    reason: str
    users: list[str] = []
    groups: list[str] = []
    verbs: list[str] = []
    resources: list[str] = []
    namespaces: list[str] = []
    userAgents: list[str] = []
    nonResourcePaths: list[str] = []

    def protects(self, read: Read, groups: Sequence[str]) -> bool:
        """Whether the read matches. Resources read `secrets`, `pods/log`, `apps/deployments`, `*.example.com/*`."""
        resource = "/".join(part for part in (read.group, read.resource, read.subresource) if part)
        given: list[tuple[list[str], Sequence[str | None]]] = [
            (self.users, [read.username]),
            (self.groups, groups),
            (self.verbs, [read.verb]),
            (self.resources, [resource if read.resource else None]),
            (self.namespaces, [read.namespace or ""]),
            (self.userAgents, [read.agent or ""]),
            (self.nonResourcePaths, [read.path]),
        ]
        return all(
            any(value is not None and fnmatchcase(value, pattern) for value in values for pattern in patterns)
            for patterns, values in given
            if patterns
        )


class GuardsError(ValueError):
    """A guards file that cannot be used; `problems` lists everything wrong with it."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


def load_guards(text: bytes) -> tuple[Guard, ...]:
    """Guards of a YAML file: `guards:` and a list of entries with name, reason and what to match. Raises GuardsError."""
    try:
        document = yaml.load(text, Loader=yaml.CSafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        raise GuardsError([f"not YAML{f' (line {mark.line + 1})' if mark else ''}"]) from None
    if not isinstance(document, dict) or set(document) != {"guards"} or not isinstance(document["guards"], list):
        raise GuardsError(["expected one key, guards, with a list of entries"])
    problems: list[str] = []
    guards: list[Guard] = []
    for at, entry in enumerate(document["guards"]):
        try:
            guard = msgspec.convert(entry, Guard)
        except msgspec.ValidationError as error:
            problems.append(f"guards[{at}]: {error}")
            continue
        if not any((guard.users, guard.groups, guard.verbs, guard.resources, guard.namespaces, guard.userAgents, guard.nonResourcePaths)):
            problems.append(f"guards[{at}]: {guard.name!r} names nothing to match")
        if guard.name in BUILT_IN or any(guard.name == other.name for other in guards):
            problems.append(f"guards[{at}].name: {guard.name!r} is taken")
        guards.append(guard)
    if problems:
        raise GuardsError(problems)
    return tuple(guards)
