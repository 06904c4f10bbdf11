from __future__ import annotations

import base64
import gzip
import json
import pickle

import msgspec
import pytest

from tests.examples import ABSENT, an_event
from transforms.audit import redaction
from transforms.audit.event import Event
from transforms.audit.redaction import Redactor, redact_secrets, sensitive_read
from transforms.audit.reduction_kinds import KINDS
from transforms.audit.self_test import self_test

DECODER = msgspec.json.Decoder(Event)
SECRET = "s3cr3t-hunter2"
B64 = base64.b64encode(SECRET.encode()).decode()
APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
OK = {"metadata": {}, "code": 200}
SECRETS = {
    "requestURI": "/api/v1/namespaces/shop/secrets/db",
    "objectRef": {"resource": "secrets", "namespace": "shop", "name": "db", "apiVersion": "v1"},
}
PODS = {
    "requestURI": "/api/v1/namespaces/shop/pods/db",
    "objectRef": {"resource": "pods", "namespace": "shop", "name": "db", "apiVersion": "v1"},
}
MAPS = {
    "requestURI": "/api/v1/namespaces/shop/configmaps/db",
    "objectRef": {"resource": "configmaps", "namespace": "shop", "name": "db", "apiVersion": "v1"},
}


def masked(value: str) -> str:
    return f"<redacted: {len(value.encode())} bytes>"


def decoded(fields: dict) -> Event:
    return DECODER.decode(json.dumps(fields))


def redacted(where: dict, redactor: Redactor | None = None, **fields: object) -> Event:
    event = decoded(an_event(requestObject=ABSENT, responseObject=ABSENT, **where) | fields)
    (redactor or Redactor()).redact(event)
    assert {kind for kind, _, _, _ in event.reductions or ()} <= KINDS.keys()
    return event


def body(where: dict, before: object, code: int = 200) -> object:
    event = redacted(where, requestObject=before, responseStatus={"metadata": {}, "code": code})
    again = bytes(event.requestObject)
    redact_secrets(event)
    assert bytes(event.requestObject) == again
    return json.loads(again) if again else None


META = {
    "name": "db",
    "namespace": "shop",
    "uid": "0a6d1c1e-8f0b-4a3c-9d58-2b1f3a7f9d10",
    "resourceVersion": "8",
    "creationTimestamp": "2026-11-23T05:19:24Z",
}
WHOLE = {
    "kind": "Secret",
    "apiVersion": "v1",
    "metadata": META | {"labels": {"app": "cart"}},
    "type": "Opaque",
    "immutable": True,
    "data": {"password": B64},
}
KEPT = WHOLE | {"data": {"password": masked(B64)}}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(WHOLE, KEPT, id="object"),
        pytest.param(WHOLE | {"stringData": {"a": SECRET}}, KEPT | {"stringData": {"a": masked(SECRET)}}, id="stringData"),
        pytest.param(WHOLE | {"dta": {"a": SECRET}, SECRET: SECRET}, KEPT, id="unknown fields"),
        pytest.param({"metadata": META | {"annotations": {APPLIED: json.dumps(WHOLE), "a": SECRET}}}, {"metadata": META}, id="annotations"),
        pytest.param({"metadata": {"name": SECRET}}, {"metadata": {"name": masked(SECRET)}}, id="another name"),
        pytest.param(
            {"kind": "SecretList", "items": [{"data": {"a": B64}}]},
            {"kind": "SecretList", "items": [{"data": {"a": masked(B64)}}]},
            id="list without kinds",
        ),
        pytest.param({"kind": "List", "items": [WHOLE, SECRET]}, {"kind": "List", "items": [KEPT, masked(SECRET)]}, id="v1.List"),
        pytest.param(
            {"kind": "Table", "rows": [{"cells": ["db", SECRET], "object": WHOLE}, {"object": None}]},
            {"kind": "Table", "rows": [{"object": KEPT}, {"object": None}]},
            id="table",
        ),
        pytest.param(
            [{"op": "add", "path": "/data/password", "value": B64}],
            [{"op": "add", "path": "/data/password", "value": masked(B64)}],
            id="JSON patch",
        ),
        pytest.param(
            [{"op": "replace", "path": "/data", "value": {"a": B64}}],
            [{"op": "replace", "path": "/data", "value": {"a": masked(B64)}}],
            id="JSON patch of all data",
        ),
        pytest.param([{"op": "add", "path": "", "value": WHOLE}], [{"op": "add", "path": "", "value": KEPT}], id="JSON patch of the whole"),
        pytest.param(
            [{"op": "copy", "from": "/data/a", "path": "/metadata/labels/l"}],
            [{"op": "copy", "from": "/data/a", "path": "/metadata/labels/l"}],
            id="JSON patch copy",
        ),
        pytest.param(
            [{"op": "test", "path": f"/spec/{SECRET}", "value": 1}],
            [{"op": "test", "path": f"/spec/{masked(SECRET)}", "value": masked("1")}],
            id="JSON patch elsewhere",
        ),
        pytest.param(
            {"stringData": {"a": SECRET}, "$setElementOrder/x": [SECRET]}, {"stringData": {"a": masked(SECRET)}}, id="strategic patch"
        ),
        pytest.param({"data": None}, {"data": None}, id="merge patch that deletes"),
        pytest.param({"data": {"a": None, "b": 1234567}}, {"data": {"a": None, "b": masked("1234567")}}, id="merge patch of a number"),
        pytest.param(SECRET, masked(SECRET), id="a string"),
        pytest.param(31337, masked("31337"), id="a number"),
        pytest.param([SECRET, [SECRET]], [masked(SECRET), masked(json.dumps([SECRET]))], id="an array"),
        pytest.param({"Data": {"a": SECRET}, "data": {"a": "x"}}, {}, id="keys in another case: all goes"),
        pytest.param({"data": SECRET}, {"data": masked(SECRET)}, id="data that is no object"),
        pytest.param(
            {"metadata": {"labels": {"l": B64.rstrip("="), "m": SECRET, "n": "plain"}}, "data": {"a": B64}},
            {"metadata": {"labels": {"l": masked(B64.rstrip("=")), "m": masked(SECRET), "n": "plain"}}, "data": {"a": masked(B64)}},
            id="labels copied from data",
        ),
        pytest.param(
            {"metadata": {"labels": {"l": B64.rstrip("=")}}},
            {"metadata": {"labels": {"l": masked(B64.rstrip("="))}}},
            id="label in base64 without its data",
        ),
        pytest.param(
            {"kind": "DeleteOptions", "gracePeriodSeconds": 0, "propagationPolicy": "Background", "a": SECRET},
            {"kind": "DeleteOptions", "gracePeriodSeconds": 0, "propagationPolicy": "Background"},
            id="DeleteOptions",
        ),
    ],
)
def test_a_secret_keeps_its_skeleton_in_every_shape(before, after):
    assert body(SECRETS, before) == after


def test_of_a_failed_request_for_a_secret_neither_keys_nor_labels_nor_type_stay():
    assert body(SECRETS, WHOLE | {"type": SECRET}, code=422) == {
        "kind": "Secret",
        "apiVersion": "v1",
        "metadata": META,
        "immutable": True,
        "data": {},
    }
    assert body(SECRETS, [{"op": "add", "path": f"/data/{SECRET}", "value": "x"}], code=422) == [
        {"op": "add", "path": "/data", "value": masked("x")}
    ]


def test_duplicate_keys_never_survive_by_copying():
    event = Event(requestURI=SECRETS["requestURI"], requestObject=b'{"data":{"p":"' + B64.encode() + b'"},"data":{"p":"eA=="}}')  # type: ignore[arg-type]
    redact_secrets(event)
    assert bytes(event.requestObject) == b'{"data":{"p":"<redacted: 4 bytes>"}}'
    event = Event(requestURI=MAPS["requestURI"], requestObject=b'{"data":{"password":"' + SECRET.encode() + b'"},"data":{}}')  # type: ignore[arg-type]
    redact_secrets(event)
    assert bytes(event.requestObject) == b'{"data":{}}'


@pytest.mark.parametrize(
    "where",
    [
        {"requestURI": "/api/v1/namespaces/shop/secrets/db", "objectRef": ABSENT},
        {"requestURI": "/api/v1/namespaces/shop/pods/db", "objectRef": {"resource": "secrets"}},
        {"requestURI": "//api//v1/namespaces/shop/secrets", "objectRef": {"resource": "v1", "name": "namespaces", "subresource": "shop"}},
        {"requestURI": "/api/v1/namespaces/shop/../x/secrets", "objectRef": {"resource": ".."}},
        {"requestURI": "/api/v1/namespaces/shop/secrets%00/db", "objectRef": {"resource": "secrets\x00"}},
        {"requestURI": "/api/v1/namespaces/shop/%73ecrets/db", "objectRef": ABSENT},
        {"requestURI": "/api/v1/namespaces/shop/SECRETS/db", "objectRef": ABSENT},
        {"requestURI": "/api/v1/watch/namespaces/shop/secrets", "objectRef": ABSENT},
        {"requestURI": "", "objectRef": ABSENT},
        {"requestURI": ABSENT, "objectRef": ABSENT},
        {"requestURI": "/api/v1/namespaces/shop/pods", "objectRef": {"resource": 7, "x": "secrets"}},
    ],
)
def test_any_evidence_makes_a_request_sensitive(where):
    assert body(where, {"data": {"a": B64}}) == {"data": {"a": masked(B64)}}
    fields = {name: value for name, value in where.items() if value is not ABSENT}
    assert sensitive_read(decoded(fields))


@pytest.mark.parametrize(
    "uri",
    [
        "/api/v1/namespaces/shop/pods/secrets",
        "/api/v1/namespaces/secrets/pods",
        "/apis/apps/v1/deployments",
        "/healthz",
        "/apis/bitnami.com/v1/sealedsecrets",
    ],
)
def test_a_name_like_secrets_does_not_make_a_request_sensitive(uri):
    assert not sensitive_read(decoded({"requestURI": uri}))


def failure(message: str, **details: object) -> dict:
    return {"metadata": {}, "status": "Failure", "message": message, "reason": "Invalid", "details": details, "code": 422}


@pytest.mark.parametrize(
    "path",
    [
        "/k8s/clusters/c-1/api/v1/namespaces/a/secrets/b",
        "/clusters/x/api/v1/secrets",
        "/v1/secrets/a:b",
        "/k8s/clusters/local/v1/secrets",
        "/apis/clusters/x/core/v1/secrets/b",
        "/apis/apis/oauth.openshift.io/v1/secrets/b",
    ],
)
def test_a_gateways_prefix_hides_no_secret(path):
    assert body({"requestURI": path}, {"data": {"a": B64}}) == {"data": {"a": masked(B64)}}


def test_of_a_reference_to_a_secret_only_what_kubernetes_writes_stays():
    known = {"resource": "secrets", "namespace": "shop", "name": "db", "resourceVersion": "7"}
    event = redacted(SECRETS | {"objectRef": known | {"uid": SECRET, "x": SECRET}})
    assert json.loads(bytes(event.objectRef)) == known | {"uid": masked(SECRET), "x": masked(SECRET)}


def test_the_message_of_a_failed_request_for_a_secret_keeps_reason_code_and_length():
    message = f'Secret "db" is invalid: patch: Invalid value: "{{\\"data\\":{{\\"p\\":\\"{B64}\\"}}}}"'
    status = failure(
        message, name="db", kind="Secret", uid="x", causes=[{"reason": "FieldValueInvalid", "message": message, "field": f"data[{SECRET}]"}]
    )
    event = redacted(SECRETS, responseStatus=status, responseObject={"kind": "Status", "apiVersion": "v1"} | status)
    after = {
        "metadata": {},
        "status": "Failure",
        "message": masked(message),
        "reason": "Invalid",
        "details": {"name": "db", "kind": "Secret", "causes": [{"reason": "FieldValueInvalid", "message": masked(message)}]},
        "code": 422,
    }
    assert json.loads(event.responseStatus) == after
    assert json.loads(event.responseObject) == {"kind": "Status", "apiVersion": "v1"} | after


@pytest.mark.parametrize(
    "message",
    [
        'secrets "db" not found',
        'secrets "db" already exists',
        'secrets is forbidden: User "bob" cannot list resource "secrets" in API group "" in the namespace "shop"',
        'secrets "db" is forbidden: User "bob" cannot get resource "secrets" in API group "" in the namespace "shop"',
    ],
)
def test_a_denial_that_says_only_what_the_head_says_stays(message):
    assert json.loads(bytes(redacted(SECRETS, responseStatus={"message": message, "code": 403}).responseStatus))["message"] == message
    other = message.replace("db", SECRET).replace("shop", "elsewhere")
    assert json.loads(redacted(SECRETS, responseStatus={"message": other, "code": 403}).responseStatus)["message"] == masked(other)


TOKENS = {
    "requestURI": "/api/v1/namespaces/shop/serviceaccounts/ci/token",
    "objectRef": {"resource": "serviceaccounts", "subresource": "token", "name": "ci"},
}
REVIEWS = {
    "requestURI": "/apis/authentication.k8s.io/v1/tokenreviews",
    "objectRef": {"resource": "tokenreviews", "apiGroup": "authentication.k8s.io"},
}
OAUTH = {
    "requestURI": f"/apis/oauth.openshift.io/v1/oauthaccesstokens/{SECRET}",
    "objectRef": {"resource": "oauthaccesstokens", "name": SECRET},
}


def test_a_token_request_keeps_audience_expiry_and_the_credentials_id():
    event = redacted(
        TOKENS,
        responseObject={
            "kind": "TokenRequest",
            "spec": {"audiences": ["api"], "expirationSeconds": 3600, "boundObjectRef": None},
            "status": {"token": SECRET, "expirationTimestamp": "2026-11-23T05:19:24Z"},
        },
        annotations={"authentication.kubernetes.io/issued-credential-id": "JTI=4f1c"},
    )
    assert json.loads(event.responseObject) == {
        "kind": "TokenRequest",
        "spec": {"audiences": ["api"], "expirationSeconds": 3600, "boundObjectRef": None},
        "status": {"expirationTimestamp": "2026-11-23T05:19:24Z"},
    }
    assert json.loads(bytes(event.annotations)) == {"authentication.kubernetes.io/issued-credential-id": "JTI=4f1c"}


def test_a_token_review_keeps_whom_it_authenticated():
    before = {
        "kind": "TokenReview",
        "spec": {"token": SECRET},
        "status": {"authenticated": True, "user": {"username": "ci", "extra": {"a": [SECRET]}}, "error": SECRET},
    }
    assert body(REVIEWS, before) == {"kind": "TokenReview", "spec": {}, "status": {"authenticated": True, "user": {"username": "ci"}}}


def test_an_oauth_token_loses_its_name_everywhere_unless_it_is_a_hash():
    event = redacted(
        OAUTH, responseObject={"kind": "OAuthAccessToken", "metadata": {"name": SECRET}, "userName": "alice", "refreshToken": SECRET}
    )
    assert event.requestURI == "/apis/oauth.openshift.io/v1/oauthaccesstokens/REDACTED"
    assert json.loads(bytes(event.objectRef))["name"] == masked(SECRET)
    assert json.loads(event.responseObject) == {"kind": "OAuthAccessToken", "metadata": {"name": masked(SECRET)}, "userName": "alice"}
    hashed = "sha256~" + "a" * 43
    event = redacted(
        {"requestURI": OAUTH["requestURI"].replace(SECRET, hashed), "objectRef": {"resource": "oauthaccesstokens", "name": hashed}}
    )
    assert hashed in event.requestURI
    assert json.loads(bytes(event.objectRef))["name"] == hashed


def wrapped() -> dict[str, str]:
    manifest, yaml = json.dumps({"kind": "Secret", "stringData": {"a": SECRET}}), f"kind: Secret\nstringData:\n  a: {SECRET}\n"
    return {
        "JSON": manifest,
        "JSON in JSON": json.dumps({"inner": manifest}),
        "a JSON string of JSON": json.dumps(manifest),
        "YAML": yaml,
        "base64 of JSON": base64.b64encode(manifest.encode()).decode(),
        "base64 of YAML": base64.b64encode(yaml.encode()).decode(),
        "base64 twice": base64.b64encode(base64.b64encode(yaml.encode())).decode(),
        "base64 without padding, for URLs": base64.urlsafe_b64encode(manifest.encode()).decode().rstrip("="),
        "gzip in base64": base64.b64encode(gzip.compress(manifest.encode())).decode(),
        "a Helm release": base64.b64encode(base64.b64encode(gzip.compress(manifest.encode()))).decode(),
        "hex": manifest.encode().hex(),
        "percent-encoded": "".join(f"%{byte:02X}" for byte in manifest.encode()),
        "unicode escapes in text": "".join(f"\\u{ord(letter):04x}" for letter in yaml),
    }


@pytest.mark.parametrize("form", wrapped())
@pytest.mark.parametrize("where", [PODS, MAPS], ids=["pod annotation", "config map"])
def test_a_secret_embedded_in_a_string_is_found(where, form):
    value = wrapped()[form]
    event = redacted(where, requestObject={"metadata": {"annotations": {"x": value}}, "data": {"innocent": "yes", "x": value}})
    after = json.loads(bytes(event.requestObject))
    assert after["data"]["innocent"] == "yes"
    left = json.dumps(after)
    assert SECRET not in left
    assert value not in left


def test_a_secret_embedded_in_lists_and_templates_is_reduced_in_place():
    before = {
        "kind": "Template",
        "objects": [WHOLE, {"kind": "ConfigMap", "data": {"a": "b"}}],
        "spec": {"deep": [{"manifest": {"@type": "core.k8s.io/v1.Secret", "data": {"a": B64}}}]},
    }
    after = body({"requestURI": "/apis/x.io/v1/things", "objectRef": {"resource": "things", "apiGroup": "x.io"}}, before)
    assert after["objects"][0]["data"] == {"password": masked(B64)}
    assert after["objects"][1] == {"kind": "ConfigMap", "data": {"a": "b"}}
    assert after["spec"]["deep"][0]["manifest"]["data"] == {"a": masked(B64)}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"db_password": SECRET}, {"db_password": masked(SECRET)}),
        ({"auth": {"clientSecret": SECRET}}, {"auth": {"clientSecret": masked(SECRET)}}),
        ({"vault.example.com/token": SECRET}, {"vault.example.com/token": masked(SECRET)}),
        ({"passwords": [SECRET, "b"]}, {"passwords": [masked(SECRET), masked("b")]}),
        ({"password": 1234}, {"password": masked("1234")}),
        ({"name": "DB_PASSWORD", "value": SECRET}, {"name": "DB_PASSWORD", "value": masked(SECRET)}),
        ({"value": SECRET, "name": "API_TOKEN"}, {"value": masked(SECRET), "name": "API_TOKEN"}),
        ({"args": ["--password", SECRET, "--verbose"]}, {"args": ["--password", masked(SECRET), "--verbose"]}),
        ({"args": [f"--password={SECRET}"]}, {"args": [f"--password={masked(SECRET)}"]}),
        ({"url": f"postgres://user:{SECRET}@db:5432/x"}, {"url": f"postgres://user:{masked(SECRET)}@db:5432/x"}),
        ({"header": f"X-Auth-Token: Bearer {SECRET}"}, {"header": f"X-Auth-Token: {masked('Bearer ' + SECRET)}"}),
        (
            {"x.properties": f"a=b\ndb.password={SECRET}, {SECRET}\nport=80\n"},
            {"x.properties": f"a=b\ndb.password={masked(f'{SECRET}, {SECRET}')}\nport=80\n"},
        ),
        (
            {"x.yaml": f"users:\n- name: u\n  token: {SECRET}\nport: 80\n"},
            {"x.yaml": f"users:\n- name: u\n  token: {masked(SECRET)}\nport: 80\n"},
        ),
        ({"x.yaml": f"password: |\n  {SECRET}\nport: 80\n"}, {"x.yaml": f"password: |\n  {masked(SECRET)}\nport: 80\n"}),
        ({"t": "a eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl b"}, {"t": f"a {masked('x' * 49)} b"}),
        ({"k": f"-----BEGIN EC PRIVATE KEY-----\n{SECRET}\n-----END EC PRIVATE KEY-----"}, {"k": masked("x" * (len(SECRET) + 60))}),
        ({"a.conf": f"client-key-data: {B64}\nb: c\n"}, {"a.conf": f"client-key-data: {masked(B64)}\nb: c\n"}),
        ({"jws": "eyJhbGciOiJIUzI1NiJ9..c2lnbmF0dXJl"}, {"jws": masked("x" * 34)}),
        ({"t": f"x-oauth xoxb-1234567890-{SECRET}"}, {"t": f"x-oauth {masked('x' * (16 + len(SECRET)))}"}),
        ({"t": "push ghp_0123456789abcdefghijABCDEFGHIJ012345 now"}, {"t": f"push {masked('x' * 40)} now"}),
        ({"t": f"curl -H 'Authorization: Bearer {SECRET}' x"}, {"t": f"curl -H 'Authorization: {masked('Bearer ' + SECRET)}' x"}),
        ({"t": f"curl -u admin:{SECRET} x"}, {"t": f"curl -u admin:{masked(SECRET)} x"}),
        ({"t": f"user=a pwd={SECRET}"}, {"t": f"user=a pwd={masked(SECRET)}"}),
        ({"config": {"auth": "dTpodW50ZXIy"}}, {"config": {"auth": masked("dTpodW50ZXIy")}}),
        ({"nested": {"stringData": {"a": SECRET}}}, {"nested": {"stringData": {"a": masked(SECRET)}}}),
        ({"nested": {"type": "Opaque", "data": {"a": B64}}}, {"nested": {"type": "Opaque", "data": {"a": masked(B64)}}}),
        ({"t": f"<db><password>{SECRET}</password></db>"}, {"t": f"<db><password>{masked(SECRET)}</password></db>"}),
        (
            {"t": f"<name>db.password</name> <value>{SECRET}</value>"},
            {"t": f"<name>db.password</name> <value>{masked(SECRET)}</value>"},
        ),
        ({"t": f"ALTER USER a PASSWORD '{SECRET}'"}, {"t": f"ALTER USER a PASSWORD {masked(SECRET)}"}),
        ({"t": f"port 1\nrequirepass {SECRET}\n"}, {"t": f"port 1\nrequirepass {masked(SECRET)}\n"}),
        (
            {"t": f"kubectl create secret generic a --from-literal=b={SECRET}"},
            {"t": f"kubectl create secret generic a --from-literal=b={masked(SECRET)}"},
        ),
        ({"t": f"redis-cli -h db -a {SECRET} ping"}, {"t": f"redis-cli -h db -a {masked(SECRET)} ping"}),
        ({"t": f"db:5432:shop:cart:{SECRET}"}, {"t": f"db:5432:shop:cart:{masked(SECRET)}"}),
        ({"t": "admin:$2y$05$abcdefghijklmnopqrstuv"}, {"t": f"admin:{masked('x' * 29)}"}),
        ({"t": "https://discord.com/api/webhooks/1/abc_DEF"}, {"t": masked("x" * 42)}),
        ({"fernet_key": SECRET, "password_hash": SECRET}, {"fernet_key": masked(SECRET), "password_hash": masked(SECRET)}),
        ({"aws": "AKIAIOSFODNN7EXAMPLE"}, {"aws": masked("x" * 20)}),
        ({"message": f"login failed with password {SECRET}"}, {"message": f"login failed with password {masked(SECRET)}"}),
    ],
)
def test_credentials_in_ordinary_content_are_masked(before, after):
    assert body(MAPS, {"data": before}) == {"data": after}
    again = body(PODS, {"metadata": {"x": before}})
    assert again == {"metadata": {"x": after}}


def test_a_registrys_login_in_a_docker_configuration_is_masked():
    before = {"data": {"config.json": json.dumps({"auths": {"r.example.com": {"auth": "dTpodW50ZXIy", "email": "a@example.com"}}})}}
    assert json.loads(body(MAPS, before)["data"]["config.json"]) == {
        "auths": {"r.example.com": {"auth": masked("dTpodW50ZXIy"), "email": "a@example.com"}}
    }


def test_a_printer_column_that_shows_a_credential_is_masked():
    where = {"requestURI": "/apis/example.com/v1/things", "objectRef": {"resource": "things", "apiGroup": "example.com"}}
    columns = [{"name": "Name"}, {"name": "Admin Password"}]
    table = {"kind": "Table", "columnDefinitions": columns, "rows": [{"cells": ["a", SECRET]}, {"cells": ["b", None]}]}
    assert body(where, table) == table | {"rows": [{"cells": ["a", masked(SECRET)]}, {"cells": ["b", None]}]}


def test_a_patch_of_stringdata_within_another_object_loses_its_value():
    where = {"requestURI": "/apis/example.com/v1/works/a", "objectRef": {"resource": "works", "apiGroup": "example.com"}}
    patch = [{"op": "add", "path": "/spec/manifests/0/stringData/a", "value": SECRET}]
    assert body(where, patch) == [patch[0] | {"value": masked(SECRET)}]


SURVIVORS = {
    "secretName": "db",
    "tokenizer": "bpe-3",
    "password_policy": "strict-12",
    "keyboard": "de",
    "LOG_LEVEL": "debug",
    "color": "blue-7f3a9c51",
    "tokenExpirationSeconds": 3600,
    "maxTokens": 4096,
    "automountServiceAccountToken": False,
    "passwordRequired": True,
    "secretRef": {"name": "db"},
    "tokenSecretRef": {"name": "db", "key": "password"},
    "image": "registry.example.com/shop/cart-7f3a9c51:1.0",
    "digest": "sha256:" + "ab" * 32,
    "topologyKey": "kubernetes.io/hostname",
    "uid": "0a6d1c1e-8f0b-4a3c-9d58-2b1f3a7f9d10",
    "schedule": "*/5 * * * *",
    "path": "/var/run/secrets/kubernetes.io/serviceaccount/token",
    "token": "$(TOKEN)",
    "apiKey": "",
    "args": ["--verbose", "--token-file=/etc/token", "--port=8080", "-v=2"],
    "command": ["sh", "-c", "echo hello world"],
    "url": "https://db.example.com:8443/path@v2?a=b",
    "env": [
        {"name": "FEATURE_FLAG", "value": "on-7f3a9c51e2d8"},
        {"name": "DB_PASSWORD", "valueFrom": {"secretKeyRef": {"name": "db", "key": "password"}}},
    ],
    "ref": {"kind": "Secret", "name": "db", "namespace": "shop", "uid": "u"},
    "kinds": ["Secret", "ConfigMap"],
    "resources": ["secrets", "serviceaccounts/token"],
    "text": "the secret was rotated and the token is valid",
    "cert": "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
    "base64": "aGVsbG8gd29ybGQsIHRoaXMgaXMgZmluZQ==",
    "json": '{"mode": "x", "level": 1.50}',
    "yaml": "kind: ConfigMap\ndata:\n  a: b\n",
    "version": 1.10,
    "big": 12345678901234567890,
    "message": 'secret "db" not found',
    "x": "key: value",
    "values.yaml": "imagePullSecrets:\n- name: regcred\nexistingSecret: db\nvolumes:\n- secret:\n    secretName: db\n",
    "env.yaml": "- name: DB_PASSWORD\n  valueFrom:\n    secretKeyRef:\n      name: db\n      key: password\n",
    "run": "docker run -p 8080:80 -w /work redis-cli:7 -p 6379",
    "sshKey": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5 alice",
    "affinity": {"key": "token", "operator": "In", "values": ["a"]},
    "projected": {"sources": [{"serviceAccountToken": {"path": "token", "expirationSeconds": 3607}}]},
    "pullSecrets": [{"name": "regcred"}],
    "git": "git@github.com:org/repo.git",
    "mail": "contact team@example.com or call 123",
}


@pytest.mark.parametrize("key", SURVIVORS)
@pytest.mark.parametrize("where", [PODS, MAPS], ids=["pods", "configmaps"])
def test_innocent_content_survives(where, key):
    before = {"metadata": {"name": "db"}, "data": {key: SURVIVORS[key]}}
    assert body(where, before) == before


def test_an_untouched_body_is_copied_byte_for_byte():
    raw = b'{ "kind":"Pod", "spec":{"n":1.10,"big":123456789012345678901,"e":1E5,"html":"\\u003ca\\u003e"} }'
    event = Event(requestURI=PODS["requestURI"], requestObject=raw)  # type: ignore[arg-type]
    redact_secrets(event)
    assert bytes(event.requestObject) == raw


def test_numbers_keep_their_spelling_through_a_search():
    raw = b'{"password":"x1","n":1.10,"big":123456789012345678901,"e":1E5,"neg":-0.0}'
    event = Event(requestURI=PODS["requestURI"], requestObject=raw)  # type: ignore[arg-type]
    redact_secrets(event)
    assert bytes(event.requestObject) == raw.replace(b'"x1"', b'"<redacted: 2 bytes>"')


@pytest.mark.parametrize(
    ("message", "after"),
    [
        (
            f'Gadget "a" is invalid: spec.pin: Invalid value: "{SECRET}": must be short',
            f'Gadget "a" is invalid: spec.pin: Invalid value: "{masked(SECRET)}": must be short',
        ),
        (
            f'spec.mode: Unsupported value: "{SECRET}": supported values: "a", "b"',
            f'spec.mode: Unsupported value: "{masked(SECRET)}": supported values: "a", "b"',
        ),
        ("invalid character 'c' (636e72792d61 6e206e6f ...)", f"invalid character 'c' ({masked('(636e72792d61 6e206e6f ...)')})"),
        ('pods "web-7f3a9c51e2" not found', 'pods "web-7f3a9c51e2" not found'),
        (
            'pods is forbidden: User "bob" cannot list resource "pods" in API group ""',
            'pods is forbidden: User "bob" cannot list resource "pods" in API group ""',
        ),
        (
            f'admission webhook "x" denied the request: refused value: {SECRET}',
            f'admission webhook "x" denied the request: refused value: {masked(SECRET)}',
        ),
        (f'forbidden: User "a" cannot get path "/login/{SECRET}"', 'forbidden: User "a" cannot get path "/login/REDACTED"'),
        (
            f'userextras.authentication.k8s.io "{SECRET}" is forbidden: x',
            f'userextras.authentication.k8s.io "{masked(SECRET)}" is forbidden: x',
        ),
    ],
)
def test_messages_keep_what_failed_and_lose_what_they_quote(message, after):
    assert json.loads(bytes(redacted(PODS, responseStatus=failure(message)).responseStatus))["message"] == after


def test_the_printed_object_of_a_failed_patch_is_cut_from_the_message():
    shown = f'{{"data":{{"api_key":"{SECRET}"}}}}'
    message = json.loads(
        redacted(MAPS, responseStatus=failure(f"patch: Invalid value: {json.dumps(shown)}: cannot unmarshal")).responseStatus
    )["message"]
    assert message.startswith("patch: Invalid value: <redacted: ")
    message = json.loads(redacted(PODS, responseStatus=failure(f"patch: Invalid value: map[spec:map[a:{SECRET}]]")).responseStatus)[
        "message"
    ]
    assert SECRET not in message


def test_users_keep_names_and_known_extras():
    user = {
        "username": "alice",
        "uid": "u1",
        "groups": ["dev"],
        "extra": {
            "authentication.kubernetes.io/credential-id": ["JTI=1"],
            "arn": ["arn:aws:iam::1:role/x"],
            "team": ["a"],
            "iam.example.com/user-assertion": [SECRET],
            "other": [SECRET * 3],
        },
    }
    event = redacted(PODS, user=user, impersonatedUser=user)
    kept = user | {"extra": user["extra"] | {"iam.example.com/user-assertion": [masked(SECRET)], "other": [masked(SECRET * 3)]}}
    assert json.loads(event.user) == json.loads(event.impersonatedUser) == kept


def test_audit_annotations_about_a_secret_stay_only_if_the_server_wrote_them():
    before = {
        "authorization.k8s.io/decision": "allow",
        "authorization.k8s.io/reason": "RBAC: allowed",
        "policy/value": SECRET,
        "patch.webhook.admission.k8s.io/round_0_index_0": SECRET,
        "mutation.webhook.admission.k8s.io/round_0_index_0": '{"mutated":true}',
    }
    after = before | {"policy/value": masked(SECRET), "patch.webhook.admission.k8s.io/round_0_index_0": masked(SECRET)}
    assert json.loads(redacted(SECRETS, annotations=before).annotations) == after


def test_a_webhooks_patch_of_an_ordinary_object_keeps_op_and_path():
    patch = {
        "webhook": "x",
        "patch": [
            {"op": "add", "path": "/spec/containers/0/env/-", "value": {"name": "VAULT_TOKEN", "value": SECRET}},
            {"op": "add", "path": "/metadata/labels/a", "value": "b"},
        ],
    }
    event = redacted(PODS, annotations={"patch.webhook.admission.k8s.io/round_0_index_0": json.dumps(patch)})
    patch["patch"][0]["value"]["value"] = masked(SECRET)
    assert json.loads(json.loads(event.annotations)["patch.webhook.admission.k8s.io/round_0_index_0"]) == patch


def test_unknown_fields_are_searched_and_about_a_secret_masked():
    event = decoded(PODS)
    event.unknown = {"/metadata": b'{"token":"' + SECRET.encode() + b'"}', "/bad": b"{"}  # type: ignore[assignment]
    redact_secrets(event)
    assert event.unknown == {"/metadata": b'{"token":"<redacted: 14 bytes>"}', "/bad": b'"<redacted: 1 bytes>"'}
    event = decoded(SECRETS)
    event.unknown = {"/metadata": b'{"a":1}', "/n": b"null"}  # type: ignore[assignment]
    redact_secrets(event)
    assert event.unknown == {"/metadata": b'"<redacted: 7 bytes>"', "/n": b"null"}


def test_a_body_that_does_not_parse_goes_and_the_event_says_so():
    for where in (SECRETS, MAPS):
        event = decoded(where)
        event.requestObject = b'{"data":{"password":"' + SECRET.encode()  # type: ignore[assignment]
        redact_secrets(event)
        assert bytes(event.requestObject) == b""
        assert event.flags == ["BODY_WITHHELD"]
        assert event.reductions == [("unreadable", "/requestObject", 1, 35)]


def test_a_body_nested_too_deeply_goes():
    deep = b'{"a":' * 500 + b'{"password":"' + SECRET.encode() + b'"}' + b"}" * 500
    for where in (MAPS, PODS, SECRETS):
        event = decoded(where)
        event.requestObject = deep  # type: ignore[assignment]
        redact_secrets(event)
        assert SECRET.encode() not in bytes(event.requestObject)


def test_an_exception_within_withholds_the_content_and_keeps_the_account(monkeypatch):
    def boom(*_: object) -> None:
        raise KeyError(SECRET)

    monkeypatch.setattr(redaction, "examine", boom)
    event = decoded(
        an_event(
            requestURI=f"/api/v1/pods?a={SECRET}",
            userAgent=SECRET,
            requestObject={"a": SECRET},
            annotations={"a": SECRET},
            responseStatus=failure(SECRET),
            user={"username": "alice", "extra": {"a": [SECRET]}},
        )
    )
    Redactor().redact(event)
    assert event.flags == ["CONTENT_WITHHELD"]
    assert event.requestURI == "/api/v1/pods?REDACTED"
    assert json.loads(event.user) == {"username": "alice"}
    assert json.loads(event.responseStatus) == {"metadata": {}, "code": 422}
    assert bytes(event.requestObject) == bytes(event.responseObject) == bytes(event.annotations) == b""
    assert (event.verb, event.stage, event.auditID) == ("update", "ResponseComplete", an_event()["auditID"])
    assert SECRET not in repr(event)


def test_bulk_goes_only_on_request():
    node = {
        "kind": "Node",
        "status": {
            "nodeInfo": {},
            "images": [{"names": ["a"]}],
            "conditions": [{"type": "Ready", "lastHeartbeatTime": "2026-11-23T05:19:24Z"}],
        },
    }
    where = {"requestURI": "/api/v1/nodes/a/status", "objectRef": {"resource": "nodes", "subresource": "status"}}
    assert body(where, node) == node
    event = redacted(where, Redactor(strip_bulk=True), requestObject=node)
    assert json.loads(event.requestObject) == {"kind": "Node", "status": {"nodeInfo": {}, "conditions": [{"type": "Ready"}]}}
    assert [(kind, path, count) for kind, path, count, _ in event.reductions] == [("bulk", "/requestObject", 2)]


def test_the_self_test_passes_and_can_fail(monkeypatch):
    assert self_test(Redactor()) == []

    class Blind(Redactor):
        def redact(self, event: Event) -> None:
            pass

    assert len(self_test(Blind())) >= 40
    monkeypatch.setattr(redaction.skeleton, "cut", lambda value, *_: value)
    assert "secret data" in self_test(Redactor())


def test_a_redactor_travels_to_workers_without_its_caches():
    redactor = Redactor()
    redactor.redact(decoded(an_event()))
    copy = pickle.loads(pickle.dumps(redactor))  # noqa: S301 - our own
    assert copy.__dict__["_uris"] == {}
    assert self_test(copy) == []


@pytest.mark.parametrize(("field", "known"), [("objectRef", PODS["objectRef"]), ("user", {"username": "alice", "groups": ["a"]})])
@pytest.mark.parametrize("value", ["hunter2hunter2", {"a": "hunter2hunter2"}])
def test_what_kubernetes_does_not_have_in_a_user_or_a_reference_is_judged_like_the_rest(field: str, known: dict, value: object):
    odd = {**known, "password": value} if isinstance(value, str) else {**known, "odd": {"password": value["a"]}}
    event = redacted(PODS, **{field: odd})
    assert b"hunter2" not in bytes(getattr(event, field))
    assert json.loads(bytes(getattr(event, field))).items() >= known.items()


def test_of_an_event_that_is_withheld_nothing_unknown_stays():
    deep: object = "hunter2hunter2"
    for _ in range(300):
        deep = {"a": deep}
    event = redacted({**PODS, "objectRef": {**PODS["objectRef"], "uid": 7}}, user={"username": "alice", "groups": ["a"], "odd": deep})
    assert event.flags == ["CONTENT_WITHHELD"]
    assert json.loads(bytes(event.user)) == {"username": "alice", "groups": ["a"]}
    assert json.loads(bytes(event.objectRef)) == PODS["objectRef"]
