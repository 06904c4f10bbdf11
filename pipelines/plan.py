"""Plan a run: which files the inputs name, what of them the ledger holds already, and in which splits to read the rest."""

from __future__ import annotations

import hmac
import os
import stat
from glob import has_magic
from heapq import heappop, heappush
from itertools import pairwise
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

import msgspec

from pipelines.held_ranges import Ends, HeldRanges
from pipelines.ledger import BROKERS, counts_bytes
from transforms.audit.block import BLOCK_SIZE, LINE_LIMIT, Split
from transforms.connectors import storage
from transforms.connectors.audit_files import BROKEN, HEAD, compression, decompressed, in_one_piece, is_failure
from transforms.connectors.directories import files_below, is_skipped, is_unasked, matches

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from pipelines.ledger import Range, Run

SPLIT_SIZE: Final = 64 << 20
UNTERMINATED: Final = {"UNTERMINATED_LINE": 1}
BROKEN_STREAM: Final = "BROKEN_STREAM"
ENDS_ANYHOW: Final = (BROKEN_STREAM, "UNRECOGNISED_FILE")  # what is counted where a compressed stream breaks off


class Input(msgspec.Struct, frozen=True):
    """One `--input`: a path, directory or glob, and the cluster that its events belong to, if given."""

    pattern: str
    cluster: str | None = None


class Plan(msgspec.Struct):
    """What is to be read, and what is not to be read again."""

    splits: list[Split]
    files: int
    bytes: int  # as stored
    held: int  # bytes of the decompressed streams that the ledger holds
    compressed: bool = False


def parse_input(text: str, cluster: str | None) -> Input:
    """`PATH` or `cluster=NAME,PATH`. Raises ValueError."""
    if not text.startswith("cluster="):
        return Input(text, cluster)
    name, comma, pattern = text.removeprefix("cluster=").partition(",")
    if not (name and comma and pattern):
        raise ValueError(f"--input {text}: expected cluster=NAME,PATH")
    return Input(pattern, name)


def expand(inputs: Sequence[Input], output: str | None, *, allow_empty: bool) -> tuple[list[tuple[str, str | None]], list[str]]:
    """The files that the inputs name, in order, each once with its cluster; and what is wrong with the inputs."""
    files: dict[str, tuple[str, str | None]] = {}
    problems: list[str] = []
    for each in inputs:
        found, wrong = _matches(each.pattern, output)
        problems += wrong
        if not wrong and not found and not allow_empty:
            problems.append(f"--input {each.pattern}: no files there (--allow_empty accepts that)")
        for path in found:
            trouble = _unreadable(path)
            if trouble is not None:
                problems.append(f"--input {path.encode('utf-8', 'backslashreplace').decode()}: {trouble}")
            files.setdefault(os.path.realpath(path) if storage.scheme(path) is None else path, (path, each.cluster))
    return list(files.values()), problems


def _matches(pattern: str, output: str | None) -> tuple[list[str], list[str]]:
    """The files that one input names, and what is wrong with it."""
    kind = storage.scheme(pattern)
    if kind in BROKERS:
        return [], [f"--input {pattern}: only pipelines.reduce reads from {kind}"]
    wrong: list[str] = []
    try:
        if kind is not None:
            return _remote_matches(pattern), []
        path = Path(pattern)
        if path.is_dir():
            return _below(path, output, wrong), wrong
        if not path.exists() and has_magic(pattern):
            matched = matches(pattern, _real(output))
            return [found for name in matched for found in (_below(Path(name), output, wrong) if Path(name).is_dir() else [name])], wrong
    except (OSError, storage.MissingExtraError) as error:
        return [], [f"--input {pattern}: {error.strerror if isinstance(error, OSError) and error.strerror else error}"]
    return ([pattern], []) if path.exists() else ([], [f"--input {pattern}: no such file or directory"])


def _remote_matches(pattern: str) -> list[str]:
    system = storage.filesystem(pattern)
    if not has_magic(pattern) and not system.exists(pattern):
        return [path for path, _ in storage.files_below(pattern) if not is_skipped(path.removeprefix(pattern))]
    matched = sorted(metadata.path for match in system.match([pattern]) for metadata in match.metadata_list)
    return [path for path in matched if not is_unasked(path, pattern)]


def _below(directory: Path, output: str | None, wrong: list[str]) -> list[str]:
    """Files below a directory, sorted; without hidden and temporary ones and the output itself; what cannot be read is wrong."""
    own = _real(output)
    trouble = lambda error: wrong.append(f"--input {error.filename}: cannot be read ({error.strerror})")  # noqa: E731 - short
    return sorted(entry.path for entry in files_below(str(directory), own, trouble))


def _real(output: str | None) -> str | None:
    return None if output is None or storage.scheme(output) else os.path.realpath(output)


def _unreadable(path: str) -> str | None:
    if storage.scheme(path) is not None:
        return None
    try:
        path.encode()
        mode = Path(path).stat().st_mode
        if not stat.S_ISREG(mode):
            return "not a regular file; give a file, a directory or a glob"
        with Path(path).open("rb"):
            return None
    except UnicodeEncodeError:
        return "its name is not UTF-8, and no record could say it; rename it"
    except OSError as error:
        return f"cannot be read ({error.strerror})"


class Held:
    """The ranges that a ledger holds, found by content: cluster, offset and MAC."""

    def __init__(self, runs: Iterable[Run], key: bytes) -> None:
        self._key = key
        self._ranges = HeldRanges()
        self._breaks: set[tuple[str | None, int]] = set()  # where compressed streams broke off
        for run in runs:
            self.add(run.ranges)

    def add(self, ranges: Iterable[Range]) -> None:
        """Hold the ranges of a run as well; where an input is followed, those of each cycle once it is committed."""
        for each in ranges:
            account = each.account
            if each.settles or not counts_bytes(each):
                continue
            unfinished = account.events == 1 and account.dead_lettered == UNTERMINATED
            self._ranges.add(each.cluster, account.start, account.end, account.mac, unfinished=unfinished)
            if not account.dead_lettered.keys().isdisjoint(ENDS_ANYHOW):
                self._breaks.add((each.cluster, account.end))

    def reach(self, file: IO[bytes], cluster: str | None) -> tuple[int, bool]:
        """How far a stream is held from its start on, and whether it ends there.

        A line that was unreadable and without end is held only where the stream still ends with it: it may have grown.
        """
        held: dict[int, Ends] = {}
        macs: dict[int, hmac.HMAC] = {}  # of what stands from each place on that was reached
        ends: list[tuple[int, int]] = []  # and where a range from there ends, the nearest first
        last: dict[int, int] = {}  # and where the longest does

        def expect(start: int) -> None:
            held[start] = self._ranges.at(cluster, start)
            found = [end for end in held[start] if end > start]
            if found:
                macs[start], last[start] = hmac.new(self._key, digestmod="sha256"), max(found)
                for end in found:
                    heappush(ends, (end, start))

        expect(0)
        at = reached = 0
        tail: bytes | None = b""
        while ends and tail is not None:
            end, start = heappop(ends)
            tail, size = _feed(macs.values(), file, tail, end - at)
            at += size
            if at < end:
                break
            matching = [unfinished for known, unfinished in held[start][end] if hmac.compare_digest(known, macs[start].digest())]
            tail = tail or _more(file)
            # A line that was without end has grown where more follows; another log may have had more of it.
            if matching and end > reached and not (tail and all(matching)):
                reached = end
                expect(end)
            if end == last[start]:
                del macs[start]
        if tail is not None:
            tail = tail or _more(file)
        if tail is None:
            return reached, at == reached and (cluster, at) in self._breaks
        return reached, at == reached and not tail and (at > 0 or at in held[0])


def _more(file: IO[bytes]) -> bytes | None:
    """The next byte of a stream, if it has one; None where a compressed stream breaks off."""
    try:
        return file.read(1)
    except BROKEN as error:
        if is_failure(error):
            raise
        return None


def _feed(macs: Collection[hmac.HMAC], file: IO[bytes], tail: bytes, size: int) -> tuple[bytes | None, int]:
    """Feed up to `size` further bytes of the stream, the first of which may be in `tail` already; gives the rest of that, and how many.

    The rest is None where a compressed stream breaks off.
    """
    chunk, rest = tail[:size], tail[size:]
    fed = 0
    while True:
        for mac in macs:
            mac.update(chunk)
        fed += len(chunk)
        if fed == size:
            return rest, fed
        try:
            chunk = file.read(min(size - fed, BLOCK_SIZE))
        except BROKEN as error:
            if is_failure(error):
                raise
            return None, fed
        if not chunk:
            return b"", fed


def plan(files: Sequence[tuple[str, str | None]], held: Held | None = None, split_size: int = SPLIT_SIZE) -> Plan:
    """Splits of what is new in the files; big plain files in pieces that start at line starts. Raises OSError."""
    planned = Plan([], len(files), 0, 0)
    for number, (path, cluster) in enumerate(files):
        with storage.opened(path) as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(0)
            kind = compression(file.read(4))
            file.seek(0)
            planned.bytes += size
            planned.compressed |= kind is not None
            start, whole = 0, False
            if held is not None:
                start, whole = held.reach(decompressed(file), cluster)
            planned.held += start
            if whole:
                continue
            uri = os.path.abspath(path) if storage.scheme(path) is None else path  # noqa: PTH100 - keeps symlinks
            end = None if kind else size
            if end is None or size - start <= split_size:
                planned.splits.append(Split(number, uri, path, start, end, cluster))
            else:
                cuts = _cuts(file, start, size, split_size)
                planned.splits += [Split(number, uri, path, at, to, cluster) for at, to in pairwise(cuts)]
    return planned


def _cuts(file: IO[bytes], start: int, size: int, split_size: int) -> list[int]:
    """Offsets at line starts, about `split_size` apart; a document is one piece."""
    file.seek(start)
    if in_one_piece(file.read(HEAD), whole=False):
        return [start, size]
    cuts = [start]
    while size - cuts[-1] > split_size:
        file.seek(cuts[-1] + split_size)
        rest = file.readline(LINE_LIMIT)
        if not rest.endswith(b"\n"):
            break
        cuts.append(file.tell())
    return [*cuts, size] if cuts[-1] < size else cuts
