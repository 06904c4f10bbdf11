"""Messages of brokers, held in memory while a run reduces them: what they say is not redacted yet, so it is written nowhere."""

from __future__ import annotations

import hmac
from itertools import count, repeat
from operator import contains, itemgetter
from typing import TYPE_CHECKING, Final

from transforms.audit.account import Account
from transforms.audit.block import BLOCK_SIZE, RawBlock
from transforms.audit.joiner import Joiner
from transforms.connectors import held_pieces
from transforms.connectors.audit_files import read_blocks

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from transforms.audit.block import Split

SCHEME: Final = "held:"
GAP: Final = "gap:"  # the `path` of a split of which nothing is left to read
_AT_ONCE: Final = 512  # messages that go into a MAC together
_held: dict[str, Sequence[tuple[int, bytes]]] = {}
_numbers = count()


def hold(messages: Sequence[tuple[int, bytes]]) -> str:
    """Keep messages, (offset, value) in order, for a split to name: gives its `path`. They are held until `let_go`."""
    path = f"{SCHEME}{next(_numbers)}"
    _held[path] = messages
    return path


def let_go(path: str) -> None:
    """No longer hold what `hold` gave this path."""
    _held.pop(path, None)


def read_split(split: Split, key: bytes, piece_size: int = BLOCK_SIZE) -> Iterator[RawBlock]:
    """The blocks of a split, be it of a file, a held piece of one, held messages or a gap. Raises OSError where a file cannot be read."""
    if split.path == GAP:
        return gap_blocks(split, key)
    if split.path.startswith(SCHEME):
        return message_blocks(split, key, piece_size)
    if split.path.startswith(held_pieces.SCHEME):
        return held_pieces.piece_blocks(split, key, piece_size)
    return read_blocks(split, key, piece_size=piece_size)


def gap_blocks(split: Split, key: bytes) -> Iterator[RawBlock]:
    """What a source lost: one event that cannot be read, whatever it was."""
    end = split.start if split.end is None else split.end
    account = Account(split.file, split.start, end, mac=hmac.digest(key, b"", "sha256"))
    yield RawBlock(split, account, split.start, b"", items=[(split.start, 0, None, "SOURCE_GAP")], last=True)


def message_blocks(split: Split, key: bytes, piece_size: int) -> Iterator[RawBlock]:
    """One range, in pieces of whole messages. The range's MAC is of each value after its length (8 bytes, big-endian).

    The parts of a split GKE entry and the halves of a GKE operation are put together where all of them are in the split.
    """
    messages = _held[split.path]
    mac = hmac.new(key, digestmod="sha256")
    left = 0
    for first in range(0, len(messages), _AT_ONCE):
        told = b"".join([part for _, value in messages[first : first + _AT_ONCE] for part in (len(value).to_bytes(8, "big"), value)])
        mac.update(told)
        left += len(told)
    left -= 8 * len(messages)
    end = split.start if split.end is None else split.end
    piece: list[tuple[int, int, bytes | None, str | None]] = []
    size = 0
    for offset, record in _joined(messages, split.uri):
        if record:
            piece.append((offset, 0, record, None))
            size += len(record)
            if size >= piece_size:
                size = min(size, left)
                left -= size
                yield RawBlock(split, Account(split.file, split.start, end, size=size), offset, b"", items=piece)
                piece, size = [], 0
    yield RawBlock(split, Account(split.file, split.start, end, size=left, mac=mac.digest()), end, b"", items=piece, last=True)


def _joined(messages: Sequence[tuple[int, bytes]], uri: str) -> Sequence[tuple[int, bytes]]:
    """The messages, of GKE's entries the whole ones, each at the offset of its first part."""
    if not any(map(contains, map(itemgetter(1), messages), repeat(b'"protoPayload"'))):
        return messages
    joiner: Joiner[int] = Joiner()
    found = [(at, record) for offset, value in messages for record, at in joiner.feed_entry(value, uri, offset)]
    found += [(at, record) for record, at in joiner.close()]
    return sorted(found, key=itemgetter(0))
