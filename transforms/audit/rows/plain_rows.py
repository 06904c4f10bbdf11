"""The plain requests of a block as rows: a final event alone or with its first stage merged, nothing odd about either.

A row has its parts by number (`parts`) and becomes an event again only where a step finds something to do that rows are not made
for. What rows become is, byte for byte, what their events would.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np

from transforms.audit.audit_ids import hash_rows
from transforms.audit.event import LONG_RUNNING_SUBRESOURCES, LONG_RUNNING_VERBS, Event
from transforms.audit.fresh_stack import on_fresh_stack
from transforms.audit.policy import cut
from transforms.audit.rows.bodies import REQUEST, RESPONSE, Bodies
from transforms.audit.rows.columns import (
    ALONE,
    CUTS,
    END,
    ID,
    ID_LENGTH,
    LEVEL_CUT,
    LEVELS,
    REFERENCE,
    REFERENCE_END,
    START,
    TIME_LENGTH,
    TIMES,
)
from transforms.audit.rows.parts import OF_CALLER, OF_NOTES, OF_REFERENCE, OF_STATUS, OF_URI, OF_VERB, Parts

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from transforms.audit.account import Account
    from transforms.audit.event import Reduction
    from transforms.audit.policy import Decision
    from transforms.audit.rows.parts import Reference

_ID: Final = np.arange(ID_LENGTH)
_decode = msgspec.json.Decoder(Event).decode


@dataclass(slots=True)
class Rows:
    """Rows of one block.

    Attributes:
      data: the bytes of the lines.
      origins: by line, the offset of its record in the stream, and its index in that.
      lines: where the parts of each line are (`scan_lines`); `moments` when it was received and reached its stage.
      chosen: by row, its final line; `partners` its first line, or ALONE.
      first_moments: by row, when the first stage that is merged into it was reached, -1 where none is; `first_sizes` of that, bytes
        of JSON.
      waited: by the number of their final lines, the first stages that came in an earlier block.
      numbers: by row and column, its parts in `parts`.
      levels: by row, the number of its level; `rules` of the policy's rule, -1 where there is none.
      bodies: of all rows of the block, for all consumers; `of` is by row its number there, `has` whether it has a request and a
        response, `lowered` how many bytes of each the policy left out, `stripped` whether managedFields go.
      digests: by line, that of its record, as far as `digested` says (`encode_rows`): for all consumers.
      asked: by row, the number of what it asks for (`ask_rows`), once a policy wants to know.
      decision_of: by row, which of the policy's `decisions`, if there is one.
      objects: by row, the number among `object_keys` of the object it is about, once somebody has asked.
      hashes: by row, of the audit IDs (`audit_ids`), once somebody has asked.
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
    waited: dict[int, Event]
    digests: NDArray[np.uint8]
    digested: NDArray[np.uint8]
    asked: NDArray[np.int64] | None = None
    decision_of: NDArray[np.int64] | None = None
    decisions: Sequence[Decision] = ()
    objects: NDArray[np.int32] | None = None
    object_keys: Sequence[Any] = ()
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
            asked=None if self.asked is None else self.asked[left],
            decision_of=None if self.decision_of is None else self.decision_of[left],
            objects=None if self.objects is None else self.objects[left],
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
        self.waited[int(self.chosen[place])] = first
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
        line = int(self.chosen[place])
        if line in self.waited:
            return self.waited[line], self._line(line)
        partner = int(self.partners[place])
        return self._line(partner) if partner >= 0 else None, self._line(line)

    def decided(self, place: int) -> tuple[Event | None, Event]:
        """The events of a row, as the policy cuts them."""
        both = self.event(place)
        if self.decision_of is not None:
            decision = self.decisions[int(self.decision_of[place])]
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
