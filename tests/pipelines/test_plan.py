"""What the inputs name, what of it is new, and where it is cut."""

from __future__ import annotations

import errno
import gzip
import os
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.ledger import Range, Run
from pipelines.plan import Held, Input, expand, parse_input, plan
from tests.examples import an_event, lines
from transforms.audit.block import Split
from transforms.audit.parse_events import parse_events
from transforms.connectors.audit_files import read_blocks

KEY = b"a key of tests: at least 16 bytes"


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    for name in ("b.log", "a/2.log", "a/1.log.gz", "a/.hidden", "_state/x", "a/part.tmp", "out/events/x.avro", "c"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return tmp_path


def names(logs: Path, *patterns: str, output: str | None = None) -> list[str]:
    found, problems = expand([Input(str(logs / pattern)) for pattern in patterns], output, allow_empty=True)
    assert problems == []
    return [str(Path(path).relative_to(logs)) for path, _ in found]


def test_a_directory_is_read_in_order_without_hidden_and_temporary_files(logs: Path):
    assert names(logs, "") == ["a/1.log.gz", "a/2.log", "b.log", "c", "out/events/x.avro"]


def test_the_output_itself_is_no_input(logs: Path):
    assert names(logs, "", output=str(logs / "out")) == ["a/1.log.gz", "a/2.log", "b.log", "c"]


def test_the_output_is_no_input_where_a_pattern_finds_it_or_it_is_the_directory_itself(logs: Path):
    assert names(logs, "[a-z]*", output=str(logs / "out")) == ["a/1.log.gz", "a/2.log", "b.log", "c"]
    assert names(logs, "*/*/*.avro", output=str(logs / "out")) == []
    assert names(logs, "out", output=str(logs / "out")) == names(logs, "out/*/*", output=str(logs / "out")) == []
    assert names(logs, "[a-z]*", output=str(logs / "ou")) == ["a/1.log.gz", "a/2.log", "b.log", "c", "out/events/x.avro"]


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("*", ["a/1.log.gz", "a/2.log", "b.log", "c", "out/events/x.avro"]),
        ("*/*", ["a/1.log.gz", "a/2.log", "out/events/x.avro"]),
        ("**", ["a/1.log.gz", "a/2.log", "b.log", "c", "out/events/x.avro"]),
        ("a/*.tmp", ["a/part.tmp"]),
        ("*/p*", []),
        ("a/.h*", ["a/.hidden"]),
        ("_*", ["_state/x", "_b.log"]),
        ("_s*/x", ["_state/x"]),
        ("_state/*", ["_state/x"]),
        ("_*/*.tmp", ["_state/y.tmp"]),
        ("?state/x", []),
    ],
)
def test_a_glob_finds_hidden_and_temporary_files_only_where_it_asks_for_them(logs: Path, pattern: str, found: list[str]):
    for name in ("_b.log", "_state/y.tmp", "_state/_z"):
        (logs / name).write_bytes(b"x")
    assert sorted(names(logs, pattern)) == sorted(found)


def test_inputs_keep_their_order_and_a_path_matched_twice_its_first_place(logs: Path):
    assert names(logs, "c", "*.log", "a", "b.log") == ["c", "b.log", "a/1.log.gz", "a/2.log"]


def test_a_link_to_a_file_is_the_file(logs: Path):
    (logs / "link").symlink_to(logs / "b.log")
    assert names(logs, "link", "b.log") == ["link"]


def test_a_file_whose_name_is_a_pattern_is_that_file(logs: Path):
    (logs / "audit[1].log").write_bytes(b"x")
    assert names(logs, "audit[1].log") == ["audit[1].log"]


def test_all_that_is_wrong_with_the_inputs_is_said_at_once(logs: Path):
    os.mkfifo(logs / "pipe")
    wanted = [Input(str(logs / name)) for name in ("missing", "none*", "pipe")] + [Input("kafka://b:9092/audit"), Input("nosuch://x/y")]
    files, problems = expand(wanted, None, allow_empty=False)
    assert files == [(str(logs / "pipe"), None)]
    for problem, part in zip(
        problems, ["no such file", "no files there", "not a regular file", "only pipelines.reduce reads from kafka", "nosuch"], strict=True
    ):
        assert part in problem


def test_a_directory_that_cannot_be_read_is_a_problem_and_not_empty(logs: Path, monkeypatch: pytest.MonkeyPatch):
    (logs / "closed").mkdir()
    scandir = os.scandir

    def denied(path: str) -> Any:
        if path.endswith("closed"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", denied)
    for pattern in (logs, logs / "closed", f"{logs}/close?"):
        _, problems = expand([Input(str(pattern))], None, allow_empty=False)
        assert problems == [f"--input {logs / 'closed'}: cannot be read (Permission denied)"]


def test_no_files_are_a_problem_unless_that_is_allowed(tmp_path: Path):
    assert expand([Input(str(tmp_path))], None, allow_empty=True) == ([], [])
    assert expand([Input(str(tmp_path))], None, allow_empty=False)[1] == [
        f"--input {tmp_path}: no files there (--allow_empty accepts that)"
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("logs", Input("logs", "default-of-flag")),
        ("cluster=east,logs", Input("logs", "east")),
        ("cluster=east,a,b", Input("a,b", "east")),
    ],
)
def test_an_input_may_name_its_cluster(text: str, expected: Input):
    assert parse_input(text, "default-of-flag") == expected


@pytest.mark.parametrize("text", ["cluster=east", "cluster=,logs", "cluster=east,"])
def test_half_an_input_is_refused(text: str):
    with pytest.raises(ValueError, match="expected cluster=NAME,PATH"):
        parse_input(text, None)


@given(st.lists(st.integers(0, 300), max_size=30), st.booleans(), st.integers(1, 2000))
@settings(max_examples=60)
def test_splits_cover_a_log_once_and_begin_where_lines_begin(tmp_path_factory, sizes: list[int], ended: bool, split_size: int):
    path = tmp_path_factory.mktemp("log") / "audit.log"
    content = b"\n".join(b"x" * size for size in sizes) + (b"\n" if ended else b"")
    path.write_bytes(content)
    splits = plan([(str(path), None)], split_size=split_size).splits
    assert [split.start for split in splits[1:]] == [split.end for split in splits[:-1]]
    assert (splits[0].start, splits[-1].end) == (0, len(content))
    assert all(content[split.start - 1 : split.start] in (b"", b"\n") for split in splits)


def test_compressed_logs_are_one_split_whatever_their_name(tmp_path: Path):
    content = lines(*[an_event()] * 50)
    for name, packed in (("a.log", gzip.compress(content)), ("b.gz", zstandard.compress(content)), ("c.zst", content)):
        (tmp_path / name).write_bytes(packed)
    planned = plan([(str(tmp_path / name), None) for name in ("a.log", "b.gz", "c.zst")], split_size=40_000)
    assert [(split.file, split.start, split.end) for split in planned.splits[:2]] == [(0, 0, None), (1, 0, None)]
    assert planned.compressed
    assert len(planned.splits) > 3


def held(*splits: Split, cluster: str | None = None, block_size: int = 1 << 20) -> Held:
    """A ledger that holds these splits."""
    ranges = []
    for split in splits:
        for block in read_blocks(split, KEY, block_size):
            parse_events(block, KEY)
            ranges.append(Range(split.uri, cluster, block.account))
    return Held([Run("", "", None, [], "{}", "", ranges)], KEY)


def planned_again(path: Path, ledger: Held, cluster: str | None = None) -> list[tuple[int, int | None]]:
    return [(split.start, split.end) for split in plan([(str(path), cluster)], ledger).splits]


@pytest.mark.parametrize("block_size", [1000, 1 << 20])
def test_a_log_that_is_held_is_not_read_again_and_a_grown_one_from_its_old_end(tmp_path: Path, block_size: int):
    path = tmp_path / "audit.log"
    path.write_bytes(lines(*[an_event()] * 5))
    size = path.stat().st_size
    ledger = held(*plan([(str(path), None)]).splits, block_size=block_size)
    assert planned_again(path, ledger) == []
    with path.open("ab") as file:
        file.write(lines(an_event()))
    assert planned_again(path, ledger) == [(size, path.stat().st_size)]


def test_a_renamed_and_compressed_log_is_known_by_its_content(tmp_path: Path):
    path, twin = tmp_path / "audit.log", tmp_path / "audit-2026.log.gz"
    path.write_bytes(lines(*[an_event()] * 5))
    twin.write_bytes(gzip.compress(path.read_bytes()))
    assert planned_again(twin, held(*plan([(str(path), None)]).splits)) == []


def test_the_same_log_of_another_cluster_is_another_log(tmp_path: Path):
    path = tmp_path / "audit.log"
    path.write_bytes(lines(an_event()))
    ledger = held(*plan([(str(path), "east")]).splits, cluster="east")
    assert planned_again(path, ledger, "east") == []
    assert planned_again(path, ledger, "west") == [(0, path.stat().st_size)]


def test_a_log_that_was_changed_is_read_from_its_start(tmp_path: Path):
    path = tmp_path / "audit.log"
    path.write_bytes(lines(*[an_event()] * 3))
    ledger = held(*plan([(str(path), None)]).splits)
    path.write_bytes(lines(an_event(verb="delete"), *[an_event()] * 3))
    assert planned_again(path, ledger) == [(0, path.stat().st_size)]


def test_another_key_knows_nothing_of_a_ledger(tmp_path: Path):
    path = tmp_path / "audit.log"
    path.write_bytes(lines(an_event()))
    ledger = held(*plan([(str(path), None)]).splits)
    ledger._key = b"another key of at least 16 bytes"
    assert planned_again(path, ledger) == [(0, path.stat().st_size)]


def test_an_unreadable_line_without_end_is_read_again_from_its_start_once_it_grew(tmp_path: Path):
    path = tmp_path / "audit.log"
    whole = lines(an_event(), an_event(verb="delete"))
    cut = len(whole) - 30
    path.write_bytes(whole[:cut])
    start_of_last = whole.index(b"\n") + 1
    ledger = held(*plan([(str(path), None)]).splits)
    assert planned_again(path, ledger) == []
    path.write_bytes(whole)
    assert planned_again(path, ledger) == [(start_of_last, len(whole))]


def test_a_readable_line_without_end_is_not_read_again_when_its_end_comes(tmp_path: Path):
    path = tmp_path / "audit.log"
    whole = lines(an_event(), an_event(verb="delete"))
    path.write_bytes(whole[:-1])
    ledger = held(*plan([(str(path), None)]).splits)
    path.write_bytes(whole + lines(an_event(verb="patch")))
    assert planned_again(path, ledger) == [(len(whole) - 1, path.stat().st_size)]


def test_a_broken_gzip_does_not_keep_the_rest_from_being_planned(tmp_path: Path):
    packed = gzip.compress(lines(*[an_event(auditID=f"{number}") for number in range(200)]))
    path = tmp_path / "audit.log.gz"
    path.write_bytes(packed[: len(packed) // 2])
    assert planned_again(path, Held([], KEY)) == [(0, None)]


def test_a_log_is_held_to_its_end_though_another_of_the_same_lengths_went_on(tmp_path: Path):
    one, other = tmp_path / "one.log", tmp_path / "other.log"
    one.write_bytes(lines(an_event(verb="patch")))
    other.write_bytes(lines(*[an_event(verb="watch")] * 2))
    size = one.stat().st_size
    assert other.stat().st_size == 2 * size
    cut = [Split(1, str(other), str(other), 0, size), Split(1, str(other), str(other), size, 2 * size)]
    assert planned_again(one, held(*plan([(str(one), None)]).splits, *cut)) == []


def test_of_several_logs_that_begin_alike_the_one_that_is_held_furthest_counts(tmp_path: Path):
    one, other = tmp_path / "one.log", tmp_path / "other.log"
    one.write_bytes(lines(an_event()))
    other.write_bytes(lines(*[an_event()] * 3))
    size = one.stat().st_size
    ledger = held(*plan([(str(one), None)]).splits, Split(1, str(other), str(other), 0, 3 * size))
    assert planned_again(other, ledger) == []
    with other.open("ab") as file:
        file.write(lines(an_event()))
    assert planned_again(other, ledger) == [(3 * size, 4 * size)]
