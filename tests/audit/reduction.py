"""Run `reduce_all` on bytes, cut as a test likes it, and say what came out in plain values."""

from __future__ import annotations

import io
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import fastavro
import msgspec

from pipelines.plan import plan
from schemas import schema
from transforms.audit import avro
from transforms.audit.account import Account, total
from transforms.audit.reduce_all import Reduced, reduce_all
from transforms.audit.resolve_copies import LooseEvent
from transforms.audit.settings import Compiled, Settings
from transforms.connectors.audit_files import read_blocks

if TYPE_CHECKING:
    from collections.abc import Sequence

KEY: Final = b"a key of tests: at least 16 bytes"
STARTED: Final = 1_795_500_000_000_000  # 2026-11-24T05:20Z, hours after the events of `examples`
_SCHEMAS: Final = {
    kind: fastavro.parse_schema(msgspec.json.decode(schema(name)))
    for kind, name in (("events", "audit_event"), ("reads", "read_summary"), ("dead_letters", "dead_letter"))
}


class Outcome(msgspec.Struct):
    """What a reduction gave: the records of events and dead letters, summaries, and the summed account."""

    events: list[dict[str, Any]]
    dead_letters: list[dict[str, Any]]
    reads: list[dict[str, Any]]
    account: Account
    accounts: list[Account]


def settings(**changes: Any) -> Settings:
    return Settings(**{"started": STARTED, **changes})


def record(encoded: bytes, kind: str = "events") -> dict[str, Any]:
    """One record, read by fastavro."""
    return fastavro.schemaless_reader(io.BytesIO(encoded), _SCHEMAS[kind], None)


def records(block: Any) -> list[dict[str, Any]]:
    """The records of an Avro block, read by fastavro."""
    stream = io.BytesIO(avro.decompress(block.packed))
    return [fastavro.schemaless_reader(stream, _SCHEMAS[block.kind], None) for _ in range(block.count)]


def plain(reduced: Reduced, window: int = 60_000_000) -> Outcome:
    """The result in values that can be compared: records sorted by their place in the input."""
    by_kind: dict[str, list[dict[str, Any]]] = {"events": [], "dead_letters": []}
    for block in reduced.blocks:
        by_kind[block.kind] += records(block)
    for found in by_kind.values():
        found.sort(key=lambda each: (each["source"]["uri"], each["source"]["offset"], each["source"]["item"]))
    reads = [record(row.encoded(window), "reads") for row in reduced.reads]
    return Outcome(by_kind["events"], by_kind["dead_letters"], reads, total(reduced.accounts), reduced.accounts)


def reduce_files(
    files: Sequence[bytes],
    *,
    block_size: int = 1 << 20,
    split_size: int = 64 << 20,
    clusters: Sequence[str | None] = (),
    order: Sequence[int] = (),
    **changes: Any,
) -> Outcome:
    """Reduce files of this content, in this order of precedence. `order` numbers the splits in the order of work."""
    with tempfile.TemporaryDirectory() as directory:
        named = []
        for at, content in enumerate(files):
            path = Path(directory) / f"{at:03d}.log"
            path.write_bytes(content)
            named.append((str(path), clusters[at] if clusters else None))
        splits = plan(named, split_size=split_size).splits
        ranked = sorted(range(len(splits)), key=lambda at: (order[at % len(order)] if order else 0, at))
        asked = settings(**changes)
        reduced = reduce_all([splits[at] for at in ranked], lambda split: read_blocks(split, KEY, block_size), Compiled(asked, KEY))
        out = plain(reduced, asked.window)
        for each in [*out.events, *out.dead_letters, *[row["exemplar"] for row in out.reads if row["exemplar"]]]:
            each["source"]["uri"] = each["source"]["uri"].removeprefix(directory + "/")
        return out


def closes(outcome: Outcome) -> bool:
    """Whether the equation holds in total, with the records and with the summaries."""
    account = outcome.account
    merged = sum(len(each["stages"]) - 1 for each in outcome.events) + sum(row["mergedStages"] for row in outcome.reads)
    return (
        account.events == account.accounted
        and account.kept == len(outcome.events)
        and account.folded == sum(row["count"] for row in outcome.reads)
        and account.merged == merged
        and sum(account.dead_lettered.values()) == len(outcome.dead_letters)
        and Counter(account.dead_lettered) == Counter(letter["code"] for letter in outcome.dead_letters)
        and all(each.events == each.accounted for each in outcome.accounts)
    )


def traced(files: Sequence[bytes], **changes: Any) -> list[tuple[int, int, int, str]]:
    """(file, offset, item, outcome) of every event, as a trace is told them; sorted."""
    told: list[tuple[int, int, int, str]] = []

    def trace(event: Any, outcome: str, why: str | None) -> None:
        file = event.file if isinstance(event, LooseEvent) else event.account.file
        told.append((file, event.offset, event.item, outcome))

    with tempfile.TemporaryDirectory() as directory:
        named = []
        for at, content in enumerate(files):
            path = Path(directory) / f"{at:03d}.log"
            path.write_bytes(content)
            named.append((str(path), None))
        reduce_all(plan(named).splits, lambda split: read_blocks(split, KEY), Compiled(settings(**changes), KEY), trace)
    return sorted(told)
