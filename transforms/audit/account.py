"""The account of one source range: what became of every event in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable

# In the order of precedence: the first that applies is the event's one outcome.
OUTCOMES: Final = ("dead_letter", "dropped_by_rule", "dropped_by_stage", "duplicate", "merged", "folded", "kept")
NO_RULE: Final = "none"


class Account(msgspec.Struct, array_like=True):
    """Counts of one range; partial accounts of the same range add up.

    The range is `start` to `end` of the decompressed stream of the run's input number `file`. `mac` is empty in a
    partial account that did not see the end of the range.
    """

    file: int
    start: int
    end: int = 0
    events: int = 0
    size: int = 0
    kept: int = 0
    folded: int = 0
    merged: int = 0
    duplicate: int = 0
    dropped_by_rule: dict[str, int] = {}
    dropped_by_stage: int = 0
    dead_lettered: dict[str, int] = {}
    mac: bytes = b""
    pending: int = 0  # whose outcome a later run of a followed input decides; an entry that settles them has fewer than none
    # Not for the ledger: bytes of JSON by outcome, and by what was cut from kept events, for the report; and where an input is
    # followed, [folded, merged] by read window, and the latest time seen.
    sizes: dict[str, int] = {}
    windows: dict[int, list[int]] = {}
    latest: int = 0

    def add(self, other: Account) -> None:
        """Add the counts of another partial account of the same range."""
        self.end = max(self.end, other.end)
        self.events += other.events
        self.size += other.size
        self.kept += other.kept
        self.folded += other.folded
        self.merged += other.merged
        self.duplicate += other.duplicate
        self.dropped_by_stage += other.dropped_by_stage
        self.mac = self.mac or other.mac
        self.pending += other.pending
        self.latest = max(self.latest, other.latest)
        for window, (folded, merged) in other.windows.items():
            self.fold_into(window, folded, merged)
        counts = (
            (self.dropped_by_rule, other.dropped_by_rule),
            (self.dead_lettered, other.dead_lettered),
            (self.sizes, other.sizes),
        )
        for mine, theirs in counts:
            for name, count in theirs.items():
                mine[name] = mine.get(name, 0) + count

    def drop_by_rule(self, rule: int | None, count: int = 1) -> None:
        """Count events that a rule of level None dropped; None: no rule matched them."""
        name = NO_RULE if rule is None else str(rule)
        self.dropped_by_rule[name] = self.dropped_by_rule.get(name, 0) + count

    def fold_into(self, window: int, folded: int, merged: int) -> None:
        """Note which read window events were folded into, and the stages merged into those."""
        counts = self.windows.setdefault(window, [0, 0])
        counts[0] += folded
        counts[1] += merged

    def weigh(self, what: str, size: int) -> None:
        """Add bytes of JSON to what had an outcome, or was cut."""
        if size:
            self.sizes[what] = self.sizes.get(what, 0) + size

    def dead_letter(self, code: str) -> None:
        """Count one event that could not be read."""
        self.dead_lettered[code] = self.dead_lettered.get(code, 0) + 1

    @property
    def accounted(self) -> int:
        """Events with an outcome, or waiting for it; equals `events` where the account is closed."""
        dropped = sum(self.dropped_by_rule.values()) + self.dropped_by_stage
        return self.kept + self.folded + self.merged + self.duplicate + dropped + sum(self.dead_lettered.values()) + self.pending


def weigh_cuts(account: Account, reductions: list[tuple[str, str, int, int]]) -> None:
    """Add what was cut from a kept event to the account's sizes: managedFields, and everything else as redaction."""
    for kind, _, _, size in reductions:
        account.weigh("managedFields" if kind == "managedFields" else "redaction", size)


def total(accounts: list[Account]) -> Account:
    """The sum over ranges; file, start and mac mean nothing in it."""
    out = Account(0, 0)
    for account in accounts:
        out.add(account)
    out.end = 0
    out.mac = b""
    return out


def sum_accounts(accounts: Iterable[Account]) -> list[Account]:
    """Partial accounts added up by range, in order."""
    ranges: dict[tuple[int, int], Account] = {}
    for account in accounts:
        found = ranges.get((account.file, account.start))
        if found is None:
            ranges[account.file, account.start] = account
        else:
            found.add(account)
    return [ranges[at] for at in sorted(ranges)]
