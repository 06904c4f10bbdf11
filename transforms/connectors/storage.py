"""Files on the local disk or any Beam filesystem; Beam is imported only for the latter."""

from __future__ import annotations

import os
import re
import shutil
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_SCHEME = re.compile(r"([a-z][a-z0-9+.-]+)://").match
# What Beam's filesystem of a scheme needs, and what brings it; asked itself, it says so late, and in words of its own.
CLIENTS: Final = {
    "gs": ("google.cloud.storage", "the extra 'gcp'", "kube-audit-reducer[gcp]"),
    "s3": ("boto3", "the extra 'aws'", "kube-audit-reducer[aws]"),
    "azfs": ("azure.storage.blob", "the extra 'azure'", "kube-audit-reducer[azure]"),
    "hdfs": ("hdfs", "Beam's client", "apache-beam[hadoop]"),
}


class MissingExtraError(Exception):
    """The path's filesystem needs packages that are not installed."""


def scheme(path: str) -> str | None:
    """The path's scheme (`gs`, `s3`…); None for a local path."""
    found = _SCHEME(path)
    return found.group(1) if found else None


def filesystem(path: str) -> Any:
    """Beam's filesystem for a path with a scheme. Raises MissingExtraError where a package is missing."""
    kind = scheme(path) or ""
    client, what, package = CLIENTS.get(kind, ("", "", ""))
    if client and not _is_installed(client):
        raise MissingExtraError(f"{path}: needs {what}: pip install '{package}'")
    from apache_beam.io.filesystems import FileSystems  # noqa: PLC0415 - a second of CPU that local paths do not owe

    try:
        return FileSystems.get_filesystem(path)
    except (ValueError, ImportError):
        raise MissingExtraError(f"{path}: no filesystem knows the scheme {kind}://") from None


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # nor is what it would be in
        return False


@contextmanager
def opened(path: str) -> Iterator[IO[bytes]]:
    """The file's bytes as they are stored, seekable."""
    if scheme(path) is None:
        with Path(path).open("rb") as file:
            yield file
        return
    from apache_beam.io.filesystem import CompressionTypes  # noqa: PLC0415 - as above

    file = filesystem(path).open(path, compression_type=CompressionTypes.UNCOMPRESSED)
    try:
        yield file
    finally:
        file.close()


def join(base: str, *parts: str) -> str:
    """A path below `base`."""
    return "/".join((base.rstrip("/"), *parts))


def write(path: str, pieces: Iterable[bytes], *, durable: bool = True) -> None:
    """Write a new file; on a local disk it is durable when this returns, unless that is not asked for, mode 0600."""
    if scheme(path) is None:
        local = Path(path)
        make_directories(local.parent)
        descriptor = os.open(local, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            for piece in pieces:
                file.write(piece)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        return
    from apache_beam.io.filesystem import CompressionTypes  # noqa: PLC0415 - as above

    with filesystem(path).create(path, compression_type=CompressionTypes.UNCOMPRESSED) as file:
        for piece in pieces:
            file.write(piece)


def unwritable(path: str) -> str | None:
    """Why a local file or directory cannot be written, or made where it does not exist; None of a path that is not local."""
    if scheme(path) is not None:
        return None
    there = path = os.path.abspath(path)  # noqa: PTH100 - pathlib raises where a directory above may not be searched
    while not os.path.lexists(there):
        there = os.path.dirname(there)  # noqa: PTH120 - as above
    if there != path and not os.path.isdir(there):  # noqa: PTH112 - as above
        return "Not a directory"
    return None if os.access(there, os.W_OK) else "Permission denied"


def make_directories(path: Path) -> None:
    """Directories with mode 0700, as far as they are missing."""
    missing = [path, *path.parents]
    for directory in reversed([one for one in missing if not one.exists()]):
        directory.mkdir(mode=0o700, exist_ok=True)


def read(path: str) -> bytes:
    """The whole file. Raises OSError where there is none."""
    with opened(path) as file:
        return file.read()


def read_part(path: str, offset: int, size: int) -> bytes:
    """`size` bytes of the file from `offset` on. Raises OSError where it is not there, or shorter."""
    with opened(path) as file:
        file.seek(offset)
        data = file.read(size)
    if len(data) != size:
        raise OSError(f"{path}: ends before {offset + size}")
    return data


def exists(path: str) -> bool:
    """Whether there is a file or directory at the path."""
    return Path(path).exists() if scheme(path) is None else filesystem(path).exists(path)


def files_below(directory: str) -> list[tuple[str, int]]:
    """(path, size) of all files below a directory or prefix, sorted by path; none where it does not exist."""
    if scheme(directory) is None:
        root = Path(directory)
        return sorted((str(path), path.stat().st_size) for path in root.rglob("*") if path.is_file())
    prefix = join(directory, "")
    found = filesystem(directory).match([prefix + "**"])
    return sorted((metadata.path, metadata.size_in_bytes) for match in found for metadata in match.metadata_list)


def rename(source: str, target: str) -> None:
    """Move a file; atomic on a local disk, a copy and a delete on object stores."""
    if scheme(source) is None:
        make_directories(Path(target).parent)
        Path(source).rename(target)
    else:
        filesystem(source).rename([source], [target])


def delete_below(directory: str) -> None:
    """Delete a directory or prefix with all that is in it."""
    if scheme(directory) is None:
        shutil.rmtree(directory, ignore_errors=True)
        return
    paths = [path for path, _ in files_below(directory)]
    if paths:
        filesystem(directory).delete(paths)


def delete_file(path: str) -> None:
    """Delete a file, if it is there."""
    if scheme(path) is None:
        Path(path).unlink(missing_ok=True)
    else:
        filesystem(path).delete([path])


def sync_directory(path: str) -> None:
    """Make the names in a local directory durable; object stores need none of it."""
    if scheme(path) is None:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
