"""Early stages that wait for their final event, packed so that a run unpacks only those that it concerns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np

from transforms.audit import avro
from transforms.audit.memory import row_id
from transforms.audit.resolve_copies import LooseEvent

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

MARK: Final = b"W"  # no compressed data begins with it


class _Packed(msgspec.Struct, array_like=True):
    ids: bytes  # numbers of their audit IDs (`memory.row_id`)
    since: bytes  # when each began to wait
    events: list[bytes]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(LooseEvent).decode
_decode_packed = msgspec.msgpack.Decoder(_Packed).decode


def pack_waiting(events: Sequence[LooseEvent]) -> bytes:
    """Events that wait, each with its `since`."""
    ids = np.array([row_id(event.cluster, event.audit_id) for event in events], dtype=np.uint64)
    since = np.array([event.since or 0 for event in events], dtype=np.int64)
    return _pack(_Packed(ids.tobytes(), since.tobytes(), [_encode(event) for event in events]))


def unpack_waiting(packed: bytes) -> list[LooseEvent]:
    """All of them."""
    return [_decode(event) for event in _unpack(packed).events]


def concerned(pieces: Iterable[bytes], events: Iterable[LooseEvent], given_up: int) -> tuple[list[LooseEvent], list[_Packed]]:
    """Those that share an audit ID with one of the events, or wait since `given_up` or longer; and the rest, packed."""
    wanted = np.array(sorted({row_id(event.cluster, event.audit_id) for event in events}), dtype=np.uint64)
    found: list[LooseEvent] = []
    rest: list[_Packed] = []
    for piece in pieces:
        packed = _unpack(piece)
        ids, since = np.frombuffer(packed.ids, dtype=np.uint64), np.frombuffer(packed.since, dtype=np.int64)
        taken = np.isin(ids, wanted) | (since <= given_up)
        found += [_decode(packed.events[at]) for at in np.flatnonzero(taken)]
        left = np.flatnonzero(~taken)
        if len(left):
            rest.append(_Packed(ids[left].tobytes(), since[left].tobytes(), [packed.events[at] for at in left]))
    return found, rest


def joined(rest: Iterable[_Packed], events: Sequence[LooseEvent]) -> bytes | None:
    """What waits on, as one piece; None where nothing does."""
    parts = list(rest)
    if events:
        parts.append(_unpack(pack_waiting(events)))
    if not parts:
        return None
    return _pack(
        _Packed(
            b"".join(part.ids for part in parts),
            b"".join(part.since for part in parts),
            [event for part in parts for event in part.events],
        )
    )


def _pack(packed: _Packed) -> bytes:
    return MARK + avro.compress(_encode(packed), avro.IN_TRANSIT)


def _unpack(packed: bytes) -> _Packed:
    return _decode_packed(avro.decompress(packed[len(MARK) :]))
