"""The contract's definitions of outcomes, written down naively: all events in one list, compared with one another.

Good for events that no step cuts: what would be written for them is what they say, less `kind` and `apiVersion`.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson

EARLY = ("RequestReceived", "ResponseStarted")
FINAL = ("ResponseComplete", "Panic")
REQUEST = ("requestReceivedTimestamp", "user", "verb", "requestURI", "sourceIPs")
RFC_3339 = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)(?:\.(\d+))?(Z|[+-]\d\d:\d\d)").fullmatch
KEY_FIELDS = ("username", "impersonatedUsername", "verb", "apiGroup", "resource", "subresource", "namespace", "userAgent", "path", "code")


@dataclass
class Told:
    """One event of the input, where it stands, and what the contract makes of it."""

    file: int
    offset: int
    item: int
    size: int
    event: dict[str, Any]
    cluster: str = "default"
    outcome: str = ""
    flags: set[str] = field(default_factory=set)
    merged: list[Told] = field(default_factory=list)

    @property
    def place(self) -> tuple[int, int, int]:
        return self.file, self.offset, self.item

    @property
    def content(self) -> tuple[str, bytes]:
        said = {name: value for name, value in self.event.items() if name not in ("kind", "apiVersion")}
        return self.cluster, orjson.dumps(said, option=orjson.OPT_SORT_KEYS)

    def text(self, name: str) -> str | None:
        return self.event.get(name)

    @property
    def moment(self) -> int | None:
        return micros(self.event.get("stageTimestamp"))

    @property
    def request(self) -> bytes:
        return orjson.dumps([self.cluster, self.event.get("auditID"), *[self.event.get(name) for name in REQUEST]])


def micros(text: str | None) -> int | None:
    """Microseconds since the epoch of an RFC 3339 time, what is finer cut off."""
    found = RFC_3339(text or "")
    if found is None:
        return None
    date, time, fraction, zone = found.groups()
    try:
        moment = datetime.strptime(f"{date} {time} {zone.replace('Z', '+00:00')}", "%Y-%m-%d %H:%M:%S %z")
    except ValueError:
        return None
    return int(moment.timestamp()) * 1_000_000 + int((fraction or "0").ljust(6, "0")[:6])


def fits_micros(text: str | None) -> bool:
    """Whether a time is one that a record can hold without loss."""
    found = RFC_3339(text or "")
    return found is not None and len(found[3] or "") <= 6 and micros(text) is not None


def says(early: Any, final: Any) -> bool:
    """Whether the final value holds all of the early one; of maps, every entry."""
    if isinstance(early, dict) and isinstance(final, dict):
        return all(name in final and final[name] == value for name, value in early.items())
    return early == final


def repeated(early: Told, final: Told) -> bool:
    ours = {"stage", "stageTimestamp", "kind", "apiVersion", "auditID", *REQUEST}
    if early.event["level"] != final.event["level"] or early.event.get("userAgent") != final.event.get("userAgent"):
        return False
    for name in early.event.keys() - ours:
        if name not in final.event:
            return False
        partly = name in ("objectRef", "annotations")
        if not (says if partly else (lambda a, b: a == b))(early.event[name], final.event[name]):
            return False
    return True


def guarded(event: dict[str, Any], moment: int | None) -> bool:
    """The guards, as far as these tests' events can meet them."""
    code = event.get("responseStatus", {}).get("code")
    reference = event.get("objectRef", {})
    username = event["user"].get("username")
    return (
        event["stage"] == "Panic"
        or code is None
        or not 200 <= code < 300
        or "impersonatedUser" in event
        or not username
        or username == "system:anonymous"
        or reference.get("resource") == "secrets"
        or reference.get("subresource", "") not in ("", "status", "scale")
        or (event["verb"] == "list" and not reference.get("namespace") and not username.startswith("system:kube-"))
        or moment is None
        or "authorization.k8s.io/odd" in event
    )


def judge(events: list[Told], *, merge: bool, fold: bool, now: int) -> list[Told]:
    """Outcomes of all events, as the contract defines them; in order of precedence."""
    events = sorted(events, key=lambda told: told.place)
    written: set[tuple[str, bytes]] = set()
    left = []
    for told in events:
        if told.content in written:
            told.outcome = "duplicate"
        else:
            written.add(told.content)
            left.append(told)
    shared = Counter((told.cluster, told.text("auditID"), told.event["stage"]) for told in left)
    for told in left:
        if told.text("auditID") is not None and shared[told.cluster, told.text("auditID"), told.event["stage"]] > 1:
            told.flags.add("AUDIT_ID_COLLISION")
    finals = [told for told in left if told.event["stage"] in FINAL]
    for told in left:
        if told.event["stage"] not in EARLY:
            continue
        completing = [final for final in finals if final.request == told.request]
        into = next((final for final in completing if repeated(told, final)), None)
        if merge and into is not None and told.text("auditID") is not None and fits_micros(told.text("stageTimestamp")):
            told.outcome = "merged"
            into.merged.append(told)
            continue
        told.outcome = "kept"
        failed = told.event["stage"] == "ResponseStarted" and told.event.get("responseStatus", {}).get("code", 0) >= 400
        if not completing and not failed:
            told.flags.add("NO_COMPLETION")
    for told in left:
        if told.event["stage"] in EARLY:
            continue
        moment = believed(told.moment, now)
        reads = told.event["verb"] in ("get", "list", "watch") and told.event["stage"] in FINAL
        folds = fold and reads and not guarded(told.event, moment) and "AUDIT_ID_COLLISION" not in told.flags
        told.outcome = "folded" if folds else "kept"
    return events


def believed(moment: int | None, now: int) -> int | None:
    """The time if it is neither before 2014 nor more than a day ahead."""
    return moment if moment is not None and 1_388_534_400_000_000 <= moment <= now + 86_400_000_000 else None


def key_of(told: Told) -> tuple[Any, ...]:
    """What a read is folded by."""
    event = told.event
    reference = event.get("objectRef")
    target = [None] * 4 if reference is None else [reference.get(name) for name in ("apiGroup", "resource", "subresource", "namespace")]
    path = event.get("requestURI", "").partition("?")[0] if reference is None else None
    impersonated = event.get("impersonatedUser", {}).get("username")
    return (
        event["user"].get("username"),
        impersonated,
        event["verb"],
        *target,
        event.get("userAgent"),
        path,
        event["responseStatus"]["code"],
    )


@dataclass
class Row:
    """A read summary, counted by hand."""

    count: int = 0
    merged: int = 0
    size: int = 0
    times: list[int] = field(default_factory=list)
    names: Counter[str] = field(default_factory=Counter)
    addresses: Counter[str] = field(default_factory=Counter)
    audit_ids: Counter[str] = field(default_factory=Counter)
    first: tuple[Any, ...] | None = None


def rows_of(judged: list[Told], window: int) -> dict[tuple[Any, ...], Row]:
    """Summaries of the folded events by (window, cluster, key)."""
    rows: dict[tuple[Any, ...], Row] = {}
    for told in judged:
        if told.outcome != "folded":
            continue
        moment = told.moment or 0
        row = rows.setdefault((moment - moment % window, told.cluster, key_of(told)), Row())
        row.count += 1
        row.merged += len(told.merged)
        row.size += told.size + sum(stage.size for stage in told.merged)
        row.times.append(moment)
        row.names.update([name] if (name := told.event.get("objectRef", {}).get("name")) is not None else [])
        row.addresses.update(told.event.get("sourceIPs", []))
        row.audit_ids.update([told.event["auditID"]] if told.event.get("auditID") is not None else [])
        order = (moment, *told.place)
        row.first = min(row.first or order, order)
    return rows
