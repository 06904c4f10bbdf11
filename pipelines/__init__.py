"""Commands: each picks the connectors and runs the steps."""

import sys

if sys.argv[:1] == ["-m"]:  # what Python puts there until it has found the module that it is to run
    from pipelines.interrupts import end_quietly

    end_quietly()
