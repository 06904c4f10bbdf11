"""Report what a run would save, and by what, without writing anything: the steps of pipelines.reduce, in one process.

  python -m pipelines.report --input audit.log --price_per_gb 2.50
  python -m pipelines.report --input audit.log --policy policy.yaml --html report.html

The summary goes to stderr; --json prints everything as one document. Names in it are redacted as an output's are.
Bytes are those of JSON, as a SIEM bills them; stored bytes are what files take. What each step saves of stored bytes is
measured on a part, one byte in 64 or more; all other numbers count every event.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from pipelines import options
from pipelines.display import size_text
from pipelines.interrupts import end_as_told
from pipelines.plan import plan
from pipelines.report_document import document
from pipelines.report_html import page
from transforms.audit.account import OUTCOMES
from transforms.audit.settings import Compiled
from transforms.audit.survey import Survey
from transforms.connectors import storage
from transforms.connectors.audit_files import read_blocks

if TYPE_CHECKING:
    from collections.abc import Sequence

TOP: Final = 5
_NAME: Final = 44


def parser() -> options.Parser:
    """The flags."""
    out = options.Parser(prog="python -m pipelines.report", description=__doc__)
    options.add_input_flags(out)
    options.add_reduction_flags(out)
    out.add_argument(
        "--price_per_gb",
        type=_price,
        metavar="PRICE",
        help="what a SIEM bills for a GB (10^9 bytes) of JSON: shows costs per month, extrapolated from the time that the events span",
    )
    out.add_argument("--html", metavar="FILE", help="write the report as one self-contained page")
    out.add_argument("--json", action="store_true", help="print the report as one JSON document on stdout")
    return out


def _price(text: str) -> float:
    try:
        price = float(text)
    except ValueError:
        price = -1
    if not 0 <= price < 1e9:  # NaN fails as well
        raise argparse.ArgumentTypeError(f"{text!r} is no price")
    return price


def printable(name: str, width: int = _NAME) -> str:
    """A name for a terminal: no control characters, not longer than it may be."""
    name = name if name.isprintable() else name.encode("unicode_escape").decode()
    return name if len(name) <= width else name[: width - 1] + "…"


def _share(part: float, whole: float) -> str:
    return f"{100 * part / whole:5.1f} %" if whole else "    -  "


def _head(report: dict[str, Any]) -> list[str]:
    inputs, left, span = report["inputs"], report["left"], report["span"]
    captured = inputs["jsonBytes"]
    lines = [f"{inputs['events']:,} events, {size_text(captured)} of JSON in {inputs['files']} file{'' if inputs['files'] == 1 else 's'}"]
    if span:
        lines.append(f"from {span['from'][:19]}Z to {span['to'][:19]}Z")
    saved = f"{_share(captured - left['jsonBytes'], captured).strip()} less"
    lines.append(
        f"to a SIEM:  {size_text(captured)} -> {size_text(left['jsonBytes'])} of JSON ({saved}): "
        f"{left['events']:,} events, {left['summaries']:,} summaries of reads"
    )
    lines.append(f"on disk:    {size_text(inputs['storedBytes'])} as it is stored now -> {size_text(left['storedBytes'])} of Avro")
    cost = report["cost"]
    if cost and cost["perMonthBefore"] is not None:
        lines.append(
            f"cost:       {cost['perMonthBefore']:,.2f} -> {cost['perMonthAfter']:,.2f} a month "
            f"at {cost['pricePerGB']:g} per GB ({cost['note']})"
        )
    elif cost:
        lines.append(f"cost:       unknown: {cost['note']}")
    return lines


def _unmatched(report: dict[str, Any]) -> list[str]:
    lost = (report["policy"] or {}).get("unmatched")
    if not lost or not lost["events"]:
        return []
    share = _share(lost["events"], report["inputs"]["events"]).strip()
    top = ", ".join(f"{printable(row['name'])} ({row['events']:,})" for row in lost["top"])
    return [
        "",
        f"WARNING: {lost['events']:,} events ({share}) match no rule of the policy and are dropped, as kube-apiserver would:",
        f"  {top}",
        "  A last rule `- level: Metadata` keeps them.",
    ]


def _steps(report: dict[str, Any]) -> list[str]:
    captured = report["inputs"]["jsonBytes"]
    lines = ["", f"{'what each step saves':<26}{'events':>12}{'JSON':>12}{'':>9}{'stored':>12}"]
    for step in report["steps"]:
        stored = step.get("storedBytes")
        events = f"{step['events']:,}" if step["events"] is not None else ""
        lines.append(
            f"  {step['title']:<24}{events:>12}{_signed(step['jsonBytes']):>12}{_share(step['jsonBytes'], captured):>9}"
            f"{_signed(stored) if stored is not None else '':>12}"
        )
    left = report["left"]
    lines.append(
        f"  {'left':<24}{left['events']:>12,}{size_text(left['jsonBytes']):>12}{_share(left['jsonBytes'], captured):>9}"
        f"{size_text(left['storedBytes']):>12}"
    )
    places = ", ".join(f"{row['place']} {size_text(row['jsonBytes'])}" for row in report["managedFields"][:TOP])
    return [*lines, f"  managedFields were in {places}"] if places else lines


def _signed(size: int) -> str:
    return f"-{size_text(-size)}" if size < 0 else size_text(size)


def _tables(report: dict[str, Any]) -> list[str]:
    lines = []
    for name, rows in report["by"].items():
        lines += ["", f"{'by ' + name:<46}{'events':>12}{'JSON':>12}{'kept JSON':>12}"]
        lines += [
            f"  {printable(row['name']):<44}{row['events']:>12,}{size_text(row['jsonBytes']):>12}{size_text(row['keptBytes']):>12}"
            for row in rows[:TOP]
        ]
    lines += ["", "top talkers"]
    for row in report["topTalkers"][:TOP]:
        who = f"{printable(row['user'], 40)} {printable(row['verb'], 20)} {printable(row['resource'], 40)}"
        lines.append(f"  {size_text(row['jsonBytes']):>10} in {row['events']:,} events: {who} ({printable(row['userAgent'], 40)})")
    return lines


def _policy(report: dict[str, Any]) -> list[str]:
    policy = report["policy"]
    if policy is None:
        return []
    lines = ["", "rules of the policy, by what they save"]
    for rule in sorted(policy["rules"], key=lambda rule: -rule["saves"]):
        if rule["saves"]:
            hides = ", ".join(f"{name} {count:,}" for name, count in rule["hides"].items())
            lines.append(
                f"  rule {rule['rule']:<4} {rule['level']:<16}{rule['events']:>10,} events, saves {size_text(rule['saves'])}"
                f"{f'; HIDES what guards keep: {hides}' if hides else ''}"
            )
    if policy["neverMatched"]:
        lines.append(f"  never matched: {', '.join(f'rule {rule}' for rule in policy['neverMatched'])}")
    return lines


def _guards(report: dict[str, Any]) -> list[str]:
    if not report["guards"]:
        return []
    lines = ["", "reads that guards keep whole"]
    return lines + [
        f"  {printable(row['guard'], 16):<16}{row['events']:>10,} events {size_text(row['jsonBytes']):>10}  {printable(row['reason'], 90)}"
        for row in report["guards"]
    ]


def _suggestions(report: dict[str, Any]) -> list[str]:
    if not report["suggestions"]:
        return []
    lines = ["", "rules worth adding (before the others, those of level None first; their savings overlap)"]
    for each in report["suggestions"]:
        lines += [
            "",
            (
                f"  # {printable(each['title'], 100)}: saves {size_text(each['saves'])} of what is captured, "
                f"{size_text(each['saves_more'])} of what is left"
            ),
        ]
        lines.append(f"  # risk {each['risk']}: {each['why']}")
        lines += [f"  {line}" for line in each["yaml"].splitlines()]
    return lines


def summary(report: dict[str, Any]) -> str:
    """The report for a terminal."""
    outcomes = ", ".join(
        f"{report['outcomes'][name]['events']:,} {name}" for name in reversed(OUTCOMES) if report["outcomes"][name]["events"]
    )
    parts = [
        _head(report),
        _unmatched(report),
        ["", outcomes],
        _steps(report),
        _tables(report),
        _policy(report),
        _guards(report),
        _suggestions(report),
    ]
    return "\n".join(line for part in parts for line in part)


def run(argv: Sequence[str]) -> int:
    """Parse, check, survey, show; gives the exit code."""
    known, rest = parser().parse_known_args(list(argv))
    problems: list[str] = [*known.problems, *options.unknown(rest)]
    warnings: list[str] = []
    settings = options.settings_of(known, problems, warnings)
    files = options.files_of(known, None, problems)
    if known.html is not None and (Path(known.html).is_dir() or not Path(known.html).absolute().parent.is_dir()):
        problems.append(f"--html {known.html}: expected a file in a directory that exists")
    elif known.html is not None and (reason := storage.unwritable(known.html)) is not None:
        problems.append(f"--html {known.html}: cannot be written ({reason})")
    if problems:
        raise options.ConfigurationError(problems)
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)
    # Events come and go by the thousand and hold no cycles: looking for some costs a tenth of the time.
    gc.freeze()
    gc.set_threshold(200_000, 50, 50)
    began, key = time.monotonic(), os.urandom(32)
    compiled = Compiled(settings, key)
    try:
        planned = plan(files)
        found = Survey(compiled).run(planned.splits, lambda split: read_blocks(split, key))
        inputs = {"files": planned.files, "storedBytes": planned.bytes}
        report = document(found, compiled, inputs, known.price_per_gb) | {"seconds": round(time.monotonic() - began, 3)}
        if known.html is not None:
            Path(known.html).write_text(page(report), encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        print(f"failed midway: {error.filename or 'input'}: {error.strerror}", file=sys.stderr)
        return 1
    if known.json:
        sys.stdout.buffer.write(msgspec.json.encode(report) + b"\n")
    print(summary(report).encode("utf-8", "backslashreplace").decode(), file=sys.stderr)
    if known.html is not None:
        print(f"\nthe page is in {known.html}", file=sys.stderr)
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code: 0 done, 1 failed midway, 2 refused, 130 on Ctrl-C."""
    try:
        return run(sys.argv[1:] if argv is None else argv)
    except options.ConfigurationError as error:
        print("refused; nothing was done:", *[f"  {problem}" for problem in error.problems], sep="\n", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    end_as_told()
    sys.exit(main())
