"""Read a list's query as kube-apiserver decodes it into `ListOptions`: which single object does it select by name?"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote_to_bytes

_BAD_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_ESCAPED_LETTER: Final = re.compile(r"%[4-7]")
_INTEGER: Final = re.compile(r"[+-]?[0-9]+")
_TERM: Final = re.compile(r"(.*?)(!=|==|=)(.*)", re.DOTALL)
_LABEL_TOKEN: Final = re.compile(r"[ \t\r\n]*(?:(==|!=|[=!(),<>])|([^=!(),<> \t\r\n\0]+))\0?")
_DNS_SUBDOMAIN: Final = re.compile(r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*")
_QUALIFIED_NAME: Final = re.compile(r"(?:[A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")
_END: Final = ""


def selected_name(query: str) -> str:
    """The name that `fieldSelector=metadata.name=…` selects, or `""`. Never raises.

    One option that does not decode makes the server forget them all (kubernetes/apiserver `requestinfo.go`), so every
    option that can fail is checked: two integers, the label selector, the field selector.
    """
    if not mentions_field_selector(query):
        return ""
    options = parse_query(query)
    for option in ("timeoutSeconds", "limit"):
        if option in options and not _is_int64(options[option]):
            return ""
    if not is_label_selector(options.get("labelSelector", "")):
        return ""
    name = _exact_match(options.get("fieldSelector", ""), "metadata.name")
    if name in (".", "..") or "/" in name or "%" in name:  # no segment of a path
        return ""
    return name.encode("latin-1").decode("utf-8", "surrogateescape")


def mentions_field_selector(query: str) -> bool:
    """Whether the query may hold a field selector, in whatever spelling."""
    return "fieldSelector" in query or ("%" in query and _ESCAPED_LETTER.search(query) is not None)


def parse_query(query: str) -> dict[str, str]:
    """The first value of each parameter, one character a byte, as Go's `url.ParseQuery` reads it: what is malformed is skipped."""
    options: dict[str, str] = {}
    for pair in query.split("&"):
        if not pair or ";" in pair or _BAD_ESCAPE.search(pair):
            continue
        key, _, value = pair.replace("+", " ").partition("=")
        options.setdefault(_decoded(key), _decoded(value))
    return options


def _decoded(escaped: str) -> str:
    return unquote_to_bytes(escaped.encode("utf-8", "surrogatepass")).decode("latin-1")


def _is_int64(digits: str) -> bool:
    return len(digits) < 4096 and _INTEGER.fullmatch(digits) is not None and -(2**63) <= int(digits) < 2**63


def _exact_match(selector: str, field: str) -> str:
    """What the selector requires the field to equal, or `""` (kubernetes/apimachinery `pkg/fields/selector.go`)."""
    values = []
    for term in sorted(_split_terms(selector)):
        if not term:
            continue
        found = _TERM.fullmatch(term)
        value = _unescaped(found[3]) if found else None
        if found is None or value is None:
            return ""
        if found[1] == field and found[2] != "!=":
            values.append(value)
    return values[0] if values else ""


def _split_terms(selector: str) -> list[str]:
    return re.findall(r"(?:\\.|[^,\\]|\\\Z)+", selector, re.DOTALL)


def _unescaped(value: str) -> str | None:
    if not any(special in value for special in "\\,="):
        return value
    if re.fullmatch(r"(?:[^\\,=]|\\[\\,=])*", value, re.DOTALL) is None:
        return None
    return re.sub(r"\\(.)", r"\1", value, flags=re.DOTALL)


def is_label_selector(selector: str) -> bool:
    """Whether the label selector parses (kubernetes/apimachinery `pkg/labels/selector.go`, `Parse`)."""
    if not selector:
        return True
    tokens = _label_tokens(selector)
    tokens.reverse()  # the next one is the last
    while True:
        if tokens[-1] == _END:
            return True
        if not _requirement(tokens):
            return False
        separator = tokens.pop()
        if separator == _END:
            return True
        if separator != "," or not (_is_identifier(tokens[-1]) or tokens[-1] == "!"):
            return False


def _label_tokens(selector: str) -> list[str]:
    tokens = []
    at = 0
    while found := _LABEL_TOKEN.match(selector, at):
        tokens.append(found[1] or found[2])
        at = found.end()
    return [*tokens, _END]


def _is_identifier(token: str) -> bool:
    return token != _END and token[0] not in "=!(),<>"


def _requirement(tokens: list[str]) -> bool:
    key = tokens.pop()
    negated = key == "!"
    if negated:
        key = tokens.pop()
    if not _is_identifier(key) or not _is_label_key(key):
        return False
    if negated or tokens[-1] in (_END, ","):
        return True
    operator = tokens.pop()
    if operator in ("in", "notin"):
        values = _value_set(tokens)
    elif operator in ("=", "==", "!=", ">", "<"):
        values = _exact_value(tokens)
    else:
        return False
    if values is None or not all(map(_is_label_value, values)):
        return False
    return operator not in ("<", ">") or _is_int64(values[0])


def _exact_value(tokens: list[str]) -> list[str] | None:
    if tokens[-1] in (_END, ","):
        return [""]
    value = tokens.pop()
    return [value] if _is_identifier(value) else None


def _value_set(tokens: list[str]) -> list[str] | None:
    """The identifiers up to the closing parenthesis; empty ones are values too."""
    if tokens.pop() != "(":
        return None
    values = [""]
    while (token := tokens.pop()) != ")":
        if _is_identifier(token):
            values.append(token)
            if tokens[-1] not in (",", ")"):
                return None
        elif token != ",":
            return None
    return values


def _is_label_key(key: str) -> bool:
    prefix, slash, name = key.rpartition("/")
    if slash and not (len(prefix) <= 253 and _DNS_SUBDOMAIN.fullmatch(prefix)):
        return False
    return len(name) <= 63 and _QUALIFIED_NAME.fullmatch(name) is not None


def _is_label_value(value: str) -> bool:
    return not value or (len(value) <= 63 and _QUALIFIED_NAME.fullmatch(value) is not None)
