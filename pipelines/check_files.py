"""Check the files of a run against the ledger: bytes, records, digests; and gather what the records say for the accounts."""

from __future__ import annotations

import hashlib
from array import array
from bisect import bisect_right
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np

from pipelines.ledger import beginning_anew
from transforms.audit.record import digest
from transforms.connectors import storage
from transforms.connectors.strict_avro import Container, DamagedError, Entry

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from pipelines.ledger import Run, Stream
    from transforms.connectors.avro_files import OutputFile

_WORD: Final = 1 << 128
FEW: Final = 10  # problems of one kind in one file; the rest is a number


class Fingerprint(msgspec.Struct):
    """A multiset of records: their number and the sum of their hashes. Equal multisets have equal ones, whatever the order."""

    count: int = 0
    hashes: int = 0

    def add(self, raw: bytes) -> None:
        """Add one record's bytes."""
        self.count += 1
        self.hashes = (self.hashes + int.from_bytes(hashlib.blake2b(raw, digest_size=16).digest())) % _WORD


class FoundRecords:
    """What the records of one run say. `directories` has a fingerprint for each directory, where records are to be compared."""

    def __init__(self) -> None:
        self.events = 0
        self.folded = 0
        self.merged = 0
        self.directories: dict[str, Fingerprint] = {}
        self._events: dict[Stream, array[int]] = {}  # offset, item, offset, item…
        self._dead: list[tuple[Stream, int, str]] = []

    def add(self, kind: str, fields: dict[str, Any]) -> None:
        """Take note of a record."""
        if kind == "events":
            self.events += 1
            self.merged += len(fields["stages"]) - 1
            source = fields["source"]
            self._events.setdefault(_stream(source), array("q")).extend((source["offset"], source["item"]))
        elif kind == "reads":
            self.folded += fields["count"]
            self.merged += fields["mergedStages"]
        else:
            self._dead.append((_stream(fields["source"]), fields["source"]["offset"], fields["code"]))

    def repeated(self, less: Collection[Stream] = ()) -> Iterator[tuple[str, int, int]]:
        """Positions (stream, offset, item) that more than one event has, `less` those of some streams."""
        for stream, flat in self._events.items():
            if stream in less:
                continue
            positions = np.frombuffer(flat, dtype=np.int64).reshape(-1, 2)
            ordered = positions[np.lexsort((positions[:, 1], positions[:, 0]))]
            same = np.flatnonzero((ordered[1:] == ordered[:-1]).all(axis=1))
            yield from ((place_text(stream), int(offset), int(item)) for offset, item in ordered[same])

    def by_range(self, ranges: Sequence[tuple[Stream, int]]) -> tuple[list[int], dict[int, Counter[str]]]:
        """Events, and dead letters by code, of each range, given as (stream, start); what lies in none counts nowhere."""
        starts: dict[Stream, list[int]] = {}
        numbers: dict[Stream, list[int]] = {}
        for at, (stream, start) in sorted(enumerate(ranges), key=lambda each: each[1][1]):
            starts.setdefault(stream, []).append(start)
            numbers.setdefault(stream, []).append(at)
        kept = [0] * len(ranges)
        for stream, flat in self._events.items():
            if stream in starts:
                offsets = np.frombuffer(flat, dtype=np.int64)[::2]
                places = np.searchsorted(np.array(starts[stream]), offsets, side="right") - 1
                for place, count in zip(*np.unique(places[places >= 0], return_counts=True), strict=True):
                    kept[numbers[stream][place]] = int(count)
        dead: dict[int, Counter[str]] = {}
        for stream, offset, code in self._dead:
            place = bisect_right(starts.get(stream, []), offset) - 1
            if place >= 0:
                dead.setdefault(numbers[stream][place], Counter())[code] += 1
        return kept, dead


def _stream(source: dict[str, Any]) -> Stream:
    return source["uri"], source["partition"]


def place_text(stream: Stream) -> str:
    """A stream for people."""
    uri, partition = stream
    return uri if partition is None else f"{uri}/{partition}"


def place_of(kind: str, fields: dict[str, Any]) -> str:
    """Where a record comes from, for people; its content stays where it is."""
    if kind == "reads":
        return f"window {fields['windowStart']} of {fields['verb']} {fields['resource'] or fields['nonResourcePath']}"
    source = fields["source"]
    return f"from {place_text(_stream(source))} at {source['offset']}, item {source['item']}"


def entries_of(path: str) -> Iterator[Entry]:
    """The records of a file. Raises OSError, DamagedError."""
    yield from Container(storage.read(path)).entries()


def check_container(path: str, name: str) -> Iterator[str]:
    """What is wrong with a ledger file as a file: it is named after its content."""
    try:
        container = Container(storage.read(path))
        expected = container.name()
        if container.sync.hex() != expected or name.rpartition("/")[2] != f"{expected}.avro":
            yield f"{path}: its content was changed: it is not what the file is named after"
        for _ in container.entries():
            pass
    except DamagedError as error:
        yield f"{path}: damaged: {error}"
    except OSError as error:
        yield f"{path}: cannot be read ({error.strerror})"


def check_files(output: str, run: Run, *, keep: bool = False) -> tuple[FoundRecords, list[str]]:
    """What the run's files hold, and what is wrong with them; `keep` fingerprints the records, to compare them."""
    found = FoundRecords()
    problems: list[str] = []
    for file in run.files:
        problems += _check_file(output, file, found, keep=keep)
    problems += [
        f"{storage.join(output, 'events')}: more than one record of run {run.path} stands for {uri} at {offset}, item {item}"
        for uri, offset, item in found.repeated({run.ranges[at].stream for at in beginning_anew(run.ranges)})
    ]
    return found, problems


def _check_file(output: str, file: OutputFile, found: FoundRecords, *, keep: bool) -> Iterator[str]:
    path = storage.join(output, file.path)
    try:
        data = storage.read(path)
    except (OSError, ValueError) as error:  # a forged path may be no path at all
        yield f"{path}: cannot be read ({getattr(error, 'strerror', None) or 'no path'}); the ledger has it with {file.records} records"
        return
    if len(data) != file.bytes:
        yield f"{path}: {len(data)} bytes, but the ledger has {file.bytes}"
    if hashlib.sha256(data).hexdigest() != file.sha256:
        yield f"{path}: its SHA-256 is not the ledger's"
    count = false = 0
    directory = Fingerprint()
    try:
        container = Container(data)
        if container.reader.kind != file.kind:
            yield f"{path}: holds {container.reader.kind}, not {file.kind}"
            return
        for number, entry in enumerate(container.entries()):
            count += 1
            found.add(file.kind, entry.fields)
            if keep:
                directory.add(entry.raw)
            if file.kind == "events" and digest(entry.fields["cluster"], entry.raw[: entry.content]) != entry.fields["digest"]:
                false += 1
                if false <= FEW:
                    yield f"{path}: record {number}, {place_of(file.kind, entry.fields)}: its digest is not that of its content"
    except DamagedError as error:
        yield f"{path}: damaged: {error}"
    if false > FEW:
        yield f"{path}: {false - FEW} more records whose digest is not that of their content"
    if count != file.records:
        yield f"{path}: {count} records can be read, but the ledger has {file.records}"
    if keep:
        whole = found.directories.setdefault(file.path.rpartition("/")[0], Fingerprint())
        whole.count += directory.count
        whole.hashes = (whole.hashes + directory.hashes) % _WORD


def fingerprints(blocks: Iterator[tuple[str, list[bytes]]]) -> dict[str, Fingerprint]:
    """Fingerprints of records by directory."""
    out: dict[str, Fingerprint] = {}
    for directory, records in blocks:
        found = out.setdefault(directory, Fingerprint())
        for raw in records:
            found.add(raw)
    return out
