"""Which files a directory or glob names: the same ones for a batch run and for one that follows them."""

from __future__ import annotations

import os
from fnmatch import fnmatchcase
from glob import glob, has_magic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def is_skipped(path: str) -> bool:
    """Whether a part of a path says that it is hidden, or not finished."""
    return any(name.startswith((".", "_")) or name.endswith(".tmp") for name in path.split("/") if name)


def is_unasked(path: str, pattern: str) -> bool:
    """Whether a part of a path that matches a glob is hidden or not finished, and no part of the glob says that it is wanted.

    A part that begins with `.` or `_` is asked for by one that begins so as well, one that ends in `.tmp` by one that does.
    """
    return any(is_skipped(name) and not any(_asks(part, name) for part in pattern.split("/")) for name in path.split("/"))


def _asks(part: str, name: str) -> bool:
    return (
        fnmatchcase(name, part)
        and (part[:1] == name[:1] or not name.startswith((".", "_")))
        and (part.endswith(".tmp") or not name.endswith(".tmp"))
    )


def matches(pattern: str, output: str | None) -> list[str]:
    """The files and directories that a glob names, sorted, less those it does not ask for and the output (its real path) itself."""
    found = sorted(glob(pattern, recursive=True))  # noqa: PTH207 - wants a base
    return [name for name in found if not is_unasked(name, pattern) and not is_within(name, output)]


def is_within(path: str, output: str | None) -> bool:
    """Whether a path is the output (its real path), or below it."""
    return output is not None and os.path.join(os.path.realpath(path), "").startswith(os.path.join(output, ""))  # noqa: PTH118 - many


def files_below(directory: str, output: str | None, trouble: Callable[[OSError], None]) -> Iterator[os.DirEntry[str]]:
    """What is below a directory, less hidden and temporary files and directories and the output (its real path) itself.

    Nothing where the directory is in the output. In no order. Symbolic links to files are followed, those to directories
    are not. A directory that cannot be read is told to `trouble`; one that vanishes has nothing in it.
    """
    if is_within(directory, output):
        return
    try:
        with os.scandir(directory) as entries:
            found = [entry for entry in entries if not is_skipped(entry.name)]
    except FileNotFoundError:
        return
    except OSError as error:
        trouble(error)
        return
    for entry in found:
        if entry.is_dir(follow_symlinks=False):
            yield from files_below(entry.path, output, trouble)
        elif not (entry.is_symlink() and entry.is_dir()):
            yield entry


def files_named(pattern: str, output: str | None, trouble: Callable[[OSError], None]) -> Iterator[tuple[str, os.stat_result]]:
    """What a path, directory or glob names now, each with its status; what cannot be told is told to `trouble`."""
    if os.path.isdir(pattern):  # noqa: PTH112 - these run for every look
        named = [pattern]
    elif has_magic(pattern) and not os.path.lexists(pattern):
        named = matches(pattern, output)
    else:
        named = [pattern]
    for name in named:
        try:
            if os.path.isdir(name):  # noqa: PTH112
                for entry in files_below(name, output, trouble):
                    try:
                        yield entry.path, entry.stat()
                    except FileNotFoundError:
                        continue
                    except OSError as error:
                        trouble(error)
            else:
                yield name, os.stat(name)  # noqa: PTH116
        except FileNotFoundError:
            continue
        except OSError as error:
            trouble(error)
