"""Rows are redacted as events are, and the self-test would tell if they were not."""

from __future__ import annotations

from typing import Any

import pytest

from transforms.audit import self_test as module
from transforms.audit.redaction import Redactor
from transforms.audit.rows import redact_rows
from transforms.audit.self_test import self_test


def test_the_self_test_sends_rows():
    rows = module._surviving_rows
    assert rows(Redactor(), module._paths()) == []
    assert rows(Redactor(), {}) == ["rows (there are none)"]


@pytest.mark.parametrize(
    ("weak", "told"),
    [
        ("leaves_uri", {"access token", "exec argument", "label selector", "proxied path", "unknown path", "secret by uri only"}),
        ("leaves_caller", {"user agent", "user extra"}),
        ("leaves_reference", {"secret by reference only"}),
        ("leaves_status", {"quoted value", "unrecognised body in hex", "impersonation message"}),
        ("leaves_annotations", {"webhook patch"}),
        ("redact_bodies", {"secret in JSON", "pod variables and arguments", "private key", "last-applied"}),
    ],
)
def test_a_redactor_that_is_weak_in_one_part_of_rows_fails_the_self_test(weak: str, told: set[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Redactor, weak, lambda *_: True)
    assert told <= set(self_test(Redactor()))


def test_rows_that_are_not_redacted_fail_the_self_test(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "redact_rows", lambda rows, *_, **__: (rows, []))
    assert len(self_test(Redactor())) > 30


def test_a_part_that_cannot_be_judged_withholds_its_events(monkeypatch: pytest.MonkeyPatch):
    def broken(*_: Any) -> bool:
        raise RuntimeError("broken")

    monkeypatch.setattr(Redactor, "leaves_status", broken)
    kept: list[int] = []

    def noted(*arguments: Any, **more: Any) -> Any:
        rows, fallen = redact_rows.redact_rows(*arguments, **more)
        kept.append(len(rows))
        return rows, fallen

    monkeypatch.setattr(module, "redact_rows", noted)
    assert self_test(Redactor()) == []
    assert kept == [0]
