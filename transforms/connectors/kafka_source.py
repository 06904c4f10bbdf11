"""Kafka as a source: all partitions of some topics, from where the ledger ends.

A stream is a partition of one incarnation of a topic: its URI names cluster and topic by the IDs that Kafka gave them, so
that neither another list of servers nor a topic that was deleted and made anew is taken for what it is not. The end of a
partition is what the broker says it is, an event: markers of transactions leave holes in the offsets.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from transforms.connectors.kafka_address import Address, check_settings, parse_address, reason
from transforms.connectors.kafka_client import KafkaClient, Place, Seen
from transforms.connectors.sources import Gap, SourceError, Stretch

if TYPE_CHECKING:
    from confluent_kafka import KafkaError, Message

    from transforms.connectors.sources import Reach

PATIENCE: Final = 10.0  # seconds for a broker to answer at the start
GLANCE: Final = 2.0  # and later, where there is a next time
BLINK: Final = 0.3  # and where nobody answered the last time
PAUSE: Final = 0.2
AT_ONCE: Final = 2000  # messages
LEAST: Final = 64  # bytes that a message weighs, even if it is empty
ABSENCE: Final = 30.0  # seconds after which a topic that no broker knows is taken for deleted: one that starts may not know it yet
EXPIRED: Final = "the broker's retention deleted it before it was read"
DELETED: Final = "the topic was deleted"
MADE_ANEW: Final = "the topic was deleted, and made anew"

Taken = dict[Place, list[tuple[int, bytes]]]


class Partition(msgspec.Struct, eq=False):
    """What is known of a stream. `start` is where the next stretch begins, `position` how far it was read, holes included.

    `end` bounds it, `at_end` says that there is no more: for good where it has an `end`. It is `astray` where its position
    is out of range and nobody has seen to it yet. `moved` says that it was read, or its ledger is ahead of the group.
    """

    uri: str
    place: Place
    start: int
    position: int
    end: int | None = None
    at_end: bool = False
    astray: bool = False
    moved: bool = False

    def __str__(self) -> str:
        return f"topic {self.place[0]}, partition {self.place[1]}"

    @property
    def done(self) -> bool:
        """Whether it has a bound, and was read to it."""
        return self.at_end and self.end is not None


def parse(
    uri: str,
    cluster: str | None,
    *,
    follow: bool,
    settings: Mapping[str, str],
    output: str,  # noqa: ARG001 - what files must not read
) -> tuple[KafkaSource | None, list[str]]:
    """The source that an address names, or all that is wrong with it. `settings` are librdkafka's properties. Asks no network."""
    problems: list[str] = []
    address = parse_address(uri, problems)
    try:
        if address is not None:
            check_settings(address, settings, problems)
    except ImportError:
        problems.append("--input kafka://…: needs the extra 'kafka': pip install 'kube-audit-reducer[kafka]'")
    if problems or address is None:
        return None, problems
    return KafkaSource(address, cluster, settings, follow=follow), []


class KafkaSource:
    """The `Source` of one address."""

    def __init__(self, address: Address, cluster: str | None, settings: Mapping[str, str], *, follow: bool) -> None:
        self._address = address
        self._cluster = cluster
        self._settings = settings
        self._follow = follow
        self._open: KafkaClient | None = None
        self._cluster_id = ""
        self._topics: dict[str, Seen] = {}
        self._missing: dict[str, float] = {}  # topics that are gone, since when
        self._partitions: dict[Place, Partition] = {}
        self._held: deque[Message] = deque()  # received and not given yet
        self._weight = 1024.0  # bytes of a message, of late
        self._gaps: list[Gap] = []
        self._fault = ""

    def resume(self, positions: Mapping[tuple[str, int | None], int], reach: Reach | None = None) -> None:  # noqa: ARG002 - of files
        """See Source. What the ledger does not name starts at the group's committed offset, else at the earliest message."""
        from confluent_kafka import KafkaException  # noqa: PLC0415 - an extra, and only Kafka's users pay for it

        self._open = KafkaClient(self._address, self._settings)
        until = time.monotonic() + PATIENCE
        problems: list[str] | None = None
        while problems is None:
            try:
                problems = self._survey(positions)
            except KafkaException as error:
                if time.monotonic() < until and not _is_refusal(error.args[0]):
                    time.sleep(PAUSE)  # a cluster that starts, or moves its leaders
                    continue
                why = self._client.why(error)
                self.close()
                advice = "check the address, that the broker runs, and TLS and SASL settings"
                raise SourceError(f"{self._address}: no answer that can be used ({why}); {advice}") from None
        if problems:
            self.close()
            raise SourceError("\n".join(f"{self._address}: {problem}" for problem in problems))
        self._client.assign({each.place: each.position for each in self._partitions.values() if not each.done})
        self.acknowledge()  # what the ledger holds, whether or not a crash kept the group from hearing of it

    def fetch(self, room: int, seconds: float) -> list[Stretch]:
        """See Source."""
        if self._fault:
            raise SourceError(f"{self._address}: {self._fault}")
        self._recover([each for each in self._partitions.values() if each.astray])
        if self._gaps:
            return []  # a gap is told by itself: after what came before it, before what comes after it
        deadline = time.monotonic() + seconds
        taken: Taken = {}
        size = 0
        more = True  # whether some may be there that nobody must wait for
        while not self._fault:
            while self._held and size < room and not self._fault:
                size += self._take(self._held.popleft(), taken)
            left = deadline - time.monotonic()
            if size >= room or (left <= 0 and not more) or (self.at_end and not self._follow):
                break
            asked = max(1, min(AT_ONCE, int((room - size) / self._weight)))
            messages = self._client.consume(asked, max(0.0, left))
            more = len(messages) == asked
            if messages:
                self._weight = max(LEAST, sum(map(len, messages)) / len(messages))
                self._held.extend(messages)
        self._refresh(taken)
        return [self._stretch(self._partitions[place], messages) for place, messages in taken.items()]

    def acknowledge(self) -> None:
        """See Source. Offsets are committed in the background; one that fails is committed with the next."""
        self._client.commit({each.place: each.position for each in self._partitions.values() if each.moved})

    @property
    def at_end(self) -> bool:
        """See Source."""
        return not self._held and all(each.at_end for each in self._partitions.values())

    def caught_up(self) -> Mapping[tuple[str, int | None], bool]:
        """See Source."""
        waiting = {(message.topic(), message.partition()) for message in self._held if message.error() is None}
        return {(each.uri, place[1]): each.at_end and place not in waiting for place, each in self._partitions.items()}

    def gaps(self) -> list[Gap]:
        """See Source."""
        out, self._gaps = self._gaps, []
        return out

    def gauges(self) -> Mapping[str, float]:
        """Messages behind, by partition, holes included; whether no broker answers; failed commits."""
        lag = {f'lag{{partition="{topic}/{number}"}}': float(self._lag(each)) for (topic, number), each in self._partitions.items()}
        down, failed = float(self._client.unreachable), float(self._client.failed_commits)
        return {**lag, "unreachable": down, "failed_commits": failed}

    def close(self) -> None:
        """See Source. Waits some seconds for offsets that are being committed."""
        if self._open is not None:
            self._open.close()
            self._open = None
            self._held.clear()

    @property
    def _client(self) -> KafkaClient:
        if self._open is None:
            raise SourceError(f"{self._address}: is not open")
        return self._open

    def _uri(self, name: str, seen: Seen | None) -> str:
        return f"kafka://{self._cluster_id}/{name}" + (f"?id={seen.identity}" if seen and seen.identity else "")

    def _survey(self, positions: Mapping[tuple[str, int | None], int]) -> list[str]:
        """Find all partitions and where they go on; gives what is wrong. Raises KafkaException where nobody tells."""
        self._partitions, self._gaps = {}, []
        self._cluster_id = self._client.cluster(PATIENCE)
        self._topics = self._client.look(PATIENCE)
        problems = [f"topic {name} does not exist" for name in self._address.topics if name not in self._topics]
        for name, seen in self._topics.items():
            self._begin(name, seen, positions, problems)
        return problems

    def _begin(self, name: str, seen: Seen, positions: Mapping[tuple[str, int | None], int], problems: list[str]) -> None:
        """Where each partition of a topic goes on, and to which end."""
        ledger = self._ledger(name, seen, positions)
        self._client.recall_commits([(name, number) for number in seen.partitions], PATIENCE)
        for number in seen.partitions:
            place = name, number
            low, high = self._client.watermarks(place, PATIENCE)
            each = self._partitions[place] = Partition(self._uri(name, seen), place, low, low, None if self._follow else high)
            committed, at = self._client.committed.get(place), ledger.get(number)
            each.moved = at is not None
            if at is not None and at > high:
                problems.append(f"{each}: {_beyond(at, high)}")
            if at is None and committed is not None and committed <= high:
                at = committed
            if at is not None and at < low:
                self._gaps.append(Gap(each.uri, number, at, low, EXPIRED))
            elif at is not None:
                each.start = each.position = at
            each.at_end = each.end is not None and each.position >= each.end

    def _ledger(self, name: str, seen: Seen, positions: Mapping[tuple[str, int | None], int]) -> dict[int, int]:
        """The ledger's positions in this topic; where they are of one that was deleted since, the rest of that is a gap."""
        uri, base = self._uri(name, seen), self._uri(name, None)
        found = {number: at for (of, number), at in positions.items() if of == uri and number is not None}
        if found or not seen.identity:
            return found
        for (of, number), at in positions.items():
            if of == base and number is not None:  # from before the cluster gave its topics IDs
                found[number] = at
            elif of.partition("?")[0] == base:
                self._gaps.append(Gap(of, number, at, None, MADE_ANEW))
        return found

    def _take(self, message: Message, taken: Taken) -> int:
        """Take a message, or heed what stands in its place; gives what it weighs."""
        place: Any = message.topic(), message.partition()
        offset: Any = message.offset()
        each = self._partitions.get(place)
        error = message.error()
        if error is not None:
            self._heed(error, each, offset)
            return 0
        if each is None or each.done:
            return 0
        if each.end is not None and offset >= each.end:
            self._finish(each, each.end)
            return 0
        messages = taken.get(place)
        if messages is None:
            messages = taken[place] = []
        value: Any = message.value() or b""
        messages.append((offset, value))
        each.position, each.at_end, each.moved = offset + 1, False, True
        if each.end is not None and each.position >= each.end:
            self._finish(each, each.position)
        return max(LEAST, len(value))

    def _heed(self, error: KafkaError, each: Partition | None, offset: int | None) -> None:
        """What stands in place of a message: the end of a partition, or trouble."""
        code = error.code()
        if code == error._PARTITION_EOF:  # noqa: SLF001 - so are the client's own codes named
            if each is not None and offset is not None and not each.done:
                self._finish(each, max(each.position, offset))
        elif code in {error._AUTO_OFFSET_RESET, error._LOG_TRUNCATION, error.OFFSET_OUT_OF_RANGE} and each is not None:  # noqa: SLF001
            each.astray = True
        elif _is_refusal(error) or code in {error.MSG_SIZE_TOO_LARGE, error._BAD_MSG, error._BAD_COMPRESSION, error._NOT_IMPLEMENTED}:  # noqa: SLF001
            where = "" if each is None else f"{each}, at offset {each.position} or after it: "
            self._fault = where + reason(error.str(), self._settings)

    def _finish(self, each: Partition, position: int) -> None:
        """There is no more at this position; where that is not before the partition's bound, it is done."""
        each.position = position
        each.at_end = each.end is None or position >= each.end
        if each.done:
            self._client.leave([each.place])

    def _stretch(self, each: Partition, messages: list[tuple[int, bytes]]) -> Stretch:
        start, each.start = each.start, each.position
        return Stretch(each.uri, each.place[1], start, each.position, self._cluster, messages)

    def _lag(self, each: Partition) -> int:
        return 0 if each.at_end else max(0, self._client.end_last_seen(each.place) - each.position)

    def _refresh(self, taken: Taken) -> None:
        """See what became of the topics while messages were taken from them.

        Brokers and clients that know topics by name go on in one that was made anew as if nothing had happened: what was
        taken from it under the name of the old one is dropped, and read again from its start.
        """
        from confluent_kafka import KafkaException  # noqa: PLC0415 - as above

        try:
            topics = self._client.look(BLINK if self._client.unreachable else GLANCE)
            for name in self._address.topics:
                if name in topics:
                    self._compare(name, topics[name], taken)
                elif name in self._topics:
                    self._miss(name, taken)
        except KafkaException:
            return  # next time

    def _compare(self, name: str, seen: Seen, taken: Taken) -> None:
        """Notice that a topic was made anew, and new partitions; only what is followed goes on there."""
        self._missing.pop(name, None)
        if name in self._topics and self._topics[name].identity != seen.identity:
            self._forget(name, MADE_ANEW, {place for place in taken if place[0] == name})
            for place in [place for place in taken if place[0] == name]:
                del taken[place]
        fresh = [(name, number) for number in seen.partitions if self._follow and (name, number) not in self._partitions]
        if fresh:
            self._client.learn(name, GLANCE)
            starts = {place: self._client.watermarks(place, GLANCE)[0] for place in fresh}
            self._partitions.update({place: Partition(self._uri(name, seen), place, at, at) for place, at in starts.items()})
            self._client.assign(starts)
        self._topics[name] = seen

    def _miss(self, name: str, taken: Taken) -> None:
        """Take a topic for deleted once it has been missing for long; what was taken from it stays good."""
        now = time.monotonic()
        if now - self._missing.setdefault(name, now) >= ABSENCE and all(place[0] != name for place in taken):
            self._forget(name, DELETED, ())
            del self._topics[name], self._missing[name]

    def _forget(self, name: str, why: str, dropped: Collection[Place]) -> None:
        """Let go of the partitions of a topic that is no more; what was not read to its end is a gap."""
        gone = [each for each in self._partitions.values() if each.place[0] == name]
        self._held = deque(message for message in self._held if message.topic() != name)
        self._gaps += [Gap(each.uri, each.place[1], each.start, each.end, why) for each in gone if not each.at_end or each.place in dropped]
        self._client.leave([each.place for each in gone])
        for each in gone:
            del self._partitions[each.place]
            self._client.committed.pop(each.place, None)

    def _recover(self, astray: Sequence[Partition]) -> None:
        """Find the positions again that are out of range: behind what retention deleted, which is a gap."""
        from confluent_kafka import KafkaException  # noqa: PLC0415 - as above

        for each in astray:
            try:
                low, high = self._client.watermarks(each.place, GLANCE)
            except KafkaException:
                return  # next time
            if each.position > high:
                self._fault = f"{each}: {_beyond(each.position, high)}"
                return
            if each.position < low:
                self._gaps.append(Gap(each.uri, each.place[1], each.position, low, EXPIRED))
                each.start = each.position = low
            each.astray = False
            each.at_end = each.end is not None and each.position >= each.end
            if not each.done:
                self._client.assign({each.place: each.position})


def _is_refusal(error: KafkaError) -> bool:
    """Whether asking again is of no use."""
    return error.fatal() or error.code() in {
        error.CLUSTER_AUTHORIZATION_FAILED,
        error.GROUP_AUTHORIZATION_FAILED,
        error.TOPIC_AUTHORIZATION_FAILED,
    }


def _beyond(position: int, end: int) -> str:
    return (
        f"the ledger goes to offset {position}, the partition only to {end}: the broker has lost what this output holds, and what it"
        " writes at those offsets now would be skipped; reduce into another --output"
    )
