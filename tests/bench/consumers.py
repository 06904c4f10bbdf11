"""Several consumers: what three policies cost together, beside each of them alone, on the same files in the same minutes."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any, Final

from tests.bench.measure import ROOT, pinned

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

BOUND: Final = 1.6  # times the costliest of them alone
POLICIES: Final = ("cks", "forensic", "cost-saving")


def measured(paths: Sequence[Path], work: Path) -> list[dict[str, Any]]:
    """A row for each policy alone and one for all together: CPU seconds, peak memory, events kept."""
    files = {name: str(ROOT / "transforms" / "audit" / "policies" / f"{name}.yaml") for name in POLICIES}
    runs = {name: [f"--policy={file}"] for name, file in files.items()}
    runs["together"] = [f"--policy={name}={file}" for name, file in files.items()]
    inputs = [f"--input={path}" for path in paths]
    rows = []
    for name, policies in runs.items():
        output = work / "consumers"
        done = pinned("-m", "pipelines.reduce", "--runner=DirectRunner", *inputs, f"--output={output}", "--json", *policies)
        shutil.rmtree(output)
        said = done.said.get("consumers") or {name: done.said}
        rows.append({"policy": name, "CPU s": done.cpu, "peak MB": done.peak / 1e6, "kept": sum(each["kept"] for each in said.values())})
    return rows


def described(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    """For people."""
    *alone, together = rows
    yield "three policies, CPU s: " + ", ".join(f"{each['policy']} {each['CPU s']:.2f}" for each in rows)
    costliest = max(each["CPU s"] for each in alone)
    yield (
        f"  together {together['CPU s'] / costliest:.2f} times the costliest alone (bound {BOUND}), "
        f"{together['CPU s'] / sum(each['CPU s'] for each in alone):.2f} times all one after another; {together['peak MB']:,.0f} MB at most"
    )
