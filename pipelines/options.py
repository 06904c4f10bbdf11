"""Flags of the commands: parsed, checked all at once, and turned into what the steps take."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from pipelines.output import STATE
from pipelines.plan import Input, expand, parse_input
from transforms.audit.catalogue import CatalogueError, load_catalogue
from transforms.audit.guards import GuardsError, load_guards
from transforms.audit.policy import PolicyError, load_policy
from transforms.audit.settings import Settings
from transforms.connectors import storage
from transforms.connectors.avro_files import SCHEMAS

if TYPE_CHECKING:
    from collections.abc import Sequence

SAMPLE: Final = str(Path(__file__).parent / "sample")
FOLDS: Final = ("reads", "stages")
_UNITS: Final = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}
_NAMED = re.compile(r"([^/=]*)=(.+)").fullmatch  # what has a slash before it is a path
_NAME = re.compile(r"[a-z0-9-]+").fullmatch
_DURATION = re.compile(r"(\d{1,9})([smhd]?)", re.ASCII).fullmatch
LONGEST_WINDOW: Final = 86_400


class ConfigurationError(Exception):
    """Everything that is wrong with what was asked for; nothing has been done yet."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = list(problems)


def seconds(text: str) -> int:
    """A duration: `60s`, `10m`, `1h`, `7d`; a bare number is seconds. Raises argparse.ArgumentTypeError."""
    found = _DURATION(text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no duration: write 60s, 10m, 1h or 7d")
    return int(found[1]) * _UNITS[found[2]]


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that knows no abbreviations and tells what is wrong with the values of flags as `problems` beside them."""

    def __init__(self, **options: object) -> None:
        super().__init__(
            allow_abbrev=False,
            exit_on_error=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            **options,  # type: ignore[arg-type]
        )
        self._problems: list[str] = []

    def error(self, message: str) -> None:  # type: ignore[override]
        """Refuse, with what was wrong before. Raises ConfigurationError."""
        raise ConfigurationError([*self._problems, message])

    def parse_args(self, args: Sequence[str] | None = None, namespace: None = None) -> argparse.Namespace:  # type: ignore[override]
        """The flags. Raises ConfigurationError where any of them, or its value, is refused."""
        known, rest = self.parse_known_args(args, namespace)
        problems = [*known.problems, *unknown(rest)]
        if problems:
            raise ConfigurationError(problems)
        return known

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """The flags and what none of them takes; `problems` has a line for each value that is refused, its flag then has its default.

        Raises ConfigurationError where something required is missing.
        """
        left = list(sys.argv[1:] if args is None else args)
        self._problems = []
        while True:
            try:
                known, rest = super().parse_known_args(left, namespace)
            except argparse.ArgumentError as error:
                flag = (error.argument_name or "").partition("/")[0]
                at = next((at for at, word in enumerate(left) if flag and word.partition("=")[0] == flag), None)
                if at is None:
                    raise ConfigurationError([*self._problems, str(error)]) from None
                problem = f"{flag}: {error.message}"
                self._problems += [] if problem in self._problems else [problem]
                alone = "=" in left[at] or left[at + 1 : at + 2] == [] or left[at + 1].startswith("--")
                del left[at : at + (1 if alone else 2)]
            else:
                known.problems = self._problems
                return known, rest


def unknown(rest: Sequence[str]) -> list[str]:
    """What is wrong with words that no flag takes."""
    return [f"unknown flag {word} (see --help)" if word.startswith("-") else f"not understood: {word}" for word in rest]


def add_input_flags(parser: argparse.ArgumentParser) -> None:
    """--input, --cluster, --allow_empty."""
    group = parser.add_argument_group("input")
    group.add_argument(
        "--input",
        action="append",
        metavar="[cluster=NAME,]PATH",
        help="a file, directory or glob, local or of any Beam filesystem; repeatable. Recognised by content: NDJSON, EventList, arrays, "
        "cloud and shipper envelopes; plain, gzip or zstandard. Directories are read recursively, without names that begin with . or _ "
        "or end in .tmp; a glob finds such names only if it begins or ends so too. "
        "Or a broker, kafka:// or pubsub://: see --follow of pipelines.reduce. Default: the bundled sample",
    )
    group.add_argument(
        "--cluster",
        type=_cluster,
        metavar="NAME",
        help="name of the cluster, part of every event's identity. Default: the envelope's own, else 'default'",
    )
    group.add_argument("--allow_empty", action="store_true", help="accept an input that names no files")


def add_following_flags(parser: argparse.ArgumentParser) -> None:
    """--follow and what belongs to it."""
    group = parser.add_argument_group(
        "following",
        "Of --follow, and of brokers with or without it:\n"
        "  --input kafka://host:port[,host:port]/topic[,topic]?group=NAME\n"
        "  --input pubsub://projects/P/subscriptions/S.",
    )
    group.add_argument(
        "--follow",
        action="store_true",
        help="go on for ever: new messages, new and growing files. Default: to the end of what is there at the start",
    )
    group.add_argument(
        "--dedupe_horizon",
        type=seconds,
        default=3600,
        metavar="DURATION",
        help="how long copies of an event, and messages that come again, are recognised; at least --completion_wait. Default: 1h",
    )
    group.add_argument(
        "--completion_wait",
        type=seconds,
        default=600,
        metavar="DURATION",
        help="how long an early stage waits for its final event before it is kept as NO_COMPLETION. Default: 10m",
    )
    group.add_argument(
        "--commit_every",
        type=seconds,
        default=2,
        metavar="DURATION",
        help="how long content is gathered before it is reduced and committed; longer makes fewer and larger files. Default: 2s",
    )
    group.add_argument("--client_config", metavar="FILE", help="further settings of the Kafka client, name=value lines")
    group.add_argument(
        "--metrics_port", metavar="[HOST:]PORT", help="serve numbers for Prometheus at /metrics; on the loopback where no host is given"
    )


def add_reduction_flags(parser: argparse.ArgumentParser, *, consumers: bool = False) -> None:
    """The flags that decide what becomes of an event; with `consumers` several policies may be given, each named."""
    group = parser.add_argument_group("reduction")
    if consumers:
        group.add_argument(
            "--policy",
            action="append",
            metavar="[NAME=]FILE",
            help="an audit.k8s.io/v1 Policy, applied after the fact. NAME=FILE, repeatable, serves several consumers from one reading: "
            "each gets a complete output below <output>/NAME (explain: a line per event). Default: levels stay as captured",
        )
    else:
        group.add_argument(
            "--policy", metavar="FILE", help="an audit.k8s.io/v1 Policy, applied after the fact. Default: levels stay as captured"
        )
    group.add_argument(
        "--lenient_policy", action="store_true", help="ignore unknown fields of the policy with a warning, as kube-apiserver does"
    )
    group.add_argument(
        "--policy_before_v1_36", action="store_true", help="a policy's group '*' means no group, as in clusters before v1.36"
    )
    group.add_argument(
        "--fold",
        default="reads,stages",
        help="comma list of reads (fold into summaries) and stages (merge a request's earlier stages into its final event), or none. "
        "Default: reads,stages",
    )
    group.add_argument(
        "--read_window",
        type=seconds,
        default=60,
        metavar="DURATION",
        help="length of a read summary's window, in event time from the epoch on: 60s, 10m, 1h, at most 1d. Default: 60s",
    )
    group.add_argument("--guards", metavar="FILE", help="a file that adds to the list of reads that are never folded")
    _add_redaction_flags(parser.add_argument_group("redaction", "There is no off switch."))


def _add_redaction_flags(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--exec_args",
        choices=("keep", "program", "none"),
        default="program",
        help="arguments of exec and attach in request URIs: keep them (credential-like ones never), only the program, or none. "
        "Default: program",
    )
    group.add_argument("--redaction_rules", metavar="FILE", help="a catalogue that adds protection to the built-in one")
    group.add_argument("--strip_bulk", action="store_true", help="also strip bulk of no forensic worth: see the list in the README")
    group.add_argument(
        "--keep_managed_fields", action="store_true", help="leave managedFields in bodies, except where the policy omits them"
    )


def add_key_flag(group: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """--key_file."""
    group.add_argument(
        "--key_file",
        metavar="FILE",
        help="key of the ledger's MACs and of hash redactions, 16 bytes or more; else AUDIT_KEY in the environment, else "
        "<output>/_state/key, which the first run makes",
    )


def _cluster(text: str) -> str:
    if not text:
        raise argparse.ArgumentTypeError("names no cluster")
    return text


def _text(path: str | None, name: str, problems: list[str]) -> str | None:
    if path is None:
        return None
    try:
        return storage.read(path).decode()
    except OSError as error:
        problems.append(f"--{name} {path}: cannot be read ({error.strerror})")
    except UnicodeDecodeError:
        problems.append(f"--{name} {path}: not UTF-8")
    return None


def consumers_of(known: argparse.Namespace, problems: list[str], warnings: list[str]) -> list[tuple[str | None, Settings]]:
    """(name, settings) of each consumer; one without a name where no policy has one."""
    policies: dict[str | None, str | None] = {}
    for given in known.policy or [None]:
        found = _NAMED(given) if given is not None and not Path(given).exists() else None
        name = found[1] if found else None
        if name is not None and not _NAME(name):
            problems.append(f"--policy {given}: a consumer's name is of a to z, 0 to 9 and -, not {name!r}")
        if name in policies:
            problems.append(f"--policy {given}: " + (f"the name {name} is taken" if name else "several policies need names: NAME=FILE"))
        if name in SCHEMAS:
            problems.append(f"--policy {given}: {name} is a directory of every output; choose another name")
        policies[name] = found[2] if found else given
    if None in policies and len(policies) > 1:
        problems.append("--policy: named and unnamed policies do not mix")
    held = Path(known.output) if hasattr(known, "output") else None
    if held and None not in policies and (held / "ledger").is_dir():
        problems.append(f"--output {known.output}: holds the output of an unnamed policy; named ones need a directory of their own")
    if held and None in policies and any(held.glob("*/ledger")):
        problems.append(f"--output {known.output}: holds the outputs of named policies; name this one too, or choose another directory")
    consumers: list[tuple[str | None, Settings]] = []
    for name, policy in policies.items():
        known.policy = policy
        wrong = [] if consumers else problems
        warned: list[str] = []
        consumers.append((name, settings_of(known, wrong, warned)))
        warnings += [warning for warning in warned if warning not in warnings]
        if wrong is not problems:
            problems += [problem for problem in wrong if problem not in problems]
    return consumers


def settings_of(known: argparse.Namespace, problems: list[str], warnings: list[str]) -> Settings:
    """The settings that the flags ask for; what is wrong with them is added to `problems`."""
    folds = [part.strip() for part in known.fold.split(",") if part.strip()]
    if folds != ["none"] and (not folds or set(folds) - set(FOLDS)):
        problems.append(f"--fold {known.fold}: expected reads, stages, both with a comma, or none")
    if not 1 <= known.read_window <= LONGEST_WINDOW:
        problems.append("--read_window: expected 1s to 1d")
    policy = _text(known.policy, "policy", problems)
    if policy is not None:
        try:
            loaded = load_policy(policy.encode(), lenient=known.lenient_policy, group_wildcard=not known.policy_before_v1_36)
            warnings += [f"--policy {known.policy}: {warning}" for warning in loaded.warnings]
        except PolicyError as error:
            problems += [f"--policy {known.policy}: {problem}" for problem in error.problems]
    guards = _text(known.guards, "guards", problems)
    if guards is not None:
        try:
            load_guards(guards.encode())
        except GuardsError as error:
            problems += [f"--guards {known.guards}: {problem}" for problem in error.problems]
    rules = _text(known.redaction_rules, "redaction_rules", problems)
    if rules is not None:
        try:
            load_catalogue(rules.encode())
        except CatalogueError as error:
            problems += [f"--redaction_rules {known.redaction_rules}: {problem}" for problem in error.problems]
    return Settings(
        started=int(time.time() * 1_000_000),
        merge="stages" in folds,
        fold="reads" in folds,
        window=known.read_window * 1_000_000,
        policy=policy,
        lenient_policy=known.lenient_policy,
        group_wildcard=not known.policy_before_v1_36,
        guards=guards,
        keep_managed_fields=known.keep_managed_fields,
        exec_args=known.exec_args,
        redaction_rules=rules,
        strip_bulk=known.strip_bulk,
    )


def key_of(known: argparse.Namespace, problems: list[str]) -> bytes | None:
    """The key that the user gives, if any."""
    if known.key_file is not None:
        try:
            key = storage.read(known.key_file)
        except OSError as error:
            problems.append(f"--key_file {known.key_file}: cannot be read ({error.strerror})")
            return None
        source = f"--key_file {known.key_file}"
    elif "AUDIT_KEY" in os.environ:
        key, source = os.environ["AUDIT_KEY"].encode(), "AUDIT_KEY"
    else:
        return None
    if len(key) < 16:
        problems.append(f"{source}: a key has at least 16 bytes")
    return key


def files_of(known: argparse.Namespace, output: str | None, problems: list[str]) -> list[tuple[str, str | None]]:
    """The input files, in order, with their clusters."""
    inputs: list[Input] = []
    for text in known.input or [SAMPLE]:
        try:
            inputs.append(parse_input(text, known.cluster))
        except ValueError as error:
            problems.append(str(error))
    files, wrong = expand(inputs, output, allow_empty=known.allow_empty)
    problems += wrong
    return files


def output_problem(output: str) -> str | None:
    """Whether an output can be written, as far as can be told without writing; of object stores nothing can."""
    if not output:
        return "--output: names no directory"
    if storage.scheme(output) is not None:
        try:
            storage.filesystem(output)
        except storage.MissingExtraError as error:
            return f"--output {error}"
        return None
    reason = storage.unwritable(output) or storage.unwritable(storage.join(output, STATE))
    return f"--output {output}: cannot be written ({reason})" if reason else None


def disk_problem(output: str, size: int, *, compressed: bool) -> str | None:
    """Whether the disk has room for what a run of this input may write."""
    if storage.scheme(output) is not None:
        return None
    there = Path(output).absolute()
    while not there.exists():
        there = there.parent
    # Reduced output is a few percent of plain input; compressed input is about that size already. What is in transit takes as much
    # again, and half of it once more.
    needed = (3 * size if compressed else size // 5) + (16 << 20)
    free = shutil.disk_usage(there).free
    return f"--output {output}: {free >> 20} MiB free, the run may need {needed >> 20} MiB" if free < needed else None


def read_settings(text: str) -> Settings:
    """The settings that a run recorded."""
    return msgspec.json.decode(text, type=Settings)
