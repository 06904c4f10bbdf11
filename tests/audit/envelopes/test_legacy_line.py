"""The legacy format of the audit log."""

from __future__ import annotations

import pytest

from tests.audit.envelopes.outcomes import fields, outcomes, the_event

# After kubernetes/apiserver plugin/pkg/audit/log/backend_test.go, TestLogEventsLegacy.
LINE = (
    r'2026-01-02T03:04:05.678901234Z AUDIT: id="b5a1" stage="ResponseComplete" ip="127.0.0.1" method="get" user="admin" '
    r'groups="\"system:masters\",\"system:authenticated\"" as="<self>" asgroups="<lookup>" user-agent="kubectl" '
    r'namespace="default" uri="/api/v1/namespaces/default/secrets/x?a=b" response="200"'
)


def changed(old: str, new: str) -> bytes:
    assert old in LINE
    return LINE.replace(old, new).encode()


def test_a_line_gives_all_that_it_says() -> None:
    event = the_event(LINE.encode())
    assert fields(event) == {
        "level": "Metadata",
        "auditID": "b5a1",
        "stage": "ResponseComplete",
        "requestURI": "/api/v1/namespaces/default/secrets/x?a=b",
        "verb": "get",
        "user": {"username": "admin", "groups": ["system:masters", "system:authenticated"]},
        "sourceIPs": ["127.0.0.1"],
        "userAgent": "kubectl",
        "objectRef": {"resource": "secrets", "namespace": "default", "name": "x", "apiVersion": "v1"},
        "responseStatus": {"metadata": {}, "code": 200},
        "requestReceivedTimestamp": "2026-01-02T03:04:05.678901Z",
        "stageTimestamp": "2026-01-02T03:04:05.678901Z",
    }
    assert event.flags == ["BODIES_UNKNOWN", "LEVEL_INFERRED", "STAGE_TIME_INFERRED"]


@pytest.mark.parametrize(
    ("old", "new", "field", "value"),
    [
        ('ip="127.0.0.1"', 'ip="<unknown>"', "sourceIPs", None),
        ('user="admin"', 'user="<none>"', "user", {"groups": ["system:masters", "system:authenticated"]}),
        (r'groups="\"system:masters\",\"system:authenticated\""', 'groups="<none>"', "user", {"username": "admin"}),
        ('as="<self>"', 'as="bob"', "impersonatedUser", {"username": "bob"}),
        ('response="200"', 'response="<deferred>"', "responseStatus", None),
        ("/api/v1/namespaces/default/secrets/x?a=b", "/healthz", "objectRef", None),
        ('user-agent="kubectl"', r'user-agent="a\"b\\c\t\u00e9\x00"', "userAgent", 'a"b\\c\té\x00'),
        ('user-agent="kubectl"', r'user-agent="\xc3\xa9\xff"', "userAgent", "é�"),
        ('user-agent="kubectl"', r'user-agent="\U0001f600"', "userAgent", "\U0001f600"),
        ("05.678901234Z", "05Z", "stageTimestamp", "2026-01-02T03:04:05.000000Z"),
        ("03:04:05.678901234Z", "05:04:05.5+02:00", "stageTimestamp", "2026-01-02T03:04:05.500000Z"),
        ("2026-01-02T03:04:05.678901234Z", "yesterday", "stageTimestamp", "yesterday"),
    ],
)
def test_a_part_that_differs_shows_in_its_field(old: str, new: str, field: str, value: object) -> None:
    assert fields(the_event(changed(old, new))).get(field) == value


@pytest.mark.parametrize("length", range(60, len(LINE), 37))
def test_a_line_that_breaks_off_is_one_dead_letter(length: int) -> None:
    assert outcomes(LINE[:length].encode()) == ["TRUNCATED"] or LINE[length] == " "


def test_values_in_the_groups_cannot_forge_other_fields() -> None:
    forged = changed("system:masters", r"x\\\", user=\\\"root")
    assert fields(the_event(forged))["user"]["username"] == "admin"
