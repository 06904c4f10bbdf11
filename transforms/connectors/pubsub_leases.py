"""Leases of messages: whoever pulled a message has it for some seconds, and must ask for more while at work on it."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Final

from transforms.connectors.pubsub_client import IDS_OF_CALL, PassingError
from transforms.connectors.sources import SourceError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from transforms.connectors.pubsub_client import Client

LEASE: Final = 60  # seconds; how long a message stays away after a crash
RENEWAL: Final = 20.0  # seconds after which a lease is renewed: two attempts may fail before it ends
_RETRY: Final = 1.0


class Leases:
    """Renews the leases of what it holds, on a thread of its own: the first at once, whatever the subscription's deadline."""

    def __init__(self, client: Client, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._clock = clock
        self._due: dict[str, float] = {}
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._closed = False
        self.failures = 0
        self._thread = threading.Thread(target=self._go_on, name="pubsub-leases", daemon=True)

    def start(self) -> None:
        """Start the thread; without it, `renew` is the caller's."""
        self._thread.start()

    def __len__(self) -> int:
        return len(self._due)

    def hold(self, ack_ids: Iterable[str]) -> None:
        """Renew these from now on."""
        with self._lock:
            if not self._closed:
                self._due.update(dict.fromkeys(ack_ids, float("-inf")))
        self._wake.set()

    def drop(self, ack_ids: Iterable[str]) -> None:
        """Do not renew these any longer."""
        with self._lock:
            for ack_id in ack_ids:
                self._due.pop(ack_id, None)

    def renew(self) -> float:
        """Renew what is due; gives the seconds until more is. Never raises: a lease that ends means that its message comes again."""
        now = self._clock()
        with self._lock:
            due = [ack_id for ack_id, when in self._due.items() if when <= now]
        for batch in batches(due):
            wait = RENEWAL
            try:
                self._client.extend(batch, LEASE)
            except PassingError:
                self.failures += 1
                wait = _RETRY
            except SourceError:  # the next pull says so too
                self.failures += 1
            with self._lock:
                self._due.update((ack_id, now + wait) for ack_id in batch if ack_id in self._due)
        with self._lock:
            return max(0.0, min(self._due.values(), default=now + RENEWAL) - self._clock())

    def close(self) -> None:
        """Give back all that is held, so that it is delivered again at once, and stop."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            held = list(self._due)
            self._due.clear()
        self._wake.set()
        try:
            for batch in batches(held):
                self._client.extend(batch, 0)
        except (PassingError, SourceError):
            self.failures += 1  # the leases end by themselves

    def _go_on(self) -> None:
        while not self._closed:
            self._wake.clear()
            self._wake.wait(self.renew())


def batches(ack_ids: list[str]) -> Iterator[list[str]]:
    """As many as a call may name, one after the other."""
    for at in range(0, len(ack_ids), IDS_OF_CALL):
        yield ack_ids[at : at + IDS_OF_CALL]
