"""A consumer of Kafka that decides nothing: it asks, assigns and commits, and remembers what it was told."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from transforms.connectors.kafka_address import Address, client_settings, reason

if TYPE_CHECKING:
    from confluent_kafka import KafkaError, KafkaException, Message

Place = tuple[str, int]  # topic and partition
SLICE: Final = 0.1  # seconds to wait for messages before looking whether there are enough
PARTING: Final = 6.0  # and for commits that are under way at the end
_HEARINGS: Final = 10


class Seen(msgspec.Struct, frozen=True):
    """A topic as the cluster has it now: its ID, empty where the cluster gives none, and the numbers of its partitions."""

    identity: str
    partitions: Sequence[int]


class KafkaClient:
    """Connections to one cluster. Unless said otherwise, what asks the cluster raises KafkaException where nobody answers in time."""

    def __init__(self, address: Address, settings: Mapping[str, str]) -> None:
        from confluent_kafka import Consumer  # noqa: PLC0415 - an extra, and only Kafka's users pay for it
        from confluent_kafka.admin import AdminClient  # noqa: PLC0415 - likewise

        self._address = address
        self._settings = settings
        config = client_settings(address, settings)
        self._consumer = Consumer({**config, "error_cb": self._hear, "on_commit": self._note_commits})
        self._admin = AdminClient(config)
        self._said = ""
        self._closed = False
        self._under_way = 0
        self.committed: dict[Place, int] = {}
        self.failed_commits = 0
        self.unreachable = False

    def look(self, patience: float) -> dict[str, Seen]:
        """The topics that there are; `unreachable` says whether anybody told."""
        from confluent_kafka import KafkaError, KafkaException, TopicCollection  # noqa: PLC0415 - as above

        self.unreachable = True
        asked = self._admin.describe_topics(TopicCollection(list(self._address.topics)), request_timeout=patience)
        found: dict[str, Seen] = {}
        for name, future in asked.items():
            try:
                told = future.result()
            except KafkaException as error:
                if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                    raise
                continue
            # As Kafka's own tools print it; all zero bits before Kafka 2.8.
            identity = str(told.topic_id).rstrip("=").replace("+", "-").replace("/", "_")
            found[name] = Seen("" if set(identity) <= {"A"} else identity, [each.id for each in told.partitions])
        self.unreachable = False
        return found

    def cluster(self, patience: float) -> str:
        """The cluster's ID."""
        return self._consumer.list_topics(self._address.topics[0], patience).cluster_id or ""

    def learn(self, topic: str, patience: float) -> None:
        """Have the client know of new partitions, before it reads them: by itself it asks every five minutes."""
        self._consumer.list_topics(topic, patience)

    def watermarks(self, place: Place, patience: float) -> tuple[int, int]:
        """The earliest offset of a partition, and the end of what can be read: before it no transaction is open."""
        return self._consumer.get_watermark_offsets(_at(place), patience, cached=False)

    def end_last_seen(self, place: Place) -> int:
        """The end of a partition as of the last message, without asking anybody."""
        return self._consumer.get_watermark_offsets(_at(place), cached=True)[1]

    def recall_commits(self, places: Sequence[Place], patience: float) -> None:
        """Ask for the group's offsets, which are in `committed` then."""
        for found in self._consumer.committed([_at(place) for place in places], patience) if self._address.group else ():
            if found.offset >= 0:
                self.committed[found.topic, found.partition] = found.offset

    def assign(self, positions: Mapping[Place, int]) -> None:
        """Read these too, from there on."""
        self.leave(positions.keys())
        if positions:
            self._consumer.incremental_assign([_at(place, offset) for place, offset in positions.items()])

    def leave(self, places: Collection[Place]) -> None:
        """Read these no longer."""
        gone = [each for each in self._consumer.assignment() if (each.topic, each.partition) in places]
        if gone:
            self._consumer.incremental_unassign(gone)

    def consume(self, number: int, seconds: float) -> list[Message]:
        """Up to so many messages, and what stands in place of messages; waits for a moment. Asks nobody."""
        return self._consumer.consume(number, min(seconds, SLICE))

    def commit(self, positions: Mapping[Place, int]) -> None:
        """Commit offsets to the group, in the background: what fails is counted. Never raises."""
        from confluent_kafka import KafkaException  # noqa: PLC0415 - as above

        behind = [_at(place, offset) for place, offset in positions.items() if self.committed.get(place) != offset]
        if self._address.group is None or not behind:
            return
        try:
            self._consumer.commit(offsets=behind, asynchronous=True)
        except KafkaException:
            self.failed_commits += 1
        else:
            self._under_way += 1

    def why(self, error: KafkaException) -> str:
        """Why there is no answer: where it is not a broker that says so, the client's connections say more than the error of a call."""
        for _ in range(_HEARINGS):
            self._consumer.poll(0)
        of_broker = error.args[0].code() > 0
        return reason(error.args[0].str() if of_broker else self._said or error.args[0].str(), self._settings)

    def close(self) -> None:
        """Let go, once commits that are under way are through, or some seconds later."""
        until = time.monotonic() + PARTING
        while self._under_way and not self.unreachable and time.monotonic() < until:
            self._consumer.consume(1, SLICE)
        self._consumer.close()

    def _hear(self, error: KafkaError) -> None:
        if error.code() != error._ALL_BROKERS_DOWN:  # noqa: SLF001 - so are the client's own codes named
            self._said = error.str()

    def _note_commits(self, error: KafkaError | None, offsets: Sequence[Any]) -> None:
        self._under_way -= 1
        done = [each for each in offsets if error is None and each.error is None]
        self.failed_commits += len(done) < len(offsets)
        self.committed.update({(each.topic, each.partition): each.offset for each in done})


def _at(place: Place, offset: int | None = None) -> Any:
    from confluent_kafka import TopicPartition  # noqa: PLC0415 - as above

    return TopicPartition(*place) if offset is None else TopicPartition(*place, offset)
