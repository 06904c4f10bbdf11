"""The report as one document: what a survey found, in tables, with savings, costs and suggestions. JSON, page and text show it."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec

from transforms.audit.account import OUTCOMES
from transforms.audit.event import EARLY_STAGES
from transforms.audit.guards import BUILT_IN, load_guards
from transforms.audit.suggest_rules import suggest_rules
from transforms.audit.survey_table import Count

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from transforms.audit.settings import Compiled
    from transforms.audit.survey import Surveyed
    from transforms.audit.survey_table import Key

ROWS: Final = 12
MONTH: Final = 30 * 86_400  # seconds
GB: Final = 1_000_000_000
SHORTEST: Final = 60  # seconds of log below which a month is not guessed from it
_MICRO: Final = 1_000_000
DIMENSIONS: Final[dict[str, Callable[[Key], Any]]] = {
    "verb": lambda key: key.verb,
    "resource": lambda key: str(key.target),
    "user": lambda key: key.who.name,
    "userAgent": lambda key: key.agent,
    "level": lambda key: key.level,
    "stage": lambda key: key.stage,
}


def document(found: Surveyed, compiled: Compiled, inputs: dict[str, Any], price: float | None) -> dict[str, Any]:
    """The whole report. Bytes are of JSON as a SIEM bills it, where they are not called stored."""
    table = found.table
    captured = sum(count.size for count in table.values())
    steps, left = _steps(found)
    _stored_steps(steps, found, captured)
    span = _span(found)
    events = sum(count.events for count in table.values()) + sum(times for times, _ in found.dead.values())
    return {
        "inputs": inputs | {"events": events, "jsonBytes": captured},
        "span": span,
        "outcomes": _outcomes(found),
        "deadLettered": {code: times for code, (times, _) in sorted(found.dead.items())},
        "steps": steps,
        "left": {"jsonBytes": left, "storedBytes": found.stored, "events": _outcome(table, "kept").events, "summaries": len(found.rows)},
        "managedFields": _places(found, "managedFields"),
        "redaction": _redaction(found),
        "cost": _cost(price, span, captured, left),
        "by": {name: _by(table, of) for name, of in DIMENSIONS.items()} | ({"rule": _by(table, _rule_name)} if compiled.policy else {}),
        "topTalkers": _talkers(table),
        "guards": _guards(table, compiled),
        "policy": _policy(found, compiled) if compiled.policy else None,
        "suggestions": [msgspec.to_builtins(each) for each in suggest_rules(table)],
        "sampledBytes": found.sample.get("raw", 0),
    }


def _rule_name(key: Key) -> str:
    return "none" if key.rule is None else str(key.rule)


def _outcome(table: dict[Key, Count], outcome: str) -> Count:
    out = Count()
    for key, count in table.items():
        if key.outcome == outcome:
            out.add(count)
    return out


def _outcomes(found: Surveyed) -> dict[str, dict[str, int]]:
    sums = {name: _outcome(found.table, name) for name in OUTCOMES}
    sums["dead_letter"] = Count(sum(times for times, _ in found.dead.values()), sum(size for _, size in found.dead.values()))
    return {name: {"events": count.events, "jsonBytes": count.size} for name, count in sums.items()}


def _steps(found: Surveyed) -> tuple[list[dict[str, Any]], int]:
    """What each step takes away, in order, in bytes of JSON; and what is left. The sums close: captured = steps + left."""
    sums = {name: _outcome(found.table, name) for name in OUTCOMES}
    kinds: Counter[str] = Counter()
    events: Counter[str] = Counter()
    for (kind, _), (times, size) in found.cuts.items():
        kinds[kind] += size
        events[kind] += times
    surviving = [sums[name] for name in ("duplicate", "merged", "folded", "kept")]
    cut = sum(each.size - each.left for each in surviving)
    redacted = cut - kinds["level"] - kinds["managedFields"] - kinds["bulk"]
    folded = sums["folded"].left
    rows: list[tuple[str, str, int | None, int]] = [
        (
            "policy",
            "Policy: events dropped",
            sums["dropped_by_rule"].events + sums["dropped_by_stage"].events,
            sums["dropped_by_rule"].size + sums["dropped_by_stage"].size,
        ),
        ("level", "Policy: bodies cut", None, kinds["level"]),
        ("managedFields", "managedFields", None, kinds["managedFields"]),
        ("redaction", "Redaction", None, redacted),
        ("bulk", "Bulk", None, kinds["bulk"]),
        ("duplicate", "Duplicates", sums["duplicate"].events, sums["duplicate"].left),
        ("merged", "Merged stages", sums["merged"].events, sums["merged"].left),
        ("folded", "Folded reads", sums["folded"].events, folded - found.summaries),
    ]
    left = sums["kept"].left + found.summaries
    return [{"step": step, "title": title, "events": count, "jsonBytes": size} for step, title, count, size in rows if size or count], left


# Which of the survey's samples shows the state after a step; what it cannot show gets its share of JSON bytes.
_AFTER: Final = {
    "policy": "policy",
    "level": "policy",
    "managedFields": "managedFields",
    "redaction": "redaction",
    "merged": "merged",
    "folded": "folded",
}


def _stored_steps(steps: list[dict[str, Any]], found: Surveyed, captured: int) -> None:
    """What each step saves of what would be stored, from blocks compressed after each step; last what Avro saves beside JSON."""
    sample, raw = found.sample, found.sample.get("raw", 0)
    if not raw:
        return
    scale = captured / raw
    before: float = sample.get("captured", 0)
    for step in steps:
        if step["step"] == "level" and any(other["step"] == "policy" for other in steps):
            step["storedBytes"] = None  # in the line before
            continue
        name = _AFTER.get(step["step"])
        after: float = sample.get(name, 0) if name is not None else before * (1 - step["jsonBytes"] / captured)
        step["storedBytes"] = round((before - after) * scale)
        before = after
    rest = round(before * scale)
    steps.append({"step": "avro", "title": "Avro and zstandard", "events": None, "jsonBytes": 0, "storedBytes": rest - found.stored})


def _span(found: Surveyed) -> dict[str, Any] | None:
    if found.first is None or found.last is None:
        return None
    times = {
        name: datetime.fromtimestamp(moment / _MICRO, UTC).isoformat().replace("+00:00", "Z")
        for name, moment in (("from", found.first), ("to", found.last))
    }
    return times | {"seconds": (found.last - found.first) / _MICRO}


def _cost(price: float | None, span: dict[str, Any] | None, captured: int, left: int) -> dict[str, Any] | None:
    if price is None:
        return None
    if span is None or span["seconds"] < SHORTEST:
        return {
            "pricePerGB": price,
            "perMonthBefore": None,
            "perMonthAfter": None,
            "note": f"the events span less than {SHORTEST} seconds: too little to guess a month from",
        }
    factor = MONTH / span["seconds"] / GB * price
    note = f"extrapolated from {_duration(span['seconds'])} of events to 30 days of the same"
    return {"pricePerGB": price, "perMonthBefore": round(captured * factor, 2), "perMonthAfter": round(left * factor, 2), "note": note}


def _duration(seconds: float) -> str:
    for unit, length in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} seconds"


def _row(name: Any, counts: Sequence[tuple[Key, Count]]) -> dict[str, Any]:
    kept = [(count.events, count.left) for key, count in counts if key.outcome == "kept"]
    events, size = sum(count.events for _, count in counts), sum(count.size for _, count in counts)
    return {
        "name": name,
        "events": events,
        "jsonBytes": size,
        "keptEvents": sum(number for number, _ in kept),
        "keptBytes": sum(length for _, length in kept),
    }


def _grouped(table: dict[Key, Count], of: Callable[[Key], Any]) -> dict[Any, list[tuple[Key, Count]]]:
    groups: dict[Any, list[tuple[Key, Count]]] = {}
    for key, count in table.items():
        groups.setdefault(of(key), []).append((key, count))
    return groups


def _by(table: dict[Key, Count], of: Callable[[Key], Any]) -> list[dict[str, Any]]:
    """The largest by bytes; the last row sums the rest."""
    rows = [_row(name or "(none)", counts) for name, counts in _grouped(table, of).items()]
    rows.sort(key=lambda row: (-row["jsonBytes"], row["name"]))
    if len(rows) > ROWS + 1:
        rest = rows[ROWS:]
        sums = {name: sum(row[name] for row in rest) for name in ("events", "jsonBytes", "keptEvents", "keptBytes")}
        rows = [*rows[:ROWS], {"name": f"({len(rest)} others)", **sums}]
    return rows


def _talkers(table: dict[Key, Count]) -> list[dict[str, Any]]:
    groups = _grouped(table, lambda key: (key.who.name, key.agent, key.verb, str(key.target)))
    rows = []
    for (user, agent, verb, resource), counts in groups.items():
        sums = _row("", counts)
        del sums["name"]
        rows.append({"user": user, "userAgent": agent, "verb": verb, "resource": resource, **sums})
    rows.sort(key=lambda row: (-row["jsonBytes"], row["user"], row["verb"], row["resource"], row["userAgent"]))
    return rows[:ROWS]


def _places(found: Surveyed, kind: str) -> list[dict[str, Any]]:
    rows = [{"place": path, "count": times, "jsonBytes": size} for (which, path), (times, size) in found.cuts.items() if which == kind]
    return sorted(rows, key=lambda row: (-row["jsonBytes"], row["place"]))


def _redaction(found: Surveyed) -> list[dict[str, Any]]:
    rows = [
        {"kind": kind, "place": path, "count": times, "jsonBytes": size}
        for (kind, path), (times, size) in found.cuts.items()
        if kind not in ("managedFields", "level", "bulk")
    ]
    return sorted(rows, key=lambda row: (-row["count"], row["kind"], row["place"]))


def _guards(table: dict[Key, Count], compiled: Compiled) -> list[dict[str, Any]]:
    own = compiled.settings.guards
    reasons = BUILT_IN | ({guard.name: guard.reason for guard in load_guards(own.encode())} if own is not None else {})
    groups = _grouped({key: count for key, count in table.items() if key.outcome == "kept" and key.why is not None}, lambda key: key.why)
    rows = [
        {
            "guard": name,
            "events": sum(count.events for _, count in counts),
            "jsonBytes": sum(count.left for _, count in counts),
            "reason": reasons.get(name, ""),
        }
        for name, counts in groups.items()
    ]
    return sorted(rows, key=lambda row: (-row["events"], row["guard"]))


def _policy(found: Surveyed, compiled: Compiled) -> dict[str, Any]:
    policy = compiled.policy
    assert policy is not None  # noqa: S101 - the caller's question
    groups = _grouped(found.table, lambda key: key.rule)
    rules = []
    for index, rule in enumerate(policy.rules):
        counts = groups.get(index, [])
        gone = [(key, count) for key, count in counts if key.outcome in ("dropped_by_rule", "dropped_by_stage")]
        hides: Counter[str] = Counter()
        for key, count in gone:
            if key.outcome == "dropped_by_rule" and key.why is not None:
                hides[key.why] += count.events
        dropped = sum(count.size for _, count in gone)
        rules.append(
            {
                "rule": index,
                "level": rule.level,
                "events": sum(count.events for _, count in counts),
                "jsonBytes": sum(count.size for _, count in counts),
                "dropped": sum(count.events for _, count in gone),
                "saves": dropped + found.level_cuts.get(index, 0),
                "hides": dict(hides.most_common()),
            }
        )
    lost = [(key, count) for key, count in groups.get(None, []) if key.outcome == "dropped_by_rule"]
    hidden: Counter[str] = Counter()
    for key, count in lost:
        if key.why is not None:
            hidden[key.why] += count.events
    unmatched = _row("", lost)
    top = _by(dict(lost), lambda key: f"{key.verb} {key.target}")[:5] if lost else []
    return {
        "rules": rules,
        "neverMatched": [row["rule"] for row in rules if not row["events"]],
        "unmatched": {
            "events": unmatched["events"],
            "jsonBytes": unmatched["jsonBytes"],
            "hides": dict(hidden.most_common()),
            "top": [{"name": row["name"], "events": row["events"]} for row in top],
        },
        "warnings": policy.warnings,
        "earlyStagesOmitted": sum(
            count.events for key, count in found.table.items() if key.outcome == "dropped_by_stage" and key.stage in EARLY_STAGES
        ),
    }
