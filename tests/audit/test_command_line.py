"""Arguments that are credentials because their program says so, each in place; what looks alike to another program stays."""

from __future__ import annotations

import json
import time

import pytest

from transforms.audit.command_line import mask_arguments, mask_commands
from transforms.audit.embedded import Search
from transforms.audit.event import Event
from transforms.audit.redaction import Redactor

PODS = "/api/v1/namespaces/shop/pods/db"
SECRET = "h7tr2-hunter2"
MASK = "<redacted: 13 bytes>"


LINES = [
    "mysql -u root -p@",
    "/usr/bin/mysqldump -h db -p@ shop",
    "redis-cli -h db -a @ ping",
    "sshpass -p @ ssh a@b",
    "sshpass -p@ ssh a@b",
    "mongosh --host db -p @",
    "ldapsearch -D cn=a -w @",
    "docker login -u bob -p @ registry.example.com",
    "az login --service-principal -u bob -p @ --tenant t",
    "sqlcmd -S db -U sa -P @",
    "curl -s -u bob:@ https://example.com",
    "curl --user bob:@ https://example.com",
    "etcdctl --user root:@ get a",
    "smbclient -U bob%@ //h/s",
    "snmpget -v2c -c @ host",
    "openssl enc -k @",
    "openssl passwd -1 @",
    "htpasswd -bnBC 10 bob @",
    "vault login @",
    "vault operator unseal @",
    "ngrok authtoken @",
    "rabbitmqctl add_user bob @",
    "rabbitmqctl change_password bob @",
    "mc alias set a http://minio:9000 admin @",
    "aws configure set aws_secret_access_key @",
    "kubectl create secret generic a --from-literal=b=@ --from-literal c=@",
    "timeout 5 redis-cli -a @ ping",
    "keytool -importkeystore -srcstorepass @ -deststorepass @ -alias a",
    "mosquitto_pub -h mq -u bob -P @ -t a",
    "zip -r -P @ a.zip b",
    "7z x -p@ a.7z",
    "cqlsh -u bob -p @ db",
    "useradd -m -p @ bob",
    "lftp -u bob,@ ftp://h",
    "consul acl set-agent-token default @",
    "zkCli.sh addauth digest @",
]


@pytest.mark.parametrize("line", LINES)
def test_a_credential_among_a_programs_arguments_is_masked(line: str):
    before = line.replace("a@b", "a.b").replace("@", SECRET).split()
    after = [argument.replace(SECRET, MASK) for argument in before]
    arguments = list(before)
    search = Search()
    mask_arguments(arguments, search)
    assert arguments == after
    assert search.cuts["credential"] == [line.replace("a@b", "").count("@"), 13 * line.replace("a@b", "").count("@")]
    for container in ({"command": before}, {"command": before[:1], "args": before[1:]}, {"exec": {"command": before}}):
        event = Event(requestURI=PODS, requestObject=json.dumps({"spec": {"containers": [container]}}).encode())  # type: ignore[arg-type]
        Redactor().redact(event)
        assert SECRET.encode() not in bytes(event.requestObject)
        once = bytes(event.requestObject)
        Redactor().redact(event)
        assert bytes(event.requestObject) == once


OTHERS = [
    "ssh -p 2222 a-123456.example.com",
    "mkdir -p /data/a-123456",
    "cp -a b-123456 /c",
    "redis-cli -h b-123456 -p 6379",
    "redis-server --port 6379",
    "mysql -u b-123456 -h db -p",
    "docker run -p 80:80 -w /work/b-123456 -u 1000:1000 img",
    "curl -u b-123456 -o c-123456 https://example.com/d-123456",
    "curl -u 1000:1000 https://example.com",
    "docker login registry.example.com",
    "vault read secret/b-123456",
    "vault login -method=userpass username=b-123456",
    "vault kv get secret/b-123456",
    "htpasswd -c b-123456 bob",
    "openssl x509 -in b-123456",
    "kubectl get secret b-123456",
    "kubectl create configmap a --from-literal=b=c-123456",
    "aws configure set region eu-123456",
    "mysql -p$(PASSWORD) -h b-123456",
    "redis-cli -a $REDIS_PASSWORD ping",
    "mc ls b-123456",
    "nc -w 5 b-123456",
    "az vm list -p b-123456",
    "helm upgrade a b-123456 --set color=c-123456",
    "openssl x509 -noout -pubkey -in b-123456",
    "an alias set by b-123456 c d",
    "zip -r b-123456 c",
    "keytool -list -keystore b-123456",
    "useradd -m b-123456",
]


@pytest.mark.parametrize("line", OTHERS)
def test_other_arguments_stay(line: str):
    arguments = line.split()
    mask_arguments(arguments, Search())
    assert arguments == line.split()
    event = Event(requestURI=PODS, requestObject=json.dumps({"spec": {"command": line.split()[:1], "args": line.split()[1:]}}).encode())  # type: ignore[arg-type]
    Redactor().redact(event)
    assert json.loads(bytes(event.requestObject)) == {"spec": {"command": line.split()[:1], "args": line.split()[1:]}}


def script(line: str, value: str) -> dict:
    text = line.replace("a@b", "a.b").replace("@", value)
    return {
        "metadata": {"annotations": {"run": f"set -e\n{text} | tee x; true\n"}},
        "spec": {"args": ["sh", "-c", f'x=$(/usr/bin/{text}); y "a"']},
    }


@pytest.mark.parametrize("line", [line for line in LINES if not line.startswith(("zkCli", "timeout"))])
@pytest.mark.parametrize("quote", ["", "'", '"'])
def test_a_credential_in_a_command_of_a_script_is_masked(line: str, quote: str):
    before, after = (json.dumps(script(line, quote + value + quote)) for value in (SECRET, MASK))
    for uri in (PODS, "/api/v1/namespaces/shop/configmaps/a"):
        event = Event(requestURI=uri, requestObject=before.encode())  # type: ignore[arg-type]
        for _ in range(2):
            Redactor().redact(event)
            assert json.loads(bytes(event.requestObject)) == json.loads(after)


@pytest.mark.parametrize("line", OTHERS)
def test_other_commands_of_a_script_stay(line: str):
    event = Event(requestURI="/api/v1/namespaces/shop/configmaps/a", requestObject=json.dumps(script(line, "")).encode())  # type: ignore[arg-type]
    Redactor().redact(event)
    assert json.loads(bytes(event.requestObject)) == script(line, "")


@pytest.mark.parametrize("value", ["$PW", "${PW}", '"$PW"', "$(cat /run/pw)", "`cat /run/pw`", "{{ .Values.pw }}", "%PW%"])
def test_what_a_shell_or_a_template_puts_in_place_stays(value: str):
    for line in ("redis-cli -a @ ping", "curl -s --user bob:@ https://example.com", "7z x -p@ a.7z"):
        text = line.replace("@", value)
        assert mask_commands(text, Search()) == text


def test_a_command_goes_on_after_a_backslash_and_ends_with_its_line():
    text = "redis-cli -h db \\\n  -a @ \\\n ping\ncp -a x y"
    assert mask_commands(text.replace("@", SECRET), Search()) == text.replace("@", MASK)


def test_a_line_of_nothing_but_programs_is_read_a_bounded_number_of_times():
    line = ["mysql", "kubectl", "secret", "vault", "-pa"] * 4000
    started = time.process_time()
    mask_arguments(line, Search())
    assert time.process_time() - started < 2
    assert "-pa" not in line


def test_a_list_that_holds_more_than_strings_is_no_command_line():
    mixed = ["mysql", 1, "-psecret"]
    mask_arguments(mixed, Search())
    assert mixed == ["mysql", 1, "-psecret"]
