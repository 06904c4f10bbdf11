"""A body that was judged innocent is not judged again, but only where the same rules hold and never for long."""

from __future__ import annotations

import copy

import msgspec

from transforms.audit import redaction
from transforms.audit.event import Event
from transforms.audit.innocent import Innocent
from transforms.audit.redaction import Redactor

BODY = b'{"spec":{"tls":{"key":"k"}}}'


def redacted(redactor: Redactor, uri: str, body: bytes) -> bytes:
    event = Event(requestURI=uri, responseObject=msgspec.Raw(body))
    redactor.redact(event)
    return bytes(event.responseObject)


def test_a_body_is_innocent_only_under_the_rules_of_its_resource():
    redactor = Redactor()
    routes, gadgets = "/apis/route.openshift.io/v1/namespaces/a/routes/b", "/apis/lab.example.com/v1/namespaces/a/gadgets/b"
    for _ in range(2):
        assert redacted(redactor, gadgets, BODY) == BODY
        assert redacted(redactor, routes, BODY) == b'{"spec":{"tls":{"key":"<redacted: 1 bytes>"}}}'


def test_an_innocent_body_is_read_once(monkeypatch):
    redactor, read = Redactor(), []
    monkeypatch.setattr(redaction, "load", lambda body: read.append(body) or msgspec.json.decode(body))
    for body in (b'{"data":{"a":"b"}}', b'{"data":{"a":"c"}}', b'{"data":{"a":"b"}}'):
        assert redacted(redactor, "/api/v1/namespaces/a/configmaps/b", body) == body
    assert read == [b'{"data":{"a":"b"}}', b'{"data":{"a":"c"}}']


def test_a_body_that_was_changed_is_changed_again():
    redactor = Redactor()
    for _ in range(2):
        after = redacted(redactor, "/api/v1/namespaces/a/configmaps/b", b'{"data":{"password":"hunter22"}}')
        assert after == b'{"data":{"password":"<redacted: 8 bytes>"}}'


def test_little_is_remembered_and_no_long_body():
    innocent = Innocent()
    bodies = [b"%020000d" % number for number in range(1000)]
    for body in bodies:
        innocent.add((body, "a"))
        assert (body, "a") in innocent
        assert (body, "b") not in innocent
    assert 0 < sum((body, "a") in innocent for body in bodies) <= 900
    innocent.add((b"x" * 40_000, "a"))
    assert (b"x" * 40_000, "a") not in innocent


def test_what_goes_to_another_worker_remembers_nothing():
    innocent = Innocent()
    innocent.add((b"x", "a"))
    assert (b"x", "a") not in copy.copy(innocent)
