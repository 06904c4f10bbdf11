"""schemas/README.md says everything that a reader of our files must know."""

from __future__ import annotations

import hashlib
import io
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fastavro
import pytest

from schemas import schema
from transforms.audit import avro
from transforms.audit.account import Account
from transforms.audit.block import RawBlock, Split
from transforms.audit.parse_events import parse_events
from transforms.audit.recognise import CODES
from transforms.audit.record import content, digest
from transforms.audit.reduction_kinds import KINDS

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent.parent
README = (ROOT / "schemas" / "README.md").read_text(encoding="utf-8")
SCHEMAS = ("audit_event", "read_summary", "dead_letter", "ledger_entry")
FLAG = re.compile(r'"([A-Z]+(?:_[A-Z]+)*_(?:UNKNOWN|INFERRED|WITHHELD|COLLISION|COMPLETION|STAGE|UNDECIDABLE))"')


def section(name: str) -> str:
    """What stands below a heading, to the next of its rank."""
    hashes, start = next((found[1], found.end()) for found in re.finditer(r"^(#+) (.+)$", README, re.MULTILINE) if found[2] == name)
    following = re.compile(rf"^#{{1,{len(hashes)}}} ", re.MULTILINE).search(README, start)
    return README[start : following.start() if following else None]


def rows(text: str) -> list[str]:
    """The first cells of a section's tables."""
    return re.findall(r"^\| `([^`]+)` \|", text, re.MULTILINE)


def record_in(kind: Any) -> tuple[dict[str, Any] | None, str]:
    """The record that a type holds, and what its fields' names follow."""
    if isinstance(kind, list):
        return record_in(next(each for each in kind if each != "null"))
    if isinstance(kind, dict) and kind["type"] == "array":
        return record_in(kind["items"])[0], "[]."
    return (kind, ".") if isinstance(kind, dict) and kind["type"] == "record" else (None, "")


def names(record: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for field in record["fields"]:
        yield prefix + field["name"]
        inner, joint = record_in(field["type"])
        if inner is not None and inner["name"] != "AuditEvent":
            yield from names(inner, prefix + field["name"] + joint)


def fields(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        if node.get("type") == "record":
            yield from node["fields"]
        for each in node.values():
            yield from fields(each)
    elif isinstance(node, list):
        for each in node:
            yield from fields(each)


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_field_has_its_row(name: str):
    text = section(name).split("###")[0]
    found = rows(text)
    assert [each for each in found if each not in CODES] == list(names(json.loads(schema(name))))


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_field_has_a_doc(name: str):
    assert [field["name"] for field in fields(json.loads(schema(name))) if not field.get("doc")] == []


@pytest.mark.parametrize("name", SCHEMAS)
def test_what_is_nullable_is_null_by_default(name: str):
    for field in fields(json.loads(schema(name))):
        if isinstance(field["type"], list):
            assert field["type"][0] == "null", field["name"]
            assert field["default"] is None, field["name"]


def test_every_code_of_a_dead_letter_has_its_row():
    assert set(rows(section("dead_letter"))) >= set(CODES)
    assert [code for code in rows(section("dead_letter")) if code.isupper() and code not in CODES] == []


def test_every_kind_of_reduction_has_its_row():
    source = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "transforms").rglob("*.py"))
    recorded = set(re.findall(r'reduced\(event, "(\w+)"', source)) | set(KINDS)
    assert set(rows(section("reductions"))) == recorded


def test_every_flag_has_its_row():
    source = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "transforms").rglob("*.py"))
    assert set(rows(section("flags"))) == set(FLAG.findall(source))


def vector() -> tuple[bytes, bytes, bytes]:
    event, encoded, expected = re.findall(r"```(?:json)?\n(.*?)\n```", section("digest"), re.DOTALL)
    return event.encode(), bytes.fromhex(encoded), bytes.fromhex(expected)


def test_the_test_vector_of_the_digest_holds():
    text, encoded, expected = vector()
    (event,) = parse_events(RawBlock(Split(0, "a", "a"), Account(0, 0), 0, text), b"k" * 32).events
    assert avro.string("default") + content(event) == encoded
    assert digest("default", content(event)) == expected


def test_whoever_follows_the_readme_gets_the_digest_without_our_code():
    text, encoded, expected = vector()
    whole = json.loads(schema("audit_event"))
    last = [field["name"] for field in whole["fields"]].index("unknownFields")
    covered = {**whole, "fields": [{"name": "cluster", "type": "string"}, *whole["fields"][: last + 1]]}
    record = fastavro.schemaless_reader(io.BytesIO(encoded), parsed := fastavro.parse_schema(covered))  # type: ignore[call-arg]
    assert isinstance(record, dict)
    assert record["verb"] == json.loads(text)["verb"]
    out = io.BytesIO()
    fastavro.schemaless_writer(out, parsed, record)
    assert out.getvalue() == encoded
    assert hashlib.blake2b(encoded, digest_size=16).digest() == expected
