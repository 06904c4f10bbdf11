"""What a client chooses in an event's head: names of annotations, odd paths, extras of whoever is asked about, quoted bodies."""

from __future__ import annotations

import json

import pytest

from transforms.audit.event import Event
from transforms.audit.redaction import Redactor

PODS = "/api/v1/namespaces/shop/pods/db"
SECRETS = "/api/v1/namespaces/shop/secrets/db"
SECRET = "h7tr2-hunter2"
MASK = "<redacted: 13 bytes>"


def redacted(uri: str, **parts: object) -> Event:
    event = Event(requestURI=uri, **{name: json.dumps(part).encode() for name, part in parts.items()})  # type: ignore[arg-type]
    Redactor().redact(event)
    once = {name: bytes(getattr(event, name)) for name in parts}
    Redactor().redact(event)
    assert once == {name: bytes(getattr(event, name)) for name in parts}
    return event


@pytest.mark.parametrize("uri", [PODS, SECRETS])
def test_a_webhooks_name_for_an_annotation_is_searched_and_the_servers_own_stay(uri: str):
    names = ("patch.webhook.admission.k8s.io/round_0_index_0", "authorization.k8s.io/decision", "policy.example.com/high-replica-count")
    after = json.loads(bytes(redacted(uri, annotations=dict.fromkeys((*names, f"hook.example.com/{SECRET}"), "allow")).annotations))
    assert list(after) == [*names, f"hook.example.com/{MASK}"]


def test_a_policys_text_keeps_the_words_of_people():
    words = '"restricted-v2" is the only one; see kube-system, web-7f and 2026'
    assert json.loads(bytes(redacted(PODS, annotations={"a.io/reason": words}).annotations)) == {"a.io/reason": words}
    said = json.loads(bytes(redacted(PODS, annotations={"a.io/reason": f"found {SECRET} in it"}).annotations))
    assert said == {"a.io/reason": f"found {MASK} in it"}


@pytest.mark.parametrize(
    ("uri", "kind", "path"),
    [
        ("/apis/authorization.k8s.io/v1/subjectaccessreviews", "SubjectAccessReview", "spec"),
        ("/apis/authorization.k8s.io/v1/namespaces/a/localsubjectaccessreviews", "LocalSubjectAccessReview", "spec"),
        ("/apis/certificates.k8s.io/v1/certificatesigningrequests", "CertificateSigningRequest", "spec"),
        ("/apis/authentication.k8s.io/v1/selfsubjectreviews", "SelfSubjectReview", "status.userInfo"),
    ],
)
def test_whoever_is_asked_about_keeps_the_extras_that_kubernetes_defines(uri: str, kind: str, path: str):
    def review(value: str) -> dict:
        held: dict = {
            "extra": {
                "authentication.kubernetes.io/credential-id": ["JTI=1"],
                "authentication.kubernetes.io/pod-name": ["web-1"],
                "scopes.authorization.openshift.io": ["user:full"],
                "example.com/assertion": [value],
            }
        }
        for name in reversed(path.split(".")):
            held = {name: held}
        return {"kind": kind, "apiVersion": uri.removeprefix("/apis/").partition("/v1")[0] + "/v1"} | held

    assert json.loads(bytes(redacted(uri, requestObject=review(SECRET)).requestObject)) == review(MASK)


@pytest.mark.parametrize(
    ("message", "after"),
    [
        ('Object \'Kind\' is missing in \'{"data":{"a":"h7tr2-hunter2"}}\'', "Object 'Kind' is missing in ': <redacted: 31 bytes>"),
        (
            "failed to create typed patch object (shop/db; /v1, Kind=ConfigMap): .data: expected map, got &{h7tr2-hunter2}",
            "failed to create typed patch object (shop/db; /v1, Kind=ConfigMap): .data: expected map, got: <redacted: 16 bytes>",
        ),
        ("expected 3 replicas, got 2: web-7f3a9c51", "expected 3 replicas, got 2: web-7f3a9c51"),
        ("the key is missing in 3 places", "the key is missing in 3 places"),
    ],
)
def test_a_message_loses_a_body_that_it_prints(message: str, after: str):
    status = {"metadata": {}, "message": message, "code": 400}
    event = redacted(PODS, responseStatus=status, responseObject={"kind": "Status"} | status)
    assert json.loads(bytes(event.responseStatus)) == status | {"message": after}
    assert json.loads(bytes(event.responseObject))["message"] == after


def test_what_follows_a_secrets_name_in_the_path_goes():
    reference = {"resource": "secrets", "namespace": "shop", "name": "db", "subresource": SECRET}
    event = redacted(f"{SECRETS}/{SECRET}", objectRef=reference)
    assert event.requestURI == f"{SECRETS}/REDACTED"
    assert json.loads(bytes(event.objectRef)) == reference | {"subresource": MASK}
    token = reference | {"resource": "serviceaccounts", "subresource": "token"}
    event = redacted("/api/v1/namespaces/shop/serviceaccounts/db/token", objectRef=token)
    assert event.requestURI == "/api/v1/namespaces/shop/serviceaccounts/db/token"
    assert json.loads(bytes(event.objectRef)) == token


def test_what_a_health_check_asks_for_stays():
    assert redacted("/readyz?verbose").requestURI == "/readyz?verbose"
    assert redacted(f"/readyz?{SECRET}").requestURI == "/readyz?REDACTED"
