"""What a survey counts events by, and the sums it keeps; bounded, whatever names clients invent."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import msgspec

from transforms.audit.event import EARLY_STAGES, FINAL_STAGES, text

KEYS_LIMIT: Final = 50_000
TEXT_LIMIT: Final = 160  # characters of a name that are shown
OTHER: Final = "(other)"


class Who(NamedTuple):
    """A user: its name, and the group that stands for it in a policy where there is one (`system:nodes`)."""

    name: str
    group: str = ""


class Target(NamedTuple):
    """What was asked for: a resource, or the beginning of a path that is none."""

    group: str
    resource: str
    subresource: str = ""
    path: str = ""

    def __str__(self) -> str:
        return self.path or "/".join(part for part in self if part)


class Key(NamedTuple):
    """What events are counted by."""

    who: Who
    agent: str
    verb: str
    target: Target
    level: str
    stage: str
    rule: int | None
    outcome: str
    why: str | None  # the guard that keeps it, or would have kept what a rule drops


class Count(msgspec.Struct, gc=False):
    """Sums over events, in bytes of JSON. `left` is what remains of an event before copies, stages and reads are taken away."""

    events: int = 0
    size: int = 0
    left: int = 0
    request: int = 0  # of `left`: requestObject
    response: int = 0  # of `left`: responseObject
    cut: int = 0  # taken by level, managedFields and redaction
    request_cut: int = 0  # of `cut`: from requestObject
    response_cut: int = 0  # of `cut`: from responseObject

    def add(self, other: Count) -> None:
        """Add another's sums."""
        self.events += other.events
        self.size += other.size
        self.left += other.left
        self.request += other.request
        self.response += other.response
        self.cut += other.cut
        self.request_cut += other.request_cut
        self.response_cut += other.response_cut

    @property
    def bodies(self) -> int:
        """Bytes of both bodies as they were captured."""
        return self.request + self.response + self.request_cut + self.response_cut


def short(name: str | None) -> str:
    """A name, not longer than is shown."""
    name = name or ""
    return name if len(name) <= TEXT_LIMIT else name[:TEXT_LIMIT] + "…"


def plain(key: Any) -> Key:
    """The key with absent fields empty."""
    who, agent, verb, target, level, stage, *rest = key
    return Key(who, short(text(agent)), short(text(verb)), target, short(text(level)), short(text(stage)), *rest)


def bounded(table: dict[Any, Count]) -> dict[Any, Count]:
    """The table with its smaller half joined by dropping who, agent, verb and target; sums stay exact."""
    ranked = sorted(table.items(), key=lambda item: item[1].size, reverse=True)
    out = dict(ranked[: KEYS_LIMIT // 4])
    for key, count in ranked[KEYS_LIMIT // 4 :]:
        joined = (
            Who(OTHER),
            OTHER,
            OTHER,
            Target("", OTHER),
            OTHER,
            key[5] if key[5] in EARLY_STAGES or key[5] in FINAL_STAGES else OTHER,
            *key[6:],
        )
        out.setdefault(joined, Count()).add(count)
    return out
