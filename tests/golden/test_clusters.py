"""Log and webhook of the same activity of real clusters: together they leave exactly their union."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import orjson
import pytest
import zstandard

from tests.audit.reduction import closes, reduce_files

if TYPE_CHECKING:
    from tests.audit.reduction import Outcome

DATA = Path(__file__).parent.parent / "data"
CLUSTERS = sorted(path.name.removesuffix(".log.zst") for path in DATA.glob("*.log.zst"))


def sample(name: str) -> bytes:
    return zstandard.ZstdDecompressor().decompressobj().decompress((DATA / f"{name}.zst").read_bytes())


def distinct(*logs: bytes) -> int:
    """Events with different JSON, `kind` and `apiVersion` aside, in logs of events and of lists."""
    seen = set()
    for line in b"".join(logs).splitlines():
        document = orjson.loads(line)
        for event in document.get("items", [document]):
            seen.add(orjson.dumps({name: value for name, value in event.items() if name not in ("kind", "apiVersion")}))
    return len(seen)


def digests(outcome: Outcome) -> set[bytes]:
    return {each["digest"] for each in outcome.events}


@pytest.mark.parametrize("cluster", CLUSTERS)
def test_log_and_webhook_leave_exactly_their_union(cluster: str):
    log, webhook = sample(f"{cluster}.log"), sample(f"{cluster}.webhook")
    all_of = {"merge": False, "fold": False}
    alone = [reduce_files([each], **all_of) for each in (log, webhook)]
    both = reduce_files([log, webhook], **all_of)
    other_way = reduce_files([webhook, log], block_size=50_000, split_size=100_000, **all_of)
    assert digests(both) == digests(other_way) == digests(alone[0]) | digests(alone[1])
    assert both.account.kept == other_way.account.kept == len(digests(both)) == distinct(log, webhook)
    assert both.account.dead_lettered == {}


@pytest.mark.parametrize("cluster", CLUSTERS)
def test_real_events_reduce_to_the_same_however_they_are_cut(cluster: str):
    logs = [sample(f"{cluster}.log"), sample(f"{cluster}.webhook")]
    whole = reduce_files(logs)
    cut = reduce_files(logs, block_size=20_000, split_size=60_000, order=[3, 1, 4, 1, 5])
    assert (cut.events, cut.reads, cut.account) == (whole.events, whole.reads, whole.account)
    assert closes(whole)
    assert whole.account.duplicate > 0


def test_the_webhooks_hold_retries():
    assert any(len(lines) != len(set(lines)) for lines in (sample(f"{cluster}.webhook").splitlines() for cluster in CLUSTERS))
