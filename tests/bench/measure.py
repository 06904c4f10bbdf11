"""One program on one core: what it uses, and what it says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO, Any, Final, NamedTuple

ROOT: Final = Path(__file__).parent.parent.parent


class Measured(NamedTuple):
    """What a process used, children included, and the JSON document it printed."""

    said: dict[str, Any]
    cpu: float
    wall: float
    peak: int


def start(out: IO[bytes], *arguments: str, errors: IO[bytes] | None = None, pin: bool = True) -> subprocess.Popen[bytes]:
    """Start Python, on one core unless told otherwise."""
    child = subprocess.Popen([sys.executable, *arguments], cwd=ROOT, stdout=out, stderr=errors)
    if pin:
        os.sched_setaffinity(child.pid, {min(os.sched_getaffinity(0))})
    return child


def pinned(*arguments: str) -> Measured:
    """Run Python on one core until it ends. Raises RuntimeError where it fails."""
    with tempfile.TemporaryFile() as out:
        began = os.times().elapsed
        child = start(out, *arguments)
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        wall = os.times().elapsed - began
        if status:
            raise RuntimeError(f"{' '.join(arguments)}: exit {child.returncode}")
        out.seek(0)
        return Measured(json.loads(out.read().splitlines()[-1]), used.ru_utime + used.ru_stime, wall, used.ru_maxrss << 10)
