"""The mode does not change the meaning: a stream that is followed gives what one batch run over the same events gives."""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from typing import TYPE_CHECKING, Any

import orjson
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tests.audit.followed_reduction import Result, batch, followed
from tests.audit.logs import log_files
from tests.examples import line
from transforms.audit.event import FINAL_STAGES

if TYPE_CHECKING:
    from collections.abc import Sequence

# A failing example is shown as it was found: making it smaller takes minutes.
PHASES = (Phase.explicit, Phase.reuse, Phase.generate)


def messages_of(files: Sequence[Any], order: Any) -> list[bytes]:
    """One message for each event of the files, in another order: copies, late stages and final events among them."""
    found = [line(told.event).rstrip(b"\n") for file in files for told in file.told]
    order.shuffle(found)
    return found


def plainly(result: Result) -> Counter[str]:
    """The kept records without what may differ: where a copy was read."""
    return Counter(repr({name: value for name, value in each.items() if name != "source"}) for each in result.events)


def odd_ids(messages: Sequence[bytes], results: Sequence[Result]) -> set[Any]:
    """Audit IDs of collisions, of early stages that came too late or could go to one of two final events; of a failed ResponseStarted,
    which waits for nothing, since no server sends a final event after it; and of none, with which nothing waits."""
    flags = ("AUDIT_ID_COLLISION", "LATE_STAGE")
    found = {None} | {each["auditID"] for result in results for each in result.events if not set(flags).isdisjoint(each["flags"])}
    events = [orjson.loads(message) for message in messages]
    found |= {event.get("auditID") for event in events if event["stage"] == "ResponseStarted" and event["responseStatus"]["code"] >= 400}
    finals = {(event.get("auditID"), event["stage"]) for event in events if event["stage"] in FINAL_STAGES}
    return found | {audit_id for audit_id, count in Counter(audit_id for audit_id, _ in finals).items() if count > 1}


@given(
    files=log_files(),
    order=st.randoms(use_true_random=False),
    cuts=st.lists(st.integers(0, 40), max_size=6),
    restarts=st.lists(st.booleans(), max_size=3),
    merge=st.booleans(),
)
@settings(phases=PHASES, max_examples=int(os.environ.get("EXAMPLES", "60")))
def test_a_followed_stream_gives_what_a_batch_run_gives(files: Any, order: Any, cuts: list[int], restarts: list[bool], merge: bool):
    messages = messages_of(files, order)
    whole = batch(messages, merge=merge)
    with tempfile.TemporaryDirectory() as directory:
        cut = followed(messages, cuts, restarts, directory, merge=merge)
    assert whole.closes()
    assert cut.closes()
    assert cut.account.events == whole.account.events
    # Of each content one event has an outcome of its own, and all others are its copies.
    assert cut.outcomes == whole.outcomes
    odd = odd_ids(messages, (whole, cut))
    plain = [message for message in messages if orjson.loads(message).get("auditID") not in odd]
    whole = batch(plain, merge=merge)
    with tempfile.TemporaryDirectory() as directory:
        cut = followed(plain, cuts, restarts, directory, merge=merge)
    if odd_ids(plain, (cut,)) == {None}:
        assert plainly(cut) == plainly(whole)
        assert cut.sums == whole.sums
