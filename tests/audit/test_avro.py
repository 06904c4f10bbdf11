"""Our binary encoding against fastavro's, and containers that any reader opens."""

from __future__ import annotations

import io
import random
from concurrent.futures import ThreadPoolExecutor

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transforms.audit import avro

TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=40)
SCHEMA = '{"type": "record", "name": "R", "fields": [{"name": "n", "type": "long"}, {"name": "s", "type": "string"}]}'
LONG_EDGES = [edge + near for power in range(64) for edge in (1 << power, -(1 << power)) for near in (-1, 0, 1)]


def fastavro_bytes(schema: object, value: object) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema), value)
    return out.getvalue()


@pytest.mark.parametrize("value", [edge for edge in LONG_EDGES if -(1 << 63) <= edge < 1 << 63])
def test_longs_are_zigzag_varints_at_every_edge(value: int):
    assert avro.long(value) == fastavro_bytes("long", value)
    assert avro.read_long(avro.long(value), 0) == (value, len(avro.long(value)))


@given(st.integers(-(1 << 63), (1 << 63) - 1))
def test_longs_are_zigzag_varints(value: int):
    assert avro.long(value) == fastavro_bytes("long", value)


@given(TEXT)
def test_strings_are_their_utf_8(value: str):
    assert avro.string(value) == avro.data(value.encode()) == fastavro_bytes("string", value)


@pytest.mark.parametrize("size", [0, 63, 64, 4095, 4096, 4097, 70_000])
def test_strings_of_any_length_say_their_length(size: int):
    assert avro.data(b"x" * size) == fastavro_bytes("bytes", b"x" * size)
    assert avro.some_data(b"x" * size) == fastavro_bytes(["null", "bytes"], b"x" * size)


@given(st.none() | TEXT)
def test_nullable_strings_say_their_branch(value: str | None):
    assert avro.nullable(value) == fastavro_bytes(["null", "string"], value)


def test_a_lone_surrogate_is_no_string():
    with pytest.raises(UnicodeEncodeError):
        avro.string("\ud800")


@given(st.lists(TEXT, max_size=200))
def test_arrays_are_one_block_and_an_end(values: list[str]):
    assert avro.array([avro.string(value) for value in values]) == fastavro_bytes({"type": "array", "items": "string"}, values)


@given(st.dictionaries(TEXT, TEXT, max_size=20), st.randoms())
def test_equal_maps_have_equal_bytes_whatever_their_order(values: dict[str, str], chance):
    shuffled = list(values.items())
    chance.shuffle(shuffled)
    encoded = avro.mapping((key, avro.string(value)) for key, value in shuffled)
    assert encoded == avro.mapping((key, avro.string(value)) for key, value in values.items())
    assert fastavro.schemaless_reader(io.BytesIO(encoded), fastavro.parse_schema({"type": "map", "values": "string"}), None) == values


@given(
    st.lists(st.lists(st.tuples(st.integers(-(1 << 40), 1 << 40), TEXT), min_size=1, max_size=20), max_size=4),
    st.binary(min_size=16, max_size=16),
)
def test_a_container_is_read_by_fastavro_and_taken_apart_again(blocks: list[list[tuple[int, str]]], sync: bytes):
    raws = [b"".join(avro.long(number) + avro.string(text) for number, text in records) for records in blocks]
    pieces = [avro.header(avro.minified(SCHEMA), sync)]
    pieces += [avro.block(len(records), avro.compress(raw), sync) for records, raw in zip(blocks, raws, strict=True)]
    container = b"".join(pieces)
    assert list(fastavro.reader(io.BytesIO(container))) == [{"n": number, "s": text} for records in blocks for number, text in records]
    assert [(count, avro.decompress(packed)) for count, packed in avro.blocks(container)] == [
        (len(records), raw) for records, raw in zip(blocks, raws, strict=True)
    ]


def test_threads_compress_at_once_and_each_gets_its_own():
    raws = [bytes([number]) * 200_000 + random.Random(number).randbytes(200_000) for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        packed = list(pool.map(avro.compress, raws * 4))
    assert [avro.decompress(each) for each in packed] == raws * 4


def test_what_is_no_container_is_refused():
    with pytest.raises(ValueError, match="not an Avro container"):
        list(avro.blocks(b"PAR1 not ours"))


def test_a_wrong_sync_marker_is_found():
    container = avro.header(avro.minified(SCHEMA), b"s" * 16) + avro.block(1, avro.compress(b"\0\0"), b"t" * 16)
    with pytest.raises(ValueError, match="no sync marker"):
        list(avro.blocks(container))


def test_a_schema_stands_in_a_file_without_white_space():
    assert avro.minified('{ "a": [1,  2] }') == '{"a":[1,2]}'
