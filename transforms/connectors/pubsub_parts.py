"""Parts of one log entry that come as several messages, kept back until all are there.

They are neither given nor acknowledged meanwhile. The joiner puts them together only where they are in the same stretch,
and without the others a part says nothing of the bodies.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from transforms.audit.joiner import split_part

if TYPE_CHECKING:
    from transforms.connectors.pubsub_client import Received

PATIENCE: Final = 10.0  # seconds that a part waits for the others; Cloud Logging writes them together
SIZE_LIMIT: Final = 16 << 20  # bytes kept back; beyond, the oldest go without the rest


class _Entry(NamedTuple):
    since: float
    parts: dict[int, Received]


class Parts:
    """Entries of which parts are missing, the oldest first."""

    def __init__(self) -> None:
        self._entries: dict[str, _Entry] = {}
        self.size = 0

    def __len__(self) -> int:
        return sum(len(entry.parts) for entry in self._entries.values())

    def add(self, message: Received, now: float) -> list[Received]:
        """What can be given now that this message is here: itself where it is whole, all parts with the last of them."""
        part = split_part(message.data)
        if part is None:
            return [message]
        parts = self._entries.setdefault(part.uid, _Entry(now, {})).parts
        if part.number in parts:  # published twice; the joiner takes one
            return [message]
        parts[part.number] = message
        self.size += len(message.data)
        out: list[Received] = []
        if len(parts) == part.total:
            out = self._leave(part.uid)
        while self.size > SIZE_LIMIT:
            out += self._leave(next(iter(self._entries)))
        return out

    def overdue(self, now: float) -> list[Received]:
        """The parts that have waited long enough."""
        late = [uid for uid, entry in self._entries.items() if now - entry.since >= PATIENCE]
        return [message for uid in late for message in self._leave(uid)]

    def _leave(self, uid: str) -> list[Received]:
        messages = list(self._entries.pop(uid).parts.values())
        self.size -= sum(len(message.data) for message in messages)
        return messages
