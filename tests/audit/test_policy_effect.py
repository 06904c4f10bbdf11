"""What a decision does to an event."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from transforms.audit.event import STAGES, Event, text
from transforms.audit.policy import Policy, apply_policy, load_policy


def policy_of(rules: list[dict[str, Any]], **fields: Any) -> Policy:
    return load_policy(json.dumps({"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": rules, **fields}).encode())


def event_of(**fields: Any) -> Event:
    user = {"username": "tim@k8s.io", "groups": ["humans"]}
    level = fields.pop("level", "RequestResponse")
    event = msgspec.json.decode(json.dumps({"requestURI": "/x", "verb": "get", "user": user} | fields), type=Event)
    event.level = level  # a level that Kubernetes does not know comes through `recognise`, not through this decoder
    return event


BODIES = {"requestObject": {"a": 1}, "responseObject": {"b": 2}}
ANNOTATIONS = {"authorization.k8s.io/decision": "allow", "patch.webhook.admission.k8s.io/round_0_index_0": '{"patch":[]}'}


@pytest.mark.parametrize(
    ("captured", "rule", "effective", "bodies"),
    [
        ("RequestResponse", "RequestResponse", "RequestResponse", ("requestObject", "responseObject")),
        ("RequestResponse", "Request", "Request", ("requestObject",)),
        ("RequestResponse", "Metadata", "Metadata", ()),
        ("Request", "RequestResponse", "Request", ("requestObject", "responseObject")),
        ("Request", "Metadata", "Metadata", ()),
        ("Metadata", "Request", "Metadata", ("requestObject", "responseObject")),
        ("odd", "Metadata", "Metadata", ()),
        ("odd", "RequestResponse", "odd", ("requestObject", "responseObject")),
    ],
)
def test_an_event_is_cut_to_the_lower_level_and_never_relabelled_upward(
    captured: str, rule: str, effective: str, bodies: tuple[str, ...]
) -> None:
    event = event_of(level=captured, annotations=ANNOTATIONS, **BODIES)
    decision = apply_policy(policy_of([{"level": rule}]), event)
    assert text(event.level) == effective
    assert tuple(name for name in ("requestObject", "responseObject") if bytes(getattr(event, name))) == bodies
    cut = effective == "Metadata" != captured
    left = {key: value for key, value in ANNOTATIONS.items() if not (cut and key.startswith("patch."))}
    assert json.loads(bytes(event.annotations)) == left
    assert decision.as_dict(captured)["level"] == (effective if captured != "odd" else rule)


def test_what_a_lower_level_cuts_is_recorded() -> None:
    event = event_of(annotations=ANNOTATIONS, **BODIES)
    event.unknown = {"/requestObject/odd": b"12", "/requestObjectX": b"3", "/else": b"4"}
    apply_policy(policy_of([{"level": "Metadata"}]), event)
    cut = len(json.dumps(ANNOTATIONS)) - len('{"authorization.k8s.io/decision":"allow"}')
    assert event.reductions == [
        ("level", "/responseObject", 1, 8),
        ("level", "/requestObject", 1, 8),
        ("level", "/requestObject/odd", 1, 2),
        ("level", "/annotations", 1, cut),
    ]
    assert event.unknown == {"/requestObjectX": b"3", "/else": b"4"}


def test_webhook_patches_go_in_any_spelling() -> None:
    event = event_of()
    event.annotations = msgspec.Raw(b'{"a":"b","\\u0070atch.webhook.admission.k8s.io\\/round_0_index_1":"{}"}')
    apply_policy(policy_of([{"level": "Metadata"}]), event)
    assert bytes(event.annotations) == b'{"a":"b"}'


def test_an_event_that_a_rule_drops_is_left_as_it_was() -> None:
    event = event_of(**BODIES)
    decision = apply_policy(policy_of([{"level": "None", "omitStages": ["Panic"]}]), event)
    assert [decision.drops(stage) for stage in ("Panic", "ResponseComplete")] == ["rule", "rule"]
    assert text(event.level) == "RequestResponse"
    assert bytes(event.requestObject) == b'{"a": 1}'


def test_an_omitted_stage_drops_the_event_not_the_request() -> None:
    decision = policy_of([{"level": "Metadata", "omitStages": ["Panic"]}], omitStages=["RequestReceived"]).decide(event_of())
    assert [decision.drops(stage) for stage in STAGES] == ["stage", None, None, "stage"]


def test_without_a_policy_nothing_happens() -> None:
    event = event_of(**BODIES)
    assert apply_policy(None, event) is None
    assert text(event.level) == "RequestResponse"


def test_a_decision_shows_what_explain_shows() -> None:
    policy = policy_of([{"level": "Request", "omitStages": ["ResponseStarted", "Panic"], "omitManagedFields": True}])
    decision = policy.decide(event_of())
    assert decision.as_dict() == {"rule": 0, "level": "Request", "omitStages": ["Panic", "ResponseStarted"], "omitManagedFields": True}
    assert decision.as_dict("Metadata")["level"] == "Metadata"
    nothing = policy_of([{"level": "Request", "users": ["x"]}], omitManagedFields=True).decide(event_of())
    assert nothing.as_dict("Metadata") == {"rule": None, "level": "None", "omitStages": [], "omitManagedFields": True}
