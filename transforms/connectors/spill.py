"""What is in transit lies in files: through a shuffle goes only where.

Beam's in-process runner holds what it shuffles up to four times over. All that is spilled is redacted, so it may lie where the
run writes; with the run's other leftovers it goes when the run is committed, when it fails, or when the next one finds that it
was killed.
"""

from __future__ import annotations

import uuid
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import msgspec

from transforms.connectors import storage

if TYPE_CHECKING:
    from transforms.audit.avro_blocks import AvroBlock, Place

SPILL: Final = "in_transit"
FILE_BYTES: Final = 8 << 20
SMALL: Final = 256  # bytes; to say where they lie takes as many
_REFERENCE: Final = b"\x93"  # how MessagePack begins a place; what zstandard compressed begins otherwise


class Spill:
    """Files below where a run writes. Nothing is spilled where that is None.

    Each has a new name, and is written in one go: a bundle that is tried again shares nothing with its first try.
    """

    def __init__(self, aside: str | None) -> None:
        self._directory = None if aside is None else storage.join(aside, SPILL)
        self._begin()

    def _begin(self) -> None:
        self._path = "" if self._directory is None else storage.join(self._directory, uuid.uuid4().hex)
        self._pieces: list[bytes] = []
        self._size = 0

    def block(self, block: AvroBlock) -> AvroBlock:
        """The block without its bytes, which can be fetched after `close`. Raises OSError where they cannot be written."""
        if block.place is not None or not self._takes(block.packed):
            return block
        return msgspec.structs.replace(block, packed=b"", place=self._put(block.packed))

    def data(self, data: bytes) -> bytes:
        """Where compressed data lies, for `fetch_data` after `close`; itself where it is not spilled. Raises OSError."""
        return msgspec.msgpack.encode(self._put(data)) if self._takes(data) else data

    def _takes(self, data: bytes) -> bool:
        return self._directory is not None and len(data) > SMALL

    def _put(self, data: bytes) -> Place:
        place = self._path, self._size, len(data)
        self._pieces.append(data)
        self._size += len(data)
        if self._size >= FILE_BYTES:
            self.close()
        return place

    def close(self) -> None:
        """Have all that was put here in files. Raises OSError."""
        if self._pieces:
            storage.write(self._path, self._pieces, durable=False)
            self._begin()


def fetch(block: AvroBlock) -> bytes:
    """The compressed records of a block, spilled or not. Raises OSError where they cannot be read."""
    return block.packed if block.place is None else _read(block.place)


def fetch_data(data: bytes) -> bytes:
    """Compressed data, spilled or not. Raises OSError where it cannot be read."""
    return _read(msgspec.msgpack.decode(data, type=tuple[str, int, int])) if data.startswith(_REFERENCE) else data


def _read(place: Place) -> bytes:
    path, offset, size = place
    if storage.scheme(path) is None:
        return storage.read_part(path, offset, size)
    data = _whole(path)[offset : offset + size]
    if len(data) != size:
        raise OSError(f"{path}: ends before {offset + size}")
    return data


@lru_cache(maxsize=128)
def _whole(path: str) -> bytes:
    """An object of FILE_BYTES or little more: what is in it is asked for piece by piece, and each request takes its time."""
    return storage.read(path)
