"""What the engine and the source promise each other, against librdkafka's mock cluster.

The mock loses messages beyond some MiB, knows no IDs of topics and reads aborted transactions: what is called loss is
tested against a real broker, in tests/integration.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from transforms.connectors import kafka_source
from transforms.connectors.kafka_client import KafkaClient, Seen
from transforms.connectors.sources import Source, SourceError, Stretch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from transforms.connectors.kafka_source import KafkaSource

    Opened = Callable[..., KafkaSource]

ROOM = 1 << 20
PARTITIONS = 4  # that the mock gives a topic


class Cluster:
    """A mock cluster, and what tests do to it."""

    def __init__(self) -> None:
        self._producer = Producer({"test.mock.num.brokers": 1, "bootstrap.servers": "mock", "log_level": 0})
        found = self._producer.list_topics(timeout=5)
        self.servers = ",".join(f"{broker.host}:{broker.port}" for broker in found.brokers.values())
        self.name = found.cluster_id

    def write(self, topic: str, partition: int, *values: bytes | None) -> None:
        for value in values:
            self._producer.produce(topic, value, key=b"key", partition=partition, headers={"trace": b"1"})
        assert self._producer.flush(5) == 0

    def group(self, name: str) -> Consumer:
        return Consumer({"bootstrap.servers": self.servers, "group.id": name, "enable.auto.commit": False, "log_level": 0})

    def committed(self, group: str, topic: str) -> list[int]:
        consumer = self.group(group)
        found = consumer.committed([TopicPartition(topic, number) for number in range(PARTITIONS)], 5)
        consumer.close()
        return [each.offset for each in found]


def look_in_the_metadata(client: KafkaClient, patience: float) -> dict[str, Seen]:
    found = {name: client._consumer.list_topics(name, patience).topics[name] for name in client._address.topics}
    return {name: Seen("", sorted(each.partitions)) for name, each in found.items() if each.error is None}


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    monkeypatch.setattr(KafkaClient, "look", look_in_the_metadata)
    return Cluster()


@pytest.fixture
def opened(cluster: Cluster) -> Iterator[Opened]:
    """Sources that go on where the ledger ends, closed when the test is over."""
    sources: list[KafkaSource] = []

    def make(topics: str = "audit", positions: Mapping[tuple[str, int | None], int] | None = None, *, follow: bool = False) -> KafkaSource:
        source, problems = kafka_source.parse(f"kafka://{cluster.servers}/{topics}", "east", follow=follow, settings={}, output="reduced")
        assert problems == []
        assert source is not None
        sources.append(source)
        source.resume(positions or {})
        return source

    yield make
    for source in sources:
        source.close()


def drained(source: Source, room: int = ROOM) -> list[Stretch]:
    """All stretches of a bounded source, acknowledged one by one."""
    out: list[Stretch] = []
    until = time.monotonic() + 20
    while not source.at_end:
        assert time.monotonic() < until
        out += source.fetch(room, 1)
        source.acknowledge()
    return out


def until_at_end(source: Source) -> list[Stretch]:
    """All stretches that a followed source has now. However slow the machine is: its end is an event, not a time."""
    out = source.fetch(ROOM, 0.1)
    until = time.monotonic() + 20
    while not source.at_end:
        assert time.monotonic() < until
        out += source.fetch(ROOM, 0.1)
    return out


def messages(stretches: list[Stretch]) -> dict[tuple[str, int | None], list[tuple[int, bytes]]]:
    """What the stretches hold, by stream; each begins where the one before it ended."""
    out: dict[tuple[str, int | None], list[tuple[int, bytes]]] = {}
    ends: dict[tuple[str, int | None], int] = {}
    for each in stretches:
        stream = each.uri, each.partition
        assert each.start == ends.get(stream, each.start)
        ends[stream] = each.end
        assert each.messages is not None
        out.setdefault(stream, []).extend(each.messages)
    return out


def test_a_bounded_source_gives_all_that_was_there_at_the_start_and_is_at_its_end(cluster: Cluster, opened: Opened):
    cluster.write("audit", 0, b"a", b"b", b"c")
    cluster.write("audit", 2, b"d")
    cluster.write("other", 1, b"e", b"f")
    source = opened("audit,other")
    cluster.write("audit", 0, b"too late")
    stretches = drained(source)
    audit, other = f"kafka://{cluster.name}/audit", f"kafka://{cluster.name}/other"
    assert messages(stretches) == {
        (audit, 0): [(0, b"a"), (1, b"b"), (2, b"c")],
        (audit, 2): [(0, b"d")],
        (other, 1): [(0, b"e"), (1, b"f")],
    }
    assert {(each.uri, each.partition, each.start, each.end) for each in stretches} == {
        (audit, 0, 0, 3),
        (audit, 2, 0, 1),
        (other, 1, 0, 2),
    }
    assert {each.cluster for each in stretches} == {"east"}
    assert source.fetch(ROOM, 0.1) == []
    assert source.gaps() == []


def test_a_source_without_anything_new_is_at_its_end_at_once(cluster: Cluster, opened: Opened):
    cluster.write("audit", 0, b"makes the topic")
    assert opened("audit", {(f"kafka://{cluster.name}/audit", 0): 1}).at_end


def test_a_source_goes_on_where_the_ledger_ends_whatever_the_group_says(cluster: Cluster, opened: Opened):
    cluster.write("audit", 0, *[b"%d" % at for at in range(10)])
    group = cluster.group("reducer")
    group.commit(offsets=[TopicPartition("audit", 0, 8)], asynchronous=False)
    group.close()
    source = opened("audit?group=reducer", {(f"kafka://{cluster.name}/audit", 0): 6})
    assert messages(drained(source)) == {(f"kafka://{cluster.name}/audit", 0): [(at, b"%d" % at) for at in range(6, 10)]}


def test_what_the_ledger_does_not_name_starts_at_the_groups_offset_and_else_at_the_earliest(cluster: Cluster, opened: Opened):
    cluster.write("audit", 0, b"a", b"b")
    cluster.write("audit", 1, b"c", b"d")
    group = cluster.group("reducer")
    group.commit(offsets=[TopicPartition("audit", 0, 1)], asynchronous=False)
    group.close()
    found = messages(drained(opened("audit?group=reducer")))
    assert sorted(value for each in found.values() for _, value in each) == [b"b", b"c", b"d"]
    assert sum(map(len, messages(drained(opened("audit"))).values())) == 4


def test_a_group_is_told_of_what_is_committed_and_of_nothing_else(cluster: Cluster, opened: Opened):
    cluster.write("audit", 0, b"a", b"b", b"c")
    source = opened("audit?group=reducer")
    assert source.fetch(ROOM, 20)
    source.close()
    assert cluster.committed("reducer", "audit")[0] < 0
    source = opened("audit?group=reducer")
    assert source.fetch(ROOM, 20)
    source.acknowledge()
    source.close()
    assert cluster.committed("reducer", "audit")[0] == 3


def test_after_a_crash_between_commit_and_acknowledgement_the_group_hears_of_what_the_ledger_holds(cluster: Cluster, opened: Opened):
    cluster.write("audit", 0, b"a", b"b", b"c")
    source = opened("audit?group=reducer", {(f"kafka://{cluster.name}/audit", 0): 3})
    assert source.at_end
    source.close()
    assert cluster.committed("reducer", "audit")[0] == 3


def test_a_fetch_holds_about_its_room_and_the_next_goes_on_there(cluster: Cluster, opened: Opened):
    values = [bytes([65 + at]) * 1000 for at in range(20)]
    cluster.write("audit", 0, *values)
    source = opened()
    first = source.fetch(4500, 20)
    assert [len(each.messages or ()) for each in first] == [5]
    assert (first[0].start, first[0].end, source.at_end) == (0, 5, False)
    assert list(source.caught_up().values()).count(False) >= 1
    rest = drained(source, 4500)
    assert [value for each in [*first, *rest] for _, value in each.messages or ()] == values


def test_a_fetch_without_time_gives_what_has_come_already(cluster: Cluster, opened: Opened):
    cluster.write("audit", 0, *[b"%d" % at for at in range(5000)])
    source = opened(follow=True)
    until = time.monotonic() + 20
    while not (first := source.fetch(1000, 0)):
        assert time.monotonic() < until
    while source.gauges()['lag{partition="audit/0"}'] > 0:
        assert time.monotonic() < until
        first += source.fetch(ROOM, 0)
    assert [value for each in first for _, value in each.messages or ()] == [b"%d" % at for at in range(5000)]


def test_a_message_beyond_the_room_comes_alone(cluster: Cluster, opened: Opened):
    cluster.write("audit", 0, b"x" * 500_000, b"y")
    source = opened()
    assert [[value[:1] for _, value in each.messages or ()] for each in source.fetch(1000, 20)] == [[b"x"]]
    assert [[value for _, value in each.messages or ()] for each in source.fetch(1000, 20)] == [[b"y"]]


def test_messages_without_value_count_as_offsets(cluster: Cluster, opened: Opened):
    cluster.write("audit", 0, None, b"", b"a", None)
    (stretch,) = drained(opened())
    assert stretch.messages == [(0, b""), (1, b""), (2, b"a"), (3, b"")]
    assert (stretch.start, stretch.end) == (0, 4)


def test_a_followed_source_is_at_its_end_for_as_long_as_nothing_comes(cluster: Cluster, opened: Opened):
    cluster.write("audit", 0, b"a")
    source = opened(follow=True)
    stream = f"kafka://{cluster.name}/audit", 0
    (stretch,) = (each for each in until_at_end(source) if each.messages)
    assert (stretch.messages, source.at_end, source.caught_up()[stream]) == ([(0, b"a")], True, True)
    assert (source.fetch(ROOM, 0.2), source.at_end) == ([], True)
    cluster.write("audit", 0, *[b"b" * 1000] * 3)
    (stretch,) = source.fetch(1500, 20)
    assert ((stretch.start, stretch.end), source.at_end, source.caught_up()[stream]) == ((1, 3), False, False)
    assert source.gauges()['lag{partition="audit/0"}'] == 1
    (stretch,) = (each for each in until_at_end(source) if each.messages)
    assert ((stretch.start, stretch.end), source.at_end, source.caught_up()[stream]) == ((3, 4), True, True)
    assert source.gauges()['lag{partition="audit/0"}'] == 0


def test_a_position_beyond_the_end_is_refused_for_each_partition(cluster: Cluster, opened: Opened):
    cluster.write("audit", 0, b"a")
    uri = f"kafka://{cluster.name}/audit"
    with pytest.raises(SourceError) as refused:
        opened("audit", {(uri, 0): 5, (uri, 1): 2})
    assert f"kafka://{cluster.servers}/audit: topic audit, partition 0: the ledger goes to offset 5, the partition only to 1" in str(
        refused.value
    )
    assert "topic audit, partition 1: the ledger goes to offset 2, the partition only to 0" in str(refused.value)


def test_a_groups_offset_beyond_the_end_is_of_another_topic_and_ignored(cluster: Cluster, opened: Opened):
    cluster.write("audit", 0, b"a")
    group = cluster.group("reducer")
    group.commit(offsets=[TopicPartition("audit", 0, 8)], asynchronous=False)
    group.close()
    assert [each.messages for each in drained(opened("audit?group=reducer"))] == [[(0, b"a")]]


def test_topics_that_do_not_exist_are_all_named(cluster: Cluster, opened: Opened):
    cluster.write("audit", 0, b"a")
    with pytest.raises(SourceError) as refused:
        opened("here,audit,there")
    assert str(refused.value).count("\n") == 1
    assert "topic here does not exist" in str(refused.value)
    assert "topic there does not exist" in str(refused.value)


def test_a_broker_that_does_not_answer_at_the_start_is_an_error_that_says_what_to_do(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(kafka_source, "PATIENCE", 0.5)
    source, _ = kafka_source.parse("kafka://127.0.0.1:1/audit?group=reducer", None, follow=True, settings={}, output="reduced")
    assert source is not None
    with pytest.raises(SourceError, match=r"Connection refused.*; check the address, that the broker runs, and TLS and SASL settings"):
        source.resume({})
    source.close()


def test_a_closed_source_stays_closed(cluster: Cluster, opened: Opened):
    cluster.write("audit", 0, b"a")
    source = opened()
    source.close()
    source.close()
    with pytest.raises(SourceError, match="is not open"):
        source.fetch(ROOM, 0.1)
