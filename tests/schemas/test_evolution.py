"""Files of an older schema stay readable: one from before `authenticationMetadata` is kept here."""

from __future__ import annotations

from pathlib import Path

import fastavro

from schemas import schema
from tests.examples import an_event
from transforms.audit import avro
from transforms.audit.record import digest
from transforms.connectors.avro_files import kind_of_file, records_of
from transforms.connectors.strict_avro import Container

OLDER = Path(__file__).parent / "data" / "older_audit_event.avro"


def test_the_older_file_lacks_a_field_of_today():
    with OLDER.open("rb") as file:
        (record,) = fastavro.reader(file)
    assert "authenticationMetadata" not in record
    assert '"authenticationMetadata"' in avro.minified(schema("audit_event"))


def test_an_older_file_is_read_with_todays_schema():
    assert kind_of_file(str(OLDER)) == "events"
    (record,) = records_of(str(OLDER), "events")
    assert record["authenticationMetadata"] is None
    assert (record["auditID"], record["verb"], record["user"]["username"]) == (an_event()["auditID"], "update", "alice")


def test_the_digest_of_an_older_record_is_over_what_its_own_schema_has():
    (entry,) = Container(OLDER.read_bytes()).entries()
    assert digest("default", entry.raw[: entry.content]) == entry.fields["digest"]


def test_the_name_of_an_older_file_is_still_made_from_its_content():
    container = Container(OLDER.read_bytes())
    assert container.name() == container.sync.hex()
