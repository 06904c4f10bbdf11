"""Expectations of `pipelines.explain --expect`: events, and what should become of them, in one YAML file.

  tests:
  - name: reading a Secret is never folded
    policy: policies/ops.yaml      # a file beside this one, or the policy itself; else --policy
    events:                        # or input: FILE, or a list of files
    - {auditID: a, verb: get, requestURI: /api/v1/namespaces/shop/secrets/db, user: {username: alice}}
    - '{"kind":"Event", …}'        # a line as it stands in a log
    expect:
    - {auditID: a, outcome: kept, why: [guard:secrets], level: Metadata, rule: 0}
    - {index: 1, outcome: merged}
    counts: {kept: 1, merged: 1}   # of all events; outcomes that are not named are not checked

An entry of `expect` selects by auditID, stage, verb or index (from 0, in input order); every event it selects must be as the
rest says: outcome, rule (null: none), level, omitStages, omitManagedFields, why (all of it, in any order). An event that is a
mapping gets what it lacks: kind, apiVersion, level RequestResponse, auditID event-N, stage ResponseComplete, times, a code 200
when it is final, and the objectRef that its requestURI means; a null stays null.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
import yaml

from pipelines.plan import Input, expand, plan
from transforms.audit.account import OUTCOMES, Account
from transforms.audit.block import RawBlock, Split
from transforms.audit.event import FINAL_STAGES
from transforms.audit.policy import PolicyError, load_policy
from transforms.audit.request_info import request_info
from transforms.audit.settings import Settings
from transforms.connectors.audit_files import read_blocks

if TYPE_CHECKING:
    from collections.abc import Iterable

    from transforms.audit.explain_events import Explained

SELECTORS: Final = ("index", "auditID", "stage", "verb")
CHECKED: Final = ("outcome", "rule", "level", "omitStages", "omitManagedFields", "why")
_TEST: Final = ("name", "policy", "events", "input", "expect", "counts")
_TIME: Final = "2026-01-01T00:00:00.000000Z"
_NO_KEY: Final = b"expectations write nothing"


class ExpectationsError(Exception):
    """The file cannot be used; `problems` says where and why, all at once."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class Expectation(msgspec.Struct):
    """One test: its events, and what should become of them."""

    name: str
    settings: Settings
    splits: Sequence[Split]
    lines: bytes | None
    expect: list[dict[str, Any]]
    counts: dict[str, int]

    def read(self, split: Split) -> Iterable[RawBlock]:
        """The blocks of a split."""
        if self.lines is None:
            return read_blocks(split, _NO_KEY)
        return [RawBlock(split, Account(0, 0, len(self.lines)), 0, self.lines, last=True)]


class _Loader(yaml.CSafeLoader):
    """YAML without dates: times stay the text they are in an event."""


_Loader.yaml_implicit_resolvers = {
    letter: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for letter, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}


def load_expectations(path: str, settings: Settings) -> list[Expectation]:
    """The tests of a file, each with the settings it runs under. Raises ExpectationsError."""
    file = Path(path)
    problems: list[str] = []
    try:
        document = yaml.load(file.read_bytes(), Loader=_Loader)  # noqa: S506 - a safe loader
    except OSError as error:
        raise ExpectationsError([f"cannot be read ({error.strerror})"]) from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        raise ExpectationsError([f"not YAML{f', line {mark.line + 1}' if mark else ''}"]) from None
    tests = document.get("tests") if isinstance(document, dict) else None
    if not isinstance(tests, list) or not tests or set(document) != {"tests"}:
        raise ExpectationsError(["must be a mapping with the one key `tests`, a list"])
    loaded = [_test(test, f"tests[{at}]", file.parent, settings, problems) for at, test in enumerate(tests)]
    if problems:
        raise ExpectationsError(problems)
    return [test for test in loaded if test is not None]


def _known(names: Iterable[Any], allowed: Sequence[str], where: str, problems: list[str]) -> None:
    for name in names:
        if name not in allowed:
            near = difflib.get_close_matches(str(name), allowed, 1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(allowed)}"
            problems.append(f"{where}.{name}: unknown field; {hint}")


def _test(test: Any, where: str, base: Path, settings: Settings, problems: list[str]) -> Expectation | None:
    if not isinstance(test, dict):
        problems.append(f"{where}: must be a mapping")
        return None
    _known(test, _TEST, where, problems)
    expect, counts = test.get("expect") or [], test.get("counts") or {}
    if not expect and not counts:
        problems.append(f"{where}: expects nothing: give expect or counts")
    if not isinstance(counts, dict) or any(name not in OUTCOMES or type(count) is not int for name, count in counts.items()):
        problems.append(f"{where}.counts: must be a mapping of outcomes ({', '.join(OUTCOMES)}) to numbers")
    for at, one in enumerate(expect if isinstance(expect, list) else [None]):
        _expectation(one, f"{where}.expect[{at}]", problems)
    settings = _policy(test.get("policy"), where, base, settings, problems)
    events, inputs = test.get("events"), test.get("input")
    if (events is None) == (inputs is None):
        problems.append(f"{where}: give either events or input")
        return None
    lines = None
    splits: list[Split] = [Split(0, "events", "events")]
    if events is not None:
        lines = _lines(events, where, problems)
    else:
        patterns = [str(base / str(each)) for each in (inputs if isinstance(inputs, list) else [inputs])]
        files, wrong = expand([Input(pattern) for pattern in patterns], None, allow_empty=False)
        problems += [f"{where}.input: {problem.removeprefix('--input ')}" for problem in wrong]
        splits = [] if wrong else plan(files).splits
    return Expectation(str(test.get("name") or where), settings, splits, lines, expect, counts)


def _expectation(one: Any, where: str, problems: list[str]) -> None:
    if not isinstance(one, dict):
        problems.append(f"{where}: must be a mapping")
        return
    _known(one, SELECTORS + CHECKED, where, problems)
    if not set(one) & set(SELECTORS):
        problems.append(f"{where}: selects no event: give {', '.join(SELECTORS[:-1])} or {SELECTORS[-1]}")
    if not set(one) & set(CHECKED):
        problems.append(f"{where}: expects nothing of the event: give {', '.join(CHECKED[:-1])} or {CHECKED[-1]}")
    if one.get("outcome", OUTCOMES[0]) not in OUTCOMES:
        problems.append(f"{where}.outcome: {one['outcome']!r} is no outcome; there are {', '.join(OUTCOMES)}")


def _policy(policy: Any, where: str, base: Path, settings: Settings, problems: list[str]) -> Settings:
    if policy is None:
        return settings
    try:
        text = (base / policy).read_text(encoding="utf-8") if isinstance(policy, str) else msgspec.json.encode(policy).decode()
        load_policy(text.encode(), lenient=settings.lenient_policy, group_wildcard=settings.group_wildcard)
    except (OSError, UnicodeDecodeError) as error:
        problems.append(f"{where}.policy: {policy}: {getattr(error, 'strerror', None) or 'not UTF-8'}")
        return settings
    except PolicyError as error:
        problems += [f"{where}.policy: {problem}" for problem in error.problems]
        return settings
    return msgspec.structs.replace(settings, policy=text)


def _lines(events: Any, where: str, problems: list[str]) -> bytes:
    if not isinstance(events, list) or not all(isinstance(event, (dict, str)) for event in events):
        problems.append(f"{where}.events: must be a list of events: mappings, or lines of a log")
        return b""
    return b"".join(_line(event, at) for at, event in enumerate(events))


def _line(event: dict[str, Any] | str, at: int) -> bytes:
    if isinstance(event, str):
        return event.strip("\n").encode("utf-8", "surrogatepass") + b"\n"
    stage = event.get("stage", "ResponseComplete")
    full: dict[str, Any] = {
        "kind": "Event",
        "apiVersion": "audit.k8s.io/v1",
        "level": "RequestResponse",
        "auditID": f"event-{at}",
        "stage": stage,
        "requestReceivedTimestamp": _TIME,
        "stageTimestamp": _TIME,
    }
    info = request_info(str(event.get("requestURI", "")), str(event.get("verb", "")))
    if info.is_resource_request:
        reference = {"resource": info.resource, "namespace": info.namespace, "name": info.name, "apiGroup": info.api_group}
        reference |= {"apiVersion": info.api_version, "subresource": info.subresource}
        full["objectRef"] = {name: value for name, value in reference.items() if value}
    if stage in FINAL_STAGES:
        full["responseStatus"] = {"metadata": {}, "code": 200}
    return msgspec.json.encode(full | event) + b"\n"


def check(test: Expectation, rows: Sequence[Explained]) -> list[str]:
    """What is not as expected, one line each; none if all holds."""
    problems: list[str] = []
    for one in test.expect:
        selected = [row for at, row in enumerate(rows) if _selects(one, at, row)]
        if not selected:
            told = ", ".join(f"{name} {one[name]}" for name in SELECTORS if name in one)
            problems.append(f"no event with {told}; there are {len(rows)} events")
        for row in selected:
            problems += _differences(one, row)
    counted = Counter(row.outcome for row in rows)
    problems += [f"{name}: expected {count} events, got {counted[name]}" for name, count in test.counts.items() if counted[name] != count]
    return problems


def _selects(one: dict[str, Any], at: int, row: Explained) -> bool:
    found = {"index": at, "auditID": row.auditID, "stage": row.stage, "verb": row.verb}
    return all(one[name] == found[name] for name in SELECTORS if name in one)


def _differences(one: dict[str, Any], row: Explained) -> list[str]:
    problems = []
    for name in CHECKED:
        if name not in one:
            continue
        wanted, got = one[name], getattr(row, name)
        if name in ("why", "omitStages"):
            wanted, got = sorted(map(str, wanted if isinstance(wanted, list) else [wanted])), sorted(got)
        if wanted != got:
            event = f"{row.auditID or '-'} {row.stage or '-'} {row.verb or '-'} ({row.source.offset})"
            problems.append(f"{event}: {name}: expected {_shown(wanted)}, got {_shown(got)}")
    return problems


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
