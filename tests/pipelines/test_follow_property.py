"""Through the whole job too: a followed stream, cut and restarted anywhere, gives what one batch run gives."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import orjson
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from pipelines import verify
from tests.audit.followed_reduction import batch
from tests.audit.logs import log_files
from tests.audit.test_followed_reduction import messages_of, odd_ids
from tests.pipelines.followed import FakeClock, Followed, Journal, ScriptedSource
from tests.pipelines.job import account, records

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


@given(
    files=log_files(),
    order=st.randoms(use_true_random=False),
    cuts=st.lists(st.integers(0, 40), min_size=1, max_size=3),
    partitions=st.integers(1, 2),
)
@settings(max_examples=4, phases=(Phase.explicit, Phase.reuse, Phase.generate))
def test_a_followed_stream_gives_what_a_batch_run_gives(
    tmp_path_factory: pytest.TempPathFactory, files: Any, order: Any, cuts: list[int], partitions: int
):
    messages = messages_of(files, order)
    odd = odd_ids(messages, (batch(messages),))
    messages = [message for message in messages if orjson.loads(message).get("auditID") not in odd]
    whole = batch(messages)
    output = tmp_path_factory.mktemp("followed") / "out"
    journal, clock = Journal(partitions), FakeClock()
    published = 0
    for cut in sorted({cut % (len(messages) + 1) for cut in cuts}):
        for at in range(published, cut):
            journal.publish(messages[at], partition=at % partitions)
        published = cut
        session(output, journal, clock, forever=True)
        clock.pass_by(1)
        assert verify.verify(str(output)).problems == []
    for at in range(published, len(messages)):
        journal.publish(messages[at], partition=at % partitions)
    session(output, journal, clock, forever=False)
    verdict = verify.verify(str(output))
    assert verdict.problems == []
    assert verdict.totals["pending"] == 0
    found = account(output)
    late = {each["auditID"] for each in records(output, "events") if "LATE_STAGE" in each["flags"] or "AUDIT_ID_COLLISION" in each["flags"]}
    assert found.events == whole.account.events
    if not late:
        assert plainly(records(output, "events")) == plainly(whole.events)
        assert sums(records(output, "reads")) == {at: count for at, count in whole.sums.items() if count}


def session(output: Path, journal: Journal, clock: FakeClock, *, forever: bool) -> None:
    followed = Followed(str(output), ScriptedSource(journal, follow=forever), clock, forever=forever)
    try:
        followed.go(2 if forever else 1 << 30)
    finally:
        followed.leave()


def plainly(events: list[dict[str, Any]]) -> Counter[str]:
    """The kept records without where they were read."""
    return Counter(repr((each["digest"], sorted(map(repr, each["stages"])), each["flags"])) for each in events)


def sums(rows: list[dict[str, Any]]) -> dict[Any, int]:
    """Count, merged stages and bytes by window and key."""
    names = (
        "username",
        "impersonatedUsername",
        "verb",
        "apiGroup",
        "resource",
        "subresource",
        "namespace",
        "userAgent",
        "nonResourcePath",
        "code",
    )
    out: Counter[Any] = Counter()
    for row in rows:
        at = (row["cluster"], int(row["windowStart"].timestamp() * 1_000_000), tuple(row[name] for name in names))
        out.update({(*at, "count"): row["count"], (*at, "merged"): row["mergedStages"], (*at, "bytes"): row["bytes"]})
    return {at: count for at, count in out.items() if count}
