"""The READMEs say what is there, all of it, and nothing that is not."""

from __future__ import annotations

import argparse
import importlib
import json
import re
import shlex
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml

from pipelines import cat, explain, reduce, report, verify
from pipelines.gauges import METRICS
from tests.pipelines import job
from transforms.audit.account import OUTCOMES
from transforms.audit.bulk import FIELDS
from transforms.audit.catalogue import FieldRules, load_catalogue
from transforms.audit.guards import BUILT_IN, load_guards

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
STEPS = (ROOT / "transforms" / "README.md").read_text(encoding="utf-8")
ENVELOPES = (ROOT / "transforms" / "audit" / "envelopes" / "README.md").read_text(encoding="utf-8")
COMMANDS = {"cat": cat, "explain": explain, "reduce": reduce, "report": report, "verify": verify}
EVENTS_OF_THE_LOG = 4295
BEAM = {"--runner", "--direct_running_mode", "--direct_num_workers"}
DOCUMENTS = [path for path in ROOT.rglob("*.md") if not {".venv", ".git", "node_modules"} & set(path.relative_to(ROOT).parts)]


def section(text: str, title: str) -> str:
    """What stands below a heading, to the next of its rank or above."""
    found = re.search(rf"^(#+) {re.escape(title)}$", text, re.MULTILINE)
    assert found, title
    following = re.compile(rf"^#{{1,{len(found[1])}}} ", re.MULTILINE).search(text, found.end())
    return text[found.end() : following.start() if following else None]


def first_cells(text: str) -> list[str]:
    return re.findall(r"^\| `([^`]+)` \|", text, re.MULTILINE)


def flags(command: str) -> set[str]:
    return {option for action in COMMANDS[command].parser()._actions for option in action.option_strings if option.startswith("--")} - {
        "--help"
    }


def examples() -> list[list[str]]:
    """The command lines of ours that the README shows, as words."""
    return [shlex.split(found) for found in re.findall(r"python -m (pipelines\.[^`|\n]+)", README)]


def words(text: str) -> list[str]:
    return re.findall(r"`([^`\n]+)`", text)


def test_the_table_of_flags_has_those_of_the_main_job():
    assert sorted(first_cells(section(README, "Flags"))) == sorted(flags("reduce"))


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_flag_of_every_command_is_in_the_readme(command: str):
    assert {flag for flag in flags(command) if not re.search(rf"(?<![\w-]){flag}(?!\w)", README)} == set()


def test_the_readme_names_no_flag_that_does_not_exist():
    known = BEAM.union(*map(flags, COMMANDS))
    text = section(README, "Commands") + section(README, "Flags") + section(README, "Policies") + section(README, "Redaction")
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z_0-9]+", text)) - known == set()


def test_the_numbers_that_are_served_are_listed():
    listed = re.search(r"`/metrics` has, with prefix `audit_reducer_`: (.+), and what the sources", README)
    assert listed
    assert words(listed[1]) == [name for name, _, _ in METRICS]


def test_every_command_has_its_row():
    assert first_cells(section(README, "Commands")) == ["pipelines." + name for name in ("reduce", "cat", "verify", "explain", "report")]


@pytest.mark.parametrize("words", examples(), ids=" ".join)
def test_every_command_line_is_understood(words: list[str]):
    module = COMMANDS[words[0].removeprefix("pipelines.")]
    _, rest = module.parser().parse_known_args(words[1:])
    if module is reduce:
        problems: list[str] = []
        reduce.beam_options(rest, problems)
        assert problems == []
    else:
        assert rest == []


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_flag_says_what_it_does(command: str):
    assert [action.option_strings for action in COMMANDS[command].parser()._actions if action.help in {None, argparse.SUPPRESS}] == []


def test_the_help_of_the_main_job_has_groups_examples_and_exit_codes():
    text = reduce.parser().format_help()
    assert re.findall(r"^(\w+):$", text, re.MULTILINE)[1:] == [
        "input",
        "output",
        "reduction",
        "redaction",
        "following",
        "integrity",
        "examples",
    ]
    assert len(re.findall(r"^  python -m pipelines\.reduce --runner=DirectRunner", text.partition("\nexamples:")[2], re.MULTILINE)) == 3
    assert "exit codes: 0 done" in text


def test_the_table_of_guards_is_the_list_that_is_built_in():
    rows = re.findall(r"^\| `(\w+)` \| (.+) \|$", section(README, "Reads that are never folded"), re.MULTILINE)
    assert dict(rows) == BUILT_IN
    assert [name for name, _ in rows] == list(BUILT_IN)


def test_the_list_of_bulk_is_what_is_cut():
    assert re.findall(r"^- (.+)$", section(README, "Bulk"), re.MULTILINE) == list(FIELDS)


def test_the_outcomes_are_listed_in_their_order():
    assert first_cells(section(README, "What counts as an event")) == list(OUTCOMES)


def test_the_table_of_envelopes_is_theirs():
    table = re.search(r"^\| envelope.*\Z", ENVELOPES.rstrip(), re.MULTILINE | re.DOTALL)
    assert table
    assert table[0] in section(README, "Envelopes")


def test_every_code_and_flag_that_the_readme_names_is_documented():
    schemas = (ROOT / "schemas" / "README.md").read_text(encoding="utf-8")
    documented = set(first_cells(section(schemas, "dead_letter"))) | set(first_cells(section(schemas, "flags")))
    named = {word for word in words(README) if re.fullmatch(r"[A-Z]+(_[A-Z0-9]+)+", word)}
    assert named - {"AUDIT_KEY", "DB_PASSWORD", "PUBSUB_EMULATOR_HOST"} <= documented
    assert len(named & documented) > 5


def test_the_make_targets_are_those_of_the_makefile():
    targets = set(re.findall(r"^([a-z]+):.*## ", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = {found for word in words(README) for found in re.findall(r"^make ([a-z]+)", word)}
    assert named == targets


def test_every_transform_has_its_row_and_every_row_its_transform():
    modules = [path.stem for path in (ROOT / "transforms").glob("*.py") if path.stem != "__init__"]
    source = {name: importlib.import_module(f"transforms.{name}") for name in modules}
    import apache_beam as beam

    found = {
        name
        for module in source.values()
        for name, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, beam.PTransform) and value.__module__ == module.__name__
    }
    assert set(first_cells(STEPS)) == found


def anchors(path: Path) -> set[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(document: Path):
    for target in re.findall(r"\]\(([^)\s]+)\)", document.read_text(encoding="utf-8")):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        path = document.parent / name if name else document
        assert path.exists(), target
        assert not anchor or anchor in anchors(path), target


def yaml_blocks() -> dict[str, str]:
    return {next(iter(yaml.safe_load(text))): text for text in re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)}


def test_the_examples_of_guards_and_catalogue_load():
    blocks = yaml_blocks()
    assert set(blocks) == {"guards", "rules", "tests"}
    (guard,) = load_guards(blocks["guards"].encode())
    assert guard.name == "payroll"
    rules = load_catalogue(blocks["rules"].encode()).for_resource("example.com", "widgets")
    assert isinstance(rules, FieldRules)
    assert rules.hashes()
    data = rules.under("data")
    assert isinstance(data, FieldRules)
    assert data.under("tls.key") == "mask"


def test_the_example_of_a_policys_test_holds(tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]):
    (tmp_path / "tests.yaml").write_text(yaml_blocks()["tests"], encoding="utf-8")
    assert explain.main(["--expect", str(tmp_path / "tests.yaml"), "--json"]) == 0
    assert json.loads(capsysbinary.readouterr().out)["failed"] == 0


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, dict[str, Any]]:
    """The output, the report and the counts of a run as the README starts it."""
    output = tmp_path_factory.mktemp("readme") / "reduced"
    done = job.run(f"--output={output}", "--json")
    assert done.returncode == 0, done.stderr
    return output, done.stderr, json.loads(done.stdout)


def test_the_report_that_the_readme_shows_is_that_of_the_run(run: tuple[Path, str, dict[str, Any]]):
    (shown,) = re.findall(r"```\n(4,364 events.*?)```", README, re.DOTALL)
    first, *rows = shown.splitlines()
    assert "\n".join(rows) in run[1]
    assert re.sub(r"\S+ (?:kB|s)\b", "", first) in re.sub(r"\S+ (?:kB|s)\b", "", run[1])


def test_the_counts_that_are_printed_as_json_are_listed(run: tuple[Path, str, dict[str, Any]]):
    (listed,) = re.findall(r"^`--json` prints, of the run, (.*?) \(of the ledger", README, re.MULTILINE)
    assert [word for word in words(listed) if word != "none"] == list(run[2])


def within(shown: Any, whole: Any) -> bool:
    """Whether `shown` is `whole` less fields at its top and in what is ours."""
    return all(whole[name] == value or (name == "reduced" and within(value, whole[name])) for name, value in shown.items())


def test_the_event_before_and_after_is_that_of_the_run(run: tuple[Path, str, dict[str, Any]], capsysbinary: pytest.CaptureFixture[bytes]):
    before, after = map(json.loads, re.findall(r"```json\n(.*?)```", section(README, "Before and after"), re.DOTALL))
    assert cat.main(["--ours", str(run[0] / "events")]) == 0
    printed = [orjson.loads(line) for line in capsysbinary.readouterr().out.splitlines() if after["auditID"].encode() in line]
    assert [within(after, event) for event in printed] == [True]
    logged = [orjson.loads(line) for line in job.sample_lines(EVENTS_OF_THE_LOG).splitlines() if before["auditID"].encode() in line]
    assert [within(before, event) for event in logged if event["stage"] == before["stage"]] == [True]
    left_out = set(logged[-1]) - set(before) - {"kind", "apiVersion", "requestReceivedTimestamp", "stageTimestamp"}
    assert left_out == {"user", "sourceIPs", "userAgent", "objectRef", "annotations"}
    assert {name: printed[0][name] for name in left_out} == {name: logged[-1][name] for name in left_out}
