"""Secrets that hide in other objects: in text, in what generates or patches them, and in forms that give a value away."""

from __future__ import annotations

import base64
import json

import pytest

from transforms.audit.event import Event
from transforms.audit.redaction import Redactor

SECRET = "s3cr3t-hunter2"
B64 = base64.b64encode(SECRET.encode()).decode()
MANIFEST = f"kind: Secret\nstringData:\n  a: {SECRET}\n"


def body(before: object, uri: str = "/apis/example.com/v1/namespaces/shop/widgets/a") -> object:
    event = Event(requestURI=uri, requestObject=json.dumps(before).encode())  # type: ignore[arg-type]
    Redactor().redact(event)
    assert event.flags is None
    after = bytes(event.requestObject)
    Redactor().redact(event)
    assert bytes(event.requestObject) == after
    return json.loads(after)


def masked(value: str) -> str:
    return f"<redacted: {len(value.encode())} bytes>"


@pytest.mark.parametrize(
    "manifest",
    [
        MANIFEST,
        f"kind: !!str Secret\ndata:\n  a: {B64}\n",
        f"kind: >-\n  Secret\ndata:\n  a: {B64}\n",
        f"kind:\tSecret\ndata:\n  a: {B64}\n",
        f"metadata:\n  name: a\ntype: kubernetes.io/tls\ndata:\n  tls.key: {B64}\n",
        f"secretGenerator:\n- name: a\n  literals:\n  - alpha={SECRET}\n",
        f'resource "kubernetes_secret" "a" {{\n  data = {{\n    alpha = "{SECRET}"\n  }}\n}}\n',
        f"- op: add\n  path: /stringData/alpha\n  value: {SECRET}\n",
        'failed: {"@type": "type.googleapis.com/k8s.io.api.core.v1.Secret", "data": {"a": "' + B64 + '"}}',
    ],
)
@pytest.mark.parametrize("uri", ["/api/v1/namespaces/shop/configmaps/a", "/api/v1/namespaces/shop/pods/a", "/apis/x.io/v1/widgets/a"])
def test_the_text_of_a_secret_is_masked_and_its_neighbours_stay(manifest: str, uri: str):
    before = {"data": {"a": manifest, "b": "ordinary", "c": f"kind: ConfigMap\ndata:\n  a: b\n---\n{manifest}"}}
    after = {"a": masked(manifest), "b": "ordinary", "c": f"kind: ConfigMap\ndata:\n  a: b\n---\n{masked(manifest)}"}
    assert body(before, uri) == {"data": after}


@pytest.mark.parametrize(
    "innocent",
    [
        "kind: ConfigMap\ndata:\n  a: b\n",
        "kind: SecretStore\ndata:\n  a: b\n",
        "involvedObject:\n  kind: Secret\n  name: db\n",
        'data "kubernetes_secret" {}',
        "secretGenerator:\n- name: a\n  files:\n  - tls.crt\n",
        "rules:\n- paths: [/stringData/a]\n",
        "type: Opaque\nname: a\n",
    ],
)
def test_text_that_only_speaks_of_secrets_stays(innocent: str):
    assert body({"data": {"a": innocent}}, "/api/v1/namespaces/shop/configmaps/a") == {"data": {"a": innocent}}


def test_a_manifest_in_markup_is_masked():
    encoded = json.dumps({"kind": "Secret", "stringData": {"a": SECRET}}).replace('"', "&quot;")
    assert body({"spec": {"a": encoded, "b": "&quot;blue&quot;"}}) == {"spec": {"a": masked(encoded), "b": "&quot;blue&quot;"}}


def test_a_manifest_in_hex_amid_words_is_masked_and_a_digest_is_not():
    encoded = MANIFEST.encode().hex()
    before = {"message": f"cannot apply {encoded} of sha256 {'ab' * 32}"}
    assert body(before) == {"message": f"cannot apply {masked(encoded)} of sha256 {'ab' * 32}"}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"password": {"value": SECRET, "valueFrom": {"name": "a"}}}, {"password": {"value": masked(SECRET), "valueFrom": {"name": "a"}}}),
        ({"token": {"inline": SECRET}}, {"token": {"inline": masked(SECRET)}}),
        ({"password": {"type": "string", "default": SECRET}}, {"password": {"type": "string", "default": masked(SECRET)}}),
        ({"name": "token", "default": SECRET}, {"name": "token", "default": masked(SECRET)}),
        ({"secret": {"name": "a", "data": {"alpha": B64}}}, {"secret": {"name": "a", "data": {"alpha": masked(B64)}}}),
        ({"secret": {"secretName": "a", "items": []}}, {"secret": {"secretName": "a", "items": []}}),
        ({"secureJsonData": {"httpHeaderValue1": SECRET}}, {"secureJsonData": {"httpHeaderValue1": masked(SECRET)}}),
        ({"type": "password", "value": SECRET}, {"type": "password", "value": masked(SECRET)}),
        ({"name": "region", "sensitive": True, "value": SECRET}, {"name": "region", "sensitive": True, "value": masked(SECRET)}),
        ({"kty": "oct", "kid": "a", "k": SECRET}, {"kty": "oct", "kid": "a", "k": masked(SECRET)}),
        ({"secretGenerator": [{"name": "a", "literals": ["b=c"]}]}, {"secretGenerator": [{"name": "a", "literals": [masked("b=c")]}]}),
        (
            {"patches": [{"target": {"kind": "Secret"}, "patch": f"data: {B64}"}, {"target": {"kind": "Pod"}, "patch": "data: a"}]},
            {"patches": [{"target": {"kind": "Secret"}, "patch": masked(f"data: {B64}")}, {"target": {"kind": "Pod"}, "patch": "data: a"}]},
        ),
        (
            {"request": {"kind": {"group": "", "version": "v1", "kind": "Secret"}, "oldObject": {"data": {"a": B64}}}},
            {"request": {"kind": {"group": "", "version": "v1", "kind": "Secret"}, "oldObject": {"data": {"a": masked(B64)}}}},
        ),
    ],
)
def test_a_value_that_its_form_gives_away_is_masked(before: object, after: object):
    assert body({"spec": {"a": [before]}}) == {"spec": {"a": [after]}}


def test_the_rules_of_a_resource_reach_the_objects_in_rows_of_a_table():
    table = {
        "kind": "Table",
        "columnDefinitions": [{"name": "Name"}],
        "rows": [{"cells": ["a"], "object": {"spec": {"data": {"x": SECRET}}}}],
    }
    uri = "/apis/generators.external-secrets.io/v1alpha1/namespaces/shop/fakes"
    assert body(table, uri) == table | {"rows": [{"cells": ["a"], "object": {"spec": {"data": {"x": masked(SECRET)}}}}]}


@pytest.mark.parametrize("at", ["spec", "operation.sync", "status.history", "status.sync.comparedTo", "status.operationState.syncResult"])
def test_an_argo_cd_plugins_values_are_masked_wherever_its_source_is_repeated(at: str):
    def application(value: str) -> dict:
        held: dict = {"source": {"plugin": {"env": [{"name": "X", "value": value}], "parameters": [{"name": "p", "string": value}]}}}
        for name in reversed(at.split(".")):
            held = {name: held}
        return {"kind": "Application", "apiVersion": "argoproj.io/v1alpha1"} | held

    assert body(application(SECRET), "/apis/argoproj.io/v1alpha1/namespaces/a/applications/b") == application(masked(SECRET))
