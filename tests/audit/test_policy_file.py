"""Which policies are taken: kubernetes/apiserver 24a394e516bf, `pkg/audit/policy/reader.go` and `pkg/apis/audit/validation`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import transforms.audit
from transforms.audit.policy import PolicyError, load_policy
from transforms.audit.policy_file import read_policy
from transforms.audit.policy_rule import GroupResources, Rule

HEAD = "apiVersion: audit.k8s.io/v1\nkind: Policy\n"
POLICIES = Path(transforms.audit.__file__).parent / "policies"


def problems_of(text: str, *, lenient: bool = False) -> list[str]:
    with pytest.raises(PolicyError) as refused:
        load_policy(text.encode(), lenient=lenient)
    return refused.value.problems


def with_rule(rule: dict[str, Any]) -> str:
    return json.dumps({"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": [rule]})


def test_a_policy_reads_as_upstream_reads_it() -> None:
    text = HEAD + (
        "rules:\n"
        "  - level: None\n    nonResourceURLs:\n      - /healthz*\n      - /version\n"
        "  - level: RequestResponse\n    users: [tim]\n    userGroups: [testers, developers]\n    verbs: [patch, delete, create]\n"
        '    resources:\n      - group: ""\n'
        '      - group: "rbac.authorization.k8s.io"\n        resources: [clusterroles, clusterrolebindings]\n'
        "    namespaces: [default, kube-system]\n"
        "  - level: Metadata\n"
    )
    assert read_policy(text.encode()).rules == (
        Rule("None", non_resource_urls=("/healthz*", "/version")),
        Rule(
            "RequestResponse",
            users=("tim",),
            user_groups=("testers", "developers"),
            verbs=("patch", "delete", "create"),
            resources=(GroupResources(), GroupResources("rbac.authorization.k8s.io", ("clusterroles", "clusterrolebindings"))),
            namespaces=("default", "kube-system"),
        ),
        Rule("Metadata"),
    )


@pytest.mark.parametrize(
    "rule",
    [
        {"level": "Metadata"},
        {"level": "None", "userGroups": ["system:serviceaccounts", "system:nodes"]},
        {
            "level": "RequestResponse",
            "verbs": ["get"],
            "resources": [{"group": "rbac.authorization.k8s.io", "resources": ["roles", "rolebindings"]}],
            "namespaces": ["kube-system"],
        },
        {"level": "Metadata", "userGroups": ["developers"], "nonResourceURLs": ["/logs*", "/healthz*", "/metrics", "*"]},
        {"level": "Metadata", "omitStages": ["RequestReceived"]},
        {"level": "Metadata", "resources": [{"group": "*"}], "omitManagedFields": None},
    ],
)
def test_upstreams_valid_rules_are_valid(rule: dict[str, Any]) -> None:
    assert len(load_policy(with_rule(rule).encode()).rules) == 1


SECRETS = {"resources": ["secrets"]}
LEVELS = "None, Metadata, Request, RequestResponse"
STAGES = "RequestReceived, ResponseStarted, ResponseComplete, Panic"
NO_GROUP = "must be empty, '*' or a lower-case DNS subdomain"
BOTH = "a rule cannot apply to both resources or namespaces and non-resource URLs"


@pytest.mark.parametrize(
    ("rule", "problem"),
    [
        ({}, f"level: required, one of {LEVELS}"),
        ({"verbs": ["get"], "resources": [SECRETS]}, f"level: required, one of {LEVELS}"),
        ({"level": ""}, f"level: required, one of {LEVELS}"),
        ({"level": "FooBar"}, f"level: 'FooBar' is not one of {LEVELS}"),
        ({"level": "metadata"}, f"level: 'metadata' is not one of {LEVELS}, did you mean Metadata?"),
        ({"level": "Metadata", "namespaces": ["default"], "nonResourceURLs": ["/logs*"]}, f"nonResourceURLs: {BOTH}"),
        ({"level": "Metadata", "resources": [SECRETS], "nonResourceURLs": ["/logs*"]}, f"nonResourceURLs: {BOTH}"),
        (
            {"level": "Metadata", "resources": [SECRETS, {"group": "batch/v1beta1"}]},
            f"resources[1].group: 'batch/v1beta1' {NO_GROUP}; the version does not belong here: batch",
        ),
        (
            {"level": "Metadata", "resources": [{"group": "*.k8s.io"}]},
            f"resources[0].group: '*.k8s.io' {NO_GROUP}",
        ),
        ({"level": "Metadata", "nonResourceURLs": ["logs", "/healthz*"]}, "nonResourceURLs[0]: 'logs' must begin with '/', or be '*'"),
        ({"level": "Metadata", "nonResourceURLs": ["", "/healthz*"]}, "nonResourceURLs[0]: '' must begin with '/', or be '*'"),
        (
            {"level": "Metadata", "nonResourceURLs": ["/metrics", "/logs/*/*"]},
            "nonResourceURLs[1]: in '/logs/*/*', '*' must be the last character, and the only one",
        ),
        (
            {"level": "Metadata", "nonResourceURLs": ["/l/*.log"]},
            "nonResourceURLs[0]: in '/l/*.log', '*' must be the last character, and the only one",
        ),
        (
            {"level": "Metadata", "resources": [{"resourceNames": ["leader"]}]},
            "resources[0].resourceNames: needs at least one entry in resources",
        ),
        ({"level": "Metadata", "omitStages": ["foo"]}, f"omitStages[0]: 'foo' is not one of {STAGES}"),
        ({"level": "Metadata", "verbs": "get"}, "verbs: expected a list, found 'get'"),
        ({"level": "Metadata", "users": ["a", 80]}, "users[1]: expected a string, found the number 80; quote it"),
        ({"level": "Metadata", "users": [["a"]]}, "users[0]: expected a string, found a list"),
        ({"level": "Metadata", "resources": ["pods"]}, "resources[0]: expected a mapping, found 'pods'"),
        ({"level": "Metadata", "omitManagedFields": "true"}, "omitManagedFields: expected true or false, found 'true'"),
        ({"level": "Metadata", "verb": ["get"]}, "verb: unknown field, did you mean verbs?"),
        ({"level": "Metadata", "nonResourceUrls": ["/a"]}, "nonResourceUrls: unknown field, did you mean nonResourceURLs?"),
        ({"level": "Metadata", "zzz": 1}, "zzz: unknown field"),
        (
            {"level": "Metadata", "resources": [{"group": "", "resource": ["pods"]}]},
            "resources[0].resource: unknown field, did you mean resources?",
        ),
    ],
)
def test_what_upstream_refuses_is_refused_with_its_path(rule: dict[str, Any], problem: str) -> None:
    assert problems_of(with_rule(rule)) == [f"rules[0].{problem}"]


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("", ["holds no document"]),
        ("null", ["holds no document"]),
        ("- a", ["expected a Policy, found a list"]),
        ("rules: [{level: None}]\nkind: Policy", ["apiVersion: must be audit.k8s.io/v1"]),
        ("apiVersion: audit.k8s.io/v1alpha1\nrules: [{level: None}]", ["apiVersion: must be audit.k8s.io/v1, not 'audit.k8s.io/v1alpha1'"]),
        ("apiVersion: audit.k8s.io/v1\nkind: Event\nrules: [{level: None}]", ["kind: must be Policy, not 'Event'"]),
        (HEAD, ["rules: at least one rule is required"]),
        (HEAD + "rules: []", ["rules: at least one rule is required"]),
        (HEAD + "rules: {}", ["rules: expected a list, found a mapping"]),
        (HEAD + "rules: [null]", [f"rules[0].level: required, one of {LEVELS}"]),
        (HEAD + "rules: [{level: None}]\nomitStages: [panic]", [f"omitStages[0]: 'panic' is not one of {STAGES}, did you mean Panic?"]),
        (HEAD + "rules: [{level: None}]\nmetadata: {nam: x}", ["metadata.nam: unknown field, did you mean name?"]),
        (
            HEAD + "rules: [{level: None}]\nmetadata: {labels: {a: 1}}",
            ["metadata.labels[a]: expected a string, found the number 1; quote it"],
        ),
        (HEAD + "rules: [{level: None, level: Metadata}]", ["rules[0].level: given more than once"]),
        ('{"apiVersion":"audit.k8s.io/v1","rules":[{"level":"None"}],"rules":[{"level":"None"}]}', ["rules: given more than once"]),
        (HEAD + "rules: [{level: None}]\n---\na: 1", ["holds 2 documents, not one"]),
        (HEAD + "rules: [{level: None}", ["line 4, column 1: did not find expected ',' or ']'"]),
        (HEAD + "rules: *x", ["line 3: no anchor 'x' before its alias"]),
        (HEAD + "rules: &x [*x]", ["line 3: no anchor 'x' before its alias"]),
        ("a: !!python/object/apply:os.system [x]", ["line 1: tag tag:yaml.org,2002:python/object/apply:os.system is not supported"]),
        ("[" * 1000, ["line 1: nested more than 32 deep"]),
        ('{"a":' * 100_000, ["nested more than 32 deep"]),
        ("#" * (1 << 20) + "#", ["larger than 1048576 bytes"]),
    ],
)
def test_a_file_that_is_no_policy_is_refused(text: str, problems: list[str]) -> None:
    assert problems_of(text) == problems


def test_all_problems_are_listed_together() -> None:
    text = HEAD + "omitStages: [x]\nrules: [{level: Foo, verb: [a]}, {nonResourceURLs: [b], namespaces: [c]}]"
    assert [problem.partition(":")[0] for problem in problems_of(text)] == [
        "rules[0].verb",
        "rules[0].level",
        "rules[1].level",
        "rules[1].nonResourceURLs[0]",
        "rules[1].nonResourceURLs",
        "omitStages[0]",
    ]


def test_aliases_are_written_out_only_so_far() -> None:
    bomb = "a: &a [x,x,x,x,x,x,x,x,x,x]\n"
    for before, name in zip("abcdefg", "bcdefgh", strict=True):
        bomb += f"{name}: &{name} [{','.join([f'*{before}'] * 10)}]\n"
    assert problems_of(bomb) == ["line 5: more than 100000 nodes"]


def test_anchors_and_merges_read_as_upstream_reads_them() -> None:
    text = (
        HEAD
        + "rules:\n- &x {level: None, verbs: [get]}\n- {level: Metadata, <<: *x}\n- <<: [*x, {level: None, users: [a]}]\n  verbs: [list]\n"
    )
    rules = load_policy(text.encode()).rules
    assert rules == (Rule("None", verbs=("get",)), Rule("Metadata", verbs=("get",)), Rule("None", users=("a",), verbs=("list",)))


@pytest.mark.parametrize("scalar", ["2020-01-01", "12:30", "'1'", '"on"', "!!str 1", "! 1", "tRue", "1e", "_1", "é"])
def test_what_go_reads_as_text_is_text(scalar: str) -> None:
    assert len(load_policy(f"{HEAD}rules: [{{level: None, users: [{scalar}]}}]".encode()).rules[0].users[0]) > 0


@pytest.mark.parametrize("scalar", ["on", "y", "No", "1", "0x1F", "1_000", ".5", "1e3", ".inf", "-0"])
def test_what_go_reads_as_something_else_must_be_quoted(scalar: str) -> None:
    (problem,) = problems_of(f"{HEAD}rules: [{{level: None, users: [{scalar}]}}]")
    assert problem.endswith("; quote it")


def test_null_is_the_empty_string_as_in_go() -> None:
    assert load_policy((HEAD + "rules: [{level: None, namespaces: [null]}]").encode()).rules[0].namespaces == ("",)


def test_leniency_ignores_what_it_does_not_know_and_says_so() -> None:
    text = HEAD + "extra: 1\nrules:\n- level: None\n  level: Metadata\n  resources: [{group: coordination.k8s.io, verbs: [get]}]\n"
    policy = load_policy(text.encode(), lenient=True)
    assert policy.rules == (Rule("Metadata", resources=(GroupResources("coordination.k8s.io"),)),)
    assert policy.warnings[:3] == [
        "extra: unknown field; ignored, which makes the rule broader",
        "rules[0].level: given more than once; the last one counts",
        "rules[0].resources[0].verbs: unknown field; ignored, which makes the rule broader",
    ]
    assert problems_of(HEAD + "rules: [{level: None, verbs: get}]", lenient=True) == ["rules[0].verbs: expected a list, found 'get'"]


def test_the_old_version_that_clouds_publish_is_read() -> None:
    policy = load_policy(b"apiVersion: audit.k8s.io/v1beta1\nrules: [{level: Metadata}]")
    assert policy.warnings == [
        "apiVersion: audit.k8s.io/v1beta1 is read as audit.k8s.io/v1; kube-apiserver refuses it since 1.24",
        "kind: missing, read as Policy",
    ]


def test_ready_policies_are_all_here() -> None:
    assert sorted(path.stem for path in POLICIES.iterdir()) == ["aks-admin", "cks", "cost-saving", "eks", "forensic", "gke"]


@pytest.mark.parametrize("path", sorted(POLICIES.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_ready_policy_loads_without_a_warning_and_says_for_whom_it_is(path: Path) -> None:
    text = path.read_text()
    assert load_policy(text.encode()).warnings == []
    assert text.startswith("# For: ")
    assert "\n# Keeps: " in text
    assert "\n# Loses: " in text


@settings(deadline=None)
@given(st.binary(max_size=200) | st.text(st.sampled_from("{}[]:,-&*!|>'\"# \n\tax<?%"), max_size=80).map(str.encode))
def test_any_bytes_load_or_are_refused(text: bytes) -> None:
    try:
        load_policy(text)
    except PolicyError as refused:
        assert refused.problems  # noqa: PT017
