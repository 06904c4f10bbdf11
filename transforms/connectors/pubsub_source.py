"""A Pub/Sub subscription as a source: `pubsub://projects/P/subscriptions/S`, pulled, and acknowledged after the commit.

Pub/Sub has no positions: messages are numbered as they come, from where the ledger ends, and what was given but not
acknowledged comes again, perhaps under another number. The engine knows it by the message ID. In a stretch messages stand in
the order of publication, those of one ordering key as they were delivered.
"""

from __future__ import annotations

import re
import threading
import time
from base64 import b64encode
from concurrent.futures import Future
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

import msgspec

from transforms.audit.envelopes.pubsub import cluster_of
from transforms.connectors.pubsub_client import GoogleClient, PassingError, Received
from transforms.connectors.pubsub_leases import Leases, batches
from transforms.connectors.pubsub_parts import Parts
from transforms.connectors.sources import Gap, SourceError, Stretch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from transforms.connectors.pubsub_client import Client
    from transforms.connectors.sources import Reach

IDLE: Final = 10.0  # seconds without a message after which a subscription that is drained counts as empty
QUIET: Final = 1.0  # seconds without a message after which nothing waits
FRESH: Final = 10.0  # seconds since its publication within which a message is the newest there is
HOLD: Final = 60.0  # seconds a pull may take: one that is given up may take messages with it, until their leases end
FIRST: Final = 3.0  # seconds for the first pull, which shows whether the subscription is there and may be pulled
REACHED: Final = 10.0  # seconds in which it must have an answer
PATIENCE: Final = 300.0  # seconds without a server after which draining fails; following waits for ever
MOST: Final = 1000  # messages of one pull, which is Pub/Sub's own limit
LIKELY: Final = 256 << 10  # bytes of a message before any was seen: what Cloud Logging allows an entry
OVERHEAD: Final = 256  # bytes that a message takes beside its data
_SHORT: Final = 0.1
_LONG: Final = 5.0
_URI: Final = re.compile(r"pubsub://(projects/[a-z0-9][a-z0-9.:-]*/subscriptions/[A-Za-z][A-Za-z0-9._~%+-]*)")


def parse(uri: str, cluster: str | None, *, follow: bool, settings: Any = None, output: str = "") -> tuple[PubSubSource | None, list[str]]:
    """The source that a URI names, not connected; or what is wrong, all of it. Pub/Sub takes no further settings."""
    del settings, output
    problems = []
    found = _URI.fullmatch(uri)
    if found is None:
        problems.append(f"--input {uri}: a Pub/Sub input is pubsub://projects/PROJECT/subscriptions/SUBSCRIPTION and nothing else")
    if not _installed():
        problems.append(f"--input {uri}: needs google-cloud-pubsub, which is not installed: pip install 'kube-audit-reducer[pubsub]'")
    if found is None or problems:
        return None, problems
    return PubSubSource(found[1], cluster, follow=follow, connect=partial(GoogleClient, found[1])), []


def _installed() -> bool:
    try:
        return find_spec("google.pubsub_v1") is not None
    except ModuleNotFoundError:
        return False


class PubSubSource:
    """One subscription. `clock` and `pause` in seconds, `now` in seconds since the epoch; `background` starts a call."""

    def __init__(
        self,
        subscription: str,
        cluster: str | None,
        *,
        follow: bool,
        connect: Callable[[], Client],
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], None] = time.sleep,
        now: Callable[[], float] = time.time,
        background: Callable[[Callable[[], list[Received]]], Future[list[Received]]] | None = None,
    ) -> None:
        self.uri = f"pubsub://{subscription}"
        self._name = subscription
        self._cluster = cluster
        self._follow = follow
        self._connect = connect
        self._clock, self._pause, self._now = clock, pause, now
        self._background = background or _in_background
        self._client: Client | None = None
        self._leases: Leases | None = None
        self._number = 0
        self._pull: Future[list[Received]] | None = None
        self._first: list[Received] = []
        self._parts = Parts()
        self._ack_ids: dict[str, list[str]] = {}  # of messages that are here and not acknowledged, by message ID
        self._given: list[Received] = []
        self._owed: list[str] = []  # committed, but not acknowledged for want of a server
        self._mean = float(LIKELY)
        self._most = self._asked = MOST
        self._wait = _SHORT
        self._failing: float | None = None
        self._stirred = 0.0  # when something last happened
        self._emptied = 0.0  # when a pull last brought nothing
        self._fresh = False
        self._redelivered = 0

    def resume(self, positions: Mapping[tuple[str, int | None], int], reach: Reach | None = None) -> None:
        """Go on numbering where the ledger ends, and see whether the subscription can be pulled. Raises SourceError."""
        del reach  # of files
        self._number = positions.get((self.uri, None), 0)
        self._client = self._connect()
        self._leases = Leases(self._client, self._clock)
        self._leases.start()
        until = self._clock() + REACHED
        while True:
            try:
                self._first = self._pulled(1, FIRST)
                break
            except PassingError as error:
                if self._clock() >= until:
                    raise SourceError(
                        f"{self.uri}: no answer within {REACHED:.0f} seconds ({error}); is the network there, and does"
                        " PUBSUB_EMULATOR_HOST, if it is set, name the right server?"
                    ) from None
                self._pause(1.0)
        self._stirred = self._clock()

    def fetch(self, room: int, seconds: float) -> list[Stretch]:
        """About `room` bytes of messages, as the protocol says; a bounded source gives what it has as soon as nothing follows."""
        until = self._clock() + seconds
        self._pay()
        size = self._take(self._first)
        self._first = []
        while size < room:
            answer = self._answer(room - size, until)
            size += self._take(answer or ())
            self._give(self._parts.overdue(self._clock()))
            if self._clock() >= until or self.at_end or (answer == [] and self._given and not self._follow):
                break
        return self._stretches()

    def acknowledge(self) -> None:
        """Acknowledge what the last fetch gave; what the server does not hear now it is told before the next fetch."""
        if self._given:
            self._stirred = self._clock()  # what follows in its ordering key comes only now
        for message in self._given:
            self._owed += self._ack_ids.pop(message.message_id, ())
        self._given = []
        self._pay()

    @property
    def at_end(self) -> bool:
        """Bounded: pulls have brought nothing for IDLE seconds. Following: nothing came for QUIET seconds."""
        if self._first or self._given or len(self._parts) or self._failing is not None:
            return False
        return self._clock() - self._stirred >= QUIET if self._follow else self._emptied - self._stirred >= IDLE

    def caught_up(self) -> Mapping[tuple[str, int | None], bool]:
        """Whether the last messages were fresh, or none came for QUIET seconds."""
        quiet = self._failing is None and self._clock() - self._stirred >= QUIET
        return {(self.uri, None): self._fresh or quiet}

    def gaps(self) -> list[Gap]:
        """None: what Pub/Sub drops when its retention ends, nobody is told of."""
        return []

    def gauges(self) -> Mapping[str, float]:
        """What is here and not acknowledged, and how the server takes it."""
        held = [*self._given, *self._first]
        oldest = min((message.published for message in held), default=None)
        label = f'{{subscription="{self._name}"}}'
        return {
            f"oldest_unacknowledged_seconds{label}": 0.0 if oldest is None else max(0.0, self._now() - oldest / 1e9),
            f"outstanding_messages{label}": float(len(self._leases or ())),
            f"outstanding_bytes{label}": float(sum(len(message.data) for message in held) + self._parts.size),
            f"redelivered_messages_total{label}": float(self._redelivered),
            f"failed_extensions_total{label}": float(self._leases.failures if self._leases else 0),
            f"unreachable_seconds{label}": 0.0 if self._failing is None else self._clock() - self._failing,
        }

    def close(self) -> None:
        """Give back what was not committed, so that it is delivered again at once."""
        client, leases = self._client, self._leases
        self._client = self._leases = None
        if leases is not None:
            leases.drop(self._owed)
            leases.close()
        if client is not None:
            client.close()

    def _pulled(self, most: int, seconds: float) -> list[Received]:
        """Messages, with their leases held from the moment they are here."""
        client, leases = self._client, self._leases
        if client is None or leases is None:
            return []
        messages = client.pull(most, seconds)
        leases.hold(message.ack_id for message in messages)
        return messages

    def _answer(self, room: int, until: float) -> list[Received] | None:
        """What a pull brings; None where it goes on beyond `until`, or fails and the next may not. Raises SourceError."""
        if self._pull is None:
            self._asked = max(1, min(self._most, int(room / self._mean)))
            self._pull = self._background(partial(self._pulled, self._asked, HOLD if self._follow else IDLE))
        try:
            messages = self._pull.result(max(0.0, until - self._clock()))
        except TimeoutError:
            return None
        except PassingError as error:
            self._pull = None
            self._failed(str(error), until)
            return None
        except SourceError:
            self._pull = None
            raise
        self._pull = None
        self._failing, self._wait = None, _SHORT
        if messages:
            self._most = min(MOST, 2 * self._most)
        else:
            self._emptied = self._clock()
        return messages

    def _failed(self, code: str, until: float) -> None:
        """Wait before the next attempt; in a bounded run not for ever."""
        now = self._clock()
        self._stirred = now
        if self._failing is None:
            self._failing = now
        if not self._follow and now - self._failing >= PATIENCE:
            raise SourceError(f"{self.uri}: no answer for {PATIENCE:.0f} seconds ({code}); what was read so far is committed")
        if code == "RESOURCE_EXHAUSTED":  # a quota, or an answer that was too large
            self._most = max(1, self._asked // 2)
        self._pause(max(0.0, min(self._wait, until - now)))
        self._wait = min(_LONG, 2 * self._wait)

    def _take(self, messages: Iterable[Received]) -> int:
        """Give messages, less those that are here already and parts without the rest; their bytes."""
        size = count = 0
        oldest = now = int(self._now() * 1e9)
        for message in messages:
            known = self._ack_ids.get(message.message_id)
            if known is not None:
                known.append(message.ack_id)
                self._redelivered += 1
                continue
            self._ack_ids[message.message_id] = [message.ack_id]
            count += 1
            size += len(message.data) + OVERHEAD
            oldest = min(oldest, message.published)
            self._give(self._parts.add(message, self._clock()))
        if count:
            self._stirred = self._clock()
            self._fresh = now - oldest < FRESH * 1e9
            self._mean = max(size / count, (self._mean + size / count) / 2)
        return size

    def _give(self, messages: Iterable[Received]) -> None:
        self._given += messages

    def _pay(self) -> None:
        """Acknowledge what is committed."""
        client, leases = self._client, self._leases
        if client is None or leases is None:
            return
        for batch in list(batches(self._owed)):
            try:
                client.acknowledge(batch)
            except PassingError:
                return
            except SourceError:
                pass  # leases that ended, where delivery is exactly once: these come again and are recognised
            leases.drop(batch)
            self._owed = self._owed[len(batch) :]

    def _stretches(self) -> list[Stretch]:
        if not self._given:
            return []
        self._given = _by_publication(self._given)
        start, self._number = self._number, self._number + len(self._given)
        return [
            Stretch(
                uri=self.uri,
                partition=None,
                start=start,
                end=self._number,
                cluster=self._cluster,
                messages=[(at, self._value(message)) for at, message in enumerate(self._given, start)],
                identities=[f"{self._name} {message.message_id}" for message in self._given],
            )
        ]

    def _value(self, message: Received) -> bytes:
        """The data; in their envelope where an attribute names the cluster, which an envelope further in may know better."""
        named = None if self._cluster else cluster_of(message.attributes)
        if named is None:
            return message.data
        inside = {"attributes": {"k8s.cluster.name": named}, "data": b64encode(message.data).decode()}
        return msgspec.json.encode({"message": inside, "subscription": self._name})


def _by_publication(messages: Sequence[Received]) -> list[Received]:
    """In the order of publication; a message of an ordering key never before one of its key that was delivered earlier."""
    latest: dict[str, int] = {}
    keyed = []
    for at, message in enumerate(messages):
        moment = message.published
        if message.ordering_key:
            moment = latest[message.ordering_key] = max(moment, latest.get(message.ordering_key, moment))
        keyed.append((moment, at))
    return [messages[at] for _, at in sorted(keyed)]


def _in_background(call: Callable[[], list[Received]]) -> Future[list[Received]]:
    """A call on a thread that nobody waits for at the end of the process."""
    future: Future[list[Received]] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:  # noqa: BLE001 - it is the caller's, wherever it is raised
            future.set_exception(error)

    threading.Thread(target=run, name="pubsub-pull", daemon=True).start()
    return future
