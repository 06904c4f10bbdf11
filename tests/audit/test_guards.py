"""Reads that are never folded, one line each, beside the ordinary ones that are."""

from __future__ import annotations

from typing import Any

import pytest

from tests.examples import ABSENT, an_event, line
from transforms.audit.aggregate_reads import ReadGuard
from transforms.audit.event import Event, flag
from transforms.audit.guards import BUILT_IN, Guard, GuardsError, load_guards
from transforms.audit.parse_events import _decode

PODS_IN_ALL = {"requestURI": "/api/v1/pods", "objectRef": {"resource": "pods", "apiVersion": "v1"}}
PATH = {"objectRef": ABSENT}


def a_read(**changes: Any) -> Event:
    """alice gets a pod of the shop."""
    fields = {
        "level": "Metadata",
        "verb": "get",
        "requestURI": "/api/v1/namespaces/shop/pods/cart",
        "objectRef": {"resource": "pods", "namespace": "shop", "name": "cart", "apiVersion": "v1"},
        "requestObject": ABSENT,
        "responseObject": ABSENT,
    }
    event = _decode(line(an_event(**{**fields, **changes})))
    event.moment = 1_795_411_164_931_245  # type: ignore[assignment]
    return event


def guard(event: Event, *guards: Guard) -> str | None:
    read, _, name = ReadGuard(guards).classify(event)
    assert read is not None or name == "unknown_word"
    return name


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"verb": "watch"},
        {"verb": "list"},
        {"objectRef__subresource": "status"},
        {"objectRef": {"resource": "deployments", "apiGroup": "apps", "namespace": "shop"}},
        {"objectRef": {"resource": "widgets", "apiGroup": "example.org", "namespace": "shop"}},
        {"verb": "list", **PODS_IN_ALL, "user": {"username": "system:kube-scheduler"}},
        {"verb": "list", **PODS_IN_ALL, "user": {"username": "system:serviceaccount:kube-system:job-controller"}},
        {"verb": "watch", **PODS_IN_ALL},
        {**PATH, "requestURI": "/healthz?verbose"},
        {"responseStatus__code": 299},
        {"annotations": ABSENT},
    ],
    ids=str,
)
def test_ordinary_reads_are_folded(changes: dict[str, Any]):
    assert guard(a_read(**changes)) is None


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"objectRef__resource": "secrets"}, "secrets"),
        ({"objectRef__subresource": "exec"}, "subresource"),
        ({"objectRef__subresource": "log"}, "subresource"),
        ({"objectRef__subresource": "portforward"}, "subresource"),
        ({"objectRef__subresource": "attach"}, "subresource"),
        ({"objectRef__subresource": "proxy"}, "subresource"),
        ({"objectRef__subresource": "something"}, "subresource"),
        ({"responseStatus__code": 404}, "code"),
        ({"responseStatus__code": 101}, "code"),
        ({"responseStatus__code": 300}, "code"),
        ({"responseStatus": ABSENT}, "code"),
        ({"impersonatedUser": {"username": "root"}}, "impersonated"),
        ({"impersonatedUser": {}}, "impersonated"),
        ({"user": {"username": "system:anonymous", "groups": ["system:unauthenticated"]}}, "anonymous"),
        ({"user": {"username": "someone", "groups": ["system:unauthenticated"]}}, "anonymous"),
        ({"user": {}}, "anonymous"),
        ({"objectRef": {"resource": "selfsubjectaccessreviews", "apiGroup": "authorization.k8s.io"}}, "reviews"),
        ({"annotations": {"audit.k8s.io/truncated": "true"}}, "truncated"),
        ({"annotations": {"failed-open.validation.webhook.admission.k8s.io/round_0_index_1": "x"}}, "failed_open"),
        ({"verb": "list", **PODS_IN_ALL}, "cluster_list"),
        ({"verb": "list", **PODS_IN_ALL, "user": {"username": "system:serviceaccount:shop:robot"}}, "cluster_list"),
        ({"verb": "list", **PODS_IN_ALL, "user": {"username": "system:kube-scheduler-not"}}, "cluster_list"),
        ({"objectRef__resource": "gadgets"}, "unknown_word"),
        ({"objectRef__resource": "Pods"}, "unknown_word"),
        ({"objectRef": {"resource": "w i", "apiGroup": "example.org", "namespace": "shop"}}, "unknown_word"),
        ({"objectRef": {"resource": 7}}, "unknown_word"),
        ({"responseStatus": {"code": "200"}}, "unknown_word"),
        ({"annotations": []}, "unknown_word"),
        ({"stage": "Panic"}, "panic"),
        ({**PATH, "requestURI": "/debug/pprof/heap"}, "profiling"),
        ({**PATH, "requestURI": "/logs/kube-apiserver.log"}, "profiling"),
        ({**PATH, "requestURI": "/api/v1/namespaces/shop/pods/cart/exec?command=sh"}, "subresource"),
        ({**PATH, "verb": "list", "requestURI": "/api/v1/pods"}, "cluster_list"),
        ({**PATH, "requestURI": "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"}, "reviews"),
    ],
    ids=str,
)
def test_each_guard_protects_what_it_is_for(changes: dict[str, Any], expected: str):
    assert guard(a_read(**changes)) == expected
    assert expected in BUILT_IN


def test_what_the_objectref_would_say_is_told_from_the_uri_where_a_shipper_lost_it():
    uri = "/apis/apps/v1/namespaces/shop/deployments/cart/scale?pretty=1"
    whole = a_read(requestURI=uri, objectRef={"resource": "deployments", "apiGroup": "apps", "namespace": "shop", "subresource": "scale"})
    read, name, guarded = ReadGuard().classify(a_read(requestURI=uri, objectRef=ABSENT))
    assert read is not None
    assert (read.key, name, guarded) == (ReadGuard().classify(whole)[0].key, "cart", None)  # type: ignore[union-attr]


def test_a_read_without_a_believable_time_belongs_to_no_window():
    event = a_read()
    event.moment = None
    assert guard(event) == "odd_time"


def test_a_flagged_read_stays_unless_the_flag_only_tells_of_its_envelope():
    withheld, inferred = a_read(), a_read()
    flag(withheld, "BODY_WITHHELD")
    flag(inferred, "GROUPS_UNKNOWN")
    assert (guard(withheld), guard(inferred)) == ("withheld", None)


@pytest.mark.parametrize(
    "changes", [{"verb": "create"}, {"verb": "delete"}, {"stage": "ResponseStarted"}, {"stage": "RequestReceived"}, {"verb": "GET"}]
)
def test_what_is_no_final_read_has_neither_key_nor_guard(changes: dict[str, Any]):
    assert ReadGuard().classify(a_read(**changes)) == (None, None, None)


def test_every_guard_gives_a_reason():
    assert all(reason.endswith(".") for reason in BUILT_IN.values())


def test_what_is_known_from_one_event_is_not_taken_for_another():
    classify = ReadGuard().classify
    first, second, again = a_read(), a_read(user={"username": "bob"}), a_read()
    (one, _, _), (other, _, _), (same, _, _) = classify(first), classify(second), classify(again)
    assert one is same
    assert (one.username, other.username) == ("alice", "bob")  # type: ignore[union-attr]


# A user's own guards.


def own(**fields: Any) -> Guard:
    return Guard("own", "Because.", **fields)


@pytest.mark.parametrize(
    ("fields", "matches"),
    [
        ({"users": ["alice"]}, True),
        ({"users": ["al*"], "verbs": ["get"]}, True),
        ({"users": ["al*"], "verbs": ["watch"]}, False),
        ({"groups": ["dev*"]}, True),
        ({"groups": ["ops"]}, False),
        ({"resources": ["pods"]}, True),
        ({"resources": ["pods/*"]}, False),
        ({"resources": ["apps/pods"]}, False),
        ({"namespaces": ["shop", "bank"]}, True),
        ({"namespaces": [""]}, False),
        ({"userAgents": ["kubectl/*"]}, True),
        ({"nonResourcePaths": ["/api*"]}, False),
        ({"users": ["bob", "alice"]}, True),
    ],
    ids=str,
)
def test_ones_own_guard_protects_what_matches_all_its_lists(fields: dict[str, Any], matches: bool):
    assert guard(a_read(), own(**fields)) == ("own" if matches else None)


def test_guards_are_loaded_from_yaml():
    text = b"guards:\n- name: payroll\n  reason: Salaries.\n  namespaces: [payroll]\n- {name: bots, reason: Odd., users: ['bot-*']}\n"
    assert load_guards(text) == (Guard("payroll", "Salaries.", namespaces=["payroll"]), Guard("bots", "Odd.", users=["bot-*"]))


def test_all_that_is_wrong_with_a_guards_file_is_said_at_once():
    entries = (
        "{name: secrets, reason: x, users: [a]}",
        "{name: none, reason: x}",
        "{reason: x, users: [a]}",
        "{name: typo, reason: x, user: [a]}",
    )
    text = "guards:\n" + "".join(f"- {entry}\n" for entry in entries)
    with pytest.raises(GuardsError) as refused:
        load_guards(text.encode())
    for problem, part in zip(refused.value.problems, ["is taken", "names nothing", "name", "user"], strict=True):
        assert part in problem


@pytest.mark.parametrize(
    "text", [b"", b"[]", b"guards: 7", b"guards: []\nmore: 1", b"guards: [", b"- guards", b"!!python/object:os.system {}"]
)
def test_what_is_no_guards_file_is_refused(text: bytes):
    with pytest.raises(GuardsError):
        load_guards(text)
