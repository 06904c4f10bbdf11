"""What plain lines have in common, part by part: judged and encoded with the code that judges and encodes events."""

from __future__ import annotations

from threading import local
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np
from msgspec import UNSET, Raw

from transforms.audit import avro
from transforms.audit.event import Event, Text
from transforms.audit.managed_fields import NEEDLE
from transforms.audit.parts import annotations_part, caller_part, decode_reference, status_part
from transforms.audit.rows.columns import (
    CALLER,
    CALLER_END,
    NAME,
    NAME_END,
    NO,
    NOTES,
    NOTES_END,
    REFERENCE,
    REFERENCE_END,
    STATUS,
    STATUS_END,
    UID,
    UID_END,
    UNKNOWN,
    URI,
    URI_END,
    VERB,
    VERB_END,
    VERSION,
    VERSION_END,
    YES,
)
from transforms.audit.rows.words import MOST, Words

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

# Columns of a row's parts.
OF_URI, OF_CALLER, OF_REFERENCE, OF_STATUS, OF_NOTES, OF_VERB = range(6)
_errors: Final = (msgspec.MsgspecError, UnicodeError, RecursionError)
_decode_string = msgspec.json.Decoder(str).decode


class Caller(msgspec.Struct, forbid_unknown_fields=True):
    """Who called, and from where."""

    user: Raw = Raw()
    sourceIPs: Raw = Raw()
    userAgent: Text = UNSET


class Reference(msgspec.Struct):
    """A reference to an object, less its name, UID and version: what there is of it as JSON, and what it says."""

    raw: bytes
    resource: str
    namespace: str
    subresource: str


_decode_caller = msgspec.json.Decoder(Caller).decode
Judged = tuple[bytes, Any] | None


def _judge_uri(raw: bytes) -> Judged:
    uri = _decode_string(b'"%b"' % raw)
    return avro.some_data(uri.encode()), uri


def _judge_caller(raw: bytes) -> Judged:
    found = _decode_caller(b"{%b}" % raw)
    user, addresses = bytes(found.user), bytes(found.sourceIPs)
    event = Event(user=user, sourceIPs=addresses, userAgent=found.userAgent)  # type: ignore[arg-type]
    encoded, odd = caller_part(event)
    return None if odd else (encoded, Caller(user, addresses, found.userAgent))  # type: ignore[arg-type]


def _judge_reference(raw: bytes) -> Judged:
    reference = decode_reference(raw)
    return b"", Reference(raw, reference.resource or "", reference.namespace or "", reference.subresource or "")


def _judge_status(raw: bytes) -> Judged:
    encoded, odd = status_part(raw)
    return None if odd or NEEDLE in raw else (encoded, raw)


def _judge_notes(raw: bytes) -> Judged:
    encoded, odd = annotations_part(raw)
    return None if odd or NEEDLE in raw else (encoded, raw)


def _judge_verb(raw: bytes) -> Judged:
    return b"", raw.decode()


def or_odd(judge: Callable[[bytes], Judged]) -> Callable[[bytes], Judged]:
    """The judge, to whom what cannot be read is odd."""

    def judged(raw: bytes) -> Judged:
        try:
            raw.decode()  # what the decoder skips it does not check
            return judge(raw)
        except _errors:
            return None

    return judged


# By column: what judges the part, and where a line has it (and what is left out of it).
_KINDS: Final = (
    (_judge_uri, (URI, URI_END)),
    (_judge_caller, (CALLER, CALLER_END)),
    (_judge_reference, (REFERENCE, REFERENCE_END, NAME, NAME_END, UID, UID_END, VERSION, VERSION_END)),
    (_judge_status, (STATUS, STATUS_END)),
    (_judge_notes, (NOTES, NOTES_END)),
    (_judge_verb, (VERB, VERB_END)),
)


class Parts:
    """The distinct parts that a worker has seen; a set that is full is left to the rows that have it, and a new one begun.

    `caches` are for what a consumer has found of parts, by consumer.
    """

    def __init__(self) -> None:
        self.words = tuple(Words(or_odd(judge)) for judge, _ in _KINDS)
        self.places = tuple(places for _, places in _KINDS)
        self.encoded = tuple(each for words in self.words[:OF_VERB] for each in (words.encoded, words.places))
        self.caches: dict[Any, Any] = {}

    def known(self, column: int, part: int) -> Any:
        """What is known of a part; None of one that is lacking."""
        return None if part < 0 else self.words[column].known[part]

    def answers(self, ask: Callable[[Any], bool], column: int, numbers: NDArray[np.int32]) -> NDArray[np.bool_]:
        """What a question finds about parts of a column, asked once about each; False for -1, which is none."""
        answers: NDArray[np.uint8] | None = self.caches.get((ask, column))
        if answers is None:
            answers = self.caches[ask, column] = np.zeros(MOST, dtype=np.uint8)
        found = answers[numbers]
        new = numbers[(found == UNKNOWN) & (numbers >= 0)]
        if len(new):
            known = self.words[column].known
            for part in set(new.tolist()):
                answers[part] = YES if ask(known[part]) else NO
            found = answers[numbers]
        return (found == YES) & (numbers >= 0)


_own: Final = local()  # tables are filled by one thread


def parts_for(rows: int, size: int) -> Parts | None:
    """Tables with room for the parts of so many rows in so many bytes; None if not even new ones have it."""
    found: Parts | None = _own.__dict__.get("parts")
    if found is None or not all(words.room(rows, size) for words in found.words):
        found = Parts()
        if not all(words.room(rows, size) for words in found.words):
            return None
        _own.parts = found
    return found
