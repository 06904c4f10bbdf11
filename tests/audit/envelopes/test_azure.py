"""AKS through Azure Monitor."""

from __future__ import annotations

from typing import Any

import pytest

from tests.audit.envelopes.outcomes import fields, outcomes, the_event
from tests.audit.envelopes.wraps import azure_record, compact
from tests.examples import an_event, line
from transforms.audit.recognise import recognise

EVENT = line(an_event()).strip()
RECORD = azure_record(EVENT)


def with_log(log: Any) -> dict[str, Any]:
    return RECORD | {"properties": {"log": log, "pod": "kube-apiserver-1"}}


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (RECORD, ["event"]),
        (azure_record(EVENT, as_object=True), ["event"]),
        ({"records": [RECORD, RECORD]}, ["event"] * 2),
        ({"records": [azure_record(EVENT, as_object=True), RECORD]}, ["event"] * 2),
        ({"records": []}, []),
        ([RECORD, RECORD], ["event"] * 2),
        (RECORD | {"category": "kube-audit-admin"}, ["event"]),
        (RECORD | {"category": "KUBE-AUDIT"}, ["event"]),
        (RECORD | {"category": "kube-apiserver", "properties": {"log": "I0102 03:04:05 klog"}}, ["NOT_AUDIT"]),
        (RECORD | {"category": "guard", "properties": {"log": '{"auditID":"x"}'}}, ["NOT_AUDIT"]),
        ({"records": [RECORD | {"category": "guard"}, 7, RECORD]}, ["NOT_AUDIT", "NOT_AUDIT", "event"]),
        ({"records": [RECORD | {"category": "guard"}, RECORD]}, ["NOT_AUDIT", "event"]),
        (RECORD | {"properties": {}}, ["NOT_AUDIT"]),
        (RECORD | {"properties": None}, ["NOT_AUDIT"]),
        (with_log(EVENT.decode()[:16384][:-100]), ["TRUNCATED"]),
        (with_log("I0102 03:04:05 klog"), ["NOT_AUDIT"]),
        ({"Category": "kube-audit", "log_s": EVENT.decode(), "_ResourceId": "/x/managedclusters/c"}, ["event"]),
        ({"properties": {"log": "x"}}, ["NOT_AUDIT"]),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_a_record_gives_its_log(record: object, expected: list[str]) -> None:
    assert outcomes(compact(record)) == expected


@pytest.mark.parametrize(
    ("resource", "cluster"),
    [
        ("/SUBSCRIPTIONS/0/RESOURCEGROUPS/G/PROVIDERS/MICROSOFT.CONTAINERSERVICE/MANAGEDCLUSTERS/TEST-CLUSTER", "TEST-CLUSTER"),
        ("/subscriptions/0/resourceGroups/g/providers/Microsoft.ContainerService/managedClusters/test", "test"),
        ("/subscriptions/0/resourceGroups/g", None),
        ("", None),
    ],
)
def test_the_cluster_is_in_the_resource_id(resource: str, cluster: str | None) -> None:
    (found,) = recognise(compact(RECORD | {"resourceId": resource}))
    assert found.cluster == cluster


def test_a_body_that_was_too_big_is_the_text_that_azure_put_there() -> None:
    event = the_event(compact(azure_record(line(an_event(responseObject="skipped-too-big-size-object")))))
    assert fields(event)["responseObject"] == "skipped-too-big-size-object"


def test_a_log_that_is_no_utf8_does_not_take_the_others_with_it() -> None:
    records = compact({"records": [RECORD, azure_record(EVENT.replace(b"alice", b"al*ce"))]}).replace(b"al*ce", b"al\xffce")
    assert outcomes(records) == ["event", "INVALID_UTF8"]
