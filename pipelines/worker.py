"""A worker process of Beam's in-process runner, as Beam starts one, but with logging that cannot leak."""

from __future__ import annotations

import sys

from pipelines.interrupts import end_as_told
from pipelines.lean_start import lean_start
from pipelines.quiet_logs import quiet_logs, quiet_workers

if __name__ == "__main__":
    lean_start()
    quiet_logs()
    quiet_workers()
    from apache_beam.runners.worker import sdk_worker_main

    end_as_told()
    sdk_worker_main.main(sys.argv)
