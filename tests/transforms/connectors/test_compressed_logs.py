"""Compressed logs: by content, of many parts, and those that break off."""

from __future__ import annotations

import gzip
import random
from typing import TYPE_CHECKING

import pytest
import zstandard

from transforms.audit.block import RawBlock, Split
from transforms.connectors.audit_files import ZSTD_FEED, read_blocks

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

KEY = b"k" * 32
_random = random.Random(7)
# 700 kB that do not compress away, in lines.
TEXT = b"".join(b'{"noise":"%s"}\n' % _random.randbytes(500).hex().encode() for _ in range(700))


def zstd(data: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(data)


def skippable(size: int) -> bytes:
    return b"\x50\x2a\x4d\x18" + size.to_bytes(4, "little") + bytes(size)


def blocks(path: Path, stored: bytes) -> list[RawBlock]:
    path.write_bytes(stored)
    return list(read_blocks(Split(0, str(path), str(path)), KEY, 100_000))


def text_of(found: list[RawBlock]) -> bytes:
    return b"".join(block.data for block in found)


def codes(found: list[RawBlock]) -> list[str | None]:
    return [code for block in found for _, _, _, code in block.items or ()]


@pytest.mark.parametrize(
    "stored",
    [
        pytest.param(TEXT, id="plain"),
        pytest.param(gzip.compress(TEXT), id="gzip"),
        pytest.param(gzip.compress(TEXT[:1000]) + gzip.compress(TEXT[1000:]), id="gzip of two members"),
        pytest.param(zstd(TEXT), id="zstandard"),
        pytest.param(zstd(TEXT[:1000]) + zstd(b"") + zstd(TEXT[1000:]), id="zstandard of three frames"),
        pytest.param(b"".join(zstd(TEXT[at : at + 5000]) for at in range(0, len(TEXT), 5000)), id="zstandard of many frames"),
        pytest.param(skippable(0) + zstd(TEXT) + skippable(3 * ZSTD_FEED), id="zstandard with skippable frames"),
    ],
)
def test_a_stream_is_read_whole_whatever_it_is_packed_in(tmp_path: Path, stored: bytes):
    found = blocks(tmp_path / "log", stored)
    assert text_of(found) == TEXT
    assert codes(found) == []


@pytest.mark.parametrize("pack", [gzip.compress, zstd], ids=["gzip", "zstandard"])
@pytest.mark.parametrize("left", [0.1, 0.5, 0.999])
def test_all_that_stands_before_a_break_is_read_and_the_break_counts_once(tmp_path: Path, pack: Callable[[bytes], bytes], left: float):
    packed = pack(TEXT)
    found = blocks(tmp_path / "log", packed[: int(len(packed) * left)])
    read = text_of(found)
    assert TEXT.startswith(read)
    assert len(read) > left * len(TEXT) - 200_000
    assert codes(found) == ["BROKEN_STREAM"]
    assert found[-1].last


@pytest.mark.parametrize("pack", [gzip.compress, zstd], ids=["gzip", "zstandard"])
def test_a_stream_that_goes_wrong_is_read_up_to_there(tmp_path: Path, pack: Callable[[bytes], bytes]):
    found = blocks(tmp_path / "log", pack(TEXT) + b"no member and no frame")
    assert text_of(found) == TEXT
    assert codes(found) == ["BROKEN_STREAM"]


def test_a_split_of_a_compressed_log_begins_and_ends_where_it_says(tmp_path: Path):
    path = tmp_path / "log"
    path.write_bytes(zstd(TEXT))
    start, end = TEXT.index(b"\n", 200_000) + 1, TEXT.index(b"\n", 500_000) + 1
    assert text_of(list(read_blocks(Split(0, "log", str(path), start, end), KEY, 100_000))) == TEXT[start:end]
