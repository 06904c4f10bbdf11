"""No text stalls a run: what is read of a hostile value grows with its length and not with the square of it."""

from __future__ import annotations

import contextlib
import json
import time
from typing import TYPE_CHECKING, Final

import pytest

from transforms.audit.credential_names import sensitive_key
from transforms.audit.credentials import benign_value, scrub_text
from transforms.audit.embedded import UNREADABLE, Search
from transforms.audit.event import Event
from transforms.audit.needles import examine
from transforms.audit.redaction import Redactor
from transforms.audit.request_uri import redact_uri
from transforms.audit.sensitivity import address
from transforms.audit.status_message import redact_message, redact_opaque

if TYPE_CHECKING:
    from collections.abc import Callable

# Five times what the dearest of these texts costs; a quadratic pattern costs far more than this at this length.
SECONDS_PER_BYTE: Final = 20e-6
SIZE: Final = 60_000

# What comes before, what is repeated, and what comes after, so that a pattern that ends in it is tried to the end and fails.
HOSTILE: Final = (
    ("", "a", "!"),
    ("://@ ", "a.", ""),
    ("", "a://b:", " @"),
    ("", "://", "@"),
    ("://", "a:b@", " "),
    ("token=x", " ", "\x00"),
    ("token:", " ", "}"),
    ("token ", "-", ""),
    ("token x", " -.", ""),
    ("token ", "-a.", ""),
    ("pass name=token", "\\", "!"),
    ('secret: \\"', '\\"', ""),
    ("value: token ", "name=", ""),
    ("", "eyJaaaaaa-", ""),
    ("", "eyJ", "."),
    ("-----BEGIN ", "PRIVATE KEY", "!"),
    ("", "-----BEGIN PRIVATE KEY", ""),
    ("", " mysql -p", ""),
    ("a", " ", "!"),
    ("a", "\n", "!"),
    ("key: |\n", " ", "\x00"),
    ("", "\\", "u"),
    ("", "\\u005c", ""),
    ("", "%25", ""),
    ("Invalid value: (", "0", "!"),
    ("value (", "userextras/", ""),
    ("", 'Invalid value: "\\"', ""),
    ("", "token',", ""),
    ("kind", " ", "secret"),
    ("", "kind:", ""),
    ("", "{", ""),
    ("", "[", ""),
    ("", '"', ""),
    ("", "=", ""),
    ("", "1", "!"),
    ("password", " ", "!"),
    ("password", " (", "!"),
    ("identified with x", " ", "!"),
    ("password: x\nuser a", " a", ""),
    ("login passwd ", "echo a", " | "),
    ("login passwd ", "echo ", ""),
    ("login passwd echo ", "a", "!"),
    ("login ", "login=a", ""),
    ("", "routing_key=1", ""),
    ("routing_key=", "a1", "."),
    ("value ", "key=", ""),
    ("key value key=", "token", ""),
    ("", "a:", "@tcp("),
    ("@tcp( ", "a.", ""),
    ("", "user a >", ""),
    ("", "vault login ", ""),
    ("vault login ", "a", "="),
    ("auth\nstats auth", " ", ""),
    ("stats auth ", "a", ""),
    ("rabbitmqctl passwd add_user", " ", ""),
    ("https://", "a-", "!"),
    ("https://", "a.", ".svc"),
    ("token: ", "user ", ""),
    ("a-1", "-", "."),
    ("", 'secret "', ""),
    ("", "-u a", ""),
    ("", "token", ""),
    ("", 'token":{', ""),
)
# The same for the patterns of programs' files and commands, which every reader of text comes to by the same way.
HOSTILE_TO_PATTERNS: Final = (
    ("a,token\n", 'a,"', ""),
    ("a,token\n", '"', ""),
    ("a,token\n", ",", ""),
    ("", "a,token\n", ""),
    ("", "curl -u a:b ", ""),
    ("", "set $key a", ""),
    ("set $key ", "a", "!"),
    ("", 'variable "token" {', ""),
    ('variable "token" {', " ", "default"),
    ("chpasswd:\n  list: |\n", " a\n", ""),
    ("chpasswd:\n  list: |\n", " ", ""),
    ("rootpw ", "--a ", ""),
    ("", " -a", " "),
    (" -a ", "a", "!"),
    (" -a ", "A1", "!"),
    ("", "- --token\n", ""),
    ("- --token", " ", "\n"),
    ("token ", "'-", ""),
    ("token '-", "a", "'"),
    ("token '-token'", ",", ""),
    ("token '-token'", " ", ","),
    ("LoginModule ", "user_a", ""),
    ("LoginModule user_a=", "\\", ""),
    ("sqlplus ", "-a ", ""),
    ("", "password=md5('", ""),
    ("", "redis-cli -a 'b' ", ""),
    ("redis-cli ", "-a b ", ""),
    ("redis-cli -a ", "'", ""),
    ("redis-cli -a ", "<redacted", ""),
    ("redis-cli -a", " \\\n", ""),
    ("", "redis-cli", " "),
    ("", "routing_key ", ""),
    ("routing_key", " ", "value"),
    ("routing_key:", " ", "a"),
    ("password machine a", " ", "login"),
    ("password ", "machine a ", ""),
    ("password ", "default login a ", ""),
    ("a:5432:", "a", ":b:"),
    ("a:5432:b:c:d\n", "a:", ""),
    ("", ":5432:a:", ""),
    ("", "SCRAM-SHA-256$4096:a", "$"),
    ("", "{SHA}a", "!"),
    ("", "?code=a", ""),
    ('a1234567890b,c,,"', "a", ",system:"),
    ('a,b,c,"system:\n', "a1234567890b,", ""),
    ("", "insert into a(token) values('", ""),
    ("insert into a(token) values", "(", ""),
    ("token value ", "insert into ", ""),
    ("token value insert", " ", "into"),
    ("token value insert into a", " ", "("),
    ("token value insert into ", "a", "("),
    ("insert into a(token) values", "('horses and more'),", ""),
    ("token ", "\nCOPY a (", " stdin"),
    ("token\nCOPY a (token) FROM stdin\n", "a\t", ""),
)


def _uri(text: str) -> object:
    uri = "/api/v1/namespaces/" + text
    return redact_uri(uri, address(uri), Search(), "program")


def _event(**parts: object) -> object:
    event = Event(auditID="a", verb="update", requestURI="/api/v1/namespaces/n/configmaps/c")
    for name, part in parts.items():
        setattr(event, name, part if isinstance(part, str) else json.dumps(part).encode())
    Redactor().redact(event)
    return event


def _schema(text: str) -> object:
    event = Event(requestURI="/apis/apiextensions.k8s.io/v1/customresourcedefinitions/a", requestObject=json.dumps({"a": text}).encode())  # type: ignore[arg-type]
    Redactor().redact(event)
    return event


READERS: Final[dict[str, Callable[[str], object]]] = {
    "scrub_text": scrub_text,
    "benign_value": benign_value,
    "sensitive_key": sensitive_key,
    "search": lambda text: Search().text(text),
    "redact_message": lambda text: redact_message(text, Search()),
    "redact_opaque": lambda text: redact_opaque(text, Search()),
    "redact_uri": _uri,
    "examine": lambda text: examine(text.encode()),
    "config map": lambda text: _event(requestObject={"kind": "ConfigMap", "data": {"a": text}}),
    "schema": _schema,
    "annotation": lambda text: _event(annotations={"example.com/a": text}),
    "message": lambda text: _event(responseStatus={"code": 422, "message": text}),
    "user agent": lambda text: _event(userAgent=text),
}


def _seconds(reader: Callable[[str], object], text: str) -> float:
    started = time.process_time()
    with contextlib.suppress(UNREADABLE):
        reader(text)
    return time.process_time() - started


def _slow(name: str, hostile: tuple[tuple[str, str, str], ...]) -> dict[tuple[str, str, str], float]:
    slow = {}
    for before, again, after in hostile:
        text = before + again * (SIZE // len(again)) + after
        spent = _seconds(READERS[name], text)
        if spent > len(text) * SECONDS_PER_BYTE:
            slow[before, again, after] = spent
    return slow


@pytest.mark.parametrize("name", READERS)
def test_no_hostile_text_is_read_more_than_a_bounded_number_of_times(name: str) -> None:
    assert _slow(name, HOSTILE) == {}


@pytest.mark.parametrize("name", ["search", "examine", "message"])
def test_no_pattern_reads_a_hostile_text_more_than_a_bounded_number_of_times(name: str) -> None:
    assert _slow(name, HOSTILE_TO_PATTERNS) == {}
