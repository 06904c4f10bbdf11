"""A line with something before it: the CRI format of containerd and CRI-O, and CloudWatch's export to S3.

`2026-01-02T03:04:05.678901234Z stdout F {…}`; `P` marks a fragment of a line (kubernetes/kubernetes
pkg/kubelet/kuberuntime/logs), which the joiner puts together: a fragment that comes here has lost its others.
"""

from __future__ import annotations

from re import compile as pattern
from typing import Final

from transforms.audit.envelopes.inner import Inner

_prefix: Final = pattern(rb"\d{4}-\d\d-\d\dT[0-9:.,]+(?:Z|[+-]\d\d:?\d\d) +(?:(?:stdout|stderr) ([FP])(?::\S*)?(?: |\Z))?").match


def unwrap_text(record: bytes) -> list[Inner] | None:
    """What follows the prefix."""
    prefix = _prefix(record)
    if prefix is None:
        return None
    if prefix[1] == b"P":
        return [Inner(record, code="INCOMPLETE_RECORD", message="a fragment of a line, the rest is missing")]
    rest = record[prefix.end() :]
    return [Inner(rest)] if rest else []  # a blank line
