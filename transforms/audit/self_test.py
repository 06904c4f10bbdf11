"""Plant canaries on every path by which a secret reaches an event, through the code and rules as configured, and see that none survives."""

from __future__ import annotations

import base64
import gzip
import json
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import msgspec

from transforms.audit.event import Event, text
from transforms.audit.managed_fields import strip_managed_fields

if TYPE_CHECKING:
    from transforms.audit.redaction import Redactor

CANARY: Final = "canary-7f3a9c51e2d8"
_ENCODED: Final = base64.b64encode(CANARY.encode()).decode()
_SECRETS: Final = "/api/v1/namespaces/shop/secrets"
_PODS: Final = "/api/v1/namespaces/shop/pods"
_APPLIED: Final = "kubectl.kubernetes.io/last-applied-configuration"
_decoder: Final = msgspec.json.Decoder(Event)


def self_test(redactor: Redactor) -> list[str]:
    """The names of the paths on which a canary survived; empty if redaction holds. Takes some ten milliseconds."""
    survivors = []
    for name, fields in _paths().items():
        event = _decoder.decode(json.dumps({"level": "RequestResponse", "stage": "ResponseComplete", "verb": "create"} | fields))
        strip_managed_fields(event)
        redactor.redact(event)
        flags: Any = event.flags
        if _survives(event):
            survivors.append(name)
        elif flags is not None and "CONTENT_WITHHELD" in flags:
            survivors.append(f"{name} (could not be judged)")
    return survivors


def _survives(event: Event) -> bool:
    held = json.dumps(
        [
            event.unknown and {key: raw.decode() for key, raw in event.unknown.items()},
            event.reductions,
            event.flags,
            text(event.requestURI),
            text(event.userAgent),
        ]
    ).encode()
    for name in ("user", "impersonatedUser", "objectRef", "responseStatus", "requestObject", "responseObject", "annotations"):
        held += bytes(getattr(event, name))
    whole = base64.b64encode(CANARY.encode())[:-4]
    shifted = (base64.b64encode(b"x" + CANARY.encode())[2:-4], base64.b64encode(b"xy" + CANARY.encode())[3:-4])
    return any(form in held for form in (CANARY.encode(), CANARY.encode().hex().encode(), whole, *shifted))


def _paths() -> dict[str, dict[str, Any]]:
    return _secrets() | _tokens() | _heads() | _others()


def _secret(**more: Any) -> dict[str, Any]:
    return {"kind": "Secret", "apiVersion": "v1", "metadata": {"name": "db"}, "data": {"password": _ENCODED}} | more


def _about(uri: str, resource: str, **more: Any) -> dict[str, Any]:
    return {
        "requestURI": uri,
        "objectRef": {"resource": resource, "namespace": "shop", "name": "db", "apiVersion": "v1"},
        "responseStatus": {"metadata": {}, "code": 200},
    } | more


def _secrets() -> dict[str, dict[str, Any]]:
    """S1 to S13: Secret objects in every shape of body, and what the server says about them."""
    applied = json.dumps(_secret(stringData={"a": CANARY}))
    patched = f'Secret "db" is invalid: patch: Invalid value: "{{\\"data\\":{{\\"password\\":\\"{_ENCODED}\\"}}}}"'
    status = {
        "kind": "Status",
        "status": "Failure",
        "message": patched,
        "reason": "Invalid",
        "details": {"causes": [{"reason": "FieldValueInvalid", "message": patched, "field": CANARY}]},
        "code": 422,
    }
    one = f"{_SECRETS}/db"
    return {
        "secret data": _about(one, "secrets", requestObject=_secret(), responseObject=_secret()),
        "secret stringData": _about(one, "secrets", requestObject=_secret(stringData={"a": CANARY})),
        "secret annotation": _about(
            one, "secrets", responseObject=_secret(metadata={"name": "db", "annotations": {_APPLIED: applied, "a": CANARY}})
        ),
        "secret list": _about(
            _SECRETS,
            "secrets",
            verb="list",
            responseObject={"kind": "SecretList", "apiVersion": "v1", "items": [{"metadata": {}, "data": {"a": _ENCODED}}]},
        ),
        "secret table": _about(_SECRETS, "secrets", responseObject={"kind": "Table", "rows": [{"cells": [CANARY], "object": _secret()}]}),
        "secret json patch": _about(
            one,
            "secrets",
            verb="patch",
            requestObject=[{"op": "add", "path": "/data/a", "value": _ENCODED}, {"op": "test", "path": "", "value": _secret()}],
        ),
        "secret merge patch": _about(one, "secrets", verb="patch", requestObject={"data": {"a": _ENCODED}, "Data": {"a": CANARY}}),
        "secret scalar patch": _about(one, "secrets", verb="patch", requestObject=CANARY),
        "secret unknown field": _about(one, "secrets", verb="patch", requestObject={"dta": {"a": CANARY}, CANARY: 1}),
        "secret label": _about(one, "secrets", responseObject=_secret(metadata={"labels": {"l": _ENCODED.rstrip("=")}})),
        "secret message": _about(one, "secrets", verb="patch", responseStatus=status, responseObject=status),
        "secret by uri only": {"requestURI": one, "requestObject": {"data": {"a": _ENCODED}}},
        "secret by reference only": {"requestURI": "/x", "objectRef": {"resource": "secrets"}, "requestObject": {"data": {"a": _ENCODED}}},
        "secret by odd path": {"requestURI": "//api//v1/namespaces/shop/secrets%00", "requestObject": {"data": {"a": _ENCODED}}},
        "secret name": _about(_SECRETS, "secrets", objectRef={"resource": "secrets", "name": CANARY.upper() + CANARY}),
        "secret audit annotation": _about(one, "secrets", annotations={"policy/leak": CANARY}),
        "nothing to tell by": {"requestObject": {"a": CANARY}, "responseObject": {"a": CANARY}},
    }


def _tokens() -> dict[str, dict[str, Any]]:
    """T1 to T6: tokens, reviews, OAuth objects, users' extras."""
    review = {"kind": "TokenReview", "spec": {"token": CANARY}, "status": {"user": {"extra": {"a": [CANARY]}}}}
    extra = {"username": "alice", "extra": {"iam.example.com/user-assertion": [CANARY]}}
    return {
        "token request": _about(
            "/api/v1/namespaces/shop/serviceaccounts/db/token",
            "serviceaccounts",
            responseObject={"kind": "TokenRequest", "status": {"token": CANARY}},
        ),
        "token review": _about("/apis/authentication.k8s.io/v1/tokenreviews", "tokenreviews", requestObject=review, responseObject=review),
        "oauth token": {
            "requestURI": f"/apis/oauth.openshift.io/v1/oauthaccesstokens/{CANARY}",
            "objectRef": {"resource": "oauthaccesstokens", "name": CANARY},
            "responseObject": {"kind": "OAuthAccessToken", "metadata": {"name": CANARY}, "refreshToken": CANARY},
        },
        "user extra": _about(_PODS, "pods", user=extra, impersonatedUser=extra),
        "review extra": _about(
            "/apis/authorization.k8s.io/v1/subjectaccessreviews",
            "subjectaccessreviews",
            requestObject={"kind": "SubjectAccessReview", "apiVersion": "authorization.k8s.io/v1", "spec": {"extra": {"a": [CANARY]}}},
        ),
        "impersonation message": _about(
            _PODS, "pods", responseStatus={"message": f'userextras.authentication.k8s.io "{CANARY}" is forbidden', "code": 403}
        ),
    }


def _heads() -> dict[str, dict[str, Any]]:
    """Request URIs and other strings that every level records."""
    script = quote(f"export PASSWORD={CANARY}")
    return {
        "exec argument": _about(f"{_PODS}/db/exec?command=sh&command=-c&command={script}", "pods"),
        "access token": _about(f"{_PODS}?access_token={CANARY}&password={CANARY}", "pods"),
        "proxied path": _about(f"/api/v1/namespaces/shop/services/vault/proxy/v1/secret/{CANARY}?sig={CANARY}", "services"),
        "unknown path": {"requestURI": f"/login/{CANARY}?a={CANARY}"},
        "label selector": _about(f"{_PODS}?labelSelector={quote('token=' + CANARY)}", "pods"),
        "user agent": _about(_PODS, "pods", userAgent=f"curl/8 (token={CANARY})"),
        "unrecognised body in hex": _about(
            _PODS, "pods", responseStatus={"message": f"invalid character 'c' ({CANARY.encode().hex()})", "code": 400}
        ),
        "quoted value": _about(_PODS, "pods", responseStatus={"message": f'spec.a: Invalid value: "{CANARY}": must be short', "code": 422}),
    }


def _others() -> dict[str, dict[str, Any]]:
    """Secrets and credentials inside other objects, and their wrappings."""
    manifest = json.dumps(_secret(stringData={"a": CANARY}))
    yaml = f"apiVersion: v1\nkind: Secret\nstringData:\n  a: {CANARY}\n"
    packed = base64.b64encode(base64.b64encode(gzip.compress(manifest.encode()))).decode()
    variables = [{"name": "DB_PASSWORD", "value": CANARY}, {"value": CANARY, "name": "API_TOKEN"}]
    probe = {"exec": {"command": ["redis-cli", "-a", CANARY, "ping"]}}
    container = {
        "env": variables,
        "livenessProbe": probe,
        "args": [f"--password={CANARY}", "--token", CANARY, f"postgres://u:{CANARY}@db/x"],
    }
    patch = json.dumps({"patch": [{"op": "add", "path": "/spec/containers/0/env/-", "value": variables[0]}]})
    config = "/api/v1/namespaces/shop/configmaps"
    return {
        "pod variables and arguments": _about(_PODS, "pods", requestObject={"kind": "Pod", "spec": {"containers": [container]}}),
        "webhook patch": _about(_PODS, "pods", annotations={"patch.webhook.admission.k8s.io/round_0_index_0": patch}),
        "secret in a list": _about(config, "configmaps", requestObject={"kind": "List", "items": [_secret()]}),
        "secret in a template": _about("/apis/x.io/v1/manifestworks", "manifestworks", requestObject={"spec": {"manifests": [_secret()]}}),
        "secret in JSON": _about(config, "configmaps", requestObject={"data": {"a": manifest}}),
        "secret in YAML": _about(config, "configmaps", requestObject={"data": {"a": yaml}}),
        "secret in base64": _about(
            _PODS, "pods", requestObject={"metadata": {"annotations": {"a": base64.b64encode(yaml.encode()).decode()}}}
        ),
        "secret in gzip": _about(config, "configmaps", requestObject={"binaryData": {"release": packed}}),
        "private key": _about(
            config, "configmaps", requestObject={"data": {"a": f"-----BEGIN RSA PRIVATE KEY-----\n{CANARY}\n-----END RSA PRIVATE KEY-----"}}
        ),
        "last-applied": _about(
            _PODS, "pods", requestObject={"metadata": {"annotations": {_APPLIED: json.dumps({"spec": {"containers": [container]}})}}}
        ),
        "escaped key": _about(_PODS, "pods", requestObject={"metadata": {"annotations": {"db_password": CANARY}}}),
        "secret store": _about(
            "/apis/external-secrets.io/v1/namespaces/shop/secretstores",
            "secretstores",
            requestObject={
                "kind": "SecretStore",
                "apiVersion": "external-secrets.io/v1",
                "spec": {"provider": {"fake": {"data": [{"key": "/a", "value": CANARY}]}}},
            },
        ),
        "unknown field": _about(f"{_SECRETS}/db", "secrets", responseStatus={"code": 500, "message": CANARY}),
    }
