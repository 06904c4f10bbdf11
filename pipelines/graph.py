"""The graph of the main job, and the runner it runs on where that is Beam's in-process one."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType
from typing import Any, Final

import apache_beam as beam
import msgspec
from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions, StandardOptions
from apache_beam.transforms import userstate
from apache_beam.transforms.core import CallableWrapperDoFn

from transforms.aggregate_reads import AggregateOpenReads, AggregateReads
from transforms.apply_policy import ApplyPolicy
from transforms.audit.block import EventBlock, Split  # noqa: TC001 - Beam reads annotations
from transforms.audit.cycle import Cycle
from transforms.audit.settings import Settings
from transforms.close_accounts import CloseAccounts
from transforms.merge_stages import MergeStages
from transforms.parse_events import ParseEvents
from transforms.read_audit_logs import ReadAuditLogs
from transforms.redact_secrets import RedactSecrets
from transforms.resolve_copies import ResolveCopies
from transforms.settle_events import SettleEvents
from transforms.strip_managed_fields import StripManagedFields
from transforms.write_avro import WriteAvro

_look_for_state = userstate.get_dofn_specs
_no_state: set[type] = set()


def _state_of(do_fn: beam.DoFn) -> tuple[set[userstate.StateSpec], set[userstate.TimerSpec]]:
    """What Beam's `get_dofn_specs` finds, by class: it asks each DoFn eight times, and inspects all its attributes each time."""
    kind = type(do_fn)
    if kind in _no_state or (kind is CallableWrapperDoFn and _takes_no_state(do_fn._fn)):  # noqa: SLF001 - Beam offers no other way
        return set(), set()
    found = _look_for_state(do_fn)
    if found == (set(), set()) and kind.__module__.startswith("transforms."):
        _no_state.add(kind)
    return found


def _takes_no_state(function: Any) -> bool:
    """State and timers come as defaults of a function's arguments."""
    function = getattr(function, "_argspec_fn", function)
    return isinstance(function, FunctionType) and not function.__defaults__ and not function.__kwdefaults__


# A quarter of what it takes to make a graph, and a followed input has one made every second.
userstate.get_dofn_specs = _state_of

WORTH_WORKERS: Final = 256 << 20  # bytes of input below which starting further processes costs more than it saves


class Task(msgspec.Struct):
    """What the graph does for one consumer: under which settings, as which run of its output, and where it writes.

    Of a followed input, `cycle` says which run this is; `waiting` and `open_rows` are what the one before carried on. With
    `spills`, shuffles move references to files in `aside`, for a runner that would hold all they move in memory.
    """

    name: str | None
    settings: Settings
    run: int
    aside: str
    cycle: Cycle | None = None
    waiting: Sequence[tuple[int, bytes]] = ()
    open_rows: Sequence[tuple[int, bytes]] = ()
    spills: bool = False


class RepeatedOptions(PipelineOptions):
    """Options of a graph that is built again and again: a view is made once, for making one parses all flags of Beam's anew."""

    def view_as(self, cls: type[PipelineOptions]) -> PipelineOptions:
        """The same view of the same options each time."""
        views = self.__dict__.setdefault("_views", {})
        if cls not in views:
            views[cls] = super().view_as(cls)
        return views[cls]


def build(root: beam.Pipeline, splits: Sequence[Split], tasks: Sequence[Task], key: bytes, shards: int = 1) -> None:
    """Read and parse once, then for each consumer step by step to files aside and one manifest."""
    parsed = root | ReadAuditLogs(splits, key, progress=tasks[0].aside) | ParseEvents(key, rows=True)
    for task in tasks:
        parsed | (f"Reduce {task.name}" if task.name else "Reduce") >> Reduce(task, key, shards, shared=len(tasks) > 1)


@dataclass
class Reduce(beam.PTransform):
    """All steps of one consumer, from parsed blocks to a manifest aside.

    Attributes:
      task: what is asked for.
      key: of the output.
      shards: how many workers write.
      shared: other consumers take the same blocks.
    """

    task: Task
    key: bytes
    shards: int = 1
    shared: bool = False

    def expand(self, parsed: beam.PCollection[EventBlock]) -> beam.PCollection[None]:
        """In the order that is safe: nothing leaves a worker before it is redacted."""
        task, key = self.task, self.key
        settings, cycle = task.settings, task.cycle
        aside = task.aside if task.spills else None
        settled = (
            parsed
            | ApplyPolicy(settings, self.shared)
            | MergeStages(settings, key, cycle)
            | StripManagedFields(settings.keep_managed_fields)
            | RedactSecrets(settings, key)
            | SettleEvents(settings, key, followed=cycle is not None)
            | ResolveCopies(settings, key, cycle, task.waiting, aside)
        )
        carried: list[beam.PCollection[tuple[str, bytes]]] = []
        if cycle is None:
            rows = settled.reads | AggregateReads(settings, aside)
        else:
            rows, open_rows = settled.reads | AggregateOpenReads(settings, cycle, task.open_rows)
            carried = [settled.carried, open_rows]
        files = (settled.blocks, rows) | "Records" >> beam.Flatten() | WriteAvro(task.aside, task.run, self.shards)
        return (settled.accounts, files) | CloseAccounts(task.aside, carried)


def local_options(parsed: PipelineOptions, splits: int, size: int, *, chosen: bool = False) -> None:
    """Pin Beam's in-process runner: one process, or one worker process per core where `size` bytes of input are worth it.

    With `chosen` the mode and number of workers stay as they are, Beam's defaults or not.
    """
    direct = parsed.view_as(DirectOptions)
    cores = len(os.sched_getaffinity(0))
    if not chosen:
        many = cores > 1 and splits > 1 and size >= WORTH_WORKERS
        direct.direct_running_mode = "multi_processing" if many else "in_memory"
        direct.direct_num_workers = min(cores, splits) if many else 1
    root = str(Path(__file__).parent.parent)
    os.environ["PYTHONPATH"] = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])  # workers import us too
    parsed.view_as(StandardOptions).runner = "pipelines.local_runner.LocalRunner"
