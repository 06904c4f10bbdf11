"""The main job on a real broker's messages, with real processes: whatever happens to it, nothing is lost and nothing is there twice."""

from __future__ import annotations

import os
import random
import resource
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import orjson
import pytest
from confluent_kafka import Consumer, TopicPartition

from pipelines.ledger import read_ledger
from tests.examples import an_event, an_event_list
from tests.integration.conftest import fill
from tests.integration.kafka.streams import by_partition, content, publish, verified
from tests.pipelines.job import ROOT, account, assert_sound, command, environment, positions, records, reduced, run, sample_lines

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.integration.kafka.broker import Broker

pytestmark = pytest.mark.integration

KILLS = int(os.environ.get("KILLS", "15"))
SEED = int(os.environ.get("KILLS_SEED", str(random.SystemRandom().randrange(1 << 32))))
PARTITIONS = 3
LONG = 90  # seconds, on a machine that does much else


@pytest.fixture(scope="module")
def lines() -> list[bytes]:
    return sample_lines(1500).splitlines(keepends=True)


def batch(lines: list[bytes], tmp_path: Path) -> Path:
    """The output of one batch run over the same events."""
    log, output = tmp_path / "audit.log", tmp_path / "batch"
    log.write_bytes(b"".join(lines))
    reduced("--input", log, "--output", output)
    return output


@pytest.fixture(scope="module")
def whole(lines: list[bytes], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return batch(lines, tmp_path_factory.mktemp("whole"))


@pytest.fixture
def wide(broker: Broker, topic: str) -> str:
    """A topic of the test's own, with several partitions."""
    broker.grow(topic, PARTITIONS)
    return topic


def address(broker: Broker, topic: str) -> str:
    return f"kafka://{broker.servers}/{topic}?group={topic}"


def committed(broker: Broker, topic: str) -> list[int]:
    """The group's offsets."""
    group = Consumer({"bootstrap.servers": broker.servers, "group.id": topic, "log_level": 0})
    found = group.committed([TopicPartition(topic, number) for number in range(PARTITIONS)], 10)
    group.close()
    return [max(0, each.offset) for each in found]


def held(output: Path) -> list[int]:
    """Where the ledger ends, by partition."""
    ends = [0] * PARTITIONS
    for each in (each for cycle in read_ledger(str(output)) for each in cycle.ranges):
        assert each.partition is not None
        if not each.settles:
            ends[each.partition] = max(ends[each.partition], each.account.end)
    return ends


@contextmanager
def following(broker: Broker, topic: str, output: Path, *more: object) -> Iterator[subprocess.Popen[str]]:
    """A job that follows, once it has begun; stopped in the end as a supervisor does."""
    arguments = ("--input", address(broker, topic), "--output", output, "--follow", "--commit_every=1s", *more)
    with subprocess.Popen(
        command(*arguments), cwd=ROOT, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as job:
        assert job.stderr is not None
        for line in job.stderr:
            if line.startswith("following:"):
                break
        else:
            raise AssertionError("it did not begin")
        try:
            yield job
        finally:
            if job.poll() is None:
                job.kill()


def until(holds: object, why: str = "") -> None:
    """Wait for what a callable says."""
    assert callable(holds)
    end = time.monotonic() + LONG
    while not holds():
        assert time.monotonic() < end, why
        time.sleep(0.1)


def stopped(job: subprocess.Popen[str]) -> str:
    """SIGTERM ends it well; what it said."""
    job.send_signal(signal.SIGTERM)
    said = job.communicate(timeout=LONG)[1]
    assert job.returncode == 0, said
    return said


def test_a_bounded_run_reads_what_is_there_and_the_same_run_again_adds_nothing(
    broker: Broker, wide: str, lines: list[bytes], whole: Path, tmp_path: Path
):
    output = tmp_path / "reduced"
    publish(broker, wide, lines, PARTITIONS)
    counts = reduced("--input", address(broker, wide), "--output", output)
    assert counts["events"] == len(lines)
    assert content(output) == content(whole)
    assert_sound(output)
    verified(output)
    assert sum(committed(broker, wide)) == len(lines)
    again = reduced("--input", address(broker, wide), "--output", output)
    assert again["events"] == 0
    assert content(output) == content(whole)
    assert_sound(output)
    verified(output)


def test_every_record_says_which_message_it_came_from(broker: Broker, wide: str, lines: list[bytes], tmp_path: Path):
    publish(broker, wide, lines[:300], PARTITIONS)
    messages = by_partition(lines[:300], PARTITIONS)
    reduced("--input", address(broker, wide), "--output", tmp_path / "reduced")
    kept = records(tmp_path / "reduced", "events")
    assert kept
    for each in kept:
        source = each["source"]
        assert source["uri"].partition("?id=")[0].endswith("/" + wide)
        assert orjson.loads(messages[source["partition"]][source["offset"]])["auditID"] == each["auditID"]


def test_messages_of_every_shape_count_as_what_they_hold_and_poison_stops_nothing(broker: Broker, topic: str, tmp_path: Path):
    secret = "cG9pc29uZWQtc2VjcmV0"
    good = [an_event(auditID=f"good-{at}") for at in range(4)]
    values = [
        orjson.dumps(good[0]),
        an_event_list(good[1], good[2]),
        b'{"auditID": "' + secret.encode(),
        b"\xff\xfe\x00" + secret.encode(),
        None,
        b"",
        b"[]",
        b'{"not": "an event", "of": "' + secret.encode() + b'"}',
        b"[" * 5000,
        b"\x1f\x8b\x08\x00" + secret.encode(),
        orjson.dumps({"kind": "EventList", "apiVersion": "audit.k8s.io/v1", "items": [an_event(auditID="good-4"), 7]}),
        orjson.dumps(good[3]),
    ]
    broker.write(topic, values)
    output = tmp_path / "reduced"
    done = run("--input", address(broker, topic), "--output", output, "--json")
    assert done.returncode == 0, done.stderr
    assert secret not in done.stderr
    assert sorted(each["auditID"] for each in records(output, "events")) == [f"good-{at}" for at in range(5)]
    assert sorted(each["source"]["offset"] for each in records(output, "dead_letters")) == [2, 3, 7, 8, 9, 10]
    assert_sound(output)
    verified(output)
    assert committed(broker, topic)[0] == len(values)
    assert reduced("--input", address(broker, topic), "--output", output)["events"] == 0


def test_events_of_ten_megabytes_are_kept(broker: Broker, topic: str, tmp_path: Path):
    large = [an_event(auditID=f"large-{at}", requestObject__spec={"note": "x" * (10 << 20)}) for at in range(3)]
    broker.write(topic, map(orjson.dumps, large))
    output = tmp_path / "reduced"
    reduced("--input", address(broker, topic), "--output", output)
    assert sorted((each["auditID"], len(each["requestObject"]) > 10 << 20) for each in records(output, "events")) == [
        (f"large-{at}", True) for at in range(3)
    ]
    verified(output)


def test_a_topic_and_a_log_are_reduced_together(broker: Broker, topic: str, lines: list[bytes], tmp_path: Path):
    broker.write(topic, [line.rstrip(b"\n") for line in lines[:700]])
    log, output = tmp_path / "audit.log", tmp_path / "reduced"
    log.write_bytes(b"".join(lines[700:]))
    arguments = ("--input", address(broker, topic), "--input", log, "--output", output)
    assert reduced(*arguments)["events"] == len(lines)
    assert len({each["source"]["uri"] for each in records(output, "events")}) == 2
    assert reduced(*arguments)["events"] == 0
    verified(output)


def test_a_broker_that_does_not_answer_is_refused_before_anything_is_done(tmp_path: Path):
    done = run("--input", "kafka://127.0.0.1:1/audit?group=reducer", "--output", tmp_path / "reduced")
    assert done.returncode == 2, done.stderr
    assert "Connection refused" in done.stderr
    assert "check the address" in done.stderr
    assert records(tmp_path / "reduced", "events") == []


def test_what_retention_deleted_is_one_event_that_nobody_can_read(broker: Broker, wide: str, lines: list[bytes], tmp_path: Path):
    output = tmp_path / "reduced"
    publish(broker, wide, lines[:300], PARTITIONS)
    assert reduced("--input", address(broker, wide), "--output", output)["events"] == 300
    ends = held(output)
    publish(broker, wide, lines[300:900], PARTITIONS)
    broker.delete_before(wide, 1, ends[1] + 5)
    done = reduced("--input", address(broker, wide), "--output", output)
    assert (done["events"], done["deadLettered"]) == (600 - 5 + 1, {"SOURCE_GAP": 1})
    assert [(each["source"]["partition"], each["source"]["offset"]) for each in records(output, "dead_letters")] == [(1, ends[1])]
    assert reduced("--input", address(broker, wide), "--output", output)["events"] == 0
    assert_sound(output)
    verified(output)


def test_a_topic_made_anew_is_read_from_its_start_and_the_old_one_is_missed_once(
    broker: Broker, wide: str, lines: list[bytes], tmp_path: Path
):
    output = tmp_path / "reduced"
    publish(broker, wide, lines[:300], PARTITIONS)
    reduced("--input", address(broker, wide), "--output", output)
    broker.delete(wide)
    broker.create(wide, PARTITIONS)
    missed = reduced("--input", address(broker, wide), "--output", output)
    assert (missed["events"], missed["deadLettered"]) == (PARTITIONS, {"SOURCE_GAP": PARTITIONS})
    assert reduced("--input", address(broker, wide), "--output", output)["events"] == 0
    publish(broker, wide, lines[300:900], PARTITIONS)
    assert reduced("--input", address(broker, wide), "--output", output)["events"] == 600
    assert reduced("--input", address(broker, wide), "--output", output)["events"] == 0
    assert_sound(output)
    verified(output)


def test_a_topic_that_two_inputs_name_is_refused(broker: Broker, topic: str, tmp_path: Path):
    broker.create(topic + "_other")
    one, two = address(broker, topic), address(broker, f"{topic}_other,{topic}")
    done = run("--input", one, "--input", two, "--output", tmp_path / "reduced")
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("several inputs name it") == 1


DIES = """
import os, sys
from transforms.connectors import storage
from transforms.connectors.kafka_source import KafkaSource
from pipelines.reduce import main
where, left = sys.argv[1], int(sys.argv[2])
def dying(real, before):
    def call(*arguments, **named):
        global left
        left -= 1
        if before and not left:
            os._exit(9)
        done = real(*arguments, **named)
        if not before and not left:
            os._exit(9)
        return done
    return call
if where == "rename":
    storage.rename = dying(storage.rename, False)
else:
    KafkaSource.acknowledge = dying(KafkaSource.acknowledge, True)
sys.exit(main(sys.argv[3:]))
"""


def killed(arguments: list[str], chance: random.Random, where: str) -> bool:
    """Start the job and kill it: after a rename of a commit, before it acknowledges, or at any moment. Whether it died there."""
    words = command(*arguments)
    if where != "time":
        words = [sys.executable, "-c", DIES, where, str(chance.randrange(1, 9)), *words[3:]]
    job = subprocess.Popen(words, cwd=ROOT, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        job.wait(chance.uniform(0.5, 8) if where == "time" else LONG)
    except subprocess.TimeoutExpired:
        job.kill()
    return job.wait() == (-signal.SIGKILL if where == "time" else 9)


def test_killed_at_any_moment_a_followed_topic_is_reduced_once(broker: Broker, wide: str, tmp_path: Path):
    chance = random.Random(SEED)
    sys.stderr.write(f"KILLS={KILLS} KILLS_SEED={SEED}\n")
    lines = sample_lines(4000).splitlines(keepends=True)
    output = tmp_path / "reduced"
    over = threading.Event()
    wrote = threading.Thread(target=_trickle, args=(broker, wide, lines, over))
    wrote.start()
    died = []
    try:
        for where in chance.sample(["rename", "acknowledge", "time"] * (KILLS // 3 + 1), KILLS):
            arguments = ["--input", address(broker, wide), "--output", str(output), "--follow", "--commit_every=1s"]
            died.append(killed(arguments, chance, where))
            seen = positions(output)
            assert len(seen) == len(set(seen)), f"KILLS_SEED={SEED}"
            assert all(said <= there for said, there in zip(committed(broker, wide), held(output), strict=True)), f"KILLS_SEED={SEED}"
    finally:
        over.set()
        wrote.join()
    assert all(died)
    reduced("--input", address(broker, wide), "--output", output)
    assert account(output).events == len(lines)
    assert content(output) == content(batch(lines, tmp_path)), f"KILLS_SEED={SEED}"
    assert_sound(output)
    verified(output)


def _trickle(broker: Broker, topic: str, lines: list[bytes], over: threading.Event) -> None:
    """Write events little by little for as long as kills take, and what is left of them at once when it is over."""
    step = max(1, len(lines) // (KILLS * 40))
    for at in range(0, len(lines), step):
        publish(broker, topic, lines[at : at + step], PARTITIONS)
        over.wait(0.5)


def test_a_restart_of_the_broker_is_waited_out_and_sigterm_ends_the_job_well(
    broker: Broker, wide: str, lines: list[bytes], whole: Path, tmp_path: Path
):
    output = tmp_path / "reduced"
    publish(broker, wide, lines[:700], PARTITIONS)
    with following(broker, wide, output) as job:
        until(lambda: sum(held(output)) >= 700)
        broker.stop()
        time.sleep(3)  # longer than a cycle: it works on while nobody answers
        assert job.poll() is None
        broker.start()
        publish(broker, wide, lines[700:], PARTITIONS)
        until(lambda: sum(held(output)) == len(lines))
        stopped(job)
    reduced("--input", address(broker, wide), "--output", output)
    assert content(output) == content(whole)
    assert_sound(output)
    verified(output)
    assert committed(broker, wide) == held(output)


@pytest.mark.parametrize("bound", ["a file may not grow", "the disk fills"])
def test_a_full_disk_stops_the_job_and_a_later_one_does_the_rest(
    bound: str, broker: Broker, wide: str, lines: list[bytes], whole: Path, small_disk: Path
):
    output, ballast = small_disk / "reduced", small_disk / "ballast"
    publish(broker, wide, lines[:100], PARTITIONS)
    with following(broker, wide, output) as job:
        until(lambda: sum(held(output)) == 100)
        if bound == "the disk fills":
            fill(ballast)
        else:
            resource.prlimit(job.pid, resource.RLIMIT_FSIZE, (20_000, 20_000))
        publish(broker, wide, lines[100:], PARTITIONS)
        said = job.communicate(timeout=LONG)[1]
    assert job.returncode == 1, said
    assert "Traceback" not in said
    assert all(told <= there for told, there in zip(committed(broker, wide), held(output), strict=True))
    ballast.unlink(missing_ok=True)
    reduced("--input", address(broker, wide), "--output", output)
    assert content(output) == content(whole)
    assert_sound(output)
    verified(output)
