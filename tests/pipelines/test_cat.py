"""cat prints what is in our Avro files, and says what it cannot print."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest

from pipelines import cat
from pipelines.ledger import Range, encode_run
from tests.examples import ABSENT, an_event, lines
from transforms.audit import avro
from transforms.audit.account import Account
from transforms.audit.avro_blocks import AvroBlock
from transforms.audit.block import RawBlock, Split
from transforms.audit.reduce_all import Reduced, reduce_all
from transforms.audit.settings import Compiled, Settings, hour_of
from transforms.connectors.avro_files import write_file

KEY = b"k" * 32
WINDOW = 60_000_000
ROOT = Path(cat.__file__).parent.parent

KEPT = an_event()
FOLDED = an_event(
    auditID="read-1", verb="get", requestURI="/version", objectRef=ABSENT, requestObject=ABSENT, responseObject=ABSENT, level="Metadata"
)


def reduced(text: bytes) -> Reduced:
    split = Split(0, "a.log", "a.log")

    def read(_: Split) -> list[RawBlock]:
        return [RawBlock(split, Account(0, 0, len(text), size=len(text)), 0, text, last=True)]

    return reduce_all([split], read, Compiled(Settings(started=1_795_411_000_000_000, window=WINDOW), KEY))


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An output with a file of each kind."""
    place = tmp_path_factory.mktemp("out")
    result = reduced(lines(KEPT, FOLDED) + b"{\n")
    files = [write_file(str(place), 1, block.kind, block.hour, [block]) for block in result.blocks]
    (row,) = result.reads
    raw = row.encoded(WINDOW)
    files.append(write_file(str(place), 1, "reads", hour_of(row.window), [AvroBlock("reads", 0, (), 1, len(raw), avro.compress(raw))]))
    name, pieces = encode_run(files, None, "{}", KEY, [Range("a.log", None, result.accounts[0])])
    (place / "ledger").mkdir()
    (place / "ledger" / f"{name}.avro").write_bytes(b"".join(pieces))
    (place / "_state").mkdir()
    (place / "_state" / "x.avro").write_bytes(b"not looked at")
    (place / "notes.txt").write_text("not looked at")
    return place


def printed(*flags: str) -> list[dict[str, Any]]:
    out = io.BytesIO()
    assert cat.main(flags, out) == 0
    return [orjson.loads(text) for text in out.getvalue().splitlines()]


def test_events_are_printed_as_kubernetes_writes_them(output: Path):
    assert printed(str(output / "events")) == [KEPT]


def test_our_fields_are_added_when_asked_for(output: Path):
    (event,) = printed("--ours", str(output / "events"))
    ours = event.pop("reduced")
    assert event == KEPT
    assert (ours["cluster"], ours["source"]["uri"], len(ours["digest"])) == ("default", "a.log", 32)


def test_a_summary_is_printed_with_its_exemplar_as_an_event(output: Path):
    (row,) = printed(str(output / "reads"))
    assert row["exemplar"] == FOLDED
    assert (row["count"], row["verb"], row["nonResourcePath"], row["code"]) == (1, "get", "/version", 200)
    assert (row["windowStart"], row["windowEnd"]) == ("2026-11-23T05:19:00.000000Z", "2026-11-23T05:20:00.000000Z")


def test_a_dead_letter_is_printed_with_its_mac_in_hex(output: Path):
    (letter,) = printed(str(output / "dead_letters"))
    assert letter["code"] == "INVALID_JSON"
    assert bytes.fromhex(letter["mac"])
    assert letter["source"]["uri"] == "a.log"


def test_the_ledger_is_printed_range_by_range_and_run_by_run(output: Path):
    entry, run = printed(str(output / "ledger"))
    assert (entry["kind"], entry["events"], entry["kept"], entry["folded"], entry["deadLettered"]) == (
        "range",
        3,
        1,
        1,
        {"INVALID_JSON": 1},
    )
    assert (run["kind"], run["previous"], len(run["files"])) == ("run", None, 3)


def test_a_directory_is_all_avro_files_below_it_sorted_without_the_state(output: Path):
    names = ("dead_letters", "events", "ledger", "reads")
    assert printed(str(output)) == [record for name in names for record in printed(str(output / name))]


def test_files_and_globs_are_printed_in_the_order_given(output: Path):
    file = next((output / "reads").rglob("*.avro"))
    assert printed(str(file), str(output / "ev*")) == printed(str(output / "reads")) + printed(str(output / "events"))


def test_a_glob_leaves_the_state_out_as_a_directory_does(output: Path, tmp_path: Path):
    for name in ("reads", "_state"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.avro").write_bytes(next((output / "reads").rglob("*.avro")).read_bytes())
    once = printed(str(tmp_path))
    assert printed(f"{tmp_path}/*") == printed(f"{tmp_path}/*/x.avro") == printed(f"{tmp_path}/_*") == once != []


def test_what_is_wrong_is_listed_together_before_anything_is_printed(output: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text").write_text("text")
    out = io.BytesIO()
    paths = [str(output / "events"), str(tmp_path / "none"), str(tmp_path / "empty"), str(tmp_path / "text")]
    assert cat.main(paths, out) == 2
    assert out.getvalue() == b""
    told = capsys.readouterr().err
    assert f"{tmp_path / 'none'}: No such file or directory" in told
    assert f"{tmp_path / 'empty'}: no Avro files there" in told
    assert f"{tmp_path / 'text'}: not an Avro file" in told


@pytest.mark.parametrize("flags", [[], ["--our", "x"], ["--json", "x"]])
def test_flags_that_nobody_knows_are_refused(flags: list[str], capsys: pytest.CaptureFixture[str]):
    assert cat.main(flags) == 2
    assert "refused" in capsys.readouterr().err


def test_a_damaged_file_is_named_and_ends_with_one(output: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    sound = next((output / "events").rglob("*.avro")).read_bytes()
    damaged = tmp_path / "damaged.avro"
    damaged.write_bytes(sound[:-30])
    assert cat.main([str(damaged)], io.BytesIO()) == 1
    assert f"{damaged}: damaged or cut off" in capsys.readouterr().err


def test_a_reader_who_has_seen_enough_ends_it_quietly(output: Path):
    events = str(output / "events")
    script = f"{sys.executable} -m pipelines.cat {' '.join([events] * 2000)} | head -c 10"
    done = subprocess.run(["/bin/sh", "-c", script], cwd=ROOT, capture_output=True, check=False)
    assert (done.stdout, done.stderr) == (b'{"kind":"E', b"")


def test_a_file_of_an_older_schema_is_printed_through_todays():
    path = ROOT / "tests" / "schemas" / "data" / "older_audit_event.avro"
    (event,) = printed(str(path))
    assert event == KEPT
