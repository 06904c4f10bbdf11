"""Avro's binary encoding and container, as far as we write it: plain concatenation of parts that are encoded once.

fastavro reads our files and is used wherever we read them; it is not used to write, because it encodes every field of
every record again and compresses a block that is compressed already. Avro 1.12 specification, "Binary Encoding" and
"Object Container Files".
"""

from __future__ import annotations

import json
from threading import local
from typing import TYPE_CHECKING, Final

import zstandard

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

NULL: Final = b"\0"
FALSE: Final = b"\0"
TRUE: Final = b"\1"
EMPTY: Final = b"\0"  # an array or map without items
SOME: Final = b"\2"  # second branch of ["null", T]
MAGIC: Final = b"Obj\x01"
SYNC_SIZE: Final = 16
LEVEL: Final = 6
# Of that level, for records with bodies: repetitions are long, so fewer places are looked at. Smaller, and a tenth less work.
TUNED: Final = {"hash_log": 18, "chain_log": 17, "search_log": 2, "min_match": 6}
IN_TRANSIT: Final = 1  # level of what will soon be decompressed again
WINDOW_LOG: Final = 22  # a whole block of four MiB: lower levels would look back less far


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


# Tables in place of a loop per number: a timestamp is four look-ups.
_CHUNK: Final = 1 << 14
_ENDS: Final = tuple(_varint(n) for n in range(_CHUNK))
_GOES_ON: Final = tuple(bytes((n & 0x7F | 0x80, n >> 7 | 0x80)) for n in range(_CHUNK))
_SMALL: Final = _ENDS[: 2 * 4096 : 2]
_SOME_SMALL: Final = tuple(SOME + n for n in _SMALL)


def long(value: int) -> bytes:
    """An int or long."""
    zigzag = value << 1 if value >= 0 else (-value << 1) - 1
    if zigzag < _CHUNK:
        return _ENDS[zigzag]
    if zigzag < 1 << 28:
        return _GOES_ON[zigzag & 0x3FFF] + _ENDS[zigzag >> 14]
    if zigzag < 1 << 56:
        middle = _GOES_ON[zigzag >> 14 & 0x3FFF]
        if zigzag < 1 << 42:
            return _GOES_ON[zigzag & 0x3FFF] + middle + _ENDS[zigzag >> 28]
        return _GOES_ON[zigzag & 0x3FFF] + middle + _GOES_ON[zigzag >> 28 & 0x3FFF] + _ENDS[zigzag >> 42]
    return _varint(zigzag)


_hours: dict[int, bytes] = {}  # all but the lowest four bytes of a time's encoding, which change every two minutes


def some_time(moment: int) -> bytes:
    """A value of `["null", "timestamp-micros"]` that is not null."""
    high = moment >> 27
    if not 1 <= high < 1 << 28:
        return SOME + long(moment)
    found = _hours.get(high)
    if found is None:
        if len(_hours) > 1000:
            _hours.clear()
        found = _hours[high] = _varint(high)
    low = moment << 1
    # Arithmetic, not the tables: low digits of times are random, and a look-up that misses the processor's caches costs more.
    spread = low & 0x7F | (low & 0x3F80) << 1 | (low & 0x1FC000) << 2 | (low & 0xFE00000) << 3 | 0x80808080
    return SOME + spread.to_bytes(4, "little") + found


def data(value: bytes) -> bytes:
    """A string or bytes value, given as bytes; strings in UTF-8."""
    size = len(value)
    return (_SMALL[size] if size < 4096 else long(size)) + value


def string(value: str) -> bytes:
    """A string. Raises UnicodeEncodeError on lone surrogates, which no Avro string can hold."""
    return data(value.encode())


def some_data(value: bytes) -> bytes:
    """A value of `["null", "string"]` that is not null, given in UTF-8."""
    size = len(value)
    return (_SOME_SMALL[size] if size < 4096 else SOME + long(size)) + value


def nullable(value: str | None) -> bytes:
    """A value of `["null", "string"]`."""
    return NULL if value is None else some_data(value.encode())


def array(items: list[bytes]) -> bytes:
    """An array of encoded items."""
    return EMPTY if not items else long(len(items)) + b"".join(items) + b"\0"


def mapping(items: Iterable[tuple[str, bytes]]) -> bytes:
    """A map of encoded values, by key, so that equal maps have equal bytes."""
    entries = [string(key) + value for key, value in sorted(items)]
    return array(entries)


def header(schema: str, sync: bytes) -> bytes:
    """Header of a container file with codec zstandard."""
    meta = mapping([("avro.codec", data(b"zstandard")), ("avro.schema", data(schema.encode()))])
    return MAGIC + meta + sync


_own: Final = local()  # a compressor serves one thread at a time, and runners may use several


def _compressor(level: int) -> zstandard.ZstdCompressor:
    found: zstandard.ZstdCompressor | None = _own.__dict__.get(str(level))
    if found is None:
        tuned = TUNED if level == LEVEL else {}
        parameters = zstandard.ZstdCompressionParameters.from_level(level, window_log=WINDOW_LOG, **tuned)
        found = _own.__dict__[str(level)] = zstandard.ZstdCompressor(compression_params=parameters)
    return found


def compress(raw: bytes, level: int = LEVEL) -> bytes:
    """One block's records, compressed as codec zstandard wants them."""
    # The library's own bytes keep the room of the worst case, which is the input's size; a copy takes what it needs.
    return bytes(memoryview(_compressor(level).compress(raw)))


def decompress(packed: bytes) -> bytes:
    """The records of one block; the frame says its size."""
    return zstandard.ZstdDecompressor().decompress(packed)


def block(count: int, packed: bytes, sync: bytes) -> bytes:
    """One block of a container file from compressed records."""
    return b"".join((long(count), long(len(packed)), packed, sync))


def minified(schema: str) -> str:
    """A schema as it stands in a file's header: without white space."""
    return json.dumps(json.loads(schema), separators=(",", ":"))


def read_long(buffer: bytes, at: int) -> tuple[int, int]:
    """The int or long at `at`, and the position behind it."""
    shift = value = 0
    while True:
        byte = buffer[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return (value >> 1) ^ -(value & 1), at
        shift += 7


def blocks(container: bytes) -> Iterator[tuple[int, bytes]]:
    """Count and compressed records of each block of a container file. Raises ValueError where it is none."""
    if container[:4] != MAGIC:
        raise ValueError("not an Avro container file")
    at = 4
    while True:  # the header's map: counts, keys and values until a count of 0
        count, at = read_long(container, at)
        if not count:
            break
        if count < 0:
            _, at = read_long(container, at)
        for _ in range(2 * abs(count)):
            size, at = read_long(container, at)
            at += size
    sync = container[at : at + SYNC_SIZE]
    at += SYNC_SIZE
    while at < len(container):
        count, at = read_long(container, at)
        size, at = read_long(container, at)
        end = at + size
        if container[end : end + SYNC_SIZE] != sync:
            raise ValueError(f"no sync marker at {end}")
        yield count, container[at:end]
        at = end + SYNC_SIZE
