"""`pipelines.reduce` where it follows or drains: flags, signals, exit codes, and what can be seen of it."""

from __future__ import annotations

import json
import os
import signal
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest

from pipelines import follow_command, gauges, reduce, verify
from pipelines.follow import Stop
from pipelines.followed_inputs import client_settings, sources_of
from tests.pipelines.followed import Journal, ScriptedSource
from tests.pipelines.job import account
from tests.pipelines.test_follow import request
from transforms.connectors.sources import SourceError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

BROKER = "--input=kafka://127.0.0.1:1/audit"


@pytest.fixture
def journal() -> Journal:
    return Journal()


@pytest.fixture
def following(journal: Journal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """The main job with a scripted source in place of the broker's."""

    def run(*flags: str, source: Any = None) -> int:
        chosen = source or ScriptedSource(journal, follow="--follow" in flags)
        monkeypatch.setattr(reduce, "sources_of", lambda *_: [chosen])
        return reduce.main(["--runner=DirectRunner", BROKER, f"--output={tmp_path / 'out'}", *flags])

    return run


def test_a_drain_prints_its_counts_and_exits_with_0(following: Any, journal: Journal, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    journal.publish(*request("a"), b"{poison")
    assert following("--json") == 0
    said = capsys.readouterr()
    found = json.loads(said.out)
    assert (found["events"], found["kept"], found["merged"], found["pending"]) == (3, 1, 1, 0)
    assert found["deadLettered"] == {"INVALID_JSON": 1}
    assert "= events: the accounts are closed" in said.err
    assert verify.main([f"--output={tmp_path / 'out'}", f"--head={found['head']}"]) == 0
    assert "1 runs of a followed input" in capsys.readouterr().err
    assert following("--json") == 0
    assert json.loads(capsys.readouterr().out)["events"] == 0


class Signalling(ScriptedSource):
    """Sends its own process a signal while the loop waits for content, as often as asked."""

    def __init__(self, journal: Journal, *signals: int) -> None:
        super().__init__(journal)
        self.signals = list(signals)

    def fetch(self, room: int, seconds: float) -> Any:
        if self.signals:
            os.kill(os.getpid(), self.signals.pop(0))
        return super().fetch(room, seconds)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_signal_lets_the_cycle_finish(number: int, code: int, following: Any, journal: Journal, tmp_path: Path):
    journal.publish(*request("a"))
    source = Signalling(journal, number)
    assert following("--follow", source=source) == code
    assert (account(tmp_path / "out").events, source.commits, source.closed) == (2, 1, True)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_second_signal_exits_at_once(following: Any, journal: Journal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    class Gone(BaseException):
        pass

    def leave(code: int) -> None:
        raise Gone(code)

    monkeypatch.setattr(os, "_exit", leave)
    journal.publish(*request("a"))
    source = Signalling(journal, signal.SIGTERM)
    source.acknowledge = lambda: os.kill(os.getpid(), signal.SIGTERM)
    with pytest.raises(Gone, match="143"):
        following("--follow", source=source)


def test_a_last_cycle_that_takes_too_long_is_not_waited_for(monkeypatch: pytest.MonkeyPatch):
    class Gone(BaseException):
        pass

    def leave(code: int) -> None:
        raise Gone(code)

    def asked() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        signal.pause()

    monkeypatch.setattr(os, "_exit", leave)
    with Stop(bound=0.01) as stop:
        with pytest.raises(Gone, match="143"):
            asked()
        assert (stop.asked, stop.code, stop.wait(0)) == (True, 0, True)
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_a_source_that_cannot_be_reached_is_refused(following: Any, journal: Journal, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    source = ScriptedSource(journal)
    source.resume = _raising("kafka://127.0.0.1:1: no answer\nkafka://127.0.0.1:1: topic audit does not exist")
    assert following(source=source) == 2
    said = capsys.readouterr().err
    assert "no answer" in said
    assert "topic audit does not exist" in said
    assert source.closed


def test_a_source_that_fails_for_good_ends_the_job_and_what_was_committed_stays(
    following: Any, journal: Journal, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    journal.publish(*request("a"))
    source = ScriptedSource(journal)
    source.acknowledge = lambda: setattr(source, "fetch", _raising("the topic was deleted"))
    assert following("--follow", source=source) == 1
    assert "the topic was deleted" in capsys.readouterr().err
    assert account(tmp_path / "out").events == 2
    assert source.closed


def test_a_cycle_that_fails_ends_the_job_and_says_what_the_system_says(
    following: Any, journal: Journal, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    journal.publish(*request("a"))
    monkeypatch.setattr("pipelines.output.Output.commit_shares", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    source = ScriptedSource(journal)
    assert following("--follow", source=source) == 1
    assert "failed midway (OSError: No space left on device): what was committed stays" in capsys.readouterr().err
    assert (source.commits, source.closed) == (0, True)


def _raising(text: str) -> Callable[..., Any]:
    def fail(*_: Any) -> Any:
        raise SourceError(text)

    return fail


def test_all_that_is_wrong_is_listed_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    config = tmp_path / "client.properties"
    config.write_text("# ours\nsecurity.protocol = SSL\nnonsense\nsecurity.protocol=PLAINTEXT\n")
    flags = [
        "--follow",
        "--runner=FlinkRunner",
        "--direct_running_mode=multi_processing",
        "--input=gs://bucket/logs",
        "--output=gs://bucket/out",
        "--commit_every=0",
        "--dedupe_horizon=9m",
        "--metrics_port=many",
        f"--client_config={config}",
    ]
    assert reduce.main(flags) == 2
    said = capsys.readouterr().err
    for problem in (
        "--runner=FlinkRunner: what is followed runs on DirectRunner",
        "--direct_running_mode: what is followed runs in one process",
        "--input gs://bucket/logs: gs:// cannot be followed",
        "--output gs://bucket/out: what is followed is written to a local directory",
        "--commit_every: expected 1s to 1d",
        "--dedupe_horizon: 540s is shorter than --completion_wait (600s)",
        "--metrics_port many: expected PORT or HOST:PORT",
        "line 3 is not name=value",
        "line 4: security.protocol is set twice",
        f"--client_config {config}: no --input takes client settings; kafka://… does",
    ):
        assert problem in said


def test_copies_are_remembered_no_shorter_than_stages_wait(following: Any, capsys: pytest.CaptureFixture[str]):
    assert following("--completion_wait=2h") == 2
    assert "--dedupe_horizon: 3600s is shorter than --completion_wait (7200s)" in capsys.readouterr().err
    assert following("--completion_wait=2h", "--dedupe_horizon=2h") == 0


@pytest.mark.parametrize("flag", ["--metrics_port=9100", "--client_config=kafka.properties"])
def test_a_flag_that_does_nothing_where_nothing_is_followed_is_refused(flag: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert reduce.main(["--runner=DirectRunner", f"--output={tmp_path / 'out'}", flag]) == 2
    assert f"{flag.replace('=', ' ')}: is for what is followed only" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_settings_of_clients_are_lines_of_name_and_value(tmp_path: Path):
    path = tmp_path / "client.properties"
    path.write_text("# ours\n\nsasl.password = a=b\n ssl.ca.location=/etc/ca.pem \n")
    problems: list[str] = []
    assert client_settings(str(path), problems) == {"sasl.password": "a=b", "ssl.ca.location": "/etc/ca.pem"}
    assert client_settings(None, problems) == {}
    assert client_settings(str(tmp_path / "absent"), problems) == {}
    assert problems == [f"--client_config {tmp_path / 'absent'}: cannot be read (No such file or directory)"]


def test_settings_of_a_client_that_no_input_has_are_refused(tmp_path: Path):
    config = tmp_path / "client.properties"
    config.write_text("security.protocol=SSL\n")

    def refused(*inputs: str) -> bool:
        known, _ = reduce.parser().parse_known_args([*(f"--input={each}" for each in inputs), "--follow", f"--client_config={config}"])
        problems: list[str] = []
        sources_of(known, problems)
        return any(problem.endswith(": no --input takes client settings; kafka://… does") for problem in problems)

    log, topic, subscription = str(tmp_path), "kafka://127.0.0.1:9/audit", "pubsub://projects/shop-logs/subscriptions/audit"
    assert refused()
    assert refused(subscription)
    assert refused(log, f"cluster=east,{subscription}")
    assert not refused(topic)
    assert not refused(log, f"cluster=east,{topic}", subscription)


def test_open_windows_of_another_length_are_refused_until_they_are_settled(
    following: Any, journal: Journal, capsys: pytest.CaptureFixture[str]
):
    from tests.audit.logs import TARGETS

    journal.publish(*request("a", TARGETS[0]))
    assert following("--follow", source=Signalling(journal, signal.SIGTERM)) == 0
    assert following("--follow", "--read_window=10m", source=Signalling(journal, signal.SIGTERM)) == 2
    assert "has open windows of 60s" in capsys.readouterr().err
    assert following() == 0
    assert following("--follow", "--read_window=10m", source=Signalling(journal, signal.SIGTERM)) == 0


def test_consumers_whose_ledgers_differ_are_refused(following: Any, journal: Journal, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    policy = tmp_path / "policy.yaml"
    policy.write_text("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Metadata}]\n")
    journal.publish(*request("a"))
    assert following(f"--policy=one={policy}", "--json") == 0
    assert list(json.loads(capsys.readouterr().out)["consumers"]) == ["one"]
    assert following(f"--policy=one={policy}", f"--policy=two={policy}") == 2
    assert "end at different places" in capsys.readouterr().err


def test_numbers_are_served_for_prometheus(capsys: pytest.CaptureFixture[str]):
    numbers = gauges.Gauges(lambda: 12.5)
    numbers.since(10.0)
    numbers.add(events_total=3)
    numbers.of_sources([{'lag{partition="audit/0"}': 7.0}, {"lag": 2.0}])
    server = follow_command._server("0", numbers)
    assert server is not None
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/metrics", timeout=10) as answer:
            text = answer.read().decode()
            assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"http://127.0.0.1:{server.port}/", timeout=10)
    finally:
        server.close()
    assert "# TYPE audit_reducer_events_total counter\naudit_reducer_events_total 3\n" in text
    assert "audit_reducer_oldest_unacknowledged_seconds 2.5\n" in text
    assert 'audit_reducer_source_lag{input="0",partition="audit/0"} 7\n' in text
    assert 'audit_reducer_source_lag{input="1"} 2\n' in text
    assert numbers.line().startswith("3 events, ")
    assert "lag 9" in numbers.line()


@pytest.mark.parametrize(("text", "found"), [("9100", ("127.0.0.1", 9100)), ("10.0.0.1:80", ("10.0.0.1", 80)), ("[::1]:80", ("::1", 80))])
def test_the_port_is_the_loopbacks_unless_a_host_is_named(text: str, found: tuple[str, int]):
    assert gauges.address(text) == found


def test_a_port_that_is_taken_is_refused(following: Any, capsys: pytest.CaptureFixture[str]):
    server = follow_command._server("0", gauges.Gauges())
    assert server is not None
    try:
        assert following(f"--metrics_port={server.port}") == 2
    finally:
        server.close()
    assert "cannot be listened on" in capsys.readouterr().err
