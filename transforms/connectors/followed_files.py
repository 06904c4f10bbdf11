"""Files that grow and are rotated, as a source without end.

What was read is found again by content, as the batch planner finds it: after a rename, a compression or a restart, a file
goes on where the ledger ends. A file is held open from when it is first seen until it has been read, so that a deletion
loses nothing; what was seen and destroyed before it was read is a gap.

The URI of a stream is the path at which it was first read. A path that later names another stream says so by `#` and eight
digits of a hash of the stream's beginning, because positions must mean one thing.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from itertools import chain, count
from typing import TYPE_CHECKING, Final

import msgspec

from transforms.connectors import held_pieces, storage
from transforms.connectors.growing_file import SIGN, GrowingFile, Sign
from transforms.connectors.sources import Gap, Reach, SourceError, Stretch
from transforms.connectors.watched_files import GRACE, WatchedFiles, age, base_of, problem_with, shares

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

QUIET: Final = 30.0  # seconds without a change after which nothing more is expected of a file
PLACING: Final = 0.5  # seconds for placing files, where a fetch is to wait less
SETTLED: Final = 0.5  # seconds without a change before a compressed file is looked at
POLL: Final = 0.25  # seconds between two looks, at least
POLL_SHARE: Final = 20  # a look costs at most this part of the time


class _Lost(msgspec.Struct):
    """Content that was seen and is gone, unless it turns up elsewhere."""

    gap: Gap
    begin: Sign
    until: float
    found: int = 0  # it turned up as far as this


def _to_stderr(text: str) -> None:
    sys.stderr.write(f"warning: {text}\n")


def parse(
    pattern: str, cluster: str | None, *, follow: bool, settings: Mapping[str, str], output: str | None
) -> tuple[FollowedFiles | None, list[str]]:
    """The source that an `--input` names, or what is wrong with it. `settings` are those of brokers' clients; files have none."""
    del settings
    problem = problem_with(pattern)
    return (
        (None, [f"--input {pattern}: {problem}"])
        if problem
        else (FollowedFiles(pattern, cluster, follow=follow, output=output, on_watch=True), [])
    )


class FollowedFiles:
    """One `--input` of files that is followed; see `Source`. With `follow` off it ends with what is there at the start."""

    def __init__(
        self,
        pattern: str,
        cluster: str | None,
        *,
        follow: bool = True,
        output: str | None = None,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[float], None] = time.sleep,
        say: Callable[[str], None] = _to_stderr,
        open_files: int | None = None,
        on_watch: bool = False,
    ) -> None:
        self._pattern, self._cluster, self._follow = pattern, cluster, follow
        own = None if output is None or storage.scheme(output) else os.path.realpath(output)
        self._watched = WatchedFiles(pattern, own, say, open_files)
        self._clock, self._wait = clock, wait
        self._begins: dict[Sign, GrowingFile] = {}
        self._lost: list[_Lost] = []
        self._gaps: list[Gap] = []
        self._held: list[str] = []
        self._positions: dict[str, int] = {}
        self._owners: dict[str, GrowingFile] = {}  # by URI
        self._last_read: tuple[str, int] | None = None  # the stream that must still be there, unless something was missed
        self._reach: Reach = lambda _file, _cluster: (0, False)
        self._turn = 0
        self._given: set[str] = set()  # URIs of the last fetch
        self._looked = False
        self._lock = threading.RLock()
        self._closed = threading.Event()
        # A cycle takes seconds, in which a log may be rotated away: somebody must look, and hold what is new open.
        self._watch = threading.Thread(target=self._keep_looking, daemon=True) if on_watch and follow else None

    def resume(self, positions: Mapping[tuple[str, int | None], int], reach: Reach) -> None:
        """Go on where the ledger ends, which `reach` tells of each file. Raises SourceError."""
        problem = problem_with(self._pattern)
        if problem:
            raise SourceError(f"--input {self._pattern}: {problem}")
        self._reach = reach
        self._positions = {uri: at for (uri, partition), at in positions.items() if partition is None}
        base = base_of(self._pattern)
        mine = [uri for uri in self._positions if uri == base or uri.startswith((base.rstrip("/") + "/", base + "#"))]
        self._last_read = (mine[-1], self._positions[mine[-1]]) if mine else None
        if self._watch is not None:
            self._watch.start()

    def _keep_looking(self) -> None:
        while not self._closed.wait(max(POLL, POLL_SHARE * self._watched.cost)):
            with self._lock:
                if not self._closed.is_set():
                    self._look()

    def fetch(self, room: int, seconds: float) -> list[Stretch]:
        """New content of about `room` bytes, waiting at most `seconds` for it: whole lines, whole documents."""
        deadline = self._clock() + seconds
        while True:
            with self._lock:
                self._look()
                self._place(max(deadline, self._clock() + PLACING))
                now = self._clock()
                if now >= deadline or not self._follow or sum(file.unread for file in self._ready(now)) >= room:
                    return self._take(room, now)
            self._wait(min(max(POLL, POLL_SHARE * self._watched.cost), deadline - now))

    def acknowledge(self) -> None:
        """The pieces that were given are committed: hold them no longer."""
        for path in self._held:
            held_pieces.let_go(path)
        self._held.clear()

    @property
    def at_end(self) -> bool:
        """Whether nothing more can be given right now."""
        with self._lock:
            return not self._waiting(self._clock())

    def caught_up(self) -> Mapping[tuple[str, int | None], bool]:
        """Of each stream whether all of it that can be given has been; an unfinished line waits without holding up others."""
        with self._lock:
            out: dict[tuple[str, int | None], bool] = {(uri, None): True for uri in self._owners}
            out.update(((file.uri or _uri(file.path), None), False) for file in self._waiting(self._clock()))
            return out

    def _ready(self, now: float) -> list[GrowingFile]:
        """Files that may give something now, the oldest first."""
        return sorted((file for file in self._watched.active.values() if file.placed and self._may_give(file, now)), key=age)

    def _waiting(self, now: float) -> list[GrowingFile]:
        """Files that may give something now, once they are placed."""
        return [file for file in self._watched.active.values() if not file.trouble and self._may_give(file, now)]

    def _may_give(self, file: GrowingFile, now: float) -> bool:
        untried = file.tried != file.state or (not file.tried_late and self._late(file, now))
        return file.copy_of is None and file.unread > 0 and untried

    def _quiet(self, file: GrowingFile, now: float) -> bool:
        """Whether nothing more is expected of it."""
        return not self._follow or now - file.changed >= QUIET

    def _late(self, file: GrowingFile, now: float) -> bool:
        """Whether what is unfinished must be given as it stands."""
        return self._quiet(file, now) or (file.waits is not None and now - file.waits >= QUIET)

    def gaps(self) -> list[Gap]:
        """What was lost since the last call."""
        with self._lock:
            out = [gap for gap in self._gaps if gap.uri not in self._owners]
            # What a stream lost that goes on is told in its place: once all of it before the gap is committed.
            for gap in [gap for gap in self._gaps if gap.uri in self._owners]:
                file = self._owners[gap.uri]
                if file.finished and gap.uri not in self._given:
                    out.append(msgspec.structs.replace(gap, start=max(gap.start, file.at)))
            self._gaps = [gap for gap in self._gaps if gap.uri in self._owners and gap.uri not in {told.uri for told in out}]
            return out

    def gauges(self) -> Mapping[str, float]:
        """How much waits, and how many files there are, are open and cannot be read."""
        label = self._pattern.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        with self._lock:
            active = [file for file in self._watched.active.values() if not file.copy_of]
        return {
            f'lag_bytes{{input="{label}"}}': sum(file.unread for file in active),
            f'files{{input="{label}"}}': len(self._watched.files),
            f'files_waiting{{input="{label}"}}': sum(not file.finished for file in active),
            f'files_open{{input="{label}"}}': self._watched.open,
            f'files_unreadable{{input="{label}"}}': sum(bool(file.trouble) for file in active),
        }

    def close(self) -> None:
        """Let go of all files and pieces."""
        self._closed.set()
        if self._watch is not None and self._watch.is_alive():
            self._watch.join()
        self.acknowledge()
        for file in list(self._watched.files.values()):
            self._watched.forget(file)

    # Placing: where to go on in a file, which its content tells.

    def _look(self) -> None:
        now = self._clock()
        for file in self._watched.look(now, grown=self._follow or not self._looked):
            if not file.finished and not file.copy_of:
                self._lose(file, file.size if file.kind is None else None, "deleted before it was read to its end", now)
            self._part(file)
        self._looked = True

    def _part(self, file: GrowingFile) -> None:
        """The file gives its stream no longer; copies of it speak for themselves."""
        if self._begins.get(file.begin) is file:
            del self._begins[file.begin]
        if self._owners.get(file.uri) is file:
            del self._owners[file.uri]
        for other in self._watched.files.values():
            if other.copy_of is file:
                other.copy_of, other.known = None, min(other.length, file.at)
                self._watched.active[other.key] = other

    def _lose(self, file: GrowingFile, end: int | None, why: str, now: float) -> None:
        lost = _Lost(Gap(file.uri or _uri(file.path), None, file.at, end, why), file.begin, now + GRACE)
        self._lost.append(lost)
        for other in self._watched.files.values():
            if other is not file and other.placed and not other.copy_of and now - other.born < QUIET and self._watched.opened(other, now):
                self._found(other, other.look(), [lost])

    def _place(self, deadline: float) -> None:
        """Check what has changed, place what is new, and settle what was lost."""
        for step in (self._check, self._place_one):  # a copy is judged by what its original is now
            for file in sorted(self._watched.active.values(), key=age):
                now = self._clock()
                done = file.checked == file.state if step == self._check else file.placed or file.copy_of or now > deadline
                if done:
                    continue
                try:
                    if self._watched.opened(file, now):
                        step(file, now)
                except OSError as error:
                    self._watched.trouble(file, error, now)
        for file in list(self._watched.active.values()):
            if file.copy_of or file.finished or not file.size:
                self._watched.rest(file)
        unplaced = [file for file in self._watched.active.values() if not file.placed and file.size]
        if all(file.trouble for file in unplaced):
            self._settle(self._clock(), all_known=not unplaced)

    def _check(self, file: GrowingFile, now: float) -> None:
        """Whether a file that has changed still is what it was. One that was emptied is lost as far as no copy has it."""
        seen = file.checked[0] if file.checked else 0
        if file.copy_of or not file.intact():
            if not file.copy_of and (file.placed or file.begin not in self._begins) and not (file.kind and file.finished):
                known = file.kind is None and seen > file.at
                why = "emptied before it was read to its end" if known else "emptied; nobody can tell what was lost"
                self._lose(file, seen if known else None, why, now)
            self._part(file)
            file.renew()
            file.intact()
        elif file.placed and file.kind is None and file.at <= file.size < seen:
            self._gaps.append(Gap(file.uri, None, file.size, seen, "cut off before it was read to its end"))
        if file.unterminated and file.unread:
            file.placed = False  # its last line may have been unreadable without the rest
        if file.placed and file.begin.length == SIGN:
            self._begins.setdefault(file.begin, file)

    def _place_one(self, file: GrowingFile, now: float) -> None:
        quiet = self._quiet(file, now)
        if not file.size or (file.tried == file.state and not quiet):
            return
        first = file.look()
        if not quiet and (now - file.changed < SETTLED if file.kind else len(first) < SIGN and b"\n" not in first):
            return
        twin = self._begins.get(file.begin) if file.begin.length == SIGN else None
        if twin is file:
            twin = None
        # It may be a copy in the making: as it grows it is looked at again.
        if twin and not (file.kind and twin.finished) and self._related(file, twin, first):
            return
        at, whole = file.reach(self._reach, self._cluster) if file.known is None else (file.known, False)
        if whole:
            file.total = at if file.kind else None
        elif file.kind and not file.measure() and not quiet:
            file.tried = file.state
            return
        elif twin and self._related(file, twin, first):
            return
        file.place(at)
        file.uri = file.uri or self._name(file, at)
        self._owners[file.uri] = file
        if file.begin.length == SIGN:
            self._begins.setdefault(file.begin, file)
        self._found(file, first, self._lost)
        if self._last_read and at and (at == self._last_read[1] or file.uri == self._last_read[0]):
            self._last_read = None

    def _related(self, file: GrowingFile, twin: GrowingFile, first: bytes) -> bool:
        """Whether one of two files holds all that the other does, and gives their stream from now on."""
        if file.is_within(twin):
            file.copy_of = twin
        elif twin.is_within(file):
            file.place(max(twin.at, file.known or file.reach(self._reach, self._cluster)[0]))
            file.uri, twin.uri, twin.placed = twin.uri, "", False
            for other in self._watched.files.values():
                if other is twin or other.copy_of is twin:
                    other.copy_of = file
            self._owners[file.uri], self._begins[file.begin] = file, file
            self._watched.rest(twin)
            self._found(file, first, self._lost)
        else:
            return False
        return True

    def _name(self, file: GrowingFile, at: int) -> str:
        """The URI of a file that goes on at a position: none that names another stream."""
        path = _uri(file.path)
        marked = f"{path}#{file.begin.digest.hex()[:8]}"
        names = chain((path, marked), (f"{marked}.{number}" for number in count(2)))
        uri = next(uri for uri in names if self._is_free(uri, file, at))
        self._positions[uri] = at
        return uri

    def _is_free(self, uri: str, file: GrowingFile, at: int) -> bool:
        return self._owners.get(uri, file) is file and self._positions.get(uri, at) == at

    def _found(self, file: GrowingFile, first: bytes, among: list[_Lost]) -> None:
        """A file that goes on where something was lost."""
        there = file.size if file.kind is None else file.total
        # It goes on before that where what was read last was half a line, which is read again with its end.
        reach = max(file.at, there or 0)
        for lost in [lost for lost in among if lost in self._lost and lost.begin.of(first) and reach >= lost.gap.start]:
            if lost.gap.end is None or there is None or there >= lost.gap.end:
                self._lost.remove(lost)
            else:
                lost.found = max(lost.found, there)

    def _settle(self, now: float, *, all_known: bool) -> None:
        """Nothing is left in which the lost could be found."""
        for lost in [lost for lost in self._lost if lost.until <= now]:
            self._lost.remove(lost)
            self._gaps.append(msgspec.structs.replace(lost.gap, start=max(lost.gap.start, lost.found)))
        if self._last_read is not None and all_known:
            uri, at = self._last_read
            self._gaps.append(Gap(uri, None, at, None, "gone while nothing followed it; whether it was read to its end nobody can tell"))
            self._last_read = None

    # Giving.

    def _take(self, room: int, now: float) -> list[Stretch]:
        """Pieces of what is ready: each directory its share, and in a directory the oldest first."""
        directories: dict[str, list[GrowingFile]] = {}
        for file in self._ready(now):
            directories.setdefault(os.path.dirname(file.path), []).append(file)  # noqa: PTH120 - speed
        out: list[Stretch] = []
        for files, share in shares(list(directories.values()), room, self._turn):
            left = share
            for file in files:
                if left <= 0:
                    break
                stretch = self._give(file, left, now)
                if stretch is not None:
                    out.append(stretch)
                    left -= stretch.end - stretch.start
        self._turn += 1
        self._given = {stretch.uri for stretch in out}
        return out

    def _give(self, file: GrowingFile, room: int, now: float) -> Stretch | None:
        if not self._watched.opened(file, now):
            return None
        before, late = file.at, self._late(file, now)
        try:
            piece = file.take(room, quiet=self._quiet(file, now), late=late)
            if piece is not None and not file.intact():  # while it was read: nobody knows what that was
                held_pieces.let_go(piece.path)
                file.at, file.checked = before, (file.size, -1)
                return None
        except OSError as error:
            self._watched.trouble(file, error, now)
            return None
        if piece is None:
            file.tried, file.tried_late = file.state, late
            file.waits = now if file.waits is None else file.waits
            return None
        file.waits, file.tried, file.tried_late = None, file.state if file.exhausted else None, False
        self._held.append(piece.path)
        self._positions[file.uri] = piece.end
        if file.finished:
            self._watched.rest(file)
        return Stretch(file.uri, None, piece.start, piece.end, self._cluster, None, piece.path)


def _uri(path: str) -> str:
    return os.path.abspath(path)  # noqa: PTH100 - keeps symlinks
