r"""A line of Docker's json-file driver: `{"log": "…\n", "stream": "stdout", "time": "…"}`, with `attrs` if so configured.

Docker cuts lines at 16 KiB (moby `daemon/logger/copier.go`); of the pieces only the last ends in a line feed. The joiner puts
them together: a piece that comes here has lost its others. Fluent Bit's parser of CRI logs writes the same members, with a
`logtag` of `P` for a piece. A line of which a shipper cut the line feed off is whole where it is JSON.
"""

from __future__ import annotations

from typing import Final

import msgspec

from transforms.audit.envelopes.inner import Inner
from transforms.audit.members import Members, unreadable

ORDER = 70
FIELDS = ("stream",)
OPENS = ("log", "stream", "time", "attrs", "logtag")
PIECE: Final = 16 << 10  # bytes


class Line(msgspec.Struct, gc=False, forbid_unknown_fields=True, omit_defaults=True):
    """One line of such a file."""

    log: str
    stream: str
    time: str
    attrs: msgspec.Raw = msgspec.Raw()
    logtag: str = ""


_decode_line: Final = msgspec.json.Decoder(Line).decode
_reads: Final = msgspec.json.Decoder(msgspec.Raw).decode


def line_of(record: bytes) -> Line | None:
    """The line that the record is; None where it is anything else."""
    try:
        return _decode_line(record)
    except unreadable:
        return None


def goes_on(line: Line) -> bool:
    """Whether more of the same line must follow."""
    if line.logtag:
        return line.logtag.startswith("P")
    return not line.log.endswith("\n") and len(line.log.encode()) >= PIECE


def is_piece(line: Line) -> bool:
    """Whether a line that follows no piece is one, of which more must follow."""
    return goes_on(line) and (bool(line.logtag) or not _is_json(line.log))


def is_whole(line: Line) -> bool:
    """Whether a line that follows pieces is none of them: it is JSON by itself, and Docker would have ended it."""
    return not line.logtag and not line.log.endswith("\n") and not goes_on(line) and _is_json(line.log)


def _is_json(text: str) -> bool:
    try:
        _reads(text)
    except unreadable:
        return False
    return True


def unwrap_whole(record: bytes) -> list[Inner] | None:
    """What the line holds."""
    line = line_of(record)
    if line is None:
        return None
    if is_piece(line):
        return [Inner(record, code="INCOMPLETE_RECORD", message="a piece of a line, the rest is missing")]
    return [Inner(line.log.encode())] if line.log.strip() else []  # a blank line


def unwrap(fields: Members) -> list[Inner] | None:
    """As `unwrap_whole`, whatever the line begins with."""
    known = Line.__struct_fields__
    if not fields.keys() <= set(known) or "log" not in fields:
        return None
    return unwrap_whole(b"{" + b",".join(b'"%s":%s' % (name.encode(), bytes(fields[name])) for name in known if name in fields) + b"}")
