"""One output: its lock, its key, and the commit protocol that makes a run's files appear once or not at all.

A run writes aside, below `_state/aside-<run>/`. Its commit is one durable record, `_state/commit.json`: written after every
file is on disk, it lists them all; from then on the run has happened, and whoever comes next finishes its renames. A run
without a record has not happened, and its leftovers are removed. On object stores renames are copies and there is no
lock: both are best effort there.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

import msgspec

from pipelines.ledger import LedgerError, Range, Run, encode_run, key_id, read_ledger
from transforms.connectors import storage
from transforms.connectors.avro_files import OutputFile

if TYPE_CHECKING:
    from types import TracebackType

STATE: Final = "_state"
RECORD: Final = "commit.msgpack"
ASIDE: Final = "aside-"
KEY_BYTES: Final = 32


class OutputError(Exception):
    """The output cannot be used; the message says what to do."""


class CommitRecord(msgspec.Struct):
    """A run that has happened: what to move from `aside` to its place below the output."""

    aside: str
    files: list[str]


class Share(msgspec.Struct):
    """What one consumer contributes to a commit. `below` is its place below the output and below the run's `aside`, "" for all.

    `state` are paths of further files aside, to be moved with the rest: what the next runs of a followed input need. `index`
    is given the path of the run's ledger file and its head, and gives one more such file: its path and content.
    """

    files: Sequence[OutputFile]
    previous: str | None
    config: str
    ranges: Sequence[Range]
    below: str = ""
    state: Sequence[str] = ()
    index: Callable[[str, str], tuple[str, bytes]] | None = None


class Output:
    """A directory or prefix that holds events, reads, dead letters and their ledger. One writer at a time."""

    def __init__(self, path: str) -> None:
        self.path = path.rstrip("/") or "/"
        self._lock: int | None = None

    @property
    def state(self) -> str:
        """What no reader needs."""
        return storage.join(self.path, STATE)

    def acquire(self) -> None:
        """Become the one writer, and settle what a crash left. Raises OutputError where another is at work."""
        if storage.scheme(self.path) is None:
            try:
                storage.make_directories(Path(self.state))
                self._lock = os.open(storage.join(self.state, "lock"), os.O_RDWR | os.O_CREAT, 0o600)
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise OutputError(f"{self.path}: another run is writing to it; wait for it or choose another --output") from None
            except OSError as error:
                raise OutputError(f"{self.path}: cannot be written ({error.strerror})") from None
            self.recover()
            return
        try:
            self.recover()
        except OSError as error:  # Beam's filesystems tell of a missing bucket or right in this way
            raise OutputError(f"{self.path}: cannot be reached ({type(error).__name__}); check the name, credentials and rights") from None

    def below(self, name: str) -> Output:
        """The output of one consumer: complete in itself, but for key and lock, which are this one's."""
        own = Output(storage.join(self.path, name))
        if storage.scheme(own.path) is None:
            storage.make_directories(Path(own.state))
        own.recover()
        return own

    def release(self) -> None:
        """Let others write."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.release()

    def recover(self) -> None:
        """Finish a committed run; remove what an uncommitted one left."""
        record = storage.join(self.state, RECORD)
        if storage.exists(record):
            self._finish(msgspec.msgpack.decode(storage.read(record), type=CommitRecord))
        for name in {path[len(self.state) + 1 :].partition("/")[0] for path, _ in storage.files_below(self.state)}:
            if name.startswith(ASIDE):
                storage.delete_below(storage.join(self.state, name))
        if storage.scheme(self.path) is None:
            for left in Path(self.state).glob(ASIDE + "*"):
                storage.delete_below(str(left))
            for left in Path(self.state).glob("*.new"):
                left.unlink()

    def key(self, given: bytes | None) -> bytes:
        """The key: the one given, else the output's own, made at first. Raises OutputError where it is not the ledger's."""
        path = storage.join(self.state, "key")
        above = storage.join(self.path.rpartition("/")[0] or ".", STATE, "key")
        if given is None and not storage.exists(path) and storage.exists(above):
            return storage.read(above)  # a consumer's output
        if given is None:
            if not storage.exists(path):
                if storage.scheme(self.path) is not None:
                    raise OutputError(f"{self.path}: an object store needs a key of yours: --key_file or AUDIT_KEY")
                if any(any(Path(self.path).glob(ledgers)) for ledgers in ("ledger/*.avro", "*/ledger/*.avro")):
                    raise OutputError(f"{path}: not there, and the ledger was made with it; give that key with --key_file")
                storage.write(path + ".new", [secrets.token_bytes(KEY_BYTES)])
                storage.rename(path + ".new", path)
                storage.sync_directory(self.state)
            given = storage.read(path)
        return given

    def runs(self, key: bytes | None = None) -> list[Run]:
        """The runs committed so far. Raises OutputError where the ledger is damaged or another key's."""
        try:
            runs = read_ledger(self.path)
        except LedgerError as error:
            raise OutputError(f"{error}; run pipelines.verify") from None
        for run in runs:
            if key is not None and run.key_id != key_id(key):
                raise OutputError(f"{self.path}: the ledger was made with another key (id {run.key_id}); give that one with --key_file")
        return runs

    def aside(self, run: str) -> str:
        """Where a run writes, made anew."""
        path = storage.join(self.state, ASIDE + run)
        if storage.scheme(path) is None:
            storage.make_directories(Path(path))
        return path

    def commit(
        self, aside: str, files: Sequence[OutputFile], previous: str | None, config: str, key: bytes, ranges: Sequence[Range]
    ) -> str:
        """Make a run happen: its files appear at their places, its accounts in the ledger. Gives the ledger's new head."""
        return self.commit_shares(aside, [Share(files, previous, config, ranges)], key)[0]

    def commit_shares(self, aside: str, shares: Sequence[Share], key: bytes) -> list[str]:
        """Make a run of several consumers happen, for all of them at once. Gives the new heads of their ledgers."""
        paths: list[str] = []
        heads: list[str] = []
        for share in shares:
            name, pieces = encode_run(share.files, share.previous, share.config, key, share.ranges)
            ledger = f"ledger/{name}.avro"
            base = storage.join(aside, share.below) if share.below else aside
            storage.write(storage.join(base, ledger), pieces)
            heads.append(hashlib.sha256(b"".join(pieces)).hexdigest())
            own = [*[file.path for file in share.files], *share.state, ledger]
            if share.index is not None:
                path, data = share.index(ledger, heads[-1])
                storage.write(storage.join(base, path), [data])
                own.append(path)
            paths += [storage.join(share.below, path) if share.below else path for path in own]
        self._sync(aside, paths)
        made = CommitRecord(aside.rpartition("/")[2], paths)
        record = storage.join(self.state, RECORD)
        storage.write(record + ".new", [msgspec.msgpack.encode(made)])
        storage.rename(record + ".new", record)
        if storage.scheme(self.path) is None:
            storage.sync_directory(self.state)
        self._finish(made)
        return heads

    def _finish(self, record: CommitRecord) -> None:
        aside = storage.join(self.state, record.aside)
        for path in record.files:
            source, target = storage.join(aside, path), storage.join(self.path, path)
            if storage.exists(source):
                storage.rename(source, target)
            elif not storage.exists(target):
                raise OutputError(f"{target}: part of a committed run, and neither here nor in {aside}")
        self._sync(self.path, record.files)
        if storage.scheme(self.path) is None:
            Path(storage.join(self.state, RECORD)).unlink()
            storage.sync_directory(self.state)
        else:
            storage.filesystem(self.path).delete([storage.join(self.state, RECORD)])
        storage.delete_below(aside)

    def _sync(self, base: str, paths: Sequence[str]) -> None:
        if storage.scheme(base) is not None:
            return
        directories = {base}
        for path in paths:
            directories.update(storage.join(base, str(parent)) for parent in Path(path).parents if str(parent) != ".")
        for directory in sorted(directories):
            storage.sync_directory(directory)
