"""Prove the accounts of an output that pipelines.reduce wrote.

  python -m pipelines.verify --output reduced

proves from the output alone that no run, file, record or byte is missing, changed or added, and that every event that was
read has one outcome. With --input it also reads the logs again, wherever they are among the inputs now (rotated, renamed,
compressed), does each run's work anew with the settings and the key of that run, and compares every record.
--head takes what a run printed as its head, and proves that the ledger still ends there.

Exit codes: 0 the accounts are closed; 1 they are not, and each problem names its place; 2 refused.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from pipelines import options
from pipelines.check_files import FoundRecords, check_container, check_files, place_text
from pipelines.checkpoint import is_followed
from pipelines.interrupts import end_as_told
from pipelines.ledger import LedgerError, Range, Run, Stream, beginning_anew, counts_bytes, key_id, read_ledger, read_run
from pipelines.output import RECORD, STATE
from pipelines.replay import replay_runs
from transforms.audit.account import total
from transforms.connectors import storage
from transforms.connectors.avro_files import SCHEMAS

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Mapping, Sequence

SHOWN: Final = 100  # problems that are printed; the rest is a number


class Verdict(msgspec.Struct):
    """What was proved, or not."""

    problems: list[str]
    totals: dict[str, Any]
    head: str
    followed: int = 0  # runs of followed inputs, which no input can prove

    @property
    def closed(self) -> bool:
        """Whether all accounts hold."""
        return not self.problems


def parser() -> options.Parser:
    """The flags."""
    out = options.Parser(prog="python -m pipelines.verify", description=__doc__)
    out.add_argument("--output", required=True, metavar="DIR", help="directory or prefix that pipelines.reduce wrote to")
    out.add_argument("--input", action="append", metavar="PATH", help="a file, directory or glob of logs to read again; repeatable")
    options.add_key_flag(out)
    out.add_argument("--head", metavar="H", help="the ledger's head as a run printed it: proves that nothing was cut off its end")
    out.add_argument("--json", action="store_true", help="print the verdict as one JSON document on stdout")
    return out


def verify(output: str, head: str | None = None, files: Sequence[str] | None = None, key: bytes | None = None) -> Verdict:
    """The verdict on an output; with `files` and `key` from the input too. Writes nothing. Raises OSError."""
    problems: list[str] = []
    runs = _runs(output, problems)
    last = runs[-1].head if runs else ""
    if head is not None and head != last:
        problems.append(f"{storage.join(output, 'ledger')}: --head {head} is not the ledger's head; the ledger {_beyond(head, runs)}")
    if storage.exists(storage.join(output, STATE, RECORD)):
        problems.append(f"{storage.join(output, STATE, RECORD)}: a run is committed but not finished; run pipelines.reduce again")
    problems += _unlisted(output, runs)
    found: list[FoundRecords] = []
    for run in runs:
        records, wrong = check_files(output, run, keep=files is not None)
        found.append(records)
        problems += wrong
        problems += _equations(run)
        problems += _against_output(output, run, records)
    problems += _pending(runs)
    problems += _messages(runs)
    followed = sum(map(is_followed, runs))
    if files is not None and key is not None:
        batch = [(run, records) for run, records in zip(runs, found, strict=True) if not is_followed(run)]
        problems += replay_runs(output, batch, files, key)
    return Verdict(problems, _totals(runs), last, followed)


def _beyond(head: str, runs: Sequence[Run]) -> str:
    heads = [run.head for run in runs]
    if head in heads:
        return f"goes on behind it for {len(heads) - 1 - heads.index(head)} runs"
    return "does not hold it: its end was cut off or changed"


def _runs(output: str, problems: list[str]) -> list[Run]:
    """The runs of the chain; where it is broken, those that can be read."""
    paths = [path for path, _ in storage.files_below(storage.join(output, "ledger")) if path.endswith(".avro")]
    for path in paths:
        problems += check_container(path, path[len(output.rstrip("/")) + 1 :])
    try:
        return read_ledger(output)
    except LedgerError as error:
        problems.append(str(error))
    runs = []
    for path in paths:
        try:
            runs.append(read_run(path))
        except LedgerError as error:
            problems += [str(error)] if str(error) not in problems else []
    return runs


def _unlisted(output: str, runs: Sequence[Run]) -> Iterator[str]:
    listed = {storage.join(output, file.path) for run in runs for file in run.files}
    for kind in SCHEMAS:
        if kind != "ledger":
            for path, _ in storage.files_below(storage.join(output, kind)):
                if path.endswith(".avro") and path not in listed:
                    yield f"{path}: no run in the ledger wrote it"


def _place(each: Range) -> str:
    return f"{place_text(each.stream)} from {each.account.start} to {each.account.end}"


def _equations(run: Run) -> Iterator[str]:
    """Every event of every range has one outcome, and the ranges of an input follow one another (a followed one may begin anew)."""
    ends: dict[Stream, int] = {}
    followed = is_followed(run)
    for each in run.ranges:
        account = each.account
        place = f"{run.path}: {_place(each)}"
        if account.events != account.accounted:
            yield f"{place}: {account.events} events, but outcomes for {account.accounted}"
        if each.settles:
            continue
        if counts_bytes(each) and account.size != account.end - account.start:
            yield f"{place}: {account.size} bytes read, but the range has {account.end - account.start}"
        if not followed and ends.get(each.stream, account.start) != account.start:
            yield f"{place}: the range before it ends at {ends[each.stream]}"
        ends[each.stream] = account.end


def _messages(runs: Sequence[Run]) -> Iterator[str]:
    """No message of a broker is in two ranges."""
    ends: dict[Stream, int] = {}
    for run in runs:
        for each in run.ranges:
            if each.settles or counts_bytes(each):
                continue
            if each.account.start < ends.get(each.stream, each.account.start):
                yield f"{run.path}: {_place(each)}: an earlier range goes on to {ends[each.stream]}"
            ends[each.stream] = max(each.account.end, ends.get(each.stream, 0))


def _pending(runs: Sequence[Run]) -> Iterator[str]:
    """No entry settles more than waits in its range."""
    waiting: Counter[tuple[Stream, int, int]] = Counter()
    for run in runs:
        for each in run.ranges:
            at = (each.stream, each.account.start, each.account.end)
            waiting[at] += each.account.pending
            if waiting[at] < 0:
                yield f"{run.path}: {_place(each)}: settles {-waiting[at]} events more than wait there"
                waiting[at] = 0


def _against_output(output: str, run: Run, found: FoundRecords) -> Iterator[str]:
    """What the ledger says was written, against what is there: by range where a record says its range, else by run."""
    kept, dead = found.by_range([(each.stream, each.account.start) for each in run.ranges])
    events, letters_place = storage.join(output, "events"), storage.join(output, "dead_letters")
    shared = beginning_anew(run.ranges)
    for stream in {run.ranges[at].stream for at in shared}:
        yield from _against_stream(run, stream, kept, dead)
    for at, each in enumerate(run.ranges):
        if at in shared:
            continue
        account = each.account
        place = f"{run.path}: {_place(each)}"
        if kept[at] != account.kept:
            yield f"{place}: {account.kept} events kept, but {kept[at]} records of it in {events}"
        letters: Mapping[str, int] = dead.get(at, {})
        for code in sorted(letters.keys() | account.dead_lettered.keys()):
            said, there = account.dead_lettered.get(code, 0), letters.get(code, 0)
            if said != there:
                yield f"{place}: {said} dead letters {code}, but {there} in {letters_place}"
    strays = found.events - sum(kept)
    if strays:
        yield f"{events}: {strays} records of run {run.path} come from nothing that it read"
    sums = total([each.account for each in run.ranges])
    if sums.folded != found.folded:
        yield f"{run.path}: {sums.folded} folded events in the run's ranges, but its records in reads stand for {found.folded}"
    if sums.merged != found.merged:
        yield f"{run.path}: {sums.merged} merged events in the run's ranges, but its records in events and reads stand for {found.merged}"


def _against_stream(run: Run, stream: Stream, kept: Sequence[int], dead: Mapping[int, Mapping[str, int]]) -> Iterator[str]:
    """All ranges of a stream together."""
    numbers = [at for at, each in enumerate(run.ranges) if each.stream == stream]
    sums = total([run.ranges[at].account for at in numbers])
    found = sum(kept[at] for at in numbers)
    letters: Counter[str] = Counter()
    for at in numbers:
        letters.update(dead.get(at, {}))
    if sums.kept != found:
        yield f"{run.path}: {place_text(stream)}: {sums.kept} events kept, but {found} records of it"
    if letters != Counter(sums.dead_lettered):
        yield f"{run.path}: {place_text(stream)}: dead letters {dict(sums.dead_lettered)}, but records of {dict(letters)}"


def _totals(runs: Sequence[Run]) -> dict[str, Any]:
    sums = total([each.account for run in runs for each in run.ranges])
    files = [file for run in runs for file in run.files]
    return {
        "runs": len(runs),
        "ranges": sum(len(run.ranges) for run in runs),
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
        "pending": sums.pending,
        "files": len(files),
    }


def _key(known: argparse.Namespace, problems: list[str]) -> bytes | None:
    """The key that the user gives, else the output's own; checked against the ledger's."""
    key = options.key_of(known, problems)
    own = storage.join(known.output, STATE, "key")
    above = storage.join(known.output.rstrip("/").rpartition("/")[0] or ".", STATE, "key")  # a consumer's is its parent's
    for path in (own, above):
        if key is None and not problems and storage.exists(path):
            key = storage.read(path)
    if key is None and not problems and known.input:
        problems.append(f"{own}: not there; --input needs the ledger's key, as --key_file or AUDIT_KEY")
    return key


def _nothing_to_prove(output: Path) -> Iterator[str]:
    """A directory that holds no accounts: that nothing is wrong with them would prove nothing."""
    if (output / "ledger").is_dir():
        return
    named = sorted(path.parent.name for path in output.glob("*/ledger"))
    if named:
        yield f"--output {output}: holds the outputs of several consumers, verify each: {', '.join(str(output / name) for name in named)}"
    elif not any((output / name).is_dir() for name in (*SCHEMAS, STATE)):
        yield f"--output {output}: no output of pipelines.reduce"


def _key_problem(output: str, key: bytes) -> str | None:
    for path, _ in storage.files_below(storage.join(output, "ledger")):
        try:
            found = read_run(path).key_id
        except LedgerError:
            continue
        if found != key_id(key):
            return f"{output}: the ledger was made with another key (id {found}); give that one with --key_file"
    return None


def run(argv: Sequence[str]) -> int:
    """Parse, check, verify, report; gives the exit code. Raises options.ConfigurationError."""
    known, rest = parser().parse_known_args(list(argv))
    problems: list[str] = [*known.problems, *options.unknown(rest)]
    if not storage.exists(known.output) or (storage.scheme(known.output) is None and not Path(known.output).is_dir()):
        problems.append(f"--output {known.output}: no such directory")
    elif storage.scheme(known.output) is None:
        problems += _nothing_to_prove(Path(known.output))
    key = _key(known, problems)
    files = None
    if known.input:
        known.cluster, known.allow_empty = None, False
        files = [path for path, _ in options.files_of(known, known.output, problems)]
    if key is not None and files is not None and not problems:
        problems += filter(None, [_key_problem(known.output, key)])
    if problems:
        raise options.ConfigurationError(problems)
    verdict = verify(known.output, known.head, files, key)
    if known.json:
        print(json.dumps({"closed": verdict.closed, "problems": verdict.problems, "totals": verdict.totals, "head": verdict.head}))
    _report(verdict, replayed=files is not None)
    return 0 if verdict.closed else 1


def _report(verdict: Verdict, *, replayed: bool) -> None:
    for problem in verdict.problems[:SHOWN]:
        print(problem, file=sys.stderr)
    if len(verdict.problems) > SHOWN:
        print(f"… and {len(verdict.problems) - SHOWN} more (--json has all)", file=sys.stderr)
    totals = verdict.totals
    what = f"{totals['runs']} runs, {totals['ranges']:,} ranges, {totals['events']:,} events, {totals['files']} files"
    if totals["pending"]:
        what += f", {totals['pending']:,} events pending"
    how = "the input was read again and gives the same records" if replayed else "from the output alone; --input proves each outcome too"
    if verdict.followed:
        how = f"from the output alone for {verdict.followed} runs of a followed input, which go on where others left off" + (
            f"; for the rest {how}" if verdict.followed < totals["runs"] else ""
        )
    print(f"closed: {what}; {how}" if verdict.closed else f"NOT CLOSED: {len(verdict.problems)} problems; {what}", file=sys.stderr)
    print(f"head: {verdict.head}", file=sys.stderr)


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code: 0 closed, 1 not closed, 2 refused, 130 on Ctrl-C."""
    try:
        return run(sys.argv[1:] if argv is None else argv)
    except options.ConfigurationError as error:
        print("refused; nothing was verified:", *[f"  {problem}" for problem in error.problems], sep="\n", file=sys.stderr)
        return 2
    except (OSError, storage.MissingExtraError) as error:
        where = getattr(error, "filename", None)
        print(f"refused; nothing was verified:\n  {where or ''} {getattr(error, 'strerror', None) or error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except Exception as error:  # noqa: BLE001 - files that were tampered with may hold anything; and the text of an error, content
        print(f"NOT CLOSED: could not be verified ({type(error).__name__})", file=sys.stderr)
        return 1


if __name__ == "__main__":
    end_as_told()
    sys.exit(main())
