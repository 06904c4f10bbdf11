"""Find the credentials that only their column names: lines of separated values under a header, and SQL that inserts or copies rows."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from transforms.audit.credential_names import sensitive_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_SEPARATORS: Final = ",;\t|"
_LONGEST_HEADER: Final = 4000
# A column is called by a word or two; a sentence that mentions a password is no header.
_HEADING: Final = re.compile(r"[\w.\-]{1,40}(?: [\w.\-]{1,40})?")
_CELLS: Final = {separator: re.compile(rf'[ ]*"(?:[^"]|"")*"[ ]*|[^{re.escape(separator)}]+') for separator in _SEPARATORS}
_COPY: Final = re.compile(r"\s{0,99}COPY\s{1,9}[^\s(]{1,130}\s{0,9}\(([^()]{1,2000})\)\s{1,9}FROM\s{1,9}stdin\b", re.IGNORECASE)
_INSERT: Final = re.compile(
    r"\b(?:insert|replace)\s{1,9}(?:\w{1,20}\s{1,9})?into\s{1,9}[^\s(]{1,130}\s{0,99}\(([^()]{1,2000})\)\s{0,99}values?\b", re.IGNORECASE
)
_TOKEN: Final = re.compile(r"'(?:[^'\\]|''|\\.)*'?|\"(?:[^\"\\]|\\.)*\"?|[(),]|\s+|[^'\"(),\s]+", re.DOTALL)


def mask_columns(text: str, low: str, stand_in: Callable[[str], str]) -> str:
    """The text with what stands in credentials' columns replaced by what `stand_in` gives for it; `low` is it in lower case."""
    if "\n" in text:
        text = _under_header(text, stand_in)
        if "copy" in low and "stdin" in low:
            text = _copied(text, stand_in)
    inserts = ("insert" in low or "replace" in low) and "into" in low and "value" in low
    return _inserted(text, stand_in) if inserts else text


def _under_header(text: str, stand_in: Callable[[str], str]) -> str:
    start = 0
    while text[start : start + 1] in ("#", "\n", "\r"):  # remarks and empty lines
        start = text.find("\n", start) + 1
        if not start:
            return text
    end = text.find("\n", start)
    header = text[start:end]
    if end < 0 or end - start > _LONGEST_HEADER or not (separator := next(filter(header.__contains__, _SEPARATORS), "")):
        return text
    headings = _split(header.rstrip("\r"), separator)
    wanted = _headed(headings, separator)
    if not wanted:
        return text
    lines = text[end + 1 :].split("\n")
    return text[: end + 1] + "\n".join(_row(line, separator, len(headings), wanted, stand_in) for line in lines)


def _headed(headings: list[str], separator: str) -> set[int]:
    """The columns of credentials, if these are headings."""
    names = [heading.strip().strip('"').replace("\\", "") for heading in headings]
    if separator == "|":  # Markdown draws borders
        named = [name for name in names if name]
    else:
        # After a comma of a sentence stands a space; a header's has none, unless each is one word.
        named = names if not any(heading.startswith(" ") for heading in headings[1:]) or not any(" " in name for name in names) else []
    if len(named) < 2 or not all(map(_HEADING.fullmatch, named)):
        return set()
    return {at for at, name in enumerate(names) if sensitive_key(name)}


def _split(line: str, separator: str) -> list[str]:
    """The cells of a line; together with the separators they are the line."""
    if '"' not in line:
        return line.split(separator)
    cells, at, pattern = [], 0, _CELLS[separator]
    while True:
        found = pattern.match(line, at)
        end = found.end() if found else at
        if line[end : end + 1] not in ("", separator):  # a quote in the midst of a cell
            end = line.find(separator, end)
            end = len(line) if end < 0 else end
        cells.append(line[at:end])
        if end == len(line):
            return cells
        at = end + 1


def _row(line: str, separator: str, width: int, wanted: set[int], stand_in: Callable[[str], str]) -> str:
    if line.count(separator) < width - 1:
        return line
    cells = _split(line, separator)
    if len(cells) != width:
        return line
    for at in wanted:
        bare = cells[at].strip()
        value = bare[1:-1] if bare[:1] == bare[-1:] == '"' and len(bare) > 1 else bare
        if value and value != "\\N" and not set(value) <= {"-", ":"}:  # nothing, a null, or what rules a table
            before, _, after = cells[at].partition(value)
            cells[at] = before + stand_in(value) + after
    return separator.join(cells)


def _copied(text: str, stand_in: Callable[[str], str]) -> str:
    """What `COPY … FROM stdin` is fed (PostgreSQL's dumps), to the line that ends it."""
    lines, names, wanted = text.split("\n"), [""], set[int]()
    for at, line in enumerate(lines):
        if found := _COPY.match(line):
            names = found[1].split(",")
            wanted = _secret(names)
        elif line.startswith("\\."):
            wanted = set()
        elif wanted:
            lines[at] = _row(line, "\t", len(names), wanted, stand_in)
    return "\n".join(lines)


def _secret(names: list[str]) -> set[int]:
    return {at for at, name in enumerate(names) if sensitive_key(name.strip('`"[]\\ \t\r\n'))}


def _inserted(text: str, stand_in: Callable[[str], str]) -> str:
    out, done, found = [], 0, _INSERT.search(text)
    while found:
        end = found.end()
        for token, secret in _literals(text, end, _secret(found[1].split(","))):
            start, end = token.span()
            if secret:
                closed = end - 1 if text[end - 1] == text[start] else end
                out += [text[done : start + 1], stand_in(text[start + 1 : closed])]
                done = closed
        found = _INSERT.search(text, end)
    return "".join(out) + text[done:] if out else text


def _literals(text: str, at: int, wanted: set[int]) -> Iterator[tuple[re.Match[str], bool]]:
    """The tokens of the rows after VALUES: each, and whether it is the first string of a credential's column."""
    depth = column = 0
    told = False
    while found := _TOKEN.match(text, at):
        token = found[0]
        if token == "(":
            depth += 1
            column, told = (0, False) if depth == 1 else (column, told)
        elif token == ")":
            depth -= 1
        elif token == ",":
            column, told = (column + 1, False) if depth == 1 else (column, told)
        elif depth < 1 and not token.isspace():
            return
        if depth < 0:
            return
        secret = token[0] in "'\"" and not told and column in wanted and len(token) > 2
        told = told or secret
        at = found.end()
        yield found, secret
