"""Bodies made of traps: variables, managedFields, Secrets, white space and what looks like them, in every shape that JSON allows."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import random

_SECRET: Final = '{"kind":"Secret","apiVersion":"v1","metadata":{"name":"db"},"data":{"a":"aHVudGVyMi1odW50ZXIy"}}'
_MANAGED: Final = '{"metadata":{"managedFields":[{"manager":"m"}],"name":"a"},"spec":{"password":"hunter2-hunter2"}}'
_FIELDS: Final = (
    "[]",
    "[{}]",
    '[{"manager":"kubectl","operation":"Update","fieldsV1":{"f:spec":{}}}]',
    '[{"manager":"a"},{"manager":"b","fieldsV1":{"f:a":{"k:{\\"name\\":\\"x\\"}":{}}}}]',
    '[{"manager":"a]"}]',
    '[{"manager":"a]}","time":"b"}]',
    '[{"manager":"a","fieldsV1":{"v:[\\"x\\"]":{}}}]',
    '[{"manager":"a],\\"b"}]',
    '[{"fieldsV1":[[],[{}]]}]',
    "[ ]",
    "[1]",
    "[[]]",
    '["x"]',
    "null",
    "7",
    '"x"',
    "{}",
    '{"type":"array"}',
)
_TEXTS: Final = (
    *("", "x", "8080", "hunter2-hunter2", "<redacted: 8 bytes>", "a b", "a , b", "a: b", "true", "$(OTHER)", "/etc/x", "\u00fc\U0001f600"),
    *("{", "}", "[", "]", "{}", "{a}", "}]", ",", ":", "\\\\", '\\"', '\\\\\\"', "\\u0041", "\\u0022", "\\ud83d\\ude00", "\x7f"),
    *(
        "/var/run/secrets/x",
        "password=hunter2-hunter2",
        "Bearer abc123",
        "postgres://u:p@h/x",
        "--token",
        "-----BEGIN RSA PRIVATE KEY-----",
    ),
    *('\\"value\\":\\"x\\"', '{\\"name\\":\\"DB_PASSWORD\\",\\"value\\":\\"hunter2\\"}', ',\\"managedFields\\":[{}],', "managedFields"),
    *("A" * 47, "Ab" * 24, "Ab" * 24 + "c", "0a" * 23 + "0", "0a" * 24, "0a" * 25, "7" * 48, "a" * 48, "x y" * 30, "/etc/" * 12),
    *("x." * 2047 + "y", "x." * 2048, "x." * 2048 + "y", "z!" * 480, "z!" * 485, "z!" * 490),
    *(f"eyJ{'hbGciOiJIUzI1NiJ9' * 2}", b64encode(_SECRET.encode()).decode(), b64encode(b"a" * 35).decode()),
    *(json.dumps(text)[1:-1] for text in (_SECRET, _MANAGED, json.dumps({"a": _MANAGED}), '{"metadata": {"name": "a"}}')),
)
_NAMES: Final = (
    *("DB_PASSWORD", "API_TOKEN", "SECRET_KEY", "client-secret", "PASSWORD_FILE", "PORT", "LOG_LEVEL", "p\u00e4ssword"),
    *("db pwd", "", "value", "TOKEN{", "}SECRET", "pass\\u0077ord", 'a\\"TOKEN', "managedFields", "name", "key"),
)
_KEYS: Final = (
    "a",
    "name",
    "env",
    "metadata",
    "spec",
    "value",
    "data",
    "password",
    "items",
    "rows",
    "object",
    "path",
    "managed\\u0046ields",
    "",
)
_KINDS: Final = ("Pod", "PodList", "Table", "List", "Secret", "Status", "ConfigMap", "SecretList")
_SCALARS: Final = (
    "null",
    "true",
    "false",
    "0",
    "-1",
    "1.5e3",
    "12345678",
    "123456789",
    '""',
    "[]",
    "{}",
    '[""]',
    '{"":""}',
    "[[[[[[[[[[]]]]]]]]]]",
)
# Of the mild ones few ask for a search.
_MILD: Final = {
    "texts": _TEXTS[:12],
    "names": _NAMES[:8],
    "keys": _KEYS[:5],
    "fields": _FIELDS[:5],
    "kinds": _KINDS[:4],
}  # of which few ask for a search
_WILD: Final = {"texts": _TEXTS, "names": _NAMES, "keys": _KEYS, "fields": _FIELDS, "kinds": _KINDS}
_LOOSE: Final = (" ", "\n", "\t ", "\r\n  ")


class _Writer:
    """Writes one body, with white space between tokens or without."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._loose = chance.randrange(8)  # 0: often, 1: here and there
        self._traps = chance.choice((_MILD, _WILD))

    def _any(self, what: str) -> str:
        return self._chance.choice(self._traps[what])

    def _gap(self) -> str:
        if self._loose > 1 or (self._loose == 1 and self._chance.randrange(12)):
            return ""
        return self._chance.choice(("", *_LOOSE))

    def _object(self, members: list[tuple[str, str]]) -> str:
        gap = self._gap
        return "{" + ",".join(f'{gap()}"{name}"{gap()}:{gap()}{value}{gap()}' for name, value in members) + gap() * (not members) + "}"

    def _array(self, items: list[str]) -> str:
        return "[" + ",".join(self._gap() + item + self._gap() for item in items) + self._gap() * (not items) + "]"

    def _string(self) -> str:
        texts = [self._any("texts") for _ in range(self._chance.choice((1, 1, 1, 2)))]
        return '"' + self._chance.choice(("", " ", "\\n")).join(texts) + '"'

    def _variable(self) -> str:
        name, value = f'"{self._any("names")}"', self._string()
        match self._chance.randrange(12) if self._traps is _WILD else 6:
            case 0:
                members = [("value", value), ("name", name)]
            case 1:
                members = [("name", name), ("value", value), ("value", self._string())]
            case 2:
                members = [("key", name), ("value", value)]
            case 3:
                members = [("name", name), ("value", self._chance.choice(_SCALARS))]
            case 4:
                members = [("value", value)]
            case 5:
                members = [("name", name), ("a", self._variable()), ("value", value)]
            case _:
                members = [("name", name), ("value", value)]
        return self._object(members)

    def _managed(self) -> list[tuple[str, str]]:
        return [("managedFields", self._any("fields")) for _ in range(self._chance.choice((1, 1, 1, 2, 3)))]

    def _metadata(self) -> str:
        members = [("name", self._string())] * self._chance.randrange(2)
        members += self._managed() * (self._chance.randrange(4) > 0)
        members += [("uid", '"u"')] * self._chance.randrange(2)
        if self._chance.randrange(6) == 0:
            members += self._managed()
        return self._object(members)

    def _value(self, depth: int) -> str:
        chance = self._chance
        match chance.randrange(9) if depth else chance.randrange(2):
            case 0:
                return chance.choice(_SCALARS)
            case 1 | 2:
                return self._string()
            case 3 | 4:
                return self._array([self._variable() for _ in range(chance.randrange(4))])
            case 5:
                return self._metadata()
            case 6:
                return self._array([self._value(depth - 1) for _ in range(chance.randrange(4))])
            case _:
                members: list[Any] = [(self._any("keys"), self._value(depth - 1)) for _ in range(chance.randrange(4))]
                for _ in range(chance.choice((0, 0, 1))):
                    at = chance.randrange(len(members) + 1)
                    members[at:at] = self._managed()
                return self._object(members)

    def body(self) -> str:
        chance = self._chance
        match chance.randrange(8):
            case 0:
                return chance.choice((*_SCALARS, self._string()))
            case 1:
                items = self._array([self._resource(self._any("kinds")) for _ in range(chance.randrange(1, 4))])
                return self._object([("kind", f'"{self._any("kinds")}"'), (chance.choice(("items", "rows")), items)])
            case 2:
                path = chance.choice(("/metadata/managedFields", "/spec/env/0", "/data/password"))
                operation = [("op", '"replace"'), ("path", f'"{path}"'), ("value", self._value(2))]
                return self._array([self._object(operation), self._metadata()][: chance.randrange(1, 3)])
            case 3:
                return self._value(3)
            case _:
                return self._resource(self._any("kinds"))

    def _resource(self, kind: str) -> str:
        members = [("kind", f'"{kind}"'), ("apiVersion", '"v1"'), ("metadata", self._metadata())]
        env = self._array([self._variable() for _ in range(self._chance.randrange(3))])
        members += [("env", env), ("spec", self._value(2)), ("data", self._value(1))][: self._chance.randrange(4)]
        return self._object(members)


def a_body(chance: random.Random) -> bytes:
    """A body as a log may hold it: valid JSON, and no white space around it."""
    return _Writer(chance).body().encode()
