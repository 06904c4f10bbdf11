"""Bodies in which managedFields and environment variables stand as nobody writes them become what their events' would."""

from __future__ import annotations

from itertools import product

import pytest

from tests.audit.rows.both_ways import assert_same, both_ways
from tests.audit.rows.plain_lines import a_line, a_pair, an_id, padding

MANAGED = '"managedFields":[{"manager":"kubelet","fieldsV1":{"f:data":{}}}]'
EMPTY = '"managedFields":[]'
PASSWORD = '{"name":"DB_PASSWORD","value":"hunter2-hunter2"}'
MODE = '{"name":"MODE","value":"fast"}'

STRIPPED = (
    f"{{{MANAGED}}}",
    f"{{{MANAGED},{MANAGED}}}",
    f'{{{EMPTY},{EMPTY},{EMPTY},"x":[]}}',
    f'{{"a":{{{MANAGED}}},{MANAGED},{EMPTY}}}',
    f'{{"kind":"PodList","items":[{{"metadata":{{"name":"x",{MANAGED}}}}},{{{MANAGED},"a":1}}]}}',
    f'{{"kind":"Table","rows":[{{"object":{{{MANAGED}}}}}]}}',
    f'[{{"op":"add","value":{{{MANAGED}}}}}]',
    '{"managedFields":[["]"]],"a":"managedFields"}',
    '{"a":"{\\"managedFields\\":[{\\"manager\\":\\"x\\"}]}","b":1}',
    '{"managedFields":{"a":[1]},"metadata":{"managedFields":null}}',
    f'{{"a":"]",{MANAGED}}}',
)
MASKED = (
    f'{{"env":[{PASSWORD}]}}',
    f'{{"env":[{MODE},{PASSWORD},{MODE},{PASSWORD}]}}',
    f'{{"env":[{MODE}],{MANAGED},"b":[{PASSWORD}]}}',
    '{"env":[{"name":"DB_PASSWORD","value":"a","value":"b"}]}',
    '{"env":[{"name":"DB_PASSWORD","value":"${A}{B}"}]}',
    '{"env":[{"value":"hunter2-hunter2","name":"DB_PASSWORD"}]}',
    '{"env":[{"name":"API_TOKEN","value":""},{"name":"API_TOKEN","value":"\\u0061bc"}]}',
    f'{{"value":"{"x" * 1200}","env":[{PASSWORD}]}}',
    '{"value":"}","a":{"value":"{"},"name":"DB_PASSWORD"}',
)


@pytest.mark.parametrize("bodies", [STRIPPED, MASKED, STRIPPED + MASKED], ids=["managedFields", "variables", "both"])
@pytest.mark.parametrize("keep", [False, True])
def test_any_body_beside_any_other(bodies: tuple[str, ...], keep: bool):
    changes = {"level": '"RequestResponse"', "verb": '"create"'}
    log = [
        a_line(auditID=an_id(at), requestObject=request, responseObject=response, **changes)
        for at, (request, response) in enumerate(product(bodies, bodies))
    ]
    found = both_ways(b"\n".join(log + padding()) + b"\n", keep_managed_fields=keep)
    assert_same(found)
    assert found.as_rows == len(log) + 12


def test_managed_fields_spelt_with_escapes_go_and_those_beside_them_are_kept():
    spelt = '{"kind":"Pod","metadata":{"managed\\u0046ields":[{"manager":"m"}]}}'
    plain = '{"kind":"Pod","metadata":{"managedFields":[{"manager":"m"}]}}'
    changes = {"level": '"RequestResponse"', "verb": '"update"', "requestObject": spelt, "responseObject": plain}
    found = both_ways(b"\n".join([*a_pair(auditID=an_id(1), **changes), *padding()]) + b"\n", keep_managed_fields=True)
    assert_same(found)
    assert found.as_rows == 13
    (record,) = [record for *_, record in found.rows.records if b'"Pod"' in record]
    assert plain.encode() in record
    assert b'{"kind":"Pod","metadata":{}}' in record
