"""An audit event as the steps see it: a typed head, and bodies that nobody has parsed yet.

Decoding a whole event costs up to forty microseconds, most of it for bodies that nothing reads. The head is decoded
by type; whatever has structure stays the JSON it came as (`bytes`) until a step must look inside.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec
from msgspec import UNSET, Raw, UnsetType

LEVELS: Final = ("None", "Metadata", "Request", "RequestResponse")
STAGES: Final = ("RequestReceived", "ResponseStarted", "ResponseComplete", "Panic")
EARLY_STAGES: Final = frozenset({"RequestReceived", "ResponseStarted"})
FINAL_STAGES: Final = frozenset({"ResponseComplete", "Panic"})
# Requests that have a stage ResponseStarted, and may end long after it: the API server's own list.
LONG_RUNNING_VERBS: Final = frozenset({"watch", "proxy"})
LONG_RUNNING_SUBRESOURCES: Final = frozenset({"attach", "exec", "proxy", "log", "portforward"})
ODD_BEFORE: Final = 1_388_534_400_000_000  # 2014: Kubernetes is younger

Text = str | UnsetType
ABSENT: Final = Raw()
# Names under which no field of an input event arrives.
OURS: Final = {
    name: f"our {name}"
    for name in (
        "reductions",
        "flags",
        "unknown",
        "cluster",
        "account",
        "offset",
        "item",
        "size",
        "rule",
        "merged",
        "completes",
        "strips",
        "moment",
        "shared",
    )
}


class Event(msgspec.Struct, forbid_unknown_fields=True, gc=False, rename=OURS):
    """One event of `audit.k8s.io/v1` (kubernetes/apiserver `pkg/apis/audit/v1/types.go`), head typed, bodies raw.

    A text field that the event lacks is `UNSET`; a JSON field that it lacks is empty (`b""`), one that is null is
    `b"null"`. JSON fields start as `msgspec.Raw` and may be replaced by `bytes`; read them with `bytes(field)`.
    """

    # The decoder knows the usual words and makes no new string for them; other words take the slow path (`recognise`).
    kind: Literal["Event"] | UnsetType = UNSET
    apiVersion: Literal["audit.k8s.io/v1"] | UnsetType = UNSET
    level: Literal["None", "Metadata", "Request", "RequestResponse"] | UnsetType = UNSET
    auditID: Text = UNSET
    stage: Literal["RequestReceived", "ResponseStarted", "ResponseComplete", "Panic"] | UnsetType = UNSET
    requestURI: Text = UNSET
    verb: Text = UNSET
    user: Raw = ABSENT
    impersonatedUser: Raw = ABSENT
    authenticationMetadata: Raw = ABSENT
    sourceIPs: Raw = ABSENT
    userAgent: Text = UNSET
    objectRef: Raw = ABSENT
    responseStatus: Raw = ABSENT
    requestObject: Raw = ABSENT
    responseObject: Raw = ABSENT
    requestReceivedTimestamp: Text = UNSET
    stageTimestamp: Text = UNSET
    annotations: Raw = ABSENT
    # Ours, never decoded from input: the type None admits only null, so no event can forge them.
    reductions: None = None  # list[Reduction] once a step has cut something
    flags: None = None  # list[str] once a step has something to say
    unknown: None = None  # dict[str, bytes]: JSON pointer -> JSON text, fields that the schema does not know
    cluster: None = None  # str: the cluster that the event's envelope names
    account: None = None  # Account of the source range that the event was read from
    offset: None = None  # int: offset of its record in the decompressed stream
    item: None = None  # int: its index in that record
    size: None = None  # int: bytes of JSON as read
    rule: None = None  # int: index of the policy rule that matched
    merged: None = None  # list[Event]: earlier stages that this final event repeats
    completes: None = None  # False where the policy omits the request's final stage
    strips: None = None  # True where the policy omits managedFields
    moment: None = None  # int: stageTimestamp in microseconds since the epoch
    shared: None = None  # of one of several consumers' copies: what they share (`consumers`), Redacted once it is redacted


# (kind, path, count, bytes): what was cut, where, how many times, how many bytes of JSON it was.
Reduction = tuple[str, str, int, int]


def reduced(event: Event, kind: str, path: str, count: int, size: int) -> None:
    """Record on the event that a step cut `count` values of `size` bytes in all at `path`; equal kind and path add up."""
    found: Any = event.reductions
    if found is None:
        event.reductions = [(kind, path, count, size)]  # type: ignore[assignment]
        return
    for at, (known, where, before, length) in enumerate(found):
        if known == kind and where == path:
            found[at] = (kind, path, before + count, length + size)
            return
    found.append((kind, path, count, size))


def flag(event: Event, name: str) -> None:
    """Raise a flag on the event, once."""
    flags: Any = event.flags
    if flags is None:
        event.flags = [name]  # type: ignore[assignment]
    elif name not in flags:
        flags.append(name)


def text(value: Text) -> str:
    """The field's text, or the empty string where the event lacks it."""
    return value if isinstance(value, str) else ""
