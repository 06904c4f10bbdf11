"""Read JSON that nests deeper than the stack has room for, on a stack of its own.

JSON readers recurse, and give up where the interpreter's recursion limit is reached: sooner, the deeper the caller stands.
What one worker reads and another does not would make the result depend on the runner. So whoever runs out of stack tries
once more in a new thread, where nothing stands below: how deep a record may nest is the interpreter's own limit then, less
a few levels (about 990 in Python 3.11), whoever asks. Ordinary records pay nothing.
"""

from __future__ import annotations

from threading import Thread
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


def on_fresh_stack(function: Callable[..., T], *arguments: Any) -> T:
    """What the function gives, or raises, when nothing stands below it on the stack."""
    out: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            out.append(function(*arguments))
        except BaseException as error:  # noqa: BLE001 - raised again by whoever asked
            errors.append(error)

    thread = Thread(target=run, daemon=True)
    thread.start()
    thread.join()
    if errors:
        raise errors[0].with_traceback(None)
    return out[0]
