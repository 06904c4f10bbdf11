"""What policies do not tell apart is decided once; what any of them does tell apart, by itself."""

from __future__ import annotations

import json
from itertools import product
from typing import Any

import pytest

from tests.audit.rows.both_ways import assert_same, both_ways
from tests.audit.rows.plain_lines import a_pair, an_id, padding
from transforms.audit.account import Account
from transforms.audit.block import RawBlock, Split
from transforms.audit.parse_events import parse_events
from transforms.audit.policy import load_policy
from transforms.audit.rows.ask_rows import BY_ITSELF, ask_rows

URIS = (
    "/api/v1/namespaces/shop/pods/cart-1",
    "/api/v1/namespaces/shop/pods/cart-2?timeout=5s",
    "/api/v1/namespaces/shop/pods/cart-1/exec?command=sh",
    "/api/v1/namespaces/bank/pods/cart-1",
    "/api/v1/pods?fieldSelector=metadata.name%3Dcart-1",
    "/api/v1/pods",
    "/apis/apps/v1/namespaces/shop/deployments/cart",
    "/api//v1/pods",
    "/healthz/cart-1",
    "/healthz",
)
REFERENCES = (
    None,
    '{"resource":"pods","namespace":"shop","name":"cart-1","apiVersion":"v1"}',
    '{"resource":"pods","namespace":"shop","name":"cart-1","apiVersion":"v1","subresource":"exec"}',
    '{"resource":"deployments","namespace":"shop","name":"cart","apiGroup":"apps","apiVersion":"v1"}',
)
TARGETS: tuple[dict[str, Any], ...] = (
    {"resources": [{"group": "", "resources": ["pods"], "resourceNames": ["cart-1"]}]},
    {"resources": [{"group": "", "resources": ["pods"]}], "namespaces": ["shop"]},
    {"resources": [{"group": "", "resources": ["pods/exec"]}]},
    {"resources": [{"group": "*", "resources": ["deployments"]}], "namespaces": [""]},
    {"nonResourceURLs": ["/healthz"]},
    {"nonResourceURLs": ["/healthz/*"]},
    {"users": ["alice"]},
    {"verbs": ["list"]},
)


def log() -> bytes:
    """Every URI with every reference, as two verbs, by two users."""
    lines: list[bytes] = []
    for number, (uri, reference, verb, user) in enumerate(product(URIS, REFERENCES, ("get", "list"), ("alice", "bob"))):
        changes = {"requestURI": f'"{uri}"', "objectRef": reference, "verb": f'"{verb}"', "user": f'{{"username":"{user}"}}'}
        lines += a_pair(auditID=an_id(number), **changes)
    return b"\n".join(lines) + b"\n"


@pytest.mark.parametrize("target", TARGETS, ids=json.dumps)
def test_each_row_is_decided_as_its_event_is(target: dict[str, Any]):
    rules = [{"level": "None"} | target, {"level": "Metadata"}]
    policy = json.dumps({"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": rules})
    found = both_ways(log(), policy=policy, fold=False)
    assert_same(found)
    assert found.as_rows > 50
    dropped = found.rows.accounts[0].dropped_by_rule["0"]
    assert 0 < dropped < len(URIS) * len(REFERENCES) * 8


def asked(*uris: str, reference: str | None = None) -> list[int]:
    lines = [line for at, uri in enumerate(uris) for line in a_pair(auditID=an_id(at), requestURI=f'"{uri}"', objectRef=reference)]
    block = RawBlock(Split(0, "", ""), Account(0, 0), 0, b"\n".join(lines + padding()) + b"\n")
    rows: Any = parse_events(block, b"key", rows=True).rows
    ask_rows(rows)
    return rows.asked[: len(uris)].tolist()


def test_objects_of_a_namespace_are_one_question_and_those_of_another_are_another():
    shop, other_name, bank, status = asked(*URIS[:2], URIS[3], URIS[0] + "/status")
    assert shop == other_name
    assert len({shop, bank, status}) == 3
    assert min(shop, bank, status) >= 0


def test_a_reference_that_says_otherwise_than_the_path_is_a_question_by_itself():
    assert asked(URIS[0], reference=REFERENCES[1]) == asked(URIS[0])
    assert asked(URIS[0], reference=REFERENCES[2]) == [BY_ITSELF]
    assert asked("/healthz", reference=REFERENCES[1]) == [BY_ITSELF]


def test_names_matter_only_to_a_policy_that_has_them():
    rules = [{"level": "None", "resources": [{"group": "", "resources": ["pods"], "resourceNames": ["cart-1"]}]}]
    naming = load_policy(json.dumps({"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": rules}).encode())
    assert [naming.may_name(uri) for uri in URIS] == [True, False, True, True, True, False, False, False, False, False]
    rules = [{"level": "None"}]
    assert not any(
        load_policy(json.dumps({"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": rules}).encode()).may_name(uri) for uri in URIS
    )


def test_what_is_beyond_memory_is_a_question_by_itself(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("transforms.audit.rows.ask_rows.REMEMBERED", 2)
    found = asked(*URIS[:8], reference=REFERENCES[1])
    assert BY_ITSELF in found
    for target in TARGETS[:4]:
        test_each_row_is_decided_as_its_event_is(target)
