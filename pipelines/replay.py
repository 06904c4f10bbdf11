"""Do a run's work anew, from the logs wherever they are now, and compare: accounts by range, records byte by byte.

The ledger says what was read by content (a MAC for each range), so a log may have been rotated, renamed or compressed since.
"""

from __future__ import annotations

import hmac
import os
from collections import Counter
from typing import IO, TYPE_CHECKING, Any, Final

import msgspec

from pipelines.check_files import FEW, Fingerprint, FoundRecords, entries_of, fingerprints, place_of
from pipelines.options import read_settings
from pipelines.plan import BROKEN_STREAM
from schemas import schema
from transforms.audit import avro
from transforms.audit.account import Account, total
from transforms.audit.block import BLOCK_SIZE, Split
from transforms.audit.reduce_all import Reduced, reduce_all
from transforms.audit.settings import Compiled, hour_of
from transforms.connectors import storage
from transforms.connectors.audit_files import BROKEN, compression, decompressed, is_failure, read_blocks
from transforms.connectors.avro_files import SCHEMAS, partition
from transforms.connectors.strict_avro import DamagedError, RecordReader

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from pipelines.ledger import Range, Run

SPLIT_SIZE: Final = 64 << 20
CHUNK: Final = 1 << 20
COUNTS: Final = ("events", "kept", "folded", "merged", "duplicate", "dropped_by_rule", "dropped_by_stage", "dead_lettered")


class Source(msgspec.Struct):
    """What a run read of one input: consecutive ranges."""

    uri: str
    cluster: str | None
    ranges: list[Account]

    @property
    def start(self) -> int:
        """Offset of the first byte that was read."""
        return self.ranges[0].start

    @property
    def end(self) -> int:
        """Offset behind the last."""
        return self.ranges[-1].end

    @property
    def broke_off(self) -> bool:
        """Whether the compressed stream ended early."""
        return any(BROKEN_STREAM in account.dead_lettered for account in self.ranges)


def sources_of(ranges: Iterable[Range]) -> list[Source]:
    """The inputs of a run, in its order, which decides between copies."""
    found: dict[str, Source] = {}
    for each in ranges:
        source = found.setdefault(each.uri, Source(each.uri, each.cluster, []))
        source.ranges.append(each.account)
    return list(found.values())


class Inputs:
    """The logs that are there now, found by what is in them."""

    def __init__(self, files: Sequence[str], key: bytes) -> None:
        self._files = files
        self._key = key
        self._heads: dict[tuple[str, int], dict[int, bytes]] = {}
        self._ends: dict[int, set[int]] = {}

    def expect(self, sources: Iterable[Source]) -> None:
        """Say what will be looked for, so that each file is tried against all of it in one pass."""
        for source in sources:
            self._ends.setdefault(source.start, set()).add(source.ranges[0].end)

    def find(self, source: Source) -> tuple[str | None, str]:
        """The file that holds all ranges of a source, and if there is none, why."""
        if source.end == source.start and not source.broke_off:
            return os.devnull, ""
        by_name = sorted(self._files, key=lambda path: _uri(path) != source.uri)
        why = ""
        for path in by_name:
            if self._first_macs(path, source.start).get(source.ranges[0].end) != source.ranges[0].mac:
                continue
            wrong = self._difference(path, source)
            if wrong is None:
                return path, ""
            why = why or wrong
        first = source.ranges[0]
        return None, why or f"{source.uri} from {first.start} to {first.end}: none of the inputs holds what was read there"

    def _first_macs(self, path: str, start: int) -> dict[int, bytes]:
        """MACs of the stream from `start` to each end that is looked for."""
        known = self._heads.get((path, start))
        if known is None:
            known = self._heads[path, start] = {}
            with storage.opened(path) as file:
                stream = decompressed(file)
                if _skip(stream, file, start):
                    mac = hmac.new(self._key, digestmod="sha256")
                    at = start
                    for end in sorted(self._ends.get(start, ())):
                        if not _feed(mac, stream, end - at):
                            break
                        at = end
                        known[end] = mac.digest()
        return known

    def _difference(self, path: str, source: Source) -> str | None:
        """Where the stream of a file differs from what the source's ranges were."""
        with storage.opened(path) as file:
            stream = decompressed(file)
            _skip(stream, file, source.start)
            for account in source.ranges:
                mac = hmac.new(self._key, digestmod="sha256")
                if not _feed(mac, stream, account.end - account.start) or mac.digest() != account.mac:
                    return f"{source.uri} from {account.start} to {account.end}: {path} does not hold what was read there"
            if source.broke_off and not _breaks_off(stream):
                return f"{source.uri} at {source.end}: the stream broke off there, that of {path} goes on or ends"
        return None


def _uri(path: str) -> str:
    return os.path.abspath(path) if storage.scheme(path) is None else path  # noqa: PTH100 - keeps symlinks


def _skip(stream: IO[bytes], file: IO[bytes], start: int) -> bool:
    if stream is file:
        stream.seek(start)
        return True
    return _feed(None, stream, start)


def _feed(mac: hmac.HMAC | None, stream: IO[bytes], size: int) -> bool:
    """Read `size` bytes into the MAC; whether there were so many."""
    while size:
        try:
            chunk = stream.read(min(size, CHUNK))
        except BROKEN as error:
            if is_failure(error):
                raise
            return False
        if not chunk:
            return False
        if mac is not None:
            mac.update(chunk)
        size -= len(chunk)
    return True


def _breaks_off(stream: IO[bytes]) -> bool:
    try:
        stream.read(CHUNK)
    except BROKEN as error:
        if is_failure(error):
            raise
        return True
    return False


def splits_of(number: int, source: Source, path: str) -> list[Split]:
    """The source in pieces that begin where ranges begin; a compressed stream is one piece."""
    with storage.opened(path) as file:
        plain = compression(file.read(4)) is None
    cuts = [source.start]
    for account in source.ranges:
        if plain and account.start - cuts[-1] >= SPLIT_SIZE:
            cuts.append(account.start)
    ends = [*cuts[1:], None if source.broke_off else source.end]
    return [Split(number, source.uri, path, start, end, source.cluster) for start, end in zip(cuts, ends, strict=True)]


def replay_runs(output: str, runs: Sequence[tuple[Run, FoundRecords]], files: Sequence[str], key: bytes) -> Iterator[str]:
    """What is wrong with the runs, judged by the input. Raises OSError where the input cannot be read."""
    inputs = Inputs(files, key)
    for run, _ in runs:
        inputs.expect(sources_of(run.ranges))
    for run, found in runs:
        yield from _replay(output, run, found, inputs, key)


def _replay(output: str, run: Run, found: FoundRecords, inputs: Inputs, key: bytes) -> Iterator[str]:
    sources = sources_of(run.ranges)
    splits: list[Split] = []
    missing = []
    for number, source in enumerate(sources):
        path, why = inputs.find(source)
        if path is None:
            missing.append(why)
        else:
            splits += splits_of(number, source, path)
    if missing:
        yield from missing
        yield f"{run.path}: the run cannot be done anew without all of its input"
        return
    try:
        settings = read_settings(run.config)
    except msgspec.MsgspecError:
        yield f"{run.path}: its configuration cannot be read; was it made by another version?"
        return
    reduced = reduce_all(splits, lambda split: read_blocks(split, key, piece_size=BLOCK_SIZE), Compiled(settings, key))
    for number, source in enumerate(sources):
        yield from _compare_accounts(source, [account for account in reduced.accounts if account.file == number])
    yield from _compare_records(output, run, found, reduced, settings.window)


def _compare_accounts(source: Source, given: Sequence[Account]) -> Iterator[str]:
    """By range, or by as few together as both sides cut in the same places."""
    ends = {account.end for account in source.ranges[:-1]} & {account.end for account in given[:-1]}
    for said, there in zip(_grouped(source.ranges, ends), _grouped(given, ends), strict=True):
        ledger, anew = total(said), total(there)
        wrong = [
            f"{name} {getattr(ledger, name)}, but it gives {getattr(anew, name)}"
            for name in COUNTS
            if getattr(ledger, name) != getattr(anew, name)
        ]
        if wrong:
            yield f"{source.uri} from {said[0].start} to {said[-1].end}: the ledger says {'; '.join(wrong)}"


def _grouped(accounts: Sequence[Account], ends: set[int]) -> list[list[Account]]:
    groups: list[list[Account]] = [[]]
    for account in accounts:
        groups[-1].append(account)
        if account.end in ends and account is not accounts[-1]:
            groups.append([])
    return groups


def _records(reduced: Reduced, window: int) -> Iterator[tuple[str, list[bytes]]]:
    """All records, by the directory they belong to."""
    readers: dict[str, RecordReader] = {}
    for block in reduced.blocks:
        reader = readers.get(block.kind) or readers.setdefault(block.kind, RecordReader(schema(SCHEMAS[block.kind])))
        raw = avro.decompress(block.packed)
        yield partition(block.kind, block.hour), [entry.raw for entry in reader.entries(block.count, raw)]
    for row in reduced.reads:
        yield partition("reads", hour_of(row.window)), [row.encoded(window)]


def _compare_records(output: str, run: Run, found: FoundRecords, reduced: Reduced, window: int) -> Iterator[str]:
    anew = fingerprints(_records(reduced, window))
    for directory in sorted(anew.keys() | found.directories.keys()):
        if anew.get(directory, Fingerprint()) != found.directories.get(directory, Fingerprint()):
            yield from _differences(output, run, directory, reduced, window)


def _differences(output: str, run: Run, directory: str, reduced: Reduced, window: int) -> Iterator[str]:
    """Which records differ, now that some do."""
    kind = directory.partition("/")[0]
    expected: Counter[bytes] = Counter()
    for at, records in _records(reduced, window):
        if at == directory:
            expected.update(records)
    problems: list[str] = []
    for file in run.files:
        if file.path.rpartition("/")[0] != directory:
            continue
        path = storage.join(output, file.path)
        try:
            for number, entry in enumerate(entries_of(path)):
                if expected[entry.raw] > 0:
                    expected[entry.raw] -= 1
                else:
                    problems.append(f"{path}: record {number}, {place_of(kind, entry.fields)}: the input does not give this record")
        except (OSError, DamagedError):
            continue  # said already
    reader = RecordReader(schema(SCHEMAS[kind]))
    for raw in expected.elements():
        fields: dict[str, Any] = next(reader.entries(1, raw)).fields
        problems.append(f"{storage.join(output, directory)}: record missing, {place_of(kind, fields)}: the input gives it")
    yield from problems[:FEW]
    if len(problems) > FEW:
        yield f"{storage.join(output, directory)}: {len(problems) - FEW} more records differ"
