"""The bodies of a block's rows, all in one piece of memory: stripped and searched together, once for all consumers.

Most have nothing but managedFields to lose, and never become objects of Python. What asks for a closer look is stripped, searched
and redacted by the code that does so for events.
"""

from __future__ import annotations

from threading import local
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from transforms.audit.body_scan import VARIABLES, scan_bodies
from transforms.audit.event import Event
from transforms.audit.managed_fields import places_of_needle, strip_managed_fields
from transforms.audit.needles import judge_variable
from transforms.audit.parts import json_text
from transforms.audit.rows.columns import CUTS, MASKED, PLACE_CUT, PLACE_CUTS
from transforms.audit.rows.kernels import kernels
from transforms.audit.rows.words import Words

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from transforms.audit.event import Reduction

    Longs = NDArray[np.int64]

REQUEST, RESPONSE = 0, 1
_NAMES: Final = ("requestObject", "responseObject")
_RAW, _STRIPPED, _REDACTED, _WITHHELD = range(4)
_own: Final = local()  # tables are filled by one thread


class Bodies:
    """Bodies by number: twice the row's in its block, and REQUEST or RESPONSE.

    Args:
        data: the bytes of the lines.
        spans: where in these the bodies begin and end, by number; alike for none.
    """

    def __init__(self, data: bytes, spans: Longs) -> None:
        self.spans = spans
        self._data = data
        self._texts: dict[bool, Texts] = {}

    def texts(self, *, strips: bool) -> Texts:
        """The bodies with or without managedFields."""
        found = self._texts.get(strips)
        if found is None:
            found = self._texts[strips] = Texts(self._data, self.spans, strips=strips)
        return found


class Texts:
    """The bodies as they will be written.

    Attributes:
        pool: where they lie, one after another as they were worked on.
        spans: by body, where it begins and ends there.
        cuts: by body, what was masked and what was cut: its kind in `CUTS`, how often, bytes. Or it is among the `reductions`, with
            what else was.
    """

    def __init__(self, data: bytes, spans: Longs, *, strips: bool) -> None:
        self._data = data
        self._raw = spans
        self._strips = strips
        self._hits: Longs | None = None
        self._used = 0
        self._state = np.full(len(spans), _RAW, dtype=np.uint8)
        self.pool = np.empty(0, dtype=np.uint8)
        self.spans = np.zeros((len(spans), 2), dtype=np.int64)
        self.cuts = np.zeros((len(spans), 2, 3), dtype=np.int64)
        self.reductions: dict[int, list[Reduction]] = {}

    def strip(self, which: Longs) -> None:
        """Take managedFields out of some bodies, in order, unless that is done."""
        which = which[self._state[which] == _RAW]
        if not len(which):
            return
        spans = self._raw[which]
        self._make_room(int((spans[:, 1] - spans[:, 0]).sum()))
        places, cuts = np.empty((len(which), 2), dtype=np.int64), np.empty((len(which), 3), dtype=np.int64)
        odd = np.empty(len(which), dtype=np.uint8)
        if self._hits is None:  # where the name ends, anywhere in the lines
            self._hits = np.sort(np.array(places_of_needle(self._data) if self._strips else (), dtype=np.int64))
        kernels().cut_bodies(np.frombuffer(self._data, dtype=np.uint8), spans, self._hits, self.pool[self._used :], places, cuts, odd)
        self.spans[which] = places + self._used
        self._used += int(places[:, 1].max())
        cuts[cuts[:, 1] > 0, 0] += PLACE_CUT
        cuts[:, 0] += PLACE_CUTS * (which & 1) * (cuts[:, 1] > 0)
        self.cuts[which, 1] = cuts
        self._state[which] = _STRIPPED
        for body in which[odd > 0].tolist():
            start, end = self._raw[body].tolist()
            event = _event(body, self._data[start:end])
            strip_managed_fields(event)
            self._put(body, bytes(getattr(event, _NAMES[body & 1])))
            self._note(body, event)

    def redact(self, which: Longs, closer: NDArray[np.bool_], redact: Callable[[Event, int], None]) -> None:
        """Redact some stripped bodies, unless that is done: `redact(event, body)` those of `closer`, and others that ask for it.

        An event that is flagged then, or that raises, is withheld.
        """
        left = self._state[which] == _STRIPPED
        which = which[left]
        if not len(which):
            return
        closer = closer[left]
        order = np.argsort(self.spans[which, 0], kind="stable")
        which, closer = which[order], closer[order]
        self._look(which, closer)
        self._state[which] = _REDACTED
        for body in which[closer].tolist():
            text = self.text(body)
            event = _event(body, text)
            event.reductions = self.reductions_of(body) or None  # type: ignore[assignment]
            try:
                redact(event, body)
            except Exception:  # noqa: BLE001 - the whole event is withheld
                self._state[body] = _WITHHELD
                continue
            if event.flags is not None:
                self._state[body] = _WITHHELD
                continue
            redacted = bytes(getattr(event, _NAMES[body & 1]))
            if redacted != text:
                self._put(body, redacted)
            if event.reductions is not None and event.reductions != self.reductions_of(body):
                self._note(body, event)

    def withheld(self, which: Longs) -> NDArray[np.bool_]:
        """Which of some bodies nobody may see."""
        return self._state[which] == _WITHHELD

    def compact(self, which: Longs) -> None:
        """Take insignificant white space out of some bodies."""
        loose = np.zeros(len(which), dtype=np.uint8)
        kernels().find_space(self.pool, self.spans[which], loose)
        for body in which[loose > 0].tolist():
            text = self.text(body)
            dense = json_text(text)
            if dense != text:
                self._put(body, dense)

    def text(self, body: int) -> bytes:
        """A body as it is now."""
        start, end = self.spans[body].tolist()
        return self.pool[start:end].tobytes()

    def reductions_of(self, body: int) -> list[Reduction]:
        """All that was cut from a body."""
        if body in self.reductions:
            return list(self.reductions[body])
        return [(*CUTS[kind], count, size) for kind, count, size in self.cuts[body].tolist() if kind]

    def _look(self, which: Longs, closer: NDArray[np.bool_]) -> None:
        """Add to `closer` those of the bodies, in order of place, that something in their bytes speaks of; mask variables in others."""
        spans = self.spans[which]
        first, last = int(spans[0, 0]), int(spans[-1, 1])
        found = scan_bodies.places(memoryview(self.pool[first:last]))  # type: ignore[arg-type]
        if found is None:
            closer[:] = True
            return
        numbers, ends = found
        order = np.argsort(ends, kind="stable")
        numbers, ends = numbers[order], ends[order] + first
        bodies = np.searchsorted(spans[:, 0], ends - 1, side="right") - 1
        within = (bodies >= 0) & (ends <= spans[bodies, 1])
        numbers, ends, bodies = numbers[within], ends[within], bodies[within]
        variables = numbers == VARIABLES
        closer[bodies[~variables]] = True
        runs = np.zeros(len(spans), dtype=np.uint8)
        kernels().find_runs(self.pool, spans, runs)
        closer |= runs > 0
        variables &= ~closer[bodies]
        ends, bodies = ends[variables], bodies[variables]
        if not len(ends):
            return
        pairs = np.empty((len(ends), 2), dtype=np.int64)
        kernels().find_pairs(self.pool, ends, np.ascontiguousarray(spans[bodies]), pairs)
        words = _variables_for(len(pairs), int((pairs[:, 1] - pairs[:, 0]).sum()))
        if words is None:
            closer[bodies] = True
            return
        parts = words.number_spans(self.pool, pairs)
        closer[bodies[(parts < 0) | ~words.plain[parts]]] = True
        closer[bodies[1:][pairs[1:, 0] < pairs[:-1, 1]]] = True  # none of them overlap, or a search finds out why
        masked = ~closer[bodies] & (words.places[parts, 1] > words.places[parts, 0])
        if masked.any():
            bodies, of = np.unique(bodies[masked], return_inverse=True)
            self._mask(which[bodies], of, pairs[masked], parts[masked], words)

    def _mask(self, which: Longs, of: Longs, pairs: Longs, found: NDArray[np.int32], words: Words) -> None:
        """Put what stands for them in place of `pairs`, in order, each in a body `of` these."""
        spans = self.spans[which]
        sizes = words.places[found]
        self._make_room(int((spans[:, 1] - spans[:, 0]).sum()) + int((sizes[:, 1] - sizes[:, 0]).sum()))
        places, cuts = np.empty((len(which), 2), dtype=np.int64), np.empty((len(which), 2), dtype=np.int64)
        out = self.pool[self._used :]
        kernels().mask_pairs(self.pool, spans, pairs, of, found, words.encoded, words.places, out, places, cuts)
        self.spans[which] = places + self._used
        self._used += int(places[-1, 1])
        self.cuts[which, 0, 0] = MASKED + (which & 1)
        self.cuts[which, 0, 1:] = cuts
        for body in which.tolist():
            if body in self.reductions:
                kind, count, size = self.cuts[body, 0].tolist()
                self.reductions[body] = [*self.reductions[body], (*CUTS[kind], count, size)]
                self.cuts[body] = 0

    def _put(self, body: int, text: bytes) -> None:
        self._make_room(len(text))
        start, self._used = self._used, self._used + len(text)
        self.pool[start : self._used] = np.frombuffer(text, dtype=np.uint8)
        self.spans[body] = start, self._used

    def _note(self, body: int, event: Event) -> None:
        if event.reductions is not None:
            self.reductions[body] = event.reductions
            self.cuts[body] = 0

    def _make_room(self, size: int) -> None:
        needed = self._used + size
        if needed > len(self.pool):
            pool = np.empty(needed + (needed >> 2), dtype=np.uint8)  # what is not used takes no memory
            pool[: self._used] = self.pool[: self._used]
            self.pool = pool


def _event(body: int, text: bytes) -> Event:
    return Event(responseObject=text) if body & 1 else Event(requestObject=text)  # type: ignore[arg-type]


def _judged(pair: bytes) -> tuple[bytes, Any] | None:
    """What stands for a variable after the bytes of its value, as `mask_pairs` takes it; nothing for an innocent one."""
    try:
        masked = judge_variable(pair)
    except Exception:  # noqa: BLE001 - what cannot be judged is searched for, event by event, and withheld there
        return None
    if masked is None:
        return None
    text, size = masked
    return (size.to_bytes(4, "little") + text if size else b"", None)


def _variables_for(count: int, size: int) -> Words | None:
    """A table with room for so many environment variables in so many bytes, in which those are plain that need no search."""
    found: Words | None = _own.__dict__.get("variables")
    if found is None or not found.room(count, size):
        found = Words(_judged)
        if not found.room(count, size):
            return None
        _own.variables = found
    return found
