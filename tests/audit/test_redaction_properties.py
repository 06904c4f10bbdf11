"""Random markers at random depths, in random encodings, in random events: none may be found in any byte that is left."""

from __future__ import annotations

import base64
import gzip
import json
import os
import random
import re
from urllib.parse import quote, unquote_to_bytes

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.examples import an_event
from transforms.audit.event import Event
from transforms.audit.managed_fields import strip_managed_fields
from transforms.audit.redaction import Redactor

FUZZED = int(os.environ.get("FUZZ_CASES", "3000"))
DECODER = msgspec.json.Decoder(Event)
REDACTOR = Redactor()
JSON_PARTS = ("user", "impersonatedUser", "sourceIPs", "objectRef", "responseStatus", "requestObject", "responseObject", "annotations")

markers = st.from_regex(r"mk[a-z0-9]{6}[A-Z]{4}[0-9a-f]{8}", fullmatch=True)
names = st.sampled_from(["spec", "items", "template", "a", "b-c", "x/y", "manifest", "values", "note"])
innocent = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["", "yes", "Running", "cart-1", "10.0.0.1"])
)


def aligned(plain: bytes) -> set[bytes]:
    forms = set()
    for shift, cut in ((0, 0), (1, 2), (2, 3)):
        code = base64.b64encode(b"x" * shift + plain)[cut:].rstrip(b"=")
        forms.add(code[:-1] if (shift + len(plain)) % 3 else code)
    return forms


def codes(marker: str) -> set[bytes]:
    once = aligned(marker.encode())
    return {marker.encode(), marker.encode().hex().encode()} | once | {twice for code in once for twice in aligned(code)}


def left(event: Event) -> bytes:
    held = [str(event.requestURI).encode(), str(event.userAgent).encode(), repr((event.reductions, event.flags, event.unknown)).encode()]
    held += [bytes(getattr(event, name)) for name in JSON_PARTS]
    text = b"\n".join(held)
    return text + unquote_to_bytes(text) + re.sub(rb"\\+u00([0-9a-fA-F]{2})", lambda found: bytes([int(found[1], 16)]), text)


def redacted(fields: dict) -> Event:
    return judged(DECODER.decode(json.dumps(fields)))


def judged(event: Event) -> Event:
    strip_managed_fields(event)
    REDACTOR.redact(event)
    parts = {name: bytes(getattr(event, name)) for name in JSON_PARTS}
    for name, part in parts.items():
        if part:
            json.loads(part)
        assert part or name in {"requestObject", "responseObject", "annotations", "responseStatus"} or not fields_of(event, name)
    uri = event.requestURI
    REDACTOR.redact(event)
    assert parts == {name: bytes(getattr(event, name)) for name in JSON_PARTS}, "redacting twice is not redacting once"
    assert event.requestURI == uri
    return event


def fields_of(event: Event, name: str) -> bytes:
    return bytes(getattr(event, name))


def gone(event: Event, marker: str) -> None:
    held = left(event)
    assert not [code for code in codes(marker) if code in held]


def escaped(text: str) -> str:
    return "".join(f"\\u{ord(letter):04x}" for letter in text)


def packed(text: str) -> str:
    return base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()


WRAPS = {
    "plain": str,
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "base64 after one byte": lambda text: base64.b64encode(b"\n" + text.encode()).decode(),
    "base64 after two bytes": lambda text: base64.b64encode(b" \n" + text.encode()).decode(),
    "base64 twice": lambda text: base64.b64encode(base64.b64encode(text.encode())).decode(),
    "JSON string": json.dumps,
    "JSON in JSON": lambda text: json.dumps({"inner": {"deep": [text]}}),
    "gzip": packed,
    "gzip twice in base64": lambda text: base64.b64encode(packed(text).encode()).decode(),
    "percent": lambda text: quote(text, safe=""),
    "escapes": escaped,
}


def secret(marker: str) -> dict:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "x"},
        "data": {"k": base64.b64encode(marker.encode()).decode()},
        "stringData": {"k": marker},
    }


@st.composite
def nested(draw: st.DrawFn, leaf: object) -> object:
    """The leaf somewhere within objects and arrays of innocent things."""
    for _ in range(draw(st.integers(0, 6))):
        if draw(st.booleans()):
            leaf = {**draw(st.dictionaries(names, innocent, max_size=2)), draw(names): leaf}
        else:
            leaf = [*draw(st.lists(innocent, max_size=2)), leaf]
    return leaf


SECRET_PATHS = st.sampled_from(
    ["/api/v1/namespaces/shop/secrets/db", "/api/v1/secrets", "//api//v1/secrets", "/api/v1/watch/namespaces/a/secrets%00", ""]
)


@settings(max_examples=400, deadline=None)
@given(st.data(), markers, SECRET_PATHS, st.sampled_from([200, 201, 409, 422, None]))
def test_nothing_of_a_secret_survives_whatever_the_body(data, marker, uri, code):
    wrap = WRAPS[data.draw(st.sampled_from(sorted(WRAPS)))]
    planted = data.draw(
        nested(data.draw(st.sampled_from([wrap(marker), {"data": {"k": wrap(marker)}}, {wrap(marker)[:60]: 1}, secret(marker)])))
    )
    body = data.draw(
        st.sampled_from(
            [
                {"kind": "Secret", "metadata": {"name": "db", "annotations": planted}, "data": planted},
                {"metadata": planted, "spec": planted, "Data": planted},
                {"kind": "SecretList", "items": [planted, {"data": {"k": planted}}]},
                {"kind": "Table", "rows": [{"cells": [planted], "object": planted}], "columnDefinitions": planted},
                [{"op": "add", "path": "/data/k", "value": planted}, planted],
                {
                    "kind": "Status",
                    "message": wrap(marker),
                    "details": {"name": marker, "causes": [{"message": planted, "field": wrap(marker)}]},
                },
                planted,
            ]
        )
    )
    body = (
        {key: value for key, value in body.items() if not (isinstance(body, dict) and key in {"metadata", "data"} and value is None)}
        if isinstance(body, dict)
        else body
    )
    status = {"metadata": {}, "code": code, "message": wrap(marker), "details": {"causes": [{"message": wrap(marker)}], "name": marker}}
    event = redacted(
        an_event(
            requestURI=uri,
            objectRef={"resource": "secrets", "name": marker},
            requestObject=body,
            responseObject=body,
            responseStatus=status,
            annotations={"policy/x": wrap(marker)},
        )
    )
    if code == 200 and marker.encode() in left(event):
        # The name of a key in the data is evidence and stays, nothing else.
        text = bytes(event.requestObject) + bytes(event.responseObject)
        assert re.sub(rb'"' + marker.encode() + rb'":"?<redacted|"' + marker.encode() + rb'":', b"", text).count(marker.encode()) == 0
        return
    if wrap(marker)[:60].encode() not in left(event):
        gone(event, marker)


@settings(max_examples=500, deadline=None)
@given(st.data(), markers, st.sampled_from(["pods", "configmaps", "deployments", "things", "events", "leases"]))
def test_an_embedded_secret_never_survives(data, marker, resource):
    manifest = secret(marker)
    form = data.draw(st.sampled_from(["object", "yaml", *WRAPS]))
    if form == "object":
        leaf: object = manifest
    elif form == "yaml":
        leaf = f"apiVersion: v1\nkind: Secret\nmetadata:\n  name: x\nstringData:\n  k: {marker}\n"
    else:
        leaf = WRAPS[form](json.dumps(manifest))
    body = {"kind": "Thing", "metadata": {"name": "a"}, "data": data.draw(nested(leaf))}
    group = "/apis/example.com/v1" if resource == "things" else "/api/v1"
    event = redacted(
        an_event(
            requestURI=f"{group}/namespaces/shop/{resource}/a", objectRef={"resource": resource}, requestObject=body, responseObject=[body]
        )
    )
    gone(event, marker)


CREDENTIALS = [
    lambda m: {"name": "DB_PASSWORD", "value": m},
    lambda m: {"value": m, "name": "api_token"},
    lambda m: {"db_password": m},
    lambda m: {"clientSecret": m},
    lambda m: {"args": ["--password", m]},
    lambda m: {"args": [f"--token={m}"]},
    lambda m: f"postgres://user:{m}@db/x",
    lambda m: f"a: b\npassword: {m}\nc: d\n",
    lambda m: f"export SECRET_KEY={m}\n",
    lambda m: json.dumps({"auth": {"clientSecret": m}}),
    lambda m: json.dumps({"env": [{"name": "X_TOKEN", "value": m}]}),
    lambda m: f"-----BEGIN PRIVATE KEY-----\n{m}\n-----END PRIVATE KEY-----\n",
]


@settings(max_examples=500, deadline=None)
@given(st.data(), markers, st.sampled_from(CREDENTIALS), st.sampled_from(["pods", "configmaps", "deployments"]))
def test_credentials_do_not_survive_whether_the_body_is_searched_or_scanned(data, marker, credential, resource):
    body = {"kind": "Thing", "spec": data.draw(nested(credential(marker)))}
    event = DECODER.decode(
        msgspec.json.encode(
            an_event(requestURI=f"/api/v1/namespaces/shop/{resource}/a", objectRef={"resource": resource}, requestObject=body)
        )
    )
    gone(judged(event), marker)
    event = redacted(an_event(requestURI=f"/api/v1/namespaces/shop/{resource}/a", objectRef={"resource": resource}, requestObject=body))
    gone(event, marker)


def test_mutated_bodies_never_raise_and_never_leak():
    """`FUZZ_CASES` sets how many; a marker may stay only where the mutation itself took the secret's name from it."""
    generator = random.Random(7)
    marker = "mkzz81QQQQ0f0f0f0f"
    bodies = [
        json.dumps(body).encode()
        for body in (
            secret(marker),
            {"items": [secret(marker)]},
            [{"op": "add", "path": "/data/k", "value": marker}],
            {"data": {"k": marker}},
        )
    ]
    for _ in range(FUZZED):
        body = bytearray(generator.choice(bodies))
        for _ in range(generator.randrange(1, 4)):
            if not body:
                break
            at = generator.randrange(len(body))
            change = generator.randrange(4)
            if change == 0:
                body[at] = generator.randrange(256)
            elif change == 1:
                del body[at : at + generator.randrange(1, 9)]
            elif change == 2:
                body[at:at] = generator.choice([b'"', b"{", b"}", b"\\", b"\\u0064", b",", b"null", b"\x00", b'"data":'])
            else:
                del body[at:]
        event = Event(requestURI="/api/v1/namespaces/shop/secrets/db", requestObject=bytes(body), responseObject=bytes(body))  # type: ignore[arg-type]
        strip_managed_fields(event)
        REDACTOR.redact(event)
        kept = bytes(event.requestObject)
        assert "CONTENT_WITHHELD" not in (event.flags or [])
        assert b"zz81QQQQ0f" not in re.sub(rb'"[^"]*":|"/data/[^"]*"', b"", kept)
        if kept:
            json.loads(kept)
