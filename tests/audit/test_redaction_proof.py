"""Events of a real API server with planted markers: what must go is gone in every encoding, what must stay is there."""

from __future__ import annotations

import base64
import json
import re
from functools import cache
from pathlib import Path
from urllib.parse import unquote_to_bytes

import msgspec
import pytest
import zstandard

from transforms.audit.event import Event
from transforms.audit.managed_fields import strip_managed_fields
from transforms.audit.redaction import Redactor

DATA = Path(__file__).with_name("data")


def encodings(marker: str) -> set[bytes]:
    """The marker in clear, in hex, and in base64 at three alignments, once and twice."""
    plain = marker.encode()
    once = aligned(plain)
    return {plain, plain.hex().encode()} | once | {code for form in once for code in aligned(form)}


def aligned(plain: bytes) -> set[bytes]:
    forms = set()
    for shift, cut in ((0, 0), (1, 2), (2, 3)):
        code = base64.b64encode(b"x" * shift + plain)[cut:].rstrip(b"=")
        forms.add(code[:-1] if (shift + len(plain)) % 3 else code)
    return forms


def searched(event: Event) -> bytes:
    held = []
    for name in (
        "requestURI",
        "userAgent",
        "user",
        "impersonatedUser",
        "sourceIPs",
        "objectRef",
        "responseStatus",
        "requestObject",
        "responseObject",
        "annotations",
        "auditID",
        "verb",
    ):
        value = getattr(event, name)
        held.append(value.encode() if isinstance(value, str) else bytes(value) if value is not msgspec.UNSET else b"")
    held.append(repr((event.reductions, event.flags, event.unknown)).encode())
    text = b"\n".join(held)
    unescaped = re.sub(rb"\\+u00([0-9a-f]{2})", lambda found: bytes([int(found[1], 16)]), text)
    return text + b"\n" + unquote_to_bytes(text) + b"\n" + unescaped


@cache
def corpus() -> tuple[bytes, bytes]:
    lines = zstandard.ZstdDecompressor().decompress((DATA / "planted.ndjson.zst").read_bytes()).splitlines()
    decoder, redactor, before, after = msgspec.json.Decoder(Event), Redactor(), [], []
    for line in lines:
        event = decoder.decode(line)
        before.append(searched(event))
        strip_managed_fields(event)
        redactor.redact(event)
        assert event.flags is None, "an event of a real server was withheld"
        after.append(searched(event))
    return b"\n".join(before), b"\n".join(after)


def survivors(of: str) -> tuple[list[str], list[str]]:
    before, after = corpus()
    there, left = [], []
    for marker in json.loads((DATA / "planted.json").read_text()):
        if marker["class"] == of and any(code in before for code in encodings(marker["marker"])):
            there.append(marker["path"])
            if any(code in after for code in encodings(marker["marker"])):
                left.append(marker["path"])
    return there, left


def test_no_secret_marker_survives_in_any_encoding():
    there, left = survivors("secret")
    assert len(there) > 200
    assert left == []


def test_most_credential_like_markers_are_gone():
    there, left = survivors("credential-like")
    assert len(there) > 60
    assert len(left) <= len(there) * 0.2, left


@pytest.mark.parametrize("of", ["control", "name"])
def test_every_innocent_marker_is_still_there(of):
    there, left = survivors(of)
    assert len(there) > 4
    assert left == there


def test_exec_arguments_go_by_default_and_stay_on_request():
    there, left = survivors("argument")
    assert there
    assert left == []
    uri = "/api/v1/namespaces/a/pods/b/exec?command=ls&command=-la&command=--password%3Dx1&container=main"
    shown = {}
    for option in ("keep", "program", "none"):
        event = Event(requestURI=uri)
        Redactor(exec_args=option).redact(event)
        shown[option] = str(event.requestURI).partition("?")[2]
    assert shown == {
        "keep": "command=ls&command=-la&command=REDACTED&container=main",
        "program": "command=ls&command=REDACTED&command=REDACTED&container=main",
        "none": "command=REDACTED&command=REDACTED&command=REDACTED&container=main",
    }
