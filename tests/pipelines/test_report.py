from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from typing import Any

import pytest

from pipelines import report
from pipelines.report_html import page
from tests.examples import ABSENT, an_event, line, lines

POLICY = """
apiVersion: audit.k8s.io/v1
kind: Policy
rules:
- level: None
  users: [kubelet]
- level: None
  users: [nobody]
- level: Metadata
  verbs: [update, get]
"""
VOID = {"meta", "rect"}


def a_read(**changes: Any) -> dict[str, Any]:
    return an_event(**({"verb": "get", "requestObject": ABSENT, "responseObject": ABSENT} | changes))


@pytest.fixture
def log(tmp_path):
    """Four writes over two hours, of them one copied and one with managedFields; two reads; one broken line."""
    events = [an_event(auditID=f"w{at}", stageTimestamp=f"2026-11-23T0{5 + at}:00:00.000000Z") for at in range(3)]
    events.append(an_event(auditID="m", responseObject__metadata__managedFields=[{"manager": "kubectl"}]))
    path = tmp_path / "audit.log"
    path.write_bytes(lines(*events, events[0], a_read(auditID="r"), a_read(auditID="s", responseStatus__code=403)) + b"{oops\n")
    return path


def reported(capsysbinary, *flags: object) -> dict[str, Any]:
    assert report.main([*map(str, flags), "--json"]) == 0
    return json.loads(capsysbinary.readouterr().out)


def test_captured_bytes_are_the_steps_and_what_is_left(log, capsysbinary):
    found = reported(capsysbinary, "--input", log)
    assert found["inputs"]["jsonBytes"] == sum(map(len, log.read_bytes().splitlines()[:-1]))
    assert sum(step["jsonBytes"] for step in found["steps"]) + found["left"]["jsonBytes"] == found["inputs"]["jsonBytes"]
    assert {name: row["events"] for name, row in found["outcomes"].items() if row["events"]} == {
        "dead_letter": 1,
        "duplicate": 1,
        "folded": 1,
        "kept": 5,
    }
    assert found["deadLettered"] == {"INVALID_JSON": 1}
    assert found["managedFields"] == [
        {"place": "/responseObject/metadata", "count": 1, "jsonBytes": len(b',"managedFields":[{"manager":"kubectl"}]')}
    ]
    assert [step["step"] for step in found["steps"]] == ["managedFields", "duplicate", "folded", "avro"]


def test_events_are_counted_by_every_dimension(log, capsysbinary):
    found = reported(capsysbinary, "--input", log)
    assert {name: {row["name"]: row["events"] for row in rows} for name, rows in found["by"].items()} == {
        "verb": {"update": 5, "get": 2},
        "resource": {"apps/deployments": 7},
        "user": {"alice": 7},
        "userAgent": {"kubectl/v1.37.2 (linux/amd64) kubernetes/abcdef0": 7},
        "level": {"RequestResponse": 7},
        "stage": {"ResponseComplete": 7},
    }
    assert found["topTalkers"][0] | {"jsonBytes": 0, "keptBytes": 0} == {
        "user": "alice",
        "userAgent": "kubectl/v1.37.2 (linux/amd64) kubernetes/abcdef0",
        "verb": "update",
        "resource": "apps/deployments",
        "events": 5,
        "jsonBytes": 0,
        "keptEvents": 4,
        "keptBytes": 0,
    }
    assert [(row["guard"], row["events"]) for row in found["guards"]] == [("code", 1)]


def test_a_month_is_extrapolated_from_the_time_that_events_span(log, capsysbinary):
    found = reported(capsysbinary, "--input", log, "--price_per_gb", "1000")
    span = 2 * 3600
    assert found["span"] == {"from": "2026-11-23T05:00:00Z", "to": "2026-11-23T07:00:00Z", "seconds": span}
    assert found["cost"]["perMonthBefore"] == pytest.approx(found["inputs"]["jsonBytes"] / 1e9 * 1000 * 30 * 86400 / span, abs=0.01)
    assert found["cost"]["perMonthAfter"] == pytest.approx(found["left"]["jsonBytes"] / 1e9 * 1000 * 30 * 86400 / span, abs=0.01)


def test_no_month_is_guessed_from_seconds(tmp_path, capsysbinary):
    path = tmp_path / "audit.log"
    path.write_bytes(line(an_event()))
    cost = reported(capsysbinary, "--input", path, "--price_per_gb", "2")["cost"]
    assert (cost["perMonthBefore"], cost["perMonthAfter"]) == (None, None)


@pytest.fixture
def policy(tmp_path):
    path = tmp_path / "policy.yaml"
    path.write_text(POLICY)
    return path


@pytest.fixture
def policed(tmp_path):
    path = tmp_path / "audit.log"
    secret = {"resource": "secrets", "namespace": "shop", "name": "db", "apiVersion": "v1"}
    path.write_bytes(
        lines(
            an_event(auditID="a"),
            an_event(auditID="b", user__username="kubelet"),
            a_read(auditID="c", user__username="kubelet", objectRef=secret, requestURI="/api/v1/namespaces/shop/secrets/db"),
            an_event(auditID="d", verb="delete"),
            a_read(auditID="e", verb="list", responseStatus__code=403),
        )
    )
    return path


def test_rules_are_told_by_what_they_match_save_and_hide(policed, policy, capsysbinary):
    sizes = list(map(len, policed.read_bytes().splitlines()))
    found = reported(capsysbinary, "--input", policed, "--policy", policy)["policy"]
    bodies = sum(len(json.dumps(an_event()[name], separators=(",", ":"))) for name in ("requestObject", "responseObject"))
    assert found["rules"] == [
        {
            "rule": 0,
            "level": "None",
            "events": 2,
            "jsonBytes": sizes[1] + sizes[2],
            "dropped": 2,
            "saves": sizes[1] + sizes[2],
            "hides": {"write": 1, "secrets": 1},
        },
        {"rule": 1, "level": "None", "events": 0, "jsonBytes": 0, "dropped": 0, "saves": 0, "hides": {}},
        {"rule": 2, "level": "Metadata", "events": 1, "jsonBytes": sizes[0], "dropped": 0, "saves": bodies, "hides": {}},
    ]
    assert found["neverMatched"] == [1]
    assert found["unmatched"] == {
        "events": 2,
        "jsonBytes": sizes[3] + sizes[4],
        "hides": {"write": 1, "code": 1},
        "top": [{"name": "delete apps/deployments", "events": 1}, {"name": "list apps/deployments", "events": 1}],
    }


def test_what_no_rule_matches_is_said_loudly(policed, policy, capsys):
    assert report.main(["--input", str(policed), "--policy", str(policy)]) == 0
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "WARNING: 2 events (40.0 %) match no rule of the policy and are dropped" in captured.err


def test_nothing_but_the_page_is_written(log, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = {path.name for path in tmp_path.iterdir()}
    assert report.main(["--input", str(log), "--html", "report.html"]) == 0
    assert {path.name for path in tmp_path.iterdir()} == before | {"report.html"}


class Checker(HTMLParser):
    """Open tags in order, every attribute that may reach out, and all text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.links: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        self.links += [value for name, value in attrs if name in {"src", "href", "xlink:href", "action", "data"} or name.startswith("on")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


HOSTILE = '<script>alert("x")</script><img src=x onerror=alert(1)>\x1b[2J\u202e&amp;'


def test_the_page_stands_alone_and_names_stay_text(tmp_path, policy, capsysbinary):
    path = tmp_path / "audit.log"
    events = [
        an_event(
            auditID=str(at),
            userAgent=HOSTILE,
            verb=HOSTILE,
            user__username=HOSTILE,
            objectRef__resource=HOSTILE,
            stage=HOSTILE,
            level=HOSTILE,
        )
        for at in range(3)
    ]
    reads = [a_read(auditID=f"r{at}", user__username=HOSTILE) for at in range(3)]
    path.write_bytes(lines(*events, *reads))
    for flags in ([], ["--policy", policy]):
        text = page(reported(capsysbinary, "--input", path, *flags))
        found = Checker(text)
        assert found.open == []
        assert not {"script", "img", "link", "iframe", "object", "base", "form"} & set(found.seen)
        assert found.links == []
        assert not re.search(r"url\(|@import|https?:", text)
        assert "\x1b" not in text
        assert "\u202e" not in text
        assert '<script>alert("x")</script>' in found.text
        assert "prefers-color-scheme: dark" in text
        assert "default-src 'none'" in text


def test_the_summary_has_no_control_characters_of_a_client(tmp_path, capsys):
    path = tmp_path / "audit.log"
    path.write_bytes(lines(*[a_read(auditID=str(at), userAgent=HOSTILE, verb=HOSTILE, user__username=HOSTILE) for at in range(3)]))
    assert report.main(["--input", str(path)]) == 0
    err = capsys.readouterr().err
    assert "\x1b" not in err
    assert "\u202e" not in err


def test_no_secret_reaches_any_form_of_the_report(tmp_path, policy, capsysbinary):
    planted = "ghp_AbCdEfGhIjKlMnOpQrStUvWxYz0123456789"
    path, html = tmp_path / "audit.log", tmp_path / "report.html"
    path.write_bytes(
        lines(
            an_event(auditID="a", userAgent=f"curl {planted}", requestURI=f"/x?token={planted}", objectRef=ABSENT),
            an_event(auditID="b", userAgent=f"curl {planted}", user__username="kubelet"),
            an_event(auditID="c", requestObject__spec={"password": planted}),
            an_event(auditID="d", userAgent=f"curl {planted}", stage="RequestReceived"),
            an_event(auditID="d", userAgent=f"curl {planted}"),
        )
    )
    for flags in ([], ["--policy", str(policy)]):
        assert report.main(["--input", str(path), "--json", "--html", str(html), *flags]) == 0
        captured = capsysbinary.readouterr()
        assert planted.encode() not in captured.out + captured.err + html.read_bytes()


def test_an_empty_input_gives_an_empty_report(tmp_path, capsysbinary):
    found = reported(capsysbinary, "--input", tmp_path, "--allow_empty", "--price_per_gb", "1")
    assert found["inputs"] == {"files": 0, "storedBytes": 0, "events": 0, "jsonBytes": 0}
    assert Checker(page(found)).open == []


def test_more_is_not_called_less(log, capsysbinary):
    found = reported(capsysbinary, "--input", log)
    found["inputs"]["storedBytes"], found["left"]["storedBytes"] = 100, 150
    assert "50.0 %more to store100 B as stored now → 150 B of Avro" in Checker(page(found)).text


def test_all_that_is_wrong_is_listed_and_refused(tmp_path, capsys):
    flags = ["--input", str(tmp_path / "none"), "--html", str(tmp_path / "gone" / "x.html"), "--prize_per_gb", "3"]
    assert report.main(flags) == 2
    err = capsys.readouterr().err
    for word in ("none", "--html", "--prize_per_gb"):
        assert word in err
    assert report.main(["--html", str(tmp_path / "x.html"), "--price_per_gb=-1", "--fold=x"]) == 2
    assert "--price_per_gb: '-1' is no price" in (err := capsys.readouterr().err)
    assert "--fold x" in err
    assert report.main(["--price_per_gb", "nan"]) == 2
    assert list(tmp_path.iterdir()) == []
