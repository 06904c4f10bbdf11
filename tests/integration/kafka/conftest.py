"""One broker for the tests that need a real one."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import pytest

from tests.integration.kafka.broker import Broker, missing

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A running broker; a test that stops it starts it again."""
    lacking = ", ".join(missing())
    if lacking:
        assert "CI" not in os.environ, f"CI has no {lacking} to run a Kafka broker with"
        pytest.skip(f"a Kafka broker needs {lacking}: install a JDK 17 or newer, and Maven")
    with Broker(tmp_path_factory.mktemp("kafka")) as running:
        yield running


@pytest.fixture
def topic(broker: Broker, request: pytest.FixtureRequest) -> str:
    """A topic of the test's own, with one partition."""
    name = re.sub(r"[^a-z0-9]+", "_", request.node.name.removeprefix("test_")).strip("_")[:200]
    broker.create(name)
    return name
