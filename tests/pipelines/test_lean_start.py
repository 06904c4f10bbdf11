"""The start-up spares Beam imports, and takes nothing away from those who need them."""

from __future__ import annotations

import subprocess
import sys

import apache_beam as beam
from apache_beam.transforms import userstate

from pipelines import graph
from tests.pipelines.job import ROOT
from transforms.strip_managed_fields import StripBlock

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


SEEN = userstate.CombiningValueStateSpec("seen", beam.coders.VarIntCoder(), sum)
STATE = beam.DoFn.StateParam(SEEN)


class Counts(beam.DoFn):
    """Has state, as none of ours does."""

    def process(self, element, seen=STATE):
        yield element


def test_state_is_found_where_there_is_some_however_often_it_is_asked_for():
    plain = graph.CallableWrapperDoFn(lambda element: [element])
    for _ in range(2):
        found = [graph.userstate.get_dofn_specs(each) for each in (Counts(), plain, StripBlock(keep=False))]
        assert found == [({SEEN}, set()), (set(), set()), (set(), set())]
