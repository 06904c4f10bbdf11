"""Blocks in transit: what goes through a shuffle says only where they lie, on a local disk and elsewhere."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from apache_beam.io.localfilesystem import LocalFileSystem

from transforms.audit import avro
from transforms.audit.avro_blocks import AvroBlock
from transforms.connectors.spill import FILE_BYTES, SMALL, SPILL, Spill, fetch, fetch_data

if TYPE_CHECKING:
    from collections.abc import Iterator

BLOCKS = [AvroBlock("events", 0, ("pods", 0, 0, number), 1, 10, b"packed %d" % number + bytes(255)) for number in range(3)]


class Objects(LocalFileSystem):
    """An object store: a file system that Beam knows by the scheme of its paths."""

    @classmethod
    def scheme(cls) -> str:
        return "objects"

    def create(self, path: str, mime_type: Any = None, compression_type: Any = None) -> Any:
        local = Path(path.removeprefix("objects:/"))
        local.parent.mkdir(parents=True, exist_ok=True)
        return local.open("wb")

    def open(self, path: str, mime_type: Any = None, compression_type: Any = None) -> Any:
        return Path(path.removeprefix("objects:/")).open("rb")


@pytest.fixture(params=["local", "objects"])
def aside(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    return str(tmp_path) if request.param == "local" else f"objects:/{tmp_path}"


def test_a_spilled_block_holds_no_bytes_and_is_fetched_whole(aside: str, tmp_path: Path):
    spill = Spill(aside)
    spilled = [spill.block(block) for block in BLOCKS]
    spill.close()
    assert [block.packed for block in spilled] == [b"", b"", b""]
    assert [(block.order, block.count, block.size) for block in spilled] == [(block.order, 1, 10) for block in BLOCKS]
    assert [fetch(block) for block in reversed(spilled)] == [block.packed for block in reversed(BLOCKS)]
    (file,) = (tmp_path / SPILL).iterdir()
    assert file.read_bytes() == b"".join(block.packed for block in BLOCKS)


def test_spilled_data_is_a_reference_and_is_fetched_whole(aside: str):
    spill = Spill(aside)
    datas = [avro.compress(bytes([number]) * 9 + os.urandom(500)) for number in range(3)]
    spilled = [spill.data(data) for data in datas]
    spill.close()
    assert all(len(reference) < SMALL and reference not in datas for reference in spilled)
    assert [fetch_data(reference) for reference in spilled] == datas


def test_what_is_spilled_stays_where_it_is_and_what_is_small_is_not_spilled(aside: str, tmp_path: Path):
    first, second = Spill(aside), Spill(aside)
    spilled = first.block(BLOCKS[0])
    first.close()
    small = avro.compress(b"x")
    assert second.block(spilled) is spilled
    assert (second.data(small), fetch_data(small)) == (small, small)
    second.close()
    assert len(list((tmp_path / SPILL).iterdir())) == 1


def test_without_a_place_nothing_is_spilled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    spill = Spill(None)
    assert spill.block(BLOCKS[0]) is BLOCKS[0]
    assert spill.data(BLOCKS[0].packed) is BLOCKS[0].packed
    spill.close()
    assert fetch(BLOCKS[0]) is BLOCKS[0].packed
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_written_when_it_is_large_and_what_comes_then_goes_to_another(aside: str, tmp_path: Path):
    spill = Spill(aside)
    large = [bytes([number]) * (FILE_BYTES // 2) for number in range(5)]
    spilled = [spill.data(data) for data in large]
    assert len(list((tmp_path / SPILL).iterdir())) == 2
    assert [fetch_data(reference) for reference in spilled[:4]] == large[:4]
    spill.close()
    assert fetch_data(spilled[4]) == large[4]
    assert len(list((tmp_path / SPILL).iterdir())) == 3


def test_nobody_else_may_read_what_is_spilled_on_a_local_disk(tmp_path: Path):
    spill = Spill(str(tmp_path / "aside"))
    spill.block(BLOCKS[0])
    spill.close()
    (file,) = (tmp_path / "aside" / SPILL).iterdir()
    assert [stat.S_IMODE(path.stat().st_mode) for path in (file, file.parent, file.parent.parent)] == [0o600, 0o700, 0o700]


def test_a_file_that_was_cut_is_not_taken_for_whole(aside: str, tmp_path: Path):
    spill = Spill(aside)
    spilled = spill.block(BLOCKS[0])
    spill.close()
    (file,) = (tmp_path / SPILL).iterdir()
    os.truncate(file, 5)
    with pytest.raises(OSError, match="ends before 263"):
        fetch(spilled)


def test_objects_are_read_once_whatever_is_asked_of_them(tmp_path: Path):
    spill = Spill(f"objects:/{tmp_path}")
    spilled = [spill.block(block) for block in BLOCKS]
    spill.close()
    assert fetch(spilled[0]) == BLOCKS[0].packed
    (file,) = (tmp_path / SPILL).iterdir()
    file.unlink()
    assert fetch(spilled[2]) == BLOCKS[2].packed
