"""What `kafka://` addresses and their settings say: read and checked without a network, all problems at once."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import parse_qsl

import msgspec

SCHEME: Final = "kafka://"
FORM: Final = "kafka://host:port[,host:port]/topic[,topic]?group=NAME"
_SERVER = re.compile(r"(?:[A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+\]):(\d{1,5})").fullmatch
_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,249}").fullmatch  # as in Kafka's own org.apache.kafka.common.internals.Topic
_LONGEST_GROUP: Final = 255
_SECRET = re.compile(r"password|secret|\.key$|\.pem$|token|jaas|oauthbearer\.config|sasl\.username").search
_NAMED = re.compile(r'property "([^"]*)"').search
# What the source depends on to be exact, and what the address says already.
OURS: Final = {
    "auto.offset.reset": "a position that is gone must be seen, and is counted as a gap",
    "bootstrap.servers": "the address names them",
    "enable.auto.commit": "offsets are committed when their events are",
    "enable.auto.offset.store": "offsets are committed when their events are",
    "enable.partition.eof": "the end of a partition must be seen",
    "group.id": "the address names it: ?group=",
    "metadata.broker.list": "the address names them",
}
DEFAULTS: Final = {
    "client.id": "kube-audit-reducer",
    "isolation.level": "read_committed",
    "log_level": "0",  # what goes wrong comes as errors; librdkafka's own lines on stderr would only repeat it
    # What is fetched at once, and from one partition; brokers send a message that is longer all the same.
    "fetch.max.bytes": str(16 << 20),
    "fetch.message.max.bytes": str(4 << 20),
    "receive.message.max.bytes": str(128 << 20),
    "queued.max.messages.kbytes": str(32 << 10),  # held beside the cycle at work; the default is 64 MiB
    "fetch.wait.max.ms": "100",  # how long a broker waits for more before it says that this is the end
    "fetch.queue.backoff.ms": "20",  # the queue is small, so it is filled again soon
    "reconnect.backoff.max.ms": "2000",
    "session.timeout.ms": "6000",  # there is no session; it bounds how long a commit may hold up the end when no broker answers
}


class Address(msgspec.Struct, frozen=True):
    """Where to read: `servers` to ask first, `topics`, and the consumer group, None where offsets are committed nowhere."""

    servers: Sequence[str]
    topics: Sequence[str]
    group: str | None

    def __str__(self) -> str:
        return f"{SCHEME}{','.join(self.servers)}/{','.join(self.topics)}"


def parse_address(uri: str, problems: list[str]) -> Address | None:
    """Read an address; what is wrong with it is added to `problems`, and quoted there only where it cannot be a password."""
    if "@" in uri:
        problems.append(
            f"--input {SCHEME}…: a login does not belong into an address: sasl.username and sasl.password are client settings"
            " (in the name of a group write %40)"
        )
        return None
    place, _, query = uri.removeprefix(SCHEME).partition("?")
    hosts, _, path = place.partition("/")
    servers, topics = hosts.split(","), path.split(",")
    sound_servers, sound_topics = [*map(_is_server, servers)], [*map(_is_topic, topics)]
    shown = f"--input {SCHEME}{_sound(servers, sound_servers)}/{_sound(topics, sound_topics)}"
    problems += [f"{shown}: server {at} is no host:port; expected {FORM}" for at, sound in enumerate(sound_servers, 1) if not sound]
    problems += [f"{shown}: topic {at} is no name of one; expected {FORM}" for at, sound in enumerate(sound_topics, 1) if not sound]
    problems += [f"{shown}: {what} is there twice" for what in sorted({what for what in topics if what and topics.count(what) > 1})]
    return Address(servers, topics, _group(query, shown, problems))


def _is_server(text: str) -> bool:
    found = _SERVER(text)
    return found is not None and 0 < int(found[1]) < 1 << 16


def _is_topic(text: str) -> bool:
    return _TOPIC(text) is not None and text not in {".", ".."}


def _sound(parts: Sequence[str], sound: Sequence[bool]) -> str:
    return ",".join(part if fine else "…" for part, fine in zip(parts, sound, strict=True))


def _group(query: str, shown: str, problems: list[str]) -> str | None:
    given = parse_qsl(query, keep_blank_values=True)
    unknown = sorted({name for name, _ in given} - {"group"})
    problems += [f"{shown}: unknown parameter {name}; client settings stand in a file" for name in unknown]
    groups = [value for name, value in given if name == "group"]
    if len(groups) > 1:
        problems.append(f"{shown}: group is there {len(groups)} times")
    if any(not 0 < len(group) <= _LONGEST_GROUP for group in groups):
        problems.append(f"{shown}: the name of a group has 1 to {_LONGEST_GROUP} characters")
    return groups[0] if groups else None


def client_settings(address: Address, settings: Mapping[str, str]) -> dict[str, Any]:
    """All that a consumer is made from."""
    ours = {
        "bootstrap.servers": ",".join(address.servers),
        "group.id": address.group or DEFAULTS["client.id"],  # the client wants one, even where nothing is committed
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "enable.partition.eof": True,
        "auto.offset.reset": "error",
    }
    return {**DEFAULTS, **settings, **ours}


def check_settings(address: Address, settings: Mapping[str, str], problems: list[str]) -> None:
    """Ask librdkafka whether it takes the settings, as often as it finds something else wrong; it is given no server to go to."""
    from confluent_kafka import Consumer, KafkaException  # noqa: PLC0415 - an extra, and only Kafka's users pay for it

    left = dict(settings)
    for name in sorted(OURS.keys() & left.keys()):
        problems.append(f"Kafka setting {name}: not yours to set: {OURS[name]}")
        del left[name]
    while True:
        config = client_settings(address, left)
        del config["bootstrap.servers"]
        try:
            Consumer(config).close()
        except KafkaException as error:
            text = error.args[0].str()
            problems.append(f"Kafka settings: {reason(text, settings)}")
            named = _NAMED(text)
            if named is None or left.pop(named[1], None) is None:
                return
        else:
            return


def reason(text: str, settings: Mapping[str, str]) -> str:
    """What librdkafka says, without the values of settings that are secret or may be."""
    text = re.sub(r'Invalid value ".*" for', "Invalid value for", text, flags=re.DOTALL)
    for name, value in settings.items():
        if value and _SECRET(name):
            text = text.replace(str(value), "…")
    return text.removeprefix("Failed to create consumer: ")
