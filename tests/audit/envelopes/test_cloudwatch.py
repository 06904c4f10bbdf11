"""EKS through CloudWatch Logs."""

from __future__ import annotations

import pytest

from tests.audit.envelopes.outcomes import outcomes
from tests.audit.envelopes.wraps import cloudwatch, cloudwatch_document, compact, firehose, lambda_event, packed
from tests.examples import an_event, line
from transforms.audit.recognise import recognise

EVENT = line(an_event()).strip()
TEXT = EVENT.decode()


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (cloudwatch_document(TEXT, TEXT), ["event", "event"]),
        (cloudwatch_document(), []),
        (cloudwatch_document(TEXT, TEXT[:500] + "[Truncated...]", TEXT), ["event", "TRUNCATED", "event"]),
        (cloudwatch_document("I0102 03:04:05.678901 10 server.go:123] started"), ["NOT_AUDIT"]),
        (cloudwatch_document(TEXT) | {"messageType": "CONTROL_MESSAGE"}, ["NOT_AUDIT"]),
        (
            cloudwatch_document(TEXT) | {"logEvents": [{"id": "1"}, {"message": TEXT}, {"message": an_event()}, 7]},
            ["NOT_AUDIT", "event", "event", "NOT_AUDIT"],
        ),
        ({"events": [{"logStreamName": "kube-apiserver-audit-1", "timestamp": 1, "message": TEXT}], "searchedLogStreams": []}, ["event"]),
        ({"messageType": "DATA_MESSAGE"}, ["NOT_AUDIT"]),
        ({"awslogs": {"data": packed(EVENT)}}, ["event"]),
        ({"awslogs": {"data": "H4sIAAAAAAAA!"}}, ["BROKEN_ENCODING"]),
        ({"awslogs": {"data": packed(EVENT)[:400]}}, ["BROKEN_ENCODING"]),
        ({"awslogs": {"data": 7}}, ["NOT_AUDIT"]),
        ({"awslogs": 7}, ["NOT_AUDIT"]),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_a_document_gives_its_messages(document: object, expected: list[str]) -> None:
    assert outcomes(compact(document)) == expected


@pytest.mark.parametrize(
    ("group", "cluster"),
    [("/aws/eks/prod/cluster", "prod"), ("/aws/eks/a/b/cluster", None), ("/aws/lambda/f", None), ("/aws/eks//cluster", None)],
)
def test_the_cluster_is_in_the_log_group(group: str, cluster: str | None) -> None:
    (found,) = recognise(compact(cloudwatch_document(TEXT, group=group)))
    assert found.cluster == cluster


def test_documents_that_firehose_wrote_without_delimiters_are_read_each() -> None:
    assert outcomes(firehose([EVENT] * 3)) == ["event"] * 3
    assert [found.cluster for found in recognise(firehose([EVENT] * 2))] == ["prod"] * 2


def test_a_document_that_breaks_off_gives_the_messages_before_the_break() -> None:
    document = cloudwatch([EVENT, EVENT, EVENT])
    cut = document[: document.rindex(b'{"id"') + 200]
    assert outcomes(cut) == ["event", "event", "BROKEN_DOCUMENT"]
    assert outcomes(firehose([EVENT]) + cut) == ["event"] * 3 + ["BROKEN_DOCUMENT"]


def test_a_bomb_in_a_subscription_is_refused() -> None:
    bomb = lambda_event([b'{"a":"' + b"x" * (70 << 20) + b'"}'])
    assert len(bomb) < 200_000
    assert outcomes(bomb) == ["BROKEN_ENCODING"]


def test_a_message_that_is_no_utf8_does_not_take_the_others_with_it() -> None:
    document = cloudwatch([EVENT, EVENT.replace(b"alice", b"al*ce"), EVENT]).replace(b"al*ce", b"al\xffce")
    assert outcomes(document) == ["event", "INVALID_UTF8", "event"]
    assert [found.cluster for found in recognise(document)][::2] == ["prod", "prod"]
