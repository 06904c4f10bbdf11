"""Reduce messages as a followed input is: run after run, each with what the ones before it left. Pure Python, no windows."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from tests.audit.reduction import KEY, STARTED, records, settings
from transforms.audit import cycle as cycles
from transforms.audit.account import Account, total
from transforms.audit.block import DEFAULT_CLUSTER, Split
from transforms.audit.cycle import Cycle
from transforms.audit.memory import encode_rows
from transforms.audit.record import content, digest
from transforms.audit.reduce_all import Reduced, reduce_all
from transforms.audit.resolve_copies import LooseEvent
from transforms.audit.settings import Compiled
from transforms.connectors.held_messages import hold, let_go, read_split

if TYPE_CHECKING:
    from collections.abc import Sequence

URI = "kafka://test/audit"


class Result(msgspec.Struct):
    """What came of all messages: records of events, sums of summaries by window and key, outcomes by digest, the account."""

    events: list[dict[str, Any]]
    sums: Counter[Any]
    outcomes: Counter[tuple[bytes, bool]]  # (digest, whether it is a duplicate)
    account: Account
    letters: int

    def add(self, reduced: Reduced) -> None:
        """The result of a run."""
        for block in reduced.blocks:
            found = records(block)
            if block.kind == "events":
                self.events += found
            else:
                self.letters += len(found)
        for row in reduced.reads:
            at = (row.cluster, row.window, row.key)
            self.sums.update({(*at, "count"): row.count, (*at, "merged"): row.merged, (*at, "bytes"): row.size})
        self.account.add(total(reduced.accounts))

    def trace(self, event: Any, outcome: str, _: str | None) -> None:
        """Take note of an event's outcome."""
        if outcome in ("dead_letter", "dropped_by_rule", "dropped_by_stage"):
            return
        if isinstance(event, LooseEvent):
            cluster, encoded = event.cluster, event.content
        else:
            cluster, encoded = event.cluster or DEFAULT_CLUSTER, content(event)
        self.outcomes[digest(cluster, encoded), outcome == "duplicate"] += 1

    def closes(self) -> bool:
        """Whether every event has its outcome, and the records say so."""
        account = self.account
        merged = sum(len(each["stages"]) - 1 for each in self.events)
        folded = sum(count for at, count in self.sums.items() if at[-1] == "count")
        merged += sum(count for at, count in self.sums.items() if at[-1] == "merged")
        return (
            account.events == account.accounted
            and account.pending == 0
            and (account.kept, account.folded, account.merged) == (len(self.events), folded, merged)
            and sum(account.dead_lettered.values()) == self.letters
        )


def _result() -> Result:
    return Result([], Counter(), Counter(), Account(0, 0), 0)


def batch(messages: Sequence[bytes], **changes: Any) -> Result:
    """All messages in one run."""
    out = _result()
    path = hold(list(enumerate(messages)))
    out.add(
        reduce_all(
            [Split(0, URI, path, 0, len(messages))], lambda split: read_split(split, KEY), Compiled(settings(**changes), KEY), out.trace
        )
    )
    let_go(path)
    return out


def followed(messages: Sequence[bytes], cuts: Sequence[int], restarts: Sequence[bool], directory: str, **changes: Any) -> Result:
    """Runs that begin at 0 and at each cut, a second apart; before those that `restarts` names (by turns) all but files is forgotten.

    A last run settles what waits.
    """
    out = _result()
    compiled = Compiled(settings(**changes), KEY)
    bounds = sorted({0, *(cut % (len(messages) + 1) for cut in cuts), len(messages)})
    waiting: list[LooseEvent] = []
    memory: list[str] = []
    spans = [*pairwise(bounds), (len(messages), len(messages))]
    for number, (start, end) in enumerate(spans):
        if restarts and restarts[number % len(restarts)]:
            cycles._memory_of_worker.cache_clear()
            compiled = Compiled(settings(**changes), KEY)
            waiting = msgspec.msgpack.decode(msgspec.msgpack.encode(waiting), type=list[LooseEvent])
        last = number == len(spans) - 1
        cycle = Cycle(STARTED + number * 1_000_000, 0, 0, 0 if last else 600_000_000, tuple(memory), directory)
        path = hold([(at, messages[at]) for at in range(start, end)])
        splits = [] if start == end else [Split(number, URI, path, start, end)]
        reduced = reduce_all(splits, lambda split: read_split(split, KEY), compiled, out.trace, cycle, waiting)
        let_go(path)
        out.add(reduced)
        waiting = reduced.waiting
        assert out.account.events == out.account.accounted
        assert out.account.pending == len(waiting)
        if reduced.settled:
            file = Path(directory) / f"{number}.rows"
            file.write_bytes(encode_rows([reduced.settled]))
            memory.append(str(file))
    return out
