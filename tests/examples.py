"""The one valid event everything starts from: a test names only what it changes."""

from __future__ import annotations

import copy
from typing import Any, Final

import orjson


# In place of a value: the event lacks the field. (None is a field that is there, and null.)
class _Absent:
    """Prints the same in every process, as the names of tests must."""

    def __repr__(self) -> str:
        return "ABSENT"


ABSENT: Final = _Absent()

_EVENT: Final[dict[str, Any]] = {
    "kind": "Event",
    "apiVersion": "audit.k8s.io/v1",
    "level": "RequestResponse",
    "auditID": "6d0f1a8e-7a55-4c0d-9f3a-0c8f2f5b9b11",
    "stage": "ResponseComplete",
    "requestURI": "/apis/apps/v1/namespaces/shop/deployments/cart?fieldManager=kubectl-edit",
    "verb": "update",
    "user": {
        "username": "alice",
        "uid": "alice-1",
        "groups": ["developers", "system:authenticated"],
        "extra": {"authentication.kubernetes.io/credential-id": ["X509SHA256=5a1c"]},
    },
    "sourceIPs": ["10.0.0.7"],
    "userAgent": "kubectl/v1.37.2 (linux/amd64) kubernetes/abcdef0",
    "objectRef": {
        "resource": "deployments",
        "namespace": "shop",
        "name": "cart",
        "uid": "0a6d1c1e-8f0b-4a3c-9d58-2b1f3a7f9d10",
        "apiGroup": "apps",
        "apiVersion": "v1",
        "resourceVersion": "812",
    },
    "responseStatus": {"metadata": {}, "code": 200},
    "requestObject": {
        "kind": "Deployment",
        "apiVersion": "apps/v1",
        "metadata": {"name": "cart", "namespace": "shop", "resourceVersion": "812"},
        "spec": {"replicas": 3},
    },
    "responseObject": {
        "kind": "Deployment",
        "apiVersion": "apps/v1",
        "metadata": {"name": "cart", "namespace": "shop", "resourceVersion": "813", "generation": 4},
        "spec": {"replicas": 3},
    },
    "requestReceivedTimestamp": "2026-11-23T05:19:24.906789Z",
    "stageTimestamp": "2026-11-23T05:19:24.931245Z",
    "annotations": {
        "authorization.k8s.io/decision": "allow",
        "authorization.k8s.io/reason": 'RBAC: allowed by RoleBinding "edit/shop" of ClusterRole "edit" to Group "developers"',
    },
}


def an_event(**changes: Any) -> dict[str, Any]:
    """The valid event with top-level fields changed, or fields inside one: `an_event(verb="get", objectRef__resource="pods")`."""
    event = copy.deepcopy(_EVENT)
    for path, value in changes.items():
        *parents, last = path.split("__")
        inside = event
        for parent in parents:
            inside = inside[parent]
        if value is ABSENT:
            inside.pop(last, None)
        else:
            inside[last] = value
    return event


def line(event: dict[str, Any]) -> bytes:
    """The event as the log backend writes it: compact JSON and a line feed."""
    return orjson.dumps(event) + b"\n"


def lines(*events: dict[str, Any]) -> bytes:
    """A log of these events, in this order."""
    return b"".join(map(line, events))


def an_event_list(*events: dict[str, Any]) -> bytes:
    """These events as the webhook backend posts them: items carry neither kind nor apiVersion."""
    items = [{name: value for name, value in event.items() if name not in {"kind", "apiVersion"}} for event in events]
    return orjson.dumps({"kind": "EventList", "apiVersion": "audit.k8s.io/v1", "metadata": {}, "items": items})
