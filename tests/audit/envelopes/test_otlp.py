"""OpenTelemetry's logs as OTLP JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.audit.envelopes.outcomes import outcomes, the_event
from tests.audit.envelopes.wraps import compact
from tests.examples import an_event, line
from transforms.audit.recognise import recognise

EVENT = line(an_event()).strip()
SAMPLE = (Path(__file__).parents[1] / "data" / "otlp.json").read_bytes()


def logs(*bodies: Any, attributes: list[Any] | None = None) -> bytes:
    records = [{"timeUnixNano": "1", "body": body} for body in bodies]
    return compact({"resourceLogs": [{"resource": {"attributes": attributes or []}, "scopeLogs": [{"logRecords": records}]}]})


def any_value(value: Any) -> dict[str, Any]:
    """A JSON value as OTLP's AnyValue."""
    match value:
        case bool():
            return {"boolValue": value}
        case int():
            return {"intValue": str(value)}
        case float():
            return {"doubleValue": value}
        case str():
            return {"stringValue": value}
        case list():
            return {"arrayValue": {"values": [any_value(one) for one in value]}}
        case dict():
            return {"kvlistValue": {"values": [{"key": key, "value": any_value(one)} for key, one in value.items()]}}
    return {}


def test_the_sample_gives_its_events() -> None:
    bodies = [record["body"]["stringValue"].encode() for record in json.loads(SAMPLE)["resourceLogs"][0]["scopeLogs"][0]["logRecords"]]
    assert [found.event for found in recognise(SAMPLE)] == [the_event(body) for body in bodies]
    assert len(bodies) == 2


def test_an_event_in_values_of_otlp_is_the_event() -> None:
    event = an_event(
        responseStatus={"metadata": {}, "code": 200}, requestObject={"n": 2**60, "f": 1.5, "t": True, "none": None, "l": [1, []], "o": {}}
    )
    assert the_event(logs(any_value(event))) == the_event(line(event))


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (logs(), []),
        (b'{"resourceLogs":[]}', []),
        (b'{"resourceLogs":[{}]}', []),
        (b'{"resourceLogs":[{"scopeLogs":[{}]}]}', []),
        (b'{"resourceLogs":7}', ["NOT_AUDIT"]),
        (logs({"stringValue": "klog"}, {}, {"stringValue": EVENT.decode()}), ["NOT_AUDIT", "NOT_AUDIT", "event"]),
        (logs({"stringValue": EVENT.decode()[:-9]}), ["TRUNCATED"]),
        (logs({"kvlistValue": {"values": [{"key": "a", "value": {"intValue": "x"}}]}}), ["TRUNCATED"]),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_log_records_count_one_each(record: bytes, expected: list[str]) -> None:
    assert outcomes(record) == expected


def test_the_cluster_is_an_attribute_of_the_resource() -> None:
    attributes = [{"key": "service.name", "value": {"stringValue": "x"}}, {"key": "k8s.cluster.name", "value": {"stringValue": "blue"}}]
    (found,) = recognise(logs({"stringValue": EVENT.decode()}, attributes=attributes))
    assert found.cluster == "blue"
