"""A server for all tests of Pub/Sub, and a subscription for each."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

import pytest

from tests.integration.pubsub.server import Server, Subscription, client_library, program

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture(scope="session")
def running() -> Iterator[Server]:
    library = str(client_library())
    server = Server(program())
    sys.path.append(library)
    yield server
    sys.path.remove(library)
    server.close()


@pytest.fixture
def server(running: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", running.address)
    monkeypatch.setenv("PYTHONPATH", str(client_library()))
    yield running
    for method in ("Pull", "Acknowledge", "ModifyAckDeadline"):
        running.tell("fail", method, 0)
    running.tell("clock", 0)


@pytest.fixture
def subscribe(server: Server, request: pytest.FixtureRequest) -> Iterator[Callable[..., Subscription]]:
    """Makes subscriptions named after the test."""
    made: list[Subscription] = []

    def subscription(**settings: object) -> Subscription:
        made.append(Subscription(server, f"{re.sub(r'[^a-z0-9]+', '-', request.node.name)}-{len(made)}", **settings))  # type: ignore[arg-type]
        return made[-1]

    yield subscription
    for each in made:
        each.close()
