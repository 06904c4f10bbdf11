"""The start-up spares Beam imports, and takes nothing away from those who need them."""

from __future__ import annotations

import subprocess
import sys

from tests.pipelines.job import ROOT

_PROGRAM = """
import sys
from pipelines.lean_start import lean_start
lean_start()
import apache_beam.runners.portability.fn_api_runner
print(sorted({"urllib3", "pyparsing", "pyarrow.lib", "pymongo.mongo_client"} & sys.modules.keys()))
from requests.auth import HTTPBasicAuth
import httplib2
print(HTTPBasicAuth.__module__, httplib2.Http.__name__, sys.modules["requests"].__version__ > "2")
"""


def test_http_clients_are_loaded_when_something_of_them_is_asked_for_and_not_before():
    done = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.splitlines() == ["[]", "requests.auth Http True"]
