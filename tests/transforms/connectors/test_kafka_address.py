"""Addresses and settings of Kafka: refused before any network, all problems at once, and no password told."""

from __future__ import annotations

import builtins
import socket
from typing import Any

import pytest

from transforms.connectors.kafka_address import Address, client_settings
from transforms.connectors.kafka_source import KafkaSource, parse

PASSWORD = "hunter2"


def parsed(uri: str, **settings: str) -> tuple[KafkaSource | None, list[str]]:
    return parse(uri, None, follow=False, settings={name.replace("_", "."): value for name, value in settings.items()}, output="reduced")


@pytest.mark.parametrize(
    ("uri", "address"),
    [
        ("kafka://b1:9092/audit?group=reducer", Address(["b1:9092"], ["audit"], "reducer")),
        ("kafka://b1:9092,10.0.0.2:9093/audit,audit.east", Address(["b1:9092", "10.0.0.2:9093"], ["audit", "audit.east"], None)),
        ("kafka://[::1]:9092/a_b-c.d?group=team%40night%20shift", Address(["[::1]:9092"], ["a_b-c.d"], "team@night shift")),
    ],
)
def test_an_address_names_servers_topics_and_a_group(uri: str, address: Address):
    source, problems = parsed(uri)
    assert problems == []
    assert source is not None
    assert source._address == address


def test_all_that_is_wrong_with_an_address_is_said_at_once():
    source, problems = parsed("kafka://b1,b2:99999/audit,,au dit,audit?group=&topic=x&acks=all")
    assert source is None
    assert [problem.partition(": ")[2].partition("; expected")[0] for problem in problems] == [
        "server 1 is no host:port",
        "server 2 is no host:port",
        "topic 2 is no name of one",
        "topic 3 is no name of one",
        "audit is there twice",
        "unknown parameter acks; client settings stand in a file",
        "unknown parameter topic; client settings stand in a file",
        "the name of a group has 1 to 255 characters",
    ]


def test_two_groups_are_one_too_many():
    assert parsed("kafka://b1:9092/audit?group=a&group=b")[1] == ["--input kafka://b1:9092/audit: group is there 2 times"]


@pytest.mark.parametrize(
    "uri",
    [
        f"kafka://alice:{PASSWORD}@b1:9092/audit",
        f"kafka://alice:{PASSWORD}/{PASSWORD}?{PASSWORD}@b1:9092/audit",
        f"kafka://alice:{PASSWORD}/audit",
        f"kafka://b1:9092/audit?sasl.password={PASSWORD}",
    ],
)
def test_a_password_in_an_address_is_refused_and_not_told(uri: str):
    source, problems = parsed(uri)
    assert source is None
    assert problems
    assert PASSWORD not in "".join(problems)


def test_all_that_is_wrong_with_settings_is_said_at_once():
    source, problems = parsed(
        "kafka://b1:9092/audit", fetch_max_bytes="plenty", no_such_setting="1", auto_offset_reset="latest", group_id="x", client_rack="a"
    )
    assert source is None
    assert problems == [
        "Kafka setting auto.offset.reset: not yours to set: a position that is gone must be seen, and is counted as a gap",
        "Kafka setting group.id: not yours to set: the address names it: ?group=",
        'Kafka settings: Invalid value for configuration property "fetch.max.bytes"',
        'Kafka settings: No such configuration property: "no.such.setting"',
    ]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"security.protocol": PASSWORD}, 'Invalid value for configuration property "security.protocol"'),
        (
            {"security.protocol": "sasl_ssl", "sasl.mechanism": "PLAIN", "sasl.password": PASSWORD},
            "sasl.username and sasl.password must be set",
        ),
        ({"security.protocol": "ssl", "ssl.key.pem": PASSWORD}, "ssl.key.pem"),
        ({"security.protocol": "ssl", "ssl.ca.location": "/nowhere/ca.pem"}, "ssl.ca.location failed"),
    ],
)
def test_settings_that_make_no_client_are_refused_and_secrets_among_them_not_told(settings: dict[str, str], said: str):
    source, problems = parse("kafka://b1:9092/audit", None, follow=False, settings=settings, output="reduced")
    assert source is None
    assert said in "".join(problems)
    assert PASSWORD not in "".join(problems)


def test_tls_and_sasl_are_settings():
    source, problems = parse(
        "kafka://b1:9093/audit?group=reducer",
        None,
        follow=True,
        settings={"security.protocol": "SASL_SSL", "sasl.mechanism": "SCRAM-SHA-512", "sasl.username": "alice", "sasl.password": PASSWORD},
        output="reduced",
    )
    assert problems == []
    assert source is not None


def test_only_committed_messages_are_read_unless_settings_say_otherwise():
    address = Address(["b1:9092"], ["audit"], None)
    assert client_settings(address, {})["isolation.level"] == "read_committed"
    assert client_settings(address, {"isolation.level": "read_uncommitted"})["isolation.level"] == "read_uncommitted"


def test_nobody_is_asked_whether_the_settings_are_right():
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert parsed(f"kafka://127.0.0.1:{server.getsockname()[1]}/audit?group=reducer")[1] == []
        server.settimeout(0.3)
        with pytest.raises(TimeoutError):
            server.accept()


def test_without_its_package_kafka_says_which_extra_it_needs(monkeypatch: pytest.MonkeyPatch):
    real = builtins.__import__

    def lacking(name: str, *rest: Any) -> Any:
        if name.startswith("confluent_kafka"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", lacking)
    assert parsed("kafka://b1:9092/audit")[1] == ["--input kafka://…: needs the extra 'kafka': pip install 'kube-audit-reducer[kafka]'"]
