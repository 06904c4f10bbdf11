"""Warn of what a valid audit Policy says but hardly means: rules that never match, and evidence that it loses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from transforms.audit.request_info import request_info

if TYPE_CHECKING:
    from collections.abc import Iterator

    from transforms.audit.policy_file import PolicyFile
    from transforms.audit.policy_rule import GroupResources, Rule

RESOURCE_VERBS: Final = frozenset({"get", "list", "watch", "create", "update", "patch", "delete", "deletecollection", "proxy"})
HTTP_VERBS: Final = {"post": "create", "put": "update", "head": "get"}
NAMELESS_VERBS: Final = frozenset({"create", "deletecollection"})
LOST: Final = {
    "ResponseStarted": "every failed authentication (401), which has no other stage",
    "ResponseComplete": "how requests ended",
    "Panic": "requests that ended in a panic of the server",
}
# Beyond this many rules no one reads the warnings, and comparing each with each takes seconds.
MOST_COMPARED: Final = 1000


def policy_warnings(policy: PolicyFile, *, group_wildcard: bool = True) -> list[str]:
    """Warnings, each with the path of what it is about and why. `group_wildcard`: whether group `*` is one."""
    warnings = [f"omitStages: without {stage} the policy loses {LOST[stage]}" for stage in policy.omit_stages if stage in LOST]
    for index, rule in enumerate(policy.rules):
        path = f"rules[{index}]"
        warnings += _literal_stars(rule, path)
        warnings += _verbs(rule, path)
        for at, entry in enumerate(rule.resources):
            warnings += _resources(rule, entry, f"{path}.resources[{at}]", group_wildcard)
        warnings += _urls(rule, path)
        warnings += _evidence(rule, path, policy.omit_stages)
    warnings += _unreachable(policy.rules, group_wildcard)
    if not any(map(_is_catch_all, policy.rules)):
        warnings.append("rules: none matches every request; a request that matches no rule is dropped")
    if all(rule.level == "None" for rule in policy.rules):
        warnings.append("rules: all have level None; the policy keeps nothing")
    return warnings


def _is_catch_all(rule: Rule) -> bool:
    return not (rule.users or rule.user_groups or rule.verbs or rule.wants_resource or rule.non_resource_urls)


def _literal_stars(rule: Rule, path: str) -> Iterator[str]:
    named = (("users", rule.users), ("userGroups", rule.user_groups), ("verbs", rule.verbs), ("namespaces", rule.namespaces))
    for field, values in named:
        for at, value in enumerate(values):
            if "*" in value:
                yield f"{path}.{field}[{at}]: {value!r} is compared letter by letter and matches nothing; leave the field out to match all"


def _verbs(rule: Rule, path: str) -> Iterator[str]:
    for at, verb in enumerate(rule.verbs):
        where = f"{path}.verbs[{at}]"
        if "*" in verb:
            continue
        if verb != verb.lower():
            yield f"{where}: {verb!r} never matches: verbs are lower case"
        elif rule.wants_resource and verb in HTTP_VERBS:
            yield f"{where}: {verb!r} never matches a resource: for Kubernetes it is {HTTP_VERBS[verb]!r}"
        elif rule.wants_resource and verb and verb not in RESOURCE_VERBS:
            yield f"{where}: {verb!r} never matches: it is no verb of a request for resources"


def _resources(rule: Rule, entry: GroupResources, path: str, group_wildcard: bool) -> Iterator[str]:
    if entry.group == "*" and not group_wildcard:
        yield f"{path}.group: '*' matches nothing before Kubernetes 1.36"
    elif entry.group == "core" or (entry.group.startswith("v") and entry.group[1:2].isdigit() and "." not in entry.group):
        yield f"{path}.group: {entry.group!r} is no API group; the core group is ''"
    for at, spec in enumerate(entry.resources):
        reason = _never(spec)
        if reason:
            yield f"{path}.resources[{at}]: {spec!r} never matches: {reason}"
    if entry.resource_names and rule.verbs and NAMELESS_VERBS.issuperset(rule.verbs):
        yield f"{path}.resourceNames: never match: {' and '.join(sorted(set(rule.verbs)))} requests have no name in their URL"


def _never(spec: str) -> str:
    resource, slash, subresource = spec.partition("/")
    if spec == "*/*":
        return "'*' alone means all resources and their subresources"
    if "*" in resource and resource != "*":
        return "'*' is no part of a name"
    if "*" in subresource and (subresource != "*" or not resource):
        return "'*' is no part of a name"
    if spec != spec.lower():
        return "resources are lower-case plurals"
    if "." in resource:
        return "the API group belongs into group"
    if slash and not (resource and subresource):
        return "a part is missing"
    return ""


def _urls(rule: Rule, path: str) -> Iterator[str]:
    for at, spec in enumerate(rule.non_resource_urls):
        where = f"{path}.nonResourceURLs[{at}]"
        if request_info(spec.rstrip("*").replace("%", "%25").replace("?", "%3F")).is_resource_request:
            yield f"{where}: {spec!r} never matches: such requests are for resources"
        elif "?" in spec:
            yield f"{where}: {spec!r} never matches: the query is no part of the path"


def _evidence(rule: Rule, path: str, policy_stages: tuple[str, ...]) -> Iterator[str]:
    if rule.level == "None":
        if _is_catch_all(rule):
            yield f"{path}: drops every request that reaches it, failed authentications among them"
        return
    for stage in rule.omit_stages:
        if stage not in LOST or stage in policy_stages or (stage == "ResponseStarted" and (rule.users or rule.user_groups)):
            continue
        yield f"{path}.omitStages: without {stage} the rule loses {LOST[stage]}"


def _unreachable(rules: tuple[Rule, ...], group_wildcard: bool) -> Iterator[str]:
    for index, rule in enumerate(rules[:MOST_COMPARED]):
        for before in range(index):
            if _covers(rules[before], rule, group_wildcard):
                yield f"rules[{index}]: never decides: rules[{before}] matches all that it matches, and comes first"
                break


def _covers(first: Rule, later: Rule, group_wildcard: bool) -> bool:
    """Whether the first rule matches every request that the later one matches; False where that is not plain."""
    pairs = ((first.users, later.users), (first.user_groups, later.user_groups), (first.verbs, later.verbs))
    if not all(_admits(wide, narrow) for wide, narrow in pairs):
        return False
    if first.wants_resource:
        return (
            later.wants_resource
            and _admits(first.namespaces, later.namespaces)
            and (not first.resources or _all_covered(first.resources, later.resources, group_wildcard))
        )
    if first.non_resource_urls:
        urls = later.non_resource_urls
        return not later.wants_resource and bool(urls) and all(_any_path_covers(first.non_resource_urls, url) for url in urls)
    return True


def _admits(wide: tuple[str, ...], narrow: tuple[str, ...]) -> bool:
    return not wide or (bool(narrow) and set(wide).issuperset(narrow))


def _all_covered(wide: tuple[GroupResources, ...], narrow: tuple[GroupResources, ...], group_wildcard: bool) -> bool:
    return bool(narrow) and all(_any_covers(wide, entry, group_wildcard) for entry in narrow)


def _any_covers(entries: tuple[GroupResources, ...], narrow: GroupResources, group_wildcard: bool) -> bool:
    for wide in entries:
        if wide.group != narrow.group and not (group_wildcard and wide.group == "*"):
            continue
        if not wide.resources:
            return True
        resources = "*" in wide.resources or (narrow.resources and set(wide.resources).issuperset(narrow.resources))
        if resources and _admits(wide.resource_names, narrow.resource_names):
            return True
    return False


def _any_path_covers(specs: tuple[str, ...], url: str) -> bool:
    return any(spec in ("*", url) or (spec.endswith("*") and url.startswith(spec.rstrip("*"))) for spec in specs)
