"""Suggest rules for an audit policy: what costs most and tells least, each with its saving and its risk."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import msgspec

from transforms.audit.event import EARLY_STAGES
from transforms.audit.guards import FOLDABLE_VERBS, SYSTEM_USERS
from transforms.audit.survey_table import OTHER, TEXT_LIMIT, Count, Target

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from transforms.audit.survey_table import Key

SHARE: Final = 0.002  # of all bytes: what saves less is not worth a rule
MOST: Final = 12
RESOURCES: Final = 4  # whose responses are suggested to go
LOW, MEDIUM, HIGH = "low", "medium", "high"
READS: Final = ("get", "list", "watch")
LEASE_VERBS: Final = ("get", "update", "patch")
HEALTH: Final = ("/healthz", "/livez", "/readyz", "/metrics", "/version", "/openapi")
# Never in a suggestion that drops: their reads are what an intruder is after.
SPARED: Final = frozenset(
    {"secrets", "serviceaccounts", "roles", "rolebindings", "clusterroles", "clusterrolebindings", "tokenreviews", "configmaps"}
)
_GONE: Final = frozenset({"dropped_by_rule", "dropped_by_stage"})


class Suggestion(msgspec.Struct):
    """A rule, ready to paste before a policy's other rules, and what it would have done to the events surveyed.

    `saves` is in bytes of the JSON that is captured today, `saves_more` in bytes that our steps leave; `hides` counts the events
    that it drops and a guard keeps. Several suggestions may count the same events.
    """

    title: str
    yaml: str
    events: int
    saves: int
    saves_more: int
    risk: str
    why: str
    hides: dict[str, int] = {}


class _Found(msgspec.Struct):
    """Sums over the events that a rule would match."""

    count: Count = msgspec.field(default_factory=Count)
    kept: int = 0
    hides: Counter[str] = msgspec.field(default_factory=Counter)
    targets: set[Target] = msgspec.field(default_factory=set)
    verbs: set[str] = msgspec.field(default_factory=set)
    users: set[str] = msgspec.field(default_factory=set)
    levels: set[str] = msgspec.field(default_factory=set)

    def add(self, key: Key, count: Count) -> None:
        """Add the events of one key."""
        self.count.add(count)
        self.targets.add(key.target)
        self.verbs.add(key.verb)
        self.users.add(key.who.name)
        self.levels.add(key.level)
        if key.outcome == "kept":
            self.kept += count.left
            if key.why is not None:
                self.hides[key.why] += count.events


def suggest_rules(table: dict[Key, Count]) -> list[Suggestion]:
    """The rules most worth adding, by what they save. What a policy drops already is left out of the sums."""
    live = {key: count for key, count in table.items() if key.outcome not in _GONE}
    whole = sum(count.size for count in live.values())
    found = [*_reads(live), *_leases(live), *_health(live), *_read_bodies(live), *_event_bodies(live), *_responses(live), *_early(live)]
    worth = [each for each in found if each.saves >= SHARE * whole and each.saves]
    return sorted(worth, key=lambda each: (-each.saves, each.title))[:MOST]


def _sums(live: dict[Key, Count], group_of: Callable[[Key], Any]) -> dict[Any, _Found]:
    """The live events by what `group_of` gives for them; None: none of ours."""
    groups: dict[Any, _Found] = {}
    for key, count in live.items():
        group = group_of(key)
        if group is not None:
            groups.setdefault(group, _Found()).add(key, count)
    return groups


def _subject(key: Key) -> tuple[str, str] | None:
    """The field of a rule that names the user, and its value; None where that is not exact."""
    if key.who.group:
        return "userGroups", key.who.group
    name = key.who.name
    return None if not name or name == OTHER or len(name) > TEXT_LIMIT or name == "system:anonymous" else ("users", name)


def _rule(level: str, **fields: Any) -> str:
    lines = [f"- level: {level}"]
    for name, value in fields.items():
        if name == "resources":
            lines.append("  resources:")
            lines += [f"  - {{group: {_quoted(group)}, resources: {_quoted(resources)}}}" for group, resources in value]
        elif value:
            lines.append(f"  {name}: {_quoted(value)}")
    return "\n".join(lines) + "\n"


def _quoted(value: Any) -> str:
    return json.dumps(value)


def _resources(targets: Iterable[Target]) -> list[tuple[str, list[str]]]:
    groups: dict[str, list[str]] = {}
    for target in sorted(targets):
        name = f"{target.resource}/{target.subresource}" if target.subresource else target.resource
        groups.setdefault(target.group, []).append(name)
    return sorted(groups.items())


def _nameable(target: Target) -> bool:
    return (
        bool(target.resource) and not target.path and target.resource not in (OTHER, "(unreadable)") and not target.resource.endswith("…")
    )


def _dropping(title: str, yaml: str, found: _Found, risk: str, why: str) -> Suggestion:
    if found.hides:
        why += f" It would hide {sum(found.hides.values()):,} events that guards keep."
        risk = HIGH if risk == MEDIUM else MEDIUM
    return Suggestion(title, yaml, found.count.events, found.count.size, found.kept, risk, why, dict(found.hides))


def _reads(live: dict[Key, Count]) -> Iterable[Suggestion]:
    """One user's reads of ordinary resources: whole targets only, those of which no guard keeps much."""

    def wanted(key: Key) -> Any:
        subject = _subject(key)
        plain = key.verb in FOLDABLE_VERBS and _nameable(key.target) and not key.target.subresource
        return (subject, key.target) if subject and plain and key.target.resource not in SPARED else None

    by_user: dict[tuple[str, str], _Found] = {}
    for (subject, _), found in _sums(live, wanted).items():
        if sum(found.hides.values()) * 100 > found.count.events:
            continue
        joined = by_user.setdefault(subject, _Found())
        joined.count.add(found.count)
        joined.kept += found.kept
        joined.hides.update(found.hides)
        joined.targets |= found.targets
    for (field, name), found in by_user.items():
        system = field == "userGroups" or SYSTEM_USERS(name) is not None
        yaml = _rule("None", **{field: [name]}, verbs=list(READS), resources=_resources(found.targets))
        why = "A part of Kubernetes at its daily work; who steals its credentials reads these unseen."
        if not system:
            why = (
                "A person's or a workload's reads: the first trace of a stolen credential. Folded reads cost little; consider keeping them."
            )
        title = "Drop what the nodes read" if field == "userGroups" else f"Drop what {name} reads"
        yield _dropping(title, yaml, found, LOW if system else MEDIUM, why)


def _leases(live: dict[Key, Count]) -> Iterable[Suggestion]:
    lease = Target("coordination.k8s.io", "leases")
    # A service account's own lease counts as well: leader election is the same everywhere.
    found = _sums(live, lambda key: "leases" if key.target == lease and key.verb in LEASE_VERBS and _subject(key) else None).get("leases")
    if found is not None:
        yaml = _rule("None", userGroups=["system:authenticated"], verbs=list(LEASE_VERBS), resources=[("coordination.k8s.io", ["leases"])])
        why = "Heartbeats and leader election, many times a second. Who takes over a lease to stop a controller is not seen."
        yield _dropping("Drop the renewals of leases", yaml, found, LOW, why)


def _health(live: dict[Key, Count]) -> Iterable[Suggestion]:
    def wanted(key: Key) -> Any:
        first = "/" + key.target.path.lstrip("/").partition("/")[0]
        return "health" if key.target.path.startswith("/") and first in HEALTH and key.verb == "get" else None

    found = _sums(live, wanted).get("health")
    if found is not None:
        firsts = sorted({"/" + target.path.lstrip("/").partition("/")[0] for target in found.targets})
        urls = [url for first in firsts for url in (first, f"{first}/*")]
        yaml = _rule("None", verbs=["get"], nonResourceURLs=urls)
        yield _dropping(
            "Drop health checks and discovery",
            yaml,
            found,
            LOW,
            "Probes ask these every few seconds. A scanner asks them too, before it asks for more.",
        )


def _read_bodies(live: dict[Key, Count]) -> Iterable[Suggestion]:
    found = _sums(live, lambda key: "reads" if key.verb in FOLDABLE_VERBS and key.level in ("Request", "RequestResponse") else None).get(
        "reads"
    )
    if found is not None:
        count = found.count
        yaml = _rule("Metadata", verbs=list(READS))
        why = "Who read what stays; what the answer held is gone, which matters when an object was deleted since."
        more = sum(each.request + each.response for key, each in live.items() if key.verb in FOLDABLE_VERBS and key.outcome == "kept")
        yield Suggestion("Keep no bodies of reads", yaml, count.events, count.bodies, more, MEDIUM, why)


def _event_bodies(live: dict[Key, Count]) -> Iterable[Suggestion]:
    targets = {Target("", "events"), Target("events.k8s.io", "events")}
    bodies = ("Request", "RequestResponse")
    found = _sums(
        live, lambda key: "events" if key.target in targets and key.verb not in FOLDABLE_VERBS and key.level in bodies else None
    ).get("events")
    if found is not None:
        count = found.count
        yaml = _rule(
            "Metadata",
            verbs=["create", "patch", "update", "delete", "deletecollection"],
            resources=[("", ["events"]), ("events.k8s.io", ["events"])],
        )
        why = "Kubernetes' Events are notes of its components and have their own store; that one was written stays on record."
        bodies_left = count.request + count.response
        yield Suggestion("Keep no bodies of Events", yaml, count.events, count.bodies, bodies_left, LOW, why)


def _responses(live: dict[Key, Count]) -> Iterable[Suggestion]:
    """Answers to writes repeat the request, for the resources where they are most."""
    skipped = {Target("", "events"), Target("events.k8s.io", "events"), Target("coordination.k8s.io", "leases")}

    def wanted(key: Key) -> Any:
        write = key.verb in ("create", "update", "patch") and key.level == "RequestResponse" and key.outcome == "kept"
        return key.target if write and _nameable(key.target) and key.target not in skipped else None

    sums = sorted(_sums(live, wanted).items(), key=lambda item: (-item[1].count.response - item[1].count.response_cut, item[0]))
    for target, found in sums[:RESOURCES]:
        saves = found.count.response + found.count.response_cut
        yaml = _rule("Request", verbs=["create", "patch", "update"], resources=_resources([target]))
        why = "The request says what was asked for; defaults and what admission changed are only in the response."
        yield Suggestion(f"Keep no responses to writes of {target}", yaml, found.count.events, saves, found.count.response, LOW, why)


def _early(live: dict[Key, Count]) -> Iterable[Suggestion]:
    found = _sums(live, lambda key: "early" if key.stage == "RequestReceived" and key.stage in EARLY_STAGES else None).get("early")
    if found is not None:
        why = "A request's final event repeats it. Only of a request that never ends, as in a crash, it would be the one trace."
        yield Suggestion(
            "Omit the stage RequestReceived",
            'omitStages: ["RequestReceived"]\n',
            found.count.events,
            found.count.size,
            found.kept,
            LOW,
            why,
        )
