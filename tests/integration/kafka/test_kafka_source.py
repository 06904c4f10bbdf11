"""The source against a real broker: transactions, restarts, retention, topics that change, large messages, TLS and logins."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from confluent_kafka import Consumer

from tests.integration.kafka.broker import CLUSTER, PASSWORD, USER, Broker
from transforms.connectors import kafka_source
from transforms.connectors.sources import Gap, SourceError, Stretch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from transforms.connectors.kafka_source import KafkaSource

    Opened = Callable[..., KafkaSource]

pytestmark = pytest.mark.integration

ROOM = 1 << 20
MANY = 3000  # messages: more than the client gives at once and holds ready, so that some are unread when the rest goes
LONG = 60  # seconds, on a machine that does much else


@pytest.fixture
def opened(broker: Broker) -> Iterator[Opened]:
    """Sources that go on where the ledger ends, closed when the test is over."""
    sources: list[KafkaSource] = []

    def make(
        topics: str,
        positions: Mapping[tuple[str, int | None], int] | None = None,
        *,
        follow: bool = False,
        servers: str = "",
        settings: Mapping[str, str] | None = None,
    ) -> KafkaSource:
        uri = f"kafka://{servers or broker.servers}/{topics}"
        source, problems = kafka_source.parse(uri, None, follow=follow, settings=settings or {}, output="reduced")
        assert problems == []
        assert source is not None
        sources.append(source)
        source.resume(positions or {})
        return source

    yield make
    for source in sources:
        source.close()


def cycle(source: KafkaSource, lost: list[Gap], room: int = ROOM, seconds: float = 1.0) -> list[Stretch]:
    """What the engine asks of a source in a cycle."""
    stretches = source.fetch(room, seconds)
    lost += source.gaps()
    source.acknowledge()
    return stretches


def drained(source: KafkaSource, lost: list[Gap], room: int = ROOM) -> list[Stretch]:
    """All stretches of a bounded source; gaps are added to `lost`."""
    out: list[Stretch] = []
    until = time.monotonic() + LONG
    while not source.at_end:
        assert time.monotonic() < until
        out += cycle(source, lost, room)
    return out


def followed(source: KafkaSource, count: int, lost: list[Gap]) -> list[Stretch]:
    """Stretches of a source without end, until they hold so many messages."""
    out: list[Stretch] = []
    until = time.monotonic() + LONG
    while sum(len(each.messages or ()) for each in out) < count:
        assert time.monotonic() < until
        out += cycle(source, lost, seconds=0.3)
    return out


def until_at_end(source: KafkaSource) -> None:
    """Until nothing more is waiting; nothing more must come."""
    until = time.monotonic() + LONG
    while not source.at_end:
        assert time.monotonic() < until
        assert source.fetch(ROOM, 0.1) == []


@pytest.fixture
def lost() -> Iterator[list[Gap]]:
    """What sources said was lost; a test takes out what it expects."""
    found: list[Gap] = []
    yield found
    assert found == []


def values(stretches: list[Stretch]) -> list[bytes]:
    return [value for each in stretches for _, value in each.messages or ()]


def positions(stretches: list[Stretch]) -> dict[tuple[str, int | None], int]:
    """What a ledger of these stretches says."""
    return {(each.uri, each.partition): each.end for each in stretches}


def offsets(source: KafkaSource) -> dict[tuple[str, int | None], tuple[int, int]]:
    return {(each.uri, each.place[1]): (each.start, each.position) for each in source._partitions.values()}


def name_of(source: KafkaSource, topic: str) -> str:
    (uri,) = {uri for uri, _ in source.caught_up() if uri.split("/")[3].partition("?")[0] == topic}
    return uri


def test_streams_are_named_by_the_ids_of_cluster_and_topic(topic: str, opened: Opened):
    uri = name_of(opened(topic), topic)
    head, identity = uri.split("?id=")
    assert (head, len(identity)) == (f"kafka://{CLUSTER}/{topic}", 22)


def test_aborted_transactions_are_not_read_and_their_markers_leave_no_end_open(broker: Broker, topic: str, opened: Opened, lost: list[Gap]):
    producer = broker.producer(transactional_id=topic)
    producer.init_transactions()
    for name, commits in (("a", True), ("b", False), ("c", True), ("d", False)):
        producer.begin_transaction()
        for at in range(3):
            producer.produce(topic, f"{name}{at}".encode(), partition=0)
        producer.flush()
        (producer.commit_transaction if commits else producer.abort_transaction)()
    producer.begin_transaction()
    producer.produce(topic, b"open", partition=0)
    producer.flush()
    source = opened(topic)
    stretches = drained(source, lost)
    assert values(stretches) == [b"a0", b"a1", b"a2", b"c0", b"c1", b"c2"]
    assert [offset for each in stretches for offset, _ in each.messages or ()] == [0, 1, 2, 8, 9, 10]
    producer.commit_transaction()
    later = drained(opened(topic, positions(stretches)), lost)
    assert values(later) == [b"open"]
    assert later[0].start == stretches[-1].end
    assert drained(opened(topic, positions(later)), lost) == []


def test_a_followed_source_does_not_wait_for_an_open_transaction_and_reads_it_when_it_is_committed(
    broker: Broker, topic: str, opened: Opened, lost: list[Gap]
):
    broker.write(topic, [b"a"])
    producer = broker.producer(transactional_id=topic)
    producer.init_transactions()
    producer.begin_transaction()
    producer.produce(topic, b"b", partition=0)
    producer.flush()
    broker.write(topic, [b"c"])
    source = opened(topic, follow=True)
    assert values(followed(source, 1, lost)) == [b"a"]
    until_at_end(source)
    producer.commit_transaction()
    assert values(followed(source, 2, lost)) == [b"b", b"c"]


def test_several_topics_with_all_their_partitions_are_read_each_in_order(broker: Broker, opened: Opened, lost: list[Gap]):
    wrote: dict[tuple[str, int], list[bytes]] = {}
    for name in ("several.one", "several.two"):
        broker.create(name, 3)
        for partition in range(3):
            wrote[name, partition] = [f"{name}/{partition}/{at}".encode() for at in range(2000)]
            broker.write(name, wrote[name, partition], partition)
    stretches = drained(opened("several.one,several.two"), lost, 10_000)
    found: dict[tuple[str, int], list[bytes]] = {}
    for each in stretches:
        assert each.partition is not None
        assert sum(len(value) for _, value in each.messages or ()) < 10_100
        found.setdefault((each.uri.split("/")[3].partition("?")[0], each.partition), []).extend(values([each]))
    assert found == wrote


def test_a_restart_of_the_broker_is_waited_out_and_nothing_is_lost_or_read_twice(
    broker: Broker, topic: str, opened: Opened, lost: list[Gap]
):
    wrote = [b"%d" % at for at in range(30_000)]
    broker.write(topic, wrote[:20_000])
    source = opened(f"{topic}?group=restart", follow=True)
    stretches = source.fetch(10_000, LONG)
    source.acknowledge()
    broker.stop()
    try:
        for _ in range(3):
            stretches += source.fetch(10_000, 0.5)
            source.acknowledge()
        down = source.gauges()["unreachable"]
    finally:
        broker.start()
    broker.write(topic, wrote[20_000:])
    stretches += followed(source, len(wrote) - len(values(stretches)), lost)
    assert values(stretches) == wrote
    assert (down, source.gauges()["unreachable"]) == (1, 0)
    source.close()
    assert opened(f"{topic}?group=restart").at_end


def test_messages_of_ten_megabytes_are_read(broker: Broker, topic: str, opened: Opened, lost: list[Gap]):
    wrote = [bytes([65 + at]) * (10 << 20) for at in range(5)]
    broker.write(topic, wrote)
    stretches = drained(opened(topic), lost, 16 << 20)
    assert values(stretches) == wrote
    assert [len(each.messages or ()) for each in stretches] == [2, 2, 1]


def test_what_retention_deleted_before_the_start_is_a_gap(broker: Broker, topic: str, opened: Opened, lost: list[Gap]):
    broker.write(topic, [b"%d" % at for at in range(10)])
    uri = name_of(opened(topic), topic)
    broker.delete_before(topic, 0, 7)
    source = opened(topic, {(uri, 0): 4})
    assert source.fetch(ROOM, LONG) == []
    assert source.gaps() == [Gap(uri, 0, 4, 7, "the broker's retention deleted it before it was read")]
    assert source.gaps() == []
    assert values(drained(source, lost)) == [b"7", b"8", b"9"]
    assert opened(topic).gaps() == []  # what was never begun is not missed


def test_what_retention_deletes_while_it_waits_to_be_read_is_a_gap(broker: Broker, topic: str, opened: Opened, lost: list[Gap]):
    wrote = [b"%05d" % at + b"." * 20_000 for at in range(MANY)]
    broker.write(topic, wrote)
    source = opened(topic, follow=True, settings={"queued.max.messages.kbytes": "1024"})
    first = source.fetch(ROOM, LONG)
    broker.delete_before(topic, 0, MANY - 100)
    stretches = [*first, *followed(source, 100, lost)]
    while not source.at_end:
        stretches += cycle(source, lost)
    gap = lost.pop()
    assert gap.end == MANY - 100
    assert values(stretches) == [value for at, value in enumerate(wrote) if not gap.start <= at < MANY - 100]
    assert gap.start in {each.end for each in stretches}
    assert MANY - 100 in {each.start for each in stretches}


def test_a_bounded_source_ends_where_retention_leaves_nothing_of_what_it_was_to_read(
    broker: Broker, topic: str, opened: Opened, lost: list[Gap]
):
    broker.write(topic, [b"." * 20_000] * MANY)
    source = opened(topic, settings={"queued.max.messages.kbytes": "1024"})
    first = source.fetch(ROOM, LONG)
    broker.delete_before(topic, 0, MANY)
    rest = drained(source, lost)
    gap = lost.pop()
    assert (gap.start, gap.end) == ([*first, *rest][-1].end, MANY)


def test_new_partitions_are_read_from_their_start_while_following(broker: Broker, topic: str, opened: Opened, lost: list[Gap]):
    broker.write(topic, [b"a"])
    source = opened(topic, follow=True)
    assert values(followed(source, 1, lost)) == [b"a"]
    broker.grow(topic, 3)
    broker.write(topic, [b"b"], 2)
    (stretch,) = followed(source, 1, lost)
    assert (stretch.partition, stretch.start, stretch.messages) == (2, 0, [(0, b"b")])
    assert len(source.caught_up()) == 3


def test_a_topic_made_anew_while_following_is_read_from_its_start_under_its_own_name(
    broker: Broker, topic: str, opened: Opened, lost: list[Gap]
):
    broker.write(topic, [b"old%d" % at for at in range(3)])
    source = opened(topic, follow=True)
    first = followed(source, 3, lost)
    until_at_end(source)
    broker.delete(topic)
    broker.create(topic)
    broker.write(topic, [b"new%d" % at for at in range(10)])
    second = followed(source, 10, lost)
    assert values(second) == [b"new%d" % at for at in range(10)]
    assert second[0].start == 0
    assert second[0].uri != first[0].uri
    # Where the client went on in the new one by name before the source looked, nobody can tell whether the old one had more.
    assert lost in ([], [Gap(first[0].uri, 0, 3, None, "the topic was deleted, and made anew")])
    lost.clear()


def test_a_topic_made_anew_between_two_runs_is_read_from_its_start_and_the_rest_of_the_old_one_is_a_gap(
    broker: Broker, topic: str, opened: Opened, lost: list[Gap]
):
    broker.write(topic, [b"old%d" % at for at in range(3)])
    ledger = positions(drained(opened(topic), lost))
    ((old, _),) = ledger
    broker.delete(topic)
    broker.create(topic)
    broker.write(topic, [b"new%d" % at for at in range(10)])
    source = opened(topic, ledger)
    stretches = drained(source, lost)
    assert values(stretches) == [b"new%d" % at for at in range(10)]
    assert lost.pop() == Gap(old, 0, 3, None, "the topic was deleted, and made anew")
    assert opened(topic, {**ledger, **positions(stretches)}).gaps() == []


def test_a_topic_that_is_deleted_ends_a_run_and_what_was_not_read_is_a_gap(
    broker: Broker, topic: str, opened: Opened, lost: list[Gap], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(kafka_source, "ABSENCE", 1.0)
    broker.write(topic, [b"." * 20_000] * MANY)
    source = opened(topic, settings={"queued.max.messages.kbytes": "1024"})
    first = source.fetch(ROOM, LONG)
    broker.delete(topic)
    rest = drained(source, lost)
    gap = lost.pop()
    assert (gap.start, gap.end, gap.why) == ([*first, *rest][-1].end, MANY, "the topic was deleted")


SECURE = {"security.protocol": "SASL_SSL", "sasl.mechanism": "PLAIN", "sasl.username": USER, "sasl.password": PASSWORD}


def test_tls_and_a_login_are_used(broker: Broker, topic: str, opened: Opened, lost: list[Gap]):
    broker.write(topic, [b"a"])
    settings = {**SECURE, "ssl.ca.location": str(broker.authority)}
    assert values(drained(opened(topic, servers=f"localhost:{broker.ports[1]}", settings=settings), lost)) == [b"a"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"sasl.password": "battery-staple"}, "Authentication failed"), ({"ssl.ca.location": ""}, "certificate verify failed")],
    ids=["a wrong password", "a certificate that nobody vouches for"],
)
def test_what_the_broker_does_not_accept_is_said_and_the_password_is_not(
    changes: dict[str, str], said: str, broker: Broker, topic: str, opened: Opened, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(kafka_source, "PATIENCE", 3.0)
    settings = {**SECURE, "ssl.ca.location": str(broker.authority), **changes}
    settings = {name: value for name, value in settings.items() if value}
    with pytest.raises(SourceError) as refused:
        opened(topic, servers=f"localhost:{broker.ports[1]}", settings=settings)
    assert said in str(refused.value)
    assert settings["sasl.password"] not in str(refused.value)


def test_a_group_that_others_are_active_in_takes_no_offsets_and_the_run_goes_on(
    broker: Broker, topic: str, opened: Opened, lost: list[Gap]
):
    member = Consumer({"bootstrap.servers": broker.servers, "group.id": "busy", "auto.offset.reset": "earliest", "log_level": 0})
    member.subscribe([topic])
    broker.write(topic, [b"a"])
    until = time.monotonic() + LONG
    while not member.assignment():
        assert time.monotonic() < until
        member.poll(0.2)
    source = opened(f"{topic}?group=busy", follow=True)
    assert values(followed(source, 1, lost)) == [b"a"]
    while not source.gauges()["failed_commits"]:
        assert time.monotonic() < until
        source.fetch(ROOM, 0.1)
    member.close()
    broker.write(topic, [b"b"])
    assert values(followed(source, 1, lost)) == [b"b"]
    source.close()
    assert opened(f"{topic}?group=busy").at_end
