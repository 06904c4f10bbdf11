"""Settle a split's events: fold the reads, encode what is kept, and pass on what must meet others first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from transforms.audit import avro
from transforms.audit.account import Account, sum_accounts, weigh_cuts
from transforms.audit.aggregate_reads import Reads, addresses
from transforms.audit.audit_ids import hash_groups
from transforms.audit.avro_blocks import AvroBlock, BlockBuilder
from transforms.audit.block import DEFAULT_CLUSTER, DeadLetter, EventBlock, Split
from transforms.audit.event import ODD_BEFORE
from transforms.audit.guards import FOLDABLE_VERBS
from transforms.audit.memory import SettledRows
from transforms.audit.merge_stages import ends_alone
from transforms.audit.parts import NO_OBJECT
from transforms.audit.read_summary import ReadSummary
from transforms.audit.record import content, content_and_key, digest, encode_event, source_part, stream_part
from transforms.audit.resolve_copies import LooseEvent
from transforms.audit.rows.settle_rows import Target, settle_rows
from transforms.audit.settings import HOUR, ODD_AFTER, UNKNOWN_HOUR
from transforms.audit.times import time_part

if TYPE_CHECKING:
    from collections.abc import Callable

    from transforms.audit.event import Event
    from transforms.audit.rows.plain_rows import Rows
    from transforms.audit.settings import Compiled

ROWS_LIMIT = 20_000
EXEMPLAR_BYTES = 64 << 20
LOOSE_BYTES = 32 << 20
HASHED_AT_ONCE: Final = 4096
LOOSE: Final = "loose"


class Unit(msgspec.Struct, array_like=True):
    """What a stretch of a split became, redacted: final unless one of its audit IDs turns up elsewhere.

    `ids` are the settled audit IDs as hashes (`audit_ids`), `loose` the events that are not settled yet. The accounts come
    with the last unit of the split. `settled` are rows for the `memory` of a followed input.
    """

    blocks: list[AvroBlock]
    reads: dict[int, list[ReadSummary]]
    loose: list[LooseEvent]
    accounts: list[Account]
    ids: bytes = b""
    settled: bytes = b""


class EventSettler:
    """Takes a split's blocks in order, when they are merged, stripped and redacted.

    `trace(event or dead letter, outcome, why)` is told every outcome that is decided here, and of every loose event that it
    is `LOOSE`: its outcome follows from `settle_loose`.
    """

    def __init__(
        self, compiled: Compiled, split: Split, trace: Callable[[Any, str, str | None], None] | None = None, *, followed: bool = False
    ) -> None:
        self._compiled = compiled
        self._split = split
        self._stream = stream_part(split.uri, split.partition)
        self._builder = BlockBuilder(split.file, split.start)
        self._reads = Reads(compiled.settings.window)
        self._accounts: list[Account] = []
        self._trace = trace
        self._ids: list[bytes] = []
        self._unhashed: list[Any] = []  # groups (`audit_ids`): many at once cost a fraction of a block's at a time
        self._loose: list[LooseEvent] = []
        self._loose_bytes = 0
        self._settled = SettledRows() if followed else None

    def feed(self, block: EventBlock) -> Unit | None:
        """Take over a block: what of the split is ready, if that is worth sending; at its end all there is."""
        self._accounts.append(block.account)
        for letter in block.dead_letters:
            self._builder.add("dead_letters", UNKNOWN_HOUR, NO_OBJECT, encode_dead_letter(letter, self._stream))
            if self._trace:
                self._trace(letter, "dead_letter", letter.code)
        if block.rows is not None:
            self._settle_rows(block.rows)
        self._settle(block.events)
        self._unhashed += map(self._group, block.events)
        if len(self._unhashed) > HASHED_AT_ONCE:
            self._hash_ids()
        loose = [self._loosen(event, request, items) for event, request, items in block.loose]
        self._loose += loose
        self._loose_bytes += sum(len(event.content) for event in loose)
        return self._take(last=block.last)

    def _hash_ids(self) -> None:
        self._ids.append(hash_groups(self._unhashed, self._split.cluster or DEFAULT_CLUSTER)[1].tobytes())
        self._unhashed.clear()

    def _group(self, event: Event) -> Any:
        return (event.cluster, event.auditID) if event.cluster and not self._split.cluster else event.auditID

    def _settle(self, events: list[Event]) -> None:
        classify, fold, settings = self._compiled.read_guard.classify, self._compiled.settings.fold, self._compiled.settings
        add, trace, fixed, stream = self._builder.add, self._trace, self._split.cluster, self._stream
        earliest, latest = ODD_BEFORE, settings.started + ODD_AFTER
        kept = folded = before = 0
        digests: dict[int, bytes] = {}  # of what is kept, by its place here
        followed = self._settled is not None
        for at, event in enumerate(events):
            time = time_part(event.stageTimestamp)
            moment = time[0]
            if moment is not None and not earliest <= moment <= latest:
                moment = None
            event.moment = moment  # type: ignore[assignment]
            cluster: str = fixed or event.cluster or DEFAULT_CLUSTER
            merged: Any = event.merged
            if merged is not None:
                for stage in merged:
                    stage.account.merged += 1
                    before += stage.size
                    if trace:
                        trace(stage, "merged", None)
            account: Account = event.account  # type: ignore[assignment]
            read = name = why = None
            if event.verb in FOLDABLE_VERBS:
                read, name, why = classify(event)
            if read is not None and why is None and fold:
                self._reads.add(event, read, name, cluster)
                account.folded += 1
                if self._settled is not None:
                    self._note_folded(event, moment)  # type: ignore[arg-type]
                folded += event.size  # type: ignore[operator]
                if trace:
                    trace(event, "folded", None)
                continue
            record, key, identity = encode_event(event, cluster, stream, time)
            if followed:
                digests[at] = identity
            add("events", UNKNOWN_HOUR if moment is None else moment - moment % HOUR, key, record)
            account.kept += 1
            kept += event.size  # type: ignore[operator]
            if event.reductions is not None:
                weigh_cuts(account, event.reductions)
            if trace:
                trace(event, "kept", why)
        if self._settled is not None:
            self._note_settled(events, digests)
        if events:
            for outcome, size in (("kept", kept), ("folded", folded), ("merged", before)):
                account.weigh(outcome, size)

    def _settle_rows(self, rows: Rows) -> None:
        guard = self._compiled.read_guard if self._compiled.settings.fold else None
        cluster = self._split.cluster or rows.cluster or DEFAULT_CLUSTER
        settle_rows(rows, Target(cluster, self._stream, guard, self._reads, self._builder, self._settled))
        self._ids.append(rows.hashed(cluster).tobytes())

    def _note_folded(self, event: Event, moment: int) -> None:
        window = moment - moment % self._compiled.settings.window
        account: Any = event.account
        account.fold_into(window, 1, 0)
        stages: Any = event.merged
        for stage in stages or ():
            stage.account.fold_into(window, 0, 1)

    def _note_settled(self, events: list[Event], digests: dict[int, bytes]) -> None:
        """Note what later runs must know of these events and the stages merged into them, and how late it is.

        `digests`: of the kept ones, by place.
        """
        add, fixed = self._settled.add, self._split.cluster  # type: ignore[union-attr]
        for at, event in enumerate(events):
            cluster: str = fixed or event.cluster or DEFAULT_CLUSTER
            add(cluster, event.auditID, event.stage, digests.get(at) or digest(cluster, content(event)))  # type: ignore[arg-type]
            merged: Any = event.merged
            for each in merged or ():
                add(cluster, each.auditID, each.stage, digest(cluster, content(each)))
            moment: int | None = event.moment
            account: Any = event.account
            if moment is not None and moment > account.latest:
                account.latest = moment

    def _loosen(self, event: Event, request: bytes, items: list[bytes]) -> LooseEvent:
        moment, reached, plain = time_part(event.stageTimestamp)
        event.moment = self._compiled.believable(moment)  # type: ignore[assignment]
        if self._settled is not None and event.moment is not None:
            home: Any = event.account
            home.latest = max(home.latest, event.moment)
        body, key = content_and_key(event, reached, plain)
        read, name, why = self._compiled.read_guard.classify(event)
        account: Account = event.account  # type: ignore[assignment]
        folds = read is not None and why is None
        if self._trace:
            self._trace(event, LOOSE, why)
        return LooseEvent(
            cluster=self._split.cluster or event.cluster or DEFAULT_CLUSTER,
            audit_id=event.auditID if isinstance(event.auditID, str) else None,
            stage=event.stage if isinstance(event.stage, str) else "",
            file=self._split.file,
            start=account.start,
            offset=event.offset,  # type: ignore[arg-type]
            item=event.item,  # type: ignore[arg-type]
            stream=self._stream,
            size=event.size,  # type: ignore[arg-type]
            moment=moment,
            alone=ends_alone(event),
            request=request,
            items=items,
            content=body,
            key=key,
            rule=event.rule,
            reductions=event.reductions,
            flags=event.flags,
            read=read.key if folds and read is not None else None,
            name=name,
            addresses=addresses(bytes(event.sourceIPs)) if folds else [],
            why=why,
        )

    def _take(self, *, last: bool) -> Unit | None:
        blocks = self._builder.rest() if last else self._builder.full()
        many = len(self._reads) > ROWS_LIMIT or len(self._loose) > ROWS_LIMIT
        many = many or self._reads.held > EXEMPLAR_BYTES or self._loose_bytes > LOOSE_BYTES
        if not (last or blocks or many):
            return None
        self._hash_ids()
        reads = self._reads.flush(self._split.file, self._record) if last or many else {}
        settled = b"" if self._settled is None else self._settled.packed()
        unit = Unit(blocks, reads, self._loose, sum_accounts(self._accounts) if last else [], b"".join(self._ids), settled)
        self._ids, self._loose, self._loose_bytes = [], [], 0
        return unit

    def _record(self, event: Event, cluster: str) -> bytes:
        return encode_event(event, cluster, self._stream)[0]


def encode_dead_letter(letter: DeadLetter, stream: bytes) -> bytes:
    """A dead letter as a record of `schemas/dead_letter.avsc`."""
    texts = avro.string(letter.code) + avro.string(letter.step)
    source = source_part(stream, letter.offset, letter.item)
    return b"".join((texts, source, avro.long(letter.length), avro.data(letter.mac), avro.string(letter.message)))
