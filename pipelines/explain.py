"""Explain what becomes of each event, and why: the steps of pipelines.reduce, in one process, writing nothing.

  python -m pipelines.explain --policy policy.yaml --input audit.log
  python -m pipelines.explain --input audit.log --audit_id 92309cae-b4ff-49a8-90fc-f8601837d98e --json
  python -m pipelines.explain --expect tests.yaml

One line per event on stdout, in input order. What it says is exact: copies and stages are looked for in all of the input,
so the first line comes when the last event is read, and memory grows by some 600 bytes per event.
"""

from __future__ import annotations

import gc
import os
import sys
from typing import TYPE_CHECKING, Any, Final

import msgspec

from pipelines import options
from pipelines.expect import ExpectationsError, check, load_expectations
from pipelines.interrupts import end_as_told
from pipelines.plan import plan
from transforms.audit.account import OUTCOMES
from transforms.audit.explain_events import REASONS, Explained, Explainer
from transforms.audit.reduce_all import reduce_splits
from transforms.audit.reduce_split import reduce_split
from transforms.audit.settings import Compiled
from transforms.audit.settle_loose import settle_loose
from transforms.connectors.audit_files import read_blocks

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from transforms.audit.block import RawBlock, Split
    from transforms.audit.settings import Settings
    from transforms.audit.settle_events import Unit

_encoder: Final = msgspec.json.Encoder()
HEADINGS: Final = ("outcome", "rule", "level", "stage", "verb", "why", "auditID", "source")
_WIDTHS: Final = (16, 4, 15, 16, 10, 28, 36)


def explain(
    splits: Sequence[Split],
    read: Callable[[Split], Iterable[RawBlock]],
    compiled: Compiled,
    audit_id: str | None = None,
    consumer: str | None = None,
) -> Iterator[list[Explained]]:
    """Every event of the splits with its outcome, in lists, in input order."""
    explainer = Explainer(compiled, audit_id, consumer)

    def reduce_one(at: int, recalled: bytes) -> list[Unit]:
        explainer.begin(at, splits[at])
        units = []
        for unit in reduce_split(read(splits[at]), compiled, splits[at], recalled, explainer.tell):
            unit.blocks = []
            unit.reads = {}
            units.append(unit)
        return units

    units = reduce_splits(len(splits), reduce_one)
    settle_loose(compiled, (event for found in units for unit in found for event in unit.loose), trace=explainer.tell)
    return explainer.explained()


def parser() -> options.Parser:
    """The flags."""
    reasons = "\n".join(f"  {name:<18} {meaning}" for name, meaning in REASONS.items())
    out = options.Parser(
        prog="python -m pipelines.explain", description=__doc__, epilog=f"What `why` can say, and of which outcome:\n{reasons}"
    )
    options.add_input_flags(out)
    options.add_reduction_flags(out, consumers=True)
    out.add_argument(
        "--only",
        action="append",
        choices=OUTCOMES,
        metavar="OUTCOME",
        help=f"show only events with this outcome; repeatable: {', '.join(OUTCOMES)}",
    )
    out.add_argument("--audit_id", metavar="ID", help="show only events with this audit ID")
    out.add_argument("--rule", metavar="N", help="show only events that the policy's rule N matched (from 0), or none of them: none")
    out.add_argument(
        "--expect", metavar="FILE", help="check a YAML file of events and expected outcomes instead; exit code 1 if one does not hold"
    )
    out.add_argument("--json", action="store_true", help="one JSON document per event; with --expect one for all")
    return out


def _row(row: Explained) -> str:
    rule = "-" if row.rule is None else str(row.rule)
    cells = (
        row.outcome,
        rule if row.policy is None else f"{row.policy}:{rule}",
        row.level or "-",
        row.stage or "-",
        row.verb or "-",
        ", ".join(row.why),
        row.auditID or "-",
    )
    return (
        " ".join(_printable(cell).ljust(width) for cell, width in zip(cells, _WIDTHS, strict=True))
        + f" {row.source.uri}:{row.source.offset}:{row.source.item}"
    )


def _side_by_side(found: Sequence[Iterator[list[Explained]]]) -> Iterator[list[Explained]]:
    """What becomes of each event for the first consumer, the second…, then of the next event."""
    for split in zip(*found, strict=True):
        yield [row for rows in zip(*split, strict=True) for row in rows]


def _printable(cell: str) -> str:
    # Clients choose audit IDs and verbs: no control character of theirs reaches a terminal.
    return cell if cell.isprintable() else cell.encode("unicode_escape").decode()


def _wanted(known: argparse.Namespace) -> Callable[[Explained], bool] | None:
    only, rule = frozenset(known.only or OUTCOMES), None if known.rule in (None, "none") else int(known.rule)
    if known.only is None and known.rule is None:
        return None
    return lambda row: row.outcome in only and (known.rule is None or (row.rule == rule and row.outcome != "dead_letter"))


def _show(known: argparse.Namespace, found: Iterator[list[Explained]]) -> None:
    wanted, out = _wanted(known), sys.stdout.buffer
    if not known.json:
        out.write((" ".join(name.ljust(width) for name, width in zip(HEADINGS, (*_WIDTHS, 0), strict=True)) + "\n").encode())
    counts: dict[str, int] = {}
    for split in found:
        rows = split if wanted is None else [row for row in split if wanted(row)]
        for row in rows:
            counts[row.outcome] = counts.get(row.outcome, 0) + 1
        for at in range(0, len(rows), 4096):
            some = rows[at : at + 4096]
            out.write(
                _encoder.encode_lines(some) if known.json else "".join(f"{_row(row)}\n" for row in some).encode("utf-8", "backslashreplace")
            )
        rows.clear()
        split.clear()
    out.flush()
    if not known.json:
        print(", ".join(f"{counts[name]:,} {name}" for name in OUTCOMES if name in counts) or "no such events", file=sys.stderr)


def _check(known: argparse.Namespace, settings: Settings) -> int:
    """Exit code of --expect."""
    try:
        tests = load_expectations(known.expect, settings)
    except ExpectationsError as error:
        raise options.ConfigurationError([f"--expect {known.expect}: {problem}" for problem in error.problems]) from None
    results: list[dict[str, Any]] = []
    for test in tests:
        compiled = Compiled(test.settings, os.urandom(32))
        rows = [row for some in explain(test.splits, test.read, compiled) for row in some]
        results.append({"name": test.name, "events": len(rows), "problems": check(test, rows)})
    failed = sum(1 for result in results if result["problems"])
    if known.json:
        sys.stdout.buffer.write(_encoder.encode({"failed": failed, "tests": results}) + b"\n")
    for result in results:
        print(
            f"{'FAILED' if result['problems'] else 'ok    '} {result['name']}",
            *[f"         {line}" for line in result["problems"]],
            sep="\n",
            file=sys.stderr,
        )
    print(f"{len(results)} tests, {failed} failed", file=sys.stderr)
    return 1 if failed else 0


def _rule_problem(known: argparse.Namespace, settings: Sequence[Settings]) -> Iterator[str]:
    """What is wrong with --rule, as far as the policies can be read."""
    if known.rule is None or known.rule == "none":
        return
    if not known.rule.isdecimal():
        yield f"--rule {known.rule}: expected a rule's index, from 0, or none"
    elif settings and not known.expect:
        policies = [policy for policy in (Compiled(each, b"").policy for each in settings) if policy is not None]
        last = max((len(policy.rules) for policy in policies), default=0) - 1
        if int(known.rule) > last:
            which = "the policy" if len(policies) == 1 else "the longest policy"
            there = f"{which} has rules 0 to {last}" if last else f"{which} has only rule 0"
            yield f"--rule {known.rule}: {there if policies else 'without --policy there are no rules'}"


def run(argv: Sequence[str]) -> int:
    """Parse, check, explain; gives the exit code."""
    known, rest = parser().parse_known_args(list(argv))
    problems: list[str] = [*known.problems, *options.unknown(rest)]
    warnings: list[str] = []
    consumers = options.consumers_of(known, problems, warnings)
    files = [] if known.expect else options.files_of(known, None, problems)
    problems += _rule_problem(known, [settings for _, settings in consumers] if not problems else [])
    if known.expect and known.input:
        problems.append("--expect brings its own events: --input has no effect beside it")
    if known.expect and len(consumers) > 1:
        problems.append("--expect takes one --policy: give each test its own")
    if problems:
        raise options.ConfigurationError(problems)
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)
    if known.expect:
        return _check(known, consumers[0][1])
    # Events come and go by the thousand and hold no cycles: looking for some costs a tenth of the time.
    gc.freeze()
    gc.set_threshold(200_000, 50, 50)
    key = os.urandom(32)
    try:
        splits = plan(files).splits
        found = [
            explain(splits, lambda split: read_blocks(split, key), Compiled(settings, key), known.audit_id, name)
            for name, settings in consumers
        ]
        _show(known, found[0] if len(found) == 1 else _side_by_side(found))
    except BrokenPipeError:
        sys.stdout = None  # who read our output has enough; nothing is left to flush
        return 0
    except OSError as error:
        print(f"failed midway: {error.filename or 'input'}: {error.strerror}", file=sys.stderr)
        return 1
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code: 0 done, 1 an expectation does not hold or reading failed, 2 refused, 130 on Ctrl-C."""
    try:
        return run(sys.argv[1:] if argv is None else argv)
    except options.ConfigurationError as error:
        print("refused:", *[f"  {problem}" for problem in error.problems], sep="\n", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    end_as_told()
    sys.exit(main())
