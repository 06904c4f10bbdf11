"""Choose the source of each input that is followed, or drained, and check all of them before anything is asked of a network."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

from pipelines.ledger import BROKERS
from pipelines.options import SAMPLE
from pipelines.plan import parse_input
from transforms.connectors import storage

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

    from transforms.connectors.sources import Source

SOURCES: Final = {"kafka": "kafka_source", "pubsub": "pubsub_source", None: "followed_files"}
CONFIGURED: Final = ("kafka",)  # those that take client settings


def is_followed(known: argparse.Namespace) -> bool:
    """Whether the flags ask for runs without end, or for a broker's messages."""
    return known.follow or any(storage.scheme(_place(text)) in BROKERS for text in known.input or ())


def _place(text: str) -> str:
    return text.partition(",")[2] if text.startswith("cluster=") else text


def sources_of(known: argparse.Namespace, problems: list[str]) -> list[Source]:
    """The source of each input, in order; what is wrong with them is added to `problems`."""
    found: list[Source] = []
    settings = client_settings(known.client_config, problems)
    if known.client_config is not None and not any(storage.scheme(_place(text)) in CONFIGURED for text in known.input or ()):
        problems.append(f"--client_config {known.client_config}: no --input takes client settings; kafka://… does")
    for text in known.input or [SAMPLE]:
        try:
            given = parse_input(text, known.cluster)
        except ValueError as error:
            problems.append(str(error))
            continue
        kind = storage.scheme(given.pattern)
        if kind not in SOURCES:
            problems.append(f"--input {text}: {kind}:// cannot be followed; kafka://, pubsub:// and local files can")
            continue
        try:
            module = import_module(f"transforms.connectors.{SOURCES[kind]}")
        except ModuleNotFoundError:
            problems.append(f"--input {text}: not an input that can be followed yet")
            continue
        of_client = settings if kind in CONFIGURED else {}
        source, wrong = module.parse(given.pattern, given.cluster, follow=known.follow, settings=of_client, output=known.output)
        problems += wrong
        if source is not None:
            found.append(source)
    return found


def client_settings(path: str | None, problems: list[str]) -> Mapping[str, str]:
    """Further settings of the brokers' clients: `name=value` lines; empty ones and those that begin with # say nothing."""
    if path is None:
        return {}
    try:
        lines = storage.read(path).decode().splitlines()
    except OSError as error:
        problems.append(f"--client_config {path}: cannot be read ({error.strerror})")
        return {}
    except UnicodeDecodeError:
        problems.append(f"--client_config {path}: not UTF-8")
        return {}
    out: dict[str, str] = {}
    for number, line in enumerate(map(str.strip, lines), 1):
        if not line or line.startswith("#"):
            continue
        name, equals, value = (part.strip() for part in line.partition("="))
        if not (name and equals):
            problems.append(f"--client_config {path}: line {number} is not name=value")
        elif name in out:
            problems.append(f"--client_config {path}: line {number}: {name} is set twice")
        out[name] = value
    return out
