"""Measure the whole run on one core, each step's kernel, and the floor beside them, on the same files in the same minutes.

Then three policies beside one, the same events in envelopes, beside plain lines; and from Kafka.

python -m tests.bench [--data DIR] [--repeat_to 1GB] [--kernel_bytes 128MB] [--consumer_bytes 300MB] [--envelope_bytes 32MB]
                      [--kafka_minutes 15] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from tests.bench import consumers, kafka
from tests.bench.corpus import corpus, whole_lines
from tests.bench.envelopes import BOUND
from tests.bench.kernels import POLICY, RULES
from tests.bench.measure import pinned

_UNITS: Final = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9}
GB: Final = 1e9
MB: Final = 1e6


def size_of(text: str) -> int:
    """`200MB` in bytes. Raises argparse.ArgumentTypeError."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(KB|MB|GB|)", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r}: write 200MB or 1GB")
    return int(float(found[1]) * _UNITS[found[2]])


def head_of(paths: list[Path], target: Path, size: int) -> list[Path]:
    """The files themselves, or one with their first `size` bytes: a kernel's speed needs no whole corpus."""
    if sum(path.stat().st_size for path in paths) <= size:
        return paths
    with target.open("wb") as out:
        for path in paths:
            with path.open("rb") as file:
                for piece in whole_lines(file):
                    if out.tell() >= size:
                        return [target]
                    out.write(piece)
    return [target]


def stored(output: Path) -> int:
    """Bytes of the output's files, less `_state`."""
    return sum(path.stat().st_size for path in output.rglob("*.avro"))


def row(name: str, events: int, size: int, cpu: float, peak: int, out: int, floor: float) -> dict[str, Any]:
    """One line of the table; `floor` in CPU seconds per GB."""
    return {
        "step": name,
        "events/s": events / cpu if cpu else 0.0,
        "µs/event": cpu / events * 1e6 if events else 0.0,
        "MB/s": size / cpu / MB if cpu else 0.0,
        "CPU s/GB": cpu / size * GB,
        "CPU s": cpu,
        "peak MB": peak / MB,
        "MB out": out / MB,
        "of floor": cpu / size * GB / floor if floor else 0.0,
    }


def measured(paths: list[Path], work: Path, kernel_bytes: int) -> list[dict[str, Any]]:
    """Rows of the table: the floor, the whole run, the kernels."""
    names = list(map(str, paths))
    output = work / "reduced"
    floor = pinned("-m", "tests.bench.floor", *names)
    size = floor.said["bytesIn"]
    per_gb = floor.cpu / size * GB
    inputs = [f"--input={name}" for name in names]
    whole = pinned("-m", "pipelines.reduce", "--runner=DirectRunner", *inputs, f"--output={output}", "--json")
    if whole.said["events"] != floor.said["events"]:
        raise RuntimeError(f"the run counts {whole.said['events']} events, the floor {floor.said['events']} lines")
    part = head_of(paths, work / "head.ndjson", kernel_bytes)
    kernels = pinned("-m", "tests.bench.kernels", *map(str, part))
    rows = [
        row("floor: loads + dumps", floor.said["events"], size, floor.cpu, floor.peak, floor.said["bytesOut"], per_gb),
        row("whole run, one core", whole.said["events"], size, whole.cpu, whole.peak, stored(output), per_gb),
    ]
    said = kernels.said
    for name, step in said["steps"].items():
        rows.append(row(name, said["events"], said["bytesIn"], step["cpu"], step["peak"], step["bytesOut"], per_gb))
    return rows


def enveloped(paths: list[Path], work: Path, size: int) -> list[dict[str, Any]]:
    """Rows of the table of envelopes."""
    part = head_of(paths, work / "wrapped.ndjson", size)
    rows: list[dict[str, Any]] = pinned("-m", "tests.bench.envelopes", *map(str, part)).said["rows"]
    return rows


def cell(value: float | str, column: str) -> str:
    """One cell of a table."""
    return value if isinstance(value, str) else f"{value:,.{0 if column in ('events', 'events/s') else 2}f}"


def table(rows: list[dict[str, Any]]) -> str:
    """For people."""
    columns = list(rows[0])
    widths = [max(len(column), 11) for column in columns]
    widths[0] = max(len(each[columns[0]]) for each in rows)
    lines = [
        "  ".join(
            column.rjust(width) if at else column.ljust(width) for at, (column, width) in enumerate(zip(columns, widths, strict=True))
        )
    ]
    for each in rows:
        cells = [each[columns[0]].ljust(widths[0])]
        for column, width in zip(columns[1:], widths[1:], strict=True):
            cells.append(cell(each[column], column).rjust(width))
        lines.append("  ".join(cells))
    return "\n".join(lines)


def main(argv: list[str]) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data",
        default=os.environ.get("BENCH_DATA") or None,
        help="directory of logs, plain or .zst. Default: BENCH_DATA, else the bundled sample repeated",
    )
    parser.add_argument("--repeat_to", "--repeat-to", type=size_of, help="repeat the logs to this size, with fresh audit IDs and times")
    parser.add_argument(
        "--kernel_bytes", type=size_of, default=size_of("128MB"), help="how much of the logs the kernels read. Default: 128MB"
    )
    parser.add_argument(
        "--consumer_bytes", type=size_of, default=size_of("300MB"), help="how much of the logs several consumers read. Default: 300MB"
    )
    parser.add_argument(
        "--envelope_bytes", type=size_of, default=size_of("32MB"), help="how much of the logs is wrapped in envelopes. Default: 32MB"
    )
    parser.add_argument(
        "--kafka_minutes", type=float, default=1, help="how long Kafka is read at full speed; 0: leave Kafka out. Default: 1"
    )
    parser.add_argument("--json", action="store_true", help="print the rows as JSON")
    asked = parser.parse_args(argv)
    directory = None if asked.data is None else Path(asked.data)
    if directory is not None and not directory.is_dir():
        parser.error(f"--data {directory}: no such directory")
    with tempfile.TemporaryDirectory(prefix="bench-") as work:
        paths = corpus(directory, Path(work), asked.repeat_to)
        size = sum(path.stat().st_size for path in paths)
        python, part = sys.version.split()[0], asked.kernel_bytes / MB
        print(f"{len(paths)} file(s), {size / MB:,.1f} MB; Python {python}, one core; kernels read {part:,.0f} MB at most", file=sys.stderr)
        rows = measured(paths, Path(work), asked.kernel_bytes)
        shared = consumers.measured(head_of(paths, Path(work) / "shared.ndjson", asked.consumer_bytes), Path(work))
        envelopes = enveloped(paths, Path(work), asked.envelope_bytes)
        streamed = kafka.measured(paths, Path(work), asked.kafka_minutes) if asked.kafka_minutes else []
    if asked.json:
        print(json.dumps({"steps": rows, "consumers": shared, "envelopes": envelopes, "kafka": streamed}))
    else:
        floor, whole = rows[0]["CPU s"], rows[1]["CPU s"]
        print(table(rows))
        print(f"\nwhole run: {whole:.2f} CPU s, start-up included; {whole / floor:.2f} times the floor ({floor:.2f} CPU s)")
        decisions = next(each for each in rows if each["step"] == POLICY)
        print(f"policy: {1e6 / decisions['events/s']:.2f} µs an event, {RULES} rules, all that the step does included\n")
        print(*consumers.described(shared), "", sep="\n")
        print(table(envelopes))
        print(f"\nCPU seconds per GB of the events as plain lines; of plain: without unpacking, {BOUND} times at most\n")
        print(*kafka.described(streamed, rows[1]["events/s"]), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
