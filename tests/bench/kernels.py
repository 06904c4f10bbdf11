"""Each step's kernel, alone on its clock: one pass over the blocks, step after step, without Beam."""

from __future__ import annotations

import gc
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import orjson

from pipelines.plan import plan
from transforms.audit.aggregate_reads import Reads
from transforms.audit.apply_policy import apply_policy
from transforms.audit.audit_ids import find_recalls, hash_groups
from transforms.audit.avro_blocks import BlockBuilder
from transforms.audit.block import BLOCK_SIZE, DEFAULT_CLUSTER
from transforms.audit.merge_stages import StageMerger
from transforms.audit.parse_events import parse_events
from transforms.audit.policy import load_policy
from transforms.audit.read_summary import merge_rows
from transforms.audit.record import encode_event, stream_part
from transforms.audit.reduce_all import loose_ids
from transforms.audit.reduce_split import redact_block, strip_block
from transforms.audit.rows.settle_rows import Target, fold_groups, settle_rows
from transforms.audit.settings import Compiled, Settings, hour_of
from transforms.audit.settle_events import EventSettler
from transforms.audit.settle_loose import settle_loose
from transforms.audit.times import micros
from transforms.connectors.audit_files import read_blocks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from transforms.audit.block import EventBlock, RawBlock, Split
    from transforms.audit.event import Event

KEY: Final = b"the bench needs no secret at all"
RULES: Final = 100
POLICY: Final = f"policy, {RULES} rules"
LOADS: Final = "orjson.loads, to compare"


def policy_of(rules: int) -> bytes:
    """A policy whose last rule keeps everything; the others each look at something else and match little or nothing."""
    verbs = ("get", "list", "watch", "create", "update", "patch", "delete")
    out: list[dict[str, Any]] = []
    for at in range(rules - 1):
        resources = [{"group": ("", "apps", "batch", "example.org")[at % 4], "resources": [f"things{at}", f"pods/part{at}"]}]
        rule: dict[str, Any] = {"level": "Metadata", "verbs": [verbs[at % 7], verbs[(at + 2) % 7]], "resources": resources}
        if at % 3 == 0:
            rule["users"] = [f"system:serviceaccount:team-{at}:robot"]
        if at % 5 == 0:
            rule["namespaces"] = [f"team-{at}", "kube-system"]
        if at % 7 == 0:
            rule["userGroups"] = [f"group-{at}", "system:authenticated"]
        out.append(rule)
    return orjson.dumps({"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": [*out, {"level": "RequestResponse"}]})


class Clock:
    """CPU time, bytes out and peak memory of one step."""

    def __init__(self) -> None:
        self.cpu = 0.0
        self.out = 0
        self.peak = 0

    def __enter__(self) -> None:
        _forget_peak()
        self._began = time.process_time()

    def __exit__(self, *error: object) -> None:
        self.cpu += time.process_time() - self._began
        self.peak = max(self.peak, _peak())


def _forget_peak() -> None:
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def _peak() -> int:
    """Bytes of memory held at most since `_forget_peak`; 0 where the system does not tell."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return 0
    return int(status.partition("VmHWM:")[2].split()[0]) << 10


def _left(block: EventBlock) -> int:
    """Bytes of JSON in a block's events, less what was cut out of them."""
    out = 0
    for event in (*block.events, *(event for event, *_ in block.loose)):
        out += event.size - _cut(event)  # type: ignore[operator]
    if block.rows is not None:
        cut = sum(size for place in range(len(block.rows)) for *_, size in block.rows.reductions(place))
        out += int((block.rows.sizes() + block.rows.first_sizes).sum()) - cut
    return out


def _cut(event: Event) -> int:
    reductions: Any = event.reductions
    return sum(size for *_, size in reductions or ())


class Kernels:
    """The steps, each with its clock; what goes from one to the next is real."""

    names: Final = (LOADS, "read", "parse", POLICY, "merge", "strip", "redact", "fold", "encode and compress", "dedupe and resolve")

    def __init__(self) -> None:
        self.clocks = {name: Clock() for name in self.names}
        settings = Settings(started=int(time.time() * 1_000_000))
        self.compiled = Compiled(settings, KEY)
        self.policy = load_policy(policy_of(RULES))
        self.events = self.size = 0
        self._ids: list[tuple[int, bytes]] = []
        self._loose: list[Any] = []

    def run(self, splits: list[Split]) -> None:
        """All splits; then what brings splits together."""
        for number, split in enumerate(splits):
            self._split(number, split)
        with self.clocks["dedupe and resolve"]:
            find_recalls(self._ids, [(0, loose_ids(self._loose))])
            unit = settle_loose(self.compiled, self._loose)
        self.clocks["dedupe and resolve"].out = sum(len(block.packed) for block in unit.blocks)

    def _blocks(self, split: Split) -> Iterator[RawBlock]:
        blocks = read_blocks(split, KEY, piece_size=BLOCK_SIZE)
        while True:
            with self.clocks["read"]:
                block = next(blocks, None)
            if block is None:
                return
            self.clocks["read"].out += len(block.data)
            yield block

    def _split(self, number: int, split: Split) -> None:
        clocks, compiled = self.clocks, self.compiled
        merger = StageMerger(split, KEY)
        settler = EventSettler(compiled, split)
        builder = BlockBuilder(0, number)
        reads = Reads(compiled.settings.window)
        stream = stream_part(split.uri, split.partition)
        for raw in self._blocks(split):
            self._load(raw)
            with clocks["parse"]:
                block = parse_events(raw, KEY, rows=True)
            self.events += block.account.events
            self.size += block.account.size
            clocks["parse"].out += _left(block)
            with clocks[POLICY]:
                apply_policy(self.policy, block)
            clocks[POLICY].out += _left(block)
            with clocks["merge"]:
                merger.feed(block)
            clocks["merge"].out += _left(block)
            with clocks["strip"]:
                strip_block(block)
            clocks["strip"].out += _left(block)
            with clocks["redact"]:
                redact_block(compiled, block)
            clocks["redact"].out += _left(block)
            with clocks["fold"]:
                kept = self._fold(block, reads)
            apart = self._fold_rows(block)
            with clocks["encode and compress"]:
                for event in kept:
                    record, key, _ = encode_event(event, DEFAULT_CLUSTER, stream)
                    builder.add("events", hour_of(event.moment), key, record)
                if block.rows is not None:
                    settle_rows(block.rows, Target(DEFAULT_CLUSTER, stream, compiled.read_guard, reads, builder, None))
                packed = builder.rest() if raw.last else builder.full()
            clocks["encode and compress"].cpu -= apart
            clocks["encode and compress"].out += sum(len(each.packed) for each in packed)
            with clocks["dedupe and resolve"]:
                self._ids.append((number, hash_groups((event.auditID for event in block.events), DEFAULT_CLUSTER)[1].tobytes()))
                if block.rows is not None:
                    self._ids.append((number, block.rows.hashed(DEFAULT_CLUSTER).tobytes()))
                self._loose += [settler._loosen(*loose) for loose in block.loose]
        with clocks["fold"]:
            windows = reads.flush(split.file, lambda event, cluster: encode_event(event, cluster, stream)[0])
            rows = [row.encoded(compiled.settings.window) for window in windows.values() for row in merge_rows(window)]
        clocks["fold"].out += sum(map(len, rows))

    def _load(self, raw: RawBlock) -> None:
        """What it takes to parse each line whole, which no step does."""
        lines = [line for line in raw.data.split(b"\n") if line]
        with self.clocks[LOADS], suppress(orjson.JSONDecodeError):
            for line in lines:
                orjson.loads(line)

    def _fold_rows(self, block: EventBlock) -> float:
        """What it takes to tell which rows are folded, which happens again where they are settled."""
        clock = self.clocks["fold"]
        before = clock.cpu
        if block.rows is not None:
            with clock:
                fold_groups(block.rows, self.compiled.read_guard, self.compiled.settings.window)
        return clock.cpu - before

    def _fold(self, block: EventBlock, reads: Reads) -> list[Event]:
        classify, believable = self.compiled.read_guard.classify, self.compiled.believable
        kept = []
        for event in block.events:
            event.moment = believable(micros(event.stageTimestamp))  # type: ignore[assignment]
            read, name, why = classify(event)
            if read is not None and why is None:
                reads.add(event, read, name, DEFAULT_CLUSTER)
            else:
                kept.append(event)
        return kept


def main(paths: list[str]) -> None:
    """Print one JSON document: what each step took."""
    gc.freeze()
    gc.set_threshold(2_000_000, 50, 50)  # as the pipeline's workers do
    kernels = Kernels()
    kernels.run(plan([(path, None) for path in paths]).splits)
    steps = {name: {"cpu": clock.cpu, "bytesOut": clock.out, "peak": clock.peak} for name, clock in kernels.clocks.items()}
    print(orjson.dumps({"events": kernels.events, "bytesIn": kernels.size, "steps": steps}).decode())


if __name__ == "__main__":
    main(sys.argv[1:])
