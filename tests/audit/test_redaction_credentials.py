"""Credentials by their rarer names and in the forms of many programs' files; what is only called or spelt alike survives."""

from __future__ import annotations

import base64
import json
import re
from typing import Any

import pytest

from transforms.audit.event import Event
from transforms.audit.redaction import Redactor

MAPS = "/api/v1/namespaces/shop/configmaps/db"
PODS = "/api/v1/namespaces/shop/pods/db"
SECRETS = "/api/v1/namespaces/shop/secrets/db"
WIDGETS = "/apis/example.com/v1/namespaces/shop/widgets/a"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/widgets.example.com"
SECRET = "h7tr2-hunter2"
MASK = "<redacted: 13 bytes>"


def body(before: object, uri: str) -> Any:
    event = Event(requestURI=uri, requestObject=json.dumps(before).encode())  # type: ignore[arg-type]
    Redactor().redact(event)
    assert event.flags is None
    once = bytes(event.requestObject)
    Redactor().redact(event)
    assert bytes(event.requestObject) == once
    return json.loads(once)


# What a scan finds by itself; the others where everything is searched, and as names of variables.
SCANNED = (
    "adminToken AUTH_SECRET OAUTH_SECRET oauthSecret TLS_KEY GCP_SA_KEY serviceKey recoveryKey privateKeyPem secretId VAULT_SECRET_ID "
    "webhookUrl SLACK_WEBHOOK_URL NPM_AUTH REDISCLI_AUTH REQUIREPASS"
).split()


@pytest.mark.parametrize(
    "key",
    (
        "adminToken AUTH_SECRET OAUTH_SECRET oauthSecret TLS_KEY GCP_SA_KEY serviceKey recoveryKey privateKeyPem secretId VAULT_SECRET_ID "
        "webhookUrl SLACK_WEBHOOK_URL slack_api_url NPM_AUTH REDISCLI_AUTH DOCKER_AUTH_CONFIG communityString snmpCommunity walletSeed "
        "PINCODE certificateKey REQUIREPASS contraseña mot_de_passe пароль"
    ).split(),
)
def test_a_value_under_a_credentials_rarer_name_is_masked(key: str):
    assert body({"data": {key: SECRET}}, MAPS) == {"data": {key: MASK}}
    assert body({"data": {"a.env": f"a=b\n{key}={SECRET}\nc=d\n"}}, MAPS) == {"data": {"a.env": f"a=b\n{key}={MASK}\nc=d\n"}}
    assert body({"env": [{"name": key, "value": SECRET}]}, PODS) == {"env": [{"name": key, "value": MASK}]}
    if key in SCANNED:
        assert body({"annotations": {key: SECRET}}, PODS) == {"annotations": {key: MASK}}


@pytest.mark.parametrize(
    "key",
    (
        "minTokens max_tokens passkeys authSecret auth-secret nginx.ingress.kubernetes.io/auth-secret checksum/secret "
        "tlsSecret ca_secret pull-secret passwordSecret sourceSecret vault.hashicorp.com/agent-inject-secret-db-creds "
        "checksum/db-password webhook webhooks community seed seedCount pinned"
    ).split(),
)
def test_a_value_under_a_name_that_only_looks_alike_stays(key: str):
    for uri in (MAPS, PODS):
        assert body({"data": {key: "blue-7f3a9c51"}}, uri) == {"data": {key: "blue-7f3a9c51"}}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("name", "value"),
        ("id", "value"),
        ("field", "value"),
        ("property", "value"),
        ("header", "value"),
        ("Key", "Value"),
        ("name", "default"),
        ("name", "stringValue"),
        ("headerName", "headerValue"),
        ("ParameterKey", "ParameterValue"),
    ],
)
def test_a_value_beside_its_name_is_masked_whatever_the_two_fields_are_called(name: str, value: str):
    for uri in (WIDGETS, PODS) if value == "value" else (WIDGETS,):
        assert body({"a": [{name: "db-password", value: SECRET}]}, uri) == {"a": [{name: "db-password", value: MASK}]}
        assert body({"a": [{value: SECRET, name: "db-password"}]}, uri) == {"a": [{value: MASK, name: "db-password"}]}
        assert body({"a": [{name: "color", value: SECRET}]}, uri) == {"a": [{name: "color", value: SECRET}]}


@pytest.mark.parametrize("path", ["data", "spec.data", "spec.template.data"])
def test_the_data_of_another_groups_kind_of_secret_is_masked(path: str):
    def copied(kind: str, value: str) -> dict:
        held: dict = {"alpha": value}
        for name in reversed(path.split(".")):
            held = {name: held}
        return {"kind": kind, "apiVersion": "example.com/v1", "metadata": {"name": "a"}} | held

    assert body(copied("ClusterSecret", SECRET), WIDGETS) == copied("ClusterSecret", MASK)
    assert body(copied("ClusterSecretPolicy", SECRET), WIDGETS) == copied("ClusterSecretPolicy", SECRET)


@pytest.mark.parametrize("key", ["routing_key", "routingKey", "ROUTING_KEY", "x-routing-key", "pagerduty-key", "pagerdutyRoutingKey"])
def test_a_routing_key_is_masked_if_it_is_no_name(key: str):
    for uri in (MAPS, PODS, WIDGETS):
        for value, kept in ((SECRET + "123", "<redacted: 16 bytes>"), ("orders.created.v123", "orders.created.v123"), ("orders", "orders")):
            assert body({"a": {key: value}}, uri) == {"a": {key: kept}}
            assert body({"a": [{"name": key, "value": value}]}, uri) == {"a": [{"name": key, "value": kept}]}
            for text in ("pagerduty:\n  {}: {}\n", '{} = "{}"', "curl -H '{}: {}' https://example.com", "- name: {}\n  value: {}\n"):
                if uri == MAPS or not text.startswith("- name"):
                    assert body({"a": text.format(key, value)}, uri) == {"a": text.format(key, kept)}


@pytest.mark.parametrize("url", ["http://hooks:8080/a/7f3a9c51", "https://hooks.shop.svc/a", "http://hooks.shop.svc.cluster.local:80/b"])
def test_the_url_of_a_service_of_the_cluster_is_no_credential(url: str):
    assert body({"data": {"webhookUrl": url}}, MAPS) == {"data": {"webhookUrl": url}}


def test_what_is_called_auth_is_masked_if_it_can_be_nothing_else():
    login = base64.b64encode(b"bob:hunter2").decode()
    before = {"a": {"auth": SECRET}, "b": {"auth": login}, "c": {"auth": "basic"}, "d": {"auth": "keycloak-v2"}}
    after = before | {"a": {"auth": MASK}, "b": {"auth": "<redacted: 16 bytes>"}}
    assert body({"data": before}, MAPS) == {"data": after}
    assert body({"data": before}, PODS) == {"data": after}


# What is masked stands between « and ».
@pytest.mark.parametrize(
    "text",
    [
        "mode: x\nroot:«S»@tcp(127.0.0.1:3306)/shop",
        "jdbc:oracle:thin:bob/«S»@//db:1521/x",
        "port 1\nuser alice on >«S» ~* &* +@all\n",
        "listen stats\n  stats auth admin:«S»\n",
        "cache_peer a parent 3128 0 login=bob:«S»\n",
        "rocommunity «S»\n",
        '1.2.3.4 %any : PSK «"S"»\n',
        'key "a" {\n  secret «"S"»;\n};\n',
        "CREATE USER 'a' IDENTIFIED WITH mysql_native_password BY «'S'»",
        "SET PASSWORD FOR 'a' = PASSWORD(«'S'»)",
        '$p = ConvertTo-SecureString «"S"» -AsPlainText # password',
        "password: &p «S»\nuser: a\n",
        '<add key="ApiKey" value=«"S"»/>',
        "TOKEN ?= «S»\n",
        "object.data.password != '«S»'",
        "echo 'root:«S»' | chpasswd",
        "echo «S» | docker login -u bob --password-stdin",
        "vault login «S»",
        "podman login -u bob -p «S» registry.example.com",
        "sqlcmd -S db -P «S» -Q x",
        "rabbitmqctl change_password bob «S»",
        "aws configure set aws_secret_access_key «S»",
        "https://example.com/a?auth=«S»",
        "env:\n- name: DB_PASSWORD\n  value: «S»\n",
        "machine example.com login bob password «S»\ndefault login bob\n  password «S»\n",
        "# of psql\ndb:6432:shop:bob:«S»\n10.0.0.1:5433:*:bob:«S»\n",
        "https://example.com/cb?code=«S»&state=a",
        "args:\n- --password\n- «S»\n- --user\n- bob\n",
        'proxy_set_header X-Api-Key "«S»";\nproxy_set_header X-Auth-Token «S»;\nset $api_key "«S»";\n',
        'variable "db_password" {\n  type = string\n  default = "«S»"\n}\n',
        "rootpw --plaintext «S»\nfirewall --enabled\n",
        "error: invalid api key «S»",
        'args:\n  - "--db-token"\n  - "«S»"\n',
        'args: ["--user", "bob", "--password", "«S»"]',
        "args='--api-key','«S»' x",
        'x.PlainLoginModule required username="a" user_bob="«S»";',
        "sqlplus -s bob/«S»@db:1521/x",
        "UPDATE users SET password=«MD5('S'»), x='a'",
        "<security>\n  shared_key «S»\n</security>",
        "authorization_code=«S»",
        '«S»,admin,1,"system:masters"\n«S»,bob,2,system:nodes\n',
    ],
)
def test_a_credential_in_a_programs_file_or_script_is_masked(text: str):
    before = re.sub(r"«([\"']?|MD5\(')S([\"']?)»", rf"\1{SECRET}\2", text)
    after = re.sub("«[^»]+»", lambda found: MASK if "(" not in found[0] else "<redacted: 18 bytes>", text)
    assert body({"data": {"a": before}}, MAPS) == {"data": {"a": after}}


@pytest.mark.parametrize(
    "text",
    [
        "args:\n- --password\n- «S»\n",
        "define('DB_PASSWORD', '«S»');",
        'proxy_set_header X-Api-Key "«S»";\n',
        "more_set_headers 'X-Auth-Token: «S»';",
        'x.PlainLoginModule required username="a" user_bob="«S»";',
        "sqlplus -s bob/«S»@db:1521/x",
        '1.2.3.4 %any : PSK "«S»"\n',
        "cache_peer a parent 3128 0 login=bob:«S»\n",
        "authorization_code=«S»",
    ],
)
def test_a_credential_in_a_programs_file_is_found_in_any_object(text: str):
    before, after = text.replace("«S»", SECRET), text.replace("«S»", MASK).replace(f'"{MASK}"\n', MASK + "\n")
    assert body({"metadata": {"annotations": {"a": before}}}, PODS) == {"metadata": {"annotations": {"a": after}}}


RANDOM = "Zq8h7tr2Xw5Kd0Pm3Vb9"


@pytest.mark.parametrize("option", ["-k", "-p", "-T"])
def test_what_only_a_machine_would_write_is_masked_after_an_option_of_one_letter(option: str):
    kept = f"<redacted: {len(RANDOM)} bytes>"
    for uri in (MAPS, PODS):
        assert body({"args": [option, RANDOM, "-f", "a"]}, uri) == {"args": [option, kept, "-f", "a"]}
        assert body({"args": ["sh", "-c", f"run {option} {RANDOM} -f a"]}, uri) == {"args": ["sh", "-c", f"run {option} {kept} -f a"]}


@pytest.mark.parametrize(
    "word",
    ["release-2024-payments-eu1", "0123456789abcdef0123456789abcdef01234567", "/etc/Kubernetes/manifests/V1", "ReleaseNotesOfSeptember"],
)
def test_other_words_after_an_option_of_one_letter_stay(word: str):
    for uri in (MAPS, PODS):
        before = {"args": ["-k", word], "command": ["sh", "-c", f"run -k {word}"]}
        assert body(before, uri) == before


def test_a_containers_program_is_known_by_its_image():
    def pod(image: str, args: list[str]) -> dict:
        return {"spec": {"containers": [{"image": image, "args": args}]}}

    for image in ("curlimages/curl:8.1", "registry:5000/curl@sha256:0a", "curl"):
        assert body(pod(image, ["-s", "-u", f"bob:{SECRET}"]), PODS) == pod(image, ["-s", "-u", f"bob:{MASK}"])
    assert body(pod("vault", ["login", SECRET]), PODS) == pod("vault", ["login", MASK])
    assert body(pod("web:1", ["login", SECRET]), PODS) == pod("web:1", ["login", SECRET])


@pytest.mark.parametrize(
    "stored",
    [
        "md5" + "0123456789abcdef" * 2,
        "SCRAM-SHA-256$4096:c2FsdHNhbHQ=$c3RvcmVka2V5:c2VydmVya2V5",
        "{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=",
        "{SSHA512}W6ph5Mm5Pz8GgiULbPgzG37mj9gW6ph5Mm5Pz8=",
    ],
)
def test_a_password_as_servers_store_it_is_masked_in_any_object(stored: str):
    stand_in = f"<redacted: {len(stored)} bytes>"
    for uri in (MAPS, PODS):
        for text in ('"bob" "{}"\n"ann" "x"\n', "listen: a\nbob:{}\n")[stored.startswith("{") :][: 1 if stored.startswith("md5") else 2]:
            assert body({"data": {"a": text.replace("{}", stored)}}, uri) == {"data": {"a": text.replace("{}", stand_in)}}


def test_what_cloud_init_gives_users_as_passwords_is_masked():
    text = "chpasswd:\n  list: |\n    root:{0}\n    bob:{0}\n  expire: false\n"
    whole = f"root:{SECRET}\n    bob:{SECRET}"
    assert body({"data": {"a": text.format(SECRET)}}, MAPS) == {
        "data": {"a": f"chpasswd:\n  list: |\n    <redacted: {len(whole)} bytes>\n  expire: false\n"}
    }
    for other in ("chpasswd:\n  expire: false\n", "chpasswd: {expire: false}\n"):
        assert body({"data": {"a": other}}, MAPS) == {"data": {"a": other}}


def test_what_a_list_of_pgbouncers_users_has_in_second_place_is_masked():
    before, after = (f'"bob" "{value}"\n; old\n"an n"\t"{value}"\r\n"eve" ""' for value in (SECRET, MASK))
    for uri in (MAPS, WIDGETS):
        assert body({"data": {"userlist.txt": before, "pairs.txt": before}}, uri) == {"data": {"userlist.txt": after, "pairs.txt": before}}


@pytest.mark.parametrize(
    "text",
    [
        "login with the machine password you have, or a default login and password of yours",
        "02:42:ac:11:00:02\n2001:4860:4860:0:0:0:0:8888\nmain.go:1234: no:such:thing here\n",
        'args: ["--user", "bob-123456"]\n- --color\n- blue-123456',
        "- --password\n- --user\n- bob-123456",
        "proxy_set_header Authorization $http_authorization;\nproxy_set_header X-Api-Key $api_key;\nset $color blue-123456;",
        'variable "color" {\n  default = "blue-123456"\n}\n',
        'terraform: user_name = "bob-123456"',
        "team-2024-payments,developers,system:authenticated\nteam-2024-payments,a,b,team",
        "system:serviceaccounts:shop1,a,b,system:authenticated",
        "https://example.com/shop?code=welcome&id=1234",
        "https://example.com/shop?country_code=de-12345678",
        "md5: 0123456789abcdef0123456789abcdef",
        "SCRAM-SHA-256 and {SHA} are hashes",
        "pipe: {SHARD}/0123456789abcdef",
    ],
)
def test_text_that_only_reminds_of_a_programs_file_stays(text: str):
    for uri in (MAPS, PODS):
        assert body({"data": {"a": text}}, uri) == {"data": {"a": text}}


DEPLOYMENTS = "/apis/apps/v1/namespaces/shop/deployments/a"
# How a value may stand beside a name, in an object that is searched only if a scan finds something in it.
PLACES = {
    "field": lambda name, value: {"spec": {name: value}},
    "variable": lambda name, value: {"env": [{"value": value, "name": name}]},
    "assigned": lambda name, value: {"args": ["docker", "run", "-e", f"{name}={value}"]},
    "exported": lambda name, value: {"args": ["sh", "-c", f"export {name}={value}; run"]},
    "YAML": lambda name, value: {"annotations": {"a": f"b: c\n{name}: {value}\n"}},
    "JSON": lambda name, value: {"annotations": {"a": json.dumps({"b": {name: value}}, separators=(",", ":"))}},
    "parameter": lambda name, value: {"url": f"https://example.com/a?{name}={value}&b=c"},
    "patch": lambda name, value: [{"op": "add", "path": f"/spec/{name}", "value": value}],
    "option": lambda name, value: {"args": [f"--db-{name.lower().replace('_', '-')}", value]},
    "option of a script": lambda name, value: {"args": ["sh", "-c", f"run --db-{name.lower().replace('_', '-')} {value} b"]},
    "XML": lambda name, value: {"annotations": {"a": f"<a><{name}>{value}</{name}></a>"}},
}
NO_OPTIONS = {"SLACK_API_URL", "DOCKER_AUTH_CONFIG", "SNMP_COMMUNITY", "SEED_PHRASE", "AUTH_HEADER"}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    "name",
    (
        "DB_PASSWORD API_KEY DB_PWD SENTRY_DSN JWT COOKIE CREDENTIALS PSK SALT OTP SECRET_ID WEBHOOK_URL AWS_ACCESS_KEY_ID SENHA "
        "MNEMONIC SLACK_API_URL DOCKER_AUTH_CONFIG COMMUNITY_STRING PINCODE CERTIFICATE_KEY SNMP_COMMUNITY WALLET_SEED AUTH_CODE "
        "SEED_PHRASE AUTH_HEADER COOKIE_SECRET"
    ).split(),
)
def test_a_credential_is_found_under_any_name_in_any_place(name: str, place: str):
    if "option" not in place or name not in NO_OPTIONS:
        assert body(PLACES[place](name, SECRET), DEPLOYMENTS) == PLACES[place](name, MASK)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    "name", "LOG_LEVEL KEYCLOAK_URL SALTED PINNED COOKIE_DOMAIN DSN_NAME SECRET_NAME COMMUNITY SEED AUTHOR KEY_COUNT".split()
)
def test_other_names_leave_what_stands_beside_them(name: str, place: str):
    assert body(PLACES[place](name, "blue-7f3a9c51"), DEPLOYMENTS) == PLACES[place](name, "blue-7f3a9c51")


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize(
    "name",
    (
        "DB_PASSWORD DB_PASS API_KEY DB_PWD DB_PW SENTRY_DSN GITHUB_PAT JWT REDIS_AUTH COOKIE CLIENT_CREDENTIALS PSK SESSION_SALT "
        "connectionString OTP NPM_AUTH VAULT_SECRET_ID WEBHOOK_URL AWS_ACCESS_KEY_ID MNEMONIC senha"
    ).split(),
)
def test_a_variable_is_masked_in_what_kubectl_applied_last_as_in_the_object(name: str, indent: int | None):
    def deployment(value: str) -> dict:
        spec = {"containers": [{"env": [{"name": name, "value": value}, {"name": "KEYCLOAK_URL", "value": "blue-7f3a9c51"}]}]}
        return {"kind": "Deployment", "metadata": {"name": "a"}, "spec": {"template": {"spec": spec}}}

    def applied(value: str) -> dict:
        last = json.dumps(deployment(value), indent=indent, separators=None if indent else (",", ":"))
        object_ = deployment(value)
        object_["metadata"]["annotations"] = {"kubectl.kubernetes.io/last-applied-configuration": last}
        return object_

    found = body(applied(SECRET), "/apis/apps/v1/namespaces/shop/deployments/a")
    last = found["metadata"]["annotations"].pop("kubectl.kubernetes.io/last-applied-configuration")
    assert json.loads(last) == deployment(MASK)
    assert found == deployment(MASK) | {"metadata": {"name": "a", "annotations": {}}}


def test_a_passphrase_of_words_is_masked():
    for words in ("secret server words", "token by token", "correct horse battery staple"):
        before, after = f"a: b\npassword: {words}\n", f"a: b\npassword: <redacted: {len(words)} bytes>\n"
        assert body({"data": {"a": before}}, MAPS) == {"data": {"a": after}}
        quoted = {"data": {"a": f'token: "{words}"'}}
        assert body(quoted, MAPS) == {"data": {"a": f'token: "<redacted: {len(words)} bytes>"'}}


def test_a_static_key_in_pem_is_masked():
    pem = f"-----BEGIN OpenVPN Static key V1-----\n{SECRET}\n-----END OpenVPN Static key V1-----"
    assert body({"data": {"a": f"x\n{pem}\ny"}}, MAPS) == {"data": {"a": f"x\n<redacted: {len(pem)} bytes>\ny"}}


@pytest.mark.parametrize(
    "innocent",
    [
        "failed to pull: may require authorization: server message: insufficient_scope: failed for blue-7f3a9c51",
        "failed to fetch anonymous token: unexpected status from GET request to https://example.com/token?scope=blue-7f3a9c51: 403",
        'MountVolume.SetUp failed for volume "v" : references non-existent secret key: blue-7f3a9c51',
        "failed to get secret key: key blue-7f3a9c51 not found",
        "Waiting for credentials: secret blue-7f3a9c51 is missing",
        "password: must be at least 8 characters for blue-7f3a9c51",
        "authorization: rejected by policy blue-7f3a9c51",
        "invalid token: token is expired for blue-7f3a9c51",
        "pin nginx:1.25.3-blue",
        'MountVolume.SetUp failed: secret "blue-7f3a9c51" not found',
        "docker run -u 1000:1000 blue-7f3a9c51",
        "kubectl create configmap a --from-literal=color=blue-7f3a9c51",
        "user: alice\nsize: >\n  blue-7f3a9c51\n",
        "vault read secret/blue-7f3a9c51",
        "echo blue-7f3a9c51 | grep login",
        "login=blue-7f3a9c51",
        "https://example.com/a?author=blue-7f3a9c51",
        "identified by the label blue-7f3a9c51",
        "colors: &default blue-7f3a9c51\n",
    ],
)
def test_text_that_is_only_spelt_alike_stays(innocent: str):
    for uri in (MAPS, PODS):
        assert body({"data": {"a": innocent}}, uri) == {"data": {"a": innocent}}


@pytest.mark.parametrize("field", ["default", "example"])
def test_what_a_schema_gives_for_a_credential_is_masked_and_other_defaults_stay(field: str):
    def schema(value: str) -> dict:
        properties = {"apiKey": {"type": "string", field: value}, "color": {"type": "string", field: "blue-7f3a9c51"}}
        return {"kind": "CustomResourceDefinition", "spec": {"versions": [{"schema": {"openAPIV3Schema": {"properties": properties}}}]}}

    assert body(schema(SECRET), CRDS) == schema(MASK)


def test_a_label_of_a_secret_is_masked_under_a_credentials_name_only():
    def labels(value: str) -> dict:
        return {"metadata": {"labels": {"api-token": value, "app": "blue-7f3a9c51", "secret": "true"}}}

    assert body(labels(SECRET), SECRETS) == labels(MASK)


def test_an_extra_attribute_that_nobody_would_write_is_masked_however_short():
    event = Event(requestURI=PODS, impersonatedUser=json.dumps({"username": "a", "extra": {"x/y": [SECRET + "9", "team-1"]}}).encode())  # type: ignore[arg-type]
    Redactor().redact(event)
    assert json.loads(bytes(event.impersonatedUser))["extra"] == {"x/y": ["<redacted: 14 bytes>", "team-1"]}
