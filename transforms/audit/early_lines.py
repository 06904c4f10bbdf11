"""Pair a request's first stage with its final event as text, without decoding it: half of a full log's lines are that.

The API server writes the fields of `audit.k8s.io/v1` in one order, so the line of a RequestReceived is its final event's line up
to `objectRef`, with another stage and time. Where the bytes prove it, the line is never decoded; whatever is not exactly that
goes the ordinary way (`merge_stages`), with the same result. A field written twice, which no server does, is not looked for.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import UNSET, Raw

from transforms.audit.account import Account
from transforms.audit.event import Event
from transforms.audit.parts import decode_reference, fits_micros
from transforms.audit.policy import Policy, apply_policy

_RECEIVED: Final = b'","stage":"RequestReceived","requestURI":"'
_COMPLETE: Final = b'","stage":"ResponseComplete","requestURI":"'
_ID: Final = 36
_HEADS: Final = {
    b'{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"%b","auditID":"' % level: level.decode()
    for level in (b"Metadata", b"Request", b"RequestResponse")
}
_NEAREST: Final = min(map(len, _HEADS)) + _ID
_FARTHEST: Final = max(map(len, _HEADS)) + _ID + len(_RECEIVED)
_REFERENCE: Final = b',"objectRef":{'
_TIME: Final = len("2026-11-23T05:20:19.632000Z")
_ARRIVED: Final = b',"requestReceivedTimestamp":"'
_REACHED: Final = b'","stageTimestamp":"'
_TAIL: Final = len(_ARRIVED) + _TIME + len(_REACHED) + _TIME + 2
_decode: Final = msgspec.json.Decoder(Event).decode
_check: Final = msgspec.json.Decoder(Raw).decode
_errors: Final = (msgspec.MsgspecError, UnicodeError, RecursionError)


class EarlyLine(msgspec.Struct, gc=False):
    """A RequestReceived that its final event repeats, undecoded: as far as a merged stage is looked at, an `Event`."""

    line: bytes
    account: Account
    offset: int
    size: int
    stageTimestamp: str
    stage: str = "RequestReceived"
    policy: Policy | None = None  # whose rule for the final event is this stage's as well

    def event(self) -> Event:
        """The event itself, as the policy leaves it."""
        event = _decode(self.line)
        event.offset, event.item, event.size, event.account = self.offset, 0, self.size, self.account  # type: ignore[assignment]
        if self.policy is not None:
            decision = apply_policy(self.policy, event)
            event.rule = decision.rule  # type: ignore[assignment]
            event.strips = decision.omit_managed_fields or None  # type: ignore[assignment]
        return event


def early_id(line: bytes) -> bytes | None:
    """The audit ID of a line that looks like a RequestReceived as the API server writes it; None for any other."""
    at = line.find(_RECEIVED, _NEAREST, _FARTHEST)
    return line[at - _ID : at] if at >= 0 and line[: at - _ID] in _HEADS else None


def early_line(line: bytes, offset: int, final: Event, final_line: bytes, account: Account) -> EarlyLine | None:
    """The early line of a final event's audit ID as a stage of that, if it provably repeats it."""
    at = line.find(_RECEIVED, _NEAREST, _FARTHEST)
    tail = len(line) - _TAIL
    arrived, reached = tail + len(_ARRIVED), tail + len(_ARRIVED) + _TIME + len(_REACHED)
    if (
        not final_line.startswith(line[:at])
        or not final_line.startswith(_COMPLETE, at)
        or final.level != _HEADS[line[: at - _ID]]
        or not line.startswith(_ARRIVED, tail)
        or not line.startswith(_REACHED, arrived + _TIME)
        or not line.endswith(b'"}')
        or not line.isascii()
        or line[arrived : arrived + _TIME].decode() != final.requestReceivedTimestamp
    ):
        return None
    start, begins = at + len(_RECEIVED), at + len(_COMPLETE)
    said = line[start:tail]
    if not final_line.startswith(said, begins) or final_line[begins + len(said)] != 0x2C or said[-1] not in b'"}]':
        # The server fills in the object's UID and version when it has read the body.
        reference = said.rfind(_REFERENCE)
        if reference < 0 or not final_line.startswith(said[: reference + len(_REFERENCE)], begins):
            return None
        named = said[reference + len(_REFERENCE) - 1 :]
        if not same_object(named, final.objectRef) or (b'"subresource"' in named) != (b'"subresource"' in bytes(final.objectRef)):
            return None
    stage_time = line[reached : reached + _TIME].decode()
    if not fits_micros(stage_time):
        return None
    try:
        _check(line)  # what is valid up to here and ends so has these fields at its top level, and no others that the final event lacks
    except _errors:
        return None
    return EarlyLine(line, account, offset, len(line), stage_time)


def apart(event: Event) -> list[Any]:
    """The event and its earlier stages as events of their own, in the order of the log."""
    merged: Any = event.merged
    if merged is None:
        return [event]
    event.merged = None
    return [*[stage.event() if type(stage) is EarlyLine else stage for stage in merged], event]


def same_object(early: Raw | bytes, final: Raw | bytes) -> bool:
    """Whether an early stage's object reference says nothing that the final event's does not."""
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
