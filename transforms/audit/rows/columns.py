"""What is known of lines and rows, by column, and what its numbers mean."""

from __future__ import annotations

from typing import Final

# Columns of what is found of a line: positions in the block, ends exclusive, 0 for what the line lacks.
START, END, KIND, LEVEL, ID, URI, URI_END, VERB_END, CALLER, CALLER_END = range(10)
REFERENCE, REFERENCE_END, VERSION, VERSION_END, STATUS, STATUS_END, BODIES, BODIES_END, TIMES, NOTES, NOTES_END = range(10, 21)
VERB, READ = 21, 22  # where the verb begins; its number, if it is a read's
NAME, NAME_END, UID, UID_END = 23, 24, 25, 26  # of the object, as is its version
COLUMNS: Final = 27
ODD, EARLY, FINAL = 0, 1, 2
LEVELS: Final = ("Metadata", "Request", "RequestResponse")
READS: Final = (None, "get", "list", "watch")
ID_LENGTH: Final = 36
TIME_LENGTH: Final = 27
DIGEST_LENGTH: Final = 16
REACHED_AFTER: Final = TIME_LENGTH + len('","stageTimestamp":"')  # from the beginning of the first time to that of the second
# What a line is in pairs: a final line with the first line of that number, or alone; or no request of its own.
ALONE, NO_ROW = -1, -2
# State of a table of parts, and what is known of one.
COUNT, USED = 0, 1
UNKNOWN, YES, NO = 0, 1, 2
# What is found of a line's bodies; letters that may encode something, and bytes without a quote that nobody searches at once.
NO_BODIES, HIGH = 1, 2
RUN_LENGTH: Final = 48
FAR: Final = 4096
# What was cut from a body, in the order in which records list it (`record.marks_part`); 0 is nothing.
_PLACES: Final = ("items", "metadata", "patch", "rows")
_BODIES: Final = ("/requestObject", "/responseObject")
CUTS: Final = (
    ("", ""),
    *((kind, body) for kind in ("credential", "level") for body in _BODIES),
    *(("managedFields", f"{body}/{place}") for body in _BODIES for place in _PLACES),
)
MASKED, LEVEL_CUT, PLACE_CUT = 1, 3, 5  # of a request; of a response one more, and as many more as there are places
PLACE_CUTS: Final = len(_PLACES)
