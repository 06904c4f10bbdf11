"""Files that want to hurt: enormous lines, bombs, and files that change, shrink or vanish while they are read."""

from __future__ import annotations

import gzip
import os
import tracemalloc
from typing import TYPE_CHECKING

import pytest
import zstandard

from pipelines.plan import Input, expand, plan
from tests.examples import an_event, line
from transforms.audit.block import LINE_LIMIT, RawBlock, Split
from transforms.audit.parse_events import parse_events
from transforms.connectors.audit_files import read_blocks

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

KEY = b"k" * 32
EVENT = line(an_event())
ENORMOUS = 300 << 20
_MIB = 1 << 20


def outcomes(path: Path, block_size: int = _MIB) -> list[str]:
    """What each event of the file is, by planning, reading and parsing it."""
    out: list[str] = []
    for split in plan([(str(path), None)]).splits:
        for block in read_blocks(split, KEY, block_size):
            parsed = parse_events(block, KEY)
            found = [(event.offset, event.item, "event") for event in parsed.events]
            found += [(letter.offset, letter.item, letter.code) for letter in parsed.dead_letters]
            out += [what for *_, what in sorted(found)]
    return out


def peak(function: Callable[[], object]) -> int:
    """Bytes of Python's memory that the function held at most."""
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("opening", [b'{"a":"', b"[", b"2026-01-02T03:04:05Z stdout P {"])
def test_a_line_of_300_megabytes_is_one_dead_letter_in_bounded_memory(tmp_path: Path, opening: bytes):
    path = tmp_path / "audit.log"
    with path.open("wb") as file:
        file.write(EVENT + opening)
        file.truncate(len(EVENT) + ENORMOUS)  # of NULs, which take no room on the disk
    with path.open("ab") as file:
        file.write(b"\n" + EVENT)
    found: list[str] = []
    assert peak(lambda: found.extend(outcomes(path))) < 4 * LINE_LIMIT
    assert found == ["event", "LINE_TOO_LONG", "event"]


def test_one_line_of_300_megabytes_and_nothing_else_is_one_dead_letter(tmp_path: Path):
    path = tmp_path / "audit.log"
    with path.open("wb") as file:
        file.write(b'{"kind":"Event","requestObject":"')
        file.truncate(ENORMOUS)
    found: list[str] = []
    assert peak(lambda: found.extend(outcomes(path))) < 4 * LINE_LIMIT
    assert found == ["BROKEN_DOCUMENT"]


def packed_gzip(head: bytes, piece: bytes, times: int) -> bytes:
    return gzip.compress(head) + gzip.compress(piece * 16) * (times // 16)


def packed_zstd(head: bytes, piece: bytes, times: int) -> bytes:
    compressor = zstandard.ZstdCompressor().compressobj()
    return b"".join([compressor.compress(head), *(compressor.compress(piece) for _ in range(times)), compressor.flush()])


@pytest.mark.parametrize("pack", [packed_gzip, packed_zstd])
@pytest.mark.parametrize(
    ("head", "filler", "expected"),
    [
        (EVENT, b"\0", ["event", "LINE_TOO_LONG"]),
        (b'{"kind":"EventList","items":[' + EVENT.strip(), b" ", ["event", "BROKEN_DOCUMENT"]),
        (b'{"kind":"EventList","items":[' + EVENT.strip() + b',{"a":"', b"x", ["event", "ITEM_TOO_LONG"]),
    ],
)
def test_a_bomb_is_read_in_bounded_memory(tmp_path: Path, pack: Callable[..., bytes], head: bytes, filler: bytes, expected: list[str]):
    path = tmp_path / "audit.log"
    path.write_bytes(pack(head, filler * _MIB, 128))
    assert path.stat().st_size < 2 * _MIB
    found: list[str] = []
    assert peak(lambda: found.extend(outcomes(path))) < 8 * LINE_LIMIT
    assert found == expected


def read(split: Split, change: Callable[[], object]) -> list[RawBlock]:
    """The blocks of a split of a file that changes once the first block is read."""
    blocks = read_blocks(split, KEY, 2 * _MIB)
    out = [next(blocks)]
    change()
    return out + list(blocks)


@pytest.fixture
def long(tmp_path: Path) -> Path:
    path = tmp_path / "audit.log"
    path.write_bytes(EVENT * (6 * _MIB // len(EVENT)))
    return path


def append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


def test_what_a_log_grows_by_while_it_is_read_is_left_for_the_next_run(long: Path):
    size = long.stat().st_size
    (split,) = plan([(str(long), None)]).splits
    found = read(split, lambda: append(long, EVENT[:-40]))
    assert b"".join(block.data for block in found) == EVENT * (size // len(EVENT))
    assert max(block.account.end for block in found) == size


def test_a_log_that_is_cut_while_it_is_read_ends_there(long: Path):
    kept = long.stat().st_size // len(EVENT) // 2 * len(EVENT)
    (split,) = plan([(str(long), None)]).splits
    found = read(split, lambda: os.truncate(long, kept))
    text = b"".join(block.data for block in found)
    assert text.startswith(EVENT * (kept // len(EVENT)))
    assert sum(block.account.size for block in found) == len(text)


def test_a_log_that_is_removed_while_it_is_read_is_read_to_its_end(long: Path):
    (split,) = plan([(str(long), None)]).splits
    size = long.stat().st_size
    assert sum(len(block.data) for block in read(split, long.unlink)) == size


def test_a_log_that_vanishes_before_it_is_read_fails(long: Path):
    (split,) = plan([(str(long), None)]).splits
    long.unlink()
    with pytest.raises(FileNotFoundError):
        list(read_blocks(split, KEY))


def test_what_is_no_file_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    secret = tmp_path / "unreadable"
    secret.write_bytes(EVENT)
    secret.chmod(0)
    link = tmp_path / "nowhere"
    link.symlink_to(tmp_path / "missing")
    real = type(secret).open

    def as_somebody_else(path: Path, *arguments: object, **named: object) -> object:
        if path == secret:  # the tests may run as root, who may read everything
            raise PermissionError(13, "Permission denied")
        return real(path, *arguments, **named)

    monkeypatch.setattr(type(secret), "open", as_somebody_else)
    wanted = [secret, link, "/dev/null", "/dev/zero"]
    _, problems = expand([Input(str(path)) for path in wanted], None, allow_empty=False)
    assert [problem.removeprefix(f"--input {path}: ") for path, problem in zip(wanted, problems, strict=True)] == [
        "cannot be read (Permission denied)",
        "no such file or directory",
        *["not a regular file; give a file, a directory or a glob"] * 2,
    ]
