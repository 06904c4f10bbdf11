"""Source ranges of a followed input of which something waits: what it is, and the entries that settle it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from pipelines.ledger import Range
from transforms.audit.account import Account

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pipelines.ledger import Run, Stream
    from transforms.audit.block import Split


class OpenRange(msgspec.Struct, array_like=True):
    """A range in the ledger, and what of it waits: early stages, and [folded, merged] of read windows that are open."""

    uri: str
    partition: int | None
    cluster: str | None
    end: int
    waiting: int = 0
    windows: dict[int, list[int]] = {}

    @property
    def pending(self) -> int:
        """Events of it without an outcome."""
        return self.waiting + sum(map(sum, self.windows.values()))


Place = tuple[int, int]  # number of the stretch, start of the range


class OpenRanges:
    """All of them, by number of their stretch and start. Numbers are never used twice, so a log that begins anew is another."""

    def __init__(self, ranges: Iterable[tuple[Place, OpenRange]] = ()) -> None:
        self._open = dict(ranges)

    def __len__(self) -> int:
        return len(self._open)

    def items(self) -> list[tuple[Place, OpenRange]]:
        """All, by place."""
        return sorted(self._open.items())

    @property
    def pending(self) -> int:
        """Events that wait."""
        return sum(each.pending for each in self._open.values())

    @property
    def waiting(self) -> int:
        """Those of them that are early stages."""
        return sum(each.waiting for each in self._open.values())

    def by_range(self) -> dict[tuple[Stream, int, int], int]:
        """What waits, by range as the ledger names it."""
        out: dict[tuple[Stream, int, int], int] = {}
        for (_, start), each in self._open.items():
            at = ((each.uri, each.partition), start, each.end)
            out[at] = out.get(at, 0) + each.pending
        return {at: count for at, count in out.items() if count}

    def settle(self, accounts: Iterable[Account], splits: Iterable[Split], closing: int) -> tuple[OpenRanges, list[Range]]:
        """What waits after a run, and the run's ledger entries: of its own ranges, then of earlier ones that it settles.

        `accounts` are the run's; of them what was folded into a read window that begins at `closing` or later waits on.
        """
        sources = {split.file: split for split in splits}
        after = {at: msgspec.structs.replace(each, windows=dict(each.windows)) for at, each in self._open.items()}
        entries: dict[Place, tuple[OpenRange, Account]] = {}
        for at, each in after.items():
            for window in sorted(each.windows):
                if window < closing:
                    account = entries.setdefault(at, (each, Account(*at, end=each.end)))[1]
                    folded, merged = each.windows.pop(window)
                    account.folded += folded
                    account.merged += merged
                    account.pending -= folded + merged
        own: list[tuple[OpenRange, Account]] = []
        for account in accounts:
            at = (account.file, account.start)
            split = sources.get(account.file)
            if split is None:
                each, entry = entries.setdefault(at, (after[at], Account(*at, end=after[at].end)))
                entry.add(account)
            else:
                each, entry = after.setdefault(at, OpenRange(split.uri, split.partition, split.cluster, account.end)), account
                own.append((each, entry))
            each.waiting += account.pending
            for window, (folded, merged) in account.windows.items():
                if window >= closing:
                    entry.folded -= folded
                    entry.merged -= merged
                    entry.pending += folded + merged
                    counts = each.windows.get(window, (0, 0))
                    each.windows[window] = [counts[0] + folded, counts[1] + merged]
        settled = [(each, entry) for at, (each, entry) in sorted(entries.items()) if entry.pending]
        ranges = [Range(each.uri, each.cluster, entry, each.partition) for each, entry in [*own, *settled]]
        return OpenRanges((at, each) for at, each in after.items() if each.pending), ranges


def pending_of(runs: Iterable[Run]) -> Mapping[tuple[Stream, int, int], int]:
    """What waits by the ledger's own word, by range."""
    out: dict[tuple[Stream, int, int], int] = {}
    for run in runs:
        for each in run.ranges:
            if each.account.pending:
                at = (each.stream, each.account.start, each.account.end)
                out[at] = out.get(at, 0) + each.account.pending
    return {at: count for at, count in out.items() if count}
