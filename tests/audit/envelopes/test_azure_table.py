"""Rows of the tables AKSAudit and AKSAuditAdmin."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.audit.envelopes.outcomes import outcomes, the_event
from tests.audit.envelopes.wraps import compact
from tests.examples import an_event, line
from transforms.audit.envelopes.azure_table import _DYNAMIC, _NAMES
from transforms.audit.recognise import recognise

EVENT = an_event()
ROW: dict[str, Any] = {column: EVENT[name] for column, name in _NAMES.items() if name in EVENT}
ROW |= {
    "TimeGenerated": "2026-11-23T05:19:25Z",
    "PodName": "kube-apiserver-1",
    "Type": "AKSAudit",
    "_ResourceId": "/x/managedclusters/blue",
}


def plain() -> Any:
    return the_event(line({name: value for name, value in EVENT.items() if name not in {"kind", "apiVersion"}}))


@pytest.mark.parametrize("as_text", [False, True])
def test_a_row_is_the_event_under_other_names(as_text: bool) -> None:
    row = {name: json.dumps(value, separators=(",", ":")) if as_text and name in _DYNAMIC else value for name, value in ROW.items()}
    (found,) = recognise(compact(row))
    assert (found.event, found.cluster) == (plain(), "blue")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"RequestObject": None, "UserAgent": ""}, ["event"]),
        ({"User": '{"username":'}, ["TRUNCATED"]),
        ({"StageReceivedTime": 7}, ["event"]),
    ],
)
def test_odd_columns(change: dict[str, Any], expected: list[str]) -> None:
    assert outcomes(compact(ROW | change)) == expected


def test_another_row_with_an_audit_id_is_not_audit() -> None:
    assert outcomes(b'{"AuditId":"1","Name":"x"}') == ["NOT_AUDIT"]
