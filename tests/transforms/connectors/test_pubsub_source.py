"""A subscription as a source: what it gives, when it acknowledges, and what it makes of failures."""

from __future__ import annotations

import json
from base64 import b64decode
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

import pytest

from tests.audit.envelopes.test_gke import entry
from tests.examples import an_event, line
from tests.transforms.connectors.pubsub_fake import NOON, Clock, FakeClient, at_once, received
from transforms.audit.recognise import recognise
from transforms.connectors import pubsub_source
from transforms.connectors.pubsub_client import PassingError, Received
from transforms.connectors.pubsub_parts import SIZE_LIMIT, Parts
from transforms.connectors.pubsub_source import IDLE, LIKELY, MOST, OVERHEAD, PATIENCE, QUIET, PubSubSource, parse
from transforms.connectors.sources import SourceError, Stretch

if TYPE_CHECKING:
    from collections.abc import Sequence

NAME = "projects/p/subscriptions/s"
URI = f"pubsub://{NAME}"
ROOM = 64 << 20
AWAY = PassingError("UNAVAILABLE")


class Subscription:
    """A source on a fake client."""

    def __init__(self, *answers: list[Received] | Exception, follow: bool = False, cluster: str | None = None, start: int = 0) -> None:
        self.clock = Clock()
        self.client = FakeClient(self.clock, [[], *answers])
        self.source = PubSubSource(
            NAME,
            cluster,
            follow=follow,
            connect=lambda: self.client,
            clock=self.clock,
            pause=self.clock.pause,
            now=self.clock.now,
            background=at_once,
        )
        self.source.resume({(URI, None): start} if start else {})

    def fetch(self, room: int = ROOM, seconds: float = 1.0) -> list[Stretch]:
        return self.source.fetch(room, seconds)

    def gauge(self, name: str) -> float:
        return self.source.gauges()[f'{name}{{subscription="{NAME}"}}']


def values(stretches: Sequence[Stretch]) -> list[tuple[int, bytes]]:
    return [message for stretch in stretches for message in stretch.messages or ()]


def ids(stretches: Sequence[Stretch]) -> list[str]:
    return [identity.removeprefix(NAME + " ") for stretch in stretches for identity in stretch.identities]


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pubsub_source, "_installed", lambda: True)


@pytest.mark.parametrize("uri", [URI, "pubsub://projects/example.com:shop-1/subscriptions/audit-log.all_of-it~+%25"])
def test_a_uri_names_a_subscription(uri: str):
    source, problems = parse(uri, "blue", follow=True)
    assert problems == []
    assert source is not None
    assert source.uri == uri


@pytest.mark.parametrize(
    "uri",
    [
        "pubsub://",
        "pubsub://projects/p",
        "pubsub://projects/p/topics/t",
        "pubsub://projects/p/subscriptions/",
        "pubsub://projects/p/subscriptions/1s",
        "pubsub://projects/p/subscriptions/s?follow=yes",
        "pubsub://projects/p/subscriptions/s/snapshots/t",
        "pubsub://host/projects/p/subscriptions/s",
    ],
)
def test_any_other_uri_is_refused(uri: str):
    source, problems = parse(uri, None, follow=False)
    assert source is None
    assert problems == [f"--input {uri}: a Pub/Sub input is pubsub://projects/PROJECT/subscriptions/SUBSCRIPTION and nothing else"]


def test_a_wrong_uri_without_the_client_library_is_two_problems(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pubsub_source, "_installed", lambda: False)
    assert [len(parse(uri, None, follow=False)[1]) for uri in (URI, "pubsub://x")] == [1, 2]
    assert "pip install 'kube-audit-reducer[pubsub]'" in parse(URI, None, follow=False)[1][0]


def test_messages_are_numbered_from_where_the_ledger_ends():
    subscription = Subscription([received(1, b"{1}"), received(2, b"{2}")], [], [received(3, b"{3}")], cluster="blue", start=40)
    (stretch,) = subscription.fetch()
    assert (stretch.uri, stretch.partition, stretch.start, stretch.end, stretch.cluster) == (URI, None, 40, 42, "blue")
    assert stretch.messages == [(40, b"{1}"), (41, b"{2}")]
    assert stretch.identities == [f"{NAME} m1", f"{NAME} m2"]
    subscription.source.acknowledge()
    assert values(subscription.fetch()) == [(42, b"{3}")]


def test_messages_stand_in_the_order_of_publication():
    assert ids(Subscription([received(3), received(1), received(2)]).fetch()) == ["m1", "m2", "m3"]


def test_messages_of_an_ordering_key_stand_in_the_order_of_delivery():
    delivered = [received(1, published=NOON + 5, key="k"), received(2, published=NOON + 3, key="k"), received(4, published=NOON + 4)]
    assert ids(Subscription(delivered).fetch()) == ["m4", "m1", "m2"]


def test_nothing_is_acknowledged_before_the_commit_and_all_of_it_after():
    subscription = Subscription([received(1)], [received(2)])
    subscription.fetch()
    assert subscription.client.acknowledged == []
    assert subscription.gauge("outstanding_messages") == 2
    subscription.source.acknowledge()
    assert subscription.client.acknowledged == [["a1.1", "a2.1"]]
    assert subscription.gauge("outstanding_messages") == 0


def test_acknowledgements_go_in_bounded_batches():
    subscription = Subscription([received(number) for number in range(2500)])
    subscription.fetch()
    subscription.source.acknowledge()
    assert [len(batch) for batch in subscription.client.acknowledged] == [1000, 1000, 500]


def test_a_message_that_is_delivered_twice_is_given_once_and_acknowledged_twice():
    subscription = Subscription([received(1), received(2)], [received(1, delivery=2)])
    assert ids(subscription.fetch()) == ["m1", "m2"]
    subscription.source.acknowledge()
    assert subscription.client.acknowledged == [["a1.1", "a1.2", "a2.1"]]
    assert subscription.gauge("redelivered_messages_total") == 1


def test_a_message_that_comes_again_after_its_acknowledgement_is_given_again_under_the_same_identity():
    subscription = Subscription([received(1)], [], [received(1, delivery=2)])
    first = subscription.fetch()
    subscription.source.acknowledge()
    again = subscription.fetch()
    assert first[0].identities == again[0].identities
    assert again[0].start == first[0].end


def test_the_room_is_kept_and_fewer_messages_are_asked_for_as_it_fills():
    small = [received(number, b"x" * 10_000) for number in range(8)]
    subscription = Subscription(small[:4], small[4:])
    room = 4 * (10_000 + OVERHEAD)
    assert len(values(subscription.fetch(room))) == 4
    subscription.source.acknowledge()
    assert len(values(subscription.fetch(2 * room))) == 4
    assert subscription.client.asked[:2] == [1, 1]  # the first to see whether there is a subscription, then as if they were large
    assert subscription.client.asked[2] == 1


def test_many_messages_are_asked_for_once_they_are_known_to_be_small():
    answers = [[received(number, b"x" * 3000)] for number in range(12)]
    subscription = Subscription(*answers)
    subscription.fetch()
    assert subscription.client.asked[1] == ROOM // LIKELY
    assert subscription.client.asked[12] == MOST


def test_an_answer_that_is_too_large_is_asked_for_again_in_smaller_ones():
    full = PassingError("RESOURCE_EXHAUSTED")
    subscription = Subscription(full, full, [received(1)], follow=True)
    subscription.fetch(1 << 40)
    assert subscription.client.asked[1:4] == [MOST, MOST // 2, MOST // 4]


def test_a_failure_that_passes_is_waited_out():
    subscription = Subscription(AWAY, AWAY, [received(1)], follow=True)
    assert ids(subscription.fetch(seconds=2.0)) == ["m1"]
    assert subscription.gauge("unreachable_seconds") == 0


def test_a_failure_is_waited_out_no_longer_than_asked():
    subscription = Subscription(*[AWAY] * 100, follow=True)
    began = subscription.clock.time
    assert subscription.fetch(seconds=2.0) == []
    assert subscription.clock.time == began + 2.0
    assert subscription.gauge("unreachable_seconds") > 0
    assert not subscription.source.at_end
    assert subscription.source.caught_up() == {(URI, None): False}


def test_draining_gives_up_on_a_server_that_stays_away():
    subscription = Subscription(*[AWAY] * 10_000)
    with pytest.raises(SourceError, match=rf"^{URI}: no answer for 300 seconds \(UNAVAILABLE\)"):
        subscription.fetch(seconds=1000)
    assert subscription.clock.time >= 1000 + PATIENCE


def test_following_waits_for_a_server_for_ever():
    subscription = Subscription(*[AWAY] * 1000, [received(1)], follow=True)
    while not (found := subscription.fetch()):
        pass
    assert subscription.clock.time >= 1000 + 2 * PATIENCE
    assert ids(found) == ["m1"]


def test_what_cannot_pass_is_raised():
    subscription = Subscription(SourceError("gone"))
    with pytest.raises(SourceError, match="gone"):
        subscription.fetch()


def test_a_server_that_is_not_there_at_the_start_is_an_error_after_ten_seconds():
    clock = Clock()
    client = FakeClient(clock, [AWAY] * 1000)
    source = PubSubSource(NAME, None, follow=True, connect=lambda: client, clock=clock, pause=clock.pause, now=clock.now)
    with pytest.raises(SourceError, match=rf"^{URI}: no answer within 10 seconds \(UNAVAILABLE\)"):
        source.resume({})
    assert clock.time == 1010
    source.close()


def test_a_server_that_comes_late_is_waited_for_and_its_first_message_is_not_lost():
    clock = Clock()
    client = FakeClient(clock, [AWAY, AWAY, [received(1)], [received(2)]])
    source = PubSubSource(
        NAME, None, follow=False, connect=lambda: client, clock=clock, pause=clock.pause, now=clock.now, background=at_once
    )
    source.resume({})
    assert ids(source.fetch(ROOM, 1.0)) == ["m1", "m2"]
    source.close()


def test_a_drained_subscription_ends_when_nothing_has_come_for_a_while():
    subscription = Subscription([received(1)])
    assert not subscription.source.at_end
    subscription.fetch()
    subscription.clock.time += 2 * IDLE
    assert not subscription.source.at_end  # what was given is not committed yet, and others may wait for that
    subscription.source.acknowledge()
    assert not subscription.source.at_end
    assert subscription.fetch(seconds=60) == []
    subscription.source.acknowledge()
    assert subscription.source.at_end


def test_a_followed_subscription_waits_when_it_is_quiet():
    subscription = Subscription([received(1, published=NOON)], follow=True)
    subscription.fetch(seconds=0.5)
    subscription.source.acknowledge()
    assert not subscription.source.at_end
    subscription.clock.time += QUIET
    assert subscription.source.at_end


def test_old_messages_are_a_backlog_and_fresh_ones_the_end_of_it():
    subscription = Subscription([received(1, published=NOON)], follow=True)
    subscription.client.answers.append([received(2, published=NOON + 1000)])
    subscription.fetch(room=1)
    assert subscription.source.caught_up() == {(URI, None): False}
    subscription.source.acknowledge()
    subscription.fetch(room=1)
    assert subscription.source.caught_up() == {(URI, None): True}


def test_a_pull_that_outlasts_a_fetch_is_not_given_up():
    subscription = Subscription(follow=True)
    waiting: list[Future[list[Received]]] = []

    def later(call: Any) -> Future[list[Received]]:
        del call
        waiting.append(Future())
        return waiting[-1]

    subscription.source._background = later
    assert subscription.fetch(seconds=0.0) == []
    assert subscription.fetch(seconds=0.0) == []
    waiting[0].set_result([received(1)])
    assert ids(subscription.fetch(seconds=0.0)) == ["m1"]
    assert len(waiting) == 1


def test_closing_gives_back_what_was_not_acknowledged_and_acknowledges_nothing():
    subscription = Subscription([received(1)], [], [received(2)], [received(3)])
    subscription.fetch()
    subscription.source.acknowledge()
    subscription.fetch()
    subscription.source.close()
    subscription.source.close()
    assert (["a2.1", "a3.1"], 0) in subscription.client.extended
    assert not any("a1.1" in batch for batch, seconds in subscription.client.extended if seconds == 0)
    assert subscription.client.acknowledged == [["a1.1"]]
    assert subscription.client.closed == 1


def test_closing_without_a_server_is_no_failure():
    subscription = Subscription([received(1)])
    subscription.fetch()
    subscription.client.fail_extend = AWAY
    subscription.source.close()


def test_an_acknowledgement_that_is_not_heard_is_said_again_before_the_next_fetch():
    subscription = Subscription([received(1)], [], [received(2)])
    subscription.fetch()
    subscription.client.fail_acknowledge = AWAY
    subscription.source.acknowledge()
    subscription.client.fail_acknowledge = None
    subscription.fetch()
    assert subscription.client.acknowledged == [["a1.1"]]
    subscription.source.acknowledge()
    assert subscription.client.acknowledged == [["a1.1"], ["a2.1"]]


def test_what_is_committed_is_not_given_back_where_its_acknowledgement_was_not_heard():
    subscription = Subscription([received(1)])
    subscription.fetch()
    subscription.client.fail_acknowledge = AWAY
    subscription.source.acknowledge()
    subscription.source.close()
    assert all(seconds for _, seconds in subscription.client.extended)


def test_an_acknowledgement_that_is_refused_is_let_go():
    subscription = Subscription([received(1)])
    subscription.fetch()
    subscription.client.fail_acknowledge = SourceError("the lease has ended")
    subscription.source.acknowledge()
    assert subscription.gauge("outstanding_messages") == 0


@pytest.mark.parametrize("attribute", ["k8s.cluster.name", "cluster_name", "cluster"])
def test_an_attribute_that_names_the_cluster_goes_with_the_message(attribute: str):
    event = line(an_event()).strip()
    subscription = Subscription([received(1, event, **{attribute: "green"})])
    ((_, value),) = values(subscription.fetch())
    assert b64decode(json.loads(value)["message"]["data"]) == event
    (found,) = recognise(value)
    assert (found.code, found.cluster) == (None, "green")


def test_other_attributes_and_those_beside_a_given_cluster_leave_the_message_as_it_is():
    subscription = Subscription([received(1, b"{}", **{"logging.googleapis.com/timestamp": "now"})])
    assert values(subscription.fetch()) == [(0, b"{}")]
    subscription = Subscription([received(1, b"{}", cluster="green")], cluster="blue")
    assert values(subscription.fetch()) == [(0, b"{}")]


def part(number: int, total: int = 2, uid: str = "u", padding: int = 0) -> bytes:
    return entry({"request": {f"field{number}": "x" * padding}}, split={"uid": uid, "index": number, "totalSplits": total})


def test_the_parts_of_an_entry_are_given_together():
    subscription = Subscription([received(1, part(0)), received(2)], [received(3, part(1))], follow=True)
    assert ids(subscription.fetch(room=1)) == ["m2"]
    subscription.source.acknowledge()
    assert subscription.client.acknowledged == [["a2.1"]]
    assert ids(subscription.fetch(room=1)) == ["m1", "m3"]
    subscription.source.acknowledge()
    assert subscription.client.acknowledged == [["a2.1"], ["a1.1", "a3.1"]]


def test_a_part_is_given_alone_when_the_others_do_not_come_and_before_the_end():
    subscription = Subscription([received(1, part(0))])
    assert subscription.fetch(room=1) == []
    subscription.clock.time += 2 * IDLE
    assert not subscription.source.at_end
    assert ids(subscription.fetch()) == ["m1"]


def test_a_part_that_is_delivered_again_while_it_waits_is_given_once():
    subscription = Subscription([received(1, part(0))], [received(1, part(0), delivery=2), received(2, part(1))])
    assert ids(subscription.fetch()) == ["m1", "m2"]
    subscription.source.acknowledge()
    assert subscription.client.acknowledged == [["a1.1", "a1.2", "a2.1"]]


def test_what_is_kept_back_is_bounded():
    parts = Parts()
    big = SIZE_LIMIT // 2
    assert parts.add(received(1, part(0, uid="a", padding=big)), 0) == []
    given = parts.add(received(2, part(0, uid="b", padding=big)), 0)
    assert [message.message_id for message in given] == ["m1"]
    assert len(parts) == 1
    assert parts.size < SIZE_LIMIT


def test_the_gauges_tell_of_what_is_not_acknowledged():
    subscription = Subscription([received(1, b"x" * 100, published=NOON + 900)])
    subscription.fetch()
    subscription.clock.time = 1500.0
    assert subscription.gauge("oldest_unacknowledged_seconds") == 600
    assert subscription.gauge("outstanding_bytes") == 100
    subscription.source.acknowledge()
    assert subscription.gauge("oldest_unacknowledged_seconds") == 0
