"""Fold the reads of a split into partial summaries, and say which guard keeps a read from being folded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import UNSET

from transforms.audit.event import Event, text
from transforms.audit.guards import FOLDABLE_VERBS, HARMLESS_FLAGS, Guard, Read, guard_of_read
from transforms.audit.read_summary import ADDRESSES_KEPT, AUDIT_IDS_KEPT, NAMES_KEPT, ReadSummary, Sample, merge_rows
from transforms.audit.redaction import sensitive_read
from transforms.audit.request_info import request_info

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

WINDOW: Final = 60_000_000
_CACHE_LIMIT: Final = 50_000
_COUNTED: Final = 4096  # events of a row that are counted whole before they are sampled
_errors: Final = (msgspec.MsgspecError, UnicodeError, RecursionError)


class _User(msgspec.Struct):
    username: str | None = None
    groups: list[str] | None = None


class _Reference(msgspec.Struct):
    resource: str = ""
    subresource: str | None = None
    apiGroup: str | None = None
    namespace: str | None = None
    name: str | None = None


class _Status(msgspec.Struct):
    code: int | None = None


_user = msgspec.json.Decoder(_User).decode
_reference = msgspec.json.Decoder(_Reference).decode
_status = msgspec.json.Decoder(_Status).decode
_addresses = msgspec.json.Decoder(list[str]).decode
_keys = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode

# (what the read is folded by, the object's name, the guard that protects it)
Classified = tuple[Read | None, str | None, str | None]
_UNREADABLE: Final[Classified] = (None, None, "unknown_word")


class ReadGuard:
    """Tells the reads that may be folded from those that a guard protects. Holds caches; one per worker."""

    def __init__(self, guards: Sequence[Guard] = ()) -> None:
        self._guards = guards
        self._known: dict[Any, Classified] = {}
        self._annotations: dict[bytes, str | None] = {b"": None}
        self._reads: dict[tuple[Any, ...], Read] = {}

    def classify(self, event: Event) -> Classified:
        """The read's key, name and guard; (None, None, None) for what is no final event of get, list or watch."""
        if event.verb not in FOLDABLE_VERBS or event.stage not in ("ResponseComplete", "Panic"):
            return None, None, None
        read, name, guard = self._by_key(event)
        if guard is None:
            guard = self._by_event(event)
        return read, name, guard

    def _by_key(self, event: Event) -> Classified:
        uri = event.requestURI
        reference = bytes(event.objectRef)
        path = None if reference or uri is UNSET else uri.partition("?")[0]
        known = (
            bytes(event.user),
            event.verb,
            reference,
            event.userAgent,
            bytes(event.responseStatus),
            path,
            bytes(event.impersonatedUser),
        )
        found = self._known.get(known)
        if found is None:
            if len(self._known) >= _CACHE_LIMIT:
                self._known.clear()
                self._reads.clear()
            found = self._known[known] = self._classified(event, path)
        return found

    def _classified(self, event: Event, path: str | None) -> Classified:
        try:
            user = _user(bytes(event.user) or b"{}")
            reference = _reference(event.objectRef) if event.objectRef else _named_by(path)
            code = _status(bytes(event.responseStatus) or b"{}").code
            impersonated = (_user(event.impersonatedUser).username or "") if event.impersonatedUser else None
            if code is not None and not -(1 << 31) <= code < 1 << 31:
                return _UNREADABLE
        except _errors:
            return _UNREADABLE
        agent = None if event.userAgent is UNSET else text(event.userAgent)
        if reference is None:
            read = Read(user.username, impersonated, text(event.verb), None, None, None, None, agent, path, code)
        else:
            target = (reference.apiGroup, reference.resource, reference.subresource, reference.namespace)
            read = Read(user.username, impersonated, text(event.verb), *target, agent, None, code)
        read = self._reads.setdefault(read.key, read)
        groups = user.groups or ()
        guard = guard_of_read(read, groups)
        if guard is None:
            guard = next((own.name for own in self._guards if own.protects(read, groups)), None)
        return read, reference.name if reference else None, guard

    def _by_event(self, event: Event) -> str | None:
        flags: Any = event.flags
        if event.stage == "Panic":
            return "panic"
        if event.moment is None:
            return "odd_time"
        if flags and not HARMLESS_FLAGS.issuperset(flags):
            return "withheld"
        if event.unknown:
            return "unknown_word"
        raw = bytes(event.annotations)
        guard = self._annotations.get(raw, UNSET)
        if guard is UNSET:
            if len(self._annotations) >= _CACHE_LIMIT:
                self._annotations.clear()
            guard = self._annotations[raw] = _annotation_guard(raw)
        if guard is None and sensitive_read(event):
            return "secrets"
        return guard


def _named_by(path: str | None) -> _Reference | None:
    """What a path refers to, where a shipper lost the event's objectRef: exec into a pod is no read of a path."""
    info = request_info(text(path)) if path else None
    if info is None or not info.is_resource_request:
        return None
    return _Reference(info.resource, info.subresource or None, info.api_group or None, info.namespace or None, info.name or None)


def _annotation_guard(raw: bytes) -> str | None:
    if not raw:
        return None
    try:
        keys = _keys(raw)
    except _errors:
        return "unknown_word"
    if "audit.k8s.io/truncated" in keys:
        return "truncated"
    return "failed_open" if any(key.startswith("failed-open.") for key in keys) else None


class _Row(msgspec.Struct):
    """A summary while its split is read: raw counts, sampled now and then, and the exemplar not yet encoded."""

    count: int = 0
    merged: int = 0
    size: int = 0
    first: int = 0
    last: int = 0
    names: dict[str, int] = {}
    addresses: dict[bytes, int] = {}
    audit_ids: list[str] = []
    samples: tuple[Sample, Sample, Sample] | None = None  # of names, addresses and audit IDs
    exemplar: Any = None  # an event, or a record
    held: int = 0  # its bytes of JSON
    order: tuple[int, int, int] = (0, 0, 0)

    def sampled(self) -> tuple[Sample, Sample, Sample]:
        """The samples with all that was counted since; what was counted is let go."""
        if self.samples is None:
            self.samples = (Sample(NAMES_KEPT), Sample(ADDRESSES_KEPT), Sample(AUDIT_IDS_KEPT))
        names, ips, audit_ids = self.samples
        for name, count in self.names.items():
            names.add(name, count)
        for raw, count in self.addresses.items():
            for address in addresses(raw):
                ips.add(address, count)
        for audit_id in self.audit_ids:
            audit_ids.add(audit_id)
        for sample in self.samples:
            sample.trim()
        self.names, self.addresses, self.audit_ids = {}, {}, []
        return self.samples


class ManyReads(msgspec.Struct):
    """Reads of one row that have more in common than its key. `exemplar` is the earliest one's record, None if it is not wanted."""

    names: dict[str, int]
    addresses: bytes
    count: int
    merged: int
    size: int
    first: int
    last: int
    audit_ids: list[str]
    order: tuple[int, int, int]
    exemplar: bytes | None
    exemplar_size: int


class Reads:
    """The reads of one split, folded by window, cluster and key. `held` counts the bytes of the exemplars, as read."""

    def __init__(self, window: int = WINDOW) -> None:
        self.window = window
        self._rows: dict[tuple[int, str, Read], _Row] = {}
        self.held = 0

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, event: Event, read: Read, name: str | None, cluster: str) -> None:
        """Fold a redacted final event with its merged stages."""
        moment: int = event.moment  # type: ignore[assignment]
        size: int = event.size  # type: ignore[assignment]
        at = (moment - moment % self.window, cluster, read)
        row = self._rows.get(at)
        if row is None:
            order: Any = (moment, event.offset, event.item)
            row = self._rows[at] = _Row(first=moment, last=moment, exemplar=event, held=size, order=order)
            self.held += size
        elif moment <= row.first:
            order = (moment, event.offset, event.item)
            if order < row.order:
                self.held += size - row.held
                row.first, row.exemplar, row.held, row.order = moment, event, size, order
        elif moment > row.last:
            row.last = moment
        row.count += 1
        row.size += size
        stages: Any = event.merged
        if stages:
            row.merged += len(stages)
            for stage in stages:
                row.size += stage.size
        if name is not None:
            row.names[name] = row.names.get(name, 0) + 1
        raw = bytes(event.sourceIPs)
        row.addresses[raw] = row.addresses.get(raw, 0) + 1
        if event.auditID is not UNSET:
            row.audit_ids.append(event.auditID)
            if len(row.audit_ids) >= _COUNTED:
                row.sampled()

    def wants(self, window: int, cluster: str, read: Read, order: tuple[int, int, int]) -> bool:
        """Whether an event of that order (time, offset, item) is the earliest of its row so far."""
        row = self._rows.get((window, cluster, read))
        return row is None or order < row.order

    def add_many(self, at: tuple[int, str, Read], many: ManyReads) -> None:
        """Fold several reads of the row at (window, cluster, read) at once."""
        row = self._rows.get(at)
        if row is None:
            row = self._rows[at] = _Row(first=many.first, last=many.last)
        row.first, row.last = min(row.first, many.first), max(row.last, many.last)
        row.count += many.count
        row.merged += many.merged
        row.size += many.size
        if many.exemplar is not None:
            self.held += many.exemplar_size - row.held
            row.exemplar, row.held, row.order = many.exemplar, many.exemplar_size, many.order
        for name, count in many.names.items():
            row.names[name] = row.names.get(name, 0) + count
        row.addresses[many.addresses] = row.addresses.get(many.addresses, 0) + many.count
        row.audit_ids += many.audit_ids
        if len(row.audit_ids) >= _COUNTED:
            row.sampled()

    def flush(self, file: int, encode: Callable[[Event, str], bytes]) -> dict[int, list[ReadSummary]]:
        """The partial summaries so far, by window; the exemplars as records."""
        windows: dict[int, list[ReadSummary]] = {}
        for (window, cluster, read), row in self._rows.items():
            summary = ReadSummary(cluster, window, read.key, row.count, row.merged, row.size, row.first, row.last)
            summary.names, summary.addresses, summary.audit_ids = row.sampled()
            summary.order = (row.order[0], file, row.order[1], row.order[2])
            summary.exemplar = row.exemplar if isinstance(row.exemplar, bytes) else encode(row.exemplar, cluster)
            windows.setdefault(window, []).append(summary)
        self._rows.clear()
        self.held = 0
        return {window: merge_rows(rows) for window, rows in windows.items()}


def addresses(raw: bytes) -> list[str]:
    """The event's source IPs; none where the field is odd."""
    try:
        return _addresses(raw) if raw else []
    except _errors:
        return []
