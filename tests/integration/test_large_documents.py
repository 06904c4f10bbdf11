"""Documents and fields beyond all measure go through the whole job in bounded memory, and every event is accounted for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson
import pytest

from tests.examples import an_event, line
from tests.pipelines.job import records, reduced_within

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.integration

ITEMS = 1_000_000
MEGABYTES = 1 << 20


def test_a_million_items_on_one_line_are_streamed(tmp_path: Path):
    log = tmp_path / "list.json"
    item = {"level": "Metadata", "stage": "ResponseComplete", "verb": "get", "requestURI": "/healthz", "user": {"username": "kubelet"}}
    last = {"responseStatus": {"code": 200}, "stageTimestamp": "2026-11-23T05:19:24.931245Z"}
    body = orjson.dumps(item | {"auditID": "@"} | last)
    with log.open("wb") as out:
        out.write(b'{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":[')
        for start in range(0, ITEMS, 1000):
            out.write(b"," if start else b"")
            out.write(
                b",".join(body.replace(b"@", b"%08d-0000-4000-8000-000000000000" % number, 1) for number in range(start, start + 1000))
            )
        out.write(b"]}")
    said = reduced_within(700, "--input", log, "--output", tmp_path / "reduced")
    assert (said["events"], said["folded"], said["deadLettered"]) == (ITEMS, ITEMS, {})
    assert sum(row["count"] for row in records(tmp_path / "reduced", "reads")) == ITEMS


def test_megabytes_where_words_belong_are_kept_as_they_are(tmp_path: Path):
    long = "x" * MEGABYTES
    log = tmp_path / "audit.log"
    changes = [
        {"verb": long},
        {"auditID": long},
        {"userAgent": long},
        {"objectRef__name": long},
        {"sourceIPs": [long]},
        {"user__groups": [long]},
    ]
    log.write_bytes(b"".join(line(an_event(auditID=f"{at}") | an_event(**change)) for at, change in enumerate(changes)))
    said = reduced_within(720, "--input", log, "--output", tmp_path / "reduced")
    assert (said["events"], said["kept"], said["deadLettered"]) == (len(changes), len(changes), {})
    kept = sorted(records(tmp_path / "reduced", "events"), key=lambda each: each["source"]["offset"])
    assert [kept[0]["verb"], kept[1]["auditID"], kept[2]["userAgent"]] == [long] * 3
    assert [kept[3]["objectRef"]["name"], *kept[4]["sourceIPs"], *kept[5]["user"]["groups"]] == [long] * 3
