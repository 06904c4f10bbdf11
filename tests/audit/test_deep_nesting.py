"""How deep a record may nest is the same wherever the caller stands on the stack, for all that is made of the record."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.audit.envelopes.wraps import compact
from tests.audit.reduction import Outcome, closes, reduce_files
from tests.examples import an_event
from transforms.audit.fresh_stack import on_fresh_stack
from transforms.audit.recognise import recognise

if TYPE_CHECKING:
    from collections.abc import Callable

FIELDS: Final = ("requestObject", "responseObject", "objectRef", "user", "responseStatus", "annotations", "odd")
DEPTHS: Final = (100, 130, 210, 500, 800, 870, 900, 930, 960)
INSIDE: Final = (
    b"1",
    b'{"password":"hunter2hunter2"}',
    b'{"metadata":{"managedFields":[{"manager":"m","operation":"Update"}]}}',
    b'"\\ud800"',
)


def below(frames: int, function: Callable[[], Any]) -> Any:
    """What the function gives with so many frames more on the stack."""
    return function() if not frames else below(frames - 1, function)


def nested(field: str, depth: int, inside: bytes) -> bytes:
    """An event of which a field nests so deep."""
    event = {**an_event(auditID=f"{field}-{depth}"), field: "DEEP"}
    return compact(event).replace(b'"DEEP"', b'{"a":' * depth + inside + b"}" * depth)


def codes(record: bytes) -> list[str]:
    return [found.code or "event" for found in recognise(record)]


@pytest.mark.parametrize("inside", INSIDE)
def test_what_is_written_does_not_depend_on_the_stack(inside: bytes) -> None:
    log = b"\n".join(nested(field, depth, inside) for field in FIELDS for depth in DEPTHS) + b"\n"

    def reduced() -> Outcome:
        return reduce_files([log])

    outcomes = [below(frames, reduced) for frames in (0, 150, 400)]
    assert all(map(closes, outcomes))
    assert outcomes[0].account.dead_lettered == {}
    assert outcomes[0] == outcomes[1] == outcomes[2]
    assert b"hunter2" not in json.dumps(outcomes[0].events, default=str).encode()


@pytest.mark.parametrize("wrap", ["{}", "[{}]", '{{"items":[{}]}}', '{{"event":{}}}'])
def test_the_limit_is_the_same_wherever_one_stands(wrap: str) -> None:
    before, after = wrap.format("|").encode().split(b"|")

    def deepest() -> list[list[str]]:
        return [codes(before + nested("requestObject", depth, b"1") + after) for depth in range(900, 1030, 5)]

    outcomes = [below(frames, deepest) for frames in (0, 150, 400)]
    assert outcomes[0] == outcomes[1] == outcomes[2]
    assert outcomes[0][0] == ["event"]
    assert {"TOO_DEEP"} == set(codes(before + nested("requestObject", 100_000, b"1") + after))


def test_a_failure_on_a_fresh_stack_is_the_callers() -> None:
    with pytest.raises(ValueError, match="seven"):
        on_fresh_stack(int, "seven")
    assert on_fresh_stack(divmod, 7, 4) == (1, 3)
