"""Random logs that look real: requests with their stages, copied, shuffled and spread over files, some of them odd."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from hypothesis import strategies as st

from tests.audit.oracle import Told
from tests.examples import ABSENT, an_event, an_event_list, line

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

USERS: Final = ("alice", "system:kube-scheduler", "system:anonymous")
AUDIT_IDS: Final = tuple(f"{number:08x}-7a55-4c0d-9f3a-0c8f2f5b9b11" for number in range(6))
ODD_IDS: Final = ("", "not a UUID", "ü" * 36, "x" * 36, "a/b\0c")
# Seconds within a minute before and after 05:19 and 05:20, so that windows have neighbours.
SECONDS: Final = ("05:19:58", "05:19:59", "05:20:00", "05:20:01")
ODD_TIMES: Final = (
    ABSENT,
    "1999-12-31T23:59:59.000000Z",
    "2099-01-01T00:00:00.000000Z",
    "2026-11-23T05:20:00Z",
    "2026-11-23T07:20:00.25+02:00",
    "2026-11-23T05:20:00.000000001Z",
    "yesterday",
    "",
)


class Target(NamedTuple):
    """What a request asks for."""

    verb: str
    resource: str
    namespace: str | None
    name: str | None
    code: int


TARGETS: Final = (
    Target("get", "pods", "shop", "cart-1", 200),
    Target("get", "pods", "shop", "cart-2", 200),
    Target("get", "pods", "shop", "cart-2", 404),
    Target("list", "pods", "shop", None, 200),
    Target("list", "pods", None, None, 200),
    Target("get", "secrets", "shop", "token", 200),
    Target("watch", "pods", "shop", None, 200),
    Target("create", "pods", "shop", "cart-3", 201),
    Target("update", "pods", "shop", "cart-1", 409),
)


def stages_of(target: Target, stages: Sequence[str], seconds: Sequence[Any], **changes: Any) -> list[dict[str, Any]]:
    """The events of one request as the API server writes them at level Metadata."""
    where = f"/namespaces/{target.namespace}" if target.namespace else ""
    uri = f"/api/v1{where}/{target.resource}" + (f"/{target.name}" if target.name and target.verb != "create" else "")
    reference = {"resource": target.resource, "namespace": target.namespace, "name": target.name, "apiVersion": "v1"}
    out = []
    for at, stage in enumerate(stages):
        known = {name: value for name, value in reference.items() if value is not None}
        if stage == "RequestReceived" and target.verb == "create":
            known.pop("name", None)
        second = seconds[at % len(seconds)]
        fields: dict[str, Any] = {
            "level": "Metadata",
            "verb": target.verb,
            "requestURI": uri,
            "objectRef": known,
            "stage": stage,
            "requestObject": ABSENT,
            "responseObject": ABSENT,
            "requestReceivedTimestamp": "2026-11-23T05:19:58.000001Z",
            "stageTimestamp": f"2026-11-23T{second}.{at:06d}Z" if second in SECONDS else second,
            "user": {"username": "alice", "groups": ["system:authenticated"]},
            **changes,
        }
        if stage == "RequestReceived":
            fields |= {"responseStatus": ABSENT, "annotations": ABSENT}
        else:
            fields["responseStatus"] = {"metadata": {}, "code": target.code}
        out.append(an_event(**fields))
    return out


@st.composite
def requests(draw: st.DrawFn) -> list[dict[str, Any]]:
    """The events of one request; few users, IDs and times, so that they meet."""
    stages = draw(
        st.sampled_from(
            (
                ("RequestReceived", "ResponseComplete"),
                ("RequestReceived", "ResponseComplete"),
                ("RequestReceived", "ResponseStarted", "ResponseComplete"),
                ("ResponseStarted", "ResponseComplete"),
                ("ResponseComplete",),
                ("RequestReceived",),
                ("ResponseStarted",),
                ("RequestReceived", "Panic"),
                ("RequestReceived", "ResponseComplete", "Panic"),
                ("RequestReceived", "SomeStageOfTomorrow"),
            )
        )
    )
    # Without an audit ID a stage that nobody knows makes a record that nobody takes for an event.
    nameless = () if "SomeStageOfTomorrow" in stages else (ABSENT,)
    audit_id = draw(st.sampled_from(AUDIT_IDS) | st.sampled_from((*ODD_IDS, *nameless)))
    user = draw(st.sampled_from(USERS))
    changes: dict[str, Any] = {"auditID": audit_id, "user": {"username": user, "groups": ["system:authenticated"]}}
    if draw(st.integers(0, 9)) == 0:
        changes["requestReceivedTimestamp"] = draw(st.sampled_from((ABSENT, "2026-11-23T05:19:58.000002Z")))
    if draw(st.integers(0, 9)) == 0:
        changes["sourceIPs"] = ["10.0.0.8", "10.0.0.9"]
    seconds = draw(st.lists(st.sampled_from(SECONDS), min_size=1, max_size=3))
    if draw(st.integers(0, 9)) == 0:
        seconds.append(draw(st.sampled_from(ODD_TIMES)))
    events = stages_of(draw(st.sampled_from(TARGETS)), stages, seconds, **changes)
    if draw(st.integers(0, 7)) == 0:  # an early stage that says more than its final event
        events[0]["annotations"] = {"example.org/only-here": "yes"}
    if draw(st.integers(0, 7)) == 0:
        events[-1].setdefault("annotations", {})["example.org/more"] = "yes"
    return events


class File(NamedTuple):
    """One input file: its bytes, and its events where they stand."""

    content: bytes
    told: list[Told]

    def __repr__(self) -> str:
        return "File(" + ", ".join(f"{told.offset}/{told.item} {short(told.event)}" for told in self.told) + ")"


def short(event: dict[str, Any]) -> str:
    """What tells a test's events apart."""
    names = ("stage", "auditID", "verb", "stageTimestamp", "requestReceivedTimestamp", "responseStatus", "annotations")
    return " ".join(str(event.get(name, "-"))[-27:] for name in names)


def log_file(number: int, events: Sequence[dict[str, Any]], *, listed: int = 0) -> File:
    """A log of these events; with `listed`, one EventList per so many events and line, as a webhook's collector stores them."""
    out = b""
    told = []
    if listed:
        for at in range(0, len(events), listed):
            some = events[at : at + listed]
            told += [Told(number, len(out), item, _size(event), event) for item, event in enumerate(some)]
            out += an_event_list(*some) + b"\n"
        return File(out, told)
    for event in events:
        told.append(Told(number, len(out), 0, len(line(event)) - 1, event))
        out += line(event)
    return File(out, told)


def _size(event: dict[str, Any]) -> int:
    return len(line({name: value for name, value in event.items() if name not in ("kind", "apiVersion")})) - 1


@st.composite
def log_files(draw: st.DrawFn, most: int = 12) -> list[File]:
    """One to three files: the same activity, seen by each in an order of its own, with gaps and with retries."""
    activity = [event for request in draw(st.lists(requests(), min_size=1, max_size=most)) for event in request]
    files = []
    for number in range(draw(st.integers(1, 3))):
        seen = draw(st.lists(st.sampled_from(range(len(activity))), max_size=6)) if number else []
        chosen = draw(st.sampled_from(("all", "some", "twice"))) if number else "all"
        if chosen == "all":
            seen = [*range(len(activity)), *seen]
        elif chosen == "twice":
            seen = [*range(len(activity)), *range(len(activity))]
        shuffle: Callable[..., Any] = draw(st.randoms(use_true_random=False)).shuffle
        if draw(st.booleans()):
            shuffle(seen)
        files.append(log_file(number, [activity[at] for at in seen], listed=draw(st.sampled_from((0, 0, 3)))))
    return files
