"""Who may import whom, and what must not stand in the tree."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted(path for top in ("pipelines", "transforms", "schemas") for path in (ROOT / top).rglob("*.py"))
# pipelines -> transforms -> transforms.audit -> libraries: a module may import its own layer and those to the right.
LAYERS = ("pipelines", "transforms", "transforms.audit", "schemas")
# Tools that read and print: starting Beam would cost them a second each.
WITHOUT_BEAM = ("cat", "explain", "report", "verify")


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def layer(module: str) -> int:
    """The rightmost layer the module is in; -1 for what is not ours."""
    return max((index for index, name in enumerate(LAYERS) if module == name or module.startswith(name + ".")), default=-1)


def imported_modules(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            # `from transforms import audit` imports transforms.audit.
            found.update(
                f"{node.module}.{alias.name}" if layer(f"{node.module}.{alias.name}") >= 0 else node.module for alias in node.names
            )
    return found


def tracked_files() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)  # noqa: S607 - whichever git
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in listed.stdout.decode().split("\0") if name and (ROOT / name).is_file()]


@pytest.mark.parametrize("path", SOURCES, ids=module_name)
def test_imports_point_from_pipelines_to_transforms_to_audit(path: Path):
    here = layer(module_name(path))
    assert {name for name in imported_modules(path) if -1 < layer(name) < here} == set()


def test_nothing_imports_the_tests():
    assert {module_name(path) for path in SOURCES if any(name.split(".")[0] == "tests" for name in imported_modules(path))} == set()


def modules_loaded_by(*names: str) -> set[str]:
    script = f"import sys, {', '.join(names)}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, check=False, text=True)
    assert not done.returncode, done.stderr
    return set(done.stdout.split())


def test_importing_all_of_audit_loads_no_beam():
    audit = [module_name(path) for path in SOURCES if layer(module_name(path)) == LAYERS.index("transforms.audit")]
    loaded = modules_loaded_by(*audit)
    assert set(audit) <= loaded
    assert "apache_beam" not in loaded


def test_tools_that_only_read_load_no_beam():
    tools = [f"pipelines.{name}" for name in WITHOUT_BEAM if (ROOT / "pipelines" / f"{name}.py").exists()]
    assert "apache_beam" not in modules_loaded_by("pipelines", *tools)


def test_no_module_is_called_after_nothing_in_particular():
    vague = re.compile(r"(^|_)(utils?|helpers?|managers?|common|misc)$")
    assert [path for path in SOURCES if vague.search(path.stem)] == []


def test_no_file_names_a_path_of_this_machine():
    here = {str(place).encode() for place in (ROOT, Path.home()) if place.parts[1:]}
    found = [
        (path, place) for path in tracked_files() for place in here if re.search(re.escape(place) + rb"(?![A-Za-z0-9])", path.read_bytes())
    ]
    assert found == []


def test_the_lock_pins_every_dependency_by_hash_and_names_no_index():
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    assert "://" not in lock
    pins = re.split(r"\n(?=[a-z])", lock.strip())
    assert [pin.split("\n")[0] for pin in pins if not re.match(r"[a-z0-9.-]+==\S+.*\\\n", pin) or "--hash=sha256:" not in pin] == []


def test_the_lock_holds_what_the_project_asks_for():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = [re.split(r"[\s<>=;\[]", need)[0] for need in project["dependencies"] + project["optional-dependencies"]["dev"]]
    locked = {
        name.replace(".", "-")
        for name in re.findall(r"^([a-z0-9.-]+)==", (ROOT / "requirements.lock").read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert {name for name in asked if name.replace(".", "-") not in locked} == set()
