"""What every test runs under."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

# CI repeats the same examples, so that a red run is the change's doing; elsewhere every run looks at others.
settings.register_profile("ci", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("here", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("ci" if os.environ.get("CI") else "here")
