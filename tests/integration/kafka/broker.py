"""A Kafka broker (KRaft, one node) from Maven Central, for as long as a test wants it; its data outlive a restart."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic

if TYPE_CHECKING:
    from collections.abc import Iterable

POM: Final = Path(__file__).parent / "pom.xml"
CLUSTER: Final = "MkU3OEVBNTcwNTJENDM2Qk"
USER, PASSWORD = "alice", "correct-horse"
STORE: Final = "changeit"
LARGEST: Final = 20 << 20  # bytes of a message that a producer may send; the broker takes some more
UP: Final = 60  # seconds to start, on a machine that does much else
# The retention lines: events may be of any age, and must not be deleted for it.
PROPERTIES: Final = """
process.roles=broker,controller
node.id=1
listeners=PLAINTEXT://127.0.0.1:{plain},SECURE://127.0.0.1:{secure},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{plain},SECURE://localhost:{secure}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SECURE:SASL_SSL,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
controller.quorum.voters=1@127.0.0.1:{controller}
log.dirs={data}
auto.create.topics.enable=false
num.partitions=1
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
log.retention.ms=-1
log.message.timestamp.before.max.ms=9223372036854775807
message.max.bytes=33554432
log.segment.delete.delay.ms=100
broker.session.timeout.ms=2000
broker.heartbeat.interval.ms=500
listener.name.secure.ssl.keystore.type=PKCS12
listener.name.secure.ssl.keystore.location={keys}
listener.name.secure.ssl.keystore.password={store}
listener.name.secure.ssl.key.password={store}
listener.name.secure.sasl.enabled.mechanisms=PLAIN
listener.name.secure.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_{user}="{password}";
"""


def missing() -> list[str]:
    """What this machine lacks to run a broker."""
    return [name for name in ("java", "keytool", "mvn") if shutil.which(name) is None]


def _free_ports(count: int) -> list[int]:
    listening = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in listening]
    for each in listening:
        each.close()
    return ports


def _run(directory: Path, *command: object) -> str:
    done = subprocess.run([str(word) for word in command], cwd=directory, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


class Broker:
    """A broker with its data below `directory`, listening at loopback only. As a context: started, and killed at the end."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None
        self._log = directory / "log"
        self.ports = _free_ports(3)
        # Jars come from ~/.m2, where Maven keeps what it fetched.
        _run(directory, "mvn", "-q", "-B", "-f", POM, "dependency:build-classpath", f"-Dmdep.outputFile={directory / 'classpath'}")
        self._classpath = (directory / "classpath").read_text().strip()
        keys = directory / "keys.p12"
        certificate = ("-alias", "broker", "-keystore", keys, "-storepass", STORE)
        named = ("-dname", "CN=localhost", "-ext", "SAN=dns:localhost", "-validity", "2")
        _run(directory, "keytool", "-genkeypair", *certificate, "-keyalg", "EC", "-storetype", "PKCS12", *named)
        self.authority = directory / "ca.pem"
        self.authority.write_text(_run(directory, "keytool", "-exportcert", "-rfc", *certificate))
        plain, secure, controller = self.ports
        paths = {"data": directory / "data", "keys": keys, "store": STORE, "user": USER, "password": PASSWORD}
        (directory / "properties").write_text(PROPERTIES.format(plain=plain, secure=secure, controller=controller, **paths))
        _run(directory, *self._java("kafka.tools.StorageTool"), "format", "-t", CLUSTER, "-c", "properties")

    def _java(self, name: str) -> list[str]:
        options = ["-Xms256m", "-Xmx512m", "-XX:+UseSerialGC", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"]
        return ["java", *options, "-cp", self._classpath, name]

    @property
    def servers(self) -> str:
        """Where it answers."""
        return f"127.0.0.1:{self.ports[0]}"

    def start(self) -> None:
        """Start, and wait until it answers."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*self._java("kafka.Kafka"), "properties"], cwd=self._directory, stdout=log, stderr=log, start_new_session=True
            )
        until = time.monotonic() + UP
        while not self._answers():
            assert self._process.poll() is None, self._log.read_text()
            assert time.monotonic() < until, self._log.read_text()
            time.sleep(0.1)

    def _answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.ports[0]), 1).close()
        except OSError:
            return False
        client = AdminClient({"bootstrap.servers": self.servers, "log_level": 0})
        try:
            return bool(client.list_topics(timeout=5).brokers)
        except Exception:  # noqa: BLE001 - whatever it is, it does not answer yet
            return False

    def stop(self, how: signal.Signals = signal.SIGKILL) -> None:
        """Stop it and whatever it started."""
        if self._process is not None:
            os.killpg(self._process.pid, how)
            self._process.wait(UP)
            self._process = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    @cached_property
    def _admin(self) -> AdminClient:
        return AdminClient({"bootstrap.servers": self.servers, "log_level": 0})

    def create(self, topic: str, partitions: int = 1) -> None:
        """Make a topic; waits while one of this name is being deleted."""
        until = time.monotonic() + UP
        while True:
            try:
                self._admin.create_topics([NewTopic(topic, partitions, 1)])[topic].result()
            except Exception as error:
                if time.monotonic() > until or "TOPIC_ALREADY_EXISTS" not in str(error):
                    raise
                time.sleep(0.1)
            else:
                break
        while topic not in self._admin.list_topics(timeout=5).topics:
            time.sleep(0.05)

    def delete(self, topic: str) -> None:
        """Delete a topic."""
        self._admin.delete_topics([topic])[topic].result()

    def grow(self, topic: str, partitions: int) -> None:
        """Give a topic more partitions."""
        self._admin.create_partitions([NewPartitions(topic, partitions)])[topic].result()

    def delete_before(self, topic: str, partition: int, offset: int) -> None:
        """What retention does to a partition."""
        admin = AdminClient({"bootstrap.servers": self.servers, "log_level": 0})  # the other may not know of a new partition yet
        for done in admin.delete_records([TopicPartition(topic, partition, offset)]).values():
            done.result()

    def producer(self, **settings: Any) -> Producer:
        """A producer; settings with _ for dots."""
        given = {name.replace("_", "."): value for name, value in settings.items()}
        return Producer({"bootstrap.servers": self.servers, "log_level": 0, "message.max.bytes": LARGEST, **given})

    def write(self, topic: str, values: Iterable[bytes | None], partition: int = 0) -> None:
        """Write messages, and wait until the broker has them."""
        producer = self.producer(linger_ms=5)
        for value in values:
            while True:
                try:
                    producer.produce(topic, value, partition=partition)
                except BufferError:
                    producer.poll(0.1)
                else:
                    break
        assert producer.flush(UP) == 0
