"""Timestamps of events: microseconds since the epoch, and as Avro."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from re import ASCII
from re import compile as pattern
from typing import Final

from msgspec import UNSET

from transforms.audit import avro
from transforms.audit.event import Text

_CACHE_LIMIT: Final = 1_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_MICRO_DIGITS: Final = 6
_TIMESTAMP_LENGTH: Final = len("2026-11-23T05:20:19.632000Z")

# What `fromisoformat` takes beyond this differs from one Python to the next.
_rfc_3339: Final = pattern(r"\d{4}-\d\d-\d\dT([01]\d|2[0-3]):\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", ASCII).fullmatch

# Timestamp -> (microseconds, encoded, plain). A request's stages share its time, and each time is asked for more than once.
Time = tuple[int | None, bytes, bool]
_NO_TIME: Final[Time] = (None, avro.NULL, True)
_times: dict[Text, Time] = {UNSET: _NO_TIME}


def time_part(timestamp: Text) -> Time:
    """Microseconds since the epoch, and encoded; whether that says all that the text says, as a MicroTime of Kubernetes does."""
    found = _times.get(timestamp)
    return _new_time(timestamp) if found is None else found


def _new_time(timestamp: Text) -> Time:
    if len(_times) >= _CACHE_LIMIT:
        _times.clear()
        _times[UNSET] = _NO_TIME
    found = _times[timestamp] = time_of(timestamp)
    return found


def time_of(timestamp: Text) -> Time:
    """`time_part` of a time that nobody asks for again."""
    if timestamp is UNSET:
        return _NO_TIME
    moment = _micros(timestamp)
    if moment is not None:
        return moment, avro.some_time(moment), True
    moment = lenient_micros(timestamp)
    return moment, avro.NULL if moment is None else avro.some_time(moment), False


def micros(timestamp: Text) -> int | None:
    """Microseconds since the epoch of any RFC 3339 time, what is finer cut off; None for any other text."""
    return time_part(timestamp)[0]


def fits_micros(timestamp: Text) -> bool:
    """Whether a time is one and says no more than microseconds: then nothing but its spelling is lost with its text."""
    moment, _, plain = _times.get(timestamp) or _new_time(timestamp)
    if plain or moment is None:
        return moment is not None
    fraction = timestamp.partition(".")[2]  # type: ignore[union-attr]
    return len(fraction) - len(fraction.lstrip("0123456789")) <= _MICRO_DIGITS


_seconds: dict[str, int | None] = {}  # the text of a second -> microseconds since the epoch, None where it is no time


def _micros(timestamp: Text) -> int | None:
    # Of all that ISO 8601 allows at this length, Kubernetes writes one form.
    if len(timestamp) != _TIMESTAMP_LENGTH or timestamp[26] != "Z" or timestamp[19] != ".":  # type: ignore[arg-type, index]
        return None
    second, fraction = timestamp[:19], timestamp[20:26]  # type: ignore[index]
    since = _seconds.get(second, 0)
    if since == 0:
        if len(_seconds) >= _CACHE_LIMIT:
            _seconds.clear()
        since = _seconds[second] = _micros_of_second(second)
    return since + int(fraction) if since is not None and fraction.isdecimal() and fraction.isascii() else None


def _micros_of_second(second: str) -> int | None:
    if not _rfc_3339(second + "Z"):
        return None
    try:
        since = datetime.fromisoformat(second + "+00:00") - _EPOCH
    except ValueError:
        return None
    return (since.days * 86_400 + since.seconds) * 1_000_000


def lenient_micros(timestamp: Text) -> int | None:
    """Microseconds since the epoch of any RFC 3339 time; None where the text is none, or beyond what Avro readers can show."""
    if timestamp is UNSET or not _rfc_3339(timestamp):
        return None
    try:
        moment = datetime.fromisoformat(timestamp)
        # In UTC the year may lie beyond what datetime, and so fastavro, can hold.
        return (moment.astimezone(UTC) - _EPOCH) // _MICROSECOND
    except (ValueError, OverflowError):
        return None
