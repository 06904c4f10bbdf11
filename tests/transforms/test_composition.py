"""The pipeline that the README composes, as it stands there."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.pipelines.job import SAMPLE, environment, records

ROOT = Path(__file__).parent.parent.parent
EVENTS = 4295  # of the bundled log: without merging and folding each is a record


def test_the_five_lines_of_the_readme_reduce_the_bundled_log(tmp_path: Path):
    (program,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    _, composed = program.split("\n\nwith beam.Pipeline")
    assert len(composed.splitlines()) == 5
    shutil.copy(SAMPLE, tmp_path / "audit.log")
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=environment(PYTHONPATH=str(ROOT)),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(rf"{EVENTS} records in events/dt=2026-11-23/hour=05/\S+\.avro\n", done.stdout)
    events = records(tmp_path / "mine", "events")
    assert len(events) == EVENTS
    assert any(reduction["kind"] == "secret" for event in events for reduction in event["reductions"])
    assert not any('"managedFields"' in (event["responseObject"] or "") for event in events)
