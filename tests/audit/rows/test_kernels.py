"""The machine code is compiled once and kept where only its user could have put it; what is kept wrongly is made anew."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
import pytest

from transforms.audit.rows import kernels as module
from transforms.audit.rows.compiled import build as building

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT: Final = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def code() -> Any:
    """The real thing, which takes its time to compile."""
    module.kernels()
    found = [held for folder in module._folders() if (held := module._read(folder / f"rows-{module._key()}.machine")) is not None]
    return found[0] if found else building.build()


@pytest.fixture
def built(code: Any, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How often was compiled."""
    times: list[int] = []

    def build() -> Any:
        times.append(1)
        return code

    monkeypatch.setattr(building, "build", build)
    return times


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The two places where code is kept; neither is there yet."""
    beside = tmp_path / "compiled"
    beside.mkdir()
    for name in ("a.py", "b.py"):
        (beside / name).write_text(name)
    (tmp_path / "columns.py").write_text("")
    monkeypatch.setattr(module, "_SOURCES", beside)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    return [beside / "__pycache__", tmp_path / "caches" / "kube-audit-reducer"]


def load() -> module.Kernels:
    return module.kernels.__wrapped__()


def kept(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def test_it_is_compiled_once_and_kept_beside_the_source(built: list[int], folders: list[Path], capsys: pytest.CaptureFixture[str]):
    load()
    assert "compiling the loops" in capsys.readouterr().err
    load()
    assert len(built) == 1
    assert capsys.readouterr() == ("", "")
    assert list(map(kept, folders)) == [[f"rows-{module._key()}.machine"], []]


def test_it_is_kept_with_the_users_caches_where_the_source_may_not_be_written(built: list[int], folders: list[Path]):
    folders[0].write_text("a file, where root may write anything")
    load()
    load()
    assert len(built) == 1
    assert list(map(kept, folders)) == [[], [f"rows-{module._key()}.machine"]]
    assert folders[1].stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("caches", ["/dev/null", "relative", "/proc/nothing/there"])
def test_it_works_where_nothing_may_be_written(built: list[int], folders: list[Path], monkeypatch: pytest.MonkeyPatch, caches: str):
    folders[0].write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", caches)
    for _ in range(2):
        assert callable(load().scan_lines)
    assert len(built) == 2


def test_nobody_needs_a_home(built: list[int], folders: list[Path], monkeypatch: pytest.MonkeyPatch):
    for name in ("XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name)
    monkeypatch.setattr("os.path.expanduser", lambda path: path)
    folders[0].write_text("")
    load()
    assert len(built) == 1


@pytest.mark.parametrize("damage", ["cut", "empty", "a bit", "other", "nothing of ours"])
def test_what_is_damaged_is_made_anew(built: list[int], folders: list[Path], damage: str):
    load()
    path = folders[0] / kept(folders[0])[0]
    held = path.read_bytes()
    other = msgspec.msgpack.encode({"scan_lines": ("symbol", b"no object file")})
    path.write_bytes(
        {
            "cut": held[:-1],
            "empty": b"",
            "a bit": held[:5000] + bytes([held[5000] ^ 1]) + held[5001:],
            "other": other,
            "nothing of ours": b"x" * 32 + other,
        }[damage]
    )
    load()
    assert len(built) == 2
    assert path.read_bytes() == held


@pytest.mark.parametrize("place", ["file", "folder"])
@pytest.mark.parametrize("mode", [0o020, 0o002])
def test_what_others_could_have_written_is_not_run(built: list[int], folders: list[Path], place: str, mode: int):
    load()
    path = folders[0] / kept(folders[0])[0]
    opened = path if place == "file" else folders[0]
    opened.chmod(opened.stat().st_mode | mode)
    load()
    load()
    assert len(built) == 2  # and is kept where only the user may write
    assert len(kept(folders[1])) == (place == "folder")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_what_others_own_is_not_run(built: list[int], folders: list[Path]):
    load()
    path = folders[0] / kept(folders[0])[0]
    os.chown(path, 12345, 12345)
    load()
    assert len(built) == 2
    os.chown(folders[0], 12345, 12345)
    load()
    assert len(built) == 3


def test_another_version_is_kept_beside_it_and_the_oldest_go(built: list[int], folders: list[Path]):
    names = []
    for version in range(module._KEPT + 3):
        (folders[0].parent / "a.py").write_text(str(version))
        load()
        names.append(f"rows-{module._key()}.machine")
        os.utime(folders[0] / names[-1], (version, version))
    (folders[0] / "a.cpython-311.pyc").write_text("not ours")
    (folders[0].parent / "a.py").write_text("last")
    load()
    assert len(built) == module._KEPT + 4
    assert set(kept(folders[0])) == {*names[-module._KEPT + 1 :], f"rows-{module._key()}.machine", "a.cpython-311.pyc"}


@pytest.mark.usefixtures("built")
def test_many_at_once_do_not_break_each_other(code: Any, folders: list[Path]):
    path = folders[0] / "rows-x.machine"

    def once(_: int) -> bool:
        return module._write(path, code) and module._read(path) == code

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(once, range(64)))
    assert kept(folders[0]) == ["rows-x.machine"]


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[dict[str, str]]:
    return os.environ | {"XDG_CACHE_HOME": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}


def test_a_process_that_finds_it_says_nothing_and_does_without_the_compiler(code: Any, fresh: dict[str, str]):
    assert code
    module.kernels()
    told = "import sys; from transforms.audit.rows.kernels import kernels; kernels(); print('numba' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", told], cwd=ROOT, env=fresh, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("False\n", "")
