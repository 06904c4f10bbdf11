"""Matching as kube-apiserver's own checker: kubernetes/apiserver 24a394e516bf, `pkg/audit/policy/checker.go` and its tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transforms.audit.event import LEVELS, STAGES, Event
from transforms.audit.policy import Decision, Policy, apply_policy, load_policy
from transforms.audit.policy_rule import GroupResources, Rule

CASES = json.loads((Path(__file__).parent / "policy_cases.json").read_text())


def policy_of(rules: list[dict[str, Any]], **fields: Any) -> Policy:
    return load_policy(json.dumps({"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": rules, **fields}).encode())


def unvalidated_rule(rule: dict[str, Any]) -> Rule:
    entries = [
        GroupResources(entry.get("group", ""), tuple(entry.get("resources", [])), tuple(entry.get("resourceNames", [])))
        for entry in rule.get("resources", [])
    ]
    return Rule(
        level=rule["level"],
        users=tuple(rule.get("users", [])),
        user_groups=tuple(rule.get("userGroups", [])),
        verbs=tuple(rule.get("verbs", [])),
        resources=tuple(entries),
        namespaces=tuple(rule.get("namespaces", [])),
        non_resource_urls=tuple(rule.get("nonResourceURLs", [])),
        omit_stages=tuple(rule.get("omitStages", [])),
        omit_managed_fields=rule.get("omitManagedFields"),
    )


def uri_of(attributes: dict[str, Any]) -> str:
    """The request that has these attributes."""
    if not attributes["resourceRequest"]:
        return quote(attributes["path"])
    segments = ["apis", attributes["apiGroup"]] if attributes["apiGroup"] else ["api"]
    segments.append(attributes["apiVersion"])
    name, resource = attributes["name"], attributes["resource"]
    if attributes["namespace"] and resource != "namespaces":
        segments += ["namespaces", attributes["namespace"]]
    segments.append(resource)
    selects = attributes["verb"] in ("list", "watch")
    if name and not selects:
        segments.append(name)
        if attributes["subresource"]:
            segments.append(attributes["subresource"])
    return (
        "/"
        + "/".join(quote(segment, safe="") for segment in segments)
        + (f"?fieldSelector=metadata.name%3D{quote(name)}" if name and selects else "")
    )


def event_of(attributes: dict[str, Any], **fields: Any) -> Event:
    """The event that the server records of a request (`pkg/audit/request.go`, LogRequestMetadata)."""
    user = attributes["user"]
    reference = {
        key: attributes[key] for key in ("resource", "namespace", "name", "apiGroup", "apiVersion", "subresource") if attributes[key]
    }
    record = {
        "level": "RequestResponse",
        "stage": "ResponseComplete",
        "requestURI": uri_of(attributes),
        "verb": attributes["verb"],
        "user": {"username": user["name"], "groups": user.get("groups", [])} if user else {},
        **({"objectRef": reference} if attributes["resourceRequest"] else {}),
        **fields,
    }
    return msgspec.json.decode(json.dumps(record), type=Event)


def ask(policy: Policy, attributes: dict[str, Any]) -> list[Any]:
    decision = policy.decide(event_of(attributes))
    return [decision.level, sorted(decision.omit_stages), decision.omit_managed_fields]


@pytest.mark.parametrize("case", CASES["upstream"], ids=lambda case: f"{case['attributes']}: {', '.join(case['rules'])}")
def test_upstreams_cases_decide_as_upstream(case: dict[str, Any]) -> None:
    policy = policy_of([CASES["rules"][name] for name in case["rules"]], omitStages=case["policyOmitStages"])
    assert ask(policy, CASES["attributes"][case["attributes"]]) == [case["expectLevel"], sorted(case["expectOmitStages"]), False]


@pytest.mark.parametrize("case", CASES["upstream"], ids=lambda case: f"{case['attributes']}: {', '.join(case['rules'])}")
def test_upstreams_cases_decide_the_same_with_the_fixtures_own_paths(case: dict[str, Any]) -> None:
    attributes = CASES["attributes"][case["attributes"]]
    policy = policy_of([CASES["rules"][name] for name in case["rules"]], omitStages=case["policyOmitStages"])
    decision = policy.decide(event_of(attributes, requestURI=attributes["path"]))
    assert [decision.level, sorted(decision.omit_stages)] == [case["expectLevel"], sorted(case["expectOmitStages"])]


@pytest.mark.parametrize("case", CASES["derived"], ids=lambda case: case["desc"])
def test_surprises_of_the_checker_are_ours_too(case: dict[str, Any]) -> None:
    written = case["policy"]
    rules = tuple(unvalidated_rule(rule) for rule in written["rules"])  # some of them the validation refuses
    omit_stages, omit_managed_fields = tuple(written.get("omitStages", [])), written.get("omitManagedFields", False)
    policy = Policy(rules, omit_stages=omit_stages, omit_managed_fields=omit_managed_fields)
    level, stages, omits = case["expect"]
    assert ask(policy, case["attributes"]) == [level, sorted(stages), omits]


def test_all_upstream_cases_are_here() -> None:
    assert (len(CASES["upstream"]), len(CASES["derived"])) == (104, 42)


BASE = CASES["attributes"]["namespaced"]
CREATE = BASE | {"verb": "create", "name": ""}


def test_a_group_wildcard_is_a_letter_before_1_36() -> None:
    body = b"apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Metadata, resources: [{group: '*'}]}]"
    assert load_policy(body).decide(event_of(BASE)).rule == 0
    assert load_policy(body, group_wildcard=False).decide(event_of(BASE)).rule is None


def test_the_authenticated_user_is_matched_never_the_impersonated_one() -> None:
    policy = policy_of([{"level": "None", "users": ["noisy"]}, {"level": "Metadata"}])
    assert policy.decide(event_of(BASE, impersonatedUser={"username": "noisy"})).rule == 1
    assert policy.decide(event_of(BASE, user={"username": "noisy"}, impersonatedUser={"username": "tim"})).rule == 0


def test_a_namespace_that_the_body_claims_is_not_believed() -> None:
    policy = policy_of([{"level": "None", "namespaces": ["noisy"]}, {"level": "Metadata"}])
    binding = {"resource": "clusterrolebindings", "apiGroup": "rbac.authorization.k8s.io", "apiVersion": "v1"}
    uri = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings"
    event = event_of(CREATE, requestURI=uri, objectRef=binding | {"namespace": "noisy", "name": "evil"})
    assert policy.decide(event).rule == 1


def test_a_name_that_the_body_claims_is_not_believed() -> None:
    policy = policy_of([{"level": "None", "resources": [{"resources": ["pods"], "resourceNames": ["noisy"]}]}, {"level": "Metadata"}])
    assert policy.decide(event_of(CREATE, objectRef={"resource": "pods", "namespace": "default", "name": "noisy"})).rule == 1


def test_a_resource_filled_in_later_is_not_believed() -> None:
    policy = policy_of([{"level": "None", "resources": [{"resources": ["pods"]}]}, {"level": "Metadata"}])
    assert policy.decide(event_of(CREATE, requestURI="/api/v1//", objectRef={"resource": "pods"})).rule == 0
    assert policy.decide(event_of(CREATE, requestURI="/api/v1//pods", objectRef={"resource": "pods"})).rule == 1


def test_an_event_that_lost_its_object_reference_is_judged_by_its_uri() -> None:
    policy = policy_of([{"level": "None", "resources": [{"resources": ["pods/log"]}]}, {"level": "Metadata"}])
    assert policy.decide(event_of(BASE, requestURI="/api/v1/namespaces/a/pods/b/log", objectRef=None)).rule == 0


def test_an_event_without_uri_is_judged_by_its_object_reference() -> None:
    policy = policy_of([{"level": "None", "namespaces": ["a"], "resources": [{"group": "apps", "resources": ["deployments"]}]}])
    event = event_of(BASE, objectRef={"resource": "deployments", "apiGroup": "apps", "namespace": "a"})
    event.requestURI = msgspec.UNSET
    assert policy.decide(event).rule == 0


def test_the_spelling_of_the_object_reference_does_not_matter() -> None:
    policy = policy_of([{"level": "None", "resources": [{"group": "apps", "resources": ["deployments/scale"]}]}])
    uri = "/apis/apps/v1/namespaces/a/deployments/b/scale"
    for reference in (
        '{"resource":"deployments","namespace":"a","name":"b","apiGroup":"apps","apiVersion":"v1","subresource":"scale"}',
        '{ "apiGroup" : "apps", "subresource": "scale", "resource": "deploy\\u006dents" }',
    ):
        event = event_of(BASE, requestURI=uri)
        event.objectRef = msgspec.Raw(reference.encode())
        assert policy.decide(event).rule == 0
        event.objectRef = msgspec.Raw(reference.replace("scale", "status").encode())
        assert policy.decide(event).rule is None


def test_a_name_selected_by_field_counts_only_for_its_own_request() -> None:
    policy = policy_of([{"level": "None", "resources": [{"resources": ["pods"], "resourceNames": ["a"]}]}, {"level": "Metadata"}])
    listing = BASE | {"verb": "list", "name": ""}
    uri = "/api/v1/namespaces/default/pods"
    rules = [
        policy.decide(event_of(listing, requestURI=uri + query)).rule for query in ("", "?fieldSelector=metadata.name=a", "?limit=500", "")
    ]
    assert rules == [1, 0, 1, 1]


def test_hidden_groups_keep_the_event() -> None:
    policy = policy_of([{"level": "None", "verbs": ["get"], "userGroups": ["humans"]}, {"level": "Metadata"}])
    event = event_of(BASE, user={"username": "tim"})
    event.flags = ["GROUPS_UNKNOWN"]
    decision = apply_policy(policy, event)
    assert decision == Decision(None, "RequestResponse", frozenset(), False, undecidable=True)
    assert decision.drops("ResponseComplete") is None
    assert event.flags == ["GROUPS_UNKNOWN", "POLICY_UNDECIDABLE"]


@pytest.mark.parametrize(
    ("changes", "rule"),
    [({"verb": "update"}, 1), ({"user": {"username": "tim", "groups": ["humans"]}}, 0)],
)
def test_hidden_groups_matter_only_where_they_decide(changes: dict[str, Any], rule: int) -> None:
    policy = policy_of([{"level": "None", "verbs": ["get"], "userGroups": ["humans"]}, {"level": "Metadata"}])
    event = event_of(BASE, **changes)
    event.flags = ["GROUPS_UNKNOWN"]
    decision = policy.decide(event)
    assert (decision.rule, decision.undecidable) == (rule, False)


def test_hidden_groups_do_not_leak_into_events_that_show_theirs() -> None:
    policy = policy_of([{"level": "None", "userGroups": ["humans"]}, {"level": "Metadata"}])
    hidden, shown = event_of(BASE, user={"username": "tim"}), event_of(BASE, user={"username": "tim"})
    hidden.flags = ["GROUPS_UNKNOWN"]
    assert [policy.decide(event).undecidable for event in (hidden, shown, hidden)] == [True, False, True]


def test_a_lost_query_keeps_the_list_that_a_name_would_decide() -> None:
    policy = policy_of([{"level": "None", "resources": [{"resources": ["pods"], "resourceNames": ["a"]}]}, {"level": "Metadata"}])
    listing = BASE | {"verb": "list", "name": ""}
    for attributes, undecidable in ((listing, True), (BASE, False), (listing | {"resource": "secrets"}, False)):
        event = event_of(attributes)
        event.flags = ["QUERY_UNKNOWN"]
        assert policy.decide(event).undecidable is undecidable
    assert not policy.decide(event_of(listing)).undecidable


@pytest.mark.parametrize(("path", "rule"), [("/api/v1/namespaces/default/pods/" + "a" * 2000, 1), ("/" + "a" * 2000, 0)])
def test_what_a_client_writes_at_length_is_not_remembered(path: str, rule: int) -> None:
    policy = policy_of([{"level": "Metadata", "nonResourceURLs": ["/a*"]}, {"level": "Request", "namespaces": ["default"]}])
    event = event_of(BASE, requestURI=path, objectRef=None, user={"username": "a" * 5000})
    assert policy.decide(event).rule == rule
    assert policy._paths == {}
    assert policy._users == {}


@pytest.mark.parametrize("user", ["null", "{}", '{"username":""}', '{"username":"","groups":null}', '{"groups":[]}'])
def test_a_user_without_anything_is_a_failed_authentication(user: str) -> None:
    policy = policy_of([{"level": "None", "userGroups": [""]}, {"level": "None", "users": [""]}, {"level": "Metadata"}])
    event = event_of(BASE)
    event.user = msgspec.Raw(user.encode())
    assert policy.decide(event).rule == 2


def test_a_user_that_cannot_be_read_may_be_anybody() -> None:
    policy = policy_of([{"level": "None", "users": ["a"]}, {"level": "Metadata"}])
    assert policy.decide(event_of(BASE, user=["a"])).undecidable


# --- The checker, transliterated line by line, against the compiled policy. ---


def rule_matches(rule: dict[str, Any], attrs: dict[str, Any]) -> bool:
    user = attrs["user"]
    if len(rule.get("users", [])) > 0 and (user is None or user["name"] not in rule["users"]):
        return False
    if len(rule.get("userGroups", [])) > 0:
        if user is None:
            return False
        matched = False
        for group in user["groups"]:
            if group in rule["userGroups"]:
                matched = True
                break
        if not matched:
            return False
    if len(rule.get("verbs", [])) > 0 and attrs["verb"] not in rule["verbs"]:
        return False
    if len(rule.get("namespaces", [])) > 0 or len(rule.get("resources", [])) > 0:
        return rule_matches_resource(rule, attrs)
    if len(rule.get("nonResourceURLs", [])) > 0:
        return rule_matches_non_resource(rule, attrs)
    return True


def rule_matches_non_resource(rule: dict[str, Any], attrs: dict[str, Any]) -> bool:
    if attrs["resourceRequest"]:
        return False
    return any(path_matches(attrs["path"], spec) for spec in rule["nonResourceURLs"])


def path_matches(path: str, spec: str) -> bool:
    if spec == "*":
        return True
    if spec == path:
        return True
    return spec.endswith("*") and path.startswith(spec.rstrip("*"))


def rule_matches_resource(rule: dict[str, Any], attrs: dict[str, Any]) -> bool:
    if not attrs["resourceRequest"]:
        return False
    if len(rule.get("namespaces", [])) > 0 and attrs["namespace"] not in rule["namespaces"]:
        return False
    if len(rule.get("resources", [])) == 0:
        return True
    resource, subresource = attrs["resource"], attrs["subresource"]
    combined = resource
    if subresource != "":
        combined = resource + "/" + subresource
    for group_resources in rule["resources"]:
        if group_resources.get("group", "") == attrs["apiGroup"] or group_resources.get("group", "") == "*":
            if len(group_resources.get("resources", [])) == 0:
                return True
            for res in group_resources["resources"]:
                names = group_resources.get("resourceNames", [])
                if len(names) == 0 or attrs["name"] in names:
                    if res in (combined, "*"):
                        return True
                    if len(subresource) > 0 and res.startswith("*/") and subresource == res.removeprefix("*/"):
                        return True
                    if res.endswith("/*") and resource == res.removesuffix("/*"):
                        return True
    return False


def some(*values: str) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(values), max_size=3)


NAMED = st.fixed_dictionaries(
    {},
    optional={
        "group": st.sampled_from(["", "apps", "*", "batch"]),
        "resources": some(
            "*", "*/*", "pods", "pods/*", "pods/log", "*/log", "*/scale", "deployments", "deployments/scale", "namespaces", "po*"
        ),
        "resourceNames": some("a", "b", ""),
    },
).filter(lambda entry: not entry.get("resourceNames") or entry.get("resources"))
WHO = {"users": some("tim", "ann", ""), "userGroups": some("g", "h", ""), "verbs": some("get", "list", "create", "watch", "*")}
EFFECT = {"omitStages": some(*STAGES), "omitManagedFields": st.none() | st.booleans()}
FOR_RESOURCES = {"resources": st.lists(NAMED, max_size=3), "namespaces": some("", "default", "kube-system", "*")}
FOR_PATHS = {"nonResourceURLs": some("*", "/*", "/healthz", "/healthz*", "/api*", "/apis/apps/v1", "/version/", "/caf\u00e9*")}
LEVEL = {"level": st.sampled_from(LEVELS)}
RULES = st.lists(
    st.fixed_dictionaries(LEVEL, optional=WHO | EFFECT | FOR_RESOURCES) | st.fixed_dictionaries(LEVEL, optional=WHO | EFFECT | FOR_PATHS),
    min_size=1,
    max_size=6,
)
USERS = st.none() | st.fixed_dictionaries({"name": st.sampled_from(["tim", "ann", "bob"]), "groups": some("g", "h", "i")})
PATHS = st.sampled_from(
    ["/", "/healthz", "/healthz/etcd", "/healthzx", "/api", "/apis/apps/v1", "/version/", "/version", "/café/x", "/a?b", "*"]
)
NOTHING = {"namespace": "", "apiGroup": "", "apiVersion": "", "resource": "", "subresource": "", "name": ""}


@st.composite
def requests(draw: st.DrawFn) -> dict[str, Any]:
    user = draw(USERS)
    if draw(st.booleans()):
        return NOTHING | {"user": user, "verb": draw(st.sampled_from(["get", "post", "*"])), "resourceRequest": False, "path": draw(PATHS)}
    group, resource, subresource = draw(
        st.sampled_from(
            [("", "pods", ""), ("", "pods", "log"), ("apps", "deployments", ""), ("apps", "deployments", "scale"), ("", "namespaces", "")]
        )
    )
    verb = draw(st.sampled_from(["list", "watch", "create"] if not subresource else ["get", "create"]))
    name = draw(st.sampled_from(["a", "b", "c", "d e"])) if subresource or verb != "create" else ""
    namespace = draw(st.sampled_from(["", "default", "kube-system", "x%y"]))
    if resource == "namespaces":
        namespace = "" if verb != "get" else name
    target = {"apiGroup": group, "apiVersion": "v1", "resource": resource, "subresource": subresource}
    return target | {
        "user": user,
        "verb": verb,
        "name": name if "%" not in name else "",
        "namespace": namespace,
        "resourceRequest": True,
        "path": "",
    }


@settings(max_examples=400, deadline=None)
@given(RULES, some(*STAGES), st.booleans(), st.lists(requests(), min_size=1, max_size=8))
def test_a_compiled_policy_decides_as_the_checker(
    rules: list[dict[str, Any]], omit_stages: list[str], omit_managed_fields: bool, asked: list[dict[str, Any]]
) -> None:
    policy = policy_of(rules, omitStages=omit_stages, omitManagedFields=omit_managed_fields)
    for attributes in asked:
        expected = Decision(None, "None", frozenset(omit_stages), omit_managed_fields)
        for index, rule in enumerate(rules):
            if rule_matches(rule, attributes):
                omits = rule.get("omitManagedFields")
                stages = frozenset(omit_stages) | frozenset(rule.get("omitStages", []))
                expected = Decision(index, rule["level"], stages, omit_managed_fields if omits is None else omits)
                break
        assert policy.decide(event_of(attributes)) == expected
        assert policy.decide(event_of(attributes)) == expected  # from memory
