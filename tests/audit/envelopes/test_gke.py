"""GKE's audit log in Cloud Logging."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.audit.envelopes.outcomes import fields, outcomes, the_event
from tests.audit.envelopes.wraps import compact
from transforms.audit.envelopes.gke import request_of
from transforms.audit.recognise import recognise

ENTRIES = (Path(__file__).parents[1] / "data" / "gke_entries.ndjson").read_bytes().splitlines()
ALWAYS = ["GROUPS_UNKNOWN", "LEVEL_INFERRED", "QUERY_UNKNOWN", "URI_INFERRED"]
POD = "core/v1/namespaces/shop/pods/cart-0"


def entry(payload: dict[str, Any] | None = None, **changes: Any) -> bytes:
    """A log entry with members of its protoPayload, and of itself, changed."""
    proto = {
        "@type": "type.googleapis.com/google.cloud.audit.AuditLog",
        "authenticationInfo": {"principalEmail": "alice@example.com"},
        "methodName": "io.k8s.core.v1.pods.get",
        "requestMetadata": {"callerIp": "10.0.0.7", "callerSuppliedUserAgent": "kubectl/v1.33.1"},
        "resourceName": POD,
        "serviceName": "k8s.io",
        "status": {"code": 0},
    }
    whole = {
        "insertId": "i-1",
        "labels": {"authorization.k8s.io/decision": "allow"},
        "logName": "projects/p/logs/cloudaudit.googleapis.com%2Fdata_access",
        "operation": {"first": True, "id": "o-1", "last": True, "producer": "k8s.io"},
        "protoPayload": proto | (payload or {}),
        "receiveTimestamp": "2026-01-02T03:04:09Z",
        "resource": {"type": "k8s_cluster", "labels": {"cluster_name": "blue", "location": "eu", "project_id": "p"}},
        "timestamp": "2026-01-02T03:04:05.678901234Z",
    }
    return compact({name: value for name, value in (whole | changes).items() if value is not None})


def test_an_entry_gives_all_that_it_says() -> None:
    event = the_event(entry())
    assert fields(event) == {
        "level": "Metadata",
        "auditID": "o-1",
        "stage": "ResponseComplete",
        "requestURI": "/api/v1/namespaces/shop/pods/cart-0",
        "verb": "get",
        "user": {"username": "alice@example.com"},
        "sourceIPs": ["10.0.0.7"],
        "userAgent": "kubectl/v1.33.1",
        "objectRef": {"resource": "pods", "namespace": "shop", "name": "cart-0", "apiVersion": "v1"},
        "responseStatus": {"metadata": {}, "code": 200},
        "stageTimestamp": "2026-01-02T03:04:05.678901Z",
        "annotations": {"authorization.k8s.io/decision": "allow"},
    }
    assert event.flags == ALWAYS
    assert recognise(entry())[0].cluster == "blue"


@pytest.mark.parametrize(
    ("method", "resource", "uri", "reference"),
    [
        ("io.k8s.core.v1.pods.list", "core/v1/namespaces/shop/pods", "/api/v1/namespaces/shop/pods", "pods|shop|||v1|"),
        ("io.k8s.core.v1.pods.create", POD, "/api/v1/namespaces/shop/pods", "pods|shop|cart-0||v1|"),
        ("io.k8s.core.v1.pods.exec.create", POD + "/exec", "/api/v1/namespaces/shop/pods/cart-0/exec", "pods|shop|cart-0||v1|exec"),
        ("io.k8s.core.v1.nodes.status.patch", "core/v1/nodes/n-1/status", "/api/v1/nodes/n-1/status", "nodes||n-1||v1|status"),
        ("io.k8s.core.v1.namespaces.delete", "core/v1/namespaces/x", "/api/v1/namespaces/x", "namespaces|x|x||v1|"),
        (
            "io.k8s.core.v1.namespaces.finalize.update",
            "core/v1/namespaces/x/finalize",
            "/api/v1/namespaces/x/finalize",
            "namespaces|x|x||v1|finalize",
        ),
        ("io.k8s.core.v1.namespaces.create", "core/v1/namespaces/x", "/api/v1/namespaces", "namespaces|x|x||v1|"),
        (
            "io.k8s.apps.v1.deployments.scale.update",
            "apps/v1/namespaces/kube-system/deployments/coredns/scale",
            "/apis/apps/v1/namespaces/kube-system/deployments/coredns/scale",
            "deployments|kube-system|coredns|apps|v1|scale",
        ),
        (
            "com.coreos.database.etcd.v1beta2.etcdbackups.create",
            "etcd.database.coreos.com/v1beta2/namespaces/db/etcdbackups/b",
            "/apis/etcd.database.coreos.com/v1beta2/namespaces/db/etcdbackups",
            "etcdbackups|db|b|etcd.database.coreos.com|v1beta2|",
        ),
        (
            "io.k8s.authorization.rbac.v1.clusterroles.patch",
            "rbac.authorization.k8s.io/v1/clusterroles/system:node",
            "/apis/rbac.authorization.k8s.io/v1/clusterroles/system:node",
            "clusterroles||system:node|rbac.authorization.k8s.io|v1|",
        ),
        ("io.k8s.get", "readyz", "/readyz", ""),
        ("io.k8s.get", "api/v1", "/api/v1", ""),
        ("io.k8s.core.v1.pods.watch", "", "", ""),
    ],
)
def test_method_and_resource_names_give_uri_and_reference(method: str, resource: str, uri: str, reference: str) -> None:
    request = request_of(method, resource)
    found = json.loads(request.reference or b"{}")
    assert (request.verb, request.uri) == (method.rpartition(".")[2], uri)
    order = ("resource", "namespace", "name", "apiGroup", "apiVersion", "subresource")
    assert found == {name: value for name, value in zip(order, reference.split("|"), strict=False) if value}


@pytest.mark.parametrize(
    ("payload", "status", "sure"),
    [
        ({}, {"metadata": {}, "code": 200}, True),
        ({"status": {}}, {"metadata": {}, "code": 200}, True),
        ({"status": {"code": 7, "message": "no"}}, {"metadata": {}, "status": "Failure", "message": "no", "code": 403}, False),
        ({"status": {"code": 5}}, {"metadata": {}, "status": "Failure", "message": "", "code": 404}, False),
        ({"status": {"code": 16}}, {"metadata": {}, "status": "Failure", "message": "", "code": 401}, False),
        ({"status": {"code": 99}}, {"metadata": {}, "status": "Failure", "message": "", "code": 500}, False),
        ({"methodName": "io.k8s.core.v1.pods.create"}, {"metadata": {}, "code": 201}, False),
        ({"methodName": "io.k8s.core.v1.pods.exec.create", "resourceName": POD + "/exec"}, {"metadata": {}, "code": 101}, False),
        (
            {
                "status": {"code": 10, "message": "exists"},
                "response": {
                    "@type": "core.k8s.io/v1.Status",
                    "kind": "Status",
                    "status": "Failure",
                    "code": 409,
                    "reason": "AlreadyExists",
                    "x": 1,
                },
            },
            {"metadata": {}, "status": "Failure", "reason": "AlreadyExists", "code": 409},
            True,
        ),
    ],
)
def test_status_codes_are_http_codes(payload: dict[str, Any], status: dict[str, Any], sure: bool) -> None:
    event = the_event(entry(payload))
    assert fields(event)["responseStatus"] == status
    assert ("CODE_INFERRED" not in (event.flags or ())) is sure


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (
            '{"@type":"core.k8s.io/v1.Pod","apiVersion":"v1","kind":"Pod","n":12345678901234567890}',
            '{"apiVersion":"v1","kind":"Pod","n":12345678901234567890}',
        ),
        ('{"@type":"core.k8s.io/v1.Secret","data":{"a":"b"}}', '{"kind":"Secret","apiVersion":"v1","data":{"a":"b"}}'),
        ('{"@type":"apps.k8s.io/v1.Scale","kind":"Scale"}', '{"kind":"Scale"}'),
        (
            '{"@type":"rbac.authorization.k8s.io/v1.Role","rules":[]}',
            '{"kind":"Role","apiVersion":"rbac.authorization.k8s.io/v1","rules":[]}',
        ),
        ('{"@type":"k8s.io/Patch","spec":{"replicas":3}}', '{"spec":{"replicas":3}}'),
        ('{"spec":{"@type":"x"},"@type":"k8s.io/Patch"}', '{"spec":{"@type":"x"}}'),
        ('{"@type":"core.k8s.io/v1.Pod"}', '{"kind":"Pod","apiVersion":"v1"}'),
        ('{"@type":"k8s.io/Patch"}', "{}"),
        ('{"@type":"type.googleapis.com/google.protobuf.Value","value":[{"op":"remove"}]}', '[{"op":"remove"}]'),
        ('{"@type":7,"a":1}', '{"@type":7,"a":1}'),
        ('"text"', '"text"'),
    ],
)
def test_bodies_lose_their_protobuf_type_and_nothing_else(body: str, expected: str) -> None:
    record = entry({"request": "BODY"}).replace(b'"BODY"', body.encode())
    event = the_event(record)
    assert bytes(event.requestObject) == expected.encode()
    assert (event.level, bytes(event.responseObject)) == ("Request", b"")


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (entry({"serviceName": "container.googleapis.com"}), ["NOT_AUDIT"]),
        (entry({"serviceName": None, "methodName": "io.k8s.core.v1.pods.get"}), ["event"]),
        (entry({"serviceName": None, "methodName": "v2.deploymentmanager.deployments.insert"}), ["NOT_AUDIT"]),
        (entry({"status": 7, "authenticationInfo": [], "requestMetadata": {"callerIp": 7, "callerSuppliedUserAgent": "x"}}), ["event"]),
        (entry(operation="x", labels=[], resource=7, timestamp=7, insertId=None), ["event"]),
        (entry(protoPayload=7), ["NOT_AUDIT"]),
        (entry(protoPayload={}), ["NOT_AUDIT"]),
    ],
    ids=range(7),
)
def test_what_is_no_entry_of_kubernetes_is_not_audit(record: bytes, expected: list[str]) -> None:
    assert outcomes(record) == expected


def test_wrong_types_cost_only_their_own_fields() -> None:
    event = the_event(entry({"status": 7, "requestMetadata": {"callerIp": 7, "callerSuppliedUserAgent": "x"}}))
    assert (event.userAgent, bytes(event.sourceIPs), bytes(event.user)) == ("x", b"", b'{"username":"alice@example.com"}')


@pytest.mark.parametrize(
    ("operation", "stage", "flag"),
    [
        ({"id": "o", "first": True, "last": True}, "ResponseComplete", False),
        ({"id": "o", "first": True}, "RequestReceived", True),
        ({"id": "o", "last": True}, "ResponseComplete", True),
        (None, "ResponseComplete", True),
    ],
)
def test_the_half_of_an_operation_is_a_stage(operation: dict[str, Any] | None, stage: str, flag: bool) -> None:
    event = the_event(entry(operation=operation))
    assert event.stage == stage
    assert ("STAGE_INFERRED" in (event.flags or ())) is flag
    assert bool(event.responseStatus) is (stage == "ResponseComplete")


def test_a_part_of_a_split_entry_has_no_bodies() -> None:
    event = the_event(
        entry({"request": {"@type": "core.k8s.io/v1.Secret", "data": {"a": "b"}}}, split={"uid": "u", "index": 1, "totalSplits": 2})
    )
    assert bytes(event.requestObject) == b""
    assert "BODIES_UNKNOWN" in (event.flags or ())
    assert event.reductions == [("incomplete", "/requestObject", 1, len('{"kind":"Secret","apiVersion":"v1","data":{"a":"b"}}'))]


def test_the_samples_give_their_events() -> None:
    assert [outcome for line in ENTRIES for outcome in outcomes(line)] == ["event"] * 3 + ["NOT_AUDIT"] + ["event"] * 3
    events = [the_event(ENTRIES[at]) for at in (0, 1, 4, 6)]
    assert [(event.verb, event.requestURI, event.level) for event in events] == [
        ("create", "/api/v1/namespaces/1-2-deployment-update/pods", "RequestResponse"),
        ("patch", "/api/v1/namespaces/1-2-deployment-update/pods/nginx-deployment-surge-8655b4b8c5-xf5f4/status", "Request"),
        ("create", "/api/v1/namespaces/example/pods/one-off-valerii-tovstyk-1646666967280/exec", "Metadata"),
        ("create", "/api/v1/namespaces/default/services", "RequestResponse"),
    ]
    assert fields(events[3])["responseStatus"]["code"] == 409
    assert recognise(ENTRIES[0])[0].cluster == "sample-cluster"


def test_names_of_megabytes_do_no_harm_and_do_not_stay() -> None:
    long = ".v1.x" * 300_000
    assert outcomes(entry({"methodName": "io.k8s" + long, "resourceName": POD + "/x" * 500_000})) == ["event"]
    assert outcomes(entry({"methodName": long, "serviceName": None})) == ["NOT_AUDIT"]
    assert outcomes(entry({"authenticationInfo": {"principalEmail": "a" * (1 << 20)}})) == ["event"]
    assert request_of.cache_info().currsize == 0
