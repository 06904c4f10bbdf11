"""The examples themselves: valid, and never shared between tests."""

from __future__ import annotations

import msgspec
import orjson

from tests.examples import ABSENT, an_event, an_event_list, line, lines
from transforms.audit.event import Event


def test_the_example_is_an_event_of_the_schema():
    event = msgspec.json.decode(line(an_event()), type=Event)
    assert (event.verb, event.stage, event.level) == ("update", "ResponseComplete", "RequestResponse")


def test_a_change_reaches_inside_and_leaves_the_next_example_alone():
    changed = an_event(verb="get", objectRef__resource="pods", requestObject=ABSENT, userAgent=None)
    assert changed["objectRef"] == {**an_event()["objectRef"], "resource": "pods"}
    assert "requestObject" not in changed
    assert changed["userAgent"] is None
    assert an_event()["objectRef"]["resource"] == "deployments"


def test_a_log_has_one_line_per_event():
    first, second = an_event(auditID="1"), an_event(auditID="2")
    assert [orjson.loads(part) for part in lines(first, second).splitlines()] == [first, second]


def test_items_of_a_list_do_not_say_their_kind():
    (item,) = orjson.loads(an_event_list(an_event()))["items"]
    assert item == an_event(kind=ABSENT, apiVersion=ABSENT)
