"""Our container files read strictly, record by record and byte by byte: what a reader forgives, a proof must not.

A record comes with the very bytes it was written as, because digests and comparisons are over bytes.
"""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any, NamedTuple

import fastavro

from transforms.audit import avro
from transforms.connectors.avro_files import KINDS, content_name

if TYPE_CHECKING:
    from collections.abc import Iterator

LAST_CONTENT_FIELD = "unknownFields"  # of an event: the digest covers what stands up to it


class DamagedError(ValueError):
    """The bytes are not a file that we would write; the message says where."""


class Entry(NamedTuple):
    """A record: its fields, with times as integers, its bytes, and how many of them its digest covers (events only)."""

    fields: dict[str, Any]
    raw: bytes
    content: int


class RecordReader:
    """Splits concatenated records of one schema."""

    def __init__(self, schema_text: str) -> None:
        whole = _without_logical_types(json.loads(schema_text))
        self.kind = KINDS[whole["name"]]
        names = [field["name"] for field in whole["fields"]]
        cut = names.index(LAST_CONTENT_FIELD) + 1 if LAST_CONTENT_FIELD in names else len(names)
        known: dict[str, Any] = {}
        self._content = fastavro.parse_schema({**whole, "name": "Content", "fields": whole["fields"][:cut]}, named_schemas=known)
        self._rest = fastavro.parse_schema({**whole, "name": "Rest", "fields": whole["fields"][cut:]}, named_schemas=known)

    def entries(self, count: int, raw: bytes) -> Iterator[Entry]:
        """The `count` records that `raw` holds. Raises DamagedError where it holds anything else."""
        file = io.BytesIO(raw)
        read: Any = fastavro.schemaless_reader
        end = 0
        for number in range(count):
            start = end
            try:
                fields = read(file, self._content)
                middle = file.tell()
                fields.update(read(file, self._rest))
            except Exception:  # noqa: BLE001 - damaged bytes make a reader raise anything
                raise DamagedError(f"record {number} of {count} cannot be read") from None
            end = file.tell()
            yield Entry(fields, raw[start:end], middle - start)
        if end != len(raw):
            raise DamagedError(f"{len(raw) - end} bytes behind the last of {count} records")


class Container:
    """One container file. Raises DamagedError where its header is not as we write it."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        try:
            schema_text = _schema_text(data)
            header = avro.header(schema_text, b"")
            self.reader = RecordReader(schema_text)
        except Exception:  # noqa: BLE001 - as above
            raise DamagedError("not a file of ours") from None
        self._schema_text = schema_text
        self.sync = data[len(header) : len(header) + avro.SYNC_SIZE]
        if data[: len(header)] != header or len(self.sync) != avro.SYNC_SIZE:
            raise DamagedError("its header is not as we write it")

    def name(self) -> str:
        """The name that the content gives the file."""
        return content_name(self._schema_text, self._blocks()).hex()

    def entries(self) -> Iterator[Entry]:
        """All records. Raises DamagedError."""
        for number, (count, packed) in enumerate(self._blocks()):
            try:
                raw = avro.decompress(packed)
            except Exception:  # noqa: BLE001 - as above
                raise DamagedError(f"block {number} cannot be unpacked") from None
            try:
                yield from self.reader.entries(count, raw)
            except DamagedError as error:
                raise DamagedError(f"block {number}: {error}") from None

    def _blocks(self) -> Iterator[tuple[int, bytes]]:
        try:
            yield from avro.blocks(self._data)
        except (ValueError, IndexError):
            raise DamagedError("its blocks do not follow one another") from None


def _schema_text(data: bytes) -> str:
    if data[:4] != avro.MAGIC:
        raise ValueError("not an Avro container file")
    count, at = avro.read_long(data, 4)
    for _ in range(count):
        size, at = avro.read_long(data, at)
        name = data[at : at + size]
        size, at = avro.read_long(data, at + size)
        if name == b"avro.schema":
            return data[at : at + size].decode()
        at += size
    raise ValueError("no schema")


def _without_logical_types(node: Any) -> Any:
    if isinstance(node, dict):
        return {name: _without_logical_types(each) for name, each in node.items() if name != "logicalType"}
    return [_without_logical_types(each) for each in node] if isinstance(node, list) else node
