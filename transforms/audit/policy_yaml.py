"""Read one YAML or JSON document the way kube-apiserver reads a policy, without running or multiplying anything in it.

Plain scalars resolve as in YAML 1.1 by go-yaml (`on` is true, a date is text), since kube-apiserver reads with it.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final, NoReturn

import yaml

MOST_BYTES: Final = 1 << 20
MOST_NODES: Final = 100_000
DEEPEST: Final = 32

_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NULLS: Final = frozenset({"", "~", "null", "Null", "NULL"})
_TRUE: Final = frozenset("y Y yes Yes YES true True TRUE on On ON".split())
_FALSE: Final = frozenset("n N no No NO false False FALSE off Off OFF".split())
_NUMBER: Final = re.compile(
    r"[-+]?(?:0[xX][0-9a-fA-F_]+|0[bB][01_]+|0[oO][0-7_]+|[0-9][0-9_]*)|[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
)
_YAML: Final = "tag:yaml.org,2002:"


class Number(str):
    """A number as it is spelt; a policy has no use for its value."""

    __slots__ = ()


class Mapping(dict[str, Any]):
    """A mapping that remembers which keys it was given more than once; the last value stays."""

    def __init__(self) -> None:
        super().__init__()
        self.repeated: list[str] = []
        self.merged: set[str] = set()

    def put(self, key: str, value: Any) -> None:
        """Set the key, whatever it was merged from."""
        if key in self and key not in self.merged:
            self.repeated.append(key)
        self.merged.discard(key)
        self[key] = value

    def merge(self, other: Mapping) -> None:
        """Take over the keys that are not set (YAML `<<`)."""
        for key, value in other.items():
            if key not in self:
                self[key] = value
                self.merged.add(key)


class UnreadableError(ValueError):
    """The document cannot be read; the message says why, and where in the text."""


def read_document(text: bytes) -> Any:
    """The one document in the text as `Mapping`, list, str, `Number`, bool and None; `UnreadableError` where there is none or more.

    At most 1 MiB, 100,000 nodes with aliases written out, 32 levels deep.
    """
    if len(text) > MOST_BYTES:
        raise UnreadableError(f"larger than {MOST_BYTES} bytes")
    if text.lstrip()[:1] == b"{":
        try:
            return _read_json(text)
        except ValueError:  # a flow mapping, perhaps
            pass
        except RecursionError:
            raise UnreadableError(f"nested more than {DEEPEST} deep") from None
    try:
        documents = _Builder().documents(text)
    except yaml.YAMLError as error:
        raise UnreadableError(_described(error)) from None
    if len(documents) != 1:
        raise UnreadableError("holds no document" if not documents else f"holds {len(documents)} documents, not one")
    return documents[0]


def _described(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "not YAML"
    return f"line {mark.line + 1}, column {mark.column + 1}: {problem}" if mark else str(problem)


def _read_json(text: bytes) -> Any:
    def mapping(pairs: list[tuple[str, Any]]) -> Mapping:
        found = Mapping()
        for key, value in pairs:
            found.put(key, value)
        return found

    def refuse(constant: str) -> NoReturn:
        raise ValueError(constant)

    return json.loads(text, object_pairs_hook=mapping, parse_constant=refuse, parse_int=Number, parse_float=Number)


class _Frame:
    """A collection being read, and the nodes below it so far."""

    def __init__(self, value: Mapping | list[Any], anchor: str | None) -> None:
        self.value = value
        self.anchor = anchor
        self.nodes = 1
        self.key: str | None = None


class _Builder:
    """Builds values from parser events: aliases are counted as if written out, and nothing recurses."""

    def __init__(self) -> None:
        self.stack: list[_Frame] = []
        self.anchors: dict[str, tuple[Any, int]] = {}
        self.found: list[Any] = []

    def documents(self, text: bytes) -> list[Any]:
        """All documents of the text, but for empty ones."""
        for event in yaml.parse(text, Loader=_LOADER):
            if isinstance(event, yaml.DocumentStartEvent):
                self.anchors.clear()
            elif isinstance(event, yaml.ScalarEvent):
                self._add(_scalar(event), 1, event.anchor, event)
            elif isinstance(event, yaml.AliasEvent):
                if event.anchor not in self.anchors:
                    _refuse(event, f"no anchor {event.anchor!r} before its alias")
                self._add(*self.anchors[event.anchor], None, event)
            elif isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
                self._open(event)
            elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
                frame = self.stack.pop()
                self._add(frame.value, frame.nodes, frame.anchor, event)
        return [document for document in self.found if document is not None]

    def _open(self, event: Any) -> None:
        if len(self.stack) >= DEEPEST:
            _refuse(event, f"nested more than {DEEPEST} deep")
        kind = "map" if isinstance(event, yaml.MappingStartEvent) else "seq"
        _check_tag(event, f"{_YAML}{kind}")
        self.stack.append(_Frame(Mapping() if kind == "map" else [], event.anchor))

    def _add(self, value: Any, nodes: int, anchor: str | None, event: Any) -> None:
        if anchor is not None:
            self.anchors[anchor] = (value, nodes)
        if not self.stack:
            self.found.append(value)
            return
        frame = self.stack[-1]
        frame.nodes += nodes
        if frame.nodes > MOST_NODES:
            _refuse(event, f"more than {MOST_NODES} nodes")
        if isinstance(frame.value, list):
            frame.value.append(value)
        elif frame.key is None:
            frame.key = _key(value, event)
        else:
            _put(frame.value, frame.key, value, event)
            frame.key = None


def _key(value: Any, event: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, str):
        _refuse(event, "a key must be a string")
    if value == "<<" and getattr(event, "style", None) is None:
        return "<<"
    return str(value)


def _put(mapping: Mapping, key: str, value: Any, event: Any) -> None:
    if key != "<<":
        mapping.put(key, value)
        return
    for other in value if isinstance(value, list) else [value]:
        if not isinstance(other, Mapping):
            _refuse(event, "only mappings can be merged")
        mapping.merge(other)


def _scalar(event: Any) -> Any:
    text: str = event.value
    _check_tag(event, f"{_YAML}str")
    if event.tag is not None or not event.implicit[0]:
        return text
    if text in _NULLS:
        return None
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    return Number(text) if _NUMBER.fullmatch(text) else text


def _check_tag(event: Any, plain: str) -> None:
    # Tags of one's own (`!x`) say nothing to go-yaml either.
    if event.tag is not None and event.tag != plain and not event.tag.startswith("!"):
        _refuse(event, f"tag {event.tag} is not supported")


def _refuse(event: Any, problem: str) -> NoReturn:
    raise UnreadableError(f"line {event.start_mark.line + 1}: {problem}")
