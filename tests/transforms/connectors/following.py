"""A followed directory with a ledger, as the engine keeps one: what is fetched is read by the real reader and committed."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.ledger import Range
from pipelines.plan import Held, plan
from transforms.audit.account import sum_accounts
from transforms.audit.block import Split
from transforms.connectors.followed_files import FollowedFiles
from transforms.connectors.held_messages import read_split

if TYPE_CHECKING:
    from transforms.audit.block import RawBlock
    from transforms.connectors.sources import Gap, Stretch

KEY = b"k" * 32
ROOM = 64 << 20


def _records(block: RawBlock) -> list[tuple[int, bytes | str]]:
    """Offset of each record, and the record or why it cannot be read."""
    if block.items is not None:
        return [(at, code or raw or b"") for at, _, raw, code in block.items]
    out: list[tuple[int, bytes | str]] = []
    at = block.offset
    for each in block.data.splitlines(keepends=True):
        whole = not block.unterminated or each.rstrip().endswith(b"}")
        out.append((at, each.rstrip(b"\n") if whole else "UNTERMINATED_LINE"))
        at += len(each)
    return out


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        self.now += seconds


class Following:
    def __init__(self, pattern: Path | str, output: str | None = None, **options: Any) -> None:
        self.pattern, self.output, self.options = str(pattern), output, options
        self.clock = Clock()
        self.held = Held([], KEY)
        self.ranges: list[Range] = []
        self.records: list[tuple[str, int, bytes | str]] = []  # URI, offset, and the line or the code of a dead letter
        self.gaps: list[Gap] = []
        self.said: list[str] = []
        self.start()

    def start(self, positions: dict[tuple[str, int | None], int] | None = None) -> None:
        self.source = FollowedFiles(
            self.pattern, None, output=self.output, clock=self.clock, wait=self.clock.wait, say=self.said.append, **self.options
        )
        self.source.resume(positions or {}, self.held.reach)

    def positions(self) -> dict[tuple[str, int | None], int]:
        out: dict[tuple[str, int | None], int] = {}
        for each in self.ranges:
            out.pop(each.stream, None)
            out[each.stream] = each.account.end
        return out

    def restart(self) -> None:
        """As after a kill: nothing is told to the source, and all is found anew."""
        self.source.close()
        self.gaps += self.source.gaps()
        self.start(self.positions())

    def fetch(self, room: int = ROOM, seconds: float = 0) -> list[Stretch]:
        return self.source.fetch(room, seconds)

    def commit(self, stretches: list[Stretch]) -> list[bytes | str]:
        """Read what the stretches name and put it into the ledger; gives the lines."""
        new: list[tuple[str, int, bytes | str]] = []
        assert len({each.uri for each in stretches}) == len(stretches)
        for number, each in enumerate(stretches):
            assert each.messages is None
            split = Split(number, each.uri, each.path, each.start, each.end, each.cluster)
            blocks = list(read_split(split, KEY))
            for block in blocks:
                found = _records(block)
                for _, record in found:
                    if record in ("BROKEN_STREAM", "UNTERMINATED_LINE"):
                        block.account.dead_letter(str(record))
                block.account.events = len(found)
                new += [(each.uri, at, record) for at, record in found]
            accounts = sum_accounts([block.account for block in blocks])
            assert (accounts[0].start, max(account.end for account in accounts)) == (each.start, each.end)
            ranges = [Range(each.uri, each.cluster, account) for account in accounts]
            self.held.add(ranges)
            self.ranges += ranges
        self.source.acknowledge()
        self.gaps += self.source.gaps()
        self.records += new
        return [record for _, _, record in new]

    def cycle(self, room: int = ROOM, seconds: float = 0) -> list[bytes | str]:
        return self.commit(self.fetch(room, seconds))

    def settle(self, room: int = ROOM) -> list[bytes | str]:
        """Cycles until nothing more comes, all waits being over."""
        out: list[bytes | str] = []
        for _ in range(4):
            while new := self.cycle(room):
                out += new
            self.clock.now += 31
        return out

    @property
    def lines(self) -> list[bytes | str]:
        return [record for _, _, record in self.records]

    def batch(self, without: str = "?") -> list[tuple[int, int | None]]:
        """What a batch run over the same files would read; that an empty file is empty is not much."""
        files = sorted(self.source._watched.files.values(), key=lambda file: file.path)
        planned = plan([(file.path, None) for file in files if Path(file.path).exists() and without not in file.path], self.held)
        return [(split.start, split.end) for split in planned.splits if split.start != split.end]


def line(number: int, size: int = 1200) -> bytes:
    """An event's line; long enough that one tells a log from another."""
    text = b'{"kind":"Event","auditID":"%08d","stage":"ResponseComplete","verb":"get","pad":"' % number
    return text + b"x" * max(0, size - len(text) - 2) + b'"}'


def write(path: Path, *lines: bytes) -> None:
    with path.open("ab") as file:
        file.write(b"".join(each + b"\n" for each in lines))


def compress(path: Path) -> Path:
    """As lumberjack does: under the final name, then away with the original."""
    packed = path.with_name(path.name + ".gz")
    packed.write_bytes(gzip.compress(path.read_bytes(), 1))
    path.unlink()
    return packed
