from __future__ import annotations

import random
from collections import Counter
from typing import Any

import msgspec
import orjson
import pytest

from tests.examples import ABSENT, an_event, line, lines
from transforms.audit.account import Account
from transforms.audit.block import RawBlock, Split
from transforms.audit.policy import load_policy
from transforms.audit.reduce_all import reduce_all
from transforms.audit.settings import Compiled, Settings
from transforms.audit.suggest_rules import suggest_rules
from transforms.audit.survey import Survey, Surveyed
from transforms.audit.survey_table import KEYS_LIMIT, OTHER, Count, Key, Target, Who, bounded

KEY = b"k" * 32
NOW = 1_795_500_000_000_000  # a day after the example's time


def read(log: bytes, cuts: int = 1):
    """A reader that gives a log in blocks of so many lines."""
    records = log.splitlines(keepends=True)
    size = -(-len(records) // cuts) or 1

    def blocks(split: Split):
        at = 0
        found = []
        for start in range(0, len(records), size):
            data = b"".join(records[start : start + size])
            found.append(RawBlock(split, Account(0, at, at + len(data), size=len(data)), at, data))
            at += len(data)
        found[-1].last = True
        return found

    return blocks


def surveyed(*events: dict[str, Any] | bytes, cuts: int = 1, **settings: Any) -> Surveyed:
    log = b"".join(event if isinstance(event, bytes) else line(event) for event in events)
    return Survey(Compiled(Settings(started=NOW, **settings), KEY)).run([Split(0, "log", "log", cluster="here")], read(log, cuts))


def by_outcome(found: Surveyed) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for key, count in found.table.items():
        counts[key.outcome] += count.events
    return dict(counts)


def activity(seed: int, size: int = 300) -> list[dict[str, Any]]:
    """Nodes, components and people at work, with leases, health checks, bodies and Secrets."""
    random_ = random.Random(seed)
    events = []
    for number in range(size):
        who = random_.choice(
            [
                {"username": "system:node:a", "groups": ["system:nodes", "system:authenticated"]},
                {"username": "system:kube-scheduler", "groups": ["system:authenticated"]},
                {"username": "alice", "groups": ["developers", "system:authenticated"]},
            ]
        )
        moment = f"2026-11-23T05:{number % 60:02d}:00.000000Z"
        basic = {"auditID": f"id-{number}", "user": who, "requestReceivedTimestamp": moment, "stageTimestamp": moment}
        group, resource = random_.choice(
            [("", "pods"), ("", "nodes"), ("coordination.k8s.io", "leases"), ("", "secrets"), ("", "events"), (None, "/healthz")]
        )
        verb = random_.choice(["get", "list", "watch", "update", "create"])
        if group is None:
            event = an_event(**basic, verb="get", requestURI=resource, objectRef=ABSENT, requestObject=ABSENT, responseObject=ABSENT)
        else:
            prefix = f"/apis/{group}/v1" if group else "/api/v1"
            reference = {"resource": resource, "namespace": "shop", "apiVersion": "v1"} | ({"apiGroup": group} if group else {})
            event = an_event(**basic, verb=verb, requestURI=f"{prefix}/namespaces/shop/{resource}", objectRef=reference)
        if who["username"] == "alice" and random_.random() < 0.1:
            event["responseStatus"]["code"] = 404
        if random_.random() < 0.5:
            early = {
                name: event[name] for name in event if name not in ("responseStatus", "responseObject", "requestObject", "annotations")
            }
            events.append(early | {"stage": "RequestReceived"})
        events.append(event)
    return events


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("cuts", [1, 7])
def test_the_survey_counts_what_the_reduction_accounts(seed, cuts):
    events = activity(seed)
    log = lines(*events, *events[:20])
    settings = Settings(started=NOW)
    split = Split(0, "log", "log", cluster="here")
    account = reduce_all([split], read(log, cuts), Compiled(settings, KEY)).accounts
    found = surveyed(*events, *events[:20], cuts=cuts)
    for outcome in ("kept", "folded", "merged", "duplicate"):
        assert by_outcome(found).get(outcome, 0) == sum(getattr(each, outcome) for each in account), outcome
    assert sum(count.size for count in found.table.values()) == sum(len(record) for record in log.splitlines())


def test_captured_bytes_are_what_is_left_and_what_was_cut():
    managed = [{"manager": "kubectl", "operation": "Update"}]
    found = surveyed(an_event(responseObject__metadata__managedFields=managed))
    ((key, count),) = found.table.items()
    cut = len(b'"managedFields":,') + len(orjson.dumps(managed))
    assert found.cuts == {("managedFields", "/responseObject/metadata"): (1, cut)}
    assert count.size - count.left == count.cut == cut
    assert (key.who, str(key.target), key.verb, key.outcome) == (Who("alice"), "apps/deployments", "update", "kept")


def test_what_is_left_is_the_length_after_redaction():
    event = an_event(requestObject__spec={"password": "hunter2hunter2hunter2"})
    ((_, count),) = surveyed(event).table.items()
    compiled = Compiled(Settings(started=NOW), KEY)
    redacted = msgspec.json.decode(line(event), type=__import__("transforms.audit.event", fromlist=["Event"]).Event)
    compiled.redactor.redact(redacted)
    before = len(orjson.dumps(event["requestObject"]))
    assert count.left == count.size - before + len(bytes(redacted.requestObject))


def test_names_are_redacted_before_they_are_counted():
    token = "eyJhbGciOiJSUzI1NiIsImtpZCI6IngifQ.eyJzdWIiOiJzeXN0ZW06YWRtaW4ifQ.c2lnbmF0dXJlc2lnbmF0dXJl"
    policy = "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: None, verbs: [delete]}, {level: Metadata}]"
    events = [an_event(userAgent=f"curl {token}", auditID=verb, verb=verb) for verb in ("delete", "update")]
    uri = f"/x/{token}"
    events += [an_event(auditID=f"{verb}-path", verb=verb, requestURI=uri, objectRef=ABSENT) for verb in ("delete", "update")]
    for settings in ({}, {"policy": policy}):
        assert token not in str(surveyed(*events, **settings).table)


def test_dead_letters_are_counted_by_code():
    found = surveyed(b"{oops\n", b"{oops\n", an_event())
    assert found.dead == {"INVALID_JSON": (2, 10)}
    assert by_outcome(found) == {"kept": 1}


def test_what_a_rule_hides_is_known_by_guard():
    policy = "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: None, users: [alice]}, {level: Metadata}]"
    secret = {"resource": "secrets", "namespace": "shop", "name": "db", "apiVersion": "v1"}
    events = [
        an_event(auditID="a", verb="get", objectRef=secret, requestURI="/api/v1/namespaces/shop/secrets/db"),
        an_event(auditID="b", verb="get", objectRef__resource="deployments"),
        an_event(auditID="c"),
    ]
    hidden = {key.why: count.events for key, count in surveyed(*events, policy=policy).table.items()}
    assert hidden == {"secrets": 1, None: 1, "write": 1}


def test_a_bounded_table_keeps_its_sums():
    table: dict[Any, Count] = {}
    for number in range(KEYS_LIMIT + 1):
        key = Key(Who(f"u{number}"), "agent", "get", Target("", "pods"), "Metadata", "ResponseComplete", None, "kept", None)
        table[key] = Count(1, number, number, 0, 0, 0)
    smaller = bounded(table)
    assert len(smaller) == KEYS_LIMIT // 4 + 1
    assert sum(count.events for count in smaller.values()) == KEYS_LIMIT + 1
    assert sum(count.size for count in smaller.values()) == sum(range(KEYS_LIMIT + 1))
    assert any(key[0] == Who(OTHER) for key in smaller)


def a_policy(rule: str) -> str:
    head = "apiVersion: audit.k8s.io/v1\nkind: Policy\n"
    return (
        head
        + (rule if rule.startswith("omitStages") else f"rules:\n{rule}")
        + ("rules:\n" if rule.startswith("omitStages") else "")
        + "- level: RequestResponse\n"
    )


@pytest.mark.parametrize("seed", range(3))
def test_a_suggested_rule_does_what_it_says(seed):
    events = activity(seed)
    suggestions = suggest_rules(surveyed(*events).table)
    titles = {
        "Drop the renewals of leases",
        "Drop health checks and discovery",
        "Omit the stage RequestReceived",
        "Drop what the nodes read",
    }
    assert titles <= {each.title for each in suggestions}
    for each in suggestions:
        policy = a_policy(each.yaml)
        load_policy(policy.encode())
        after = surveyed(*events, policy=policy)
        dropped = [(key, count) for key, count in after.table.items() if key.outcome.startswith("dropped")]
        if "level: None" in each.yaml or each.yaml.startswith("omitStages"):
            assert sum(count.events for _, count in dropped) == each.events, each.title
            assert sum(count.size for _, count in dropped) == each.saves, each.title
        else:
            assert not dropped
            saved = sum(size for (kind, _), (_, size) in after.cuts.items() if kind == "level")
            assert saved == each.saves, each.title
        if "level: None" in each.yaml:
            hidden = sum(count.events for key, count in dropped if key.why not in (None, "write"))
            assert hidden == sum(each.hides.values()), each.title


def test_no_suggestion_drops_reads_of_secrets():
    events = [
        an_event(
            auditID=str(number),
            verb="get",
            requestURI="/api/v1/namespaces/shop/secrets/db",
            objectRef={"resource": "secrets", "namespace": "shop", "name": "db", "apiVersion": "v1"},
        )
        for number in range(50)
    ]
    assert not [each for each in suggest_rules(surveyed(*events).table) if "level: None" in each.yaml]


def test_names_in_suggested_rules_are_quoted():
    name = 'eve", "system:masters"]\n- level: None # '
    events = [
        an_event(
            auditID=str(number),
            verb="get",
            user={"username": name, "groups": ["system:authenticated"]},
            requestObject=ABSENT,
            responseObject=ABSENT,
        )
        for number in range(5)
    ]
    (found,) = [each for each in suggest_rules(surveyed(*events).table) if "level: None" in each.yaml]
    (rule, _) = load_policy(a_policy(found.yaml).encode()).rules
    assert rule.users == (name,)
