"""The ledger of an output: which source ranges it holds, what became of their events, what each run wrote."""

from __future__ import annotations

import hashlib
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import msgspec

from transforms.audit import avro
from transforms.audit.account import Account
from transforms.audit.avro_blocks import AvroBlock
from transforms.audit.record import source_part, stream_part
from transforms.connectors import storage
from transforms.connectors.avro_files import OutputFile, container, records_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from transforms.audit.block import Split


Stream = tuple[str, int | None]  # URI and partition
BROKERS: Final = ("kafka", "pubsub")


class LedgerError(Exception):
    """The ledger cannot be trusted; the message names the place."""


class Range(msgspec.Struct):
    """A source range as the ledger has it."""

    uri: str
    cluster: str | None
    account: Account
    partition: int | None = None

    @property
    def stream(self) -> Stream:
        """What its offsets belong to."""
        return self.uri, self.partition

    @property
    def settles(self) -> bool:
        """Whether it only says what became of events that an earlier entry left pending."""
        return self.account.events == 0 and self.account.pending < 0


class Run(msgspec.Struct):
    """A run as the ledger has it; `path` and `head` are of its ledger file."""

    path: str
    head: str
    previous: str | None
    files: list[OutputFile]
    config: str
    key_id: str
    ranges: list[Range]


def counts_bytes(each: Range) -> bool:
    """Whether the offsets of a range are bytes; those of brokers count messages."""
    return storage.scheme(each.uri) not in BROKERS


def beginning_anew(ranges: Sequence[Range]) -> set[int]:
    """Numbers of the ranges of streams that begin anew under their old name: their records do not say of which range they are."""
    by_stream: dict[Stream, list[int]] = {}
    for at, each in enumerate(ranges):
        by_stream.setdefault(each.stream, []).append(at)
    out: set[int] = set()
    for numbers in by_stream.values():
        ordered = sorted((ranges[at].account.start, ranges[at].account.end) for at in numbers)
        if any(before[1] > after[0] or before[0] == after[0] for before, after in pairwise(ordered)):
            out.update(numbers)
    return out


def key_id(key: bytes) -> str:
    """Names a key without telling it."""
    return hashlib.blake2b(b"key of a ledger", key=key[:64], digest_size=8).hexdigest()


def encode_run(
    files: Sequence[OutputFile], previous: str | None, config: str, key: bytes, ranges: Iterable[Range]
) -> tuple[str, list[bytes]]:
    """Name and pieces of the ledger file of one run: its ranges, then the run itself."""
    entries = [_range_entry(each) for each in ranges]
    entries.append(_run_entry(files, previous, config, key))
    raw = b"".join(entries)
    name, pieces = container("ledger", [AvroBlock("ledger", -1, ("", 0, 0, 0), len(entries), len(raw), avro.compress(raw))])
    return name, list(pieces)


def _counts(counts: dict[str, int]) -> bytes:
    return avro.mapping((name, avro.long(count)) for name, count in counts.items())


def _range_entry(entry: Range) -> bytes:
    account = entry.account
    source = source_part(stream_part(*entry.stream), account.start, 0)
    longs = (account.events, account.size, account.kept, account.folded, account.merged, account.duplicate)
    return b"".join(
        (
            avro.string("range"),
            avro.nullable(entry.cluster),
            avro.SOME + source,
            avro.SOME + avro.long(account.start),
            avro.SOME + avro.long(account.end),
            *map(avro.long, longs),
            _counts(account.dropped_by_rule),
            avro.long(account.dropped_by_stage),
            _counts(account.dead_lettered),
            avro.long(account.pending),
            avro.SOME + avro.data(account.mac),
            avro.EMPTY,
            avro.NULL * 3,
        )
    )


def _run_entry(files: Sequence[OutputFile], previous: str | None, config: str, key: bytes) -> bytes:
    written = [avro.string(file.path) + avro.long(file.records) + avro.long(file.bytes) + avro.string(file.sha256) for file in files]
    return b"".join(
        (
            avro.string("run"),
            avro.NULL * 4,
            avro.long(0) * 6,
            avro.EMPTY,
            avro.long(0),
            avro.EMPTY,
            avro.long(0),
            avro.NULL,
            avro.array(written),
            avro.nullable(previous),
            avro.nullable(config),
            avro.nullable(key_id(key)),
        )
    )


def read_run(path: str) -> Run:
    """The run of one ledger file. Raises LedgerError where the file is damaged."""
    try:
        head = hashlib.sha256(storage.read(path)).hexdigest()
        found = list(records_of(path, "ledger"))
    except Exception as error:  # noqa: BLE001 - fastavro raises whatever a damaged file makes it meet
        raise LedgerError(f"{path}: unreadable ({type(error).__name__})") from None
    runs = [entry for entry in found if entry["kind"] == "run"]
    if len(runs) != 1:
        raise LedgerError(f"{path}: holds {len(runs)} run entries, not one")
    run = runs[0]
    files = [OutputFile(file["path"], file["records"], file["bytes"], file["sha256"]) for file in run["files"]]
    entries = [entry for entry in found if entry["kind"] == "range"]
    if any(entry[name] is None for entry in entries for name in ("source", "from", "to")):
        raise LedgerError(f"{path}: holds a range without source or ends")
    ranges = [_range(entry) for entry in entries]
    return Run(path, head, run["previous"], files, run["config"] or "{}", run["keyId"] or "", ranges)


def _range(entry: dict[str, Any]) -> Range:
    account = Account(
        file=0,
        start=entry["from"],
        end=entry["to"],
        events=entry["events"],
        size=entry["bytes"],
        kept=entry["kept"],
        folded=entry["folded"],
        merged=entry["merged"],
        duplicate=entry["duplicate"],
        dropped_by_rule=entry["droppedByRule"],
        dropped_by_stage=entry["droppedByStage"],
        dead_lettered=entry["deadLettered"],
        mac=entry["mac"] or b"",
        pending=entry["pending"],
    )
    return Range(entry["source"]["uri"], entry["cluster"], account, entry["source"]["partition"])


def read_ledger(output: str) -> list[Run]:
    """All runs of an output, in the order of their chain. Raises LedgerError where the chain does not hold."""
    runs = [read_run(path) for path, _ in storage.files_below(storage.join(output, "ledger")) if path.endswith(".avro")]
    by_previous: dict[str | None, Run] = {}
    for run in runs:
        if run.previous in by_previous:
            raise LedgerError(f"{run.path}: follows the same run as {by_previous[run.previous].path}")
        by_previous[run.previous] = run
    chain: list[Run] = []
    head: str | None = None
    while head in by_previous:
        run = by_previous.pop(head)
        chain.append(run)
        head = run.head
    if by_previous:
        lost = next(iter(by_previous.values()))
        raise LedgerError(f"{lost.path}: the run before it (head {lost.previous}) is missing or was changed")
    return chain


def read_ranges(output: str) -> Iterator[Range]:
    """The ranges of all runs, in no order; one file after another, so that a long ledger is not held whole."""
    for path, _ in storage.files_below(storage.join(output, "ledger")):
        if path.endswith(".avro"):
            yield from read_run(path).ranges


def ranges_of(accounts: Iterable[Account], splits: Sequence[Split]) -> list[Range]:
    """Accounts with the names of their sources."""
    sources = {split.file: split for split in splits}
    found = ((sources[account.file], account) for account in accounts)
    return [Range(split.uri, split.cluster, account, split.partition) for split, account in found]
