"""Plant canaries on every path by which a secret reaches an event, through the code and rules as configured, and see that none survives."""

from __future__ import annotations

import base64
import gzip
import json
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import msgspec

from transforms.audit.account import Account
from transforms.audit.aggregate_reads import Reads
from transforms.audit.avro_blocks import BlockBuilder
from transforms.audit.block import RawBlock, Split
from transforms.audit.event import Event, text
from transforms.audit.managed_fields import strip_managed_fields
from transforms.audit.rows.read_rows import read_rows
from transforms.audit.rows.redact_rows import redact_rows, strip_rows
from transforms.audit.rows.settle_rows import Target, settle_rows

if TYPE_CHECKING:
    from collections.abc import Iterable

    from transforms.audit.avro_blocks import SortKey
    from transforms.audit.redaction import Redactor

CANARY: Final = "canary-7f3a9c51e2d8"
_ENCODED: Final = base64.b64encode(CANARY.encode()).decode()
_SECRETS: Final = "/api/v1/namespaces/shop/secrets"
_PODS: Final = "/api/v1/namespaces/shop/pods"
_APPLIED: Final = "kubectl.kubernetes.io/last-applied-configuration"
_decoder: Final = msgspec.json.Decoder(Event)


def self_test(redactor: Redactor) -> list[str]:
    """The names of the paths on which a canary survived, as an event or as a row; empty if redaction holds. Takes some ten milliseconds."""
    paths = _paths()
    return list(dict.fromkeys(_surviving_events(redactor, paths) + _surviving_rows(redactor, paths)))


def _surviving_events(redactor: Redactor, paths: dict[str, dict[str, Any]]) -> list[str]:
    survivors = []
    for name, fields in paths.items():
        event = _decoder.decode(json.dumps({"level": "RequestResponse", "stage": "ResponseComplete", "verb": "create"} | fields))
        strip_managed_fields(event)
        redactor.redact(event)
        flags: Any = event.flags
        if _survives(event):
            survivors.append(name)
        elif flags is not None and "CONTENT_WITHHELD" in flags:
            survivors.append(f"{name} (could not be judged)")
    return survivors


class _Kept(BlockBuilder):
    """Keeps the records that rows become."""

    def __init__(self) -> None:
        super().__init__(0, 0)
        self.records: list[bytes] = []

    def add_many(self, kind: str, records: Iterable[tuple[int, SortKey, bytes]]) -> None:  # noqa: ARG002 - as is added
        self.records += [record for _, _, record in records]


def _surviving_rows(redactor: Redactor, paths: dict[str, dict[str, Any]]) -> list[str]:
    """The same paths as lines that an API server might write; what is odd in them is no row, and was tried as an event."""
    names = [*[name for name, fields in paths.items() if "requestURI" in fields], *map(str, range(_FEW))]
    lines = [_line(number, paths.get(name, {})) for number, name in enumerate(names)]
    data = b"\n".join(lines) + b"\n"
    block = RawBlock(Split(0, "", ""), Account(0, 0), 0, data)
    rows, _ = read_rows(block)
    if rows is None or len(rows) <= _FEW:
        return ["rows (there are none)"]
    strip_rows(rows, keep=False)
    rows, fallen = redact_rows(rows, redactor, 1 << 62, keep=False)
    kept = _Kept()
    settle_rows(rows, Target("", b"\0", None, Reads(), kept, None))
    found = [(audit_id, _mentions(record)) for audit_id, record in zip(rows.ids()[:, :8].tolist(), kept.records, strict=True)]
    found += [(event.auditID[:8].encode(), _survives(event)) for event in fallen]  # type: ignore[index]
    return [names[int(bytes(audit_id), 16)] for audit_id, survives in found if survives]


_FEW: Final = 8  # lines that are nothing but plain


def _line(number: int, fields: dict[str, Any]) -> bytes:
    """An event as an API server writes it, member by member in its order."""
    known: dict[str, Any] = {
        "kind": "Event",
        "apiVersion": "audit.k8s.io/v1",
        "level": "RequestResponse",
        "auditID": f"{number:08x}-0000-4000-8000-000000000000",
        "stage": "ResponseComplete",
        "requestURI": _PODS,
        "verb": "create",
        "user": {"username": "system:serviceaccount:shop:default", "groups": ["system:authenticated"]},
        "sourceIPs": ["10.0.0.7"],
        "userAgent": "kube-audit-reducer",
        "objectRef": {"resource": "pods", "namespace": "shop", "apiVersion": "v1"},
        "responseStatus": {"metadata": {}, "code": 200},
        "requestObject": None,
        "responseObject": None,
        "requestReceivedTimestamp": "2026-11-23T05:19:24.906789Z",
        "stageTimestamp": "2026-11-23T05:19:24.931245Z",
        "annotations": None,
    } | {name: value for name, value in fields.items() if name != "impersonatedUser"}
    status = {name: value for name, value in known["responseStatus"].items() if name != "kind"}
    known["responseStatus"] = {"metadata": {}} | status
    return json.dumps({name: value for name, value in known.items() if value is not None}, separators=(",", ":")).encode()


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
    return _mentions(held)


def _mentions(held: bytes) -> bool:
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
