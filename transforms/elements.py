"""Coders of the elements that go between the steps, each chosen for it.

What is redacted travels as MessagePack, compressed where it repeats itself. What is raw does not travel: its coder refuses, so
that a runner that would ship or spill it fails instead.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import msgspec
from apache_beam import coders

from transforms.audit import avro
from transforms.audit.account import Account
from transforms.audit.avro_blocks import AvroBlock
from transforms.audit.block import EventBlock, RawBlock, Split
from transforms.audit.settings import Compiled
from transforms.audit.settle_events import Unit
from transforms.connectors.avro_files import OutputFile

if TYPE_CHECKING:
    from transforms.audit.settings import Settings


class RawContentError(RuntimeError):
    """Content that is not redacted yet was about to leave its worker."""


class SealedCoder(coders.Coder):
    """Of elements that hold raw content: never encodes."""

    def encode(self, value: Any) -> bytes:
        """Refuse."""
        raise RawContentError(f"{type(value).__name__} holds raw content and must not leave its worker: redact first")

    def decode(self, encoded: bytes) -> Any:  # noqa: ARG002 - the interface's
        """Refuse."""
        raise RawContentError("raw content does not travel")

    def estimate_size(self, value: Any) -> int:  # noqa: ARG002 - likewise
        """Not worth looking at."""
        return 1 << 20

    def is_deterministic(self) -> bool:
        """Nothing is ever encoded."""
        return True


def _sealed(kind: type) -> type[SealedCoder]:
    coder = type(f"{kind.__name__}Coder", (SealedCoder,), {"to_type_hint": lambda _: kind, "__module__": __name__})
    globals()[coder.__name__] = coder
    return coder


class MessagePackCoder(coders.Coder):
    """Of redacted structs: MessagePack, the same bytes for equal values."""

    kind: type = object

    def encode(self, value: Any) -> bytes:
        """The struct as an array of its fields."""
        return msgspec.msgpack.encode(value)

    def decode(self, encoded: bytes) -> Any:
        """The struct."""
        return msgspec.msgpack.decode(encoded, type=self.kind)

    def is_deterministic(self) -> bool:
        """Fields have one order."""
        return True

    def to_type_hint(self) -> type:
        """What it codes."""
        return self.kind


class SplitCoder(MessagePackCoder):
    """Of splits."""

    kind = Split


class AccountCoder(MessagePackCoder):
    """Of accounts."""

    kind = Account


class AvroBlockCoder(MessagePackCoder):
    """Of Avro blocks, which are compressed already."""

    kind = AvroBlock


class OutputFileCoder(MessagePackCoder):
    """Of the names and counts of written files."""

    kind = OutputFile


class UnitCoder(MessagePackCoder):
    """Of units: summaries and loose events repeat themselves, so they are compressed."""

    kind = Unit

    def encode(self, value: Unit) -> bytes:
        """Compressed MessagePack."""
        return avro.compress(msgspec.msgpack.encode(value), avro.IN_TRANSIT)

    def decode(self, encoded: bytes) -> Unit:
        """The unit."""
        return msgspec.msgpack.decode(avro.decompress(encoded), type=Unit)


for _kind, _coder in (
    (RawBlock, _sealed(RawBlock)),
    (EventBlock, _sealed(EventBlock)),
    (Split, SplitCoder),
    (Account, AccountCoder),
    (AvroBlock, AvroBlockCoder),
    (Unit, UnitCoder),
    (OutputFile, OutputFileCoder),
):
    coders.registry.register_coder(_kind, _coder)


@lru_cache(maxsize=8)
def compiled(settings: Settings, key: bytes) -> Compiled:
    """Settings made ready, once per process: the steps of a worker share caches and rules."""
    return Compiled(settings, key)
