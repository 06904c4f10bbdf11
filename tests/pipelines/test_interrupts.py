"""Ctrl-C in the first moments of a command, while its modules are imported."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from tests.pipelines.job import ROOT

# As `python -m` runs a command, but for a signal when a module is looked for that all of them import.
_PROGRAM = """
import runpy, signal, sys

class Interrupts:
    def find_spec(name, path, target=None):
        if name == "transforms.audit.event" and {interrupts}:
            signal.raise_signal(signal.SIGINT)

sys.meta_path.insert(0, Interrupts)
sys.argv[0] = "-m"
runpy.run_module("pipelines.{command}", run_name="__main__", alter_sys=True)
"""
COMMANDS = ("reduce", "explain", "report", "verify", "cat")


def run(command: str, *, interrupts: bool = True, ignored: bool = False) -> subprocess.CompletedProcess[str]:
    program = _PROGRAM.format(command=command, interrupts=interrupts)
    heed = (lambda: signal.signal(signal.SIGINT, signal.SIG_IGN)) if ignored else None
    return subprocess.run(
        [sys.executable, "-c", program, "--help"],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        timeout=60,
        preexec_fn=heed,  # the only way to start something that ignores a signal
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_an_interrupt_while_modules_are_imported_ends_the_command_without_a_word(command: str):
    done = run(command)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


@pytest.mark.parametrize("ignored", [False, True])
def test_a_command_that_is_not_interrupted_or_ignores_it_goes_on(ignored: bool):
    done = run("cat", interrupts=ignored, ignored=ignored)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: python -m pipelines.cat")


def test_who_imports_the_package_keeps_the_signal():
    program = "import signal, pipelines.cat; print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == "True\n"
