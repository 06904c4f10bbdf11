"""An event as an Avro record of `schemas/audit_event.avsc`.

Avro's binary form is plain concatenation, so a record is its parts, joined. What the schema cannot hold (null where
Kubernetes has text, an empty map that was spelled out, a field nobody knows) goes to `unknownFields`: nothing is lost.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import UNSET

from transforms.audit import avro
from transforms.audit.consumers import Redacted
from transforms.audit.parts import (
    NO_OBJECT,
    annotations_part,
    caller_part,
    head_part,
    json_part,
    reference_part,
    status_part,
)
from transforms.audit.times import time_part

if TYPE_CHECKING:
    from transforms.audit.avro_blocks import SortKey
    from transforms.audit.event import Event, Reduction
    from transforms.audit.parts import Unknown
    from transforms.audit.resolve_copies import LooseEvent
    from transforms.audit.times import Time

_PLAIN_MARKS: Final = avro.EMPTY + avro.EMPTY
_NO_REFERENCE: Final = (avro.NULL, None, NO_OBJECT)


def content(event: Event) -> bytes:
    """The fields `level` to `unknownFields` of the record: what the digest covers, less the cluster."""
    return content_and_key(event, *time_part(event.stageTimestamp)[1:])[0]


def content_and_key(event: Event, reached: bytes, plain: bool) -> tuple[bytes, SortKey]:
    """The content, and what the record is sorted by; the stage's time encoded, and whether plainly, as `time_part` has it."""
    head, odd = head_part(event.level, event.stage, event.verb)
    caller, odd_caller = caller_part(event)
    reference, odd_reference, key = reference_part(bytes(event.objectRef)) if event.objectRef else _NO_REFERENCE
    status, odd_status = status_part(bytes(event.responseStatus))
    annotations, odd_annotations = annotations_part(bytes(event.annotations))
    _, received, plain_too = time_part(event.requestReceivedTimestamp)
    extra: Any = event.unknown
    tail = avro.EMPTY
    if not plain or not plain_too or odd or odd_caller or odd_reference or odd_status or odd_annotations or extra:
        unknown: Unknown = {}
        if not plain_too:
            unknown["/requestReceivedTimestamp"] = msgspec.json.encode(event.requestReceivedTimestamp)
        if not plain:
            unknown["/stageTimestamp"] = msgspec.json.encode(event.stageTimestamp)
        for found in (odd, odd_caller, odd_reference, odd_status, odd_annotations, extra):
            unknown.update(found or {})
        tail = avro.mapping((pointer, avro.data(value)) for pointer, value in unknown.items())
    audit_id, uri = event.auditID, event.requestURI
    request, response = event.requestObject, event.responseObject
    return b"".join(
        (
            head,
            avro.NULL if audit_id is UNSET else avro.some_data(audit_id.encode()),
            avro.NULL if uri is UNSET else avro.some_data(uri.encode()),
            caller,
            reference,
            status,
            json_part(bytes(request)) if request else avro.NULL,
            json_part(bytes(response)) if response else avro.NULL,
            received,
            reached,
            annotations,
            tail,
        )
    ), key


_clusters: dict[str, bytes] = {}


def cluster_part(cluster: str) -> bytes:
    """The cluster's name, encoded."""
    found = _clusters.get(cluster)
    if found is None:
        found = _clusters[cluster] = avro.string(cluster)
    return found


def digest(cluster: str, body: bytes) -> bytes:
    """BLAKE2b-128 of cluster and content: equal for events for which the same would be written."""
    return blake2b(cluster_part(cluster) + body, digest_size=16).digest()


@lru_cache(maxsize=1000)
def _place(kind: str, path: str) -> bytes:
    return avro.string(kind) + avro.string(path)


def marks_part(reductions: list[Reduction] | None, flags: list[str] | None) -> bytes:
    """Reductions and flags, the record's last fields."""
    cuts = avro.EMPTY
    if reductions:
        cuts = avro.array([_place(kind, path) + avro.long(count) + avro.long(size) for kind, path, count, size in sorted(reductions)])
    return cuts + (avro.array([avro.string(name) for name in sorted(flags)]) if flags else avro.EMPTY)


def stream_part(uri: str, partition: int | None) -> bytes:
    """The first fields of `source`, which all events of a stream share."""
    return avro.string(uri) + (avro.NULL if partition is None else avro.SOME + avro.long(partition))


def source_part(stream: bytes, offset: int, item: int) -> bytes:
    """The field `source` of an event; `stream` as encoded by `stream_part`."""
    return stream + avro.long(offset) + avro.long(item)


_stage_names: dict[Any, bytes] = {UNSET: avro.EMPTY}


def _stage_name(stage: Any) -> bytes:
    found = _stage_names.get(stage)
    if found is None:
        if len(_stage_names) > 1000:
            _stage_names.clear()
            _stage_names[UNSET] = avro.EMPTY
        found = _stage_names[stage] = avro.string(stage)
    return found


def _stages(stages: list[tuple[Any, int | None, bytes]]) -> bytes:
    stages.sort(key=lambda stage: (stage[1] is None, stage[1] or 0, str(stage[0])))
    return avro.array([_stage_name(name) + reached for name, _, reached in stages])


_ONE: Final = avro.long(1)
_TWO: Final = avro.long(2)


def encode_event(event: Event, cluster: str, stream: bytes, time: Time | None = None) -> tuple[bytes, SortKey, bytes]:
    """The record of a redacted event with the stages merged into it, what it is sorted by, and its digest.

    `stream` of its source as encoded by `stream_part`; `time` is the `time_part` of its stage, if at hand.
    """
    moment, reached, plain = time or time_part(event.stageTimestamp)
    shared: Any = event.shared
    front: tuple[bytes, ...]
    if type(shared) is Redacted and shared.encoded is not None:
        front, key, marks, identity = shared.encoded
    else:
        name = cluster_part(cluster)
        body, key = content_and_key(event, reached, plain)
        identity = blake2b(name + body, digest_size=16).digest()
        front = (body, name, identity, stream, avro.long(event.offset), avro.long(event.item))  # type: ignore[arg-type]
        marks = _PLAIN_MARKS if event.reductions is None and event.flags is None else marks_part(event.reductions, event.flags)
        if type(shared) is Redacted:
            front = (b"".join(front),)
            shared.encoded = front, key, marks, identity
    merged: Any = event.merged
    if merged is not None and len(merged) == 1:  # nearly every final event of a full log
        stage = merged[0]
        before, arrived, _ = time_part(stage.stageTimestamp)
        first = _stage_name(stage.stage) + arrived
        last = _stage_name(event.stage) + reached
        if moment is not None and before is not None and before < moment:
            stages = b"".join((_TWO, first, last, b"\0"))
        else:
            stages = _stages([(event.stage, moment, reached), (stage.stage, before, arrived)])
    elif merged:
        stages = _stages([(event.stage, moment, reached), *[(stage.stage, *time_part(stage.stageTimestamp)[:2]) for stage in merged]])
    else:
        stages = _ONE + _stage_name(event.stage) + reached + b"\0"
    return b"".join((*front, stages, avro.NULL if event.rule is None else avro.SOME + avro.long(event.rule), marks)), key, identity


def encode_loose(event: LooseEvent, merged: list[LooseEvent]) -> bytes:
    """The record of an event whose content is encoded already."""
    stages = [
        (stage.stage, stage.moment, avro.NULL if stage.moment is None else avro.some_time(stage.moment)) for stage in (event, *merged)
    ]
    name = cluster_part(event.cluster)
    source = source_part(event.stream, event.offset, event.item)
    return b"".join(
        (
            event.content,
            name,
            digest(event.cluster, event.content),
            source,
            _stages(stages),
            avro.NULL if event.rule is None else avro.SOME + avro.long(event.rule),
            marks_part(event.reductions, event.flags),
        )
    )
