"""Pub/Sub by hand: the calls that the source makes, answered from memory, on a clock that only tests move.

What a real server does is tested in `tests/integration/pubsub/`; here are its failures, and time.
"""

from __future__ import annotations

from concurrent.futures import Future
from typing import TYPE_CHECKING

from transforms.connectors.pubsub_client import Received

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

NOON = 1_767_355_200.0


class Clock:
    def __init__(self) -> None:
        self.time = 1000.0

    def __call__(self) -> float:
        return self.time

    def now(self) -> float:
        return NOON + self.time

    def pause(self, seconds: float) -> None:
        self.time += seconds


def received(number: int, data: bytes = b"{}", *, published: float | None = None, delivery: int = 1, **changes: str) -> Received:
    attributes = {name: value for name, value in changes.items() if name != "key"}
    moment = int(1e9 * (NOON + number if published is None else published))
    return Received(f"a{number}.{delivery}", f"m{number}", data, attributes, changes.get("key", ""), moment)


class FakeClient:
    """Answers pulls from `answers`, one each: messages, or a failure to raise. Then nothing comes, for as long as was asked."""

    def __init__(self, clock: Clock, answers: Sequence[list[Received] | Exception] = ()) -> None:
        self.clock = clock
        self.answers = list(answers)
        self.asked: list[int] = []
        self.extended: list[tuple[list[str], int]] = []
        self.acknowledged: list[list[str]] = []
        self.fail_extend: Exception | None = None
        self.fail_acknowledge: Exception | None = None
        self.closed = 0

    def pull(self, most: int, seconds: float) -> list[Received]:
        self.asked.append(most)
        if not self.answers:
            self.clock.time += seconds
            return []
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def extend(self, ack_ids: Sequence[str], seconds: int) -> None:
        if self.fail_extend:
            raise self.fail_extend
        self.extended.append((list(ack_ids), seconds))

    def acknowledge(self, ack_ids: Sequence[str]) -> None:
        if self.fail_acknowledge:
            raise self.fail_acknowledge
        self.acknowledged.append(list(ack_ids))

    def close(self) -> None:
        self.closed += 1


def at_once(call: Callable[[], list[Received]]) -> Future[list[Received]]:
    """What the source does on another thread, here and now."""
    future: Future[list[Received]] = Future()
    try:
        future.set_result(call())
    except Exception as error:  # noqa: BLE001 - the source's to raise
        future.set_exception(error)
    return future
