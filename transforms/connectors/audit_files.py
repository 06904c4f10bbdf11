"""Audit log files as blocks: plain, gzip or zstandard, by content; lines or whole JSON documents."""

from __future__ import annotations

import gzip
import hmac
import zlib
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any, Final

import zstandard

from transforms.audit.account import Account
from transforms.audit.block import BLOCK_SIZE, LINE_LIMIT, PIECE_SIZE, RawBlock, Split
from transforms.audit.documents import DocumentCutter, looks_like_document
from transforms.audit.joiner import Joiner, needs_joiner
from transforms.audit.recognise import recognise
from transforms.connectors.storage import opened

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

GZIP: Final = b"\x1f\x8b"
ZSTD: Final = b"\x28\xb5\x2f\xfd"
ZSTD_WINDOW: Final = 1 << 31
ZSTD_FEED: Final = 4096  # compressed bytes at a time: a hostile file unpacks them to 128 MiB, and no further
HEAD: Final = 1 << 20
_LOOKED_AT: Final = 100  # lines
LONGEST_LOOK: Final = 64 << 10
BROKEN: Final = (EOFError, OSError, zlib.error, zstandard.ZstdError)


def is_failure(error: BaseException) -> bool:
    """Whether reading itself failed, where one of BROKEN says otherwise that what was read is no sound stream."""
    return isinstance(error, OSError) and error.errno is not None


def compression(magic: bytes) -> str | None:
    """How a file that begins with these bytes is compressed: gzip, zstd or None."""
    if magic.startswith(GZIP):
        return "gzip"
    return "zstd" if magic.startswith(ZSTD) or (magic[1:4] == b"\x2a\x4d\x18" and 0x50 <= magic[0] <= 0x5F) else None


def decompressed(file: IO[bytes]) -> IO[bytes]:
    """The stream that a file holds, whatever its name says; several gzip members or zstandard frames are one stream."""
    kind = compression(file.read(4))
    file.seek(0)
    if kind == "gzip":
        return gzip.GzipFile(fileobj=file)  # type: ignore[return-value]
    if kind == "zstd":
        return ZstdStream(file)  # type: ignore[return-value]
    return file


class ZstdStream:
    """The frames of a file as one stream. Raises EOFError where the last one breaks off, which zstandard's own reader passes over."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._frame: Any = None
        self._packed = b""
        self._plain = b""
        self._at = 0

    def read1(self, size: int) -> bytes:
        """Up to `size` bytes, at least one before the end."""
        while self._at >= len(self._plain):
            packed = self._packed or self._file.read(ZSTD_FEED)
            if not packed:
                if self._frame is not None:
                    raise EOFError("the last frame breaks off")
                return b""
            if self._frame is None:
                self._frame = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW).decompressobj()
            self._plain, self._at = self._frame.decompress(packed), 0
            self._packed = self._frame.unused_data
            if self._frame.eof:
                self._frame = None
        start, self._at = self._at, self._at + size
        return self._plain[start : self._at]

    def read(self, size: int) -> bytes:
        """As much as there is, up to `size` bytes; a break raises once nothing stands before it."""
        parts: list[bytes] = []
        while size:
            try:
                part = self.read1(size)
            except (EOFError, zstandard.ZstdError):
                if parts:
                    break
                raise
            if not part:
                break
            parts.append(part)
            size -= len(part)
        return b"".join(parts)


class _Cut(Exception):
    """The compressed stream broke off."""


@contextmanager
def stream_of(split: Split) -> Iterator[IO[bytes]]:
    """The stream that a split's file holds, at the split's start. Raises OSError."""
    with opened(split.path) as file:
        stream = decompressed(file)
        _skip(stream, file, split.start)
        yield stream


def read_blocks(
    split: Split,
    key: bytes,
    block_size: int = BLOCK_SIZE,
    open_stream: Callable[[Split], AbstractContextManager[IO[bytes]]] = stream_of,
    *,
    piece_size: int = PIECE_SIZE,
) -> Iterator[RawBlock]:
    """The blocks of a split, in order; the last one says so. Memory: a few blocks, or the longest line.

    `block_size` of the ranges, which go on in pieces of `piece_size` of whole lines: what becomes rows, best whole.
    A line beyond LINE_LIMIT, and what follows a break in a compressed stream, become one dead letter each. Raises OSError
    where the file cannot be read at all.
    """
    with open_stream(split) as stream:
        reader = _Stream(stream, None if split.end is None else split.end - split.start)
        head = reader.peek(HEAD)
        if split.start == 0 and looks_like_document(head, len(head) < HEAD):
            yield from _documents(split, reader, key, block_size)
        elif split.start == 0 and is_foreign(head) and not _mentions_events(split, open_stream):
            yield _unrecognised(split, reader, key, block_size)
        elif needs_joiner(head):
            joined = _joined(split, _lines(split, reader, key, block_size, piece_size))
            yield from _last_marked(split, joined, key)
        else:
            yield from _last_marked(split, _lines(split, reader, key, block_size, piece_size), key)


def in_one_piece(head: bytes, *, whole: bool) -> bool:
    """Whether a file that begins like this must be read from start to end: what is one record may stand in many lines."""
    return looks_like_document(head, whole) or needs_joiner(head) or is_foreign(head)


def is_foreign(head: bytes) -> bool:
    """Whether none of a file's first lines is a record of any kind."""
    lines = [line for line in head.split(b"\n")[:_LOOKED_AT] if line.strip()]
    return (
        bool(lines)
        and not any(map(_may_be_json, lines))
        and all(found.code in ("INVALID_JSON", "INVALID_UTF8") for line in lines for found in recognise(line[:LONGEST_LOOK]))
    )


def _may_be_json(line: bytes) -> bool:
    """Whether a line is too long to be looked at whole, and begins like a record: how it goes on, its beginning does not tell."""
    return len(line) > LONGEST_LOOK and line.lstrip(b" \t\r\0\x1e\xef\xbb\xbf")[:1] in (b"{", b"[", b'"')


def _mentions_events(split: Split, open_stream: Callable[[Split], AbstractContextManager[IO[bytes]]]) -> bool:
    """Whether anything further on in the file looks like an event after all."""
    with open_stream(split) as stream:
        reader = _Stream(stream, split.end)
        tail = b""
        while chunk := reader.read(BLOCK_SIZE):
            if any(word in tail + chunk for word in (b"auditID", b"AUDIT: id=")):
                return True
            tail = chunk[-16:]
    return False


def _unrecognised(split: Split, reader: _Stream, key: bytes, block_size: int) -> RawBlock:
    mac = hmac.new(key, digestmod="sha256")
    size = 0
    while chunk := reader.read(block_size):
        mac.update(chunk)
        size += len(chunk)
    account = Account(split.file, split.start, split.start + size, size=size, mac=mac.digest())
    return RawBlock(split, account, split.start, b"", items=[(split.start, 0, None, "UNRECOGNISED_FILE")], last=True)


def _joined(split: Split, blocks: Iterator[RawBlock]) -> Iterator[RawBlock]:
    """Blocks of lines with the records put together that were split over several lines."""
    joiner: Joiner[int] = Joiner()
    for block in blocks:
        if block.items is None:
            items: list[tuple[int, int, bytes | None, str | None]] = []
            offset = block.offset
            for line in block.data.split(b"\n"):
                if line.strip():
                    items += [(at, 0, record, None) for record, at in joiner.feed(line, split.uri, offset)]
                offset += len(line) + 1
            block.items, block.data = items, b""
        yield block
    left = [(at, 0, record, None) for record, at in joiner.close()]
    if left:
        yield RawBlock(split, Account(split.file, block.account.start, block.account.end), block.offset, b"", items=left)


def _skip(stream: IO[bytes], file: IO[bytes], start: int) -> None:
    if stream is file:
        file.seek(start)
        return
    while start > 0:
        chunk = stream.read(min(start, BLOCK_SIZE))
        if not chunk:
            return
        start -= len(chunk)


class _Stream:
    """Reads up to a limit; a broken compressed stream ends it, and `broken` says so."""

    def __init__(self, stream: IO[bytes], limit: int | None) -> None:
        # What can be unpacked before a break is lost in a read that asks for more.
        self._read = getattr(stream, "read1", stream.read)
        self._left = limit
        self._peeked = b""
        self.broken = False

    def read(self, size: int) -> bytes:
        if self._peeked:
            out, self._peeked = self._peeked[:size], self._peeked[size:]
            return out
        if self._left is not None:
            size = min(size, self._left)
        if not size or self.broken:
            return b""
        parts: list[bytes] = []
        while size:
            try:
                part = self._read(size)
            except BROKEN as error:
                if is_failure(error):
                    raise
                self.broken = True
                break
            if not part:
                break
            parts.append(part)
            size -= len(part)
        out = b"".join(parts)
        if self._left is not None:
            self._left -= len(out)
        return out

    def peek(self, size: int) -> bytes:
        self._peeked = self.read(size)
        return self._peeked


def _lines(split: Split, reader: _Stream, key: bytes, block_size: int, piece_size: int) -> Iterator[RawBlock]:
    at = split.start
    carry = b""
    while chunk := reader.read(block_size):
        if len(carry) + len(chunk) > LINE_LIMIT and b"\n" not in chunk:
            mac, length, carry = _overlong(reader, carry + chunk, key, block_size)
            account = Account(split.file, at, at + length, size=length, mac=mac)
            yield RawBlock(split, account, at, b"", items=[(at, 0, None, "LINE_TOO_LONG")])
            at += length
            continue
        cut = chunk.rfind(b"\n") + 1
        if not cut:
            carry += chunk
            continue
        yield from _pieces(split, at, carry, chunk, cut, key, piece_size)
        at += len(carry) + cut
        carry = chunk[cut:]
    if carry:
        yield from _pieces(split, at, b"", carry, len(carry), key, piece_size, unterminated=True)
        at += len(carry)
    if reader.broken:
        account = Account(split.file, at, at, mac=hmac.digest(key, b"", "sha256"))
        yield RawBlock(split, account, at, b"", items=[(at, 0, None, "BROKEN_STREAM")])


def _pieces(
    split: Split, at: int, carry: bytes, data: bytes, size: int, key: bytes, piece_size: int, *, unterminated: bool = False
) -> Iterator[RawBlock]:
    """One range, in pieces of whole lines: `carry`, then the first `size` bytes of `data`, each of them copied once.

    Each piece has a partial account of the range, the first one the MAC.
    """
    mac = hmac.new(key, carry, "sha256")
    mac.update(memoryview(data)[:size])
    end_of_range, place, start, digest = at + len(carry) + size, at, 0, mac.digest()
    while start < size:
        end = data.find(b"\n", min(start + piece_size, size), size) + 1 or size
        piece = b"".join((carry, memoryview(data)[start:end])) if carry else data[start:end]
        yield RawBlock(split, Account(split.file, at, end_of_range, size=len(piece), mac=digest), place, piece, unterminated=unterminated)
        place += len(piece)
        start, carry, digest = end, b"", b""


def _last_marked(split: Split, blocks: Iterator[RawBlock], key: bytes) -> Iterator[RawBlock]:
    held: RawBlock | None = None
    for block in blocks:
        if held is not None:
            yield held
        held = block
    if held is None:  # an empty file is a range too
        held = RawBlock(split, Account(split.file, split.start, split.start, mac=hmac.digest(key, b"", "sha256")), split.start, b"")
    held.last = True
    yield held


def _overlong(reader: _Stream, data: bytes, key: bytes, block_size: int) -> tuple[bytes, int, bytes]:
    """Reads on to the end of a line that nobody should hold in memory: its MAC, its length, and what follows it."""
    mac = hmac.new(key, data, "sha256")
    length = len(data)
    while chunk := reader.read(block_size):
        cut = chunk.find(b"\n") + 1
        if cut:
            mac.update(chunk[:cut])
            return mac.digest(), length + cut, chunk[cut:]
        mac.update(chunk)
        length += len(chunk)
    return mac.digest(), length, b""


def _documents(split: Split, reader: _Stream, key: bytes, block_size: int) -> Iterator[RawBlock]:
    """One range, whole documents; its end and MAC come with the last of the partial accounts."""
    mac = hmac.new(key, digestmod="sha256")
    cutter = DocumentCutter()
    size = counted = 0
    while chunk := reader.read(block_size):
        mac.update(chunk)
        size += len(chunk)
        items = [(split.start + item.offset, item.index, item.raw, item.code) for item in cutter.feed(chunk)]
        if items:
            yield RawBlock(split, Account(split.file, split.start, size=size - counted), split.start, b"", items=items)
            counted = size
    items = [(split.start + item.offset, item.index, item.raw, item.code) for item in cutter.close()]
    if reader.broken:
        items.append((split.start + size, 0, None, "BROKEN_STREAM"))
    account = Account(split.file, split.start, split.start + size, size=size - counted, mac=mac.digest())
    yield RawBlock(split, account, split.start, b"", items=items, last=True)
