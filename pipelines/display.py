"""What a person sees of a run: progress while it works, a short report at its end. All on stderr."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from transforms.audit.account import total
from transforms.progress import progress_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from pipelines.plan import Plan
    from transforms.audit.account import Account
    from transforms.close_accounts import Manifest
    from transforms.connectors.avro_files import OutputFile


SAVINGS: Final = {
    "merged": "merged stages",
    "folded": "folded reads",
    "duplicate": "duplicates",
    "dropped": "the policy",
    "managedFields": "managedFields of kept events",
    "redaction": "redaction of kept events",
}


class Ticker:
    """Shows events, MB/s and percent: a line that is rewritten on a terminal, a line now and then elsewhere."""

    def __init__(self, directory: str, size: int, *, exact: bool) -> None:
        self._directory = directory
        self._size = size if exact else 0
        self._live = sys.stderr.isatty()
        self._interval = 0.5 if self._live else 15.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._tick, daemon=True)
        self._began = time.monotonic()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()
        if self._live:
            print("\r\x1b[K", end="", file=sys.stderr)

    def _tick(self) -> None:
        while not self._stop.wait(self._interval):
            size, events = progress_of(self._directory)
            rate = size / 1e6 / max(time.monotonic() - self._began, 0.001)
            share = f", {min(100, 100 * size // self._size)} %" if self._size else ""
            line = f"{events:,} events, {size / 1e6:,.0f} MB read, {rate:,.0f} MB/s{share}"
            print(f"\r\x1b[K{line}" if self._live else line, end="" if self._live else "\n", file=sys.stderr, flush=True)


def size_text(size: float) -> str:
    """Bytes for people."""
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"


def summary_of(sums: Account, files: Sequence[OutputFile], elapsed: float, head: str | None) -> dict[str, Any]:
    """The counts of a run, as `--json` prints them."""
    return {
        "events": sums.events,
        "bytesIn": sums.size,
        "bytesOut": sum(file.bytes for file in files),
        "kept": sums.kept,
        "folded": sums.folded,
        "merged": sums.merged,
        "duplicate": sums.duplicate,
        "droppedByRule": sums.dropped_by_rule,
        "droppedByStage": sums.dropped_by_stage,
        "deadLettered": sums.dead_lettered,
        "files": len(files),
        "seconds": round(elapsed, 3),
        "head": head or "",
    }


def report(summary: dict[str, Any], manifest: Manifest, planned: Plan, output: str, name: str | None = None) -> None:
    """The end of a run: what came of the events, what was saved, where the files are, what to try next."""
    say = lambda text="": print(text, file=sys.stderr)  # noqa: E731 - shorter than a def here
    if name is not None:
        say(f"consumer {name}:")
    if not planned.splits:
        say(f"nothing new: the output holds all of the input already ({planned.files} files, {size_text(planned.held)})")
        return
    events = summary["events"]
    saved = 100 * (1 - summary["bytesOut"] / summary["bytesIn"]) if summary["bytesIn"] else 0.0
    sizes = f"{size_text(summary['bytesIn'])} read -> {size_text(summary['bytesOut'])} written ({saved:.1f} % less)"
    say(f"{events:,} events, {sizes}, {summary['seconds']:.1f} s")
    weights = total(manifest.accounts).sizes
    _table(summary, weights)
    savings = [(weights.get(what, 0), name) for what, name in SAVINGS.items() if weights.get(what)]
    if savings:
        say("biggest savings: " + ", ".join(f"{name} {size_text(size)}" for size, name in sorted(savings, reverse=True)[:4]))
    if planned.held:
        say(f"  skipped: {size_text(planned.held)} that the output holds already")
    by_kind: dict[str, int] = {}
    for file in manifest.files:
        by_kind[file.kind] = by_kind.get(file.kind, 0) + file.bytes
    say("files: " + (", ".join(f"{output}/{kind}/ {size_text(size)}" for kind, size in sorted(by_kind.items())) or "none"))
    say(_next(output))


def report_following(summary: dict[str, Any], weights: dict[str, int], output: str, name: str | None = None) -> None:
    """The end of a job that followed or drained: what all its cycles committed."""
    say = lambda text="": print(text, file=sys.stderr)  # noqa: E731 - as above
    if name is not None:
        say(f"consumer {name}:")
    if not summary["events"] and not summary["pending"]:
        say("nothing new")
        return
    sizes = f"{size_text(summary['bytesIn'])} read -> {size_text(summary['bytesOut'])} written"
    say(f"{summary['events']:,} events, {sizes} in {summary['files']} files, {summary['seconds']:.1f} s")
    _table(summary, weights)
    say(_next(output))


def _next(output: str) -> str:
    """What to try next, as it can be typed where the run was started."""
    here = Path.cwd()
    interpreter = str(Path(sys.executable).relative_to(here)) if Path(sys.executable).is_relative_to(here) else "python"
    cat, verify = (f"{interpreter} -m pipelines.{name}" for name in ("cat", "verify"))
    return f"next:  {cat} {output}/events | head        {verify} --output {output}"


def _table(summary: dict[str, Any], weights: dict[str, int]) -> None:
    say = lambda text="": print(text, file=sys.stderr)  # noqa: E731 - as above
    events, pending = summary["events"], summary.get("pending", 0)
    rows = [
        ("kept", summary["kept"], weights.get("kept"), "written whole to events/"),
        ("merged", summary["merged"], weights.get("merged"), "earlier stages, in their final event's record"),
        ("folded", summary["folded"], weights.get("folded"), "reads, counted in reads/"),
        ("duplicate", summary["duplicate"], weights.get("duplicate"), "the same again"),
        ("dropped by rule", sum(summary["droppedByRule"].values()), None, "level None in the policy"),
        ("dropped by stage", summary["droppedByStage"], None, "omitStages in the policy"),
        ("dead letters", sum(summary["deadLettered"].values()), None, ", ".join(sorted(summary["deadLettered"])) or "unreadable"),
        ("pending", pending, None, "wait for their outcome" if pending >= 0 else "waited, and have their outcome now"),
    ]
    for outcome, count, size, meaning in rows:
        if count or outcome in ("kept", "merged", "folded", "duplicate"):
            share = 100 * count / events if events else 0
            say(f"  {outcome:<17}{count:>12,}  {share:5.1f} %  {size_text(size) if size else '':>9}  {meaning}")
    accounted = sum(count for _, count, *_ in rows)
    closed = "= events: the accounts are closed" if accounted == events else "!= events: THE ACCOUNTS ARE NOT CLOSED"
    say(f"  {'sum':<17}{accounted:>12,}  {closed}")
    if summary["droppedByRule"].get("none"):
        say(f"  note: {summary['droppedByRule']['none']:,} events matched no rule of the policy and were dropped, as kube-apiserver would")
