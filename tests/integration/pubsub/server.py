"""A real Pub/Sub server (`main.go`), and Google's client to speak with it; neither is part of the base install."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, NoReturn

import pytest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

HERE: Final = Path(__file__).parent
LOCK: Final = HERE / "requirements.lock"
KEPT: Final = Path(sys.prefix) / "pubsub"  # what is made for these tests goes with .venv
LIBRARY: Final = KEPT / "library"
PROJECT: Final = "audit-tests"


def missing(what: str) -> NoReturn:
    """Fail in CI, where nothing may be missing; elsewhere skip."""
    (pytest.fail if "CI" in os.environ else pytest.skip)(f"Pub/Sub is not tested: {what}")


def client_library() -> Path:
    """Google's client, installed beside the environment: in it, Beam would import it in every run."""
    KEPT.mkdir(exist_ok=True)
    with (KEPT / "busy").open("w") as busy:
        fcntl.flock(busy, fcntl.LOCK_EX)
        installed = LIBRARY / LOCK.name
        if not installed.exists() or installed.read_bytes() != LOCK.read_bytes():
            shutil.rmtree(LIBRARY, ignore_errors=True)
            pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "install", "--require-hashes", "--no-deps"]
            done = subprocess.run([*pip, "--only-binary", ":all:", "--target", LIBRARY, "-r", LOCK], capture_output=True, check=False)
            if done.returncode:
                missing(f"google-cloud-pubsub cannot be installed: {done.stderr.decode()[-1000:]}")
            shutil.copy(LOCK, installed)
    return LIBRARY


def program() -> Path:
    """The server, built."""
    if shutil.which("go") is None:
        missing("its server needs Go 1.26 or newer, and there is no go on the PATH")
    KEPT.mkdir(exist_ok=True)
    with (KEPT / "busy").open("w") as busy:
        fcntl.flock(busy, fcntl.LOCK_EX)
        built = KEPT / "server"
        done = subprocess.run(["go", "build", "-o", built, "."], cwd=HERE, capture_output=True, check=False)  # noqa: S607 - whichever go
        if done.returncode:
            missing(f"its server cannot be built: {done.stderr.decode()[-1000:]}")
    return built


class Server:
    """The server as a process of its own, and what tests do to it."""

    def __init__(self, path: Path) -> None:
        self._process = subprocess.Popen([path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.address = self._line()

    def _line(self) -> str:
        output: IO[bytes] = self._process.stdout  # type: ignore[assignment]
        return output.readline().decode().strip()

    def tell(self, *words: object) -> str:
        """One of the commands of main.go; its answer."""
        orders: IO[bytes] = self._process.stdin  # type: ignore[assignment]
        orders.write(" ".join(map(str, words)).encode() + b"\n")
        orders.flush()
        answer = self._line()
        assert answer, "the server ended"
        assert not answer.startswith("error"), answer
        return answer

    def messages(self) -> dict[str, dict[str, int]]:
        """What was published: deliveries, extensions and acks, by message ID."""
        return {each.pop("id"): each for each in json.loads(self.tell("messages"))}

    def close(self) -> None:
        """End the server."""
        self._process.communicate(timeout=30)


class Subscription:
    """A topic with one subscription."""

    def __init__(self, server: Server, name: str, *, deadline: int = 10, ordered: bool = False) -> None:
        import grpc
        from google.pubsub_v1 import PublisherClient, SubscriberClient
        from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
        from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport

        self.name = f"projects/{PROJECT}/subscriptions/{name}"
        self.uri = f"pubsub://{self.name}"
        self.topic = f"projects/{PROJECT}/topics/{name}"
        self._channel = grpc.insecure_channel(server.address, [("grpc.max_reconnect_backoff_ms", 1000)])
        self._publisher = PublisherClient(transport=PublisherGrpcTransport(channel=self._channel))
        self.subscriber = SubscriberClient(transport=SubscriberGrpcTransport(channel=self._channel))
        self._publisher.create_topic(name=self.topic)
        self.subscriber.create_subscription(
            request={
                "name": self.name,
                "topic": self.topic,
                "ack_deadline_seconds": deadline,
                "enable_message_ordering": ordered,
            }
        )

    def publish(self, data: Sequence[bytes], attributes: Mapping[str, str] | None = None, key: str = "") -> list[str]:
        """Publish messages; their IDs."""
        ids: list[str] = []
        for at in range(0, len(data), 500):
            messages: list[dict[str, Any]] = [
                {"data": each, "attributes": dict(attributes or {}), "ordering_key": key} for each in data[at : at + 500]
            ]
            ids += self._publisher.publish(request={"topic": self.topic, "messages": messages}, retry=None, timeout=60).message_ids
        return ids

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()
