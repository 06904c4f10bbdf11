"""What takes long to compile is kept for the next process, and made anew where it cannot be used."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from transforms.audit import body_scan
from transforms.audit.rows import kernels
from transforms.audit.scanner import Scanner

if TYPE_CHECKING:
    from pathlib import Path

TEXTS = (b'{"password":"x1"}', b'{"a":"b"}', b'{"env":[{"name":"A","value":"b"}]}', b"AKIA" + b"A" * 16, b'{"token":"eyJhbGciOi"}')


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(kernels, "_folders", lambda: iter([tmp_path]))
    return tmp_path


def a_scanner() -> Scanner:
    known = body_scan.scan_body
    return Scanner(known._patterns, every=known._every)


def test_a_kept_database_finds_what_a_compiled_one_does(folder: Path, monkeypatch: pytest.MonkeyPatch):
    found = [sorted(a_scanner()(text)) for text in TEXTS]
    assert any(found)
    assert [path.name.partition("-")[0] for path in folder.iterdir()] == ["scan"]

    def compiled(_: Scanner) -> None:
        raise AssertionError("it was kept")

    monkeypatch.setattr(Scanner, "_compiled", compiled)
    assert [sorted(a_scanner()(text)) for text in TEXTS] == found


def test_other_patterns_have_another_name(folder: Path):
    a_scanner()(b"x")
    known = body_scan.scan_body
    Scanner(known._patterns[1:], every=known._every)(b"x")
    assert len(list(folder.iterdir())) == 2


def test_a_kept_database_that_is_none_is_made_anew(folder: Path):
    found = [sorted(a_scanner()(text)) for text in TEXTS]
    (path,) = folder.iterdir()
    kernels._write(path, {"": ("", b"no database")})
    assert [sorted(a_scanner()(text)) for text in TEXTS] == found
    path.write_bytes(path.read_bytes()[:-1])
    assert [sorted(a_scanner()(text)) for text in TEXTS] == found
