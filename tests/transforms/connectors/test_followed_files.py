"""Files that are followed: real files, a clock that the test moves."""

from __future__ import annotations

import base64
import errno
import gzip
import json
import os
import shutil
import time
from pathlib import Path

import pytest
import zstandard

from tests.transforms.connectors.following import Following, compress, line, write
from transforms.audit.block import LINE_LIMIT
from transforms.connectors import growing_file
from transforms.connectors.followed_files import QUIET, FollowedFiles, parse
from transforms.connectors.sources import Gap, SourceError


@pytest.fixture
def short_head(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first piece of a file may be small."""
    monkeypatch.setattr(growing_file, "HEAD", 1300)


def lines(first: int, last: int) -> list[bytes]:
    return [line(number) for number in range(first, last + 1)]


def test_a_growing_file_gives_each_line_once_and_an_unfinished_one_waits(tmp_path: Path):
    log, followed = tmp_path / "audit.log", Following(tmp_path)
    write(log, line(1))
    assert followed.cycle() == [line(1)]
    with log.open("ab") as file:
        file.write(line(2) + b"\n" + line(3)[:50])
    assert followed.cycle() == [line(2)]
    assert followed.source.at_end
    with log.open("ab") as file:
        file.write(line(3)[50:] + b"\n")
    assert followed.cycle() == [line(3)]
    assert {(uri, at) for uri, at, _ in followed.records} == {(str(log), at * 1201) for at in range(3)}
    assert followed.batch() == []


def test_the_last_line_of_a_file_that_will_not_grow_is_given_as_it_stands(tmp_path: Path):
    log, followed = tmp_path / "audit.log", Following(tmp_path)
    log.write_bytes(line(1) + b"\n" + line(2))
    assert followed.cycle() == [line(1)]
    followed.clock.now += QUIET - 1
    assert followed.cycle() == []
    followed.clock.now += 1
    assert followed.cycle() == [line(2)]
    assert followed.batch() == []


def test_a_rename_loses_nothing_and_the_new_file_of_the_name_is_another_stream(tmp_path: Path):
    log, followed = tmp_path / "audit.log", Following(tmp_path)
    write(log, line(1))
    followed.cycle()
    write(log, line(2))
    log.rename(tmp_path / "audit-2026-11-25T13-00-00.000.log")
    write(log, line(3))
    assert followed.cycle() == [line(2), line(3)]
    assert len({(uri, at) for uri, at, _ in followed.records}) == 3
    assert [(uri.partition("#")[0], at) for uri, at, _ in followed.records] == [(str(log), 0), (str(log), 1201), (str(log), 0)]
    assert followed.batch() == []


def test_rotated_several_times_between_two_looks_all_is_found(tmp_path: Path):
    log, followed = tmp_path / "audit.log", Following(tmp_path)
    write(log, line(0))
    followed.cycle()
    for number in range(1, 6):
        write(log, line(number))
        os.utime(log, ns=(number * 10**9, number * 10**9))
        log.rename(tmp_path / f"audit-{number}.log")
    write(log, line(6))
    assert followed.cycle() == lines(1, 6)
    assert followed.gaps == []


def test_a_compressed_twin_is_not_read_again(tmp_path: Path):
    log, followed = tmp_path / "audit.log", Following(tmp_path)
    write(log, *lines(1, 3))
    log.rename(tmp_path / "audit-1.log")
    followed.cycle()
    compress(tmp_path / "audit-1.log")
    assert followed.settle() == []
    assert followed.batch() == []


def test_what_a_compressed_twin_holds_beyond_what_was_read_is_read_from_it(short_head: None, tmp_path: Path):
    log, followed = tmp_path / "audit.log", Following(tmp_path, open_files=1)
    write(log, *lines(1, 3))
    assert followed.cycle(room=2500) == lines(1, 2)
    followed.source._watched.shut(next(iter(followed.source._watched.files.values())))  # as where too many are open
    compress(log)
    assert followed.settle() == [line(3)]
    assert followed.gaps == []
    assert followed.batch() == []


def test_a_compressed_file_waits_until_it_is_complete(tmp_path: Path):
    packed, followed = gzip.compress(b"".join(each + b"\n" for each in lines(1, 9)), 1), Following(tmp_path)
    (tmp_path / "a.gz").write_bytes(packed[:-20])
    followed.clock.now += 1
    assert followed.cycle() == []
    followed.clock.now += 1
    assert followed.cycle() == []
    (tmp_path / "a.gz").write_bytes(packed)
    assert followed.cycle() == []  # it has just changed
    followed.clock.now += 1
    assert followed.cycle() == lines(1, 9)
    assert followed.batch() == []


def test_a_compressed_file_that_stays_broken_is_read_up_to_the_break(tmp_path: Path):
    noise = [line(number) + base64.b64encode(os.urandom(600)) for number in range(9)]
    packed, followed = gzip.compress(b"".join(each + b"\n" for each in noise), 1), Following(tmp_path)
    (tmp_path / "a.gz").write_bytes(packed[: len(packed) // 2])
    given = followed.settle()
    assert given[-1] == "BROKEN_STREAM"
    assert given[:-2] == noise[: len(given) - 2]
    assert given[-2] == "UNTERMINATED_LINE"
    assert followed.settle() == []
    assert followed.batch() == []


def test_zstandard_and_gzip_files_are_given_in_pieces_that_end_at_lines(short_head: None, tmp_path: Path):
    (tmp_path / "a.zst").write_bytes(zstandard.compress(b"".join(each + b"\n" for each in lines(1, 40))))
    (tmp_path / "b.gz").write_bytes(b"".join(gzip.compress(each + b"\n") for each in lines(41, 80)))
    followed = Following(tmp_path)
    followed.fetch()
    followed.clock.now += 1
    sizes = []
    while stretches := followed.fetch(room=5000):
        sizes += [each.end - each.start for each in stretches]
        followed.commit(stretches)
    assert max(sizes) == 4 * 1201
    assert sorted(followed.lines) == lines(1, 80)


def test_copytruncate_goes_on_in_the_copy_and_begins_anew_in_the_original(tmp_path: Path):
    log, followed = tmp_path / "audit.log", Following(tmp_path)
    write(log, line(1))
    followed.cycle()
    write(log, line(2))
    shutil.copyfile(log, tmp_path / "audit.log.1")
    os.truncate(log, 0)
    write(log, *lines(3, 9))
    assert sorted(followed.settle()) == lines(2, 9)
    assert followed.gaps == []
    assert followed.batch() == []


def test_a_copy_in_the_making_is_not_read_beside_its_original(tmp_path: Path):
    log, followed = tmp_path / "audit.log", Following(tmp_path)
    write(log, *lines(1, 4))
    followed.cycle()
    (tmp_path / "audit.log.1").write_bytes(log.read_bytes()[:3000])
    assert followed.cycle() == []
    shutil.copyfile(log, tmp_path / "audit.log.1")
    write(log, line(5))
    assert followed.settle() == [line(5)]
    assert followed.batch() == []


def test_a_copy_of_what_is_not_read_yet_is_not_read_twice(tmp_path: Path):
    log, followed = tmp_path / "audit.log", Following(tmp_path)
    write(log, *lines(1, 3))
    followed.cycle()
    write(log, line(4))
    shutil.copyfile(log, tmp_path / "copy")
    assert followed.settle() == [line(4)]
    log.unlink()
    assert followed.settle() == []
    assert followed.batch() == []


def test_an_emptied_file_of_which_nothing_was_unread_is_a_gap_of_unknown_length(tmp_path: Path):
    log, followed = tmp_path / "audit.log", Following(tmp_path)
    write(log, line(1))
    followed.cycle()
    os.truncate(log, 0)
    write(log, line(2))
    assert followed.settle() == [line(2)]
    assert followed.gaps == [Gap(str(log), None, 1201, None, "emptied; nobody can tell what was lost")]


def test_what_was_seen_and_emptied_before_it_was_read_is_a_gap(short_head: None, tmp_path: Path):
    log, followed = tmp_path / "audit.log", Following(tmp_path)
    write(log, *lines(1, 3))
    assert followed.cycle(room=1300) == [line(1)]
    os.truncate(log, 0)
    write(log, line(4))
    assert followed.settle() == [line(4)]
    assert followed.gaps == [Gap(str(log), None, 1201, 3603, "emptied before it was read to its end")]


def test_a_file_emptied_and_written_beyond_the_position_is_another(tmp_path: Path):
    log, followed = tmp_path / "audit.log", Following(tmp_path)
    write(log, line(1))
    followed.cycle()
    os.truncate(log, 0)
    write(log, *lines(2, 5))
    assert followed.settle() == lines(2, 5)
    assert [gap.start for gap in followed.gaps] == [1201]


def test_a_file_that_was_cut_off_goes_on_and_says_what_was_lost_in_its_place(short_head: None, tmp_path: Path):
    log, followed = tmp_path / "audit.log", Following(tmp_path)
    write(log, *lines(1, 5))
    assert followed.cycle(room=1300) == [line(1)]
    os.truncate(log, 3 * 1201)
    assert followed.cycle() == lines(2, 3)
    assert followed.gaps == []
    assert followed.cycle() == []
    assert followed.gaps == [Gap(str(log), None, 3 * 1201, 5 * 1201, "cut off before it was read to its end")]
    write(log, line(6))
    assert followed.cycle() == [line(6)]


def test_a_deleted_file_is_read_to_its_end_even_as_it_still_grows(short_head: None, tmp_path: Path):
    log, followed = tmp_path / "audit.log", Following(tmp_path)
    write(log, line(1), line(2))
    with log.open("ab") as writer:
        assert followed.cycle(room=1300) == [line(1)]
        log.unlink()
        writer.write(line(3) + b"\n")
        writer.flush()
        assert followed.cycle() == [line(2), line(3)]
        writer.write(line(4) + b"\n")
        writer.flush()
        assert followed.cycle() == [line(4)]
    assert followed.settle() == []
    assert followed.gaps == []
    assert followed.source._watched.files == {}


def test_what_was_deleted_unread_while_too_many_files_were_open_is_a_gap(short_head: None, tmp_path: Path):
    followed = Following(tmp_path, open_files=1)
    for number in range(3):
        write(tmp_path / f"{number}.log", line(number))
        os.utime(tmp_path / f"{number}.log", ns=(number, number))
    assert followed.cycle(room=100) == [line(0)]
    unheld = next(file for file in followed.source._watched.files.values() if file.descriptor is None and not file.finished)
    Path(unheld.path).unlink()
    rest = followed.settle()
    assert sorted([*rest, line(int(Path(unheld.path).stem))]) == [line(1), line(2)]
    assert followed.gaps == [Gap(unheld.path, None, 0, 1201, "deleted before it was read to its end")]


def test_an_inode_used_again_under_the_same_name_is_another_file(tmp_path: Path):
    log, followed = tmp_path / "audit.log", Following(tmp_path)
    write(log, line(1))
    followed.cycle()
    file = next(iter(followed.source._watched.files.values()))
    followed.source._watched.shut(file)  # nothing holds the inode
    log.unlink()
    write(log, line(2), line(3))
    if (log.stat().st_dev, log.stat().st_ino) == file.key:
        os.utime(log, ns=(1, 1))
    assert followed.settle() == [line(2), line(3)]


def test_after_a_restart_files_are_found_though_they_were_renamed_and_compressed(short_head: None, tmp_path: Path):
    log, followed = tmp_path / "audit.log", Following(tmp_path)
    write(log, *lines(1, 3))
    followed.cycle(room=1300)
    log.rename(tmp_path / "audit-1.log")
    compress(tmp_path / "audit-1.log")
    write(log, line(4))
    followed.restart()
    assert sorted(followed.settle()) == lines(2, 4)
    followed.restart()
    write(log, line(5))
    assert followed.settle() == [line(5)]
    assert followed.gaps == []
    assert followed.batch() == []


def test_what_was_fetched_and_not_committed_comes_again(tmp_path: Path):
    log, followed = tmp_path / "audit.log", Following(tmp_path)
    write(log, *lines(1, 3))
    assert len(followed.fetch()) == 1
    followed.restart()
    assert followed.settle() == lines(1, 3)


def test_a_log_that_is_gone_after_a_restart_is_a_gap(tmp_path: Path):
    log, followed = tmp_path / "audit.log", Following(tmp_path)
    write(log, line(1))
    followed.cycle()
    log.unlink()
    write(log, line(2))
    followed.restart()
    assert followed.settle() == [line(2)]
    assert [(gap.uri, gap.start, gap.end) for gap in followed.gaps] == [(str(log), 1201, None)]
    assert followed.records[-1][0].startswith(f"{log}#")


def test_an_unreadable_last_line_is_read_again_once_it_has_grown(tmp_path: Path):
    log, followed = tmp_path / "audit.log", Following(tmp_path)
    log.write_bytes(line(1) + b"\n" + line(2)[:60])
    assert followed.settle() == [line(1), "UNTERMINATED_LINE"]
    with log.open("ab") as file:
        file.write(line(2)[60:] + b"\n" + line(3) + b"\n")
    assert followed.settle() == [line(2), line(3)]


def document(first: int, last: int) -> bytes:
    items = [json.loads(line(number)) for number in range(first, last + 1)]
    return json.dumps({"kind": "EventList", "apiVersion": "audit.k8s.io/v1", "items": items}, indent=1).encode()


@pytest.mark.parametrize("packed", [False, True])
def test_a_document_is_one_piece_once_it_grows_no_more(packed: bool, tmp_path: Path):
    text, followed = document(1, 5), Following(tmp_path)
    log = tmp_path / "list.json"
    log.write_bytes(text[:3000])
    assert followed.cycle() == []
    log.write_bytes(gzip.compress(text) if packed else text)
    assert followed.cycle() == []
    followed.clock.now += QUIET
    (stretch,) = followed.fetch(room=100)
    assert (stretch.start, stretch.end) == (0, len(text))
    assert [json.loads(raw)["auditID"] for raw in followed.commit([stretch])] == [f"{number:08d}" for number in range(1, 6)]
    assert followed.batch() == []


def test_a_document_too_large_for_memory_is_read_through_its_descriptor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(growing_file, "IN_MEMORY", 2000)
    monkeypatch.setattr(growing_file, "HEAD", 1000)
    text, followed = document(1, 5), Following(tmp_path)
    (tmp_path / "a.json").write_bytes(text)
    (tmp_path / "b.json.gz").write_bytes(gzip.compress(document(6, 10)))
    followed.clock.now += QUIET
    followed.fetch()
    followed.clock.now += QUIET
    stretches = followed.fetch()
    assert [(each.start, each.end) for each in stretches] == [(0, len(text))] * 2
    (tmp_path / "a.json").unlink()
    assert len(followed.commit(stretches)) == 10


def test_fragments_of_a_container_log_are_not_cut_apart(tmp_path: Path):
    log, followed = tmp_path / "0.log", Following(tmp_path)
    stamp = b"2026-11-25T13:00:00.000000000Z stdout "
    log.write_bytes(stamp + b"F " + line(1) + b"\n" + stamp + b"P " + line(2)[:70] + b"\n")
    assert followed.cycle() == [stamp + b"F " + line(1)]
    with log.open("ab") as file:
        file.write(stamp + b"P " + line(2)[70:90] + b"\n" + stamp + b"F " + line(2)[90:] + b"\n" + stamp + b"P " + line(3)[:9] + b"\n")
    assert followed.cycle() == [stamp + b"F " + line(2)]
    followed.clock.now += QUIET
    assert followed.cycle() == [stamp + b"P " + line(3)[:9]]
    assert followed.batch() == []


def test_a_fragment_that_waits_does_not_wait_for_ever_while_the_log_grows(tmp_path: Path):
    log, followed = tmp_path / "0.log", Following(tmp_path)
    out, err = b"2026-11-25T13:00:00.000000000Z stdout ", b"2026-11-25T13:00:00.000000000Z stderr "
    write(log, err + b"P " + line(0)[:70])
    given = []
    for number in range(1, 5):
        write(log, out + b"F " + line(number))
        given += followed.cycle()
        followed.clock.now += QUIET / 3
    assert sorted(given) == sorted([err + b"P " + line(0)[:70], *(out + b"F " + line(number) for number in range(1, 5))])


def test_a_line_beyond_all_bounds_is_one_dead_letter_and_no_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(growing_file, "LINE_LIMIT", 1 << 20)
    log, followed = tmp_path / "audit.log", Following(tmp_path)
    write(log, line(1))
    followed.cycle()
    with log.open("r+b") as file:
        file.seek(0, os.SEEK_END)
        file.truncate(1201 + LINE_LIMIT + (9 << 20))
    assert followed.cycle() == []
    write(log, b"", line(2))
    assert followed.settle() == ["LINE_TOO_LONG", line(2)]
    assert followed.batch() == []


def test_a_file_of_another_kind_waits_and_is_one_dead_letter(tmp_path: Path):
    followed = Following(tmp_path)
    (tmp_path / "readme.txt").write_bytes(b"nothing of ours\nat all\n")
    assert followed.cycle() == []
    followed.clock.now += QUIET
    assert followed.cycle() == ["UNRECOGNISED_FILE"]
    assert followed.batch() == []


def test_hidden_and_temporary_files_and_the_output_are_not_followed(tmp_path: Path):
    output = tmp_path / "reduced"
    for name in (".hidden", "_state/x", "a.tmp", "reduced/events/a.avro", "deep/er/audit.log"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        write(tmp_path / name, line(len(name)))
    followed = Following(tmp_path, output=str(output))
    assert followed.settle() == [line(len("deep/er/audit.log"))]


def test_a_glob_follows_what_a_batch_run_would_read(tmp_path: Path):
    for name in ("_a.log", "b.log", ".c.log", "d.log.tmp"):
        write(tmp_path / name, line(len(name)))
    assert Following(f"{tmp_path}/*").settle() == [line(len("b.log"))]
    assert Following(f"{tmp_path}/_*").settle() == [line(len("_a.log"))]


def test_a_glob_follows_symlinks_and_a_file_whose_link_moves_on_is_read_to_its_end(short_head: None, tmp_path: Path):
    pods, links = tmp_path / "pods", tmp_path / "containers"
    pods.mkdir()
    links.mkdir()
    write(pods / "0.log", *lines(1, 2))
    (links / "apiserver.log").symlink_to(pods / "0.log")
    (links / "other.log").symlink_to(pods / "0.log")
    followed = Following(f"{links}/*.log")
    assert followed.cycle(room=1300) == [line(1)]
    (pods / "0.log").rename(pods / "0.log.20261125")
    write(pods / "0.log", line(3))
    assert sorted(followed.settle()) == [line(2), line(3)]
    assert followed.gaps == []


def test_a_file_without_permission_is_said_and_tried_again_and_the_rest_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    log, followed = tmp_path / "a.log", Following(tmp_path)
    write(log, line(1))
    write(tmp_path / "b.log", line(2))
    true_open = os.open
    denied = [str(log)]

    def refusing(path, *rest, **named):
        if path in denied:
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return true_open(path, *rest, **named)

    monkeypatch.setattr(os, "open", refusing)
    assert followed.cycle() == [line(2)]
    assert followed.cycle() == []
    assert followed.said == [f"--input {log}: cannot be read (Permission denied); tried again every 10 s"]
    assert followed.source.gauges()[f'files_unreadable{{input="{tmp_path}"}}'] == 1
    denied.clear()
    followed.clock.now += 11
    assert followed.cycle() == [line(1)]


def test_a_stale_handle_is_opened_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    log, followed = tmp_path / "a.log", Following(tmp_path)
    write(log, line(1))
    followed.cycle()
    write(log, line(2))
    true_pread = os.pread
    stale = [errno.ESTALE]

    def failing(*given):
        if stale:
            raise OSError(stale.pop(), "Stale file handle")
        return true_pread(*given)

    monkeypatch.setattr(os, "pread", failing)
    assert followed.cycle() == []
    followed.clock.now += 11
    assert followed.cycle() == [line(2)]
    assert followed.gaps == []


def test_two_inputs_that_name_one_file_read_it_once(tmp_path: Path):
    write(tmp_path / "audit.log", line(1))
    first, second = Following(tmp_path), Following(f"{tmp_path}/*.log")
    assert (first.settle(), second.settle()) == ([line(1)], [])
    first.source.close()


def test_a_busy_directory_leaves_room_for_another(tmp_path: Path):
    for name, count in (("busy", 5000), ("calm", 1)):
        (tmp_path / name).mkdir()
        write(tmp_path / name / "audit.log", *[line(number + count) for number in range(count)])
    followed = Following(tmp_path)
    stretches = followed.fetch(room=3 << 20)
    assert len(stretches) == 2
    assert sum(each.end - each.start for each in stretches) <= 3 << 20
    source = followed.source
    assert dict(source.caught_up()) == {(str(tmp_path / "busy/audit.log"), None): False, (str(tmp_path / "calm/audit.log"), None): True}
    assert not source.at_end
    assert source.gauges()[f'lag_bytes{{input="{tmp_path}"}}'] > 2 << 20
    followed.commit(stretches)
    followed.settle(room=3 << 20)
    assert sorted(followed.lines) == sorted([line(1), *lines(5000, 9999)])
    assert source.at_end


def test_a_fetch_waits_its_time_and_ends_when_there_is_enough(tmp_path: Path):
    write(tmp_path / "a.log", line(1))
    followed = Following(tmp_path)
    followed.cycle(seconds=5)
    assert followed.clock.now == 1005
    write(tmp_path / "a.log", line(2))
    followed.cycle(room=1000, seconds=5)
    assert followed.clock.now == 1005


def test_not_followed_it_ends_with_what_was_there(tmp_path: Path):
    (tmp_path / "a.log").write_bytes(line(1) + b"\n" + line(2))
    (tmp_path / "b.json").write_bytes(document(3, 4))
    followed = Following(tmp_path, follow=False)
    given = followed.cycle(seconds=60) + followed.cycle(seconds=60)
    write(tmp_path / "late.log", line(9))
    assert followed.cycle(seconds=60) == []
    assert given[0] == line(1)
    assert len(given) == 4
    assert followed.source.at_end
    assert followed.clock.now == 1000


def test_a_look_at_ten_thousand_files_costs_less_than_half_a_second_and_opens_none(tmp_path: Path):
    for number in range(10_000):
        (tmp_path / f"{number}.log").write_bytes(b'{"auditID":"%d"}\n' % number)
    followed = Following(tmp_path)
    assert len(followed.fetch(room=1)) == 1
    watched = followed.source._watched
    assert (len(watched.files), watched.open <= 512) == (10_000, True)
    watched.active.clear()
    opened: list[object] = []
    watched.opened = lambda *given: opened.append(given)  # type: ignore[method-assign,assignment,func-returns-value,return-value]
    began = time.process_time()
    assert watched.look(followed.clock.now) == []
    assert time.process_time() - began < 0.5
    assert opened == []


@pytest.mark.parametrize(
    ("pattern", "problem"),
    [
        ("{}/nothing.log", "no such file or directory; to wait for it, give its directory or a glob"),
        ("gs://bucket/logs", "gs is not followed, only local files are; without --follow a run reads what is there"),
        ("{}/pipe", "not a regular file; give a file, a directory or a glob"),
    ],
)
def test_what_cannot_be_followed_is_refused_before_work_starts(pattern: str, problem: str, tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")
    given = pattern.format(tmp_path)
    assert parse(given, None, follow=True, settings={}, output=None) == (None, [f"--input {given}: {problem}"])
    with pytest.raises(SourceError, match="--input"):
        FollowedFiles(given, None).resume({}, lambda file, cluster: (0, False))


def test_an_empty_directory_and_a_glob_may_be_followed_before_there_is_anything(tmp_path: Path):
    for pattern in (tmp_path, tmp_path / "*.log", tmp_path / "none" / "*.log"):
        source, problems = parse(str(pattern), "east", follow=True, settings={}, output=None)
        assert problems == []
        assert source is not None
        source.resume({}, lambda file, cluster: (0, False))
        assert source.fetch(1, 0) == []
        assert source.at_end


def test_pieces_are_let_go_once_they_are_committed(tmp_path: Path):
    from transforms.connectors import held_pieces

    write(tmp_path / "a.log", line(1))
    followed = Following(tmp_path)
    stretches = followed.fetch()
    assert stretches[0].path in held_pieces._held
    followed.commit(stretches)
    assert stretches[0].path not in held_pieces._held


def test_while_a_cycle_works_somebody_looks_and_holds_open_what_is_new(tmp_path: Path):
    followed = Following(tmp_path, on_watch=True)
    followed.fetch()
    write(tmp_path / "audit.log", line(1))
    for _ in range(200):  # real time passes here: the look is another thread's
        if followed.source.gauges()[f'files_open{{input="{tmp_path}"}}']:
            break
        time.sleep(0.05)
    (tmp_path / "audit.log").unlink()
    assert followed.cycle() == [line(1)]
    followed.source.close()
    assert not followed.source._watch.is_alive()  # type: ignore[union-attr]
