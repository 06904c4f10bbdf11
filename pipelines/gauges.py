"""What can be seen of a job that runs for months: a line on stderr now and then, and numbers for Prometheus."""

from __future__ import annotations

import socket
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Final

from pipelines.display import size_text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

PREFIX: Final = "audit_reducer_"
EVERY: Final = 15.0  # seconds between two lines on stderr
# Name, type, what it says.
METRICS: Final = (
    ("events_total", "counter", "Events that were read and committed."),
    ("bytes_read_total", "counter", "Bytes of content that was read and committed."),
    ("bytes_written_total", "counter", "Bytes of files that were committed."),
    ("files_total", "counter", "Files that were committed, less the ledger's."),
    ("cycles_total", "counter", "Runs that were committed."),
    ("gaps_total", "counter", "Stretches of a source that were lost before they were read."),
    ("events_per_second", "gauge", "Events committed per second, over the last quarter of a minute or more."),
    ("cycle_seconds", "gauge", "Seconds from the first content of the last cycle to its commit."),
    ("watermark_seconds", "gauge", "Event time up to which read windows are closed, seconds since the epoch; 0 before the first event."),
    ("watermark_lag_seconds", "gauge", "Seconds that the watermark is behind the clock."),
    ("oldest_unacknowledged_seconds", "gauge", "Seconds since the oldest content arrived that is not acknowledged; 0 where there is none."),
    ("pending_events", "gauge", "Events whose outcome is not decided yet."),
    ("state_bytes", "gauge", "Bytes of what waits: early stages, and rows of open read windows."),
    ("remembered_events", "gauge", "Events within the horizon of deduplication."),
)


class Gauges:
    """The numbers, which the loop sets and others read. Names are those of METRICS; sources add their own."""

    def __init__(self, moment: Callable[[], float] = time.monotonic) -> None:
        self._lock = threading.Lock()
        self._moment = moment
        self._oldest: float | None = None
        self._values: dict[str, float] = {name: 0 for name, _, _ in METRICS}
        self._sources: list[Mapping[str, float]] = []

    def set(self, **values: float) -> None:
        """Set some."""
        with self._lock:
            self._values.update(values)

    def add(self, **values: float) -> None:
        """Add to some."""
        with self._lock:
            for name, value in values.items():
                self._values[name] += value

    def since(self, moment: float | None) -> None:
        """When the oldest content began to arrive that is not acknowledged; None where there is none."""
        with self._lock:
            self._oldest = moment

    def of_sources(self, found: list[Mapping[str, float]]) -> None:
        """The sources' own, by name and labels, one mapping for each."""
        with self._lock:
            self._sources = found

    def __getitem__(self, name: str) -> float:
        with self._lock:
            return self._values[name]

    def text(self) -> str:
        """In the format of Prometheus, version 0.0.4."""
        with self._lock:
            values, sources = dict(self._values), list(self._sources)
            if self._oldest is not None:
                values["oldest_unacknowledged_seconds"] = self._moment() - self._oldest
        lines: list[str] = []
        for name, kind, says in METRICS:
            lines += [f"# HELP {PREFIX}{name} {says}", f"# TYPE {PREFIX}{name} {kind}", f"{PREFIX}{name} {values[name]:.15g}"]
        families: dict[str, list[str]] = {}
        for number, found in enumerate(sources):
            for name, value in found.items():
                family, brace, labels = name.partition("{")
                own = f'input="{number}"' + ("," + labels.removesuffix("}") if brace else "")
                families.setdefault(family, []).append(f"{PREFIX}source_{family}{{{own}}} {value:.15g}")
        for family in sorted(families):
            lines += [f"# TYPE {PREFIX}source_{family} gauge", *families[family]]
        return "\n".join(lines) + "\n"

    def line(self) -> str:
        """The numbers that a person wants to see now and then."""
        with self._lock:
            values, sources = dict(self._values), list(self._sources)
        lag = sum(value for found in sources for name, value in found.items() if name.partition("{")[0] == "lag")
        return (
            f"{values['events_total']:,.0f} events, {values['events_per_second']:,.0f}/s, {size_text(values['bytes_read_total'])} read, "
            f"lag {lag:,.0f}, watermark {values['watermark_lag_seconds']:,.0f} s behind, {values['pending_events']:,.0f} pending, "
            f"{values['cycles_total']:,.0f} cycles of late {values['cycle_seconds']:.1f} s"
        )


class Reporter:
    """A line on stderr, not more often than every EVERY seconds."""

    def __init__(self, gauges: Gauges, moment: float) -> None:
        self._gauges = gauges
        self._last = moment
        self._events = 0.0

    def tick(self, moment: float) -> None:
        """Say how it goes, if it is time; work out the rate."""
        passed = moment - self._last
        if passed < EVERY:
            return
        events = self._gauges["events_total"]
        self._gauges.set(events_per_second=(events - self._events) / passed)
        self._last, self._events = moment, events
        print(self._gauges.line(), file=sys.stderr, flush=True)


class MetricsServer:
    """Serves the numbers at `/metrics`. Raises OSError where the port cannot be had."""

    def __init__(self, host: str, port: int, gauges: Gauges) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path.partition("?")[0] != "/metrics":
                    self.send_error(404)
                    return
                data = gauges.text().encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                """Who asks is not worth a line."""

        class Server(ThreadingHTTPServer):
            address_family = socket.AF_INET6 if ":" in host else socket.AF_INET

        self._server = Server((host, port), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Let go of the port."""
        self._server.shutdown()
        self._server.server_close()


def address(text: str) -> tuple[str, int]:
    """Of `PORT` or `HOST:PORT`; without a host it is the loopback's. Raises ValueError."""
    host, _, port = text.rpartition(":")
    number = int(port)
    if not 0 <= number < 1 << 16:
        raise ValueError(text)
    return host.strip("[]") or "127.0.0.1", number
