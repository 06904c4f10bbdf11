"""Logs of requests that are plain, or plain but for something: a value, a member, a stage, a byte."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from tests.audit.envelopes.mutations import mutated
from tests.audit.rows.plain_lines import MEMBERS, an_id, early, final, joined

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

SECRET: Final = "hunter2-hunter2"
TIMES: Final = (
    '"2026-11-23T05:19:24.906788Z"',
    '"2026-11-23T05:19:59.999999Z"',
    '"2026-11-23T05:20:00.000000Z"',
    '"2026-11-23T05:19:60.000000Z"',
    '"2026-11-23T24:00:00.000000Z"',
    '"2026-13-23T05:19:24.906789Z"',
    '"2026-00-23T05:19:24.906789Z"',
    '"2026-02-29T05:19:24.906789Z"',
    '"2024-02-29T05:19:24.906789Z"',
    '"2100-02-29T05:19:24.906789Z"',
    '"1969-12-31T23:59:59.999999Z"',
    '"1970-01-01T00:00:00.000000Z"',
    '"2013-12-31T23:59:59.999999Z"',
    '"2014-01-01T00:00:00.000000Z"',
    '"2026-11-25T05:20:00.000001Z"',
    '"9999-12-31T23:59:59.999999Z"',
    '"0000-01-01T00:00:00.000000Z"',
    '"-026-11-23T05:19:24.906789Z"',
    '"2026-11-23T05:19:24.-06789Z"',
    '"2026-11-23T05:19:24.90678/Z"',
    '"2026-11-23T05:19:24,906789Z"',
    '"2026-11-23T05:19:24.906789z"',
    '"2026-11-23t05:19:24.906789Z"',
    '"2026-11-23T05:19:24Z"',
    '"2026-11-23T05:19:24.90678912Z"',
    '"2026-11-23T05:19:24.906789+00:00"',
    '""',
    "null",
    "1795412364906789",
)
LONG: Final = tuple("x" * size for size in (8000, 8190, 8191, 8192, 8193, 8200, 20_000))
TEXTS: Final = (
    "",
    "\\u0041b",
    "a\\u002fb",
    "\\ud800",
    "\\ud83d\\ude00",
    "\u00fc\U0001f600",
    "\udcff\udcfe",
    "\udced\udca0\udc80",
    "a\tb",
    "a\x01b",
    "a\x7fb",
    'a\\"b',
    "a\\\\",
    'a\\\\\\"b',
    "a\\\\\\\\",
    'a\\"',
    "a\\",
    "a\\/b",
    'a"b',
    "}",
    "{",
    "]",
    "},",
    "],",
    '},\\"sourceIPs\\":[',
    '},"sourceIPs":[',
    '}],\\"re',
    '},"requestReceivedTimestamp":"',
    '},\\"requestReceivedTimestamp\\":\\"',
    '},\\"requestObject\\":{',
    ',\\"annotations\\":{',
    '","verb":"list',
    '","userAgent":"x',
    "managedFields",
    f"password={SECRET}",
    f"Bearer {SECRET}",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N",
    f"postgres://u:{SECRET}@db/x",
    *LONG,
)
URIS: Final = (
    "/healthz",
    "/odd",
    "/api/v1/namespaces/shop/pods",
    "/api/v1/pods?watch=true&resourceVersion=7",
    "/api/v1/namespaces/shop/pods?fieldSelector=metadata.name%3Dcart-1",
    "/api/v1/namespaces/shop/pods?limit=500\\u0026continue=abc",
    "/api/v1/namespaces/shop/secrets/db",
    "/api/v1/namespaces/shop/serviceaccounts/db/token",
    "/api/v1/namespaces/shop/configmaps/app",
    "/apis/authentication.k8s.io/v1/tokenreviews",
    "/apis/example.org/v1/namespaces/shop/widgets/a",
    f"/api/v1/namespaces/shop/pods/cart-1/exec?command=sh\\u0026command=-c\\u0026command=PASSWORD%3D{SECRET}",
    f"/api/v1/namespaces/shop/services/vault/proxy/v1/{SECRET}?sig={SECRET}",
    f"/api/v1/pods?access_token={SECRET}",
    "/api/v1/namespaces/shop/pods//cart-1",
    "x:api/v1/pods",
)
REFERENCES: Final = (
    "{}",
    "null",
    '"pods"',
    '{"resource":"pods"}',
    '{"resource":"pods","namespace":"shop","name":"cart-1","uid":"u","apiVersion":"v1","resourceVersion":"7"}',
    '{"resource":"pods","namespace":"shop","name":"cart-2","apiVersion":"v1"}',
    '{"resource":"pods","namespace":"shop","name":"","apiVersion":"v1"}',
    '{"resource":"pods","namespace":"","name":"cart-1","apiVersion":""}',
    '{"name":"cart-1","resource":"pods","namespace":"shop","apiVersion":"v1"}',
    '{"resource":"pods","namespace":"shop","name":"cart-1","name":"cart-9","apiVersion":"v1"}',
    '{"resource":"pods","namespace":"shop","name":null,"apiVersion":"v1"}',
    '{"resource":"pods","namespace":"shop","name":7,"apiVersion":"v1"}',
    '{"resource":"pods","namespace":"shop","name":"cart-1","apiVersion":"v1","odd":"x"}',
    '{"resource":"pods","namespace":"shop","name":"cart-1","apiVersion":"v1","subresource":"exec"}',
    '{"resource":"pods","namespace":"shop","name":"cart-1","apiVersion":"v1","subresource":"log"}',
    '{"resource":"pods"x"namespace":"shop","name":"cart-1","apiVersion":"v1"}',
    '{"resource":"pods","namespace":"shop","name":"cart-1","apiVersion":"v1",}',
    '{"resource":"pods","namespace":"shop","name":"cart-1","apiVersion":"v1" }',
    '{"resource": "pods","namespace":"shop","name":"cart-1","apiVersion":"v1"}',
    '{"resource":"secrets","namespace":"shop","name":"db","apiVersion":"v1"}',
    '{"resource":"serviceaccounts","namespace":"shop","name":"db","apiVersion":"v1","subresource":"token"}',
    '{"resource":"tokenreviews","apiGroup":"authentication.k8s.io","apiVersion":"v1"}',
    '{"resource":"widgets","namespace":"shop","name":"a","apiGroup":"example.org","apiVersion":"v1"}',
)
STATUSES: Final = (
    "{}",
    "null",
    "200",
    '{"metadata":{},"code":201}',
    '{"metadata":{},"code":404}',
    '{"metadata":{},"code":20}}',
    '{"metadata":{},"code":2e2}',
    '{"metadata":{},"code": 20}',
    '{"metadata":{},"code":-0}',
    '{"metadata":{},"code":12345678901}',
    '{"metadata":{"a":"b"},"code":200}',
    '{"code":200}',
    '{"metadata":{},"status":"Failure","message":"%s","reason":"NotFound","details":{"name":"%s","causes":[{"field":"x"}]},"code":404}',
    '{"metadata":{},"status":"Failure","message":"spec.a: Invalid value: \\"%s\\": no","code":422}',
    '{"metadata":{},"status":"Failure","message":"%s","code":403}',
    '{"metadata":{},"status":null,"code":200}',
    '{"metadata":{},"code":200,"code":500}',
    '{"metadata":{},"code":200,"odd":[{}]}',
)
USERS: Final = (
    "{}",
    "null",
    '{"username":"%s"}',
    '{"username":"system:anonymous","groups":["system:unauthenticated"]}',
    '{"username":"alice","uid":"1","groups":["a","%s"],"extra":{"scopes":["%s"]}}',
    '{"username":"alice","extra":{"k":{},"sourceIPs":["x"]}}',
    '{"username":"alice","username":"bob"}',
    '{"username":"alice","groups":[1]}',
    '{"username":"alice","odd":{}}',
    '{"username": "alice"}',
    '{"username":"alice"},"impersonatedUser":{"username":"%s"}',
    '{"username":"alice"},"impersonatedUser":null',
    '{"username":"alice"},"user":{"username":"bob"}',
)
BODIES: Final = (
    "{}",
    "null",
    "[]",
    '"%s"',
    "1",
    '{"a":"%s"}',
    '{"a":}',
    "{",
    "}",
    '{"a":1},',
    '{"a" : [ 1, 2 ]}',
    '{"kind":"Secret","apiVersion":"v1","data":{"a":"aHVudGVyMi1odW50ZXIy"},"stringData":{"b":"%s"}}',
    '{"kind":"Pod","metadata":{"managedFields":[{"manager":"m"}],"annotations":{"a":"%s"}},"spec":{"env":[{"name":"PASSWORD","value":"x"}]}}',
    '{"kind":"Pod","spec":{"containers":[{"args":["--password=hunter2-hunter2"]}]}}',
    '{"kind":"Pod","metadata":{"name":"a","managedFields":[{"manager":"m","fieldsV1":{"f:a":{}}}],"uid":"%s"},"status":{}}',
    '{"kind":"PodList","metadata":{},"items":[{"metadata":{"managedFields":[],"managedFields":[{}]}},{"metadata":{"managedFields":[{"manager":"a]"}]}}]}',
    '[{"op":"replace","path":"/metadata/managedFields","value":[{"manager":"m"}]},{"op":"add","path":"/a","value":"%s"}]',
    '{"managedFields":[{"manager":"m"}],"env":[{"name":"API_TOKEN","value":"%s"},{"name":"PORT","value":"8080"},{"name":"PASSWORD","value":"{"}]}',
    '{"env":[{"name":"DB_PASSWORD","value":"hunter2-hunter2"},{"name":"CLIENT_SECRET","value":"hunter2-hunter2"}],"a":"b , c"}',
    '{"metadata": {"managedFields": [{"manager": "m"}]},"env":[ {"name":"DB_PASSWORD","value":"hunter2-hunter2"}]}',
    '{"env":[{"name":"DB_PASSWORD","value":"hunter2-hunter2"}] ,"a":[1, 2]}',
    '{"metadata":{"annotations":{"a":"{\\"managedFields\\":[{}],\\"password\\":\\"hunter2-hunter2\\"}"}}}',
    '{"a":{"annotations":{"b":"c"}},"requestReceivedTimestamp":"2026-11-23T05:19:24.906789Z","stageTimestamp":"2026-11-23T05:19:24.906789Z"}',
    '{"a":{},"responseObject":{"b":[{}]}}',
    '{"a":{},"annotations":{"b":"c"}}',
    '{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"x"}',
    '{"a":1},"requestObject":{"b":2}',
    '{"a":1},"odd":{"b":2}',
    '{"kind":"Status","message":"%s","code":404}',
)
NOTES: Final = (
    "{}",
    "null",
    "[]",
    '{"a":"%s"}',
    '{"a":1}',
    '{"a":{"annotations":{"b":"c"}}}',
    '{"a":"b","a":"c"}',
    '{"annotations":"x","a":"%s"}',
    '{"a":"b"},"annotations":{"c":"d"}',
    '{"a":"b"},"odd":{}',
    '{ "a":"b"}',
    '{"apiserver.latency.k8s.io/total":"1.5ms","apiserver.latency.k8s.io/etcd":"3\u00b5s"}',
    '{"patch.webhook.admission.k8s.io/round_0_index_0":"{}"}',
    '{"failed-open.validation.webhook.admission.k8s.io/round_0_index_0":"x"}',
    '{"audit.k8s.io/truncated":"true"}',
    '{"authorization.k8s.io/decision":"allow","a":"%s"}',
)
VALUES: Final[dict[str, tuple[str, ...]]] = {
    "kind": ('"event"', "null", '"%s"'),
    "apiVersion": ('"audit.k8s.io/v1beta1"', "null"),
    "level": ('"None"', '"Request"', '"RequestResponse"', '"metadata"', '"Meta\\u0064ata"', "null", "1", '""'),
    "auditID": (
        *map(an_id, range(3)),
        an_id(0x0ABCDEF0).upper(),
        '"6d0f1a8e"',
        '""',
        "null",
        '"%s"',
        an_id(1).replace("7a55", "7\\u00615"),
    ),
    "stage": ('"RequestReceived"', '"ResponseStarted"', '"ResponseComplete"', '"Panic"', '"ResponseCompleted"', '"Re"', '""', "null"),
    "requestURI": (*(f'"{uri}"' for uri in URIS), '"/%s"', '"/api/v1/namespaces/shop/pods/%s"', '"/api/v1/pods?a=%s"', '""', "null", "1"),
    "verb": ('"list"', '"watch"', '"create"', '"GET"', '"get\\u0073"', '""', f'"{"a" * 24}"', f'"{"a" * 25}"', "null", '"g3t"', '"%s"'),
    "user": USERS,
    "sourceIPs": ("[]", '["::1","10.0.0.1"]', '["%s"]', '["a]b"]', "null", "[1]", '"10.0.0.7"', '[ "10.0.0.7"]', '["10.0.0.7",]'),
    "userAgent": ('"%s"', '"curl/8"', "null", "1", '"a%sb"'),
    "objectRef": (*REFERENCES, '{"resource":"pods","namespace":"shop","name":"%s","apiVersion":"v1"}', '{"resource":"%s","name":"a"}'),
    "responseStatus": STATUSES,
    "requestObject": BODIES,
    "responseObject": BODIES,
    "requestReceivedTimestamp": TIMES,
    "stageTimestamp": TIMES,
    "annotations": NOTES,
}
MORE: Final = (
    ("odd", "1"),
    ("odd", '{"a":"b"}'),
    ("impersonatedUser", '{"username":"root"}'),
    ("impersonatedUser", "null"),
    ("authenticationMetadata", '{"impersonationConstraint":"x"}'),
    ("flags", "null"),
    ("our flags", "null"),
    ("our account", "null"),
    ("", "{}"),
    ("metadata", '{"creationTimestamp":null}'),
)
# What several requests of a log are about, so that they go together in reads.
COMMON: Final[tuple[dict[str, str], ...]] = (
    {},
    {"objectRef": MEMBERS["objectRef"].replace("cart-1", "cart-2"), "requestURI": MEMBERS["requestURI"].replace("cart-1", "cart-2")},
    {
        "verb": '"list"',
        "requestURI": '"/api/v1/namespaces/shop/pods"',
        "objectRef": '{"resource":"pods","namespace":"shop","apiVersion":"v1"}',
    },
    {"verb": '"get"', "requestURI": '"/healthz"', "objectRef": "ABSENT"},
    {"verb": '"watch"', "requestURI": '"/api/v1/pods?watch=true"', "objectRef": '{"resource":"pods","apiVersion":"v1"}'},
    {
        "verb": '"update"',
        "level": '"RequestResponse"',
        "requestObject": '{"kind":"Pod","metadata":{"name":"cart-1","managedFields":[{"manager":"m"}]},"spec":{"a":"\u00fc"}}',
        "responseObject": '{"kind":"Pod","metadata":{"name":"cart-1"},"env":[{"name":"DB_PASSWORD","value":"hunter2"}]}',
    },
    {"verb": '"patch"', "level": '"Request"', "requestObject": '{"a" : "b"}', "stageTimestamp": '"2026-11-23T05:20:00.000001Z"'},
    {"annotations": "ABSENT", "sourceIPs": '["10.0.0.8"]'},
    {"userAgent": "ABSENT", "responseStatus": '{"metadata":{},"status":"Failure","message":"pods \\"a\\" not found","code":404}'},
)


def _value(name: str, chance: random.Random) -> str:
    value = chance.choice(VALUES.get(name, BODIES))
    return value.replace("%s", chance.choice(TEXTS)) if "%s" in value else value


def _changed(members: list[tuple[str, str]], chance: random.Random) -> list[tuple[str, str]]:
    """The members of an event with one of them changed, twice there, gone or elsewhere, or with one more."""
    at = chance.randrange(len(members))
    name = members[at][0]
    match chance.randrange(8):
        case 0:
            return members[:at] + members[at + 1 :]
        case 1:
            to = chance.randrange(len(members))
            members[at], members[to] = members[to], members[at]
            return members
        case 2:
            to = chance.randrange(len(members) + 1)
            return [*members[:to], (name, chance.choice((members[at][1], _value(name, chance)))), *members[to:]]
        case 3:
            return [*members[:at], chance.choice(MORE), *members[at:]]
        case _:
            members[at] = name, _value(name, chance)
            return members


def _line(members: list[tuple[str, str]], chance: random.Random, *, bytewise: bool) -> bytes:
    for _ in range(chance.choice((0, 0, 0, 0, 0, 0, 1, 1, 2))):
        members = _changed(list(members), chance)
    line = joined(members)
    match chance.randrange(80):
        case 0:
            return line + b"\r"
        case 1:
            return chance.choice((b" ", b"\t", b"\xef\xbb\xbf")) + line
        case 2:
            return line + chance.choice((b" ", b"}", b"{}", line))
        case 3:
            return line.replace(b",", b", ", chance.randrange(20))
        case 4:
            return b""
        case found if bytewise and found < 16:
            return mutated(line, chance).replace(b"\n", b"")
    return line


def a_log(chance: random.Random, requests: int, *, bytewise: bool = False) -> list[bytes]:
    """The lines of so many requests, some with more stages or fewer, copied, out of order, or with another's audit ID."""
    out: list[bytes] = []
    for number in range(requests):
        about = chance.choice(COMMON)
        changes = {name: None if value == "ABSENT" else value for name, value in about.items()}
        changes["auditID"] = an_id(chance.randrange(number + 1) if chance.randrange(12) == 0 else number)
        stages = chance.choice(("ef", "ef", "ef", "ef", "f", "fe", "e", "eff", "eef", "ff", "esf"))
        drawn = {
            "e": lambda: early(**changes),  # noqa: B023 - called at once
            "f": lambda: final(**changes),  # noqa: B023 - likewise
            "s": lambda: early(**changes | {"stage": '"ResponseStarted"'}),  # noqa: B023 - likewise
        }
        lines = [_line(drawn[stage](), chance, bytewise=bytewise) for stage in stages]
        if out and chance.randrange(8) == 0:
            at = chance.randrange(len(out))
            out[at:at] = lines[:1]
            lines = lines[1:]
        out += lines
    return out


def enveloped(lines: list[bytes], wrap: Callable[[list[bytes]], bytes], chance: random.Random) -> list[bytes]:
    """Those of the lines that are JSON, some at a time in an envelope; now and then with others behind them."""
    valid, out = [line for line in lines if _may_be_wrapped(line)], []
    while valid:
        some = valid[: chance.choice((1, 3, 10, 40))]
        valid = valid[len(some) :]
        out.append(wrap(some))
    return out + a_log(chance, 10) if chance.randrange(3) == 0 else out


def _may_be_wrapped(line: bytes) -> bool:
    """Whether a line is JSON that others can parse and write anew."""
    try:
        json.dumps(json.loads(line.decode()), ensure_ascii=False).encode()
    except ValueError:
        return False
    return True


def a_policy(chance: random.Random) -> str:
    """A policy with rules about what such logs are about."""
    rules = []
    for _ in range(chance.randrange(1, 5)):
        rule: dict[str, Any] = {"level": chance.choice(("None", "Metadata", "Metadata", "Request", "RequestResponse"))}
        if chance.randrange(3) == 0:
            rule["users"] = [chance.choice(("alice", "system:serviceaccount:shop:cart", "system:anonymous"))]
        if chance.randrange(3) == 0:
            rule["verbs"] = chance.sample(("get", "list", "watch", "create", "update", "patch"), 2)
        match chance.randrange(3):
            case 0:
                resources = [chance.choice(("pods", "pods/*", "pods/exec", "secrets", "widgets", "*"))]
                named: dict[str, Any] = {"resourceNames": [chance.choice(("cart-1", "cart-2"))]} if chance.randrange(3) == 0 else {}
                rule["resources"] = [{"group": chance.choice(("", "", "example.org")), "resources": resources} | named]
            case 1:
                rule["nonResourceURLs"] = [chance.choice(("/healthz", "/odd*", "*"))]
        if chance.randrange(4) == 0:
            rule["omitStages"] = [chance.choice(("RequestReceived", "ResponseStarted", "ResponseComplete"))]
        if chance.randrange(4) == 0:
            rule["omitManagedFields"] = bool(chance.randrange(2))
        rules.append(rule)
    return json.dumps({"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": rules})


def drawn(chance: random.Random, among: dict[str, Any]) -> dict[str, Any]:
    """Settings: none, one of these, or a policy and whatever else."""
    match chance.randrange(3):
        case 0:
            return {}
        case 1:
            return among[chance.choice(sorted(among))]
    more = {"keep_managed_fields": True, "strip_bulk": True, "fold": False, "exec_args": "keep", "window": 1_000_000}
    return {"policy": a_policy(chance)} | {name: value for name, value in more.items() if chance.randrange(4) == 0}
