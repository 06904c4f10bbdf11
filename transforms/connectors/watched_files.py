"""The files that an input names, by identity: which there are, which have changed, which have gone, and which are held open."""

from __future__ import annotations

import errno
import os
import resource
import stat
import time
from collections import OrderedDict
from glob import has_magic
from typing import TYPE_CHECKING, Final

from transforms.connectors import storage
from transforms.connectors.directories import files_named
from transforms.connectors.growing_file import GrowingFile

if TYPE_CHECKING:
    from collections.abc import Callable

GRACE: Final = 5.0  # seconds in which a file that has no name any longer may still be written to
FAIR: Final = 1 << 20  # bytes that each directory may give whatever others have
RETRY: Final = 10.0  # seconds until what could not be read is tried again
OPEN_FILES: Final = 512
Identity = tuple[int, int]  # device and inode

_claims: dict[Identity, int] = {}  # which source reads a file that several inputs name: the first


class WatchedFiles:
    """What an input names now. A look costs one scan of the directories and a status per file.

    Files that may have something to give are `active`, and held open, as far as the limit goes, so that a deletion loses
    nothing; those that are finished are held open as well while there is room.
    """

    def __init__(self, pattern: str, output: str | None, say: Callable[[str], None], open_files: int | None) -> None:
        self._pattern, self._output, self._say = pattern, output, say
        self._limit = open_files or max(1, min(OPEN_FILES, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 4))
        self._said: set[tuple[str, int]] = set()
        self._open: OrderedDict[Identity, GrowingFile] = OrderedDict()  # the first may be closed first
        self.files: dict[Identity, GrowingFile] = {}
        self.active: dict[Identity, GrowingFile] = {}
        self.cost = 0.0  # seconds that the last look took

    @property
    def open(self) -> int:
        """How many are held open."""
        return len(self._open)

    def look(self, now: float, *, grown: bool = True) -> list[GrowingFile]:
        """See what is there. Gives the files that have gone for good, and are forgotten. Without `grown` what was there stays as it was."""
        began = time.perf_counter()
        seen: set[Identity] = set()
        for path, status in files_named(self._pattern, self._output, self._trouble_with_directory):
            key = (status.st_dev, status.st_ino)
            if key in seen:
                continue
            file = self.files.get(key)
            if file is None:
                if not grown or not self._is_ours(path, key, status.st_mode):
                    continue
                file = self.files[key] = self.active[key] = GrowingFile(path, status, now)
            elif grown and file.note(status, now):
                self.active[key] = file
            seen.add(key)
            file.path, file.missed = path, 0
        gone = [file for file in [self.files[key] for key in self.files.keys() - seen] if self._is_gone(file, now)]
        for file in gone:
            self.forget(file)
        for file in sorted(self.active.values(), key=age):
            if len(self._open) >= self._limit:
                break
            self.opened(file, now)
        self.cost = time.perf_counter() - began
        return gone

    def _is_ours(self, path: str, key: Identity, mode: int) -> bool:
        if _claims.get(key, id(self)) != id(self):
            return False
        problem = _unusable(path, mode)
        if problem is None:
            _claims[key] = id(self)
        else:
            self._say_once(path, 0, problem)
        return problem is None

    def _is_gone(self, file: GrowingFile, now: float) -> bool:
        """Whether a file that has no name any longer has nothing to give either. A rename may pass under one look."""
        file.missed += 1
        if file.descriptor is None:
            return file.missed > 1
        try:
            if file.note(os.fstat(file.descriptor), now):
                self.active[file.key] = file
        except OSError as error:
            self.trouble(file, error, now)
            return False
        return file.missed > 1 and (file.finished or file.copy_of is not None) and now - file.changed >= GRACE

    def opened(self, file: GrowingFile, now: float) -> bool:
        """Whether the file is open, or can be; others are closed for it where there are too many."""
        if file.descriptor is None:
            if file.trouble and now < file.retry:
                return False
            try:
                file.open()
            except OSError as error:
                self.trouble(file, error, now)
                return False
            file.trouble = 0
        self._open[file.key] = file
        self._open.move_to_end(file.key)
        while len(self._open) > self._limit:
            # What has no name any longer could not be opened again.
            first = next((one for one in self._open.values() if not one.missed and one is not file), None)
            if first is None:
                break
            self.shut(first)
        return True

    def shut(self, file: GrowingFile) -> None:
        """Hold a file no longer."""
        file.close()
        self._open.pop(file.key, None)

    def rest(self, file: GrowingFile) -> None:
        """The file has nothing to give until it changes."""
        self.active.pop(file.key, None)
        if file.key in self._open:
            self._open.move_to_end(file.key, last=False)

    def forget(self, file: GrowingFile) -> None:
        """Let go of a file. What was read of it is in the ledger; should it turn up again, that knows."""
        self.shut(file)
        self.files.pop(file.key, None)
        self.active.pop(file.key, None)
        if _claims.get(file.key) == id(self):
            del _claims[file.key]

    def trouble(self, file: GrowingFile, error: OSError, now: float) -> None:
        """A file cannot be read now: said once, tried again. One that has just gone or is being written is no trouble."""
        if error.errno not in (errno.ENOENT, errno.EAGAIN):
            self._say_once(file.path, error.errno or 0, f"cannot be read ({error.strerror}); tried again every {RETRY:.0f} s")
            file.trouble, file.retry = error.errno or errno.EIO, now + RETRY
        self.shut(file)

    def _trouble_with_directory(self, error: OSError) -> None:
        self._say_once(str(error.filename or self._pattern), error.errno or 0, f"cannot be read ({error.strerror})")

    def _say_once(self, path: str, code: int, what: str) -> None:
        if (path, code) not in self._said:
            self._said.add((path, code))
            self._say(f"--input {_shown(path)}: {what}")


def age(file: GrowingFile) -> tuple[int, str]:
    """Sorts the oldest first."""
    return file.modified, file.path


def shares(directories: list[list[GrowingFile]], room: int, turn: int) -> list[tuple[list[GrowingFile], int]]:
    """The room, shared among directories; what one does not need is the others', who take turns at it."""
    if not directories:
        return []
    first = turn % len(directories)
    order = directories[first:] + directories[:first]
    fair = max(room // len(order), min(FAIR, room))
    needs = [sum(file.unread for file in files) for files in order]
    left = room - sum(min(need, fair) for need in needs)
    shares = []
    for files, need in zip(order, needs, strict=True):
        more = min(max(0, need - fair), max(0, left))
        left -= more
        shares.append((files, min(need, fair) + more))
    return shares


def base_of(pattern: str) -> str:
    """What the URIs of a pattern's files begin with."""
    path = os.path.abspath(pattern)  # noqa: PTH100 - keeps symlinks
    while has_magic(path):
        path = os.path.dirname(path)  # noqa: PTH120
    return path


def problem_with(pattern: str) -> str | None:
    """Why an input cannot be followed, if so."""
    kind = storage.scheme(pattern)
    if kind is not None:
        return f"{kind} is not followed, only local files are; without --follow a run reads what is there"
    try:
        if os.path.isdir(pattern):  # noqa: PTH112
            os.scandir(pattern).close()
        elif not has_magic(pattern) or os.path.lexists(pattern):
            return _unusable(pattern, os.stat(pattern).st_mode)  # noqa: PTH116
    except FileNotFoundError:
        return "no such file or directory; to wait for it, give its directory or a glob"
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    return None


def _unusable(path: str, mode: int) -> str | None:
    """Why a file cannot be followed, if so."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return "its name is not UTF-8, and no record could say it; rename it"
    return None if stat.S_ISREG(mode) else "not a regular file; give a file, a directory or a glob"


def _shown(path: str) -> str:
    """A path without what would move a terminal's cursor."""
    return "".join(
        sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in path.encode("utf-8", "backslashreplace").decode()
    )
