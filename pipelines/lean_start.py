"""Before Beam is imported: what its import need not do for us takes a fifth of the start-up."""

from __future__ import annotations

import gc
import sys


def lean_start() -> None:
    """Spare the import of a MongoDB client that Beam loads wherever it is installed, and of collections that find nothing."""
    gc.set_threshold(200_000, 50, 50)
    sys.modules.setdefault("pymongo", None)  # type: ignore[arg-type]  # None is how an import is told to fail
