"""Events as a log backend writes them, as text, so that a test can put anything in any place."""

from __future__ import annotations

from typing import Any, Final

MEMBERS: Final = {
    "kind": '"Event"',
    "apiVersion": '"audit.k8s.io/v1"',
    "level": '"Metadata"',
    "auditID": '"6d0f1a8e-7a55-4c0d-9f3a-0c8f2f5b9b11"',
    "stage": '"ResponseComplete"',
    "requestURI": '"/api/v1/namespaces/shop/pods/cart-1"',
    "verb": '"get"',
    "user": '{"username":"system:serviceaccount:shop:cart","groups":["system:serviceaccounts","system:authenticated"]}',
    "sourceIPs": '["10.0.0.7"]',
    "userAgent": '"kubelet/v1.36.0 (linux/amd64) kubernetes/abcdef0"',
    "objectRef": '{"resource":"pods","namespace":"shop","name":"cart-1","apiVersion":"v1"}',
    "responseStatus": '{"metadata":{},"code":200}',
    "requestReceivedTimestamp": '"2026-11-23T05:19:24.906789Z"',
    "stageTimestamp": '"2026-11-23T05:19:24.931245Z"',
    "annotations": '{"authorization.k8s.io/decision":"allow","authorization.k8s.io/reason":"RBAC: allowed by RoleBinding \\"edit/shop\\""}',
}
ORDER: Final = (*list(MEMBERS)[:12], "requestObject", "responseObject", *list(MEMBERS)[12:])


def an_id(number: int) -> str:
    return f'"{number:08x}-7a55-4c0d-9f3a-0c8f2f5b9b11"'


def joined(members: list[tuple[str, str]]) -> bytes:
    return ("{" + ",".join(f'"{name}":{value}' for name, value in members) + "}").encode("utf-8", "surrogateescape")


def final(**changes: str | None) -> list[tuple[str, str]]:
    """The members of a final event, as JSON; None leaves one out."""
    values: dict[str, Any] = MEMBERS | changes
    return [(name, values[name]) for name in ORDER if values.get(name) is not None]


def early(**changes: str | None) -> list[tuple[str, str]]:
    """Those of its first stage."""
    changes = {"stage": '"RequestReceived"', "stageTimestamp": MEMBERS["requestReceivedTimestamp"]} | changes
    return final(**changes | dict.fromkeys(("responseStatus", "requestObject", "responseObject", "annotations")))


def a_line(**changes: str | None) -> bytes:
    return joined(final(**changes))


def a_pair(**changes: str | None) -> list[bytes]:
    return [joined(early(**changes)), joined(final(**changes))]


def padding(count: int = 12, first: int = 1 << 20) -> list[bytes]:
    """Other lines, plain ones, for few lines make no rows."""
    return [line for number in range(count) for line in a_pair(auditID=an_id(first + number))]
