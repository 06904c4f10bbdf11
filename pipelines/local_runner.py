"""Beam's in-process runner, whose worker processes are ours."""

from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING

from apache_beam.portability import python_urns
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from pipelines.quiet_logs import quiet_workers

if TYPE_CHECKING:
    from apache_beam.options.pipeline_options import PipelineOptions
    from apache_beam.portability.api import beam_runner_api_pb2
    from apache_beam.runners.runner import PipelineResult


class LocalRunner(FnApiRunner):
    """Beam's own worker processes print tracebacks, which may quote an event, whatever log level is asked for."""

    def run_via_runner_api(self, pipeline_proto: beam_runner_api_pb2.Pipeline, options: PipelineOptions) -> PipelineResult:
        """Run, with `pipelines.worker` as the program of each worker process."""
        quiet_workers()
        for environment in pipeline_proto.components.environments.values():
            if environment.urn == python_urns.SUBPROCESS_SDK:
                environment.payload = f"{shlex.quote(sys.executable)} -m pipelines.worker".encode()
        return super().run_via_runner_api(pipeline_proto, options)
