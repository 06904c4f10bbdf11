"""Survey a run: who causes which events and bytes, and what each step takes away, without writing anything.

Counts are kept by everything that the report may ask for together; its tables and its suggestions are sums over them.
Only redacted text is counted: names and user agents are a client's, and may hold anything.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import msgspec

from transforms.audit.account import Account, sum_accounts, total
from transforms.audit.apply_policy import apply_policy
from transforms.audit.avro_blocks import AvroBlock, BlockBuilder, rebuilt
from transforms.audit.block import DeadLetter
from transforms.audit.event import FINAL_STAGES, Event, text
from transforms.audit.guards import FOLDABLE_VERBS
from transforms.audit.merge_stages import StageMerger
from transforms.audit.parse_events import parse_events
from transforms.audit.parts import NO_OBJECT
from transforms.audit.read_summary import ReadSummary, merge_rows
from transforms.audit.reduce_all import reduce_splits
from transforms.audit.reduce_split import redact_block, strip_block
from transforms.audit.sample_storage import StorageSample
from transforms.audit.settings import hour_of
from transforms.audit.settle_events import LOOSE, EventSettler, Unit
from transforms.audit.settle_loose import settle_loose
from transforms.audit.survey_table import KEYS_LIMIT, OTHER, Count, Key, Target, Who, bounded, plain, short
from transforms.audit.times import micros

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from transforms.audit.block import RawBlock, Split
    from transforms.audit.resolve_copies import LooseEvent
    from transforms.audit.settings import Compiled

_CACHE_LIMIT: Final = 50_000
_UNREDACTED: Final = frozenset({"dropped_by_rule", "dropped_by_stage"})
# Reductions whose bytes are exactly what the event lost; what redaction takes is measured, for it leaves masks.
_MEASURED: Final = frozenset({"managedFields", "level"})
_Lengths = tuple[int, int, int]
_NOTHING: Final = (0, 0, 0)


class Surveyed(msgspec.Struct):
    """All that a survey found."""

    table: dict[Key, Count]
    cuts: dict[tuple[str, str], tuple[int, int]]  # (kind, path) -> (count, bytes)
    level_cuts: dict[int | None, int]  # rule -> bytes of bodies that its level cut
    dead: dict[str, tuple[int, int]]  # code -> (count, bytes)
    first: int | None
    last: int | None
    rows: list[ReadSummary]
    summaries: int  # bytes of the rows as JSON, about
    stored: int  # bytes of all Avro blocks
    account: Account
    sample: dict[str, int]  # step -> bytes compressed, and "raw": bytes that were sampled


class _User(msgspec.Struct):
    username: str | None = None
    groups: list[str] | None = None


class _Reference(msgspec.Struct):
    resource: str | None = None
    subresource: str | None = None
    apiGroup: str | None = None


_user: Final = msgspec.json.Decoder(_User | None).decode
_reference: Final = msgspec.json.Decoder(_Reference | None).decode
_errors: Final = (msgspec.MsgspecError, UnicodeError, RecursionError)


class _SplitSurvey:
    """What was found in one split; void once the split is reduced again."""

    def __init__(self, survey: Survey, split: Split) -> None:
        self.table: dict[Any, Count] = {}
        self.cuts: dict[tuple[str, str], list[int]] = {}
        self.level_cuts: Counter[int | None] = Counter()
        self.dead: dict[str, list[int]] = {}
        self.first: int | None = None
        self.last: int | None = None
        self.loose: dict[tuple[int, int], tuple[Any, Count]] = {}
        self._compiled = survey.compiled
        self._redact = survey.compiled.redactor.redact
        self._users = survey.users
        self._targets = survey.targets
        self._file = split.file
        # Lengths before redaction of the events of the block at hand that it changed.
        self.before: dict[int, _Lengths] = {}
        self._survey = survey
        # Stages that are merged into the event that is told next.
        self._merged: list[Event] = []

    def tell(self, event: Event | LooseEvent | DeadLetter, outcome: str, why: str | None) -> None:
        """The trace of the split."""
        if type(event) is DeadLetter:
            found = self.dead.setdefault(event.code, [0, 0])
            found[0] += 1
            found[1] += event.length
        elif outcome == "merged":
            self._merged.append(event)  # type: ignore[arg-type]
        else:
            self._event(event, outcome, why)  # type: ignore[arg-type]

    def _event(self, event: Event, outcome: str, why: str | None) -> None:
        size: int = event.size  # type: ignore[assignment]
        cut, in_request, in_response = _NOTHING
        if outcome in _UNREDACTED:
            event.moment = self._compiled.believable(micros(event.stageTimestamp))  # type: ignore[assignment]
            if outcome == "dropped_by_rule":
                why = self._hidden(event)
            event.requestObject = event.responseObject = b""  # type: ignore[assignment]
            self._redact(event)
        else:
            if event.reductions is not None:
                cut, in_request, in_response = self._reductions(event)
            if self.before and id(event) in self.before:
                was, now = self.before[id(event)], _lengths(event)
                cut, in_request, in_response = cut + was[0] - now[0], in_request + was[1] - now[1], in_response + was[2] - now[2]
        moment = event.moment
        if moment is not None:
            if self.first is None or moment < self.first:
                self.first = moment
            if self.last is None or moment > self.last:
                self.last = moment
        raw = bytes(event.user)
        who = self._users.get(raw) or self._who(raw)
        reference = bytes(event.objectRef)
        target = (self._targets.get(reference) or self._target(reference)) if reference else self._path(event)
        key = (who, event.userAgent, event.verb, target, event.level, event.stage, event.rule, outcome, why)
        request, response = len(event.requestObject), len(event.responseObject)
        if outcome == LOOSE:
            count = Count(1, size, size - cut, request, response, cut, in_request, in_response)
            self.loose[event.offset, event.item] = (key, count)  # type: ignore[index]
            return
        count = self.table.get(key) or self._counted(key)
        count.events += 1
        count.size += size
        count.left += size - cut
        count.request += request
        count.response += response
        if cut:
            count.cut += cut
            count.request_cut += in_request
            count.response_cut += in_response
        if self._merged:
            for stage in self._merged:
                # Nobody has redacted these; but whom and what they name, their final event repeats.
                self._stage((who, event.userAgent, event.verb, target, event.level, stage.stage, stage.rule, "merged", None), stage)
            self._merged.clear()

    def _stage(self, key: tuple[Any, ...], stage: Event) -> None:
        cut = self._reductions(stage)[0] if stage.reductions is not None else 0
        count = self.table.get(key) or self._counted(key)
        count.events += 1
        count.size += stage.size  # type: ignore[operator]
        count.left += stage.size - cut  # type: ignore[operator]
        count.cut += cut

    def _counted(self, key: tuple[Any, ...]) -> Count:
        if len(self.table) > KEYS_LIMIT:
            self.table = bounded(self.table)
        return self.table.setdefault(key, Count())

    def _hidden(self, event: Event) -> str | None:
        """The guard that would have protected an event that a rule drops; `write` for what is no read."""
        if event.stage not in FINAL_STAGES:
            return None
        if event.verb not in FOLDABLE_VERBS:
            return "write"
        return self._compiled.read_guard.classify(event)[2]

    def _reductions(self, event: Event) -> _Lengths:
        """Count the event's reductions; bytes that policy and managedFields took: of all, of requestObject, of responseObject."""
        gone = in_request = in_response = 0
        for kind, path, times, size in event.reductions:  # type: ignore[attr-defined]
            found = self.cuts.get((kind, path))
            if found is None:
                found = self.cuts.setdefault((kind, path if len(self.cuts) < _CACHE_LIMIT else OTHER), [0, 0])
            found[0] += times
            found[1] += size
            if kind in _MEASURED:
                gone += size
                if path.startswith("/responseObject"):
                    in_response += size
                elif path.startswith("/requestObject"):
                    in_request += size
                if kind == "level":
                    self.level_cuts[event.rule] += size
        return gone, in_request, in_response

    def _who(self, raw: bytes) -> Who:
        try:
            user = (_user(raw) if raw else None) or _User()
        except _errors:
            user = _User("(unreadable)")
        groups = user.groups or ()
        who = Who(short(user.username), "system:nodes" if "system:nodes" in groups else "")
        if len(self._users) > _CACHE_LIMIT:
            self._users.clear()
        self._users[raw] = who
        return who

    def _target(self, raw: bytes) -> Target:
        try:
            reference = _reference(raw) or _Reference()
        except _errors:
            reference = _Reference("(unreadable)")
        target = Target(short(reference.apiGroup), short(reference.resource), short(reference.subresource))
        if len(self._targets) > _CACHE_LIMIT:
            self._targets.clear()
        self._targets[raw] = target
        return target

    def _path(self, event: Event) -> Target:
        uri = text(event.requestURI)
        target = self._survey.paths.get(uri)
        if target is None:
            path = uri.partition("?")[0]
            if len(self._survey.paths) > _CACHE_LIMIT:
                self._survey.paths.clear()
            target = self._survey.paths[uri] = Target("", "", "", short("/".join(path.split("/")[:3])) or "(none)")
        return target


class Survey:
    """Surveys splits in one process, reading each once (twice where audit IDs of one turn up in another).

    Memory is bounded by the number of distinct users, agents and resources, by the compressed output, a few percent of the
    input, and by 200 bytes for each event that waits for others of its audit ID.
    """

    def __init__(self, compiled: Compiled) -> None:
        self.compiled = compiled
        self.users: dict[bytes, Who] = {}
        self.targets: dict[bytes, Target] = {}
        self.paths: dict[str, Target] = {}
        self._found: dict[int, _SplitSurvey] = {}
        self._sample = StorageSample(compiled)

    def run(self, splits: Sequence[Split], read: Callable[[Split], Iterable[RawBlock]]) -> Surveyed:
        """Survey all splits."""
        units = reduce_splits(len(splits), lambda at, recalled: self._reduce(at, splits[at], read, recalled))
        loose: dict[tuple[int, int, int], tuple[Any, Count]] = {}
        for at, found in self._found.items():
            loose.update({(splits[at].file, *place): entry for place, entry in found.loose.items()})
            found.loose = {}
        settled: dict[Any, Count] = {}

        def tell(event: LooseEvent, outcome: str, why: str | None) -> None:
            key, count = loose.pop((event.file, event.offset, event.item))
            settled.setdefault((*key[:-2], outcome, why if outcome == "kept" else None), Count()).add(count)

        last = settle_loose(self.compiled, (event for found in units for unit in found for event in unit.loose), trace=tell)
        return self._total([unit for found in units for unit in found] + [last], settled)

    def _reduce(self, at: int, split: Split, read: Callable[[Split], Iterable[RawBlock]], recalled: bytes) -> list[Unit]:
        compiled, policy = self.compiled, self.compiled.policy
        found = self._found[at] = _SplitSurvey(self, split)
        merger = StageMerger(split, compiled.key, merge=compiled.settings.merge, recalled=recalled)
        settler = EventSettler(compiled, split, found.tell)
        units = []
        for block in read(split):
            if not recalled:
                self._sample.see(block)
            parsed = parse_events(block, compiled.key)
            apply_policy(policy, parsed, found.tell)
            merger.feed(parsed)
            strip_block(parsed, keep=compiled.settings.keep_managed_fields)
            events = [*parsed.events, *[each[0] for each in parsed.loose]]
            before = list(map(_lengths, events))
            redact_block(compiled, parsed)
            after = list(map(_lengths, events))
            changed = zip(events, before, after, strict=True)
            found.before = {} if before == after else {id(event): was for event, was, now in changed if was != now}
            unit = settler.feed(parsed)
            if unit is not None:
                units.append(unit)
        return units

    def _total(self, units: list[Unit], settled: dict[Any, Count]) -> Surveyed:
        table: dict[Any, Count] = {}
        cuts: dict[tuple[str, str], list[int]] = {}
        dead: dict[str, list[int]] = {}
        level_cuts: Counter[int | None] = Counter()
        for counts in (*(found.table for found in self._found.values()), settled):
            for key, count in counts.items():
                table.setdefault(plain(key), Count()).add(count)
            if len(table) > 4 * KEYS_LIMIT:
                table = bounded(table)
        for found in self._found.values():
            _add(cuts, found.cuts)
            _add(dead, found.dead)
            level_cuts.update(found.level_cuts)
        windows: dict[int, list[ReadSummary]] = {}
        for unit in units:
            for window, some in unit.reads.items():
                windows.setdefault(window, []).extend(some)
        rows = [row for window in sorted(windows) for row in merge_rows(windows[window])]
        moments = [moment for found in self._found.values() for moment in (found.first, found.last) if moment is not None]
        return Surveyed(
            table=table,
            cuts={name: (times, size) for name, (times, size) in cuts.items()},
            level_cuts=dict(level_cuts),
            dead={code: (times, size) for code, (times, size) in dead.items()},
            first=min(moments, default=None),
            last=max(moments, default=None),
            rows=rows,
            summaries=sum(map(_json_length, rows)),
            stored=_stored([block for unit in units for block in unit.blocks], rows, self.compiled.settings.window),
            account=total(sum_accounts(account for unit in units for account in unit.accounts)),
            sample=dict(self._sample.sizes),
        )


def _stored(blocks: list[AvroBlock], rows: list[ReadSummary], window: int) -> int:
    """Bytes that the run's Avro would take, less the headers of its files."""
    builder = BlockBuilder(0, 0)
    for row in rows:
        builder.add("reads", hour_of(row.window), NO_OBJECT, row.encoded(window))
        blocks += builder.full()
    directories: dict[tuple[str, int], list[AvroBlock]] = {}
    for block in blocks + builder.rest():
        directories.setdefault((block.kind, block.hour), []).append(block)
    return sum(len(block.packed) for held in directories.values() for block in rebuilt(held))


def _lengths(event: Event) -> _Lengths:
    """Bytes of what redaction may change: of all, of requestObject, of responseObject."""
    request, response, uri = len(event.requestObject), len(event.responseObject), event.requestURI
    length = request + response + len(event.responseStatus) + len(event.annotations) + len(event.objectRef)
    return length + len(uri) if isinstance(uri, str) else length, request, response


_quoted: Final = msgspec.json.encode
# What the names of a record's fields add to what Avro writes of it, about.
_NAMES: Final = 350


def _json_length(row: ReadSummary) -> int:
    samples = (list(row.names.values), list(row.addresses.values), list(row.audit_ids.values))
    return len(_quoted([row.key, row.cluster, row.window, row.count, row.first, row.last, *samples])) + len(row.exemplar) + 2 * _NAMES


def _add(sums: dict[Any, list[int]], more: dict[Any, list[int]]) -> None:
    for name, (times, size) in more.items():
        one = sums.setdefault(name, [0, 0])
        one[0] += times
        one[1] += size
