"""Base64 and gzip, as Kafka, Kinesis, Pub/Sub and CloudWatch subscriptions pack records. Bounded: a bomb is refused."""

from __future__ import annotations

import zlib
from base64 import b64decode, urlsafe_b64decode
from re import compile as pattern
from typing import Final

from transforms.audit.envelopes.inner import Inner

ORDER = 80
UNPACKED_LIMIT: Final = 64 << 20
GZIP: Final = b"\x1f\x8b"
_GZIP_WINDOW: Final = 16 + zlib.MAX_WBITS
_base64: Final = pattern(rb"[A-Za-z0-9+/_-]{16,}={0,2}").fullmatch
# Anything else that happens to be base64 is a word.
_plausible: Final = pattern(rb"\s*(?:[{\[\"]|\d{4}-\d\d-\d\dT|[A-Za-z0-9+/_-]{16,}={0,2}\s*\Z)").match
_wrapped_lines: Final = b"\r\n"


class Unpackable(ValueError):
    """The data are not what they say, or unpack to too much. The text carries no content."""


def unpacked(data: bytes) -> bytes:
    """Bytes that may be gzip, several members included; anything else is returned as it is."""
    parts: list[bytes] = []
    left = UNPACKED_LIMIT
    while data.startswith(GZIP):
        inflate = zlib.decompressobj(_GZIP_WINDOW)
        try:
            part = inflate.decompress(data, left + 1)  # of 0, zlib would take as much as there is
        except zlib.error as error:
            raise Unpackable("gzip data that cannot be read") from error
        parts.append(part)
        left -= len(part)
        if left < 0:
            raise Unpackable("gzip data that unpack to too much")
        if not inflate.eof:
            raise Unpackable("gzip data that break off")
        data = inflate.unused_data.lstrip(b"\0")
    return b"".join(parts) if parts else data


def decoded(text: bytes) -> bytes:
    """What base64 text holds, unpacked."""
    text = text.translate(None, _wrapped_lines).rstrip(b"=")
    if not text.isascii():
        raise Unpackable("text that is not base64")
    decode = urlsafe_b64decode if b"-" in text or b"_" in text else b64decode
    try:
        return unpacked(decode(text + b"=" * (-len(text) % 4)))
    except ValueError as error:
        raise error if isinstance(error, Unpackable) else Unpackable("text that is not base64") from error


def inner_of(text: bytes, cluster: str | None = None, *, encoding: bool = False) -> Inner:
    """The record in base64 text, or why there is none."""
    try:
        return Inner(decoded(text), cluster=cluster, encoding=encoding)
    except Unpackable as error:
        return Inner(text, code="BROKEN_ENCODING", message=str(error), cluster=cluster)


def unwrap_text(record: bytes) -> list[Inner] | None:
    """A record that is base64 of JSON or gzip, or gzip itself."""
    if record.startswith(GZIP):
        try:
            return [Inner(unpacked(record), encoding=True)]
        except Unpackable as error:
            return [Inner(record, code="BROKEN_ENCODING", message=str(error))]
    if not _base64(record):
        return None
    try:
        inside = decoded(record)
    except Unpackable as error:
        # Only what starts as base64 of gzip does is surely meant to be.
        return [Inner(record, code="BROKEN_ENCODING", message=str(error))] if record.startswith(b"H4sI") else None
    return [Inner(inside, encoding=True)] if _plausible(inside) else None
