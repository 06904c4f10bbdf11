"""What may leave a worker, and in which bytes."""

from __future__ import annotations

import pickle
from typing import Any

import apache_beam as beam
import pytest
from apache_beam import coders
from apache_beam.testing.test_pipeline import TestPipeline as APipeline

from transforms.audit.account import Account
from transforms.audit.avro_blocks import AvroBlock
from transforms.audit.block import EventBlock, RawBlock, Split
from transforms.audit.read_summary import ReadSummary
from transforms.audit.settle_events import Unit
from transforms.connectors.avro_files import OutputFile
from transforms.elements import RawContentError, SealedCoder

SPLIT = Split(0, "/logs/audit.log", "/logs/audit.log", 0, 10, "east")
RAW = RawBlock(SPLIT, Account(0, 0), 0, b"cnry-raw")
EVENTS = EventBlock(SPLIT, Account(0, 0), [], [])
BLOCK = AvroBlock("events", 3_600_000_000, ("pods", 0, 0, 1), 2, 20, b"packed")
ROW = ReadSummary("east", 60_000_000, ("alice", None, "get", "", "pods", None, "shop", "kubectl", None, 200), 1, 1, 100, 5, 5)


def coder_of(value: Any) -> coders.Coder:
    return coders.registry.get_coder(type(value))


@pytest.mark.parametrize("value", [RAW, EVENTS], ids=lambda value: type(value).__name__)
def test_raw_content_is_never_encoded(value: Any):
    coder = coder_of(value)
    assert isinstance(coder, SealedCoder)
    with pytest.raises(RawContentError, match="redact first") as refused:
        coder.encode(value)
    assert "cnry-raw" not in str(refused.value)
    with pytest.raises(RawContentError):
        coder.decode(b"")


@pytest.mark.parametrize(
    "value",
    [
        SPLIT,
        Account(0, 5, 9, events=3, dropped_by_rule={"none": 2}, dead_lettered={"INVALID_JSON": 1}, mac=b"m" * 32),
        BLOCK,
        AvroBlock("events", 0, ("pods", 0, 0, 1), 2, 20, b"", whole=True, place=("/aside/in_transit/1", 7, 6)),
        Unit([BLOCK], {60_000_000: [ROW]}, [], [Account(0, 0)], b"\1" * 16),
        OutputFile("events/x.avro", 2, 30, "00"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_redacted_travels_and_arrives_the_same(value: Any):
    coder = coder_of(value)
    assert coder.is_deterministic()
    assert coder.decode(coder.encode(value)) == value
    assert coder.to_type_hint() is type(value)
    assert pickle.loads(pickle.dumps(coder)).decode(coder.encode(value)) == value  # noqa: S301 - what was just dumped


def test_a_pipeline_that_would_ship_raw_blocks_fails():
    with pytest.raises(Exception, match="must not leave its worker"), APipeline("FnApiRunner") as pipeline:
        _ = pipeline | beam.Create([0]) | beam.Map(lambda _: RAW).with_output_types(RawBlock) | beam.Reshuffle()
