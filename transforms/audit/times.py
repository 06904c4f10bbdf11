"""Timestamps of events: microseconds since the epoch, and as Avro."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import repeat
from re import ASCII
from re import compile as pattern
from typing import Final

import numpy as np
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
    found = _times[timestamp] = _time_of(timestamp)
    return found


def _time_of(timestamp: Text) -> Time:
    """`time_part`, read anew."""
    if timestamp is UNSET:
        return _NO_TIME
    moment = _micros(timestamp)
    if moment is not None:
        return moment, avro.some_time(moment), True
    moment = lenient_micros(timestamp)
    return moment, avro.NULL if moment is None else avro.some_time(moment), False


# What may stand in `…T05:20:19.632000Z`, as the lowest byte and how far above it; where its digits are, and what they are worth.
_DATE: Final = 10
_LOWEST: Final = np.frombuffer(b"T00:00:00.000000Z", dtype=np.uint8)
_SPAN: Final = np.array([0, 2, 9, 0, 5, 9, 0, 5, 9, 0, 9, 9, 9, 9, 9, 9, 0], dtype=np.uint8)
_DIGITS: Final = np.flatnonzero(_SPAN)
_WORTH: Final = np.array([36e9, 36e8, 6e8, 6e7, 1e7, 1e6, 1e5, 1e4, 1e3, 100, 10, 1])
_DAY: Final = 86_400_000_000
_SEVENS: Final = np.arange(0, 56, 7)
_GOES_ON: Final = np.array([0x80] * 7 + [0], dtype=np.uint8)
_FEW: Final = 128  # are read sooner one by one


def note_times(timestamps: set[Text]) -> None:
    """Read many times at once for `time_part` to find, if all are of one day and as Kubernetes writes them; else nothing happens."""
    timestamps.discard(UNSET)
    fresh: list[str] = list(timestamps)  # type: ignore[arg-type]
    if len(fresh) < _FEW or set(map(len, fresh)) != {_TIMESTAMP_LENGTH}:
        return
    joined = "".join(fresh)
    since = _micros_of_second(fresh[0][:_DATE] + "T00:00:00")
    if since is None or not 1 << 48 <= since < 1 << 54 or not joined.isascii():  # what takes eight bytes in Avro: 1978 to 2540
        return
    rows = np.frombuffer(joined.encode(), dtype=np.uint8).reshape(-1, _TIMESTAMP_LENGTH)
    offsets = rows[:, _DATE:] - _LOWEST
    if not (offsets <= _SPAN).all() or not (rows[:, :_DATE] == rows[0, :_DATE]).all():
        return
    moments = (offsets[:, _DIGITS] @ _WORTH).astype(np.int64)
    if moments.max() >= _DAY:
        return
    moments += since
    encoded = np.empty((len(fresh), 9), dtype=np.uint8)
    encoded[:, 0] = 2  # the second branch of ["null", T]
    encoded[:, 1:] = (moments[:, None] << 1 >> _SEVENS & 0x7F).astype(np.uint8) | _GOES_ON
    _times.clear()  # a small table stays in the processor's caches
    _times[UNSET] = _NO_TIME
    # No encoding ends in the zero bytes that numpy would cut off.
    _times.update(zip(fresh, zip(moments.tolist(), encoded.view("S9")[:, 0].tolist(), repeat(True)), strict=False))


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
