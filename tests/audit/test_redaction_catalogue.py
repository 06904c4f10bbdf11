from __future__ import annotations

import json

import msgspec
import pytest

from transforms.audit.catalogue import Catalogue, CatalogueError, load_catalogue
from transforms.audit.event import Event
from transforms.audit.redaction import Redactor

DECODER = msgspec.json.Decoder(Event)


def apply(before: object, group: str, resource: str, redactor: Redactor | None = None, part: str = "requestObject") -> object:
    event = DECODER.decode(
        json.dumps(
            {
                "requestURI": f"/apis/{group}/v1/namespaces/a/{resource}/b",
                "objectRef": {"resource": resource, "apiGroup": group},
                part: before,
            }
        )
    )
    (redactor or Redactor()).redact(event)
    return json.loads(bytes(getattr(event, part)))


def masked(length: int) -> str:
    return f"<redacted: {length} bytes>"


@pytest.mark.parametrize(
    ("group", "resource", "before", "after"),
    [
        (
            "route.openshift.io",
            "routes",
            {"spec": {"tls": {"key": "k", "certificate": "c"}}},
            {"spec": {"tls": {"key": masked(1), "certificate": "c"}}},
        ),
        (
            "cert-manager.io",
            "certificates",
            {"spec": {"secretName": "a", "keystores": {"jks": {"password": "x"}}}},
            {"spec": {"secretName": "a", "keystores": {"jks": {"password": masked(1)}}}},
        ),
        (
            "argoproj.io",
            "applications",
            {
                "spec": {
                    "source": {
                        "helm": {
                            "parameters": [{"name": "db.password", "value": "x"}, {"name": "image.tag", "value": "1.0"}],
                            "values": "db:\n  password: x\nreplicas: 2\n",
                        }
                    }
                }
            },
            {
                "spec": {
                    "source": {
                        "helm": {
                            "parameters": [{"name": "db.password", "value": masked(1)}, {"name": "image.tag", "value": "1.0"}],
                            "values": f"db:\n  password: {masked(1)}\nreplicas: 2\n",
                        }
                    }
                }
            },
        ),
        (
            "helm.toolkit.fluxcd.io",
            "helmreleases",
            {"spec": {"values": {"auth": {"rootPassword": "x"}, "replicas": 2}}},
            {"spec": {"values": {"auth": {"rootPassword": masked(1)}, "replicas": 2}}},
        ),
        (
            "external-secrets.io",
            "secretstores",
            {"spec": {"provider": {"fake": {"data": [{"key": "/a", "value": "x", "version": "v1"}]}}}},
            {"spec": {"provider": {"fake": {"data": [{"key": "/a", "value": masked(1), "version": "v1"}]}}}},
        ),
        (
            "external-secrets.io",
            "externalsecrets",
            {
                "spec": {
                    "data": [{"secretKey": "password", "remoteRef": {"key": "prod/db"}}],
                    "target": {"template": {"data": {"url": "x"}}},
                }
            },
            {
                "spec": {
                    "data": [{"secretKey": "password", "remoteRef": {"key": "prod/db"}}],
                    "target": {"template": {"data": {"url": masked(1)}}},
                }
            },
        ),
        (
            "bitnami.com",
            "sealedsecrets",
            {"spec": {"encryptedData": {"password": "AgBycipher"}, "template": {"data": {"a": "x"}}}},
            {"spec": {"encryptedData": {"password": "AgBycipher"}, "template": {"data": {"a": masked(1)}}}},
        ),
        (
            "kubernetes.crossplane.io",
            "objects",
            {"spec": {"forProvider": {"manifest": {"kind": "Secret", "data": {"a": "eA=="}}}}},
            {"spec": {"forProvider": {"manifest": {"kind": "Secret", "data": {"a": masked(4)}}}}},
        ),
        (
            "tekton.dev",
            "pipelineruns",
            {"spec": {"params": [{"name": "git-token", "value": "x"}, {"name": "branch", "value": "main"}]}},
            {"spec": {"params": [{"name": "git-token", "value": masked(1)}, {"name": "branch", "value": "main"}]}},
        ),
        (
            "kafka.strimzi.io",
            "kafkausers",
            {"spec": {"authentication": {"password": {"value": "x"}}}, "status": {"secret": "my-user"}},
            {"spec": {"authentication": {"password": {"value": masked(1)}}}, "status": {"secret": "my-user"}},
        ),
    ],
)
def test_what_ships_covers(group, resource, before, after):
    assert apply(before, group, resource) == after
    kind = {"kind": "List", "items": [before]}
    assert apply(kind, group, resource)["items"] == [after]


def test_a_rule_applies_to_a_json_patch_at_its_path_and_to_the_kind_inside_a_list():
    rules = load_catalogue(
        b'rules: [{group: x.io, resource: things, kind: Thing, fields: {spec.inner.code: mask, spec.gone: remove, "spec.\\"a.b\\"": mask}}]'
    )
    redactor = Redactor(rules=rules)
    patch = [
        {"op": "add", "path": "/spec/inner/code", "value": "abc"},
        {"op": "add", "path": "/spec", "value": {"inner": {"code": 5, "b": "c"}, "a.b": ["x"]}},
    ]
    assert apply(patch, "x.io", "things", redactor) == [
        {"op": "add", "path": "/spec/inner/code", "value": masked(3)},
        {"op": "add", "path": "/spec", "value": {"inner": {"code": masked(1), "b": "c"}, "a.b": [masked(1)]}},
    ]
    embedded = {"manifests": [{"apiVersion": "x.io/v2", "kind": "Thing", "spec": {"inner": {"code": "abc"}, "gone": 1}}]}
    assert apply(embedded, "y.io", "works", redactor) == {
        "manifests": [{"apiVersion": "x.io/v2", "kind": "Thing", "spec": {"inner": {"code": masked(3)}}}]
    }


def test_equal_values_hash_equally_under_one_key_and_not_at_all_without():
    rules = load_catalogue(b"rules: [{group: x.io, resource: things, fields: {spec.code: hash}}]")
    assert rules.needs_key
    first = apply({"spec": {"code": "abc"}}, "x.io", "things", Redactor(rules=rules, hash_key=b"one"))
    assert first == apply({"spec": {"code": "abc"}}, "x.io", "things", Redactor(rules=rules, hash_key=b"one"))
    assert first["spec"]["code"].startswith("hash:")
    assert first != apply({"spec": {"code": "abc"}}, "x.io", "things", Redactor(rules=rules, hash_key=b"two"))
    assert apply(first, "x.io", "things", Redactor(rules=rules, hash_key=b"one")) == first
    assert apply({"spec": {"code": "abc"}}, "x.io", "things", Redactor(rules=rules)) == {"spec": {"code": masked(3)}}


def test_rules_add_protection_to_what_ships_and_cannot_take_it():
    rules = load_catalogue(b"rules: [{group: route.openshift.io, resource: routes, fields: {spec.host: mask}}]")
    assert apply({"spec": {"host": "h", "tls": {"key": "k"}}}, "route.openshift.io", "routes", Redactor(rules=rules)) == {
        "spec": {"host": masked(1), "tls": {"key": masked(1)}}
    }
    with pytest.raises(CatalogueError) as refused:
        load_catalogue(b"rules: [{group: '', resource: secrets, fields: {data: keep}}]")
    assert refused.value.problems == ["rules[0].fields.data: rules can add protection, not remove it; `keep` is not accepted here"]


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        (b"[]", ["must be a mapping with the one key `rules`, a list"]),
        (b"rules: 5", ["must be a mapping with the one key `rules`, a list"]),
        (b"rules: {", ["not YAML, line 2"]),
        (
            b"rules: [{resource: a, fields: {b: erase}, feilds: 1}]",
            [
                "rules[0].feilds: unknown field; known are group, resource, kind, fields",
                "rules[0].fields.b: unknown action 'erase'; known are remove, mask, hash, keep",
            ],
        ),
        (
            b"rules: [5, {fields: {a: mask}}, {resource: a}]",
            [
                "rules[0]: must be a mapping",
                "rules[1]: needs resource or kind",
                "rules[2].fields: must be a mapping of field paths to actions, and not empty",
            ],
        ),
        (
            b"rules: [{resource: a, fields: {a..b: mask, 'x\"': mask}}]",
            [
                "rules[0].fields.a..b: a path is field names joined by dots (quote a name that holds dots)",
                'rules[0].fields.x": a path is field names joined by dots (quote a name that holds dots)',
            ],
        ),
        (b"a: &a [1]\nrules: [*a]", ["YAML aliases are not accepted"]),
        (b"#" * (1 << 20) + b"##", ["larger than 1048576 bytes"]),
    ],
)
def test_every_problem_of_a_catalogue_is_listed_at_once(text, problems):
    with pytest.raises(CatalogueError) as refused:
        load_catalogue(text)
    assert refused.value.problems == problems


def test_the_catalogue_is_plain_data():
    assert isinstance(load_catalogue(b"rules: []"), Catalogue)
