"""Does a rule of an audit Policy match a request? Names follow kubernetes/apiserver `pkg/audit/policy/checker.go` (24a394e516bf)."""

from __future__ import annotations

import msgspec


class GroupResources(msgspec.Struct, frozen=True):
    """Resources of one API group (`audit.k8s.io/v1` GroupResources); empty `resources` means all of the group."""

    group: str = ""
    resources: tuple[str, ...] = ()
    resource_names: tuple[str, ...] = ()


class Rule(msgspec.Struct, frozen=True):
    """One rule (`audit.k8s.io/v1` PolicyRule): an empty field admits every request."""

    level: str
    users: tuple[str, ...] = ()
    user_groups: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ()
    resources: tuple[GroupResources, ...] = ()
    namespaces: tuple[str, ...] = ()
    non_resource_urls: tuple[str, ...] = ()
    omit_stages: tuple[str, ...] = ()
    omit_managed_fields: bool | None = None

    @property
    def wants_resource(self) -> bool:
        """Whether only a resource request can match."""
        return bool(self.namespaces or self.resources)


class User(msgspec.Struct, frozen=True):
    """Who was authenticated. `known` is False where the envelope does not tell the name, `groups_known` where it hides groups."""

    name: str
    groups: tuple[str, ...]
    known: bool = True
    groups_known: bool = True


class Target(msgspec.Struct, frozen=True):
    """What was asked for: a resource, or a path that is none."""

    is_resource_request: bool
    path: str = ""
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str | None = ""  # None: one that no rule names
    name: str | None = ""


def rule_matches_user(rule: Rule, user: User | None) -> bool | None:
    """Whether the rule admits the user; None where the envelope hides what the rule asks for. No user: authentication failed."""
    if not rule.users and not rule.user_groups:
        return True
    if user is None:
        return False
    certain = True
    if rule.users and user.name not in rule.users:
        if user.known:
            return False
        certain = False
    if rule.user_groups and not any(group in rule.user_groups for group in user.groups):
        if user.groups_known:
            return False
        certain = False
    return True if certain else None


def rule_matches_verb(rule: Rule, verb: str) -> bool:
    """Whether the rule admits the verb, letter by letter: `*` is no wildcard here."""
    return not rule.verbs or verb in rule.verbs


def rule_matches_target(rule: Rule, target: Target, *, group_wildcard: bool = True) -> bool:
    """Whether the rule admits what was asked for: rules for resources see no paths, rules for paths no resources."""
    if rule.wants_resource:
        return rule_matches_resource(rule, target, group_wildcard=group_wildcard)
    if rule.non_resource_urls:
        return rule_matches_non_resource(rule, target)
    return True


def rule_matches_non_resource(rule: Rule, target: Target) -> bool:
    """Whether one of the rule's nonResourceURLs admits the path."""
    return not target.is_resource_request and any(path_matches(target.path, spec) for spec in rule.non_resource_urls)


def path_matches(path: str, spec: str) -> bool:
    """Whether the path is the spec, or begins with it up to its trailing `*`."""
    return spec in ("*", path) or (spec.endswith("*") and path.startswith(spec.rstrip("*")))


def rule_matches_resource(rule: Rule, target: Target, *, group_wildcard: bool = True) -> bool:
    """Whether the rule's namespaces and resources admit the request; group `*` is a wildcard from Kubernetes 1.36 on."""
    if not target.is_resource_request:
        return False
    if rule.namespaces and target.namespace not in rule.namespaces:
        return False
    if not rule.resources:
        return True
    for entry in rule.resources:
        if entry.group == target.group or (group_wildcard and entry.group == "*"):
            if not entry.resources:  # names alone are refused by the validation
                return True
            if entry.resource_names and target.name not in entry.resource_names:
                continue
            if any(_resource_matches(resource, target) for resource in entry.resources):
                return True
    return False


def _resource_matches(spec: str, target: Target) -> bool:
    combined = f"{target.resource}/{target.subresource}" if target.subresource else target.resource
    if spec in ("*", combined):
        return True
    if target.subresource and spec == f"*/{target.subresource}":
        return True
    # Upstream asks for no subresource here: `pods/*` matches plain pods, too.
    return spec == f"{target.resource}/*"
