"""Any interleaving of what happens to logs and to the one who follows them: every line once, gaps where content was destroyed."""

from __future__ import annotations

import gzip
import os
import shutil
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.transforms.connectors.following import ROOM, Following, line
from transforms.connectors import growing_file

if TYPE_CHECKING:
    from collections.abc import Sequence

WRITES = ("append", "append", "append", "begin", "rotate", "compress", "copytruncate", "copy", "truncate", "delete")
LOOKS = ("cycle", "cycle", "little", "uncommitted", "later", "quiet", "restart", "down")
STEPS = st.lists(st.tuples(st.sampled_from(WRITES + LOOKS), st.integers(0, 5)), min_size=12, max_size=60)


class File:
    """What one inode holds: lines, and perhaps the beginning of one more."""

    def __init__(self, path: Path, lines: Sequence[int] = (), partial: bytes = b"") -> None:
        self.path, self.lines, self.partial = path, list(lines), partial
        self.looked_at = False
        self.gone = False


class World:
    """Logs, what happens to them, and what must come of it."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.log = directory, directory / "audit.log"
        self.files: list[File] = []
        self.followed = Following(directory)
        self.up = True
        self.next = 0
        self.streams: dict[int, int] = {}  # line: its stream
        self.stream = 0
        self.doomed: set[int] = set()  # may be lost: their content was destroyed
        self.copied: set[int] = set()
        self.unsure: set[int] = set()
        self.emptied = 0
        self.forgotten = 0  # emptied shortly before a restart, so perhaps not told

    @property
    def current(self) -> File | None:
        return next((file for file in self.files if file.path == self.log and not file.gone), None)

    def _open_log(self) -> File:
        found = self.current
        if found is None:
            self.stream += 1
            found = File(self.log)
            self.files.append(found)
        return found

    def append(self, number: int) -> None:
        file = self._open_log()
        with self.log.open("ab") as out:
            if file.partial:
                out.write(line(file.lines[-1])[len(file.partial) :] + b"\n")
                file.partial = b""
            for _ in range(number):
                self._write(file)
                out.write(line(file.lines[-1]) + b"\n")

    def _write(self, file: File) -> None:
        file.lines.append(self.next)
        self.streams[self.next] = self.stream
        self.next += 1

    def begin(self, number: int) -> None:
        self.append(0)
        file = self._open_log()
        self._write(file)
        file.partial = line(file.lines[-1])[: 100 + 150 * number]
        with self.log.open("ab") as out:
            out.write(file.partial)

    def _end(self, file: File) -> None:
        """The writer goes elsewhere: what was begun stays so."""
        if file.partial:
            self.doomed.add(file.lines.pop())

    def rotate(self, number: int) -> None:
        file = self.current
        if file is not None and self.log.stat().st_size:
            self._end(file)
            file.path = self.directory / f"audit-{self.next}-{len(self.files)}.log"
            self.log.rename(file.path)

    def _rotated(self, number: int) -> File | None:
        there = [file for file in self.files if not file.gone and file.path != self.log]
        return there[number % len(there)] if there else None

    def compress(self, number: int) -> None:
        file = self._rotated(number)
        if file is None or file.path.suffix == ".gz":
            return
        if "backup" in file.path.name:
            self.unsure |= set(file.lines)
        packed = File(file.path.with_name(file.path.name + ".gz"), file.lines)
        packed.path.write_bytes(gzip.compress(file.path.read_bytes(), 1))
        file.path.unlink()
        file.gone = True
        self.files.append(packed)

    def copytruncate(self, number: int) -> None:
        file = self.current
        if file is None or not file.path.stat().st_size:
            return
        self._end(file)
        copy = File(self.directory / f"audit.log.{self.next}-{len(self.files)}", file.lines)
        shutil.copyfile(self.log, copy.path)
        os.truncate(self.log, 0)
        self.files.append(copy)
        self._anew(file)

    def copy(self, number: int) -> None:
        """A backup, beside its original."""
        there = [file for file in self.files if not file.gone and not file.partial and file.path.suffix != ".gz"]
        file = there[number % len(there)] if there else None
        if file is not None and file.lines:
            copy = File(self.directory / f"backup-{self.next}-{len(self.files)}", file.lines)
            shutil.copyfile(file.path, copy.path)
            self.files.append(copy)
            self.copied |= set(file.lines)

    def _anew(self, file: File) -> None:
        file.lines, file.partial, file.looked_at = [], b"", False
        self.stream += 1

    def truncate(self, number: int) -> None:
        file = self.current
        if file is None or not file.path.stat().st_size:
            return
        if file.looked_at and self.up:
            self.emptied += 1
            # A copy has it all, as far as anyone can tell.
            self.forgotten += any(other is not file and file.lines[:1] == other.lines[:1] for other in self.files)
        self._end(file)
        self.doomed |= set(file.lines)
        os.truncate(self.log, 0)
        self._anew(file)

    def delete(self, number: int) -> None:
        there = [file for file in self.files if not file.gone and (file.looked_at or not self.up)]
        if not there:
            return
        file = there[number % len(there)]
        if file.path == self.log:
            self._end(file)
        file.path.unlink()
        file.gone = True
        if not self.up:
            self.doomed |= set(file.lines)

    def cycle(self, number: int, room: int = ROOM) -> None:
        if self.up:
            self.followed.cycle(room)
            self._looked()

    def _looked(self) -> None:
        for file in self.files:
            file.looked_at = file.gone or file.path.stat().st_size > 0

    def little(self, number: int) -> None:
        self.cycle(number, 1300 + 700 * number)

    def uncommitted(self, number: int) -> None:
        """Killed between what was fetched and its commit."""
        if self.up:
            self.followed.fetch(1300 + 700 * number)
            self._looked()
            self.restart(number)

    def later(self, number: int) -> None:
        self.followed.clock.now += number

    def quiet(self, number: int) -> None:
        self.followed.clock.now += 31

    def restart(self, number: int) -> None:
        self.down(number)
        self._start()

    def down(self, number: int) -> None:
        if self.up:
            self.up = False
            self.unsure |= self.copied
            self.followed.source.close()
            self.forgotten = self.emptied  # perhaps
            # Only an open descriptor had these.
            self.doomed |= {each for file in self.files if file.gone for each in file.lines}
            for file in self.files:
                file.looked_at = False

    def _start(self) -> None:
        if not self.up:
            self.up = True
            self.followed.start(self.followed.positions())

    def finish(self) -> None:
        self._start()
        self.append(0)
        self.followed.settle()

    def check(self) -> None:
        followed = self.followed
        there = {line(number): number for number in range(self.next)}
        given = [there[record] for record in followed.lines if isinstance(record, bytes)]
        assert {record for record in followed.lines if isinstance(record, str)} <= {"UNTERMINATED_LINE", "BROKEN_STREAM"}
        twice = [number for number, times in Counter(given).items() if times > 1]
        # A copy that ends within a range must be seen beside its original, or its last range comes again.
        assert set(twice) <= self.unsure
        given = list(dict.fromkeys(given))
        kept = {number for file in self.files if not file.gone for number in file.lines}
        assert set(range(self.next)) - self.doomed | kept == set(given) - (self.doomed - kept)
        for stream in set(self.streams.values()):
            of_stream = [number for number in given if self.streams[number] == stream]
            assert of_stream == sorted(of_stream)
        places = Counter((uri, at) for uri, at, record in followed.records if record != "UNTERMINATED_LINE")
        assert max(places.values(), default=1) == 1
        emptied = [gap for gap in followed.gaps if gap.why.startswith("emptied")]
        assert self.emptied - self.forgotten <= len(emptied) <= self.emptied
        assert {gap.why.partition(";")[0] for gap in followed.gaps if gap not in emptied} <= {"gone while nothing followed it"}
        # A planner who sees a copy that ends within a range does not know it; one who follows sees that it is a copy.
        assert followed.batch(without="backup") == []


@example([*[("append", 0)] * 4, ("begin", 0), ("cycle", 0), ("quiet", 0), ("cycle", 0), *[("append", 0)] * 3, ("copytruncate", 0)])
@given(STEPS)
@settings(max_examples=200)
def test_every_line_is_given_once_whatever_happens_to_its_log(steps: list[tuple[str, int]]):
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as directory:
        patch.setattr(growing_file, "HEAD", 1300)
        world = World(Path(directory))
        try:
            for step, number in steps:
                getattr(world, step)(number)
            world.finish()
            world.check()
        finally:
            world.followed.source.close()
