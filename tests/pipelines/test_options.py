"""Flags: each has its effect, and everything that is wrong is said at once."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

import pytest

from pipelines import options
from pipelines.reduce import main, parser
from transforms.connectors import storage

if TYPE_CHECKING:
    from pathlib import Path

    from transforms.audit.settings import Settings

POLICY = "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n- level: Metadata\n"
GUARDS = "guards:\n- name: payroll\n  reason: Salaries.\n  namespaces: [payroll]\n"


@pytest.fixture(autouse=True)
def no_key_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AUDIT_KEY", raising=False)


def settings_for(*argv: str) -> tuple[Settings, list[str], list[str]]:
    problems: list[str] = []
    warnings: list[str] = []
    ((_, found),) = options.consumers_of(parser().parse_args(list(argv)), problems, warnings)
    return found, problems, warnings


@pytest.mark.parametrize(("text", "expected"), [("60s", 60), ("10m", 600), ("1h", 3600), ("7d", 604_800), ("90", 90)])
def test_durations_have_units_and_a_bare_number_is_seconds(text: str, expected: int):
    assert options.seconds(text) == expected


@pytest.mark.parametrize("text", ["", "1w", "-1s", "1.5m", "m", "1 s"])
def test_what_is_no_duration_is_refused(text: str):
    with pytest.raises(argparse.ArgumentTypeError):
        options.seconds(text)


@pytest.mark.parametrize(
    ("argv", "changed"),
    [
        (["--fold=reads"], {"merge": False}),
        (["--fold=stages"], {"fold": False}),
        (["--fold=none"], {"merge": False, "fold": False}),
        (["--fold=stages,reads"], {}),
        (["--read_window=10m"], {"window": 600_000_000}),
        (["--keep_managed_fields"], {"keep_managed_fields": True}),
        (["--exec_args=none"], {"exec_args": "none"}),
        (["--strip_bulk"], {"strip_bulk": True}),
        (["--policy_before_v1_36"], {"group_wildcard": False}),
        (["--lenient_policy"], {"lenient_policy": True}),
    ],
)
def test_each_flag_changes_its_setting_and_no_other(argv: list[str], changed: dict[str, object]):
    plain, asked = settings_for()[0], settings_for(*argv)[0]
    fields = [name for name in plain.__struct_fields__ if name != "started"]
    assert {name: getattr(asked, name) for name in fields if getattr(asked, name) != getattr(plain, name)} == changed


def test_files_are_held_by_their_content(tmp_path: Path):
    for name, content in (("policy", POLICY), ("guards", GUARDS)):
        (tmp_path / name).write_text(content)
    asked, problems, _ = settings_for(f"--policy={tmp_path}/policy", f"--guards={tmp_path}/guards")
    assert (asked.policy, asked.guards, problems) == (POLICY, GUARDS, [])


def test_each_named_policy_is_a_consumer_of_its_own(tmp_path: Path):
    for name in ("siem", "cold"):
        (tmp_path / name).write_text(POLICY.replace("Metadata", "Request" if name == "cold" else "None"))
    known = parser().parse_args([f"--output={tmp_path}/out", *[f"--policy={name}={tmp_path}/{name}" for name in ("siem", "cold")]])
    consumers = options.consumers_of(known, problems := [], [])
    assert problems == []
    assert [(name, "level: None" in (asked.policy or "")) for name, asked in consumers] == [("siem", True), ("cold", False)]


def test_recorded_settings_are_read_back_the_same():
    asked = settings_for("--fold=none", "--read_window=1h")[0]
    assert options.read_settings(asked.recorded()) == asked


@pytest.mark.parametrize("fold", ["", "writes", "reads,none", "reads,writes", ","])
def test_what_cannot_be_folded_is_refused(fold: str):
    assert any("--fold" in problem for problem in settings_for(f"--fold={fold}")[1])


@pytest.mark.parametrize("window", ["0", "2d"])
def test_a_window_is_between_a_second_and_a_day(window: str):
    assert any("--read_window" in problem for problem in settings_for(f"--read_window={window}")[1])


def refused(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """What a refused run says; it must end with 2."""
    assert main(["--runner=DirectRunner", *argv]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    return said.err


def test_all_problems_are_listed_at_once_and_nothing_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("AUDIT_KEY", "short")
    for name in ("policy", "guards"):
        (tmp_path / name).write_text("rulez: []\n")
    argv = [
        f"--input={tmp_path}/missing",
        f"--input={tmp_path}/none*",
        "--input=cluster=east",
        f"--output={tmp_path}/out",
        f"--policy={tmp_path}/policy",
        f"--guards={tmp_path}/guards",
        "--fold=writes",
        "--read_window=2d",
        "--reed_window=60s",
    ]
    said = refused(capsys, *argv)
    for part in ("missing", "none*", "cluster=NAME,PATH", "--policy", "--guards", "--fold", "--read_window", "--reed_window", "AUDIT_KEY"):
        assert part in said, part
    assert not (tmp_path / "out").exists()


def test_values_that_no_flag_takes_are_listed_beside_all_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "file").write_bytes(b"")
    wrong = ["--read_window=5x", "--exec_args", "foo", "--cluster=", "--commit_every=soon", "--fold=writes", "--reed_window=60s"]
    said = refused(capsys, *wrong, f"--input={tmp_path}/missing", f"--output={tmp_path}/file/out", "--guards").splitlines()
    assert [line.partition(": ")[0].strip() for line in said] == [
        "refused; nothing was done:",
        "--read_window",
        "--exec_args",
        "--cluster",
        "--commit_every",
        "--guards",
        "--fold writes",
        f"--input {tmp_path}/missing",
        "unknown flag --reed_window (see --help)",
        f"--output {tmp_path}/file/out",
    ]


def test_a_flag_that_is_refused_twice_is_said_once_and_the_next_word_is_not_taken_for_its_value():
    known, rest = parser().parse_known_args(["--guards", "--exec_args=x", "--json", "--exec_args", "x", "y"])
    assert [problem.partition(":")[0] for problem in known.problems] == ["--guards", "--exec_args"]
    assert (known.json, known.guards, known.exec_args, rest) == (True, None, "program", ["y"])


@pytest.mark.parametrize(("scheme", "extra"), [("gs", "gcp"), ("s3", "aws"), ("azfs", "azure")])
def test_a_filesystem_that_is_not_installed_says_which_extra_brings_it(
    scheme: str, extra: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(storage, "find_spec", lambda _: None)
    said = refused(capsys, f"--input={scheme}://logs/audit", f"--output={scheme}://logs/reduced")
    for place in ("--input", "--output"):
        assert f"{place} {scheme}://logs/" in said
    assert said.count(f"needs the extra '{extra}': pip install 'kube-audit-reducer[{extra}]'") == 2


def test_a_scheme_that_nothing_knows_is_refused(capsys: pytest.CaptureFixture[str]):
    assert "--output nosuch://x: no filesystem knows the scheme nosuch://" in refused(capsys, "--output=nosuch://x")


def test_an_output_has_a_name(capsys: pytest.CaptureFixture[str]):
    assert "--output: names no directory" in refused(capsys, "--output=")


def test_what_is_wrong_with_any_of_several_policies_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for name, content in (("good", POLICY), ("bad", POLICY.replace("level", "levle")), ("worse", "rules: 7")):
        (tmp_path / name).write_text(content)
    said = refused(capsys, f"--output={tmp_path}/out", *[f"--policy={name}={tmp_path}/{name}" for name in ("good", "bad", "worse")])
    assert "/bad: " in said
    assert "/worse: " in said
    assert "/good: " not in said
    assert not (tmp_path / "out").exists()


def test_named_and_unnamed_policies_do_not_mix(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "policy").write_text(POLICY)
    assert "do not mix" in refused(capsys, f"--output={tmp_path}/out", f"--policy={tmp_path}/policy", f"--policy=siem={tmp_path}/policy")
    assert "the name siem is taken" in refused(capsys, f"--output={tmp_path}/out", *[f"--policy=siem={tmp_path}/policy"] * 2)


@pytest.mark.parametrize("name", ["A_b", "sïem", "a.b", ""])
def test_a_consumers_name_says_which_letters_it_may_have(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "policy").write_text(POLICY)
    said = refused(capsys, f"--output={tmp_path}/out", f"--policy={name}={tmp_path}/policy", "--policy=b=gone")
    assert said.splitlines() == [
        "refused; nothing was done:",
        f"  --policy {name}={tmp_path}/policy: a consumer's name is of a to z, 0 to 9 and -, not {name!r}",
        "  --policy gone: cannot be read (No such file or directory)",
    ]


def test_a_path_with_an_equals_sign_is_no_consumers_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "a=b").write_text(POLICY)
    assert settings_for(f"--policy={tmp_path}/a=b")[0].policy == POLICY
    assert f"{tmp_path}/c=d: cannot be read" in refused(capsys, f"--output={tmp_path}/out", f"--policy={tmp_path}/c=d")


@pytest.mark.parametrize("name", ["events", "reads", "ledger"])
def test_no_consumer_is_called_as_a_directory_of_an_output(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "policy").write_text(POLICY)
    assert "choose another name" in refused(capsys, f"--output={tmp_path}/out", f"--policy={name}={tmp_path}/policy")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("flag", ["--inptu=x", "--allow_emty", "--jsn", "--fol=none", "--no_such_flag_of_anybody=1"])
def test_a_misspelt_flag_is_refused(flag: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert flag.partition("=")[0].lstrip("-") in refused(capsys, f"--output={tmp_path}/out", flag)
    assert not (tmp_path / "out").exists()


def test_a_runner_that_is_not_there_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert "--runner NoSuchRunner" in refused(capsys, f"--output={tmp_path}/out", "--runner=NoSuchRunner")
    assert not (tmp_path / "out").exists()


def test_a_stray_word_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert "audit.log" in refused(capsys, f"--output={tmp_path}/out", "audit.log")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("argv", [["--fold"], ["--read_window=soon"], ["--exec_args=some"]])
def test_a_flag_without_a_value_or_with_a_wrong_one_is_refused(argv: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert argv[0].partition("=")[0] in refused(capsys, f"--output={tmp_path}/out", *argv)


def test_every_flag_says_what_it_does():
    undocumented = [action.dest for action in parser()._actions if not action.help]
    assert undocumented == []


def test_a_key_comes_from_its_file_before_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "key").write_bytes(b"k" * 16)
    problems: list[str] = []
    monkeypatch.setenv("AUDIT_KEY", "e" * 16)
    assert options.key_of(parser().parse_args([f"--key_file={tmp_path}/key"]), problems) == b"k" * 16
    assert options.key_of(parser().parse_args([]), problems) == b"e" * 16
    monkeypatch.delenv("AUDIT_KEY")
    assert options.key_of(parser().parse_args([]), problems) is None
    assert problems == []
