"""The compiled loops, loaded as machine code: compiled once per machine and version, which takes some seconds, and kept.

Only compiling needs numba; loading takes LLVM's linker alone, a quarter of the time and memory.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import sys
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_SOURCES: Final = Path(__file__).parent / "compiled"
_KEPT: Final = 8  # versions in a folder


class Kernels:
    """`scan_lines`, `pair_lines`, `number_parts` and `encode_rows` of `compiled`, with arrays and numbers as arguments."""

    def __init__(self, code: dict[str, tuple[str, bytes]]) -> None:
        from llvmlite import binding  # noqa: PLC0415 - 60 MB that tools without rows do not need

        binding.initialize_native_target()
        binding.initialize_native_asmprinter()
        machine = binding.Target.from_default_triple().create_target_machine(jit=True)
        self._linker = binding.create_mcjit_compiler(binding.parse_assembly(""), machine)
        for _, held in code.values():
            self._linker.add_object_file(binding.ObjectFileRef.from_data(held))
        self._linker.finalize_object()
        for name, (symbol, _) in code.items():
            setattr(self, name, _called(self._linker.get_function_address(symbol)))

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Callable[..., None]: ...


def _called(address: int) -> Callable[..., None]:
    function = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)(address)

    def call(*arguments: Any) -> None:
        given = np.zeros(2 * len(arguments), dtype=np.int64)
        for place, argument in enumerate(arguments):
            if isinstance(argument, np.ndarray):
                if not argument.flags.c_contiguous:
                    raise ValueError("arrays must lie in one piece")
                given[2 * place], given[2 * place + 1] = argument.ctypes.data, argument.size
            else:
                given[2 * place] = np.uint64(argument).astype(np.int64)
        unused = np.zeros(1, dtype=np.int64)  # for a result and an error, which there are not
        function(unused.ctypes.data, unused.ctypes.data, given.ctypes.data)

    return call


def _key() -> str:
    """What the machine code depends on."""
    from llvmlite import binding  # noqa: PLC0415 - likewise

    found = hashlib.sha256()
    for source in sorted(_SOURCES.glob("*.py")):
        found.update(source.read_bytes())
    found.update((_SOURCES.parent / "columns.py").read_bytes())
    features = sorted(name for name, has in binding.get_host_cpu_features().items() if has)
    told = (version("numba"), version("llvmlite"), sys.version, platform.platform(), binding.get_host_cpu_name(), *features)
    found.update("\0".join(told).encode())
    return found.hexdigest()[:32]


def _folders() -> Iterator[Path]:
    """Where machine code may be kept: beside the source, as Python's own, else with the user's caches."""
    yield _SOURCES / "__pycache__"
    yield Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kube-audit-reducer"


def _read(path: Path) -> dict[str, tuple[str, bytes]] | None:
    try:
        return msgspec.msgpack.decode(path.read_bytes(), type=dict[str, tuple[str, bytes]])
    except (OSError, msgspec.MsgspecError):
        return None


def _write(folder: Path, path: Path, code: dict[str, tuple[str, bytes]]) -> bool:
    aside = folder / f"{path.name}.{os.getpid()}.tmp"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        aside.write_bytes(msgspec.msgpack.encode(code))
        aside.replace(path)
    except OSError:
        aside.unlink(missing_ok=True)
        return False
    return True


@cache
def kernels() -> Kernels:
    """The compiled loops of this process."""
    name = f"rows-{_key()}.machine"
    for folder in _folders():
        code = _read(folder / name)
        if code is not None:
            return Kernels(code)
    from transforms.audit.rows.compiled.build import build  # noqa: PLC0415 - numba is imported to compile, and only then

    print("compiling the loops of transforms/audit/rows for this machine, once; it takes some seconds", file=sys.stderr, flush=True)  # noqa: T201 - who waits wants to know
    code = build()
    any(_write(folder, folder / name, code) for folder in _folders())
    return Kernels(code)


if __name__ == "__main__":  # as `make setup` does, so that no run need wait
    kernels()
