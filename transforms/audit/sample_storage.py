"""Sample what is stored: a part of the input, compressed after each step, tells what the step saves on disk."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import UNSET

from transforms.audit import avro
from transforms.audit.account import Account
from transforms.audit.apply_policy import apply_policy
from transforms.audit.event import ABSENT, EARLY_STAGES, FINAL_STAGES, Event
from transforms.audit.parse_events import parse_events
from transforms.audit.reduce_split import redact_block, strip_block
from transforms.audit.times import micros

if TYPE_CHECKING:
    from transforms.audit.block import RawBlock
    from transforms.audit.settings import Compiled

SHARE: Final = 64  # one byte in so many is sampled,
FIRST_SHARE: Final = 8  # of small inputs more, for the sake of the number's worth
FIRST: Final = 8 << 20
STRETCH: Final = 2 << 20  # bytes that are compressed together, as much as an Avro block may hold
STEPS: Final = ("captured", "policy", "managedFields", "redaction", "merged", "folded")


class StorageSample:
    """Sizes of the sample: `sizes["raw"]` bytes of JSON, and by step what they take compressed after it, also as JSON."""

    def __init__(self, compiled: Compiled) -> None:
        self.sizes: Counter[str] = Counter()
        self._compiled = compiled
        self._lines: dict[str, list[bytes]] = {step: [] for step in STEPS}
        self._seen = self._taken = self._begun = 0

    def see(self, block: RawBlock) -> None:
        """Take the block if it is one of the sample; parses it on its own."""
        size = len(block.data) or sum(len(raw or b"") for _, _, raw, _ in block.items or ())
        if self._begun or self._taken * (FIRST_SHARE if self._taken < FIRST else SHARE) <= self._seen:
            self._take(block)
            self._begun += size
            self._taken += size
            if self._begun >= STRETCH or block.last:
                self._compress()
        self._seen += size

    def _take(self, block: RawBlock) -> None:
        """A block's events as lines after each step, to tell what the steps save of what is stored."""
        compiled, lines = self._compiled, self._lines
        parsed = parse_events(msgspec.structs.replace(block, account=Account(0, 0)), compiled.key)
        self.sizes["raw"] += sum(event.size or 0 for event in parsed.events)
        lines["captured"] += map(_line, parsed.events)
        # Their accounts are thrown away: the same events are counted where they are surveyed.
        apply_policy(compiled.policy, parsed)
        lines["policy"] += map(_line, parsed.events)
        strip_block(parsed, keep=compiled.settings.keep_managed_fields)
        lines["managedFields"] += map(_line, parsed.events)
        redact_block(compiled, parsed)
        lines["redaction"] += map(_line, parsed.events)
        events = parsed.events
        if compiled.settings.merge:
            ended = {event.auditID for event in events if event.stage in FINAL_STAGES}
            events = [event for event in events if event.stage not in EARLY_STAGES or event.auditID not in ended]
        lines["merged"] += map(_line, events)
        if compiled.settings.fold:
            for event in events:
                event.moment = compiled.believable(micros(event.stageTimestamp))  # type: ignore[assignment]
            classified = [(event, *compiled.read_guard.classify(event)) for event in events]
            events = [event for event, read, _, guard in classified if read is None or guard is not None]
        lines["folded"] += map(_line, events)

    def _compress(self) -> None:
        self._begun = 0
        for step, lines in self._lines.items():
            if lines:
                self.sizes[step] += len(avro.compress(b"\n".join(lines)))
                lines.clear()


_PARTS: Final = Event.__struct_fields__[:19]  # the fields that come from input
_quoted: Final = msgspec.json.encode


def _line(event: Event) -> bytes:
    """The event as JSON."""
    parts = []
    for name in _PARTS:
        value = getattr(event, name)
        if value is not UNSET and value is not ABSENT and len(value):
            parts.append(b'"%s":%s' % (name.encode(), _quoted(value) if isinstance(value, str) else bytes(value)))
    return b"{%s}" % b",".join(parts)
