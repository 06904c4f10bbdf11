"""Where the ledger of a followed output ends, in one file, so that a start does not read all that months have written.

It is a file of the commit, says nothing that the ledger does not say, and is trusted only while the ledger is as it says: so
many runs, the last of them with this head. Otherwise the ledger is read.
"""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, Final

import msgspec

from pipelines.ledger import LedgerError, Run, key_id, read_run
from transforms.connectors import storage

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pipelines.ledger import Range, Stream

INDEX: Final = "_state/follow/index"
MAGIC: Final = b"kube-audit-reducer index 1\n"
SUM: Final = 16  # bytes of checksum
LOST: Final = "SOURCE_GAP"
STREAMS: Final = 4096  # positions that are kept, the latest: logs are renamed for ever, and found by content


class Index(msgspec.Struct):
    """The ledger's last file and its head, the number of runs, the key's ID; where each stream goes on, and where gaps begin."""

    ledger: str
    head: str
    runs: int
    key_id: str
    positions: list[tuple[str, int | None, int]]
    lost: list[tuple[str, int | None, int]] = []


class Whereabouts:
    """Where each stream goes on, in the order in which they were last read, and where gaps begin: what the ledger's ranges come to."""

    def __init__(self, index: Index | None = None) -> None:
        self.positions: dict[Stream, int] = {}
        self.lost: set[tuple[Stream, int]] = set()
        if index is not None:
            self.positions = {(uri, partition): at for uri, partition, at in index.positions}
            self.lost = {((uri, partition), at) for uri, partition, at in index.lost}

    def add(self, ranges: Iterable[Range]) -> None:
        """Take note of a run's."""
        for each in ranges:
            if not each.settles:
                self.positions.pop(each.stream, None)
                self.positions[each.stream] = each.account.end
                if LOST in each.account.dead_lettered:
                    self.lost.add((each.stream, each.account.start))


def encode_index(ledger: str, head: str, runs: int, key: bytes, where: Whereabouts) -> bytes:
    """The file."""
    latest = [(uri, partition, at) for (uri, partition), at in where.positions.items()][-STREAMS:]
    lost = [(uri, partition, at) for (uri, partition), at in where.lost]
    body = msgspec.msgpack.encode(Index(ledger, head, runs, key_id(key), latest, lost))
    return MAGIC + hashlib.blake2b(body, digest_size=SUM).digest() + body


def read_index(output: str, key: bytes) -> tuple[Index, Run] | None:
    """The index and the last run, where the ledger is as the index says; else None."""
    try:
        data = storage.read(storage.join(output, INDEX))
        body = data[len(MAGIC) + SUM :]
        if data[: len(MAGIC) + SUM] != MAGIC + hashlib.blake2b(body, digest_size=SUM).digest():
            return None
        index = msgspec.msgpack.decode(body, type=Index)
        run = read_run(storage.join(output, index.ledger))
        with os.scandir(storage.join(output, "ledger")) as entries:
            there = sum(entry.name.endswith(".avro") for entry in entries)
    except (OSError, msgspec.MsgspecError, LedgerError):
        return None
    return (index, run) if (run.head, run.key_id, there) == (index.head, key_id(key), index.runs) and index.key_id == run.key_id else None
