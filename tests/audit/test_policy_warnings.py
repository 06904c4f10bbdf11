"""What a policy says but hardly means."""

from __future__ import annotations

import pytest

from transforms.audit.policy import load_policy

HEAD = "apiVersion: audit.k8s.io/v1\nkind: Policy\n"
NEVER = "never matches"
STAR = "is compared letter by letter and matches nothing; leave the field out to match all"
COVERED = "never decides: rules[0] matches all that it matches, and comes first"


def warnings_of(text: str, *, group_wildcard: bool = True) -> list[str]:
    return load_policy((HEAD + text).encode(), group_wildcard=group_wildcard).warnings


@pytest.mark.parametrize(
    ("rule", "warning"),
    [
        ("verbs: ['*']", f"verbs[0]: '*' {STAR}"),
        ("userGroups: ['a:*']", f"userGroups[0]: 'a:*' {STAR}"),
        ("users: [a, '*']", f"users[1]: '*' {STAR}"),
        ("namespaces: ['a*']", f"namespaces[0]: 'a*' {STAR}"),
        ("verbs: [GET]", f"verbs[0]: 'GET' {NEVER}: verbs are lower case"),
        ("verbs: [post], namespaces: [a]", f"verbs[0]: 'post' {NEVER} a resource: for Kubernetes it is 'create'"),
        ("verbs: [read], namespaces: [a]", f"verbs[0]: 'read' {NEVER}: it is no verb of a request for resources"),
        ("resources: [{group: core}]", "resources[0].group: 'core' is no API group; the core group is ''"),
        ("resources: [{group: v1}]", "resources[0].group: 'v1' is no API group; the core group is ''"),
        ("resources: [{resources: ['po*']}]", f"resources[0].resources[0]: 'po*' {NEVER}: '*' is no part of a name"),
        ("resources: [{resources: ['pods/*x']}]", f"resources[0].resources[0]: 'pods/*x' {NEVER}: '*' is no part of a name"),
        (
            "resources: [{resources: ['*', 'pods/*', '*/scale', '*/*']}]",
            f"resources[0].resources[3]: '*/*' {NEVER}: '*' alone means all resources and their subresources",
        ),
        ("resources: [{resources: [Pods]}]", f"resources[0].resources[0]: 'Pods' {NEVER}: resources are lower-case plurals"),
        ("resources: [{resources: [jobs.batch]}]", f"resources[0].resources[0]: 'jobs.batch' {NEVER}: the API group belongs into group"),
        ("resources: [{resources: [pods/]}]", f"resources[0].resources[0]: 'pods/' {NEVER}: a part is missing"),
        (
            "verbs: [create], resources: [{resources: [pods], resourceNames: [a]}]",
            "resources[0].resourceNames: never match: create requests have no name in their URL",
        ),
        ("nonResourceURLs: ['/api/v1/p*', '/api*']", f"nonResourceURLs[0]: '/api/v1/p*' {NEVER}: such requests are for resources"),
        ("nonResourceURLs: ['/a?b']", f"nonResourceURLs[0]: '/a?b' {NEVER}: the query is no part of the path"),
        ("users: [a], verbs: []", "verbs: empty, so it admits everything"),
        (
            "users: [a], omitStages: [RequestReceived, Panic]",
            "omitStages: without Panic the rule loses requests that ended in a panic of the server",
        ),
        (
            "verbs: [get], omitStages: [ResponseStarted]",
            "omitStages: without ResponseStarted the rule loses every failed authentication (401), which has no other stage",
        ),
    ],
)
def test_a_rule_that_can_hardly_be_meant_is_warned_of(rule: str, warning: str) -> None:
    assert warnings_of(f"rules: [{{level: Metadata, {rule}}}, {{level: Metadata}}]") == [f"rules[0].{warning}"]


def test_a_rule_for_users_loses_no_failed_authentication() -> None:
    assert warnings_of("rules: [{level: Metadata, users: [a], omitStages: [ResponseStarted]}, {level: Metadata}]") == []


def test_what_comes_after_a_catch_all_is_warned_of() -> None:
    assert warnings_of("rules: [{level: None}, {level: Metadata, users: [a]}]") == [
        "rules[0]: drops every request that reaches it, failed authentications among them",
        f"rules[1]: {COVERED}",
    ]


@pytest.mark.parametrize(
    ("first", "later", "covered"),
    [
        ("verbs: [get, list]", "verbs: [get], users: [a]", True),
        ("verbs: [get]", "verbs: [get, list]", False),
        ("verbs: [get]", "users: [a]", False),
        ("namespaces: [a, b]", "namespaces: [a], resources: [{}]", True),
        ("namespaces: [a]", "nonResourceURLs: [/a]", False),
        ("namespaces: [a]", "verbs: [get]", False),
        ("resources: [{}]", "resources: [{resources: [pods]}]", True),
        ("resources: [{}]", "resources: [{}, {group: apps}]", False),
        ("resources: [{}]", "namespaces: [a]", False),
        ("resources: [{group: '*'}]", "resources: [{group: apps}]", True),
        ("resources: [{resources: ['*']}]", "resources: [{resources: [a, b]}]", True),
        ("resources: [{resources: [a], resourceNames: [x]}]", "resources: [{resources: [a]}]", False),
        ("resources: [{resources: [a]}]", "resources: [{resources: [a], resourceNames: [x]}]", True),
        ("nonResourceURLs: ['/a*']", "nonResourceURLs: [/a, '/ab*']", True),
        ("nonResourceURLs: [/a]", "nonResourceURLs: ['/a*']", False),
    ],
)
def test_a_rule_that_an_earlier_one_covers_is_warned_of(first: str, later: str, covered: bool) -> None:
    warnings = warnings_of(f"rules: [{{level: Request, {first}}}, {{level: Request, {later}}}, {{level: Metadata}}]")
    assert (f"rules[1]: {COVERED}" in warnings) is covered


def test_what_a_policy_loses_as_a_whole_is_warned_of() -> None:
    assert warnings_of("omitStages: [ResponseStarted, Panic, RequestReceived]\nrules: [{level: None, users: [a]}]") == [
        "omitStages: without ResponseStarted the policy loses every failed authentication (401), which has no other stage",
        "omitStages: without Panic the policy loses requests that ended in a panic of the server",
        "rules: none matches every request; a request that matches no rule is dropped",
        "rules: all have level None; the policy keeps nothing",
    ]


def test_a_group_wildcard_warns_only_clusters_that_do_not_know_it() -> None:
    text = (
        "rules: [{level: Metadata, resources: [{group: '*'}, {group: a}]}, {level: Metadata, resources: [{group: b}]}, {level: Metadata}]"
    )
    assert warnings_of(text) == [f"rules[1]: {COVERED}"]
    assert warnings_of(text, group_wildcard=False) == ["rules[0].resources[0].group: '*' matches nothing before Kubernetes 1.36"]
