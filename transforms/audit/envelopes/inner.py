"""What an envelope holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from msgspec import Raw

    from transforms.audit.event import Event


class Inner(NamedTuple):
    """One thing in an envelope: a record to recognise in its turn, an event already, or the reason why it is neither.

    `record` is the bytes that count as the event's size. `flags` go to every event found in it, `cluster` unless an
    envelope further in names one. `encoding`: the wrap is but an encoding, and counts as no envelope.
    """

    record: bytes | Raw
    event: Event | None = None
    code: str | None = None
    message: str = ""
    cluster: str | None = None
    flags: tuple[str, ...] = ()
    encoding: bool = False
