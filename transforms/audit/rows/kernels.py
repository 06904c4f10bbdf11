"""The compiled loops, loaded as machine code: compiled once per machine and version, which takes some seconds, and kept.

Only compiling needs numba; loading takes LLVM's linker alone, a quarter of the time and memory.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import secrets
import stat
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
_KEPT: Final = 8  # versions in a folder: several checkouts and machines may share one
_DIGEST: Final = 32
_Code = dict[str, tuple[str, bytes]]
_decode = msgspec.msgpack.Decoder(_Code).decode


class Kernels:
    """`scan_lines`, `pair_lines`, `number_parts` and `encode_rows` of `compiled`, with arrays and numbers as arguments."""

    def __init__(self, code: _Code) -> None:
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
    caches = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111 - Path.home() raises where there is none
    if os.path.isabs(caches):  # noqa: PTH117 - a string
        yield Path(caches) / "kube-audit-reducer"


def _is_ours(path: Path) -> bool:
    """Whether only this user, root, or who installed this code could have written there: what lies there is executed."""
    trusted = {0, os.geteuid(), _SOURCES.stat().st_uid}
    for each in (path, path.parent):
        found = each.stat()
        if found.st_uid not in trusted or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            return False
    return True


def _read(path: Path) -> _Code | None:
    """What is kept there, if it is whole and ours."""
    try:
        if not _is_ours(path):
            return None
        held = path.read_bytes()
        if hashlib.sha256(held[_DIGEST:]).digest() != held[:_DIGEST]:
            return None
        return _decode(held[_DIGEST:])
    except (OSError, msgspec.MsgspecError):
        return None


def _write(path: Path, code: _Code) -> bool:
    """Keep code for the next process, and of older versions a few; whether that will be read."""
    packed = msgspec.msgpack.encode(code)
    aside = path.with_name(f"{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        try:
            with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644), "wb") as file:
                file.write(hashlib.sha256(packed).digest() + packed)
            aside.chmod(0o644)
            aside.replace(path)
        except OSError:
            aside.unlink(missing_ok=True)
            raise
        of_kind = f"{path.name.partition('-')[0]}-*.machine*"
        kept = sorted(path.parent.glob(of_kind), key=lambda each: each.stat().st_mtime, reverse=True)
        for old in kept[_KEPT:]:
            old.unlink(missing_ok=True)
    except OSError:
        pass
    return _read(path) is not None


def kept_code(name: str) -> bytes | None:
    """Code of another kind that `keep_code` kept under this name, `<kind>-<what it depends on>`."""
    for folder in _folders():
        code = _read(folder / f"{name}.machine")
        if code is not None and "" in code:
            return code[""][1]
    return None


def keep_code(name: str, code: bytes) -> None:
    """Keep code for the next process, as that of the loops is, where that is possible."""
    any(_write(folder / f"{name}.machine", {"": ("", code)}) for folder in _folders())


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
    any(_write(folder / name, code) for folder in _folders())
    return Kernels(code)


if __name__ == "__main__":  # as `make setup` does, so that no run need wait
    kernels()
