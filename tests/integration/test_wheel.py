"""The wheel holds what the programs need where there is no checkout: schemas, policies and the bundled sample."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
PACKAGES = ("pipelines", "schemas", "transforms")

pytestmark = pytest.mark.integration


def run(*command: object, cwd: Path) -> str:
    done = subprocess.run([str(word) for word in command], cwd=cwd, capture_output=True, text=True, check=False)
    assert not done.returncode, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy of what git tracks, so that it holds nothing that only lies about."""
    source, built = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    run("git", "checkout-index", "--all", f"--prefix={source}/", cwd=ROOT)
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", built, source, cwd=built)
    (found,) = built.glob("*.whl")
    return found


def files_of(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


def test_the_wheel_holds_all_files_of_the_packages_and_no_others(wheel: Path):
    tracked = set(run("git", "ls-files", *PACKAGES, cwd=ROOT).splitlines())
    assert files_of(wheel) == tracked


def test_an_unpacked_wheel_finds_its_schemas_and_sample_from_anywhere(wheel: Path, tmp_path: Path):
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    script = (
        f"import sys; sys.path.insert(0, {str(tmp_path / 'site')!r})\n"
        "import schemas, pipelines\n"
        "from importlib.resources import files\n"
        "print(*(len(schemas.schema(name)) > 0 for name in ('audit_event', 'read_summary', 'dead_letter', 'ledger_entry')))\n"
        "print(*sorted(entry.name for entry in (files(pipelines) / 'sample').iterdir()), sep='\\n')\n"
    )
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    schemas, *sample = run(sys.executable, "-I", "-c", script, cwd=elsewhere).splitlines()
    assert schemas == "True True True True"
    assert sample == ["_README.md", "audit.log.zst", "webhook.json.zst"]
