"""The floor: the simplest honest script, `orjson.loads` and `dumps` of every line and nothing else."""

from __future__ import annotations

import sys
from pathlib import Path

import orjson


def main(paths: list[str]) -> None:
    """Read every line, build it, print it to nowhere."""
    events = size = out = 0
    for path in paths:
        with Path(path).open("rb") as file:
            for line in file:
                out += len(orjson.dumps(orjson.loads(line))) + 1
                events += 1
                size += len(line)
    print(orjson.dumps({"events": events, "bytesIn": size, "bytesOut": out}).decode())


if __name__ == "__main__":
    main(sys.argv[1:])
