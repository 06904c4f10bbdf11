"""Whatever the input, rows give byte for byte what events give: the samples of real servers, under every setting."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
import zstandard

from tests.audit.reduction import STARTED
from tests.audit.rows.both_ways import assert_same, both_ways, both_ways_of_messages
from tests.audit.rows.plain_lines import a_line, an_id
from transforms.audit import cycle as cycles
from transforms.audit.block import Split
from transforms.audit.cycle import Cycle
from transforms.audit.memory import encode_rows

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT: Final = Path(__file__).parents[3]
SAMPLES: Final = sorted(ROOT.glob("tests/data/*.zst"))
POLICIES: Final = {path.stem: path.read_text() for path in sorted((ROOT / "transforms/audit/policies").glob("*.yaml"))}
FEWEST: Final = {"article": 200, "everything": 60, "metadata": 200, "truncate": 20}  # rows of a sample at least


def rules(*rules: dict[str, Any], **more: Any) -> str:
    return json.dumps({"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": rules} | more)


HEADS: Final = rules({"level": "Metadata"})
CHANGES: Final[dict[str, dict[str, Any]]] = {
    **{name: {"policy": text} for name, text in POLICIES.items()},
    "heads": {"policy": HEADS},
    "requests": {"policy": rules({"level": "Request"})},
    "first stages omitted": {"policy": rules({"level": "RequestResponse"}, omitStages=["RequestReceived"])},
    "final stages omitted": {"policy": rules({"level": "RequestResponse"}, omitStages=["ResponseComplete"])},
    "some dropped": {
        "policy": rules({"level": "None", "verbs": ["get", "watch"]}, {"level": "Request", "omitStages": ["RequestReceived"]})
    },
    "no rule for most": {"policy": rules({"level": "Metadata", "verbs": ["create"]})},
    "managed fields kept": {"keep_managed_fields": True},
    "managed fields omitted by a policy": {
        "keep_managed_fields": True,
        "policy": rules({"level": "RequestResponse", "verbs": ["update"], "omitManagedFields": True}, {"level": "RequestResponse"}),
    },
    "not merged": {"merge": False},
    "not folded": {"fold": False},
    "neither": {"merge": False, "fold": False},
    "folded by the second": {"window": 1_000_000},
    "guarded": {
        "guards": json.dumps({"guards": [{"name": "shop", "reason": "ours", "namespaces": ["shop", "payments"], "verbs": ["get"]}]})
    },
    "of the future": {"started": 1_700_000_000_000_000},
    "less bulk": {"strip_bulk": True},
}


@cache
def sample(path: Path) -> bytes:
    return zstandard.ZstdDecompressor().stream_reader(path.read_bytes()).read()


@pytest.mark.parametrize("block", [16 << 10, 256 << 10, 4 << 20])
@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.name)
def test_a_sample_becomes_the_same(path: Path, block: int):
    found = both_ways(sample(path), block=block)
    assert_same(found)
    name, kind, _ = path.name.split(".")
    if kind == "log":  # items of a webhook's lists do not say what they are
        assert found.as_rows >= FEWEST[name]


def test_the_long_sample_becomes_the_same():
    path = ROOT / "pipelines/sample/audit.log.zst"
    found = both_ways(sample(path))
    assert_same(found)
    assert found.as_rows > 1000


@pytest.mark.parametrize("changes", CHANGES.values(), ids=CHANGES)
def test_a_sample_becomes_the_same_under_every_setting(changes: dict[str, Any]):
    for name in ("article", "everything"):
        found = both_ways(sample(ROOT / f"tests/data/{name}.log.zst"), **changes)
        assert_same(found)
        assert found.as_rows


def test_a_cluster_and_a_partition_are_told():
    split = Split(3, "file:audit.log", "audit.log", 0, None, "prod", 7)
    assert_same(both_ways(sample(ROOT / "tests/data/article.log.zst"), split=split))


def test_a_split_in_the_middle_of_a_log_expects_company():
    split = Split(1, "file:audit.log", "audit.log", 100, None)
    data = sample(ROOT / "tests/data/article.log.zst")
    lines = data.splitlines(keepends=True)
    for kept in (lambda _: True, lambda line: b"RequestReceived" not in line):
        assert_same(both_ways(b"\n" * 100 + b"".join(filter(kept, lines)), split=split))


@pytest.mark.parametrize("name", ["article", "everything", "truncate"])
def test_messages_become_the_same(name: str):
    lines = sample(ROOT / f"tests/data/{name}.log.zst").splitlines()
    found = both_ways_of_messages(lines)
    assert_same(found)
    assert found.as_rows >= FEWEST[name]
    assert_same(both_ways_of_messages(sample(ROOT / f"tests/data/{name}.webhook.zst").splitlines()))


def test_copies_are_recalled_alike():
    data = sample(ROOT / "tests/data/article.log.zst")
    lines = data.splitlines(keepends=True)
    assert_same(both_ways(data + b"".join(lines[:101]) + b"".join(reversed(lines[200:301])), block=64 << 10))


@pytest.fixture
def forgotten() -> Iterator[None]:
    cycles._memory_of_worker.cache_clear()
    yield
    cycles._memory_of_worker.cache_clear()


@pytest.mark.usefixtures("forgotten")
@pytest.mark.parametrize("changes", [{}, {"policy": POLICIES["gke"]}, {"fold": False}], ids=["plain", "gke", "not folded"])
def test_a_followed_input_becomes_the_same(tmp_path: Path, changes: dict[str, Any]):
    lines = sample(ROOT / "tests/data/article.log.zst").splitlines()
    memory: list[str] = []
    waiting: list[Any] = []
    as_rows = 0
    for number, start in enumerate(range(0, 700, 140)):
        cycle = Cycle(STARTED + number * 1_000_000, 0, 0, 600_000_000, tuple(memory), str(tmp_path))
        # some of what was seen before comes once more
        found = both_ways_of_messages(lines[max(0, start - 45) : start + 140], cycle=cycle, waiting=waiting, **changes)
        assert_same(found)
        as_rows += found.as_rows
        waiting = found.waiting
        file = tmp_path / f"{number}.rows"
        file.write_bytes(encode_rows([found.settled]))
        memory.append(str(file))
    assert as_rows > 100
    assert all(found.rows.settled for _ in memory)


@pytest.mark.parametrize("last", [1, 2, 0], ids=["one event", "two events in a row", "an event cut short"])
def test_what_only_begins_as_an_event_in_an_envelope_is_read_as_ever(last: int):
    lines = [a_line(auditID=an_id(at)) for at in range(12)]
    messages = [*lines[:10], b"".join(lines[10 : 10 + last]) or lines[10][:-40]]
    document = {
        "messageType": "DATA_MESSAGE",
        "logGroup": "/aws/eks/c/cluster",
        "logEvents": [{"message": message.decode()} for message in messages],
    }
    found = both_ways(json.dumps(document).encode() + b"\n")
    assert_same(found)
    (account,) = found.rows.accounts
    # Where one message is two events the index of those behind it is another, so the document is read the old way.
    assert (account.events, sum(account.dead_lettered.values()), found.as_rows) == {1: (11, 0, 11), 2: (12, 0, 0), 0: (11, 1, 10)}[last]
