"""Print Avro files of ours as NDJSON, events in the shape that Kubernetes writes them.

  python -m pipelines.cat reduced/events | jq -r '[.stageTimestamp, .user.username, .verb, .requestURI] | @tsv'

takes events, read summaries, dead letters and ledger entries: files, directories (all *.avro below them, sorted, without names
that begin with . or _) and globs (which find such names only if they begin so too), local or of any Beam filesystem. What stands
in a summary as its exemplar is an event too.
"""

from __future__ import annotations

import os
import sys
from glob import has_magic
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

from pipelines.interrupts import end_as_told
from pipelines.options import ConfigurationError, Parser
from transforms.audit.to_kubernetes import OURS, event_json, plain_json, summary_json
from transforms.connectors import storage
from transforms.connectors.avro_files import kind_of_file, records_of
from transforms.connectors.directories import is_unasked, matches

if TYPE_CHECKING:
    from collections.abc import Sequence

CHUNK: Final = 1 << 20  # one write per so many bytes


def parser() -> Parser:
    """The flags."""
    out = Parser(prog="python -m pipelines.cat", description=__doc__)
    out.add_argument("path", nargs="+", metavar="PATH", help="an Avro file that pipelines.reduce wrote, a directory of them, or a glob")
    out.add_argument(
        "--ours",
        action="store_true",
        help=f"add to each event, as {OURS!r}, what is ours: cluster, digest, source, stages, policyRule, reductions, flags",
    )
    return out


def avro_files(path: str) -> list[str]:
    """The files that a path names, sorted. Raises OSError where there is nothing."""
    if storage.scheme(path) is not None:
        if has_magic(path):
            matched = sorted(metadata.path for match in storage.filesystem(path).match([path]) for metadata in match.metadata_list)
            return [found for found in matched if not is_unasked(found, path)]
        below = [found for found, _ in storage.files_below(path) if _wanted(found.removeprefix(path))]
        return below or [path]
    if Path(path).is_dir():
        return [found for found, _ in storage.files_below(path) if _wanted(os.path.relpath(found, path))]
    if not Path(path).exists() and has_magic(path):
        return [found for name in matches(path, None) for found in avro_files(name)]
    return [path]


def _wanted(relative: str) -> bool:
    return relative.endswith(".avro") and not any(name.startswith((".", "_")) for name in relative.split("/") if name)


def files_and_kinds(paths: Sequence[str]) -> list[tuple[str, str]]:
    """All files with the kind of their records. Raises ConfigurationError with all that is wrong."""
    problems: list[str] = []
    files: list[tuple[str, str]] = []
    for path in paths:
        try:
            found = avro_files(path)
            if not found:
                problems.append(f"{path}: no Avro files there")
            files += [(file, kind_of_file(file)) for file in found]
        except OSError as error:
            problems.append(f"{error.filename or path}: {error.strerror or 'cannot be read'}")
        except (ValueError, storage.MissingExtraError) as error:
            problems.append(str(error))
    if problems:
        raise ConfigurationError(problems)
    return files


def print_file(path: str, kind: str, out: IO[bytes], *, ours: bool) -> None:
    """The file's records, a line each."""
    lines: list[bytes] = []
    size = 0
    for record in records_of(path, kind):
        line = _line(kind, record, ours=ours)
        lines.append(line)
        size += len(line)
        if size >= CHUNK:
            out.write(b"\n".join((*lines, b"")))
            lines, size = [], 0
    out.write(b"\n".join((*lines, b"")) if lines else b"")
    out.flush()


def _line(kind: str, record: dict[str, Any], *, ours: bool) -> bytes:
    if kind == "events":
        return event_json(record, ours=ours)
    return summary_json(record, ours=ours) if kind == "reads" else plain_json(record)


def main(argv: Sequence[str] | None = None, out: IO[bytes] | None = None) -> int:
    """Exit code: 0 done, also where the reader of a pipe has had enough; 1 a file is damaged; 2 refused; 130 on Ctrl-C."""
    out = out or sys.stdout.buffer
    path = ""
    try:
        known = parser().parse_args(argv)
        for path, kind in files_and_kinds(known.path):
            print_file(path, kind, out, ours=known.ours)
    except ConfigurationError as error:
        print("refused; nothing was done:", *[f"  {problem}" for problem in error.problems], sep="\n", file=sys.stderr)
        return 2
    except BrokenPipeError:
        # The interpreter would flush once more at exit, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130
    except Exception as error:  # noqa: BLE001 - a damaged file makes its reader raise anything
        print(f"{path}: damaged or cut off ({type(error).__name__}); what stands before that was printed", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    end_as_told()
    sys.exit(main())
