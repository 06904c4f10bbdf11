"""Ctrl-C while the modules of a command are imported: it ends at once and without a word, for nothing has begun that could be told of."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType


def _leave(_number: int, _frame: FrameType | None) -> None:
    os._exit(130)  # no exception: a module that is being imported may take one for a sign that something is missing


def end_quietly() -> None:
    """Until `end_as_told`. Whoever ignores the signal, as a shell does for what it starts in the background, still does."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _leave)


def end_as_told() -> None:
    """From here on Ctrl-C raises KeyboardInterrupt: `main` is ready to say what became of the work."""
    if signal.getsignal(signal.SIGINT) is _leave:
        signal.signal(signal.SIGINT, signal.default_int_handler)
