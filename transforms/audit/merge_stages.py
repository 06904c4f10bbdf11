"""Merge a request's earlier stages into its final event, where that repeats all that they say.

Half of a full audit log is stage RequestReceived. Here only the plain case is settled: one final event whose earlier stages
are at hand. Whatever is not plain (copies, reused audit IDs, a stage that is still to come) is left `loose` for
`resolve_copies`, which sees all events of an audit ID.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np
from msgspec import UNSET, Raw

from transforms.audit.audit_ids import hash_groups
from transforms.audit.block import DEFAULT_CLUSTER
from transforms.audit.event import EARLY_STAGES, FINAL_STAGES, LONG_RUNNING_SUBRESOURCES, LONG_RUNNING_VERBS, Event
from transforms.audit.parts import decode_reference, impersonated_part, json_text, source_ips_part, status_part, user_part
from transforms.audit.rows.columns import ALONE
from transforms.audit.times import fits_micros, time_part

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    from transforms.audit.block import EventBlock, Split
    from transforms.audit.memory import Memory
    from transforms.audit.rows.plain_rows import Rows

PENDING_LIMIT: Final = 50_000
# Where a large split goes on with a log, the first final events' earlier stages may stand in the split or file before. Until so many
# came without, they are presumed to, for to be wrong about one of them is to reduce the whole split again.
_PRESUMED: Final = 64
_LARGE: Final = 4 << 20


class _Code(msgspec.Struct):
    code: int = 0


class _Subresource(msgspec.Struct):
    subresource: str = ""


_fields = msgspec.json.Decoder(dict[str, Raw]).decode
_texts = msgspec.json.Decoder(dict[str, str]).decode
_errors: Final = (msgspec.MsgspecError, UnicodeError, RecursionError)
_status_code = msgspec.json.Decoder(_Code).decode
_subresource = msgspec.json.Decoder(_Subresource).decode


def same_request(early: Event, final: Event) -> bool:
    """Whether two events of one cluster and audit ID are stages of the same request."""
    return (
        early.requestReceivedTimestamp == final.requestReceivedTimestamp
        and early.requestURI == final.requestURI
        and early.verb == final.verb
        and (early.user == final.user or user_part(bytes(early.user)) == user_part(bytes(final.user)))
        and (early.sourceIPs == final.sourceIPs or source_ips_part(bytes(early.sourceIPs)) == source_ips_part(bytes(final.sourceIPs)))
    )


def repeats(early: Event, final: Event) -> bool:
    """Whether the final event holds all that the earlier stage says, less its stage and time, which the merged record keeps."""
    if early.level != final.level or early.userAgent != final.userAgent or not fits_micros(early.stageTimestamp):
        return False
    return repeats_plainly(early, final) or content_items(early) <= content_items(final)


def repeats_plainly(early: Event, final: Event) -> bool:
    """Whether the earlier stage says nothing but what every stage does, and that is alike."""
    return (
        early.level == final.level
        and early.userAgent == final.userAgent
        and not (early.annotations or early.responseStatus or early.impersonatedUser or early.requestObject)
        and not (early.responseObject or early.authenticationMetadata or early.unknown)
        and _same_object(early.objectRef, final.objectRef)
    )


def _same_object(early: Raw, final: Raw) -> bool:
    # The server fills in name, UID and version when it has read the body, so the final event often says more.
    if early == final or not early:
        return True
    try:
        mine, other = decode_reference(early), decode_reference(final)
    except _errors:
        return False
    if mine.resource != other.resource or mine.apiGroup != other.apiGroup or mine.apiVersion != other.apiVersion:
        return False
    if (mine.namespace is not UNSET and mine.namespace != other.namespace) or (mine.name is not UNSET and mine.name != other.name):
        return False
    if mine.subresource is not UNSET and mine.subresource != other.subresource:
        return False
    return (mine.uid is UNSET or mine.uid == other.uid) and (mine.resourceVersion is UNSET or mine.resourceVersion == other.resourceVersion)


def content_items(event: Event) -> set[bytes]:
    """What an event says beside what identifies its request: one item per field, and per entry of maps and references."""
    items = {b"level=" + str(event.level).encode(), b"userAgent=" + str(event.userAgent).encode("utf-8", "surrogatepass")}
    for name, raw, part in (
        ("impersonatedUser", event.impersonatedUser, impersonated_part),
        ("responseStatus", event.responseStatus, status_part),
        ("user", event.user, user_part),
        ("sourceIPs", event.sourceIPs, source_ips_part),
    ):
        encoded, odd = part(bytes(raw))
        if raw:
            items.add(name.encode() + b"=" + encoded)
        items.update(_entries(name, odd))
    if not fits_micros(event.stageTimestamp):
        items.add(b"stageTimestamp=" + repr(event.stageTimestamp).encode("utf-8", "surrogatepass"))
    for name in ("authenticationMetadata", "requestObject", "responseObject"):
        body = bytes(getattr(event, name))
        if body:
            items.add(name.encode() + b"=" + json_text(body))
    for name, raw in (("objectRef", event.objectRef), ("annotations", event.annotations)):
        if raw:
            items.update(_entries(name, _values(raw)))
    items.update(_entries("unknown", event.unknown))
    return items


def _values(raw: Raw) -> dict[str, bytes]:
    try:
        return {key: value.encode() for key, value in _texts(raw).items()}
    except _errors:
        pass
    try:
        return {key: b"JSON " + json_text(bytes(value)) for key, value in _fields(raw).items()}
    except _errors:
        return {"": bytes(raw)}


def _entries(name: str, values: dict[str, bytes] | None) -> Iterable[bytes]:
    return [f"{name}/{key}=".encode("utf-8", "surrogatepass") + value for key, value in (values or {}).items()]


def request_hash(event: Event, key: bytes) -> bytes:
    """Keyed hash of what identifies the request beside cluster and audit ID; equal where `same_request` holds."""
    parts = (
        user_part(bytes(event.user))[0],
        source_ips_part(bytes(event.sourceIPs))[0],
        *[repr(text).encode("utf-8", "surrogatepass") for text in (event.requestReceivedTimestamp, event.requestURI, event.verb)],
    )
    return blake2b(b"\0".join(parts), digest_size=16, key=key[:64]).digest()


def content_hashes(event: Event, key: bytes) -> list[bytes]:
    """Keyed hashes of the content items, so that they can be compared where raw content must not go."""
    return [blake2b(item, digest_size=8, key=key[:64]).digest() for item in sorted(content_items(event))]


_codes: dict[bytes, int] = {}
_subresources: dict[bytes, str] = {}


def _cached(raw: bytes, known: dict[bytes, Any], decode: Callable[[bytes], Any], name: str, default: Any) -> Any:
    found = known.get(raw)
    if found is None:
        if len(known) > 20_000:
            known.clear()
        try:
            found = getattr(decode(raw), name) if raw else default
        except _errors:
            found = default
        known[raw] = found
    return found


def status_code(event: Event) -> int:
    """HTTP status code; 0 where the event has none."""
    return _cached(bytes(event.responseStatus), _codes, _status_code, "code", 0)


def subresource(event: Event) -> str:
    """Subresource of the object reference; empty where there is none."""
    return _cached(bytes(event.objectRef), _subresources, _subresource, "subresource", "")


def ends_alone(event: Event) -> bool:
    """Whether no final event is to come: a ResponseStarted that failed (a 401), or a policy that omits the final stage."""
    return event.completes is False or (event.stage == "ResponseStarted" and status_code(event) >= 400)


class StageMerger:
    """Merges the stages of one split's events, block after block; what waits for its final event is carried along.

    Events that are settled stay in the block, with `merged` filled; loose ones need to meet the rest of their audit ID.
    `recalled` are hashes (`audit_ids`) of audit IDs that are known to turn up elsewhere too, `memory` knows those of earlier
    runs. `key` makes the hashes that loose events travel with.
    """

    def __init__(self, split: Split, key: bytes, *, merge: bool = True, recalled: bytes = b"", memory: Memory | None = None) -> None:
        self._fixed = split.cluster
        self._key = key
        self._merge = merge
        self._recalled = np.sort(np.frombuffer(recalled, dtype=np.uint64))
        self._memory = memory if memory is not None and len(memory) else None
        self._waiting: dict[Any, list[Event]] = {}
        goes_on = (split.start or split.file) and (split.end is None or split.end - split.start >= _LARGE)
        self._paired, self._alone = _PRESUMED if goes_on else 0, 0

    def feed(self, block: EventBlock) -> None:
        """Leave the settled events in the block, those among them that waited in earlier blocks, and set the loose ones apart."""
        if block.rows is not None:
            block.rows, fallen = self._merge_rows(block.rows, {self._group(event.cluster, event.auditID) for event in block.events})
            block.events = fallen + block.events
        groups: dict[Any, Any] = {}
        settled: list[Event] = []
        loose: list[Event] = []
        for event in block.events:
            group_of = self._group(event.cluster, event.auditID)
            found = groups.get(group_of)
            if found is None:
                groups[group_of] = event
            elif type(found) is list:
                found.append(event)
            else:
                groups[group_of] = [found, event]
        forced = self._forced(groups) if len(self._recalled) or self._memory is not None else ()
        waiting = self._waiting
        lone: list[Event] = []
        for group_of, found in groups.items():
            if type(found) is list and len(found) == 2 and group_of not in forced and group_of not in waiting and self._plain_pair(*found):
                self._paired += 1
                found[1].merged = [found[0]]
                settled.append(found[1])
                continue
            group = found if type(found) is list else [found]
            earlier = waiting.pop(group_of, None) if waiting else None
            if earlier:
                group = earlier + group
            if group_of in forced or not _identified(group_of):
                loose += group
            elif len(group) == 1 and group[0].stage not in EARLY_STAGES:
                lone += group  # judged when it is known how many of the others have their earlier stages with them
            else:
                self._settle(group_of, group, settled, loose)
        for event in lone:
            if self._expects_company(event):
                loose.append(event)
            else:
                settled.append(event)
        self._alone += len(lone)
        if block.last or len(waiting) > PENDING_LIMIT:
            for group in waiting.values():
                loose += group
            waiting.clear()
        block.events = settled
        block.loose = [(event, request_hash(event, self._key), content_hashes(event, self._key)) for event in loose]

    def _merge_rows(self, rows: Rows, others: set[Any]) -> tuple[Rows, list[Event]]:
        """The rows that are settled, and the events of those that are not, or not yet.

        Those without an earlier stage must meet the `others` of their audit ID here, whatever is guessed: what is settled with
        them when a split is reduced is not recalled, and must be settled with them when it is reduced again.
        """
        alone = rows.partners == ALONE
        stays = np.ones(len(rows), dtype=bool) if self._merge else alone.copy()
        if len(self._recalled) or self._memory is not None:
            hashes = rows.hashed(self._fixed or rows.cluster or DEFAULT_CLUSTER)
            stays &= ~self._met_elsewhere(hashes)
        self._paired += int((stays & ~alone).sum())
        if self._merge:
            lone = stays & alone
            if self._paired > self._alone:
                stays &= ~alone
            else:
                stays &= ~(alone & rows.long_running())
            for place in self._met_here(rows, lone, others):
                group_of = self._group(rows.cluster, rows.audit_ids([place])[0])
                if group_of in self._waiting and group_of not in others:
                    stays[place] = self._ends_waiting(rows, place, group_of)
                elif group_of in others:
                    stays[place] = False
        self._alone += int((stays & ~rows.merged).sum())
        fallen = [event for place in np.flatnonzero(~stays).tolist() for event in rows.decided(place) if event is not None]
        return rows.take(stays), fallen

    def _met_here(self, rows: Rows, lone: NDArray[np.bool_], others: set[Any]) -> list[int]:
        """The rows among these whose audit ID waits or is that of one of the others; and by a chance in billions, one that is not."""
        cluster = self._fixed or rows.cluster or DEFAULT_CLUSTER
        known = hash_groups([*self._waiting, *others], self._fixed or DEFAULT_CLUSTER)[1]
        return np.flatnonzero(lone & np.isin(rows.hashed(cluster), known)).tolist() if len(known) and lone.any() else []

    def _forced(self, groups: dict[Any, Any]) -> set[Any]:
        ordered, hashes = hash_groups(groups, self._fixed or DEFAULT_CLUSTER)
        return {ordered[at] for at in np.flatnonzero(self._met_elsewhere(hashes))}

    def _group(self, cluster: str | None, audit_id: Any) -> Any:
        """What the stages of a request have in common."""
        return audit_id if self._fixed is not None or cluster is None else (cluster, audit_id)

    def _ends_waiting(self, rows: Rows, place: int, group_of: Any) -> bool:
        """Whether the first stage of a row waited for it, and is merged."""
        first, *more = self._waiting[group_of]
        moment, _, plain = time_part(first.stageTimestamp)
        final = rows.final(place)
        merges = not more and first.stage == "RequestReceived" and plain and moment is not None and moment >= 0
        if not (merges and same_request(first, final) and repeats_plainly(first, final)):
            return False
        del self._waiting[group_of]
        rows.merge_waited(place, first, moment)  # type: ignore[arg-type]
        self._paired += 1
        return True

    def _met_elsewhere(self, hashes: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Which of the numbers are of audit IDs that are recalled, or that earlier runs settled."""
        found = np.zeros(len(hashes), dtype=bool)
        if len(self._recalled):  # sorted, and looked through for every block
            found |= self._recalled.take(np.searchsorted(self._recalled, hashes), mode="clip") == hashes
        if self._memory is not None:
            found |= self._memory.known(hashes)
        return found

    def _plain_pair(self, early: Event, final: Event) -> bool:
        """Nearly all there is: RequestReceived and ResponseComplete of one request, with nothing odd about them."""
        return (
            early.stage == "RequestReceived"
            and final.stage == "ResponseComplete"
            and self._merge
            and final.auditID is not UNSET
            and same_request(early, final)
            and repeats(early, final)
        )

    def _settle(self, group_of: Any, group: list[Event], settled: list[Event], loose: list[Event]) -> None:
        final = group[-1]
        if len(group) == 1:
            if ends_alone(final):
                settled.append(final)
            elif self._merge:
                self._waiting[group_of] = group
            else:
                loose.append(final)
            return
        if final.stage not in FINAL_STAGES:  # out of order, as a webhook delivers
            group.sort(key=lambda event: event.stage in FINAL_STAGES)
            final = group[-1]
        early = group[:-1]
        if final.stage in EARLY_STAGES:
            if self._merge and len({event.stage for event in group}) == len(group):
                self._waiting[group_of] = group
            else:
                loose += group
        elif self._repeated(early, final) and not self._lacks_first(early):
            if self._merge:
                final.merged = early  # type: ignore[assignment]
                settled.append(final)
            else:
                settled += group
        else:
            loose += group

    def _repeated(self, early: list[Event], final: Event) -> bool:
        stages = {event.stage for event in early}
        if len(stages) != len(early) or not stages <= EARLY_STAGES or final.stage not in FINAL_STAGES:
            return False
        return all(same_request(event, final) and repeats(event, final) for event in early)

    def _lacks_first(self, early: list[Event]) -> bool:
        # The stage RequestReceived may stand in another split, if this log has it at all; a guess like the next one.
        if any(event.stage == "RequestReceived" for event in early):
            self._paired += 1
            return False
        self._alone += 1
        return self._paired > self._alone

    def _expects_company(self, final: Event) -> bool:
        # A guess that costs time where it is wrong, and never changes the result: what is settled and turns up elsewhere is recalled.
        return self._merge and (
            self._paired > self._alone
            or final.verb in LONG_RUNNING_VERBS
            or (b'"subresource"' in bytes(final.objectRef) and subresource(final) in LONG_RUNNING_SUBRESOURCES)
        )


def _identified(group_of: Any) -> bool:
    return (group_of[1] if isinstance(group_of, tuple) else group_of) is not UNSET
