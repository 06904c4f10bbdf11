"""Pieces of followed files, held while a run reduces them: a file may be renamed, emptied or deleted before a worker opens it.

Small pieces are held in memory, as they were read; what is too large for that is read through an open descriptor. Neither
is written anywhere.
"""

from __future__ import annotations

import io
import os
from contextlib import contextmanager
from itertools import count
from typing import IO, TYPE_CHECKING, Final

import msgspec

from transforms.audit.block import BLOCK_SIZE, PIECE_SIZE
from transforms.connectors.audit_files import decompressed, read_blocks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from transforms.audit.block import RawBlock, Split

SCHEME: Final = "piece:"
_held: dict[str, _Piece] = {}
_numbers = count()


class _Piece(msgspec.Struct):
    data: bytes | None
    descriptor: int = -1
    breaks: bool = False


class DescriptorFile(io.RawIOBase):
    """The file behind a descriptor, read at a position of its own: others may read through the same descriptor."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._at = 0

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """As a raw file does."""
        size = os.preadv(self._descriptor, [buffer], self._at)
        self._at += size
        return size

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """As a raw file does."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at}.get(whence)
        self._at = offset + (os.fstat(self._descriptor).st_size if base is None else base)
        return self._at


def stream_behind(descriptor: int) -> IO[bytes]:
    """The decompressed stream of the file behind a descriptor, from its start on; the descriptor stays open."""
    return decompressed(io.BufferedReader(DescriptorFile(descriptor), BLOCK_SIZE))


class _Breaking(io.BytesIO):
    """Bytes after which a compressed stream broke off."""

    def read1(self, size: int | None = -1) -> bytes:
        data = super().read1(size)
        if not data:
            raise EOFError("the stream breaks off")
        return data


def hold_bytes(data: bytes, *, breaks: bool = False) -> str:
    """Keep what was read of a stream for a split to name: gives its `path`. `breaks`: the compressed stream broke off after it."""
    return _hold(_Piece(data, breaks=breaks))


def hold_file(descriptor: int, *, breaks: bool = False) -> str:
    """Keep the file behind a descriptor open for a split to name, whatever becomes of its name: gives its `path`."""
    return _hold(_Piece(None, os.dup(descriptor), breaks))


def _hold(piece: _Piece) -> str:
    path = f"{SCHEME}{next(_numbers)}"
    _held[path] = piece
    return path


def let_go(path: str) -> None:
    """No longer hold what this path names."""
    piece = _held.pop(path, None)
    if piece is not None and piece.descriptor >= 0:
        os.close(piece.descriptor)


def piece_blocks(split: Split, key: bytes, piece_size: int = PIECE_SIZE) -> Iterator[RawBlock]:
    """The blocks of a held piece, exactly those that reading the same stretch of its file gives."""
    # Only a reader that asks for more learns that a stream broke off.
    whole = msgspec.structs.replace(split, end=None) if _held[split.path].breaks else split
    return read_blocks(whole, key, open_stream=_open, piece_size=piece_size)


@contextmanager
def _open(split: Split) -> Iterator[IO[bytes]]:
    piece = _held[split.path]
    if piece.data is not None:
        yield (_Breaking if piece.breaks else io.BytesIO)(piece.data)
        return
    stream = stream_behind(piece.descriptor)
    if isinstance(stream, io.BufferedReader):
        stream.seek(split.start)
    else:
        left = split.start
        while left and (chunk := stream.read(min(left, BLOCK_SIZE))):
            left -= len(chunk)
    yield stream
