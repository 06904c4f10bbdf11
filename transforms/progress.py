"""How far the workers of a local run are: a small file each, summed by whoever asks."""

from __future__ import annotations

import mmap
import os
import struct
from pathlib import Path
from typing import Final

_COUNTS: Final = struct.Struct("<qq")


class Progress:
    """Counts bytes and events of one worker; without a directory it counts nothing."""

    def __init__(self, directory: str | None) -> None:
        self._map: mmap.mmap | None = None
        self._bytes = self._events = 0
        if directory is None or not Path(directory).is_dir():
            return
        path = Path(directory) / f"worker-{os.getpid()}-{id(self)}.progress"
        path.write_bytes(_COUNTS.pack(0, 0))
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), _COUNTS.size)

    def add(self, size: int, events: int) -> None:
        """Count a block."""
        if self._map is not None:
            self._bytes += size
            self._events += events
            _COUNTS.pack_into(self._map, 0, self._bytes, self._events)

    def close(self) -> None:
        """Let go of the file."""
        if self._map is not None:
            self._map.close()
            self._map = None


def progress_of(directory: str) -> tuple[int, int]:
    """Bytes and events that all workers have read."""
    total_bytes = total_events = 0
    for path in Path(directory).glob("worker-*.progress"):
        data = path.read_bytes()
        if len(data) == _COUNTS.size:
            size, events = _COUNTS.unpack(data)
            total_bytes += size
            total_events += events
    return total_bytes, total_events
