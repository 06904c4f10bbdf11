"""One file that is followed: what it is whatever its name, how far it has been given, and where its next piece may be cut.

A name says little, for logs are rotated; an inode says little more, for it is used again. A file is the same as long as it
has the same inode, begins with the same bytes and has the same bytes before the position reached.
"""

from __future__ import annotations

import os
from hashlib import blake2b
from typing import IO, TYPE_CHECKING, Final, NamedTuple

from transforms.audit.block import BLOCK_SIZE, LINE_LIMIT
from transforms.audit.documents import looks_like_document
from transforms.audit.joiner import PENDING_LIMIT, Joiner, needs_joiner
from transforms.connectors.audit_files import BROKEN, HEAD, compression, is_failure, is_foreign
from transforms.connectors.held_pieces import hold_bytes, hold_file, stream_behind

if TYPE_CHECKING:
    from transforms.connectors.sources import Reach

SIGN: Final = 1024  # bytes at the start of a stream that tell it from others: an audit ID stands there
TAIL: Final = 64  # bytes before the position
PACKING: Final = 16  # times that compressed logs shrink, about
FURTHER: Final = 4 << 20  # bytes to read on at once where a record does not end
IN_MEMORY: Final = 16 << 20  # of what must be read in one piece; more is read through the descriptor


class Piece(NamedTuple):
    """What a file gives: `start` to `end` of its stream, and the path under which it is held until it is committed."""

    start: int
    end: int
    path: str


class Sign(NamedTuple):
    """The first bytes of something, without saying them."""

    length: int
    digest: bytes

    def of(self, first: bytes) -> bool:
        """Whether what begins with `first` begins with these bytes."""
        return len(first) >= self.length > 0 and _digest(first[: self.length]) == self.digest


def _digest(data: bytes) -> bytes:
    return blake2b(data, digest_size=16).digest()


class GrowingFile:
    """A file that may grow, be renamed, emptied or deleted. Methods that read raise OSError. Not safe for threads."""

    def __init__(self, path: str, status: os.stat_result, now: float) -> None:
        self.path = path
        self.key = (status.st_dev, status.st_ino)
        self.descriptor: int | None = None
        self.size, self.modified = status.st_size, status.st_mtime_ns
        self.born = self.changed = now
        self.missed = 0  # looks at the directory since it was last there
        self.trouble = 0  # errno of what keeps it from being read
        self.retry = 0.0
        self.renew()

    def renew(self) -> None:
        """Nothing is known of what is in it, or no longer."""
        self.uri = ""
        self.at = 0
        self.placed = False
        self.copy_of: GrowingFile | None = None  # the file that gives what this one holds too
        self.known: int | None = None  # how far it is given, by what it was a copy of
        self.unterminated = False  # its last line was given although it had no end
        self.kind: str | None = None
        self.total: int | None = None  # length of a compressed stream, once known
        self.checked: tuple[int, int] | None = None  # what it was like when it was found intact
        self.tried: tuple[int, int] | None = None  # what it was like when it gave nothing
        self.tried_late = False  # and it was quiet, or waited long, by then
        self.exhausted = False  # the last piece was cut from all that was there
        self.waits: float | None = None  # since when it gives nothing although there is something
        self.begin = Sign(0, b"")  # of the stream
        self._sign = Sign(0, b"")  # of what is stored
        self._tail = b""
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._reader: IO[bytes] | None = None
        self._buffer = b""  # read and not given
        self._ended = self._broken = False

    @property
    def length(self) -> int:
        """Bytes of the stream, as far as anyone knows."""
        return self.size if self.kind is None else self.total or 0

    @property
    def state(self) -> tuple[int, int]:
        """What the file system says of its content."""
        return self.size, self.modified

    def note(self, status: os.stat_result, now: float) -> bool:
        """Take down what the file system says; whether anything is new."""
        if status.st_size == self.size and status.st_mtime_ns == self.modified:
            return False
        self.size, self.modified, self.changed = status.st_size, status.st_mtime_ns, now
        if self.kind is not None:
            self.total = None
            self._begin_anew()
        return True

    def open(self) -> int:
        """Hold the file, so that its content stays when its name goes. Raises OSError, also where the name is another's now."""
        if self.descriptor is None:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            status = os.fstat(descriptor)
            if (status.st_dev, status.st_ino) != self.key:
                os.close(descriptor)
                raise FileNotFoundError(2, "No such file", self.path)
            self.descriptor = descriptor
        return self.descriptor

    def close(self) -> None:
        """Let go of the file; what was read and not given will be read again."""
        if self.descriptor is not None:
            os.close(self.descriptor)
            self.descriptor = None
        self._begin_anew()

    @property
    def finished(self) -> bool:
        """Whether all that is there has been given, as far as the file system says."""
        return self.placed and self.at >= (self.size if self.kind is None else self.total if self.total is not None else self.at + 1)

    @property
    def unread(self) -> int:
        """Bytes that wait, about."""
        if self.finished:
            return 0
        return self.size - self.at if self.kind is None else max(self.size * PACKING, BLOCK_SIZE)

    def intact(self) -> bool:
        """Whether the file still is what it was: not emptied, not replaced. Learns its first bytes as they come."""
        descriptor = self.open()
        first = os.pread(descriptor, SIGN, 0)
        if self._sign.length and not self._sign.of(first):
            return False
        if self.kind is None and self.at and os.pread(descriptor, len(self._tail), self.at - len(self._tail)) != self._tail:
            return False
        if len(first) > self._sign.length:
            self._sign = Sign(len(first), _digest(first))
            if self.kind is None:
                self.begin = self._sign
        self.checked = self.state
        return True

    def look(self) -> bytes:
        """Learn how the file is compressed and how its stream begins; gives these bytes."""
        self.kind = compression(os.pread(self.open(), 4, 0))
        self._begin_anew()
        self._fill(SIGN, at=0)
        first = self._buffer[:SIGN]
        self._begin_anew()
        self.begin = Sign(len(first), _digest(first))
        return first

    def reach(self, reach: Reach, cluster: str | None) -> tuple[int, bool]:
        """How far the ledger holds its stream, and whether it ends there."""
        return reach(stream_behind(self.open()), cluster)

    def is_within(self, other: GrowingFile) -> bool:
        """Whether the other file's stream begins with all of its own."""
        mine, theirs = stream_behind(self.open()), stream_behind(other.open())
        length = 0
        while chunk := _chunk(mine):
            if _chunk(theirs, len(chunk)) != chunk:
                return False
            length += len(chunk)
        if self.kind is not None and chunk is not None:
            self.total = length
        return chunk is not None

    def measure(self) -> bool:
        """Whether a compressed stream is complete; then `total` is its length."""
        stream = stream_behind(self.open())
        length = 0
        while chunk := _chunk(stream):
            length += len(chunk)
        self.total = None if chunk is None else length
        return chunk is not None

    def place(self, at: int) -> None:
        """Go on at a position."""
        self.at, self.placed, self.known, self.unterminated = at, True, None, False
        self._begin_anew()
        self._note_tail(b"")

    def take(self, room: int, *, quiet: bool, late: bool) -> Piece | None:
        """The next piece, about `room` bytes; None where there is none yet.

        `quiet`: it has not changed for a while, so nothing more is expected. Pieces end at line ends where no record waits
        for its other parts, unless it is `late`; a document is one piece.
        """
        final = quiet or self.total is not None
        self.exhausted = False
        if self.kind is None:
            self._begin_anew()
        if self.at == 0:
            self._fill(HEAD)
            if self._in_one_piece(final=final):
                return self._all() if final else None
            room = max(room, HEAD)  # for the reader, who judges by as much, too
        self._fill(room + 1)  # one more byte, or the end
        cut = self._buffer.rfind(b"\n", 0, room + 1) + 1 or self._buffer.find(b"\n") + 1
        while not cut and not self._ended and len(self._buffer) <= LINE_LIMIT:
            self._fill(len(self._buffer) + FURTHER)
            cut = self._buffer.find(b"\n") + 1
        if not cut and not self._ended:
            return self._overlong(final=final)
        if not cut and not final:
            return None
        if not self._buffer:
            return self._break() if self._broken and self.total is None else None
        joins = cut > 0 and needs_joiner(self._buffer[:HEAD])
        if joins:
            cut = self._joint(late=final or late)
            if not cut:
                return None
        self.exhausted = self._ended and (joins or self._buffer.find(b"\n", cut) < 0)
        return self._give(cut or len(self._buffer), unterminated=not cut)

    def _fill(self, wanted: int, at: int | None = None) -> None:
        """Read until the buffer holds `wanted` bytes, or all there is."""
        if self._reader is None:
            self._reader = self._stream_from(self.at if at is None else at)
        parts, size = [self._buffer], len(self._buffer)
        read = getattr(self._reader, "read1", self._reader.read)
        while size < wanted and not self._ended:
            try:
                chunk = read(min(wanted - size, BLOCK_SIZE))
            except BROKEN as error:
                if is_failure(error):
                    raise
                chunk, self._broken = b"", True
            self._ended = not chunk
            parts.append(chunk)
            size += len(chunk)
        self._buffer = b"".join(parts)

    def _stream_from(self, at: int) -> IO[bytes]:
        stream = stream_behind(self.open())
        if self.kind is None:
            stream.seek(at)
            return stream
        while at and (chunk := _chunk(stream, at)):
            at -= len(chunk)
        return stream

    def _in_one_piece(self, *, final: bool) -> bool:
        """Whether all of it must be read at once, or waited for, as far as its beginning tells."""
        head = self._buffer if final or len(self._buffer) >= HEAD else self._buffer[: self._buffer.rfind(b"\n") + 1]
        if looks_like_document(head[:HEAD], len(head) < HEAD):
            return True
        # What no line of is known may yet become something. A long log of that kind is no audit log.
        return is_foreign(head) and (final or len(head) < HEAD)

    def _all(self) -> Piece:
        """The whole of it."""
        self._fill(IN_MEMORY)
        if self._ended:
            return self._give(len(self._buffer), unterminated=not self._buffer.endswith(b"\n"))
        end = 0
        while self._buffer:  # only its length is wanted
            end += len(self._buffer)
            self._buffer = b""
            self._fill(BLOCK_SIZE)
        return self._through_descriptor(end)

    def _through_descriptor(self, end: int) -> Piece:
        piece = Piece(self.at, end, hold_file(self.open(), breaks=self._broken))
        if self._broken:
            self.total = end
        self._begin_anew()
        self.at = end
        self._note_tail(b"")
        return piece

    def _give(self, size: int, *, unterminated: bool) -> Piece:
        data, self._buffer = self._buffer[:size], self._buffer[size:]
        breaks = self._broken and not self._buffer
        start, self.at = self.at, self.at + size
        self._note_tail(data)
        self.unterminated = unterminated
        if breaks:
            self.total = self.at
        return Piece(start, self.at, hold_bytes(data, breaks=breaks))

    def _break(self) -> Piece:
        """Nothing but the news that the stream breaks off here."""
        self.total = self.at
        return Piece(self.at, self.at, hold_bytes(b"", breaks=True))

    def _note_tail(self, data: bytes) -> None:
        if self.kind is None:
            length = min(TAIL, self.at)
            self._tail = data[-TAIL:] if len(data) >= TAIL else os.pread(self.open(), length, self.at - length)

    def _joint(self, *, late: bool) -> int:
        """The last line end at which no record waits for its other parts; 0 where there is none yet. Past the limits, any."""
        joiner: Joiner[int] = Joiner()
        at = joint = 0
        while True:
            while end := self._buffer.find(b"\n", at) + 1:
                line = self._buffer[at : end - 1]
                if line.strip():
                    joiner.feed(line, "", at)
                at = end
                if not joiner.pending:
                    joint = at
            if joint or self._ended or len(self._buffer) >= PENDING_LIMIT:
                return joint or (at if late or not self._ended else 0)
            self._fill(len(self._buffer) + FURTHER)

    def _overlong(self, *, final: bool) -> Piece | None:
        """A line that nobody should hold in memory: to its end, read through the descriptor."""
        end = self.at + len(self._buffer)
        stream = self._stream_from(end)
        found = 0
        while not found and (chunk := _chunk(stream)):
            found = chunk.find(b"\n") + 1
            end += found or len(chunk)
        return self._through_descriptor(end) if found or final else None


def _chunk(stream: IO[bytes], size: int = BLOCK_SIZE) -> bytes | None:
    """The next bytes of a stream; empty at its end, None where it breaks off."""
    try:
        return stream.read(min(size, BLOCK_SIZE))
    except BROKEN as error:
        if is_failure(error):
            raise
        return None
