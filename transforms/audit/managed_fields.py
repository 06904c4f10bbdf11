"""Strip `managedFields` wherever an event holds them: a third of the bytes of a full log, and no evidence.

The server's `omitManagedFields` leaves them in patches, templates, raw Table rows, messages and JSON inside strings
(kubernetes/apiserver `pkg/audit/request.go`); here they go everywhere.
"""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from transforms.audit.embedded import dump, load
from transforms.audit.event import ABSENT, Event, reduced
from transforms.audit.scanner import Scanner

NEEDLE: Final = b"managedFields"
places_of_needle: Final = Scanner([(0, b"(?-i)" + NEEDLE)], every=True)
_SHORT: Final = 500  # bytes that a plain search reads faster than a scan starts
_ARRAYS: Final = frozenset({b',"managedFields":[{', b'{"managedFields":[{', b',"managedFields":[]', b'{"managedFields":[]'})
# Brackets, commas and then a quote that a letter follows: it opens a string, and so nothing before it is within one. Neither
# does a body end within a string: a parser has skipped over it.
_outside_a_string: Final = re.compile(rb'[\]}{,]{0,6}+(?:"[A-Za-z]|\Z)').match
_skip: Final = msgspec.json.Decoder(msgspec.Raw)
MAX_DEPTH: Final = 200


def strip_managed_fields(event: Event) -> None:
    """Remove `managedFields` from bodies, annotations and unknown fields, in place, counting bytes by place.

    What does not parse stays as it is: redaction judges it next.
    """
    # As bytes from here on: a Raw would be copied again by every step that looks.
    if event.requestObject is not ABSENT:
        event.requestObject = _strip(event, bytes(event.requestObject), "/requestObject")  # type: ignore[assignment]
    if event.responseObject is not ABSENT:
        event.responseObject = _strip(event, bytes(event.responseObject), "/responseObject")  # type: ignore[assignment]
    annotations = bytes(event.annotations)
    if NEEDLE in annotations:
        event.annotations = _strip_tree(event, annotations, "/annotations")  # type: ignore[assignment]
    status = bytes(event.responseStatus)
    if len(status) > 60 and NEEDLE in status:  # a bare code is shorter
        event.responseStatus = _strip_tree(event, status, "/responseStatus")  # type: ignore[assignment]
    if event.unknown is not None:
        fields: Any = event.unknown
        for pointer, raw in list(fields.items()):
            if NEEDLE in raw:
                fields[pointer] = _strip_tree(event, raw, "/unknown")


def _strip(event: Event, body: bytes, where: str) -> bytes:
    """Cut by slices what provably is an array under the key; parse only if something is left then."""
    if len(body) < _SHORT and NEEDLE not in body:
        return body
    places = places_of_needle(body)
    if not places:
        return body
    parts: list[bytes] = []
    done = cut = count = 0
    left = False
    proven = b""
    for place in places:
        if place < done:
            continue
        # A quote after a brace or comma is not escaped, so it opens a string, for none that it could close is followed by a
        # letter: an array starts here, under this key.
        if body[place - 15 : place + 4] not in _ARRAYS:
            left = True
            continue
        end = body.find(b"]", place) + 1
        # The first bracket that closes is this array's, if none opens before it and it is not within a string. The objects of
        # a list are alike in what follows.
        follows = body[end : end + 8]
        if end and body.find(b"[", place + 3, end) < 0 and (follows == proven or _outside_a_string(body, end)):
            proven = follows
        else:
            end = _end_of_value(body, place + 2)
            if not end:
                left = True
                continue
        at = place - 14
        if body[at - 1] == 0x2C and at > done:  # else it went with the array before
            at -= 1
        elif body[end : end + 1] == b",":
            end += 1
        elif body[end : end + 1] != b"}":  # white space, and maybe a comma behind it
            left = True
            continue
        parts.append(body[done:at])
        cut += end - at
        count += 1
        done = end
    if count:
        place_of_all = where + _place(body)
        parts.append(body[done:])
        body = b"".join(parts)
        reduced(event, "managedFields", place_of_all, count, cut)
    return _strip_tree(event, body, where) if left else body


def _end_of_value(body: bytes, start: int) -> int:
    """Where the array ends that starts here, 0 if nowhere: a slice of valid JSON that starts as a value and is one, is that value."""
    end = body.find(b"]", start) + 1
    while end:
        try:
            _skip.decode(body[start:end])
        except msgspec.DecodeError:
            end = body.find(b"]", end) + 1
        else:
            break
    return end


def _place(body: bytes) -> str:
    """The class of place that the arrays were cut from, by the kind of the body."""
    head = body[:160]
    if b'"kind":"Table"' in head:
        return "/rows"
    if b'List"' in head and b'"items"' in body:
        return "/items"
    if head.startswith(b"["):
        return "/patch"
    return "/metadata"


def _strip_tree(event: Event, raw: bytes, where: str) -> bytes:
    """Cut in the parse tree, through JSON in strings; the bytes as they were if there is nothing to cut or no tree."""
    try:
        tree = load(raw)
        cuts: dict[str, list[int]] = {}
        tree = _cut(tree, where, cuts, 0)
        if not cuts:
            return raw
        clean = dump(tree)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return raw
    for place, (count, size) in cuts.items():
        reduced(event, "managedFields", place, count, size)
    return clean


def _cut(node: Any, place: str, cuts: dict[str, list[int]], depth: int, key: str = "") -> Any:
    if depth > MAX_DEPTH:
        raise RecursionError
    if isinstance(node, str):
        return _cut_string(node, place, cuts, depth) if "managedFields" in node else node
    if isinstance(node, list):
        for at, item in enumerate(node):
            node[at] = _cut(item, place, cuts, depth + 1)
        return node
    if not isinstance(node, dict):
        return node
    held = node.get("managedFields", msgspec.UNSET)
    if held is not msgspec.UNSET and (key == "metadata" or held is None or _is_managed(held)):
        _note(
            cuts,
            place + ("/metadata" if key == "metadata" and not place.endswith(_LISTS) else ""),
            len(dump(held)) + len(b'"managedFields":,'),
        )
        del node["managedFields"]
    path = node.get("path")
    if isinstance(path, str) and "/managedFields" in path and "value" in node and "op" in node:
        _note(cuts, place + "/patch", len(dump(node.pop("value"))) + len(b'"value":,'))
    for field, value in node.items():
        if isinstance(value, (dict, list)):
            node[field] = _cut(value, _below(place, field), cuts, depth + 1, field)
        elif isinstance(value, str) and "managedFields" in value:
            node[field] = _cut_string(value, _below(place, field), cuts, depth)
    return node


def _is_managed(held: Any) -> bool:
    """Whether a value has the shape of managedFields (meta/v1 ManagedFieldsEntry), and is not a field that bears its name."""
    return isinstance(held, list) and all(isinstance(entry, dict) and (not entry or not entry.keys().isdisjoint(_ENTRY)) for entry in held)


_LISTS: Final = ("/rows", "/items")
_ENTRY: Final = frozenset({"manager", "operation", "apiVersion", "time", "fieldsType", "fieldsV1", "subresource"})


def _below(place: str, field: str) -> str:
    if field.endswith("last-applied-configuration"):
        return place.partition("/lastApplied")[0] + "/lastApplied"
    if place == "/annotations" and field.startswith("patch.webhook"):
        return place + "/patch"
    return place + "/" + field if place.count("/") == 1 and field in ("rows", "items") else place


def _cut_string(text: str, place: str, cuts: dict[str, list[int]], depth: int) -> str:
    """JSON in a string, such as last-applied-configuration, without managedFields."""
    if text.lstrip()[:1] not in ("{", "["):
        return text
    try:
        tree = load(text)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return text
    inner: dict[str, list[int]] = {}
    tree = _cut(tree, place, inner, depth + 1)
    if not inner:
        return text
    for where, (count, size) in inner.items():
        found = cuts.setdefault(where, [0, 0])
        found[0] += count
        found[1] += size
    return dump(tree).decode()


def _note(cuts: dict[str, list[int]], place: str, size: int) -> None:
    found = cuts.setdefault(place, [0, 0])
    found[0] += 1
    found[1] += size
