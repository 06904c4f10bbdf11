"""Leases are renewed in time, and given back at the end."""

from __future__ import annotations

import threading

from tests.transforms.connectors.pubsub_fake import Clock, FakeClient
from transforms.connectors.pubsub_client import PassingError
from transforms.connectors.pubsub_leases import LEASE, RENEWAL, Leases
from transforms.connectors.sources import SourceError


def leases() -> tuple[Leases, FakeClient, Clock]:
    clock = Clock()
    client = FakeClient(clock)
    return Leases(client, clock), client, clock


def test_a_message_is_leased_at_once_and_again_before_the_lease_ends():
    held, client, clock = leases()
    held.hold(["a"])
    assert held.renew() == RENEWAL
    clock.time += RENEWAL - 1
    assert held.renew() == 1
    clock.time += 1
    assert held.renew() == RENEWAL
    assert client.extended == [(["a"], LEASE), (["a"], LEASE)]
    assert 2 * RENEWAL < LEASE


def test_what_is_acknowledged_is_not_renewed():
    held, client, clock = leases()
    held.hold(["a", "b"])
    held.renew()
    held.drop(["a"])
    clock.time += RENEWAL
    held.renew()
    assert client.extended[-1] == (["b"], LEASE)


def test_a_renewal_that_fails_is_tried_again_soon():
    held, client, clock = leases()
    held.hold(["a"])
    client.fail_extend = PassingError("UNAVAILABLE")
    assert held.renew() == 1
    client.fail_extend = None
    clock.time += 1
    held.renew()
    assert client.extended == [(["a"], LEASE)]
    assert held.failures == 1


def test_a_renewal_that_is_refused_is_no_crash():
    held, client, _ = leases()
    held.hold(["a"])
    client.fail_extend = SourceError("no")
    assert held.renew() == RENEWAL
    assert held.failures == 1


def test_renewals_go_in_bounded_batches():
    held, client, _ = leases()
    held.hold(map(str, range(2500)))
    held.renew()
    assert [len(batch) for batch, _ in client.extended] == [1000, 1000, 500]


def test_closing_gives_back_and_nothing_is_held_afterwards():
    held, client, _ = leases()
    held.hold(["a", "b"])
    held.close()
    held.close()
    held.hold(["c"])
    held.renew()
    assert client.extended == [(["a", "b"], 0)]


def test_the_thread_leases_what_comes_without_being_asked_and_ends_with_the_close():
    held, client, _ = leases()
    leased = threading.Event()
    extend = client.extend

    def heard(ack_ids: list[str], seconds: int) -> None:
        extend(ack_ids, seconds)
        leased.set()

    client.extend = heard  # type: ignore[method-assign]
    held.start()
    held.hold(["a"])
    assert leased.wait(30)
    held.close()
    held._thread.join(30)
    assert not held._thread.is_alive()
