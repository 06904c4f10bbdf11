"""The policies that ship, each on the bundled sample: what the README says is what comes out."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pipelines.options import SAMPLE
from pipelines.plan import Input, expand, plan
from tests.audit.reduction import KEY, settings
from transforms.audit.account import total
from transforms.audit.reduce_all import reduce_all
from transforms.audit.settings import Compiled
from transforms.connectors.audit_files import read_blocks

if TYPE_CHECKING:
    from transforms.audit.block import Split

ROOT = Path(__file__).parent.parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
POLICIES = "transforms/audit/policies"
EVENTS = 4364
# By the rule's index in its file.
DROPPED_BY_RULE = {
    "none": {},
    "aks-admin": {"0": 1189},
    "cks": {"0": 6, "1": 71},
    "cost-saving": {"3": 312, "4": 91, "5": 48, "6": 124, "7": 136, "8": 34, "9": 440},
    "eks": {"1": 49, "3": 24, "7": 98, "8": 348},
    "forensic": {},
    "gke": {"0": 49, "3": 24, "8": 98, "9": 348},
}


def table() -> dict[str, tuple[int, ...]]:
    """(kept, folded, merged, duplicate, dropped by rule, dropped by stage) of each policy, as the README says."""
    rows = re.findall(rf"^\| (?:`{POLICIES}/([a-z-]+)\.yaml`|none) \|[^|]*\|((?: \d+ \|){{6}})$", README, re.MULTILINE)
    return {name or "none": tuple(map(int, re.findall(r"\d+", cells))) for name, cells in rows}


@pytest.fixture(scope="module")
def splits() -> list[Split]:
    files, problems = expand([Input(SAMPLE)], None, allow_empty=False)
    assert problems == []
    return plan(files).splits


def test_the_readme_has_a_row_for_each_policy_that_ships():
    assert set(table()) == {"none"} | {path.stem for path in (ROOT / POLICIES).iterdir()}


@pytest.mark.parametrize("name", sorted(DROPPED_BY_RULE))
def test_the_sample_gives_what_the_readme_says(name: str, splits: list[Split]):
    policy = None if name == "none" else (ROOT / POLICIES / f"{name}.yaml").read_text(encoding="utf-8")
    compiled = Compiled(settings(policy=policy), KEY)
    sums = total(reduce_all(splits, lambda split: read_blocks(split, KEY), compiled).accounts)
    by_rule = sum(sums.dropped_by_rule.values())
    assert (sums.kept, sums.folded, sums.merged, sums.duplicate, by_rule, sums.dropped_by_stage) == table()[name]
    assert sums.dropped_by_rule == DROPPED_BY_RULE[name]
    assert (sums.events, sums.accounted, sums.dead_lettered) == (EVENTS, EVENTS, {})
