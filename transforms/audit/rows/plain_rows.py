"""The plain requests of a block as rows: a final event alone or with its first stage merged, nothing odd about either.

A row has its parts by number (`parts`) and becomes an event again only where a step finds something to do that rows are not made
for. What rows become is, byte for byte, what their events would.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np
from msgspec import Raw

from transforms.audit.audit_ids import hash_rows
from transforms.audit.event import LONG_RUNNING_SUBRESOURCES, LONG_RUNNING_VERBS, Event
from transforms.audit.fresh_stack import on_fresh_stack
from transforms.audit.policy import cut
from transforms.audit.rows.bodies import REQUEST, RESPONSE, Bodies
from transforms.audit.rows.columns import (
    ALONE,
    BODIES,
    BODIES_END,
    COLUMNS,
    CUTS,
    DIGEST_LENGTH,
    END,
    HIGH,
    ID,
    ID_LENGTH,
    LEVEL,
    LEVEL_CUT,
    LEVELS,
    NO_BODIES,
    NO_ROW,
    REFERENCE,
    REFERENCE_END,
    START,
    TIME_LENGTH,
    TIMES,
)
from transforms.audit.rows.kernels import kernels
from transforms.audit.rows.parts import OF_CALLER, OF_NOTES, OF_REFERENCE, OF_STATUS, OF_URI, OF_VERB, Parts, parts_for

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from transforms.audit.account import Account
    from transforms.audit.block import RawBlock
    from transforms.audit.event import Reduction
    from transforms.audit.policy import Decision
    from transforms.audit.rows.parts import Reference

_FEW: Final = 8  # lines are not worth it
_SHORT: Final = 128  # bytes a line: mostly no events, of which columns would take more memory than the lines
_LARGE: Final = 1 << 30  # bytes: columns hold positions as 32 bits
_SEED: Final = np.uint64(secrets.randbits(64))
_ID: Final = np.arange(ID_LENGTH)
_decode = msgspec.json.Decoder(Event).decode
_errors: Final = (msgspec.MsgspecError, UnicodeError, RecursionError)


_skip = msgspec.json.Decoder(Raw).decode


@dataclass(slots=True)
class Rows:
    """Rows of one block.

    Attributes:
      data: the bytes of the lines.
      origins: by line, the offset of its record in the stream, and its index in that.
      lines: where the parts of each line are (`scan_lines`); `moments` when it was received and reached its stage.
      chosen: by row, its final line; `partners` its first line, or ALONE.
      first_moments: by row, when the first stage that is merged into it was reached, -1 where none is; `first_sizes` of that, bytes
        of JSON; `waited` that first stage, where it came in an earlier block.
      numbers: by row and column, its parts in `parts`.
      levels: by row, the number of its level; `rules` of the policy's rule, -1 where there is none.
      bodies: of all rows of the block, for all consumers; `of` is by row its number there, `has` whether it has a request and a
        response, `lowered` how many bytes of each the policy left out, `stripped` whether managedFields go.
      digests: by line, that of its record, as far as `digested` says (`encode_rows`): for all consumers.
      asked: by row, the number of what it asks for (`ask_rows`), once a policy wants to know.
      decisions: by row, the policy's, if there is one; `hashes` of their audit IDs (`audit_ids`), once they are settled.
      cluster: that the events' envelope names.
    """

    data: bytes
    origins: NDArray[np.int64]
    lines: NDArray[np.int32]
    moments: NDArray[np.int64]
    chosen: NDArray[np.int64]
    partners: NDArray[np.int32]
    first_moments: NDArray[np.int64]
    first_sizes: NDArray[np.int64]
    numbers: NDArray[np.int32]
    parts: Parts
    account: Account
    levels: NDArray[np.int32]
    rules: NDArray[np.int32]
    bodies: Bodies
    of: NDArray[np.int64]
    has: NDArray[np.bool_]
    lowered: NDArray[np.int64]
    stripped: NDArray[np.bool_]
    waited: list[Event | None]
    digests: NDArray[np.uint8]
    digested: NDArray[np.uint8]
    asked: NDArray[np.int64] | None = None
    decisions: list[Decision] | None = None
    hashes: NDArray[np.uint64] | None = None
    cluster: str | None = None

    def __len__(self) -> int:
        return len(self.chosen)

    @property
    def events(self) -> int:
        """How many events the rows are."""
        return len(self.chosen) + int((self.partners >= 0).sum())

    def take(self, mask: NDArray[np.bool_], *, copied: bool = False) -> Rows:
        """The rows that the mask names; `copied` if they are to be changed and these are not."""
        if not copied and mask.all():
            return self
        left = np.flatnonzero(mask)
        places = left.tolist()
        return replace(
            self,
            chosen=self.chosen[left],
            partners=self.partners[left],
            first_moments=self.first_moments[left],
            first_sizes=self.first_sizes[left],
            numbers=self.numbers[left],
            levels=self.levels[left],
            rules=self.rules[left],
            of=self.of[left],
            has=self.has[left],
            lowered=self.lowered[left],
            stripped=self.stripped[left],
            waited=[self.waited[at] for at in places],
            asked=None if self.asked is None else self.asked[left],
            decisions=None if self.decisions is None else [self.decisions[at] for at in places],
            hashes=None if self.hashes is None else self.hashes[left],
        )

    def sizes(self) -> NDArray[np.int64]:
        """Bytes of JSON of each row's final line."""
        lines = self.lines[self.chosen]
        return (lines[:, END] - lines[:, START]).astype(np.int64)

    @property
    def merged(self) -> NDArray[np.bool_]:
        """The rows that a first stage is merged into."""
        return self.first_moments >= 0

    def part_from_first(self, mask: NDArray[np.bool_]) -> None:
        """Leave the first stages of some rows out."""
        self.partners[mask] = ALONE
        self.first_moments[mask] = -1
        self.first_sizes[mask] = 0

    def merge_waited(self, place: int, first: Event, moment: int) -> None:
        """Merge a first stage that came in an earlier block."""
        self.waited[place] = first
        self.first_moments[place] = moment
        self.first_sizes[place] = first.size  # type: ignore[call-overload]

    def size(self, place: int) -> int:
        """Bytes of JSON of a row's final line."""
        line = self.chosen[place]
        return int(self.lines[line, END] - self.lines[line, START])

    def order(self, place: int) -> tuple[int, int, int]:
        """What decides which of two reads comes first: time, offset, item."""
        line = self.chosen[place]
        return int(self.moments[line, 1]), int(self.origins[line, 0]), int(self.origins[line, 1])

    def hashed(self, cluster: str) -> NDArray[np.uint64]:
        """The audit IDs as numbers (`audit_ids`)."""
        if self.hashes is None:
            self.hashes = hash_rows(cluster, self.ids())
        return self.hashes

    def ids(self) -> NDArray[np.uint8]:
        """The audit IDs, as rows of bytes."""
        data = np.frombuffer(self.data, dtype=np.uint8)
        return data[self.lines[self.chosen, ID][:, None] + _ID]

    def audit_ids(self, places: NDArray[np.int64] | list[int]) -> list[str]:
        """The audit IDs of some rows."""
        starts = self.lines[self.chosen[places], ID].tolist()
        data = self.data
        return [data[start : start + ID_LENGTH].decode() for start in starts]

    def known(self, column: int, place: int) -> Any:
        """What is known of a row's part."""
        return self.parts.known(column, int(self.numbers[place, column]))

    def _line(self, line: int) -> Event:
        start, end = int(self.lines[line, START]), int(self.lines[line, END])
        try:
            event = _decode(self.data[start:end])
        except RecursionError:  # here the stack is deeper than where the line was looked at
            event = on_fresh_stack(_decode, self.data[start:end])
        event.offset, event.item = self.origins[line].tolist()
        event.size, event.account, event.cluster = end - start, self.account, self.cluster  # type: ignore[assignment]
        return event

    def event(self, place: int) -> tuple[Event | None, Event]:
        """The events of a row as they were read, first stage and final one."""
        if self.waited[place] is not None:
            return self.waited[place], self._line(int(self.chosen[place]))
        partner = int(self.partners[place])
        return self._line(partner) if partner >= 0 else None, self._line(int(self.chosen[place]))

    def decided(self, place: int) -> tuple[Event | None, Event]:
        """The events of a row, as the policy cuts them."""
        both = self.event(place)
        if self.decisions is not None:
            decision = self.decisions[place]
            for event in both:
                if event is not None:
                    cut(event, decision)
                    event.rule = decision.rule  # type: ignore[assignment]
                    event.strips = decision.omit_managed_fields or None  # type: ignore[assignment]
        return both

    def merged_event(self, place: int) -> Event:
        """The event of a row with its first stage merged into it, as the policy cuts them."""
        early, final = self.decided(place)
        if early is not None:
            final.merged = [early]  # type: ignore[assignment]
        return final

    def final(self, place: int) -> Event:
        """The event of a row's final line, without status and bodies: what a first stage may repeat of it."""
        line = self.lines[self.chosen[place]]
        times, data = int(line[TIMES]), self.data
        event = self.probe(place)
        event.requestReceivedTimestamp = data[times : times + TIME_LENGTH].decode()
        event.objectRef = data[line[REFERENCE] : line[REFERENCE_END]]  # type: ignore[assignment]
        return event

    def numbers_of_bodies(self, mask: NDArray[np.bool_] | None = None) -> NDArray[np.int64]:
        """The bodies that some rows have, in the order of their lines."""
        has = self.has if mask is None else self.has & mask[:, None]
        return (2 * self.of[:, None] + (0, 1))[has]

    def reductions(self, place: int) -> list[Reduction]:
        """What was cut from a row's bodies."""
        found: list[Reduction] = []
        texts, first = self.bodies.texts(strips=bool(self.stripped[place])), 2 * int(self.of[place])
        for name in (REQUEST, RESPONSE):
            if self.has[place, name]:
                found += texts.reductions_of(first + name)
            elif self.lowered[place, name]:
                found.append((*CUTS[LEVEL_CUT + name], 1, int(self.lowered[place, name])))
        return found

    def long_running(self) -> NDArray[np.bool_]:
        """The rows whose request may have had a stage ResponseStarted."""
        return self.answers(_is_long_running_verb, OF_VERB) | self.answers(_is_long_running_part, OF_REFERENCE)

    def answers(self, ask: Callable[[Any], bool], column: int) -> NDArray[np.bool_]:
        """By row, what a question finds about its part, asked once about each; False where the part is lacking."""
        return self.parts.answers(ask, column, self.numbers[:, column])

    def request(self, place: int) -> Event:
        """An event with nothing but what a policy asks of it."""
        uri, caller, reference, *_, verb = self.numbers[place].tolist()
        words = self.parts.words
        return Event(
            requestURI=words[OF_URI].known[uri],
            verb=words[OF_VERB].known[verb],
            user=words[OF_CALLER].known[caller].user,
            objectRef=b"" if reference < 0 else words[OF_REFERENCE].known[reference].raw,  # type: ignore[arg-type]
        )

    def probe(self, place: int) -> Event:
        """An event with the row's parts, to ask what would become of such a one; it has no bodies, ID or times."""
        caller, reference = self.known(OF_CALLER, place), self.known(OF_REFERENCE, place)
        return Event(
            level=LEVELS[self.levels[place]],
            stage="ResponseComplete",
            requestURI=self.known(OF_URI, place),
            verb=self.known(OF_VERB, place),
            user=caller.user,
            sourceIPs=caller.sourceIPs,
            userAgent=caller.userAgent,
            objectRef=b"" if reference is None else reference.raw,  # type: ignore[arg-type]
            responseStatus=self.known(OF_STATUS, place),
            annotations=self.known(OF_NOTES, place) or b"",  # type: ignore[arg-type]
        )


def _is_long_running_verb(verb: str) -> bool:
    return verb in LONG_RUNNING_VERBS


def _is_long_running_part(reference: Reference) -> bool:
    return reference.subresource in LONG_RUNNING_SUBRESOURCES


def read_rows(block: RawBlock) -> tuple[Rows | None, list[tuple[int, int, bytes]] | None]:
    """The plain requests of a block of lines, and the other lines with (offset, item).

    No rows where few would be; and None for the lines where these are not worth columns, for they are few or short.
    """
    data = block.data
    most = len(data) // _SHORT
    ends = None if most < _FEW else _line_ends(data, most)
    if ends is None:
        return None, None
    if len(ends) > 1 and ends[-1] == ends[-2] + 1:
        ends = ends[:-1]
    origins = np.zeros((len(ends), 2), dtype=np.int64)
    origins[1:, 0] = ends[:-1] + 1
    origins[:, 0] += block.offset
    return _rows_of(data, ends, origins, block.account)


def _line_ends(data: bytes, most: int) -> NDArray[np.int64] | None:
    """Where lines end, the last of them with the data; None if there are more than `most`."""
    ends: list[int] = []
    append, find = ends.append, data.find
    at = find(b"\n")
    while at >= 0:
        append(at)
        at = find(b"\n", at + 1)
        if len(ends) > most:
            return None
    append(len(data))
    return np.array(ends, dtype=np.int64)


def read_rows_of_items(items: Sequence[tuple[int, int, bytes]], account: Account) -> tuple[Rows | None, list[tuple[int, int, bytes]]]:
    """The plain requests among records (offset, item, bytes), and the others."""
    data = b"\n".join([record for _, _, record in items])
    ends = _line_ends(data, len(items))
    if ends is not None and len(ends) == len(items):
        return _rows_of(data, ends, np.array([at[:2] for at in items], dtype=np.int64), account)
    # Some have line breaks of their own, as printed JSON has.
    several = [item for item in items if b"\n" in item[2]]
    rows, others = (
        read_rows_of_items([item for item in items if b"\n" not in item[2]], account) if len(several) < len(items) else (None, [])
    )
    return rows, sorted(others + several)


def _rows_of(
    data: bytes, ends: NDArray[np.int64], origins: NDArray[np.int64], account: Account
) -> tuple[Rows | None, list[tuple[int, int, bytes]]]:
    other = np.ones(len(ends), dtype=bool)
    if len(ends) < _FEW or not len(ends) * _SHORT < len(data) < _LARGE:
        return None, _lines(data, ends, origins, other)
    view = np.frombuffer(data, dtype=np.uint8)
    lines = np.zeros((len(ends), COLUMNS), dtype=np.int32)
    moments = np.empty((len(ends), 2), dtype=np.int64)
    partners = np.empty(len(ends), dtype=np.int32)
    compiled = kernels()
    compiled.scan_lines(view, ends, lines, moments)
    slots = np.full(1 << (2 * len(ends)).bit_length(), -1, dtype=np.int32)
    compiled.pair_lines(view, lines, _SEED, slots, partners)
    chosen = np.flatnonzero(partners > NO_ROW)
    found = lines[chosen]
    parts = parts_for(len(chosen), int((found[:, END] - found[:, START] - found[:, BODIES_END] + found[:, BODIES]).sum()))
    if parts is None:
        return None, _lines(data, ends, origins, other)
    numbers = np.empty((len(chosen), len(parts.words)), dtype=np.int32)
    plain = np.ones(len(chosen), dtype=bool)
    for column, (words, places) in enumerate(zip(parts.words, parts.places, strict=True)):
        numbers[:, column] = numbered = words.number(view, lines, chosen, places)
        plain &= words.plain[numbered] | (numbered < 0)
    spans = _bodies(data, lines, chosen, plain)
    paired = partners[chosen] >= 0
    rows = Rows(
        data=data,
        origins=origins,
        lines=lines,
        moments=moments,
        chosen=chosen,
        partners=partners[chosen],
        first_moments=np.where(paired, moments[partners[chosen], 1], -1),
        first_sizes=np.where(paired, (lines[:, END] - lines[:, START])[partners[chosen]], 0).astype(np.int64),
        numbers=numbers,
        parts=parts,
        account=account,
        levels=lines[chosen, LEVEL],
        rules=np.full(len(chosen), -1, dtype=np.int32),
        bodies=Bodies(data, spans.reshape(-1, 2)),
        of=np.arange(len(chosen), dtype=np.int64),
        has=spans[:, 1::2] > 0,
        lowered=np.zeros((len(chosen), 2), dtype=np.int64),
        stripped=np.zeros(len(chosen), dtype=bool),
        waited=[None] * len(chosen),
        digests=np.empty((len(lines), DIGEST_LENGTH), dtype=np.uint8),
        digested=np.zeros(len(lines), dtype=np.uint8),
    ).take(plain)
    other[rows.chosen] = False
    other[rows.partners[rows.partners != ALONE]] = False
    return rows, _lines(data, ends, origins, other)


def _lines(data: bytes, ends: NDArray[np.int64], origins: NDArray[np.int64], wanted: NDArray[np.bool_]) -> list[tuple[int, int, bytes]]:
    starts = np.concatenate([np.zeros(1, dtype=np.int64), ends[:-1] + 1])[wanted]
    spans = zip(origins[wanted].tolist(), starts.tolist(), ends[wanted].tolist(), strict=True)
    return [(offset, item, data[start:end]) for (offset, item), start, end in spans]


def _bodies(data: bytes, lines: NDArray[np.int32], chosen: NDArray[np.int64], plain: NDArray[np.bool_]) -> NDArray[np.int64]:
    """By row, where its request and its response begin and end. A row whose bodies are not valid JSON is no plain one."""
    spans = np.empty((len(chosen), 4), dtype=np.int64)
    states = np.empty(len(chosen), dtype=np.uint8)
    kernels().find_bodies(np.frombuffer(data, dtype=np.uint8), lines, chosen, spans, states)
    plain &= states != NO_BODIES
    with_bodies = np.flatnonzero(plain & (spans.any(axis=1)))
    view = memoryview(data)
    for place, span, state in zip(with_bodies.tolist(), spans[with_bodies].tolist(), states[with_bodies].tolist(), strict=True):
        request, request_end, response, response_end = span
        try:
            if request_end:
                _skip(view[request:request_end])
            if response_end:
                _skip(view[response:response_end])
            if state == HIGH:  # what the decoder skips it does not check
                data[request or response : response_end or request_end].decode()
        except _errors:
            plain[place] = False
    return spans
