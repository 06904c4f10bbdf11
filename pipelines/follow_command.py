"""`pipelines.reduce` where an input is followed, or a broker is drained: checked, resumed, run, and reported at its end."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions, StandardOptions

from pipelines import gauges
from pipelines.checkpoint import CheckpointError
from pipelines.cycles import Clock, Consumer, Cycles, Horizons
from pipelines.display import report_following, summary_of
from pipelines.follow import Follower, Stop
from pipelines.graph import RepeatedOptions, local_options
from pipelines.options import LONGEST_WINDOW, ConfigurationError
from pipelines.spare_memory import map_large_blocks
from pipelines.watermark import Watermark
from transforms.connectors import storage
from transforms.connectors.sources import SourceError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from pipelines.output import Output
    from transforms.audit.settings import Settings
    from transforms.connectors.sources import Source


class CycleError(Exception):
    """A cycle failed, for the reason that is its cause. What was committed before it stays."""


def check_following(known: argparse.Namespace, parsed: PipelineOptions, problems: list[str]) -> None:
    """What is wrong with the flags, where an input is followed."""
    runner = parsed.view_as(StandardOptions).runner or "DirectRunner"
    if runner not in ("DirectRunner", "SwitchingDirectRunner"):
        problems.append(f"--runner={runner}: what is followed runs on DirectRunner")
    if parsed.get_all_options(drop_default=True).get("direct_running_mode", "in_memory") != "in_memory":
        problems.append("--direct_running_mode: what is followed runs in one process, in_memory")
    if storage.scheme(known.output) is not None:
        problems.append(f"--output {known.output}: what is followed is written to a local directory")
    if not 1 <= known.commit_every <= LONGEST_WINDOW:
        problems.append("--commit_every: expected 1s to 1d")
    if known.dedupe_horizon < known.completion_wait:
        problems.append(
            f"--dedupe_horizon: {known.dedupe_horizon}s is shorter than --completion_wait ({known.completion_wait}s); "
            "a final event finds the stages that wait for it by what is remembered"
        )
    if known.metrics_port is not None:
        try:
            gauges.address(known.metrics_port)
        except ValueError:
            problems.append(f"--metrics_port {known.metrics_port}: expected PORT or HOST:PORT")


def check_unfollowed(known: argparse.Namespace, problems: list[str]) -> None:
    """What is wrong with the flags, where no input is followed: those that would do nothing, and that somebody would rely on."""
    for flag in ("client_config", "metrics_port"):
        value = getattr(known, flag)
        if value is not None:
            problems.append(f"--{flag} {value}: is for what is followed only: give --follow, or an --input kafka://… or pubsub://…")


def follow(
    known: argparse.Namespace,
    output: Output,
    consumers: Sequence[tuple[str | None, Settings]],
    sources: Sequence[Source],
    key: bytes,
    parsed: PipelineOptions,
) -> int:
    """Follow, or drain; gives the exit code. Raises ConfigurationError before anything is done, then SourceError and CycleError."""
    map_large_blocks()
    clock = Clock()
    began = clock.moment()
    numbers = gauges.Gauges(clock.moment)
    followers = _consumers(known, output, consumers, key)
    options = RepeatedOptions.from_dictionary(parsed.get_all_options(drop_default=True))
    options.view_as(DirectOptions).direct_running_mode = "in_memory"
    local_options(options, 1, 0)
    horizons = Horizons(known.dedupe_horizon * 1_000_000, known.completion_wait * 1_000_000)
    cycles = Cycles(output, followers, key, options, horizons, clock)
    checkpoints = [consumer.checkpoint for consumer in followers]
    watermark = Watermark(clock.moment(), max(each.watermark for each in checkpoints), max(each.latest for each in checkpoints))
    server = _server(known.metrics_port, numbers)
    with Stop() as stop:
        follower = Follower(
            sources,
            cycles,
            watermark,
            clock,
            numbers,
            forever=known.follow,
            seconds=known.commit_every,
            stopped=lambda: stop.asked,
            pause=stop.wait,
        )
        try:
            _resume(follower, key)
            print(f"{'following' if known.follow else 'draining'}: {_names(known)}", file=sys.stderr, flush=True)
            _run(follower)
        finally:
            follower.close()
            if server is not None:
                server.close()
        code = stop.code if stop.asked else 0
    summaries: dict[str | None, dict[str, Any]] = {}
    for consumer, sums in zip(followers, follower.totals, strict=True):
        summary = summary_of(sums.account, [], clock.moment() - began, consumer.head)
        summaries[consumer.name] = summary | {"bytesOut": sums.bytes, "files": sums.files, "pending": sums.account.pending}
        report_following(summaries[consumer.name], sums.account.sizes, consumer.path, consumer.name)
    if known.json:
        named = {"consumers": {consumer.name: summaries[consumer.name] for consumer in followers}}
        print(json.dumps(summaries.get(None, named)))
    return code


def _names(known: argparse.Namespace) -> str:
    return ", ".join(known.input or ["the bundled sample"])


def _consumers(known: argparse.Namespace, output: Output, consumers: Sequence[tuple[str | None, Settings]], key: bytes) -> list[Consumer]:
    """All of them, with what their ledgers say. Raises ConfigurationError where they cannot be followed into together."""
    problems: list[str] = []
    warnings: list[str] = []
    found: list[Consumer] = []
    for name, settings in consumers:
        try:
            found.append(Consumer(name, output if name is None else output.below(name), settings, key, warnings))
        except CheckpointError as error:
            problems.append(str(error))
            continue
        before = found[-1].checkpoint
        if before.rows and before.window != settings.window:
            was = before.window // 1_000_000
            problems.append(
                f"--read_window: {found[-1].path} has open windows of {was}s; keep that, or settle them first: "
                "read brokers once without --follow, follow files until all is silent for a minute"
            )
    if len({tuple(sorted(consumer.where.positions.items(), key=repr)) for consumer in found}) > 1:
        problems.append(f"--output {known.output}: the consumers' ledgers end at different places; follow each by itself")
    if problems:
        raise ConfigurationError(problems)
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)
    return found


def _resume(follower: Follower, key: bytes) -> None:
    try:
        follower.resume(key)
    except SourceError as error:
        raise ConfigurationError(str(error).splitlines()) from None


def _run(follower: Follower) -> None:
    try:
        follower.run()
    except SourceError:
        raise
    except Exception as error:
        raise CycleError from error


def _server(text: str | None, numbers: gauges.Gauges) -> gauges.MetricsServer | None:
    if text is None:
        return None
    try:
        server = gauges.MetricsServer(*gauges.address(text), numbers)
    except OSError as error:
        raise ConfigurationError([f"--metrics_port {text}: cannot be listened on ({error.strerror})"]) from None
    print(f"metrics: port {server.port}, /metrics", file=sys.stderr)
    return server
