from __future__ import annotations

import json
import random
from typing import Any

import orjson
import pytest

from pipelines import explain
from pipelines.plan import plan
from tests.examples import ABSENT, an_event, an_event_list, line, lines
from transforms.audit.event import text
from transforms.audit.explain_events import REASONS
from transforms.audit.parse_events import parse_events
from transforms.audit.policy import load_policy
from transforms.audit.reduce_all import reduce_all
from transforms.audit.settings import Compiled, Settings
from transforms.connectors.audit_files import read_blocks

KEY = b"k" * 32
NOW = 1_795_500_000_000_000  # a day after the example's time
POLICY = """
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [ResponseStarted]
rules:
- level: None
  users: [kubelet]
- level: Metadata
  resources: [{group: "", resources: [secrets]}]
  omitStages: [RequestReceived]
- level: Request
  verbs: [update, get]
  omitManagedFields: true
"""


def a_read(**changes: Any) -> dict[str, Any]:
    """A read that no guard protects."""
    basic = {"verb": "get", "requestObject": ABSENT, "responseObject": ABSENT, "level": "Metadata"}
    uri = "/apis/apps/v1/namespaces/shop/deployments/cart"
    return an_event(**(basic | {"requestURI": uri} | changes))


def an_early(**changes: Any) -> dict[str, Any]:
    return a_read(
        **(
            {"stage": "RequestReceived", "responseStatus": ABSENT, "annotations": ABSENT, "stageTimestamp": "2026-11-23T05:19:24.906789Z"}
            | changes
        )
    )


def explained(
    tmp_path, *logs: bytes, policy: str | None = None, split_size: int = 1 << 20, block_size: int = 1 << 20, **settings: Any
) -> list[dict[str, Any]]:
    files = []
    for at, log in enumerate(logs):
        path = tmp_path / f"audit-{at}.log"
        path.write_bytes(log)
        files.append((str(path), None))
    compiled = Compiled(Settings(started=NOW, policy=policy, **settings), KEY)
    found = explain.explain(plan(files, split_size=split_size).splits, lambda split: read_blocks(split, KEY, block_size), compiled)
    return [orjson.loads(row) for rows in found for row in explain._encoder.encode_lines(rows).splitlines()]


def outcomes(rows: list[dict[str, Any]]) -> list[tuple[str, list[str]]]:
    return [(row["outcome"], row["why"]) for row in rows]


CASES: dict[str, tuple[list[dict[str, Any] | bytes], list[tuple[str, list[str]]]]] = {
    "a write is kept": ([an_event()], [("kept", ["not_a_read"])]),
    "an ordinary read is folded": ([a_read()], [("folded", ["unguarded_read"])]),
    "a read that failed is kept": ([a_read(responseStatus__code=403)], [("kept", ["guard:code"])]),
    "a read of a Secret is kept": (
        [
            a_read(
                requestURI="/api/v1/namespaces/shop/secrets/db",
                objectRef={"resource": "secrets", "namespace": "shop", "name": "db", "apiVersion": "v1"},
            )
        ],
        [("kept", ["guard:secrets"])],
    ),
    "an early stage merges": ([an_early(), a_read()], [("merged", ["repeated_by_final"]), ("folded", ["unguarded_read"])]),
    "an early stage behind its final event merges": (
        [a_read(), an_early()],
        [("folded", ["unguarded_read"]), ("merged", ["repeated_by_final"])],
    ),
    "an early stage without a final event is kept": ([an_early()], [("kept", ["no_completion"])]),
    "an early stage that says more is kept": (
        [an_early(annotations={"said": "early"}), a_read()],
        [("kept", ["not_repeated"]), ("folded", ["unguarded_read"])],
    ),
    "a failed ResponseStarted ends alone": (
        [an_early(stage="ResponseStarted", responseStatus={"metadata": {}, "code": 401}, user={})],
        [("kept", ["ends_alone"])],
    ),
    "copies are duplicates of the first": (
        [an_event(), an_event(), an_event()],
        [("kept", ["not_a_read"]), *[("duplicate", ["same_digest"])] * 2],
    ),
    "audit IDs that repeat with other content are kept": (
        [a_read(), a_read(userAgent="curl/8")],
        [("kept", ["guard:collision"]), ("kept", ["guard:collision"])],
    ),
    "writes with one audit ID are kept as writes": (
        [an_event(), an_event(verb="patch")],
        [("kept", ["not_a_read"]), ("kept", ["not_a_read"])],
    ),
    "what is no JSON is a dead letter": ([b"{oops\n", an_event()], [("dead_letter", ["code:INVALID_JSON"]), ("kept", ["not_a_read"])]),
    "a stage that nobody knows is kept": ([a_read(stage="Beyond")], [("kept", ["odd_stage"])]),
}


@pytest.mark.parametrize("name", CASES)
def test_every_outcome_has_its_reason(tmp_path, name):
    events, expected = CASES[name]
    log = b"".join(event if isinstance(event, bytes) else line(event) for event in events)
    assert outcomes(explained(tmp_path, log)) == expected


def test_policy_outcomes_name_rule_and_stage(tmp_path):
    log = lines(
        an_event(user__username="kubelet"),
        an_early(stage="ResponseStarted", auditID="b"),
        an_event(verb="list", auditID="c"),
        an_event(auditID="d"),
    )
    rows = explained(tmp_path, log, policy=POLICY)
    assert [(row["rule"], row["level"], row["omitStages"], row["omitManagedFields"], row["outcome"], row["why"]) for row in rows] == [
        (0, "None", ["ResponseStarted"], False, "dropped_by_rule", ["rule:0"]),
        (2, "Metadata", ["ResponseStarted"], True, "dropped_by_stage", ["stage:ResponseStarted"]),
        (None, "None", ["ResponseStarted"], False, "dropped_by_rule", ["no_rule"]),
        (2, "Request", ["ResponseStarted"], True, "kept", ["not_a_read"]),
    ]


def test_without_fold_reads_and_stages_stay(tmp_path):
    rows = explained(tmp_path, lines(an_early(), a_read()), fold=False, merge=False)
    assert outcomes(rows) == [("kept", ["merge_off"]), ("kept", ["fold_off"])]


def test_the_line_is_the_contract_s(tmp_path, capsysbinary):
    path = tmp_path / "audit.log"
    path.write_bytes(line(an_event(responseObject__metadata__managedFields=[{"manager": "kubectl"}])))
    assert explain.main(["--input", str(path), "--json"]) == 0
    assert json.loads(capsysbinary.readouterr().out) == {
        "source": {"uri": str(path), "partition": None, "offset": 0, "item": 0},
        "policy": None,
        "auditID": "6d0f1a8e-7a55-4c0d-9f3a-0c8f2f5b9b11",
        "stage": "ResponseComplete",
        "verb": "update",
        "rule": None,
        "level": "RequestResponse",
        "omitStages": [],
        "omitManagedFields": False,
        "outcome": "kept",
        "why": ["not_a_read"],
        "reductions": [
            {
                "kind": "managedFields",
                "path": "/responseObject/metadata",
                "count": 1,
                "bytes": len(b',"managedFields":[{"manager":"kubectl"}]'),
            }
        ],
    }


def mixed_log(seed: int, size: int = 120) -> list[dict[str, Any]]:
    """Requests with their stages, some copied, some torn apart, some sharing an audit ID."""
    random_ = random.Random(seed)
    events = []
    for number in range(size):
        user = random_.choice(["alice", "kubelet", "system:kube-scheduler"])
        verb = random_.choice(["get", "update", "list", "watch"])
        names = {"auditID": f"id-{number if random_.random() < 0.9 else 0}", "user__username": user, "verb": verb}
        moment = f"2026-11-23T05:{number % 60:02d}:00.000000Z"
        names |= {"requestReceivedTimestamp": moment, "stageTimestamp": moment}
        final = a_read(**names, responseStatus__code=random_.choice([200, 200, 404]))
        events += random_.choice([[final], [an_early(**names), final], [an_early(**names)], [final, final]])
    for _ in range(10):
        a, b = random_.randrange(len(events)), random_.randrange(len(events))
        events[a], events[b] = events[b], events[a]
    return events


@pytest.mark.parametrize("seed", range(4))
def test_what_is_explained_is_what_is_accounted(tmp_path, seed):
    events = mixed_log(seed)
    half = len(events) // 2
    logs = (lines(*events[:half]) + b"broken\n", lines(*events[half:], *events[:10]))
    rows = explained(tmp_path, *logs, policy=POLICY)
    splits = plan([(str(tmp_path / f"audit-{at}.log"), None) for at in range(2)]).splits
    found = reduce_all(splits, lambda split: read_blocks(split, KEY), Compiled(Settings(started=NOW, policy=POLICY), KEY)).accounts
    assert len(rows) == sum(account.events for account in found) == len(events) + 11
    for outcome in ("kept", "folded", "merged", "duplicate", "dropped_by_stage"):
        assert sum(row["outcome"] == outcome for row in rows) == sum(getattr(account, outcome) for account in found), outcome
    dropped = [account.dropped_by_rule for account in found]
    assert sum(row["why"] == ["rule:0"] for row in rows) == sum(each.get("0", 0) for each in dropped)
    assert sum(row["why"] == ["no_rule"] for row in rows) == sum(each.get("none", 0) for each in dropped)


@pytest.mark.parametrize("seed", range(3))
def test_explanations_do_not_depend_on_blocks_and_splits(tmp_path, seed):
    log = lines(*mixed_log(seed))
    whole = explained(tmp_path, log)
    assert explained(tmp_path, log, block_size=700) == whole
    assert explained(tmp_path, log, split_size=5000) == whole


def test_lines_come_in_input_order(tmp_path):
    events = mixed_log(7)
    rows = explained(tmp_path, lines(*events), an_event_list(*events), lines(*events))
    assert [(row["source"]["uri"][-5], row["source"]["offset"], row["source"]["item"]) for row in rows] == sorted(
        (row["source"]["uri"][-5], row["source"]["offset"], row["source"]["item"]) for row in rows
    )
    assert [row["auditID"] for row in rows] == [event["auditID"] for event in events] * 3


def test_the_decision_is_the_policy_s_own(tmp_path):
    log = lines(*mixed_log(11))
    rows = explained(tmp_path, log, policy=POLICY)
    policy = load_policy(POLICY.encode())
    (split,) = plan([(str(tmp_path / "audit-0.log"), None)]).splits
    events = [event for block in read_blocks(split, KEY) for event in parse_events(block, KEY).events]
    expected = [policy.decide(event).as_dict(text(event.level)) for event in events]
    assert [{name: row[name] for name in ("rule", "level", "omitStages", "omitManagedFields")} for row in rows] == expected


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--only", "kept"], ["c"]),
        (["--only", "kept", "--only", "folded"], ["b", "c"]),
        (["--audit_id", "b"], ["b"]),
        (["--rule", "2"], ["b", "c"]),
        (["--rule", "none"], ["d"]),
        (["--rule", "0", "--only", "kept"], []),
    ],
)
def test_flags_choose_events(tmp_path, capsysbinary, flags, expected):
    (tmp_path / "policy.yaml").write_text(POLICY)
    log = tmp_path / "audit.log"
    log.write_bytes(
        b"broken\n"
        + lines(
            an_event(auditID="a", user__username="kubelet"), a_read(auditID="b"), an_event(auditID="c"), an_event(auditID="d", verb="list")
        )
    )
    assert explain.main(["--input", str(log), "--policy", str(tmp_path / "policy.yaml"), "--json", *flags]) == 0
    assert [json.loads(row)["auditID"] for row in capsysbinary.readouterr().out.splitlines()] == expected


def test_several_policies_are_explained_side_by_side(tmp_path, capsysbinary):
    (tmp_path / "a.yaml").write_text(POLICY)
    (tmp_path / "b.yaml").write_text(POLICY.replace("kubelet", "alice"))
    log = tmp_path / "audit.log"
    log.write_bytes(lines(an_event(auditID="x"), an_event(auditID="y", user__username="kubelet")) + b"broken\n")
    flags = ["--input", str(log), "--policy", f"ops={tmp_path}/a.yaml", "--policy", f"sec={tmp_path}/b.yaml", "--json"]
    assert explain.main(flags) == 0
    rows = [json.loads(row) for row in capsysbinary.readouterr().out.splitlines()]
    assert [(row["auditID"], row["policy"], row["outcome"], row["rule"]) for row in rows] == [
        ("x", "ops", "kept", 2),
        ("x", "sec", "dropped_by_rule", 0),
        ("y", "ops", "dropped_by_rule", 0),
        ("y", "sec", "kept", 2),
        (None, "ops", "dead_letter", None),
        (None, "sec", "dead_letter", None),
    ]


def test_the_table_shows_no_control_characters_of_a_client(tmp_path, capsysbinary):
    log = tmp_path / "audit.log"
    log.write_bytes(line(an_event(auditID="\x1b[2J", verb="up\ndate")))
    assert explain.main(["--input", str(log)]) == 0
    out = capsysbinary.readouterr().out.decode()
    assert "\x1b" not in out
    assert "\\x1b[2J" in out
    assert len(out.splitlines()) == 2


def test_no_content_is_shown(tmp_path, capsysbinary):
    log = tmp_path / "audit.log"
    log.write_bytes(
        line(
            an_event(
                requestObject__data={"password": "hunter2hunter2"}, requestURI="/api/v1/namespaces/shop/secrets/db?token=hunter2hunter2"
            )
        )
    )
    for more in ([], ["--json"]):
        assert explain.main(["--input", str(log), *more]) == 0
    captured = capsysbinary.readouterr()
    assert b"hunter2" not in captured.out + captured.err


def test_all_that_is_wrong_is_listed_and_refused(tmp_path, capsys):
    (tmp_path / "policy.yaml").write_text("kind: Nothing")
    flags = ["--input", str(tmp_path / "none"), "--policy", str(tmp_path / "policy.yaml"), "--rule", "first", "--fast"]
    assert explain.main(flags) == 2
    err = capsys.readouterr().err
    for word in ("none", "policy.yaml", "--rule first", "--fast"):
        assert word in err


def test_a_rule_that_no_policy_has_is_refused_with_those_that_there_are(tmp_path, capsys):
    (tmp_path / "audit.log").write_bytes(line(an_event()))
    for name, rules in (("one", 1), ("two", 2)):
        (tmp_path / name).write_text("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n" + "- level: Metadata\n" * rules)
    one, two = (f"--policy={tmp_path}/{name}" for name in ("one", "two"))
    both = [f"--policy={name}={tmp_path}/{name}" for name in ("one", "two")]

    def refused(rule: str, *policies: str) -> str:
        code = explain.main([f"--input={tmp_path / 'audit.log'}", f"--rule={rule}", *policies])
        said = capsys.readouterr().err
        return said if code == 2 else ""

    assert refused("2", two) == "refused:\n  --rule 2: the policy has rules 0 to 1\n"
    assert refused("1", one) == "refused:\n  --rule 1: the policy has only rule 0\n"
    assert refused("2", *both) == "refused:\n  --rule 2: the longest policy has rules 0 to 1\n"
    assert refused("0") == "refused:\n  --rule 0: without --policy there are no rules\n"
    assert refused("1", two) == refused("1", *both) == refused("none", one) == refused("none") == ""


def test_help_lists_every_reason(capsys):
    with pytest.raises(SystemExit):
        explain.main(["--help"])
    out = capsys.readouterr().out
    assert all(name in out for name in REASONS)


def test_every_reason_given_is_a_listed_one():
    for _, expected in CASES.values():
        for _, why in expected:
            for name in why:
                kind, colon, _ = name.partition(":")
                assert any(reason.partition(":")[:2] == (kind, colon) for reason in REASONS), name


EXPECTATIONS = """
tests:
- name: secrets are never folded
  events:
  - {auditID: a, verb: get, requestURI: /api/v1/namespaces/shop/secrets/db, user: {username: alice}}
  - {auditID: b, verb: get, requestURI: /api/v1/namespaces/shop/pods/web, user: {username: alice}}
  expect:
  - {auditID: a, outcome: kept, why: [guard:secrets]}
  - {index: 1, outcome: folded}
  counts: {kept: 1, folded: 1}
- name: the kubelet is not recorded
  policy: policy.yaml
  input: audit.log
  expect:
  - {verb: update, outcome: dropped_by_rule, rule: 0, level: None, why: ["rule:0"], omitStages: [ResponseStarted]}
- name: no rule at all
  policy: {apiVersion: audit.k8s.io/v1, kind: Policy, rules: [{level: None, verbs: [get]}]}
  events:
  - '{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"x","stage":"ResponseComplete","verb":"list"}'
  expect:
  - {auditID: x, rule: null, why: no_rule}
"""


def expectation_file(tmp_path, text: str):
    (tmp_path / "policy.yaml").write_text(POLICY)
    (tmp_path / "audit.log").write_bytes(line(an_event(user__username="kubelet")))
    path = tmp_path / "tests.yaml"
    path.write_text(text)
    return str(path)


def test_expectations_that_hold_exit_0(tmp_path, capsys):
    assert explain.main(["--expect", expectation_file(tmp_path, EXPECTATIONS)]) == 0
    assert capsys.readouterr().err.splitlines() == [
        "ok     secrets are never folded",
        "ok     the kubelet is not recorded",
        "ok     no rule at all",
        "3 tests, 0 failed",
    ]


def test_an_expectation_that_fails_says_what_it_got_and_exits_1(tmp_path, capsysbinary):
    text = (
        EXPECTATIONS.replace("index: 1, outcome: folded", "index: 1, outcome: kept, rule: 3")
        .replace("{kept: 1, folded: 1}", "{merged: 2}")
        .replace("auditID: x, rule", "auditID: y, rule")
    )
    assert explain.main(["--expect", expectation_file(tmp_path, text), "--json"]) == 1
    captured = capsysbinary.readouterr()
    first = [
        "b ResponseComplete get (",
        "): outcome: expected kept, got folded",
        "): rule: expected 3, got null",
        "merged: expected 2 events, got 0",
    ]
    assert all(part in captured.err.decode() for part in first)
    document = json.loads(captured.out)
    assert document["failed"] == 2
    assert [len(test["problems"]) for test in document["tests"]] == [3, 0, 1]
    assert document["tests"][2]["problems"] == ["no event with auditID y; there are 1 events"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("tests: []", "a list"),
        ("a: b: c", "not YAML, line 1"),
        ("tests:\n- {events: [], expect: [{auditID: a, outcom: kept}]}", "tests[0].expect[0].outcom: unknown field; did you mean outcome?"),
        ("tests:\n- {events: [], expect: [{auditID: a, outcome: lost}]}", "'lost' is no outcome"),
        ("tests:\n- {events: [], expect: [{outcome: kept}]}", "selects no event"),
        ("tests:\n- {events: [], expect: [{auditID: a}]}", "expects nothing of the event"),
        ("tests:\n- {events: []}", "expects nothing: give expect or counts"),
        ("tests:\n- {counts: {kept: 1}}", "give either events or input"),
        ("tests:\n- {input: gone.log, counts: {kept: 1}}", "no such file"),
        ("tests:\n- {policy: gone.yaml, events: [], counts: {kept: 0}}", "No such file"),
        ("tests:\n- {policy: {kind: Policy}, events: [], counts: {kept: 0}}", "tests[0].policy: "),
        ("tests:\n- {events: [], counts: {lost: 0}}", "counts: must be a mapping"),
    ],
)
def test_a_file_of_expectations_that_is_wrong_is_refused(tmp_path, capsys, text, problem):
    assert explain.main(["--expect", expectation_file(tmp_path, text)]) == 2
    assert problem in capsys.readouterr().err


def test_times_in_expectations_stay_text(tmp_path):
    event = "{verb: get, requestURI: /version, user: {username: a}, stageTimestamp: 2026-11-23T05:19:24.000000Z}"
    text = f"tests:\n- events:\n  - {event}\n  counts: {{folded: 1}}\n"
    assert explain.main(["--expect", expectation_file(tmp_path, text)]) == 0
