"""The source against a real server: leases, redelivery, order, and a server that comes and goes."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.examples import an_event, line
from tests.pipelines.job import ROOT, environment
from transforms.connectors import pubsub_client, pubsub_leases, pubsub_source
from transforms.connectors.pubsub_source import parse
from transforms.connectors.sources import SourceError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tests.integration.pubsub.server import Server, Subscription
    from transforms.connectors.pubsub_source import PubSubSource
    from transforms.connectors.sources import Stretch

pytestmark = pytest.mark.integration

ROOM = 64 << 20
UNAVAILABLE, NOT_FOUND, PERMISSION_DENIED, FAILED_PRECONDITION = 14, 5, 7, 9


@pytest.fixture
def opened(server: Server) -> Iterator[Callable[..., PubSubSource]]:
    made: list[PubSubSource] = []

    def source(uri: str, *, follow: bool = True, start: int = 0) -> PubSubSource:
        found, problems = parse(uri, None, follow=follow)
        assert problems == []
        assert found is not None
        made.append(found)
        found.resume({(uri, None): start} if start else {})
        return found

    yield source
    for each in made:
        each.close()


def fetched(source: PubSubSource, count: int, room: int = ROOM) -> list[Stretch]:
    """Fetch until so many messages have come, committing in between."""
    found: list[Stretch] = []
    until = time.monotonic() + 60
    while sum(len(stretch.identities) for stretch in found) < count:
        assert time.monotonic() < until, found
        stretches = source.fetch(room, 1.0)
        if stretches:
            found += stretches
            source.acknowledge()
    return found


def values(stretches: Sequence[Stretch]) -> list[bytes]:
    return [value for stretch in stretches for _, value in stretch.messages or ()]


def eventually(true: Callable[[], bool]) -> None:
    until = time.monotonic() + 30
    while not true():
        assert time.monotonic() < until
        time.sleep(0.02)


def test_all_messages_come_once_numbered_and_are_acknowledged(subscribe: Any, opened: Any, server: Server):
    subscription: Subscription = subscribe()
    sent = [b"%d" % number for number in range(3000)]
    ids = subscription.publish(sent)
    source = opened(subscription.uri, start=100)
    found = fetched(source, 3000)
    assert sorted(values(found)) == sorted(sent)
    assert [at for stretch in found for at, _ in stretch.messages or ()] == list(range(100, 3100))
    assert {identity for stretch in found for identity in stretch.identities} == {f"{subscription.name} {each}" for each in ids}
    told = server.messages()
    assert {told[each]["acks"] for each in ids} == {1}
    assert source.caught_up() == {(subscription.uri, None): True}


def test_draining_ends_when_the_subscription_is_empty(subscribe: Any, opened: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pubsub_source, "IDLE", 1.0)
    subscription: Subscription = subscribe()
    subscription.publish([b"1", b"2"])
    source = opened(subscription.uri, follow=False)
    found = []
    while not source.at_end:
        found += source.fetch(ROOM, 1.0)
        source.acknowledge()
    assert sorted(values(found)) == [b"1", b"2"]


def test_room_bounds_what_is_not_acknowledged(subscribe: Any, opened: Any):
    subscription: Subscription = subscribe()
    subscription.publish([b"x" * 100_000] * 50)
    source = opened(subscription.uri)
    sizes = []
    for _ in range(50):
        stretches = source.fetch(1 << 20, 2.0)
        sizes.append(sum(map(len, values(stretches))))
        source.acknowledge()
        if sum(sizes) == 5_000_000:
            break
    assert sum(sizes) == 5_000_000
    assert max(sizes) < 1_500_000
    assert len(sizes) >= 5


def test_a_message_of_ten_megabytes_comes_whole(subscribe: Any, opened: Any):
    subscription: Subscription = subscribe()
    event = line(an_event(requestObject={"data": "x" * 9_990_000}))
    subscription.publish([event])
    assert values(fetched(opened(subscription.uri), 1)) == [event]


def test_an_answer_that_is_too_large_is_asked_for_in_smaller_ones(
    subscribe: Any, opened: Any, server: Server, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(pubsub_client, "LARGEST_ANSWER", 2 << 20)
    subscription: Subscription = subscribe()
    source = opened(subscription.uri)
    subscription.publish([b"x" * 200_000] * 20)
    found: list[Stretch] = []
    for _ in range(30):
        found += source.fetch(ROOM, 1.0)
        source.acknowledge()
        if len(values(found)) == 20:
            break
        server.tell("expire", subscription.name)  # what was in the answer is leased, and nobody has it
    assert len(values(found)) == 20


def test_a_lease_outlasts_the_deadline_while_a_cycle_works(subscribe: Any, opened: Any, server: Server, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pubsub_leases, "RENEWAL", 0.1)
    subscription: Subscription = subscribe(deadline=10)
    (message,) = subscription.publish([b"1"])
    source = opened(subscription.uri)
    assert values(source.fetch(1, 10.0)) == [b"1"]
    for hours in range(1, 6):
        # The clock goes on by less than the lease and more than the deadline; then the lease is renewed, or the next step ends it.
        server.tell("clock", hours * 50)
        seen = server.messages()[message]["extensions"]
        eventually(lambda seen=seen: server.messages()[message]["extensions"] > seen + 1)
    assert server.messages()[message]["deliveries"] == 1
    source.acknowledge()
    assert server.messages()[message]["acks"] == 1


def test_what_is_not_committed_is_delivered_again_at_once_after_a_close(subscribe: Any, opened: Any, server: Server):
    subscription: Subscription = subscribe(deadline=600)
    ids = subscription.publish([b"%d" % number for number in range(20)])
    first = opened(subscription.uri)
    given = first.fetch(ROOM, 2.0)
    assert len(values(given)) == 20
    first.close()
    assert all(server.messages()[each]["acks"] == 0 for each in ids)
    again = fetched(opened(subscription.uri), 20)
    assert sorted(values(again)) == sorted(values(given))
    assert sorted(again[0].identities) == sorted(given[0].identities)


FETCHES = """
import os, sys
from transforms.connectors.pubsub_source import parse
source, _ = parse(sys.argv[1], None, follow=True)
source.resume({})
print(sum(len(stretch.messages) for stretch in source.fetch(1 << 26, 3.0)), flush=True)
sys.stdin.read()
"""


def test_what_a_killed_process_had_is_delivered_again_when_its_lease_ends(subscribe: Any, opened: Any, server: Server):
    subscription: Subscription = subscribe(deadline=10)
    subscription.publish([b"%d" % number for number in range(20)])
    with subprocess.Popen(
        [sys.executable, "-c", FETCHES, subscription.uri], cwd=ROOT, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as killed:
        assert killed.stdout is not None
        assert killed.stdout.readline() == b"20\n"
        killed.kill()
    source = opened(subscription.uri)
    assert source.fetch(ROOM, 1.0) == []
    server.tell("clock", pubsub_leases.LEASE + 1)
    assert len(values(fetched(source, 20))) == 20


def test_a_message_whose_lease_ended_meanwhile_is_given_once(subscribe: Any, opened: Any, server: Server):
    subscription: Subscription = subscribe()
    ids = subscription.publish([b"1", b"2"])
    server.tell("fail", "ModifyAckDeadline", UNAVAILABLE)
    source = opened(subscription.uri)
    source._take(source._pulled(10, 2.0))
    server.tell("clock", 11)
    found = source.fetch(ROOM, 2.0)
    assert sorted(values(found)) == [b"1", b"2"]
    assert {server.messages()[each]["deliveries"] for each in ids} == {2}
    source.acknowledge()
    assert {server.messages()[each]["acks"] for each in ids} == {1}


def test_messages_of_an_ordering_key_come_in_their_order(subscribe: Any, opened: Any):
    subscription: Subscription = subscribe(ordered=True)
    for key in ("a", "b"):
        subscription.publish([b"%s%d" % (key.encode(), number) for number in range(8)], key=key)
    found = values(fetched(opened(subscription.uri), 16))
    for key in (b"a", b"b"):
        assert [value for value in found if value.startswith(key)] == [b"%s%d" % (key, number) for number in range(8)]


def test_a_redelivered_message_of_an_ordering_key_comes_before_those_that_follow_it(subscribe: Any, opened: Any):
    subscription: Subscription = subscribe(ordered=True)
    subscription.publish([b"0", b"1", b"2"], key="k")
    first = opened(subscription.uri)
    assert values(first.fetch(1, 5.0)) == [b"0"]
    first.close()
    assert values(fetched(opened(subscription.uri), 3)) == [b"0", b"1", b"2"]


def test_attributes_name_the_cluster(subscribe: Any, opened: Any):
    subscription: Subscription = subscribe()
    subscription.publish([b"{}"], {"cluster_name": "green"})
    (value,) = values(fetched(opened(subscription.uri), 1))
    assert json.loads(value)["message"] == {"attributes": {"k8s.cluster.name": "green"}, "data": "e30="}


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        (NOT_FOUND, "there is no such subscription"),
        (PERMISSION_DENIED, "roles/pubsub.subscriber"),
        (FAILED_PRECONDITION, "must be a pull subscription"),
    ],
)
def test_a_refusal_at_the_start_says_what_to_do(code: int, advice: str, subscribe: Any, opened: Any, server: Server):
    subscription: Subscription = subscribe()
    server.tell("fail", "Pull", code)
    with pytest.raises(SourceError, match=advice) as refused:
        opened(subscription.uri)
    assert str(refused.value).startswith(subscription.uri + ": ")


def test_a_subscription_that_is_not_there_is_said(opened: Any):
    with pytest.raises(SourceError, match="there is no such subscription"):
        opened("pubsub://projects/audit-tests/subscriptions/nobody")


def test_a_subscription_that_is_deleted_is_an_error(subscribe: Any, opened: Any):
    subscription: Subscription = subscribe()
    source = opened(subscription.uri)
    subscription.subscriber.delete_subscription(subscription=subscription.name)
    with pytest.raises(SourceError, match="there is no such subscription"):
        source.fetch(ROOM, 30.0)


def test_a_server_that_is_not_there_at_the_start_is_said_in_time(opened: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pubsub_source, "REACHED", 2.0)
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", "127.0.0.1:9")
    with pytest.raises(SourceError, match=r"no answer within 2 seconds \(UNAVAILABLE\)"):
        opened("pubsub://projects/audit-tests/subscriptions/s")


def test_without_credentials_it_is_said_how_to_get_some(server: Server, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("PUBSUB_EMULATOR_HOST")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/nonexistent/key.json")
    source, _ = parse("pubsub://projects/audit-tests/subscriptions/s", None, follow=True)
    assert source is not None
    with pytest.raises(SourceError, match="gcloud auth application-default login"):
        source.resume({})


def test_a_server_that_goes_away_and_comes_back_is_waited_for(subscribe: Any, opened: Any, server: Server):
    subscription: Subscription = subscribe()
    subscription.publish([b"1"])
    source = opened(subscription.uri)
    given = source.fetch(ROOM, 1.0)
    server.tell("stop")
    try:
        source.acknowledge()
        assert source.fetch(ROOM, 1.0) == []
        assert not source.at_end
        assert source.gauges()[f'unreachable_seconds{{subscription="{subscription.name}"}}'] > 0
    finally:
        server.tell("start")
    subscription.publish([b"2"])
    assert values(given) + values(fetched(source, 1)) == [b"1", b"2"]
    eventually(lambda: all(each["acks"] == 1 for each in list(server.messages().values())[-2:]))
