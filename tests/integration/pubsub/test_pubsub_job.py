"""The main job on a real Pub/Sub server, killed wherever it is: every event once, as one batch run over them would have it."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.pipelines.job import ROOT, account, assert_sound, command, environment, positions, records, reduced, run, sample_lines

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from tests.integration.pubsub.server import Server, Subscription

pytestmark = pytest.mark.integration

KILLS = int(os.environ.get("KILLS", "15"))
SEED = int(os.environ.get("KILLS_SEED", str(random.SystemRandom().randrange(1 << 32))))
EVENTS = sample_lines(1500).splitlines()
PERMISSION_DENIED = 7


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """One key for all outputs of a test, so that what is keyed can be compared."""
    path = tmp_path / "key"
    path.write_bytes(b"k" * 32)
    return path


@pytest.fixture
def job(tmp_path: Path, key: Path) -> Callable[[Subscription], list[object]]:
    """The flags that reduce a subscription into `tmp_path / "out"`."""
    return lambda subscription: ["--input", subscription.uri, "--output", tmp_path / "out", "--key_file", key, "--commit_every", "1s"]


def batch(lines: Sequence[bytes], directory: Path, key: Path) -> Path:
    """What one run over the same events gives."""
    (directory / "audit.log").write_bytes(b"".join(line + b"\n" for line in lines))
    reduced("--input", directory / "audit.log", "--output", directory / "batch", "--key_file", key)
    return directory / "batch"


def meaning(output: Path) -> dict[str, Any]:
    """What an output says of its events, less where they came from and in which run."""
    late = [each for each in records(output, "events") if "LATE_STAGE" in each["flags"]]
    reads: Counter[tuple[Any, ...]] = Counter()
    for row in records(output, "reads"):
        key = (
            "windowStart cluster username impersonatedUsername verb apiGroup resource subresource namespace userAgent nonResourcePath code"
        )
        reads[tuple(str(row[name]) for name in key.split())] += row["count"]
    sums = account(output)
    return {
        "kept": Counter(each["digest"] for each in records(output, "events") if "LATE_STAGE" not in each["flags"]),
        "reads": reads,
        "dead_letters": Counter((each["code"], each["length"], each["mac"]) for each in records(output, "dead_letters")),
        "stages": sums.merged + len(late),
        "duplicates": sums.duplicate,
        "events": sums.events,
    }


def proven(output: Path) -> None:
    """`pipelines.verify` finds nothing."""
    done = subprocess.run(
        [sys.executable, "-m", "pipelines.verify", f"--output={output}"],
        cwd=ROOT,
        env=environment(AUDIT_KEY="k" * 32),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@contextmanager
def following(flags: Sequence[object]) -> Iterator[subprocess.Popen[str]]:
    """A job that follows, resumed and at work; killed at the end if it is still there."""
    with subprocess.Popen(
        command("--follow", *flags), cwd=ROOT, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            said = ""
            assert process.stderr is not None
            for line in process.stderr:
                said += line
                if line.startswith("following:"):
                    break
            assert process.poll() is None, said
            yield process
        finally:
            process.kill()


def eventually(true: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not true():
        assert time.monotonic() < until
        time.sleep(0.05)


def acknowledged(server: Server, ids: Sequence[str]) -> bool:
    told = server.messages()
    return all(told[each]["acks"] for each in ids)


def test_what_is_there_is_reduced_as_a_batch_run_would_and_again_adds_nothing(
    subscribe: Any, job: Any, server: Server, tmp_path: Path, key: Path
):
    subscription: Subscription = subscribe()
    again = EVENTS[:50]
    ids = subscription.publish([*EVENTS[:1000], *again]) + subscription.publish([b"\n".join(EVENTS[1000:])])
    first = reduced(*job(subscription))
    assert (first["events"], first["duplicate"], first["pending"]) == (1550, 50, 0)
    assert acknowledged(server, ids)
    assert_sound(tmp_path / "out")
    proven(tmp_path / "out")
    assert meaning(tmp_path / "out") == meaning(batch([*EVENTS, *again], tmp_path, key))
    assert reduced(*job(subscription))["events"] == 0


def test_log_entries_of_gke_work_as_they_are(subscribe: Any, job: Any, tmp_path: Path, key: Path):
    subscription: Subscription = subscribe()
    entries = (ROOT / "tests" / "audit" / "data" / "gke_entries.ndjson").read_bytes().splitlines()
    subscription.publish(entries, {"logging.googleapis.com/timestamp": "2026-01-02T03:04:05Z"})
    assert reduced(*job(subscription))["kept"] > 0
    assert_sound(tmp_path / "out")
    assert meaning(tmp_path / "out") == meaning(batch(entries, tmp_path, key))
    assert {each["cluster"] for each in records(tmp_path / "out", "events")} == {
        each["cluster"] for each in records(tmp_path / "batch", "events")
    }


def test_poison_is_dead_letters_and_stops_nothing(subscribe: Any, job: Any, server: Server, tmp_path: Path):
    subscription: Subscription = subscribe()
    poison = [b"{", b"\xff\xfe\x00", b"[" * 100_000, b'{"kind":"Pod"}', b"x" * 9_900_000]
    ids = [each for message in [*poison, *EVENTS[:100]] for each in subscription.publish([message])]
    counts = reduced(*job(subscription))
    assert counts["events"] == len(ids)
    assert sum(counts["deadLettered"].values()) == len(poison)
    assert acknowledged(server, ids)
    proven(tmp_path / "out")


@pytest.mark.parametrize("follow", [[], ["--follow"]])
def test_a_subscription_that_may_not_be_pulled_is_refused_and_nothing_is_written(
    follow: list[str], subscribe: Any, job: Any, server: Server, tmp_path: Path
):
    subscription: Subscription = subscribe()
    server.tell("fail", "Pull", PERMISSION_DENIED)
    done = run(*job(subscription), *follow)
    assert done.returncode == 2
    assert "roles/pubsub.subscriber" in done.stderr
    assert "Traceback" not in done.stderr
    assert positions(tmp_path / "out") == []


def test_killed_at_any_moment_and_started_again_every_event_is_there_once(
    subscribe: Any, job: Any, server: Server, tmp_path: Path, key: Path
):
    subscription: Subscription = subscribe()
    chance = random.Random(SEED)
    sys.stderr.write(f"KILLS={KILLS} KILLS_SEED={SEED}\n")
    share = len(EVENTS) // (KILLS + 1)
    sent = 0
    for number in range(KILLS):
        with following(job(subscription)) as process:
            until = time.monotonic() + chance.uniform(0, 3)
            end = sent + share
            while time.monotonic() < until:
                subscription.publish(EVENTS[sent : min(end, sent + 10)])
                sent = min(end, sent + 10)
                time.sleep(chance.uniform(0, 0.2))
            process.kill()
        server.tell("expire", subscription.name)
        seen = positions(tmp_path / "out")
        assert len(seen) == len(set(seen)), f"KILLS_SEED={SEED}, kill {number}"
    subscription.publish(EVENTS[sent:])
    reduced(*job(subscription))
    assert_sound(tmp_path / "out")
    proven(tmp_path / "out")
    assert meaning(tmp_path / "out") == meaning(batch(EVENTS, tmp_path, key)), f"KILLS_SEED={SEED}"
    assert acknowledged(server, list(server.messages())[-len(EVENTS) :])


DIES = """
import os, sys
from transforms.connectors import storage
from transforms.connectors.pubsub_client import GoogleClient
from pipelines.reduce import main
owner, name = (storage, "rename") if sys.argv[1] == "rename" else (GoogleClient, sys.argv[1])
call, left = getattr(owner, name), int(sys.argv[2])
def dying(*given):
    global left
    left -= 1
    if left < 0:
        os._exit(9)
    return call(*given)
setattr(owner, name, dying)
sys.exit(main(sys.argv[3:]))
"""


# Where the process ends: before so many calls, and of how many events it knows by then.
WORST = (
    ("acknowledge", 1, 1100),  # amid the acknowledgements, of which one call takes 1,000
    ("acknowledge", 0, 1200),  # between commit and acknowledgement
    ("rename", 0, 1300),  # before the commit record
    ("rename", 1, 1400),  # between commit record and files
    ("rename", 2, 1500),  # amid the files, those of the run before among them
)


def test_killed_at_the_worst_moments_nothing_is_lost_or_there_twice(subscribe: Any, job: Any, server: Server, tmp_path: Path, key: Path):
    subscription: Subscription = subscribe()
    ids: list[str] = []
    flags = [f"{flag}={value}" for flag, value in zip(*[iter(job(subscription))] * 2, strict=True)]
    for call, after, count in WORST:
        ids += subscription.publish(EVENTS[len(ids) : count])
        died = subprocess.run(
            [sys.executable, "-c", DIES, call, str(after), "--runner=DirectRunner", *flags],
            cwd=ROOT,
            env=environment(),
            capture_output=True,
            check=False,
        )
        assert died.returncode == 9, (call, after, died.stderr)
        assert not acknowledged(server, ids)
        server.tell("expire", subscription.name)
    reduced(*job(subscription))
    assert acknowledged(server, ids)
    assert_sound(tmp_path / "out")
    proven(tmp_path / "out")
    assert meaning(tmp_path / "out") == meaning(batch(EVENTS, tmp_path, key))


def test_a_server_that_goes_away_in_mid_run_is_waited_for(subscribe: Any, job: Any, server: Server, tmp_path: Path, key: Path):
    subscription: Subscription = subscribe()
    with following(job(subscription)) as process:
        ids = subscription.publish(EVENTS[:300])
        server.tell("stop")
        time.sleep(2)
        server.tell("start")
        ids += subscription.publish(EVENTS[300:600])
        eventually(lambda: acknowledged(server, ids))
        process.send_signal(signal.SIGTERM)
        said = process.communicate(timeout=60)[1]
    assert process.returncode == 0, said
    assert "Traceback" not in said
    reduced(*job(subscription))
    assert_sound(tmp_path / "out")
    assert meaning(tmp_path / "out") == meaning(batch(EVENTS[:600], tmp_path, key))
