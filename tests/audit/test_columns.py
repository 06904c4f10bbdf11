"""Values whose credential's name stands at the head of their column: these go, and the rest of the table stays."""

from __future__ import annotations

import json

import pytest

from transforms.audit.credentials import scrub_text
from transforms.audit.event import Event
from transforms.audit.redaction import Redactor

MASK = "<redacted: 6 bytes>"
MAPS = "/api/v1/namespaces/shop/configmaps/a"
PODS = "/api/v1/namespaces/shop/pods/web"


def body(before: object, uri: str) -> object:
    event = Event(requestURI=uri, requestObject=json.dumps(before).encode())  # type: ignore[arg-type]
    Redactor().redact(event)
    once = bytes(event.requestObject)
    Redactor().redact(event)
    assert bytes(event.requestObject) == once
    return json.loads(once)


# What is masked stands between « and »; all of these are six letters.
TABLES = [
    "name,password,role\nbob,«horses»,admin\nann,«stable»,user\n",
    "password\tname\n«horses»\tbob\n",
    "# of users\n\nid;api_token\n1;«horses»\n2;«stable»",
    '"name","API Key"\r\n"b,ob","«ho,ses»"\r\n"ann","«st;ble»"\r\n',
    'name,password\n"b""ob",«horses»\nann,\n«a»,b,c\nann,${PW}\n'.replace("«a»", "a"),
    "| user | password |\n|------|:--------:|\n| bob  | «horses» |\n",
    "user, password\nbob, «horses»\n",
    "INSERT INTO users (name, password, role) VALUES ('bob', '«horses»', 'admin');",
    "insert into `users` (`id`,`password`) values (1,'«horses»'),(2,'«sta''l»')\n  ON CONFLICT (id) DO NOTHING; select 'x'",
    "REPLACE INTO shop.users (id, passwd, pin) VALUES (7, '«horses»', NULL), (8, $1, '«123456»');",
    "INSERT IGNORE INTO users (id, password)\nVALUES\n  (md5('a'), crypt('«horses»', gen_salt('bf'))),\n  (2, \"«stable»\");",
    "insert into users (password) values ('«horses",
    "COPY public.users (id, name, password) FROM stdin;\n1\tbob\t«horses»\n2\tann\t\\N\n\\.\n1\tbob\tpublic\n",
]


def unmarked(text: str) -> str:
    return text.replace("«", "").replace("»", "")


def masked(text: str) -> str:
    before, *parts = text.split("«")
    return before + "".join(MASK + part.partition("»")[2] for part in parts)


@pytest.mark.parametrize("text", TABLES)
def test_what_stands_under_a_credentials_name_is_masked(text: str):
    assert scrub_text(unmarked(text)) == masked(text)
    assert scrub_text(masked(text)) == masked(text)
    assert body({"kind": "ConfigMap", "data": {"a": unmarked(text)}}, MAPS) == {"kind": "ConfigMap", "data": {"a": masked(text)}}


@pytest.mark.parametrize(
    "text",
    [
        "name,role\nbob,admin\n",
        "name,password_policy,token_count\nbob,strict,3\n",
        "Dear user, your password\nwas reset, thanks\n",
        "user,password",
        "user,password\n",
        "user,password\nbob;public\nann\n",
        "keys: user,password\nbob,public\n",
        "INSERT INTO users (name, role) VALUES ('bob', 'admin'); -- no password",
        "INSERT INTO users (name, password) VALUES ('bob', '${PASSWORD}'), (?, :password), ('ann', NULL)",
        "INSERT INTO users (name, password) SELECT 'bob', 'public'",
        "INSERT INTO rules (name) VALUES ('password policy')",
        "COPY public.users (id, name) FROM stdin;\n1\tbob\n\\.\npassword\tname\n",
    ],
)
def test_what_only_looks_like_a_table_of_credentials_stays(text: str):
    assert scrub_text(text) == text
    assert body({"kind": "ConfigMap", "data": {"a": text}}, MAPS) == {"kind": "ConfigMap", "data": {"a": text}}


@pytest.mark.parametrize("text", [TABLES[0], TABLES[1], TABLES[2], *TABLES[7:11]])
def test_a_table_is_found_in_any_object(text: str):
    for place in ("annotations", "args"):
        assert body({place: {"a": unmarked(text)}}, PODS) == {place: {"a": masked(text)}}
