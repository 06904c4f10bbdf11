"""Cut JSON documents into their items without holding, or parsing, a whole document.

An EventList or array may hold a million events, pretty-printed or not, and one file may hold many documents with nothing
between them (as Firehose writes them). Only brackets and strings are looked at here; whoever reads the items judges the
rest. What separates two items mostly separates the next two as well: that guess is a search of bytes, and it is proved
by reading the piece as JSON, for no JSON object is the beginning of another.
"""

from __future__ import annotations

from re import DOTALL
from re import compile as pattern
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable

ITEM_LIMIT: Final = 64 << 20
# Arrays whose elements stand for themselves, and arrays whose elements need what stands before the array.
STREAMED: Final = (b"items", b"records")
IN_CONTEXT: Final = (b"logEvents", b"resourceLogs", b"Records")
BROKEN: Final = "BROKEN_DOCUMENT"
TOO_LONG: Final = "ITEM_TOO_LONG"
_NAME_WINDOW: Final = 256
_MARK: Final = b'"auditID"'
_MARK_WITHIN: Final = 4096
_PREFIX_LIMIT: Final = 64 << 10

_STRING: Final = rb'"[^"\\\x00-\x1f]*+(?:\\.[^"\\\x00-\x1f]*+)*+"'
_FLAT: Final = rb'[^"{}\[\]]*+(?:' + _STRING + rb'[^"{}\[\]]*+)*+'
_STOP: Final = rb'([{}\[\]"]|\Z)'
# The next bracket, passing over objects (and arrays) with none inside; or the quote of a string that does not end; or the end.
_next_brackets: Final = pattern(_FLAT + rb"(?:[{\[]" + _FLAT + rb"[}\]]" + _FLAT + rb")*+" + _STOP, DOTALL).finditer
_next_brackets_and_lists: Final = pattern(_FLAT + rb"(?:\{" + _FLAT + rb"\}" + _FLAT + rb")*+" + _STOP, DOTALL).finditer
_string_so_far: Final = pattern(rb'"[^"\\\x00-\x1f]*+(?:\\.[^"\\\x00-\x1f]*+)*+', DOTALL).match
_rest_of_string: Final = pattern(rb'[^"\\\x00-\x1f]*+(?:\\.[^"\\\x00-\x1f]*+)*+', DOTALL).match
_LONGEST_WORD: Final = 64 << 10  # of what is neither string, object nor array
_scalar: Final = pattern(_STRING + rb'|[^\s,\[\]{}"]++', DOTALL).match
_space: Final = pattern(rb"[ \t\r\n]*+").match
_gap: Final = pattern(rb"(?:[ \t\r\n\x00\x1e,]|\xef\xbb\xbf)*+").match
_first_name: Final = pattern(rb'\{[ \t\r\n]*+"[^"\\]{0,64}"').match
_document_after_another: Final = pattern(rb"\}[ \t\r]*+\n(?=\{)").search
_reads: Final = msgspec.json.Decoder(msgspec.Raw).decode
_unreadable: Final = (msgspec.MsgspecError, UnicodeError, RecursionError)
_OBJECT, _END_OBJECT, _LIST, _END_LIST, _COMMA, _QUOTE = (ord(sign) for sign in '{}[],"')


class Item(NamedTuple):
    """An item of a document: where the document starts in the stream, which item, its bytes, and a code where it is none.

    An item that may hold several events says where it starts itself, as item 0. A document that is no list is one item.
    After a break `raw` is what stands between the last item and the break.
    """

    offset: int
    index: int  # type: ignore[assignment]
    raw: bytes | None
    code: str | None


class DocumentCutter:
    """Cuts a stream of JSON documents into items, whatever the chunks it comes in. Holds one item of at most `limit` bytes.

    A longer item is one `ITEM_TOO_LONG`. A document broken after n items gives these and one `BROKEN_DOCUMENT`; reading
    goes on where another document plainly starts.
    """

    def __init__(self, limit: int = ITEM_LIMIT, *, in_context: bool = False) -> None:
        self._limit = limit
        self._in_context = in_context  # each item is wrapped in what stands before the list
        names = b"|".join(IN_CONTEXT if in_context else STREAMED)
        self._opens_list = pattern(rb'[{,][ \t\r\n]*+"(?:' + names + rb')"[ \t\r\n]*+:[ \t\r\n]*+\Z').search
        self._data = b""
        self._base = 0  # offset of the data in the stream
        self._start = 0  # of the item or document at hand; what is before it is done with
        self._at = 0  # how far the data are scanned
        self._step: Callable[[], bool] = self._between
        self._offset = 0  # of the document
        self._index = 0
        self._depth = 0
        self._quoted = False  # the scan stands within a string
        self._fresh = False  # nothing of the item or document is scanned yet
        self._in_object = False  # the list is a member of an object
        self._listed = False  # the document has a list
        self._dropping = False  # the item or document is too long, and counted
        self._prefix = b""
        self._separators: dict[bool, tuple[bytes, int]] = {}
        self._last_end = -1
        self._out: list[Item] = []

    def feed(self, chunk: bytes) -> list[Item]:
        """The items that are complete with this chunk."""
        done = self._start
        self._data = self._data[done:] + chunk if done < len(self._data) else chunk
        self._base += done
        self._at -= done
        self._last_end -= done
        self._start = 0
        while self._step():
            pass
        if self._step in (self._document, self._item):
            self._bound()
        return self._taken()

    def close(self) -> list[Item]:
        """What the end of the stream leaves: nothing, or one `BROKEN_DOCUMENT`."""
        if self._step != self._resync and (self._step != self._between or self._at < len(self._data)):
            self._break(len(self._data))
        return self._taken()

    @property
    def in_list(self) -> bool:
        """Whether the stream stands within a list."""
        return self._step in (self._items, self._item, self._after_item)

    @property
    def listed(self) -> bool:
        """Whether the document that was last begun has a list."""
        return self._listed

    @property
    def in_document(self) -> bool:
        """Whether the stream stands within a document."""
        return self._step not in (self._between, self._resync)

    def _taken(self) -> list[Item]:
        out, self._out = self._out, []
        return out

    # Each step takes what it can from the data and says whether another can go on.

    def _between(self) -> bool:
        data = self._data
        at = self._at = self._start = _gap(data, self._at).end()  # type: ignore[union-attr]
        if data[at:] in {b"", b"\xef", b"\xef\xbb"}:
            return False
        self._offset, self._index, self._listed = self._base + at, 0, False
        if data[at] == _OBJECT:
            self._enter(at, self._document)
        elif data[at] == _LIST:
            self._dropping = False
            self._open_list(at, in_object=False)
        else:
            self._break(at + 1)
        return True

    def _enter(self, at: int, step: Callable[[], bool]) -> None:
        """Start on the object or array at this place."""
        if self._data[at] == _OBJECT:
            self._learn(at, in_list=step == self._item)
        self._at, self._depth, self._fresh, self._dropping = at + 1, 1, True, False
        self._step = step

    def _document(self) -> bool:
        if self._fresh:
            self._fresh = False
            if self._guess(in_list=False):
                self._step = self._between
                return True
        return self._scan(self._document_ends, lists=True)

    def _document_ends(self, end: int) -> None:
        if not (self._listed or self._dropping or self._in_context):
            self._emit(self._data[self._start : end], self._start)
            self._last_end = end
        self._start = end
        self._step = self._between

    def _open_list(self, at: int, *, in_object: bool) -> None:
        if self._in_context:
            self._prefix = self._data[self._start : at + 1]
        self._in_object = in_object
        self._listed = True
        self._last_end = -1
        self._start = self._at = at + 1
        self._step = self._items

    def _items(self) -> bool:
        data = self._data
        at = self._at = self._start = _space(data, self._at).end()  # type: ignore[union-attr]
        if at == len(data):
            return False
        if data[at] in (_OBJECT, _LIST):
            self._enter(at, self._item)
        elif data[at] == _END_LIST:
            self._close_list(at)
        else:
            return self._scalar_item(at)
        return True

    def _close_list(self, at: int) -> None:
        self._start = self._at = at + 1
        self._depth = 1
        self._last_end = -1
        self._step = self._document if self._in_object else self._between

    def _scalar_item(self, at: int) -> bool:
        data = self._data
        found = _scalar(data, at)
        if found is None:
            if self._string_goes_on(at):
                self._step, self._depth, self._fresh, self._dropping = self._item, 0, False, False
                self._at, self._quoted = at + 1, True
                return True
            self._break(at + 1)
            return True
        if found.end() - at > _LONGEST_WORD and data[at] != _QUOTE:
            self._break(at + _LONGEST_WORD)
            return True
        if found.end() == len(data):
            return False
        self._item_ends(found.end())
        return True

    def _item(self) -> bool:
        if self._fresh:
            self._fresh = False
            if self._guess(in_list=True):
                self._step = self._items
                return True
        return self._scan(self._item_ends, lists=False)

    def _item_ends(self, end: int) -> None:
        if not self._dropping:
            raw = self._data[self._start : end]
            self._emit(self._prefix + raw + b"]}" if self._in_context else raw, self._start)
        self._last_end = end
        self._start = self._at = end
        self._step = self._after_item

    def _after_item(self) -> bool:
        data = self._data
        at = self._at = self._start = _space(data, self._at).end()  # type: ignore[union-attr]
        if at == len(data):
            return False
        if data[at] == _COMMA:
            self._at = at + 1
            self._step = self._items
        elif data[at] == _END_LIST:
            self._close_list(at)
        else:
            self._break(at + 1)
        return True

    def _resync(self) -> bool:
        found = _document_after_another(self._data, self._at)
        if found is None:
            self._start = self._at = max(self._at, len(self._data) - _NAME_WINDOW)
            return False
        self._start = self._at = found.end()
        self._last_end = -1
        self._step = self._between
        return True

    def _scan(self, ends: Callable[[int], None], *, lists: bool) -> bool:
        """Count brackets from where the last scan stopped; False where the data end first."""
        if self._quoted and not self._string_ends():
            return False
        if self._step not in (self._document, self._item):  # the string broke off
            return True
        depth = self._depth
        if not depth:
            ends(self._at)
            return True
        for bracket in (_next_brackets_and_lists if lists else _next_brackets)(self._data, self._at):
            sign = bracket[1]
            if sign in {b"}", b"]"}:
                depth -= 1
                if not depth:
                    self._at = bracket.end()
                    ends(self._at)
                    return True
            elif sign in {b"{", b"["}:
                if lists and depth == 1 and sign == b"[" and self._is_list(bracket.start(1)):
                    self._open_list(bracket.start(1), in_object=True)
                    return True
                depth += 1
            else:
                break
        self._depth = depth
        self._at = bracket.start(1)
        if not sign:
            return False
        self._at, self._quoted = self._at + 1, True
        return True

    def _string_ends(self) -> bool:
        """Go on in a string from where the last scan stopped; False where the data end first."""
        end = _rest_of_string(self._data, self._at).end()  # type: ignore[union-attr]
        if end >= len(self._data) - self._data.endswith(b"\\"):
            self._at = end
            return False
        self._quoted = False
        if self._data[end] == _QUOTE:
            self._at = end + 1
        else:
            self._break(end + 1)
        return True

    def _is_list(self, at: int) -> bool:
        """Whether the array that starts here is the one that holds the items. An event is no list, whatever it holds."""
        before = self._data[self._start : at] if self._in_context else self._data[max(self._start, at - _NAME_WINDOW) : at]
        if not self._opens_list(before):
            return False
        return len(before) < _PREFIX_LIMIT if self._in_context else _MARK not in self._data[self._start : at]

    def _string_goes_on(self, at: int) -> bool:
        """Whether the string that starts here can still end once more data come."""
        found = _string_so_far(self._data, at)
        return found is not None and found.end() >= len(self._data) - self._data.endswith(b"\\")

    def _learn(self, at: int, *, in_list: bool) -> None:
        """Note what stands between the last item and the one that starts here."""
        end = self._last_end
        if end < 1 or at - end > _NAME_WINDOW or self._data[end - 1] != _END_OBJECT:
            return
        name = _first_name(self._data, at)
        if name is not None:
            self._separators[in_list] = (self._data[end - 1 : name.end()], at - end + 1)

    def _guess(self, *, in_list: bool) -> bool:
        """Take all items that end where the separator says they may; False where there is not one."""
        separator, length = self._separators.get(in_list, (b"", 0))
        if not separator or self._in_context:
            return False
        data, start = self._data, self._start
        while (hit := data.find(separator, start)) >= 0:
            raw = data[start : hit + 1]
            try:
                _reads(raw)
            except _unreadable:
                break
            self._emit(raw, start)
            self._last_end = hit + 1
            start = hit + length
            if not in_list:
                self._offset, self._index = self._base + start, 0
        if start == self._start:
            return False
        self._start = self._at = start
        return True

    def _emit(self, raw: bytes, start: int) -> None:
        code = TOO_LONG if len(raw) > self._limit else None
        place = (self._offset, self._index) if _is_one(raw) else (self._base + start, 0)
        self._out.append(Item(*place, None if code else raw, code))
        self._index += 1

    def _bound(self) -> None:
        if len(self._data) - self._start > self._limit and not self._dropping:
            self._out.append(Item(self._offset, self._index, None, TOO_LONG))
            self._index += 1
            self._dropping = True
        if self._dropping:
            self._start = self._at

    def _break(self, at: int) -> None:
        """The document goes wrong before this place: one item more, unless what is broken is counted already."""
        raw = self._data[self._start : at]
        if not self._dropping or self._step not in (self._document, self._item):
            if self._step == self._document and not self._listed and not self._in_context:
                whole = [item for item in DocumentCutter(self._limit, in_context=True).feed(raw) if item.code != BROKEN]
                self._out += [item._replace(offset=self._offset + item.offset) for item in whole]
                self._index += len(whole)
            self._out.append(Item(self._offset, self._index, raw, BROKEN))
        self._start = self._at = at
        self._step = self._resync


def _is_one(raw: bytes) -> bool:
    """Whether an item is plainly one event. What may turn out to be several has a place of its own, that each gets another."""
    at = raw.find(_MARK, 0, _MARK_WITHIN)
    return at > 0 and raw[0] == _OBJECT and raw.find(b"[", 0, at) < 0


def looks_like_document(first_bytes: bytes, whole: bool) -> bool:
    """Whether a file that begins so is no line-delimited JSON, but documents over many lines or one enormous line.

    `whole`: the file ends with these bytes.
    """
    head = first_bytes.lstrip(b" \t\r\n\x00\x1e\xef\xbb\xbf")
    if head[:1] not in {b"{", b"["}:
        return False
    line, newline, rest = head.partition(b"\n")
    if not newline:
        return not whole and (_opens(line, in_context=False) or _opens(line, in_context=True))
    try:
        _reads(line)
    except _unreadable:
        return _goes_on(line, rest)
    return False


_FOLLOWING: Final = 50  # lines
_SHORTEST: Final = 40  # bytes of an event


def _is_record(line: bytes) -> bool:
    """Whether a line is an object by itself, from its first column on."""
    if not line.startswith(b'{"') or len(line) < _SHORTEST:
        return False
    try:
        _reads(line)
    except _unreadable:
        return False
    return True


def _opens(line: bytes, *, in_context: bool) -> bool:
    cutter = DocumentCutter(in_context=in_context)
    return bool(cutter.feed(line)) or cutter.in_list


def _goes_on(line: bytes, rest: bytes) -> bool:
    """Whether a first line that is no JSON is the beginning of a document, rather than a broken record before others."""
    cutter = DocumentCutter()
    items = cutter.feed(line + b"\n")
    # In a list that has an item a line all but the last end in a comma, and an object spread over lines has none to itself.
    whole = sum(_is_record(following) for following in rest.split(b"\n")[:_FOLLOWING])
    if whole > cutter.in_list:
        return False
    if cutter.in_list:
        return True
    if any(item.code for item in items) or not cutter.in_document:
        return False
    following = rest.lstrip().partition(b"\n")[0]
    try:
        return following[:1] != b"{" or not _reads(following)
    except _unreadable:
        return True
