"""Reduce Kubernetes audit logs to compact Avro, with closed accounts.

  python -m pipelines.reduce --runner=DirectRunner --input /var/log/kubernetes/audit --output ./reduced

reads the logs, applies a Policy if you give one, strips managedFields, redacts secrets, removes copies, merges the stages of
each request, folds repeated reads into summaries and writes Avro. Every event is accounted for: see pipelines.verify.
Run it again whenever you like: what the output holds already is skipped.
"""

from __future__ import annotations

import json
import re
import signal
import sys
import threading
import time
import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from pipelines.lean_start import lean_start
from pipelines.quiet_logs import quiet_logs

lean_start()
quiet_logs()  # before Beam is imported: it remarks on packages that a base install does not have

import apache_beam as beam
import msgspec
from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions, StandardOptions
from apache_beam.runners.runner import create_runner

from pipelines import options
from pipelines.display import Ticker, report, summary_of
from pipelines.follow_command import CycleError, check_following, check_unfollowed, follow
from pipelines.followed_inputs import is_followed, sources_of
from pipelines.graph import RepeatedOptions, Task, build, local_options
from pipelines.interrupts import end_as_told
from pipelines.ledger import Run, ranges_of
from pipelines.output import Output, OutputError
from pipelines.plan import Held, Plan, plan
from transforms.audit.account import total
from transforms.audit.self_test import self_test
from transforms.audit.settings import Compiled, Settings
from transforms.close_accounts import MANIFEST, Manifest
from transforms.connectors import storage
from transforms.connectors.sources import SourceError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import FrameType

    from transforms.audit.block import Split

EXAMPLES: Final = """examples:
  python -m pipelines.reduce --runner=DirectRunner
      the bundled sample into ./reduced
  python -m pipelines.reduce --runner=DirectRunner --input cluster=east,/logs/east --input cluster=west,/logs/west --output /data/audit
      two clusters into one output
  python -m pipelines.reduce --runner=DirectRunner --input audit.log --policy siem=siem.yaml --policy archive=archive.yaml
      two consumers from one reading: ./reduced/siem and ./reduced/archive

Beam's own pipeline options are accepted too; what neither knows is refused.

exit codes: 0 done, dead letters or not; 1 failed midway, nothing of the run is in the output; 2 refused, all problems are
listed and nothing was done; 130 interrupted.
"""


WORKERS: Final = ("--direct_running_mode", "--direct_num_workers")  # given, they are the user's choice, even where they say Beam's default


class Job(msgspec.Struct):
    """What one consumer wants: its output and settings, and what is new to it."""

    name: str | None
    output: Output
    settings: Settings
    runs: list[Run]
    planned: Plan
    aside: str = ""


def parser() -> options.Parser:
    """The flags."""
    out = options.Parser(prog="python -m pipelines.reduce", description=__doc__, epilog=EXAMPLES)
    options.add_input_flags(out)
    output = out.add_argument_group("output")
    output.add_argument(
        "--output", default="./reduced", metavar="DIR", help="directory, or prefix on any Beam filesystem. Default: ./reduced"
    )
    output.add_argument("--json", action="store_true", help="print the final counts as one JSON document on stdout")
    options.add_reduction_flags(out, consumers=True)
    options.add_following_flags(out)
    integrity = out.add_argument_group("integrity")
    options.add_key_flag(integrity)
    integrity.add_argument(
        "--self_test",
        action="store_true",
        help="plant canaries on every path that a secret can take, redact, look for them, and stop there (every run begins with it)",
    )
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
    runner = parsed.view_as(StandardOptions).runner
    try:
        create_runner(runner or "DirectRunner")
    except (ValueError, ImportError, AttributeError):
        problems.append(f"--runner {runner}: Beam knows none of that name, or lacks the packages that it needs")
    problems += [f"not understood: {word} (an input is given as --input {word})" for word in strays]
    return parsed


def _stray(rest: Sequence[str], at: int, parsed: PipelineOptions) -> bool:
    """Whether a word belongs to no flag: Beam drops such words, so without it all options stay the same."""
    try:
        return PipelineOptions([*rest[:at], *rest[at + 1 :]]).get_all_options() == parsed.get_all_options()
    except SystemExit:
        return False


def run(argv: Sequence[str]) -> int:
    """Parse, check, plan, run, commit, report; gives the exit code."""
    known, rest = parser().parse_known_args(list(argv))
    problems: list[str] = known.problems
    warnings: list[str] = []
    consumers = options.consumers_of(known, problems, warnings)
    given = options.key_of(known, problems)
    followed = is_followed(known) and not known.self_test
    sources = sources_of(known, problems) if followed else []
    files = [] if known.self_test or followed else options.files_of(known, known.output, problems)
    parsed = beam_options(rest, problems)
    if not known.self_test and not (followed and storage.scheme(known.output)):
        problems += filter(None, [options.output_problem(known.output)])
    if followed:
        check_following(known, parsed, problems)
    elif not known.self_test:
        check_unfollowed(known, problems)
    if not problems:
        survivors = self_test(Compiled(consumers[0][1], given or b"").redactor)
        problems += [f"redaction fails its self-test: {path}" for path in survivors]
    if problems:
        raise options.ConfigurationError(problems)
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)
    if known.self_test:
        print("redaction holds: no canary survived", file=sys.stderr)
        return 0
    with Output(known.output) as output:
        key = output.key(given)
        if followed:
            return follow(known, output, consumers, sources, key, parsed)
        jobs = [_job(output, name, settings, key, files) for name, settings in consumers]
        trouble = options.disk_problem(known.output, jobs[0].planned.bytes, compressed=jobs[0].planned.compressed)
        if trouble is not None:
            raise options.ConfigurationError([trouble])
        workers_chosen = any(word.startswith(WORKERS) for word in rest)
        summaries = {
            job.name: summary for group in _alike(jobs) for job, summary in _reduce(group, parsed, key, workers_chosen=workers_chosen)
        }
        if known.json:
            named = {"consumers": {job.name: summaries[job.name] for job in jobs}}
            print(json.dumps(summaries.get(None, named)))
    return 0


def _job(output: Output, name: str | None, settings: Settings, key: bytes, files: Sequence[tuple[str, str | None]]) -> Job:
    own = output if name is None else output.below(name)
    runs = own.runs(key)
    try:
        return Job(name, own, settings, runs, plan(files, Held(runs, key)))
    except OSError as error:
        raise options.ConfigurationError([f"--input {error.filename or ''}: {error.strerror}"]) from None


def _alike(jobs: Sequence[Job]) -> list[list[Job]]:
    """Consumers to whom the same is new read it together; after a crash between their commits that may not be all."""
    groups: dict[tuple[Split, ...], list[Job]] = {}
    for job in jobs:
        groups.setdefault(tuple(job.planned.splits), []).append(job)
    return list(groups.values())


def _reduce(jobs: Sequence[Job], parsed: PipelineOptions, key: bytes, *, workers_chosen: bool) -> Iterator[tuple[Job, dict[str, Any]]]:
    """Run the jobs of one group and commit them one by one; gives each one's counts."""
    began = time.monotonic()
    planned = jobs[0].planned
    if planned.splits:
        for job in jobs:
            job.aside = job.output.aside(f"{len(job.runs) + 1:06d}-{uuid.uuid4().hex[:8]}")
        local = (parsed.view_as(StandardOptions).runner or "DirectRunner") in ("DirectRunner", "SwitchingDirectRunner")
        chosen = RepeatedOptions.from_dictionary(parsed.get_all_options(drop_default=True)) if local else parsed
        if local:
            local_options(chosen, len(planned.splits), planned.bytes, chosen=workers_chosen)
            mode = chosen.view_as(DirectOptions)
            workers = f"{mode.direct_running_mode} with {mode.direct_num_workers} worker(s)"
            print(f"DirectRunner: Beam's in-process runner, {workers}", file=sys.stderr)
        try:
            with Ticker(jobs[0].aside, planned.bytes, exact=not planned.compressed):
                pipeline = beam.Pipeline(options=chosen)
                tasks = [Task(job.name, job.settings, len(job.runs) + 1, job.aside, spills=local) for job in jobs]
                build(pipeline, planned.splits, tasks, key, max(1, chosen.view_as(DirectOptions).direct_num_workers) if local else 1)
                pipeline.run().wait_until_finish()
        except BaseException:
            for job in jobs:  # a full disk has its room back at once, not at the next run
                storage.delete_below(job.aside)
            raise
    for job in jobs:
        manifest = Manifest([], [])
        head = job.runs[-1].head if job.runs else None
        if planned.splits:
            manifest = msgspec.msgpack.decode(storage.read(storage.join(job.aside, MANIFEST)), type=Manifest)
            ranges = ranges_of(manifest.accounts, planned.splits)
            head = job.output.commit(job.aside, manifest.files, head, job.settings.recorded(), key, ranges)
        summary = summary_of(total(manifest.accounts), manifest.files, time.monotonic() - began, head)
        report(summary, manifest, job.planned, job.output.path, job.name)
        yield job, summary


@contextmanager
def noted_interrupts() -> Iterator[list[int]]:
    """Ctrl-C raises KeyboardInterrupt, and is noted: where it comes in the midst of a step, Beam makes another exception of it."""
    noted: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        noted.append(number)
        signal.default_int_handler(number, frame)

    heeded = signal.getsignal(signal.SIGINT) is signal.default_int_handler and threading.current_thread() is threading.main_thread()
    if heeded:
        signal.signal(signal.SIGINT, note)
    try:
        yield noted
    finally:
        if heeded:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code: 0 done, 1 failed midway, 2 refused, 130 on Ctrl-C."""
    with noted_interrupts() as interrupts:
        return _main(sys.argv[1:] if argv is None else argv, interrupts)


def _main(argv: Sequence[str], interrupts: Sequence[int]) -> int:
    try:
        return run(argv)
    except options.ConfigurationError as error:
        print("refused; nothing was done:", *[f"  {problem}" for problem in error.problems], sep="\n", file=sys.stderr)
        return 2
    except OutputError as error:
        print(f"refused; nothing was done:\n  {error}", file=sys.stderr)
        return 2
    except SourceError as error:
        print(f"stopped: {error}\nwhat was committed stays; run it again to go on", file=sys.stderr)
        return 1
    except CycleError as error:
        print(f"failed midway ({_what(error.__cause__)}): what was committed stays, the rest comes again; run it again", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted: nothing of this run is in the output; run it again", file=sys.stderr)
        return 130
    except Exception as error:  # noqa: BLE001 - whatever fails midway, the run has not happened, and its text may hold content
        if interrupts:
            print("interrupted: nothing of this run is in the output; run it again", file=sys.stderr)
            return 130
        print(f"failed midway ({_what(error)}): nothing of this run is in the output; run it again", file=sys.stderr)
        return 1


def _what(error: BaseException | None) -> str:
    """What failed, and what the system says of it; never the text of an exception, which may quote an event."""
    text = str(error)
    step = re.search(r"\[while running '([\w /]+)'", text)
    where = f" in {step[1]}" if step else ""
    for phrase in ("No space left on device", "Disk quota exceeded", "Permission denied", "Input/output error", "Too many open files"):
        if phrase in text:
            return f"{type(error).__name__}{where}: {phrase}"
    return f"{type(error).__name__}{where}"


if __name__ == "__main__":
    end_as_told()
    code = main()
    sys.stdout.flush()
    sys.exit(code)
