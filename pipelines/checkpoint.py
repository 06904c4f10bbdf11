"""What the next runs of a followed input need, as files of the commit that they belong to, below `_state/follow/`.

`checkpoint` holds what waits: early stages, rows of open read windows, the ranges they come from. Its SHA-256 stands in the
run's entry in the ledger, so a checkpoint that was damaged, or is another run's, is never taken for this one's. Files of rows
(`transforms.audit.memory`) say what was settled within the horizon; the checkpoint lists them with their SHA-256.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Final

import msgspec

from pipelines.ledger_index import INDEX
from pipelines.open_ranges import OpenRange, pending_of
from transforms.connectors import storage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipelines.ledger import Run
    from pipelines.output import Output
    from transforms.audit.settings import Settings

FOLLOW: Final = "_state/follow"
CHECKPOINT: Final = f"{FOLLOW}/checkpoint"
MAGIC: Final = b"kube-audit-reducer checkpoint 1\n"
TIER: Final = 8  # files of rows of like size before they become one
SMALL: Final = 4096  # rows; all files below are of like size


class CheckpointError(Exception):
    """What the next runs need is damaged or missing; the message says what, and what to do."""


class RowFile(msgspec.Struct, frozen=True, array_like=True):
    """A file of rows of what was settled: its path below the output, and when its runs were, microseconds since the epoch."""

    path: str
    rows: int
    oldest: int
    newest: int
    sha256: str


class Checkpoint(msgspec.Struct):
    """What the run with the output's number `run` carries on. Times in microseconds since the epoch."""

    run: int = 0
    now: int = 0
    window: int = 0  # length of a read window
    closed: int = 0  # windows that begin before this are written
    watermark: int = 0
    latest: int = 0  # event time that was seen
    stretch: int = 0  # number of the next stretch
    open: list[tuple[tuple[int, int], OpenRange]] = []
    waiting: list[tuple[int, bytes]] = []  # early stages, by shard
    rows: dict[int, list[bytes]] = {}  # of open windows, in pieces
    settled: list[RowFile] = []

    @property
    def size(self) -> int:
        """Bytes that wait."""
        return sum(len(packed) for _, packed in self.waiting) + sum(len(piece) for pieces in self.rows.values() for piece in pieces)


def encode(checkpoint: Checkpoint) -> bytes:
    """The file."""
    return MAGIC + msgspec.msgpack.encode(checkpoint)


def recorded(settings: Settings, cycle: dict[str, int], data: bytes) -> str:
    """The configuration of a run of a followed input, for the ledger: settings, times, and which checkpoint is its own."""
    said = {**json.loads(settings.recorded()), "cycle": {**cycle, "checkpoint": hashlib.sha256(data).hexdigest()}}
    return json.dumps(said, separators=(",", ":"))


def is_followed(run: Run) -> bool:
    """Whether a run is one of a followed input."""
    return _checkpoint_of(run) is not None


def _checkpoint_of(run: Run) -> str | None:
    if '"checkpoint"' not in run.config:
        return None
    try:
        return json.loads(run.config)["cycle"]["checkpoint"]
    except (ValueError, KeyError, TypeError):
        return None


def is_sound(output: Output, run: Run) -> bool:
    """Whether the checkpoint is there that the run left."""
    path = storage.join(output.path, CHECKPOINT)
    return storage.exists(path) and hashlib.sha256(storage.read(path)).hexdigest() == _checkpoint_of(run)


def load(output: Output, runs: Sequence[Run], warnings: list[str]) -> Checkpoint:
    """What the runs so far carry on. Raises CheckpointError where something waits and what it is cannot be trusted."""
    expected = next((found for found in map(_checkpoint_of, reversed(runs)) if found is not None), None)
    path = storage.join(output.path, CHECKPOINT)
    pending = pending_of(runs)
    trouble = f"{path}: missing"
    if storage.exists(path):
        data = storage.read(path)
        if expected is None and not pending:
            trouble = f"{path}: no run in the ledger wrote it"
        elif hashlib.sha256(data).hexdigest() != expected:
            trouble = f"{path}: damaged, or another run's: its SHA-256 is not the ledger's"
        else:
            checkpoint = msgspec.msgpack.decode(data.removeprefix(MAGIC), type=Checkpoint)
            checkpoint.settled = [file for file in checkpoint.settled if _sound(output, file, warnings)]
            _tidy(output, checkpoint)
            return checkpoint
    elif expected is None and not pending:
        return Checkpoint()
    if pending:
        raise CheckpointError(
            f"{trouble}; {sum(pending.values()):,} events wait for their outcome, and it holds them. "
            "Put it back from a backup, or go on in another --output"
        )
    warnings.append(f"{trouble}; nothing waits, so it is made anew; copies and stages of events before now will not be recognised")
    _tidy(output, Checkpoint())
    return Checkpoint()


def _sound(output: Output, file: RowFile, warnings: list[str]) -> bool:
    path = storage.join(output.path, file.path)
    trouble = "missing"
    if storage.exists(path):
        if hashlib.sha256(storage.read(path)).hexdigest() == file.sha256:
            return True
        trouble = "damaged: its SHA-256 is not the checkpoint's"
    warnings.append(f"{path}: {trouble}; it is not used, so copies and stages of {file.rows:,} earlier events will not be recognised")
    return False


def _tidy(output: Output, checkpoint: Checkpoint) -> None:
    """Remove files of rows that nobody lists: a crash came between a commit and their removal."""
    listed = {storage.join(output.path, path) for path in (CHECKPOINT, INDEX, *(file.path for file in checkpoint.settled))}
    for path, _ in storage.files_below(storage.join(output.path, FOLLOW)):
        if path not in listed:
            storage.delete_file(path)


def merged_tier(files: Sequence[RowFile], span: int) -> list[RowFile]:
    """Files that should become one, oldest first: so many of like size, and of times no more than `span` apart. Else none."""
    tiers: dict[int, list[RowFile]] = {}
    for file in files:
        size, tier = file.rows, 0
        while size >= SMALL:
            size, tier = size // TIER, tier + 1
        tiers.setdefault(tier, []).append(file)
    for _, alike in sorted(tiers.items()):
        if len(alike) < TIER:
            continue
        alike.sort(key=lambda file: file.oldest)
        for first in alike:
            chosen = [file for file in alike if file.oldest >= first.oldest and file.newest - first.oldest <= span]
            if len(chosen) >= TIER // 2:
                return chosen
    return []
