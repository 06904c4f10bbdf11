"""Blocks: the elements between the steps. One holds one to four MiB of input, because a step costs per element."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from transforms.audit.account import Account
from transforms.audit.event import Event

BLOCK_SIZE: Final = 4 << 20  # of input read at once; one range of the ledger, and so much is looked at for the stages of a request
PIECE_SIZE: Final = 256 << 10  # of it that goes through the steps at once as events: larger pieces leave the processor's caches
LINE_LIMIT: Final = 64 << 20
DEFAULT_CLUSTER: Final = "default"


class Split(msgspec.Struct, frozen=True, array_like=True):
    """A stretch of one input, read in one go: `start` to `end` of its decompressed stream, both at line starts.

    `file` numbers the inputs of a run in order of precedence: of several copies the first by (file, offset, item) is
    written. `end` is None where only reading tells (compressed input). `path` is what to open, `uri` and `partition` what
    to write.
    """

    file: int
    uri: str
    path: str
    start: int = 0
    end: int | None = None
    cluster: str | None = None
    partition: int | None = None


class DeadLetter(msgspec.Struct, array_like=True):
    """What could not be read: why and where, and never what it was. `mac` is keyed, of the raw record."""

    code: str
    step: str
    offset: int
    item: int
    length: int
    mac: bytes
    message: str


class RawBlock(msgspec.Struct, gc=False):
    """Bytes of a split as they were read: whole lines, or the items of a document. Never leaves the worker.

    `items` holds (offset, item, bytes, code) of a document's items in place of lines.
    """

    split: Split
    account: Account
    offset: int
    data: bytes
    unterminated: bool = False
    items: Sequence[tuple[int, int, bytes | None, str | None]] | None = None
    last: bool = False


class EventBlock(msgspec.Struct, gc=False):
    """Events of one block, parsed. Carries raw content until the step that redacts, so it never leaves the worker.

    `rows` are the plain requests, which are no events any more (`rows.plain_rows.Rows`); `loose` are events that must meet others of
    their audit ID, each with its request and content hashes (`merge_stages`).
    """

    split: Split
    account: Account
    events: list[Event]
    dead_letters: list[DeadLetter]
    last: bool = False
    loose: list[tuple[Event, bytes, list[bytes]]] = []
    rows: Any = None
