"""Messages of Pub/Sub as JSON, pushed or printed by gcloud."""

from __future__ import annotations

import gzip
from base64 import b64encode
from typing import Any

import pytest

from tests.audit.envelopes.outcomes import outcomes
from tests.audit.envelopes.test_gke import entry
from tests.audit.envelopes.wraps import compact
from tests.examples import an_event, line
from transforms.audit.recognise import Found, recognise

EVENT = line(an_event()).strip()


def message(data: bytes = EVENT, attributes: dict[str, Any] | None = None, **around: Any) -> bytes:
    inside = {"attributes": attributes, "data": b64encode(data).decode(), "messageId": "1"}
    return compact({"message": {name: value for name, value in inside.items() if value is not None}, **around})


def found(record: bytes) -> Found:
    (one,) = recognise(record)
    return one


@pytest.mark.parametrize("around", [{"subscription": "projects/p/subscriptions/s"}, {"ackId": "a"}], ids=str)
@pytest.mark.parametrize("data", [EVENT, gzip.compress(EVENT)], ids=["plain", "gzip"])
def test_the_data_are_the_event(around: dict[str, str], data: bytes):
    assert outcomes(message(data, **around)) == outcomes(EVENT)


@pytest.mark.parametrize(
    ("attributes", "cluster"),
    [
        (None, None),
        ({}, None),
        ({"logging.googleapis.com/timestamp": "2026-01-02T03:04:05Z"}, None),
        ({"cluster": "green"}, "green"),
        ({"cluster_name": "blue", "cluster": "green"}, "blue"),
        ({"k8s.cluster.name": "red", "cluster_name": "blue"}, "red"),
        ({"k8s.cluster.name": "", "cluster_name": 5, "cluster": "green"}, "green"),
    ],
    ids=str,
)
def test_the_attributes_may_name_the_cluster(attributes: dict[str, Any] | None, cluster: str | None):
    one = found(message(attributes=attributes, subscription="s"))
    assert (one.code, one.cluster) == (None, cluster)


def test_a_log_entry_knows_its_cluster_better():
    assert found(message(entry(), {"cluster": "green"}, subscription="s")).cluster == "blue"


def test_what_only_looks_like_a_message_is_read_as_any_other_wrap():
    assert found(compact({"subscription": "s", "message": EVENT.decode()})).event is not None
    assert found(compact({"subscription": "s"})).code == "NOT_AUDIT"
