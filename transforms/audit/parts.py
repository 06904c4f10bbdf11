"""The parts of an event as Avro, each distinct one encoded once.

Most parts of an event repeat from event to event (user, user agent, object reference…), and Avro's binary form is plain
concatenation: each distinct part is encoded once and joined. What the schema cannot hold (null where Kubernetes has
text, an empty map that was spelled out, a field nobody knows) goes to `unknownFields`, so that nothing is lost.
"""

from __future__ import annotations

from re import compile as pattern
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec
from msgspec import UNSET, Raw

from transforms.audit import avro
from transforms.audit.event import Event, Text
from transforms.audit.members import members
from transforms.audit.pointer_tokens import escape_pointer
from transforms.audit.scanner import Scanner

if TYPE_CHECKING:
    from collections.abc import Callable

ABSENT: Final = b""  # in unknownFields: a field that the event lacks although a reader would expect it
Unknown = dict[str, bytes]
Part = tuple[bytes, Unknown | None]
ReferencePart = tuple[bytes, Unknown | None, tuple[str, str, str]]
NO_OBJECT: Final = ("", "", "")
P = TypeVar("P")

_CACHE_LIMIT: Final = 1_000  # a small table stays in the processor's caches; what repeats, repeats soon
_INT32: Final = 1 << 31

compact = msgspec.json.format
# White space where it may be insignificant: between tokens. Text within strings seldom looks like that, and servers write none.
_VALUE: Final = rb'(?:["{\[0-9\-]|true|false|null)'
_loose_space: Final = Scanner(
    [
        (0, rb'["}\]0-9el][ \t\r\n]+[,:}\]]'),
        (0, rb'\{[ \t\r\n]+["}]'),
        (0, rb"\[[ \t\r\n]+(?:\]|" + _VALUE + rb")"),
        (0, rb'(?:[^\\]|\\\\)":[ \t\r\n]+' + _VALUE),
        (0, rb",[ \t\r\n]+" + _VALUE),
    ]
)
_without_space: Final = pattern(rb'("(?:[^"\\]++|\\.)*+")|[ \t\r\n]+').sub


class _User(msgspec.Struct, forbid_unknown_fields=True):
    username: Text = UNSET
    uid: Text = UNSET
    groups: list[str] | msgspec.UnsetType = UNSET
    extra: dict[str, list[str]] | msgspec.UnsetType = UNSET


class ObjectReference(msgspec.Struct, forbid_unknown_fields=True):
    """audit.k8s.io/v1 ObjectReference, in the order of the schema."""

    resource: Text = UNSET
    namespace: Text = UNSET
    name: Text = UNSET
    uid: Text = UNSET
    apiGroup: Text = UNSET
    apiVersion: Text = UNSET
    resourceVersion: Text = UNSET
    subresource: Text = UNSET


class _Status(msgspec.Struct, forbid_unknown_fields=True):
    metadata: Raw = Raw()
    code: int | msgspec.UnsetType = UNSET
    status: Text = UNSET
    reason: Text = UNSET
    message: Text = UNSET
    details: Raw = Raw()


_decode_user = msgspec.json.Decoder(_User).decode
decode_reference = msgspec.json.Decoder(ObjectReference).decode
_decode_status = msgspec.json.Decoder(_Status).decode
_decode_strings = msgspec.json.Decoder(list[str]).decode
_decode_annotations = msgspec.json.Decoder(dict[str, str]).decode
_errors: Final = (msgspec.MsgspecError, UnicodeError, RecursionError)


def json_text(raw: bytes) -> bytes:
    """JSON without insignificant white space, otherwise as it was: escapes, numbers and repeated keys stay."""
    if not (b" " in raw or b"\n" in raw or b"\t" in raw or b"\r" in raw):  # most bodies, and looking costs a tenth
        return raw
    if raw[0] > 0x20 < raw[-1] and not _loose_space(raw):
        return raw
    try:
        return compact(raw, indent=-1)
    except _errors:  # lone surrogates, or one level deeper than the stack has room for here
        return _without_space(rb"\1", raw)


def text_part(value: Text) -> bytes:
    """A nullable string."""
    return avro.NULL if value is UNSET else avro.some_data(value.encode())


def json_part(raw: bytes) -> bytes:
    """A nullable JSON string."""
    return avro.some_data(json_text(raw)) if raw else avro.NULL


def _typed_fields(raw: bytes, pointer: str, types: dict[str, type]) -> tuple[dict[str, Any], Unknown] | None:
    """The fields of an odd object that have the right type, and the rest as unknown fields; None: not even an object."""
    try:
        fields = members(raw)
    except _errors:
        return None
    known: dict[str, Any] = {}
    unknown: Unknown = {}
    for name, value in fields.items():
        try:
            known[name] = msgspec.json.decode(value, type=types[name])
        except (KeyError, *_errors):
            unknown[f"{pointer}/{escape_pointer(name)}"] = json_text(bytes(value))
    return known, unknown


def _user_part(raw: bytes, pointer: str) -> Part:
    if not raw:
        return avro.NULL, None
    unknown: Unknown = {}
    try:
        user = _decode_user(raw)
    except _errors:
        found = _typed_fields(raw, pointer, {"username": str, "uid": str, "groups": list[str], "extra": dict[str, list[str]]})
        if found is None:
            return avro.NULL, {pointer: json_text(raw)}
        user, unknown = _User(**found[0]), found[1]
    if user.groups == []:
        unknown[pointer + "/groups"] = b"[]"
    if user.extra == {}:
        unknown[pointer + "/extra"] = b"{}"
    groups = avro.array([avro.string(group) for group in user.groups or ()])
    extra = avro.mapping((key, avro.array([avro.string(v) for v in values])) for key, values in (user.extra or {}).items())
    return b"".join((avro.SOME, text_part(user.username), text_part(user.uid), groups, extra)), unknown or None


_words: dict[Text, bytes] = {UNSET: avro.NULL}


def _word(value: Text) -> bytes:
    """A text that many events share, such as a resource or namespace."""
    found = _words.get(value)
    if found is None:
        if len(_words) >= _CACHE_LIMIT:
            _words.clear()
            _words[UNSET] = avro.NULL
        found = _words[value] = text_part(value)
    return found


def _reference_part(raw: bytes, pointer: str) -> ReferencePart:
    if not raw:
        return avro.NULL, None, NO_OBJECT
    unknown: Unknown | None = None
    try:
        ref = decode_reference(raw)
    except _errors:
        found = _typed_fields(raw, pointer, dict.fromkeys(ObjectReference.__struct_fields__, str))
        if found is None:
            return avro.NULL, {pointer: json_text(raw)}, NO_OBJECT
        ref, unknown = ObjectReference(**found[0]), found[1]
    resource, namespace, name, uid, group, version = ref.resource, ref.namespace, ref.name, ref.uid, ref.apiGroup, ref.resourceVersion
    word = _words.get
    encoded = b"".join(
        (
            avro.SOME,
            word(resource) or _word(resource),
            word(namespace) or _word(namespace),
            avro.NULL if name is UNSET else avro.some_data(name.encode()),
            avro.NULL if uid is UNSET else avro.some_data(uid.encode()),
            word(group) or _word(group),
            word(ref.apiVersion) or _word(ref.apiVersion),
            avro.NULL if version is UNSET else avro.some_data(version.encode()),
            word(ref.subresource) or _word(ref.subresource),
        )
    )
    return encoded, unknown, (resource or "", namespace or "", name or "")


# An object's references differ from time to time in its resource version alone: the rest, around it, is encoded once.
_stems: dict[tuple[bytes, bytes], tuple[bytes, bytes, tuple[str, str, str]]] = {}
_STEMS_LIMIT: Final = 8_000
_VERSION: Final = b',"resourceVersion":"'
_after_version: Final = pattern(rb'"(?:,"subresource":"([a-z]+)")?\}').fullmatch


def reference_part(raw: bytes) -> ReferencePart:
    """An object reference, and what the record is sorted by."""
    at = raw.rfind(_VERSION)
    end = raw.find(b'"', at + len(_VERSION)) if at >= 0 else -1
    version = raw[at + len(_VERSION) : end]
    if end < 0 or not version.isdigit():
        return _whole_reference_part(raw)
    around = raw[:at], raw[end:]
    found = _stems.get(around)
    if found is not None:
        return found[0] + avro.some_data(version) + found[1], None, found[2]
    encoded, unknown, key = part = _reference_part(raw, "/objectRef")
    after = _after_version(around[1])
    if after and unknown is None:
        if len(_stems) >= _STEMS_LIMIT:
            _stems.clear()
        rest = avro.NULL if after[1] is None else avro.some_data(after[1])
        _stems[around] = encoded[: len(encoded) - len(avro.some_data(version) + rest)], rest, key
    return part


def _status_part(raw: bytes, pointer: str) -> Part:
    if not raw:
        return avro.NULL, None
    unknown: Unknown = {}
    try:
        status = _decode_status(raw)
    except _errors:
        found = _typed_fields(raw, pointer, {"metadata": Raw, "code": int, "status": str, "reason": str, "message": str, "details": Raw})
        if found is None:
            return avro.NULL, {pointer: json_text(raw)}
        status, unknown = _Status(**found[0]), found[1]
    code = status.code
    if code is not UNSET and not -_INT32 <= code < _INT32:
        unknown[pointer + "/code"] = str(code).encode()
        code = UNSET
    elif code == 0 and b"-0" in raw and bytes(members(raw)["code"]) == b"-0":
        unknown[pointer + "/code"] = b"-0"
        code = UNSET
    metadata = bytes(status.metadata)
    if metadata != b"{}" and (text := json_text(metadata) if metadata else ABSENT) != b"{}":
        unknown[pointer + "/metadata"] = text
    number = avro.NULL if code is UNSET else avro.SOME + avro.long(code)
    texts = text_part(status.status) + text_part(status.reason) + text_part(status.message)
    return b"".join((avro.SOME, number, texts, json_part(bytes(status.details)))), unknown or None


def _strings_part(raw: bytes, pointer: str) -> Part:
    if not raw:
        return avro.EMPTY, None
    try:
        values = _decode_strings(raw)
        return avro.array([avro.string(value) for value in values]), None if values else {pointer: b"[]"}
    except _errors:
        return avro.EMPTY, {pointer: json_text(raw)}


def _annotations_part(raw: bytes, pointer: str) -> Part:
    if not raw:
        return avro.EMPTY, None
    unknown: Unknown | None = None
    try:
        values = _decode_annotations(raw)
    except _errors:
        fields = _typed_fields(raw, pointer, _Strings())
        if fields is None:
            return avro.EMPTY, {pointer: json_text(raw)}
        values, unknown = fields
    if not values and not unknown:
        unknown = {pointer: b"{}"}
    return avro.mapping((key, avro.string(value)) for key, value in values.items()), unknown


class _Strings(dict[str, type]):
    """Every key's type is str."""

    def __missing__(self, key: str) -> type:
        return str


def _cached(encode: Callable[[bytes, str], P], pointer: str) -> Callable[[bytes], P]:
    known: dict[bytes, P] = {}

    def part(raw: bytes) -> P:
        found = known.get(raw)
        if found is None:
            if len(known) >= _CACHE_LIMIT:
                known.clear()
            found = known[raw] = encode(raw, pointer)
        return found

    return part


user_part = _cached(_user_part, "/user")
impersonated_part = _cached(_user_part, "/impersonatedUser")
_whole_reference_part = _cached(_reference_part, "/objectRef")
status_part = _cached(_status_part, "/responseStatus")
source_ips_part = _cached(_strings_part, "/sourceIPs")
annotations_part = _cached(_annotations_part, "/annotations")


_heads: dict[tuple[Text, Text, Text], Part] = {}


def head_part(level: Text, stage: Text, verb: Text) -> Part:
    """Level, stage and verb."""
    found = _heads.get((level, stage, verb))
    if found is None:
        if len(_heads) >= _CACHE_LIMIT:
            _heads.clear()
        fields = {"/level": level, "/stage": stage, "/verb": verb}
        unknown = {pointer: ABSENT for pointer, value in fields.items() if value is UNSET}
        found = b"".join(avro.EMPTY if v is UNSET else avro.string(v) for v in fields.values()), unknown or None
        _heads[level, stage, verb] = found
    return found


_callers: dict[tuple[Text, bytes, bytes], Part] = {}


def caller_part(event: Event) -> Part:
    """From userAgent to sourceIPs: who called. Few combinations make up a log, so they are kept joined."""
    agent, user, ips = event.userAgent, bytes(event.user), bytes(event.sourceIPs)
    plain = not (event.impersonatedUser or event.authenticationMetadata)
    known = (agent, user, ips)
    found = _callers.get(known) if plain else None
    if found is None:
        unknown: Unknown = {}
        parts = [text_part(agent)]
        for part, raw in ((user_part, user), (impersonated_part, bytes(event.impersonatedUser))):
            encoded, odd = part(raw)
            parts.append(encoded)
            unknown.update(odd or {})
        encoded, odd = source_ips_part(ips)
        unknown.update(odd or {})
        found = b"".join((*parts, json_part(bytes(event.authenticationMetadata)), encoded)), unknown or None
        if plain:
            if len(_callers) >= _CACHE_LIMIT:
                _callers.clear()
            _callers[known] = found
    return found
