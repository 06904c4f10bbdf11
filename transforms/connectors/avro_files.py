"""Avro container files: written aside under names made from their content, read back record by record."""

from __future__ import annotations

import hashlib
import io
from datetime import UTC, datetime
from typing import IO, TYPE_CHECKING, Any

import fastavro
import msgspec

from schemas import schema
from transforms.audit import avro
from transforms.audit.settings import UNKNOWN_HOUR
from transforms.connectors import storage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from transforms.audit.avro_blocks import AvroBlock

SCHEMAS = {"events": "audit_event", "reads": "read_summary", "dead_letters": "dead_letter", "ledger": "ledger_entry"}


class OutputFile(msgspec.Struct, frozen=True, array_like=True):
    """A file of the output: its path below the output, and what is in it."""

    path: str
    records: int
    bytes: int
    sha256: str

    @property
    def kind(self) -> str:
        """events, reads, dead_letters or ledger."""
        return self.path.partition("/")[0]


def partition(kind: str, hour: int) -> str:
    """Directory below the output for records of an hour (its start in microseconds)."""
    if kind not in ("events", "reads"):
        return kind
    if hour == UNKNOWN_HOUR:
        return f"{kind}/dt=unknown/hour=00"
    return datetime.fromtimestamp(hour // 1_000_000, UTC).strftime(f"{kind}/dt=%Y-%m-%d/hour=%H")


def container(kind: str, blocks: list[AvroBlock]) -> tuple[str, list[bytes]]:
    """Name of a container file, and its pieces. The sync marker comes from the content, so equal content makes equal files."""
    name = hashlib.blake2b(digest_size=16)
    for block in blocks:
        name.update(block.packed)
    pieces = [avro.header(avro.minified(schema(SCHEMAS[kind])), name.digest())]
    pieces += [avro.block(block.count, block.packed, name.digest()) for block in blocks]
    return name.hexdigest(), pieces


def write_file(aside: str, run: int, kind: str, hour: int, blocks: list[AvroBlock]) -> OutputFile:
    """Write one file of the output's run number `run` below `aside`, durably. Raises OSError where it cannot."""
    name, pieces = container(kind, blocks)
    path = f"{partition(kind, hour)}/{run:06d}-{name}.avro"
    sha256 = hashlib.sha256()
    size = 0
    for piece in pieces:
        sha256.update(piece)
        size += len(piece)
    storage.write(storage.join(aside, path), pieces)
    return OutputFile(path, sum(block.count for block in blocks), size, sha256.hexdigest())


def records(file: IO[bytes], kind: str | None = None) -> Iterator[dict[str, Any]]:
    """Records of a container file, seen through today's schema of that kind where one is given."""
    reader_schema = fastavro.parse_schema(msgspec.json.decode(schema(SCHEMAS[kind]))) if kind else None
    yield from fastavro.reader(file, reader_schema=reader_schema)  # type: ignore[misc]


def records_of(path: str, kind: str | None = None) -> Iterator[dict[str, Any]]:
    """Records of the file at a path."""
    with storage.opened(path) as file:
        yield from records(io.BufferedReader(file) if isinstance(file, io.RawIOBase) else file, kind)
