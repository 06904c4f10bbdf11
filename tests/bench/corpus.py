"""What the bench reads: plain files in one directory, unpacked or made before any clock starts."""

from __future__ import annotations

import re
import shutil
from datetime import datetime, timedelta
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

import zstandard

if TYPE_CHECKING:
    from collections.abc import Iterator

SAMPLE: Final = Path(__file__).parent.parent.parent / "pipelines" / "sample" / "audit.log.zst"
SAMPLE_BYTES: Final = 200_000_000
_WINDOW: Final = 1 << 31
_CHUNK: Final = 4 << 20
_AUDIT_ID: Final = re.compile(rb'("auditID":")([0-9a-f]{8})')
_TIME: Final = re.compile(rb'("(?:requestReceivedTimestamp|stageTimestamp)":")(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)')


def unpacked(source: Path, target: Path) -> Path:
    """The file as plain bytes: itself, or a copy below `target` if it is compressed."""
    if source.suffix != ".zst":
        return source
    plain = target / source.name.removesuffix(".zst")
    with source.open("rb") as packed, plain.open("wb") as out:
        zstandard.ZstdDecompressor(max_window_size=_WINDOW).copy_stream(packed, out, read_size=_CHUNK, write_size=_CHUNK)
    return plain


def plain_files(directory: Path, target: Path) -> list[Path]:
    """All logs of a directory, unpacked where need be; sorted by name."""
    found = [path for path in sorted(directory.rglob("*")) if path.is_file() and not path.name.startswith((".", "_", "README"))]
    return [unpacked(path, target) for path in found]


def whole_lines(file: IO[bytes]) -> Iterator[bytes]:
    """The file in pieces that end where lines end."""
    while chunk := file.read(_CHUNK):
        yield chunk + (b"" if chunk.endswith(b"\n") else file.readline())


def repeated(sources: list[Path], target: Path, size: int) -> Path:
    """One log of about `size` bytes: the sources again and again, each time with fresh audit IDs and hours earlier (later would be odd)."""
    days = _days(sources)
    written = copy = 0
    with target.open("wb") as out:
        while written < size:
            for source in sources:
                with source.open("rb") as file:
                    for piece in whole_lines(file):
                        again = _again(piece, copy, days) if copy else piece
                        again = again[: again.rfind(b"\n", 0, size - written) + 1] if len(again) > size - written else again
                        out.write(again)
                        written += len(again)
                        if not again or written >= size:
                            return target
            copy += 1
    return target


def _days(sources: list[Path]) -> timedelta:
    # Copies must not share a window: the whole corpus moves by more than it is long, in whole hours.
    times = []
    for source in sources:
        with source.open("rb") as file:
            head = file.read(1 << 20)
            file.seek(max(0, source.stat().st_size - (1 << 22)))
            times += [datetime.fromisoformat(found[1].decode()) for found in _TIME.findall(head + file.read())]
    span = max(times) - min(times) if times else timedelta()
    return timedelta(hours=span // timedelta(hours=1) + 1)


def _again(piece: bytes, copy: int, step: timedelta) -> bytes:
    moved: dict[bytes, bytes] = {}

    def earlier(found: re.Match[bytes]) -> bytes:
        second = moved.get(found[2])
        if second is None:
            second = moved[found[2]] = (datetime.fromisoformat(found[2].decode()) - copy * step).isoformat().encode()
        return found[1] + second

    fresh = _AUDIT_ID.sub(lambda found: found[1] + b"%08x" % (int(found[2], 16) ^ copy * 0x9E3779B1 & 0xFFFFFFFF), piece)
    return _TIME.sub(earlier, fresh)


def corpus(directory: Path | None, work: Path, repeat_to: int | None) -> list[Path]:
    """The files to measure with, below `work` or where they are; shares its directory with nothing else."""
    staging = work / "unpacked"
    staging.mkdir()
    sources = plain_files(directory, staging) if directory else [unpacked(SAMPLE, staging)]
    if directory is None or repeat_to:
        one = repeated(sources, work / "repeated.ndjson", repeat_to or SAMPLE_BYTES)
        shutil.rmtree(staging)
        return [one]
    return sources
