"""Bodies of rows: where they are, without managedFields, and what in them asks for a closer look."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from transforms.audit.rows.columns import BODIES, BODIES_END, FAR, HIGH, NO_BODIES, RUN_LENGTH
from transforms.audit.rows.compiled.eight_bytes import copy, inner, load, same

_QUOTE: Final = 34
_COMMA: Final = 44
_COLON: Final = 58
_BACKSLASH: Final = 92
_SPACE: Final = 32
_OPEN_ARRAY: Final = 91
_CLOSE_ARRAY: Final = 93
_OPEN: Final = 123
_CLOSE: Final = 125
_WORD: Final = 8
_NEAR: Final = 8  # bytes within which a body has its first quote
_HEAD: Final = 160  # bytes of a body that say what kind it is
_PAIR: Final = 1000  # bytes at most of a variable
_SIZE: Final = 4  # bytes that say how long a masked value was
_NEEDLE: Final = 13
_BRACKETS: Final = 6  # at most between an array and the string after it
_HIGH_BITS: Final = np.uint64(0x8080808080808080)
_ONES: Final = np.uint64(0x0101010101010101)
_SPACES: Final = np.uint64(0x2121212121212121)
_OPEN_ARRAYS: Final = np.uint64(0x5B5B5B5B5B5B5B5B)
_CLOSE_ARRAYS: Final = np.uint64(0x5D5D5D5D5D5D5D5D)


def _text(text: str) -> Any:
    return np.frombuffer(text.encode(), dtype=np.uint8)


_REQUEST = _text('"requestObject":')
_RESPONSE = _text('"responseObject":')
_THEN_RESPONSE = _text(',"responseObject":')
_TABLE = _text('"kind":"Table"')
_LIST = _text('List"')
_ITEMS = _text('"items"')
_TRUE = _text("true")
_FALSE = _text("false")
_NULL = _text("null")


def _those(letters: str) -> Any:
    out = np.zeros(256, dtype=np.uint8)
    out[list(letters.encode())] = 1
    return out


_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_IS_LETTER = _those(_LETTERS)
_OF_RUN = _those(_LETTERS + "0123456789+/_-=")
_BRACKET = _those("]}{,")
_ENDS_VALUE = _those('"}]0123456789el')
_AFTER_VALUE = _those(",:}]")
_BEGINS_VALUE = _those('"{[0123456789-')


@inner
def _stands(data: Any, at: int, end: int, text: Any) -> bool:
    return at + len(text) <= end and same(data, at, text, 0, len(text))


@inner
def _find(data: Any, at: int, end: int, text: Any) -> int:
    """Where a text of eight bytes or more begins, -1 if nowhere."""
    first = load(text, 0)
    while at + len(text) <= end:
        if load(data, np.intp(at)) == first and same(data, at, text, 0, len(text)):
            return at
        at += 1
    return -1


@inner
def _holds(data: Any, at: int, end: int, text: Any) -> bool:
    """Whether a shorter text stands anywhere."""
    while at + len(text) <= end:
        if data[at] == text[0] and same(data, at, text, 0, len(text)):
            return True
        at += 1
    return False


@inner
def find_bodies(data: Any, lines: Any, chosen: Any, spans: Any, states: Any) -> None:
    """Fill `spans` (chosen by 4) with where request and response begin and end, zeros for what a line lacks.

    `states`: NO_BODIES where what stands there is not the one or both, each right after its key; HIGH where a byte is beyond ASCII.
    """
    for place in range(len(chosen)):
        row = lines[chosen[place]]
        at, end = row[BODIES], row[BODIES_END]
        spans[place, 0] = spans[place, 1] = spans[place, 2] = spans[place, 3] = 0
        states[place] = 0
        if end == 0:
            continue
        if _stands(data, at, end, _REQUEST):
            start = at + len(_REQUEST)
            then = _find(data, start, end, _THEN_RESPONSE)
            spans[place, 0] = start
            spans[place, 1] = end if then < 0 else then
            if then >= 0:
                spans[place, 2] = then + len(_THEN_RESPONSE)
                spans[place, 3] = end
        elif _stands(data, at, end, _RESPONSE):
            spans[place, 2] = at + len(_RESPONSE)
            spans[place, 3] = end
        else:
            states[place] = NO_BODIES
            continue
        for body in range(2):
            start, stop = spans[place, 2 * body], spans[place, 2 * body + 1]
            if stop > 0 and (start == stop or data[start] <= _SPACE or data[stop - 1] <= _SPACE):
                states[place] = NO_BODIES
        if states[place] == 0 and _beyond_ascii(data, at, end):
            states[place] = HIGH


@inner
def _beyond_ascii(data: Any, at: int, end: int) -> bool:
    while at + _WORD <= end:
        if load(data, np.intp(at)) & _HIGH_BITS:
            return True
        at += _WORD
    while at < end:
        if data[at] >= 128:
            return True
        at += 1
    return False


@inner
def _zeros(word: Any) -> Any:
    """Not zero if a byte of eight is; and maybe if one is 1."""
    return (word - _ONES) & ~word & _HIGH_BITS


@inner
def _end_of_array(data: Any, place: int, start: int, end: int) -> int:
    """Where an array under the key that ends at `place` ends, if that is sure (`managed_fields`); else 0."""
    at = place - _NEEDLE - 2
    if at < start or place + 4 > end or (data[at] != _COMMA and data[at] != _OPEN):
        return 0
    if data[at + 1] != _QUOTE or data[place] != _QUOTE or data[place + 1] != _COLON or data[place + 2] != _OPEN_ARRAY:
        return 0
    stop = place + 3
    if data[stop] != _OPEN and data[stop] != _CLOSE_ARRAY:
        return 0
    while stop + _WORD <= end:
        word = load(data, np.intp(stop))
        if _zeros(word ^ _OPEN_ARRAYS) | _zeros(word ^ _CLOSE_ARRAYS):
            break
        stop += _WORD
    while stop < end and data[stop] != _CLOSE_ARRAY and data[stop] != _OPEN_ARRAY:
        stop += 1
    if stop == end or data[stop] == _OPEN_ARRAY:
        return 0
    stop += 1
    at = stop
    while at < end and at - stop < _BRACKETS and _BRACKET[data[at]]:
        at += 1
    return stop if at == end or (data[at] == _QUOTE and at + 1 < end and _IS_LETTER[data[at + 1]]) else 0


@inner
def _place_of(data: Any, start: int, end: int) -> int:
    """What kind of place a body's managedFields are at (`managed_fields`): 0 items, 1 metadata, 2 patch, 3 rows."""
    head = min(end, start + _HEAD)
    if _find(data, start, head, _TABLE) >= 0:
        return 3
    if _holds(data, start, head, _LIST) and _holds(data, start, end, _ITEMS):
        return 0
    return 2 if data[start] == _OPEN_ARRAY else 1


@inner
def cut_bodies(data: Any, spans: Any, hits: Any, out: Any, places: Any, cuts: Any, odd: Any) -> None:
    """Copy bodies to `out` without their managedFields.

    `hits` are where the key's name ends anywhere in the data, in order, as are the bodies. `places` (bodies by 2) gets where each
    body is in `out`; `cuts` (bodies by 3) what kind of place was cut, how many arrays and bytes; `odd` is 1 where that is not sure.
    """
    at = hit = 0
    for body in range(len(spans)):
        start, end = spans[body, 0], spans[body, 1]
        while hit < len(hits) and hits[hit] <= start:
            hit += 1
        first, done, count, cut = at, start, 0, 0
        odd[body] = 0
        while hit < len(hits) and hits[hit] <= end:
            place = hits[hit]
            hit += 1
            if place < done or odd[body]:
                continue
            stop = _end_of_array(data, place, start, end)
            if stop == 0:
                odd[body] = 1
                continue
            begin = place - _NEEDLE - 1
            if data[begin - 1] == _COMMA and begin > done:  # else it went with the array before
                begin -= 1
            elif stop < end and data[stop] == _COMMA:
                stop += 1
            at = copy(data, done, begin - done, out, at)
            count += 1
            cut += stop - begin
            done = stop
        at = first if odd[body] else copy(data, done, end - done, out, at)
        places[body, 0], places[body, 1] = first, at
        cuts[body, 0] = _place_of(data, start, end) if count else 0
        cuts[body, 1], cuts[body, 2] = count, cut


@inner
def _has_run(data: Any, start: int, end: int) -> bool:
    """Whether there are RUN_LENGTH letters on end that may encode something: every such run holds one of the bytes looked at."""
    at = start + RUN_LENGTH - 1
    while at < end:
        if not _OF_RUN[data[at]]:
            at += RUN_LENGTH
            continue
        before, after = at, at + 1
        while before > start and _OF_RUN[data[before - 1]]:
            before -= 1
        while after < end and after - before < RUN_LENGTH and _OF_RUN[data[after]]:
            after += 1
        if after - before >= RUN_LENGTH:
            return True
        at = after + RUN_LENGTH
    return False


@inner
def _is_far(data: Any, start: int, end: int) -> bool:
    """Whether a quote is missing near the beginning, or for FAR bytes."""
    at = start
    while at < end and at - start < _NEAR and data[at] != _QUOTE:
        at += 1
    if at - start == _NEAR:
        return True
    while start + FAR <= end:
        at = start + FAR - 1
        while at >= start and data[at] != _QUOTE:
            at -= 1
        if at < start:
            return True
        start = at + 1
    return False


@inner
def find_runs(data: Any, spans: Any, found: Any) -> None:
    """Set `found` to 1 for bodies with a long run of letters, or with much that no quote is in."""
    for body in range(len(spans)):
        start, end = spans[body, 0], spans[body, 1]
        if _has_run(data, start, end) or _is_far(data, start, end):
            found[body] = 1


@inner
def find_pairs(data: Any, ends: Any, spans: Any, out: Any) -> None:
    """Fill `out` with where the objects begin and end within their bodies (`spans`) in which a value begins at `ends`; 0, 0: too long."""
    for place in range(len(ends)):
        start, end = spans[place, 0], spans[place, 1]
        first = last = ends[place] - 1
        while first > start and last - first < _PAIR and data[first] != _OPEN:
            first -= 1
        while last < end and last - first < _PAIR and data[last] != _CLOSE:
            last += 1
        out[place, 0] = out[place, 1] = 0
        if last < end and data[first] == _OPEN and data[last] == _CLOSE:
            out[place, 0], out[place, 1] = first, last + 1


@inner
def mask_pairs(data: Any, spans: Any, pairs: Any, of: Any, parts: Any, words: Any, out: Any, places: Any, cuts: Any) -> None:
    """Copy bodies to `out` with other text for some objects in them, of which each belongs to the body `of`, in order.

    `parts` are the numbers of what stands for them in `words`: four bytes that say how long the value was, and the text. `places`
    gets where each body is in `out`; `cuts` how many values were replaced, and their bytes.
    """
    encoded, texts = words
    at = pair = 0
    for body in range(len(spans)):
        done, end = spans[body, 0], spans[body, 1]
        places[body, 0] = at
        cuts[body, 0] = cuts[body, 1] = 0
        while pair < len(pairs) and of[pair] == body:
            at = copy(data, done, pairs[pair, 0] - done, out, at)
            text = texts[parts[pair], 0]
            for byte in range(_SIZE):
                cuts[body, 1] += np.int64(encoded[text + byte]) << (8 * byte)
            at = copy(encoded, text + _SIZE, texts[parts[pair], 1] - text - _SIZE, out, at)
            cuts[body, 0] += 1
            done = pairs[pair, 1]
            pair += 1
        at = copy(data, done, end - done, out, at)
        places[body, 1] = at


@inner
def _begins_value(data: Any, at: int, end: int) -> bool:
    return at < end and (
        _BEGINS_VALUE[data[at]] or _stands(data, at, end, _TRUE) or _stands(data, at, end, _FALSE) or _stands(data, at, end, _NULL)
    )


@inner
def _is_loose(data: Any, at: int, after: int, start: int, end: int) -> bool:
    """Whether white space from `at` on, before `after`, may stand between tokens (`parts.json_text`)."""
    if at == start or after == end:
        return True
    before, then = data[at - 1], data[after]
    if _ENDS_VALUE[before] and _AFTER_VALUE[then]:
        return True
    if before == _OPEN:
        return then in (_QUOTE, _CLOSE)
    if before == _OPEN_ARRAY:
        return then == _CLOSE_ARRAY or _begins_value(data, after, end)
    if before == _COMMA:
        return _begins_value(data, after, end)
    if before == _COLON and at - 2 >= start and data[at - 2] == _QUOTE:
        escaped = at - 3 >= start and data[at - 3] == _BACKSLASH and not (at - 4 >= start and data[at - 4] == _BACKSLASH)
        return not escaped and _begins_value(data, after, end)
    return False


@inner
def find_space(data: Any, spans: Any, found: Any) -> None:
    """Set `found` to 1 for bodies with white space that may stand between tokens."""
    for body in range(len(spans)):
        start, end = spans[body, 0], spans[body, 1]
        at = start
        while at < end:
            if at + _WORD <= end:
                word = load(data, np.intp(at))
                if not (word - _SPACES) & ~word & _HIGH_BITS:
                    at += _WORD
                    continue
            if data[at] > _SPACE:
                at += 1
                continue
            after = at
            while after < end and data[after] <= _SPACE:
                after += 1
            if _is_loose(data, at, after, start, end):
                found[body] = 1
                break
            at = after
