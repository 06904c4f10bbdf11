"""Before Beam is imported: what its import need not do for us takes a third of the start-up."""

from __future__ import annotations

import gc
import sys
from importlib import import_module
from types import ModuleType
from typing import Any, Final

# Beam does without these where they are not installed: a MongoDB client, and Arrow, of which it tells its own types.
_SPARED: Final = ("bson", "pymongo", "pyarrow", "pyarrow_hotfix")
# Without these clients Beam cannot be imported, and it uses them to submit jobs to Flink and Spark, and on Google's machines.
_DEFERRED: Final = ("httplib2", "requests")


class _Deferred(ModuleType):
    """Stands in for a module until something of it is asked for; `importlib.util.LazyLoader` loads it as soon as it is imported twice."""

    def __getattr__(self, name: str) -> Any:
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(import_module(self.__name__), name)


def lean_start() -> None:
    """Spare imports that nothing of ours uses, put others off until something does, and spare collections that find nothing."""
    gc.set_threshold(200_000, 50, 50)
    for name in _SPARED:
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]  # None is how an import is told to fail
    for name in _DEFERRED:
        sys.modules.setdefault(name, _Deferred(name))
