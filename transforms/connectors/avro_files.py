"""Avro container files: written aside under names made from their content, read back record by record."""

from __future__ import annotations

import hashlib
import io
import json
from datetime import UTC, datetime
from itertools import chain
from typing import IO, TYPE_CHECKING, Any

import fastavro
import msgspec

from schemas import schema
from transforms.audit import avro
from transforms.audit.settings import UNKNOWN_HOUR
from transforms.connectors import storage
from transforms.connectors.spill import fetch

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from transforms.audit.avro_blocks import AvroBlock

SCHEMAS = {"events": "audit_event", "reads": "read_summary", "dead_letters": "dead_letter", "ledger": "ledger_entry"}
KINDS = {"AuditEvent": "events", "ReadSummary": "reads", "DeadLetter": "dead_letters", "LedgerEntry": "ledger"}


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


def container(kind: str, blocks: Sequence[AvroBlock]) -> tuple[str, Iterator[bytes]]:
    """Name of a container file, and its pieces. The sync marker comes from the content, so equal content makes equal files."""
    text = avro.minified(schema(SCHEMAS[kind]))
    # Spilled blocks are fetched twice, so that no more than one is held.
    sync = content_name(text, ((block.count, fetch(block)) for block in blocks))
    pieces = (avro.block(block.count, fetch(block), sync) for block in blocks)
    return sync.hex(), chain((avro.header(text, sync),), pieces)


def content_name(schema_text: str, blocks: Iterable[tuple[int, bytes]]) -> bytes:
    """BLAKE2b-128 of a file's schema and blocks (count, compressed): its sync marker and, in hex, its name."""
    name = hashlib.blake2b(schema_text.encode(), digest_size=16)
    for count, packed in blocks:
        name.update(avro.long(count))
        name.update(packed)
    return name.digest()


def write_file(aside: str, run: int, kind: str, hour: int, blocks: Sequence[AvroBlock]) -> OutputFile:
    """Write one file of the output's run number `run` below `aside`, durably. Raises OSError where it cannot."""
    name, pieces = container(kind, blocks)
    path = f"{partition(kind, hour)}/{run:06d}-{name}.avro"
    sha256 = hashlib.sha256()
    size = 0

    def weighed() -> Iterator[bytes]:
        nonlocal size
        for piece in pieces:
            sha256.update(piece)
            size += len(piece)
            yield piece

    storage.write(storage.join(aside, path), weighed())
    return OutputFile(path, sum(block.count for block in blocks), size, sha256.hexdigest())


def records(file: IO[bytes], kind: str | None = None) -> Iterator[dict[str, Any]]:
    """Records of a container file, seen through today's schema of that kind where one is given."""
    reader = fastavro.reader(file)
    # Today's files need no translation, which costs as much as the reading.
    if kind and reader.metadata.get("avro.schema") != avro.minified(schema(SCHEMAS[kind])):
        file.seek(0)
        reader = fastavro.reader(file, reader_schema=fastavro.parse_schema(msgspec.json.decode(schema(SCHEMAS[kind]))))
    yield from reader


def records_of(path: str, kind: str | None = None) -> Iterator[dict[str, Any]]:
    """Records of the file at a path."""
    with storage.opened(path) as file:
        yield from records(_buffered(file), kind)


def kind_of_file(path: str) -> str:
    """events, reads, dead_letters or ledger, by the schema in the file. Raises OSError; ValueError where it is no file of ours."""
    with storage.opened(path) as file:
        try:
            name = json.loads(fastavro.reader(_buffered(file)).metadata["avro.schema"])["name"]
        except OSError:
            raise
        except Exception:  # noqa: BLE001 - a file that is something else makes its reader raise anything
            raise ValueError(f"{path}: not an Avro file") from None
    kind = KINDS.get(name)
    if kind is None:
        raise ValueError(f"{path}: holds {name}, which is none of our records")
    return kind


def _buffered(file: IO[bytes]) -> IO[bytes]:
    return io.BufferedReader(file) if isinstance(file, io.RawIOBase) else file
