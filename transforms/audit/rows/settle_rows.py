"""Settle rows: fold the reads among them group by group, and encode what is kept."""

from __future__ import annotations

from collections import Counter
from itertools import accumulate, compress, pairwise
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from transforms.audit.account import weigh_cuts
from transforms.audit.aggregate_reads import ManyReads
from transforms.audit.avro import string
from transforms.audit.record import cluster_part, content, digest, marks_part
from transforms.audit.rows.bodies import REQUEST, RESPONSE
from transforms.audit.rows.columns import ALONE, CUTS, LEVEL_CUT, NAME, NAME_END, READ, REFERENCE, REFERENCE_END
from transforms.audit.rows.kernels import kernels
from transforms.audit.rows.object_keys import object_keys
from transforms.audit.rows.parts import OF_CALLER, OF_NOTES, OF_REFERENCE, OF_STATUS, OF_URI, OF_VERB
from transforms.audit.rows.words import MOST

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from transforms.audit.aggregate_reads import Classified, ReadGuard, Reads
    from transforms.audit.avro_blocks import BlockBuilder
    from transforms.audit.event import Event
    from transforms.audit.memory import SettledRows
    from transforms.audit.rows.plain_rows import Rows

_HOUR: Final = 3_600_000_000  # as in `settings`, which knows rows
_KNOWN: Final = 50_000  # kinds of reads
_FIXED: Final = 800  # bytes at most of a record beside its parts, bodies, and what is the same in all


_CUTS: Final = [string(kind) + string(path) for kind, path in CUTS]
_KINDS: Final = (
    np.frombuffer(b"".join(_CUTS), dtype=np.uint8),
    np.array(list(pairwise(accumulate(map(len, _CUTS), initial=0))), dtype=np.int64),
)


class _Bodies(NamedTuple):
    """What records say of bodies, as `encode_rows` takes it."""

    pool: NDArray[np.uint8]
    spans: NDArray[np.int64]
    cuts: NDArray[np.int64]
    marks: NDArray[np.uint8]
    marked: NDArray[np.int64]


class _Records(NamedTuple):
    """Records one after another, where each of them ends, and the numbers of their lines."""

    records: bytes
    ends: NDArray[np.int64]
    lines: NDArray[np.int64]


class _Group(NamedTuple):
    """Rows of one block that are folded into one summary, by time: the same read in the same window.

    `name` of an object that only the URI names, `order` of the first row; `wanted`: that is the earliest of its summary so far.
    """

    read: Any
    name: str | None
    window: int
    places: NDArray[np.int64]
    order: tuple[int, int, int]


class Target(NamedTuple):
    """Where rows go: reads are folded into `reads` if a `guard` says which, all others as records to `builder`.

    `settled` is told of every event where the input is followed.
    """

    cluster: str
    stream: bytes
    guard: ReadGuard | None
    reads: Reads
    builder: BlockBuilder
    settled: SettledRows | None


def settle_rows(rows: Rows, to: Target) -> None:
    """Settle all rows, and put them on their account."""
    account = rows.account
    sizes = rows.sizes()
    account.merged += int((rows.partners >= 0).sum())
    for first in _waited(rows).values():
        first.account.merged += 1  # type: ignore[attr-defined]
    account.weigh("merged", int(rows.first_sizes.sum()))
    folded, groups = (np.zeros(len(rows), dtype=bool), []) if to.guard is None else fold_groups(rows, to.guard, to.reads.window)
    kept, others = np.flatnonzero(~folded), np.flatnonzero(folded)
    wanted = _exemplars(groups, to)
    if to.settled is None:
        others = np.array([group.places[0] for group in wanted], dtype=np.int64)
    chosen = np.concatenate([kept, others])
    encoded = _encode(rows, chosen, to)
    _keep(rows, kept, encoded, to.builder)
    account.kept += len(kept)
    account.weigh("kept", int(sizes[kept].sum()))
    _weigh(rows, kept)
    account.folded += int(folded.sum())
    account.weigh("folded", int(sizes[folded].sum()))
    at = dict(zip(others.tolist(), range(len(kept), len(chosen)), strict=True))
    earliest = set(map(id, wanted))
    exemplars = [_record(encoded, at[int(group.places[0])]) if id(group) in earliest else None for group in groups]
    if groups:
        _fold(rows, groups, exemplars, to, sizes + rows.first_sizes)
    if to.settled is not None:
        _note(rows, chosen, encoded, groups, to)


def _encode(rows: Rows, places: NDArray[np.int64], to: Target, *, early: bool = False) -> _Records:
    """The records of some rows; with `early` of the lines merged into them, of which the digests count."""
    bodies = _no_bodies(len(places)) if early else _bodies(rows, places)
    chosen = rows.partners[places].astype(np.int64) if early else rows.chosen[places]
    numbers = np.ascontiguousarray(rows.numbers[places, :OF_VERB])
    if early:
        numbers[:, [OF_STATUS, OF_NOTES]] = -1
    lines = rows.lines[chosen]
    cluster = cluster_part(to.cluster)
    room = len(places) * (_FIXED + len(cluster) + len(to.stream)) + int((lines[:, REFERENCE_END] - lines[:, REFERENCE]).sum())
    room += len(bodies.marks) + int((bodies.spans[:, 1::2] - bodies.spans[:, ::2]).sum())
    for column, words in enumerate(rows.parts.words[:OF_VERB]):
        at, found = words.places, numbers[:, column]
        room += int((at[found, 1] - at[found, 0])[found >= 0].sum())
    out = np.empty(room, dtype=np.uint8)
    ends = np.empty(len(places), dtype=np.int64)
    kernels().encode_rows(
        np.frombuffer(rows.data, dtype=np.uint8),
        rows.lines,
        chosen,
        np.full(len(places), -1, dtype=np.int64) if early else rows.first_moments[places],
        rows.moments,
        rows.levels[places],
        rows.rules[places],
        numbers,
        *rows.parts.encoded,
        bodies.pool,
        bodies.spans,
        bodies.cuts,
        *_KINDS,
        bodies.marks,
        bodies.marked,
        np.frombuffer(cluster, dtype=np.uint8),
        np.frombuffer(to.stream, dtype=np.uint8),
        rows.origins[chosen],
        np.empty(8, dtype=np.uint64),
        np.empty(16, dtype=np.uint64),
        out,
        ends,
        rows.digests,
        rows.digested,
    )
    return _Records(out[: int(ends[-1]) if len(ends) else 0].tobytes(), ends, chosen)


def _no_bodies(rows: int) -> _Bodies:
    nothing, none = np.empty(0, dtype=np.uint8), np.zeros((rows, 12), dtype=np.int64)
    return _Bodies(nothing, none[:, :4].copy(), none, nothing, none[:, :2].copy())


def _bodies(rows: Rows, places: NDArray[np.int64]) -> _Bodies:
    """The bodies of some rows, and what was cut from these."""
    has, of, lowered = rows.has[places], rows.of[places], rows.lowered[places]
    if not has.any() and not lowered.any():
        return _no_bodies(len(places))
    spans = np.zeros((len(places), 2, 2), dtype=np.int64)
    cuts = np.zeros((len(places), 2, 2, 3), dtype=np.int64)  # masked and cut, of request and response
    marked: dict[int, None] = {}
    pools: list[NDArray[np.uint8]] = []
    numbers = 2 * of[:, None] + (REQUEST, RESPONSE)
    for strips in (True, False):
        mask = has & (rows.stripped[places] == strips)[:, None]
        which = numbers[mask]
        if not len(which):
            continue
        texts = rows.bodies.texts(strips=strips)
        texts.compact(which)
        spans[mask] = texts.spans[which] + sum(map(len, pools))
        cuts.swapaxes(1, 2)[mask] = texts.cuts[which]
        pools.append(texts.pool)
        if texts.reductions:
            others = np.isin(numbers, list(texts.reductions)) & mask
            marked.update(dict.fromkeys(np.flatnonzero(others.any(axis=1)).tolist()))
    out = lowered > 0
    cut = cuts[:, 1]
    cut[out, 0] = (LEVEL_CUT + np.broadcast_to((REQUEST, RESPONSE), lowered.shape))[out]
    cut[out, 1] = 1
    cut[out, 2] = lowered[out]
    marks = [marks_part(rows.reductions(int(places[at])), None) for at in marked]
    ends = np.zeros((len(places), 2), dtype=np.int64)
    ends[list(marked)] = np.array(list(pairwise(accumulate(map(len, marks), initial=0)))).reshape(-1, 2)
    pool = pools[0] if len(pools) == 1 else np.concatenate([np.empty(0, dtype=np.uint8), *pools])
    return _Bodies(pool, spans.reshape(-1, 4), cuts.reshape(-1, 12), np.frombuffer(b"".join(marks), dtype=np.uint8), ends)


def _weigh(rows: Rows, places: NDArray[np.int64]) -> None:
    """Put what was cut from some rows on their account."""
    lowered, numbers = rows.lowered[places], rows.numbers_of_bodies(_mask(rows, places))
    rows.account.weigh("redaction", int(lowered.sum()))
    for strips in (True, False):
        which = numbers[rows.stripped[np.searchsorted(rows.of, numbers >> 1)] == strips]
        if not len(which):
            continue
        texts = rows.bodies.texts(strips=strips)
        rows.account.weigh("redaction", int(texts.cuts[which, 0, 2].sum()))
        rows.account.weigh("managedFields", int(texts.cuts[which, 1, 2].sum()))
        if texts.reductions:
            for body in which[np.isin(which, list(texts.reductions))].tolist():
                weigh_cuts(rows.account, texts.reductions[body])


def _mask(rows: Rows, places: NDArray[np.int64]) -> NDArray[np.bool_]:
    mask = np.zeros(len(rows), dtype=bool)
    mask[places] = True
    return mask


def _record(encoded: _Records, place: int) -> bytes:
    return encoded.records[int(encoded.ends[place - 1]) if place else 0 : int(encoded.ends[place])]


def _keep(rows: Rows, places: NDArray[np.int64], encoded: _Records, builder: BlockBuilder) -> None:
    moments = rows.moments[rows.chosen[places], 1]
    hours = (moments - moments % _HOUR).tolist()
    keys = object_keys(rows, places)
    ends, records = encoded.ends[: len(places)].tolist(), encoded.records
    builder.add_many("events", zip(hours, keys, [records[start:end] for start, end in pairwise([0, *ends])], strict=True))


def _names(rows: Rows, places: NDArray[np.int64]) -> list[str]:
    """The names of the objects referred to; empty where there is none."""
    lines = rows.lines[rows.chosen[places]]
    data = rows.data
    return [data[start:end].decode() for start, end in zip(lines[:, NAME].tolist(), lines[:, NAME_END].tolist(), strict=True)]


def _note(rows: Rows, chosen: NDArray[np.int64], encoded: _Records, groups: list[_Group], to: Target) -> None:
    """Tell what later runs of a followed input must know."""
    settled: Any = to.settled
    account, hashes = rows.account, rows.hashed(to.cluster)
    settled.add_many(hashes[chosen], "ResponseComplete", rows.digests[encoded.lines].tobytes())
    merged = np.flatnonzero(rows.partners >= 0)
    settled.add_many(hashes[merged], "RequestReceived", rows.digests[_encode(rows, merged, to, early=True).lines].tobytes())
    for place, first in _waited(rows).items():
        settled.add_many(hashes[place : place + 1], "RequestReceived", digest(to.cluster, content(first)))
    for group in groups:
        account.fold_into(group.window, len(group.places), int(rows.merged[group.places].sum()))
    if len(rows):
        account.latest = max(account.latest, int(rows.moments[rows.chosen, 1].max()))


def _waited(rows: Rows) -> dict[int, Event]:
    """By row, the first stages that waited for it."""
    places = np.flatnonzero(rows.merged & (rows.partners == ALONE)).tolist() if rows.waited else []
    return {place: rows.waited[int(rows.chosen[place])] for place in places}


def fold_groups(rows: Rows, guard: ReadGuard, window: int) -> tuple[NDArray[np.bool_], list[_Group]]:
    """Which rows are folded, and how they go together."""
    folded = np.zeros(len(rows), dtype=bool)
    asked = np.flatnonzero(rows.lines[rows.chosen, READ] > 0)
    if not len(asked):
        return folded, []
    numbers = rows.numbers[asked].astype(np.int64)
    reference = numbers[:, OF_REFERENCE]
    target = np.where(reference >= 0, reference, MOST + numbers[:, OF_URI])  # a URI counts where there is no reference
    verb = rows.lines[rows.chosen[asked], READ].astype(np.int64)
    of_whom = numbers[:, OF_CALLER] * 4 + verb
    what, which_what = np.unique(of_whom * 2 * MOST + target, return_inverse=True)
    how, which_how = np.unique(numbers[:, OF_STATUS] * (MOST + 1) + numbers[:, OF_NOTES] + 1, return_inverse=True)
    kinds, first, which = np.unique(which_what * len(how) + which_how, return_index=True, return_inverse=True)
    known = rows.parts.caches.setdefault(guard, {})
    if len(known) > _KNOWN:
        known.clear()
    found: list[Classified] = []
    for kind, place in zip(kinds.tolist(), first.tolist(), strict=True):
        key = int(what[kind // len(how)]), int(how[kind % len(how)])
        classified = known.get(key)
        if classified is None:
            probe = rows.probe(int(asked[place]))
            probe.moment = 0  # type: ignore[assignment]  # odd times have no rows
            classified = known[key] = guard.classify(probe)
        found.append(classified)
    folds = np.array([read is not None and why is None for read, _, why in found], dtype=bool)[which]
    places, which = asked[folds], which[folds]
    folded[places] = True
    if not len(places):
        return folded, []
    moments = rows.moments[rows.chosen[places], 1]
    windows = moments - moments % window
    order = np.lexsort((moments, windows, which))
    places, which, windows = places[order], which[order], windows[order]
    starts = np.flatnonzero(np.concatenate([[True], (which[1:] != which[:-1]) | (windows[1:] != windows[:-1])]))
    ends = np.append(starts[1:], len(places))
    groups = []
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        read, name, _ = found[which[start]]
        groups.append(_Group(read, name, int(windows[start]), places[start:end], rows.order(int(places[start]))))
    return folded, groups


def _exemplars(groups: list[_Group], to: Target) -> list[_Group]:
    """The groups whose first row is the earliest of its summary so far: several groups may belong to one."""
    earliest: dict[Any, _Group] = {}
    for group in groups:
        at = group.window, group.read
        first_of = earliest.get(at)
        if to.reads.wants(group.window, to.cluster, group.read, group.order) and (first_of is None or group.order < first_of.order):
            earliest[at] = group
    return list(earliest.values())


def _fold(rows: Rows, groups: list[_Group], exemplars: list[bytes | None], to: Target, sizes: NDArray[np.int64]) -> None:
    """Fold all groups; what numbers say of them is found for all at once."""
    places = np.concatenate([group.places for group in groups])
    ends = np.cumsum([len(group.places) for group in groups])
    starts = ends - [len(group.places) for group in groups]
    moments = rows.moments[rows.chosen[places], 1]
    merged, weights = (np.add.reduceat(each[places].astype(np.int64), starts).tolist() for each in (rows.merged, sizes))
    numbers = zip(starts.tolist(), ends.tolist(), moments[starts].tolist(), moments[ends - 1].tolist(), merged, weights, strict=True)
    ids, names = rows.audit_ids(places), _names(rows, places)
    has_name = (rows.lines[rows.chosen[places], NAME_END] > 0).tolist()
    for group, exemplar, (start, end, first, last, merged_here, size) in zip(groups, exemplars, numbers, strict=True):
        place = int(group.places[0])
        if rows.numbers[place, OF_REFERENCE] >= 0:
            named = Counter(compress(names[start:end], has_name[start:end]))
        else:
            named = Counter() if group.name is None else Counter({group.name: end - start})
        many = ManyReads(
            names=named,
            addresses=rows.known(OF_CALLER, place).sourceIPs,
            count=end - start,
            merged=merged_here,
            size=size,
            first=first,
            last=last,
            audit_ids=ids[start:end],
            order=group.order,
            exemplar=exemplar,
            exemplar_size=rows.size(place),
        )
        to.reads.add_many((group.window, to.cluster, group.read), many)
