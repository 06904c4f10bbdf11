"""Logging that cannot leak: the text of a log record or exception may quote an event, so only its place and kind are printed."""

from __future__ import annotations

import contextlib
import logging
import sys


class PlaceAndKind(logging.Handler):
    """Prints level, logger, and the type of the exception if there is one; errors only."""

    def emit(self, record: logging.LogRecord) -> None:
        """One line, without the message; written as one, for workers share the stream."""
        kind = record.exc_info[0].__name__ if record.exc_info and record.exc_info[0] else ""
        with contextlib.suppress(OSError):  # nobody may be listening, or the disk be full: no reason to stop a worker
            sys.stderr.write(f"{record.levelname.lower()} in {record.name}:{record.lineno} {kind}".rstrip() + "\n")


def quiet_logs() -> None:
    """Replace what the root logger has; Beam's remarks on packages that nobody asked for go too."""
    root = logging.getLogger()
    root.handlers = [PlaceAndKind(level=logging.ERROR)]
    root.setLevel(logging.ERROR)


def quiet_workers() -> None:
    """Keep Beam's workers from printing tracebacks, which they do beside logging them."""
    from apache_beam.runners.worker import sdk_worker  # noqa: PLC0415 - to be quiet before Beam is imported

    vars(sdk_worker)["print"] = lambda *_, **__: None
