"""Reduce Kubernetes audit logs to compact Avro, with closed accounts.

  python -m pipelines.reduce --runner=DirectRunner --input /var/log/kubernetes/audit --output ./reduced

reads the logs, applies a Policy if you give one, strips managedFields, redacts secrets, removes copies, merges the stages of
each request, folds repeated reads into summaries and writes Avro. Every event is accounted for: see pipelines.verify.
Run it again whenever you like: what the output holds already is skipped.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import uuid
from typing import TYPE_CHECKING, Any, Final

import apache_beam as beam
import msgspec
from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions, StandardOptions

from pipelines import options
from pipelines.display import Ticker, report
from pipelines.ledger import ranges_of
from pipelines.output import Output, OutputError
from pipelines.plan import Held, Plan, plan
from transforms.aggregate_reads import AggregateReads
from transforms.apply_policy import ApplyPolicy
from transforms.audit.account import total
from transforms.close_accounts import MANIFEST, CloseAccounts, Manifest
from transforms.connectors import storage
from transforms.merge_stages import MergeStages
from transforms.parse_events import ParseEvents
from transforms.read_audit_logs import ReadAuditLogs
from transforms.redact_secrets import RedactSecrets
from transforms.resolve_copies import ResolveCopies
from transforms.settle_events import SettleEvents
from transforms.strip_managed_fields import StripManagedFields
from transforms.write_avro import WriteAvro

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from transforms.audit.settings import Settings

WORTH_WORKERS: Final = 256 << 20  # bytes of input below which starting further processes costs more than it saves


def build(root: beam.Pipeline, planned: Plan, settings: Settings, key: bytes, aside: str, run: int) -> None:
    """The graph: what is read, step by step, to files aside and one manifest."""
    events = (
        root
        | ReadAuditLogs(planned.splits, key, progress=aside)
        | ParseEvents(key)
        | ApplyPolicy(settings)
        | MergeStages(settings, key)
    )
    if not settings.keep_managed_fields:
        events |= StripManagedFields()
    settled = events | RedactSecrets(settings, key) | SettleEvents(settings, key) | ResolveCopies(settings, key)
    reads = settled.reads | AggregateReads(settings)
    files = (settled.blocks, reads) | "Records" >> beam.Flatten() | WriteAvro(aside, run)
    (settled.accounts, files) | CloseAccounts(aside)


def parser() -> options.Parser:
    """The flags."""
    out = options.Parser(prog="python -m pipelines.reduce", description=__doc__, epilog="Beam's own pipeline options are accepted too.")
    options.add_input_flags(out)
    out.add_argument("--output", default="./reduced", help="directory, or prefix on any Beam filesystem. Default: ./reduced")
    options.add_reduction_flags(out)
    options.add_key_flag(out)
    out.add_argument("--json", action="store_true", help="print the final counts as one JSON document on stdout")
    return out


def beam_options(rest: Sequence[str], problems: list[str]) -> PipelineOptions:
    """Beam's own options; what nobody knows is a problem."""
    try:
        parsed = PipelineOptions(list(rest))
        unknown = parsed.get_all_options(retain_unknown_options=True).keys() - parsed.get_all_options().keys()
        strays = [word for at, word in enumerate(rest) if not word.startswith("-") and not unknown and _stray(rest, at, parsed)]
    except SystemExit:
        problems.append(f"not understood: {' '.join(rest)}")
        return PipelineOptions([])
    problems += [f"unknown flag --{name} (see --help)" for name in sorted(unknown)]
    problems += [f"not understood: {word} (an input is given as --input {word})" for word in strays]
    return parsed


def _stray(rest: Sequence[str], at: int, parsed: PipelineOptions) -> bool:
    """Whether a word belongs to no flag: Beam drops such words, so without it all options stay the same."""
    try:
        return PipelineOptions([*rest[:at], *rest[at + 1 :]]).get_all_options() == parsed.get_all_options()
    except SystemExit:
        return False


def local_options(parsed: PipelineOptions, planned: Plan) -> None:
    """Pin Beam's in-process runner: one process, or one worker process per core where the input is worth it."""
    direct = parsed.view_as(DirectOptions)
    cores = len(os.sched_getaffinity(0))
    given = parsed.get_all_options(drop_default=True)
    if "direct_running_mode" not in given and "direct_num_workers" not in given:
        many = cores > 1 and len(planned.splits) > 1 and planned.bytes >= WORTH_WORKERS
        direct.direct_running_mode = "multi_processing" if many else "in_memory"
        direct.direct_num_workers = min(cores, len(planned.splits)) if many else 1
    parsed.view_as(StandardOptions).runner = "apache_beam.runners.portability.fn_api_runner.FnApiRunner"


def run(argv: Sequence[str]) -> int:
    """Parse, check, plan, run, commit, report; gives the exit code."""
    known, rest = parser().parse_known_args(list(argv))
    problems: list[str] = []
    warnings: list[str] = []
    settings = options.settings_of(known, problems, warnings)
    given = options.key_of(known, problems)
    files = options.files_of(known, known.output, problems)
    parsed = beam_options(rest, problems)
    if problems:
        raise options.ConfigurationError(problems)
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)
    with Output(known.output) as output:
        key = output.key(given)
        runs = output.runs(key)
        try:
            planned = plan(files, Held(runs, key))
        except OSError as error:
            raise options.ConfigurationError([f"--input {error.filename or ''}: {error.strerror}"]) from None
        trouble = options.disk_problem(known.output, planned.bytes, compressed=planned.compressed)
        if trouble is not None:
            raise options.ConfigurationError([trouble])
        return _reduce(known, parsed, output, key, planned, settings)


def _reduce(known: argparse.Namespace, parsed: PipelineOptions, output: Output, key: bytes, planned: Plan, settings: Settings) -> int:
    began = time.monotonic()
    runs = output.runs()
    head = runs[-1].head if runs else None
    manifest = Manifest([], [])
    if planned.splits:
        name = f"{len(runs) + 1:06d}-{uuid.uuid4().hex[:8]}"
        aside = output.aside(name)
        local = (parsed.view_as(StandardOptions).runner or "DirectRunner") in ("DirectRunner", "SwitchingDirectRunner")
        if local:
            local_options(parsed, planned)
            mode = parsed.view_as(DirectOptions)
            print(f"DirectRunner: Beam's in-process runner, {mode.direct_running_mode} with {mode.direct_num_workers} worker(s)", file=sys.stderr)
        with Ticker(aside, planned.bytes, exact=not planned.compressed):
            pipeline = beam.Pipeline(options=parsed)
            build(pipeline, planned, settings, key, aside, len(runs) + 1)
            pipeline.run().wait_until_finish()
        manifest = msgspec.msgpack.decode(storage.read(storage.join(aside, MANIFEST)), type=Manifest)
        head = output.commit(aside, manifest.files, head, settings.recorded(), key, ranges_of(manifest.accounts, planned.splits))
    summary = summary_of(manifest, planned, time.monotonic() - began, head)
    if known.json:
        print(json.dumps(summary))
    report(summary, manifest, planned, known.output)
    return 0


def summary_of(manifest: Manifest, planned: Plan, elapsed: float, head: str | None) -> dict[str, Any]:
    """The counts of a run, as `--json` prints them."""
    sums = total(manifest.accounts)
    return {
        "events": sums.events,
        "bytesIn": sums.size,
        "bytesOut": sum(file.bytes for file in manifest.files),
        "kept": sums.kept,
        "folded": sums.folded,
        "merged": sums.merged,
        "duplicate": sums.duplicate,
        "droppedByRule": sums.dropped_by_rule,
        "droppedByStage": sums.dropped_by_stage,
        "deadLettered": sums.dead_lettered,
        "files": len(manifest.files),
        "seconds": round(elapsed, 3),
        "head": head or "",
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code: 0 done, 1 failed midway, 2 refused, 130 on Ctrl-C."""
    try:
        return run(sys.argv[1:] if argv is None else argv)
    except options.ConfigurationError as error:
        print("refused; nothing was done:", *[f"  {problem}" for problem in error.problems], sep="\n", file=sys.stderr)
        return 2
    except OutputError as error:
        print(f"refused; nothing was done:\n  {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted: nothing of this run is in the output; run it again", file=sys.stderr)
        return 130
    except Exception as error:  # noqa: BLE001 - whatever fails midway, the run has not happened, and its text may hold content
        print(f"failed midway ({type(error).__name__}{_reason(error)}): nothing of this run is in the output; run it again", file=sys.stderr)
        return 1


def _reason(error: BaseException) -> str:
    """What the system says, if it is the system that failed; never the text of an exception, which may quote an event."""
    text = str(error)
    for phrase in ("No space left on device", "Disk quota exceeded", "Permission denied", "Input/output error", "Too many open files"):
        if phrase in text:
            return f": {phrase}"
    return ""


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.exit(code)
