"""Audit events as messages, and what an output holds of them, whichever way they came."""

from __future__ import annotations

import subprocess
import sys
import zlib
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

import orjson

from tests.pipelines.job import ROOT, environment, records

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.integration.kafka.broker import Broker

ADDS_UP = ("count", "mergedStages", "bytes")
KEY = (
    "windowStart username impersonatedUsername verb apiGroup resource subresource namespace userAgent nonResourcePath code cluster".split()
)


def by_partition(lines: Sequence[bytes], partitions: int) -> list[list[bytes]]:
    """Messages by partition: the events of an audit ID stay in one, in order, as a producer keys them."""
    out: list[list[bytes]] = [[] for _ in range(partitions)]
    for line in lines:
        out[zlib.crc32(orjson.loads(line)["auditID"].encode()) % partitions].append(line.rstrip(b"\n"))
    return out


def publish(broker: Broker, topic: str, lines: Sequence[bytes], partitions: int) -> None:
    """Write events to a topic of so many partitions."""
    for partition, messages in enumerate(by_partition(lines, partitions)):
        broker.write(topic, messages, partition)


def content(output: Path) -> dict[str, Any]:
    """All that an output says, less where it was read and in which pieces: equal for a stream and a batch run."""
    reads: dict[tuple[Any, ...], list[int]] = defaultdict(lambda: [0] * len(ADDS_UP))
    for row in records(output, "reads"):
        sums = reads[tuple(row[name] for name in KEY)]
        for at, name in enumerate(ADDS_UP):
            sums[at] += row[name]
    return {
        "events": Counter(
            (each["digest"], tuple(stage["stage"] for stage in each["stages"]), tuple(each["flags"])) for each in records(output, "events")
        ),
        "reads": dict(reads),
        "dead_letters": Counter((each["code"], each["length"]) for each in records(output, "dead_letters")),
    }


def verified(output: Path) -> None:
    """The accounts hold, by the program that users ask."""
    done = subprocess.run(
        [sys.executable, "-m", "pipelines.verify", "--output", str(output)],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
