"""Rows as Avro records (`record.encode_event`): their parts are encoded already, and copied one after another."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from transforms.audit.rows.columns import EARLY, ID, ID_LENGTH, KIND, REFERENCE, REFERENCE_END, VERB, VERB_END
from transforms.audit.rows.compiled.blake2b import DIGEST, blake2b
from transforms.audit.rows.compiled.eight_bytes import copy, inner
from transforms.audit.rows.compiled.scan_lines import REFERENCE_KEYS, member

_NULL: Final = 0
_SOME: Final = 2
_QUOTE: Final = 34


def _string(text: str) -> Any:
    return np.frombuffer(bytes([2 * len(text)]) + text.encode(), dtype=np.uint8)


_METADATA = _string("Metadata")
_REQUEST = _string("Request")
_RESPONSE = _string("RequestResponse")
_COMPLETE = _string("ResponseComplete")
_RECEIVED = _string("RequestReceived")


@inner
def _long(value: Any, out: Any, at: int) -> int:
    zigzag = np.uint64(value) << np.uint64(1)  # nothing here is negative
    while zigzag > np.uint64(0x7F):
        out[at] = np.uint8(zigzag & np.uint64(0x7F) | np.uint64(0x80))
        zigzag >>= np.uint64(7)
        at += 1
    out[at] = np.uint8(zigzag)
    return at + 1


@inner
def _some(data: Any, start: int, end: int, out: Any, at: int) -> int:
    out[at] = _SOME
    at = _long(end - start, out, at + 1)
    return copy(data, start, end - start, out, at)


@inner
def _time(moment: Any, out: Any, at: int) -> int:
    out[at] = _SOME
    return _long(moment, out, at + 1)


@inner
def _part(words: Any, part: int, out: Any, at: int) -> int:
    """A part that is encoded already, or null."""
    if part < 0:
        out[at] = _NULL
        return at + 1
    encoded, places = words
    return copy(encoded, places[part, 0], places[part, 1] - places[part, 0], out, at)


@inner
def _reference(data: Any, row: Any, out: Any, at: int) -> int:
    """A reference whose members are plain strings in the order of the schema, or null."""
    if row[REFERENCE_END] == 0:
        out[at] = _NULL
        return at + 1
    out[at] = _SOME
    at += 1
    end = row[REFERENCE_END]
    read = row[REFERENCE]
    for place in range(8):
        value = member(data, read, end, REFERENCE_KEYS[place])
        if value < 0:
            out[at] = _NULL
            at += 1
            continue
        read = value
        while data[read] != _QUOTE:
            read += 1
        at = _some(data, value, read, out, at)
        read += 1
    return at


@inner
def _content(
    data: Any, row: Any, early: bool, level: int, parts: Any, words: Any, bodies: Any, spans: Any, moments: Any, out: Any, at: int
) -> int:
    at = copy(_METADATA, 0, len(_METADATA), out, at) if level == 0 else at
    at = copy(_REQUEST, 0, len(_REQUEST), out, at) if level == 1 else at
    at = copy(_RESPONSE, 0, len(_RESPONSE), out, at) if level == 2 else at
    at = copy(_RECEIVED, 0, len(_RECEIVED), out, at) if early else copy(_COMPLETE, 0, len(_COMPLETE), out, at)
    at = _long(row[VERB_END] - row[VERB], out, at)
    at = copy(data, row[VERB], row[VERB_END] - row[VERB], out, at)
    at = _some(data, row[ID], row[ID] + ID_LENGTH, out, at)
    at = _part(words[0], parts[0], out, at)
    at = _part(words[1], parts[1], out, at)
    at = _reference(data, row, out, at)
    at = _part(words[3], parts[3], out, at)
    for body in range(2):
        start, end = spans[2 * body], spans[2 * body + 1]
        if start == end:
            out[at] = _NULL
            at += 1
        else:
            at = _some(bodies, start, end, out, at)
    at = _time(moments[0], out, at)
    at = _time(moments[1], out, at)
    at = _part(words[4], parts[4], out, at)
    out[at] = _NULL  # no unknown fields
    return at + 1


@inner
def _stages(received: Any, reached: Any, out: Any, at: int) -> int:
    """The stages by time: the final one, and the first if it was merged (a time of -1 says not)."""
    at = _long(1 if received < 0 else 2, out, at)
    if received >= 0 and received <= reached:
        at = _time(received, out, copy(_RECEIVED, 0, len(_RECEIVED), out, at))
    at = _time(reached, out, copy(_COMPLETE, 0, len(_COMPLETE), out, at))
    if received > reached:
        at = _time(received, out, copy(_RECEIVED, 0, len(_RECEIVED), out, at))
    out[at] = _NULL
    return at + 1


@inner
def _cut(cuts: Any, place: int, kinds: Any, out: Any, at: int) -> int:
    """What was cut: kind and path, how often, how many bytes."""
    encoded, places = kinds
    kind = cuts[3 * place]
    at = copy(encoded, places[kind, 0], places[kind, 1] - places[kind, 0], out, at)
    return _long(cuts[3 * place + 2], out, _long(cuts[3 * place + 1], out, at))


@inner
def _marks(cuts: Any, kinds: Any, out: Any, at: int) -> int:
    """Reductions, by kind and path, and no flags (`record.marks_part`)."""
    count = 0
    for place in range(4):
        count += 1 if cuts[3 * place] > 0 else 0
    if count > 0:
        at = _long(count, out, at)
        for place in range(2):
            if cuts[3 * place] > 0:
                at = _cut(cuts, place, kinds, out, at)
        first, second = cuts[6], cuts[9]
        if second > 0 and (first == 0 or second < first):
            at = _cut(cuts, 3, kinds, out, at)
        if first > 0:
            at = _cut(cuts, 2, kinds, out, at)
        if second > first > 0:
            at = _cut(cuts, 3, kinds, out, at)
    out[at] = out[at + 1] = _NULL  # where the reductions end, if there are any; and no flags
    return at + 2


@inner
def encode_rows(
    data: Any,
    lines: Any,
    chosen: Any,
    firsts: Any,
    moments: Any,
    levels: Any,
    rules: Any,
    parts: Any,
    words: Any,
    bodies: Any,
    spans: Any,
    cuts: Any,
    kinds: Any,
    marks: Any,
    cluster: Any,
    stream: Any,
    places: Any,
    state: Any,
    working: Any,
    out: Any,
    ends: Any,
    digests: Any,
    digested: Any,
) -> None:
    """Write the records of the chosen rows to `out`, and to `ends` where each of them ends; to `digests` those of their lines.

    `digested` says of which lines these are known already: those without bodies, by the number of their level and one.

    `firsts` is when the merged first stage was reached, -1 where none is. A row whose line is that of a first stage has no record of
    its own: only its digest counts.

    `spans` (chosen by 4) says where in `bodies` each row's request and response begin and end. `cuts` (chosen by 12) says what was
    masked in the one and the other, and what was cut from them: its kind in `kinds`, 0 for nothing, how often, bytes; or all the row's
    reductions and flags stand encoded in `marks`. `state` (8) and `working` (16) are working memory. `places` are (offset, item) of
    a row's line in its stream.
    """
    at = 0
    for place in range(len(chosen)):
        line = chosen[place]
        row = lines[line]
        start = at
        at = _content(data, row, row[KIND] == EARLY, levels[place], parts[place], words, bodies, spans[place], moments[line], out, at)
        end = at
        at = copy(cluster, 0, len(cluster), out, at)
        bare = spans[place, 0] == spans[place, 1] and spans[place, 2] == spans[place, 3]
        if not bare or digested[line] != levels[place] + 1:
            blake2b(cluster, out, start, end, state, working, digests, DIGEST * line)
            digested[line] = levels[place] + 1 if bare else 0
        at = copy(digests, DIGEST * line, DIGEST, out, at)
        at = copy(stream, 0, len(stream), out, at)
        at = _long(places[place, 0], out, at)
        at = _long(places[place, 1], out, at)
        at = _stages(firsts[place], moments[line, 1], out, at)
        if rules[place] < 0:
            out[at] = _NULL
            at += 1
        else:
            out[at] = _SOME
            at = _long(rules[place], out, at + 1)
        encoded, where = marks
        if where[place, 1] > 0:
            at = copy(encoded, where[place, 0], where[place, 1] - where[place, 0], out, at)
        else:
            at = _marks(cuts[place], kinds, out, at)
        ends[place] = at
