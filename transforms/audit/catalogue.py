"""The redaction catalogue: which fields of which resources hold secrets, as data.

A rule adds protection. `keep` spares a field from other rules and from guesses by a field's name, and only a rule that ships
with this package may say it; nothing spares Secrets, tokens and the shapes of credentials.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
import yaml

if TYPE_CHECKING:
    from transforms.audit.embedded import Search

ACTIONS: Final = ("remove", "mask", "hash", "keep")
SHIPPED: Final = Path(__file__).with_name("redaction_rules.yaml")
MAX_BYTES: Final = 1 << 20
ANY: Final = "*"


class CatalogueError(ValueError):
    """The catalogue cannot be used; `problems` says where and why, all at once."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


@dataclass
class FieldRules:
    """A tree of field names; a leaf is an action. `*` stands for any field, lists are passed through."""

    fields: dict[str, FieldRules | str] = field(default_factory=dict)

    def under(self, name: str) -> FieldRules | str | None:
        """What the rules say about a field: an action, a subtree, or nothing."""
        found = self.fields.get(name)
        return self.fields.get(ANY) if found is None else found

    def keeps(self, name: str) -> bool:
        """Whether the field is spared from guesses by its name."""
        return self.under(name) == "keep"

    def hashes(self) -> bool:
        """Whether any rule below needs the key."""
        return any(rule == "hash" or (isinstance(rule, FieldRules) and rule.hashes()) for rule in self.fields.values())


@dataclass
class Catalogue:
    """Field rules by (group, resource) and by (group, kind), both in lower case."""

    resources: dict[tuple[str, str], FieldRules] = field(default_factory=dict)
    kinds: dict[tuple[str, str], FieldRules] = field(default_factory=dict)
    needs_key: bool = False

    def for_resource(self, group: str, resource: str) -> FieldRules | None:
        """The rules for a resource of an API group."""
        return self.resources.get((group, resource)) or self.resources.get((ANY, resource))

    def for_kind(self, node: dict[str, Any]) -> FieldRules | None:
        """The rules for an object that says its kind."""
        kind = node.get("kind")
        if not isinstance(kind, str):
            return None
        version = node.get("apiVersion")
        group = version.rpartition("/")[0] if isinstance(version, str) else ""
        kind = kind.lower()
        return self.kinds.get((group.lower(), kind)) or self.kinds.get((ANY, kind))


def load_catalogue(text: bytes, *, shipped: bool = False) -> Catalogue:
    """The catalogue in a YAML document, on top of the one that ships. Raises `CatalogueError` with every problem in it."""
    catalogue = Catalogue() if shipped else load_catalogue(SHIPPED.read_bytes(), shipped=True)
    problems: list[str] = []
    for at, rule in enumerate(_rules(text, problems)):
        _add(catalogue, rule, f"rules[{at}]", problems, shipped)
    if problems:
        raise CatalogueError(problems)
    return catalogue


def _rules(text: bytes, problems: list[str]) -> list[Any]:
    if len(text) > MAX_BYTES:
        problems.append(f"larger than {MAX_BYTES} bytes")
        return []
    if b"&" in text and b"*" in text and any(isinstance(event, yaml.AliasEvent) for event in _events(text)):
        problems.append("YAML aliases are not accepted")
        return []
    try:
        document = yaml.load(text, Loader=yaml.CSafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problems.append(f"not YAML{f', line {mark.line + 1}' if mark else ''}")
        return []
    except RecursionError:
        problems.append("nested too deeply")
        return []
    if not isinstance(document, dict) or set(document) != {"rules"} or not isinstance(document["rules"], list):
        problems.append("must be a mapping with the one key `rules`, a list")
        return []
    return document["rules"]


def _events(text: bytes) -> list[Any]:
    try:
        return list(yaml.parse(text, Loader=yaml.CSafeLoader))
    except yaml.YAMLError:
        return []


def _add(catalogue: Catalogue, rule: Any, where: str, problems: list[str], shipped: bool) -> None:
    if not isinstance(rule, dict):
        problems.append(f"{where}: must be a mapping")
        return
    unknown = sorted(map(str, rule.keys() - {"group", "resource", "kind", "fields"}))
    problems.extend(f"{where}.{name}: unknown field; known are group, resource, kind, fields" for name in unknown)
    before = len(problems)
    odd = [name for name in ("group", "resource", "kind") if not isinstance(rule.get(name, ""), str)]
    problems.extend(f"{where}.{name}: must be a string" for name in odd)
    if not rule.get("resource") and not rule.get("kind"):
        problems.append(f"{where}: needs resource or kind")
    tree = FieldRules()
    fields = rule.get("fields")
    if not isinstance(fields, dict) or not fields:
        problems.append(f"{where}.fields: must be a mapping of field paths to actions, and not empty")
    else:
        _grow(tree, fields, f"{where}.fields", problems, shipped)
    if len(problems) > before:
        return
    group = rule.get("group", "").lower()
    for table, name in ((catalogue.resources, "resource"), (catalogue.kinds, "kind")):
        if rule.get(name):
            key = (group, rule[name].lower())
            table[key] = _merge(table[key], tree) if key in table else tree
    catalogue.needs_key = catalogue.needs_key or tree.hashes()


def _grow(tree: FieldRules, fields: dict[Any, Any], where: str, problems: list[str], shipped: bool) -> None:
    for path, action in fields.items():
        at = f"{where}.{path}"
        names = _names(path)
        if names is None:
            problems.append(f"{at}: a path is field names joined by dots (quote a name that holds dots)")
        elif isinstance(action, dict):
            inner = FieldRules()
            _grow(inner, action, at, problems, shipped)
            _plant(tree, names, inner, at, problems)
        elif action not in ACTIONS:
            problems.append(f"{at}: unknown action {action!r}; known are {', '.join(ACTIONS)}")
        elif action == "keep" and not shipped:
            problems.append(f"{at}: rules can add protection, not remove it; `keep` is not accepted here")
        else:
            _plant(tree, names, action, at, problems)


def _names(path: Any) -> list[str] | None:
    if not isinstance(path, str) or not path:
        return None
    names, word, quoted = [], "", False
    for letter in path:
        if letter == '"':
            quoted = not quoted
        elif letter == "." and not quoted:
            names.append(word)
            word = ""
        else:
            word += letter
    names.append(word)
    names = [name.removesuffix("[]") for name in names]
    return None if quoted or not all(names) else names


def _plant(tree: FieldRules, names: list[str], leaf: FieldRules | str, where: str, problems: list[str]) -> None:
    for name in names[:-1]:
        inner = tree.fields.setdefault(name, FieldRules())
        if isinstance(inner, str):
            problems.append(f"{where}: another rule already says {inner} for {name}")
            return
        tree = inner
    known = tree.fields.get(names[-1])
    if isinstance(known, FieldRules) and isinstance(leaf, FieldRules):
        tree.fields[names[-1]] = _merge(known, leaf)
    else:
        tree.fields[names[-1]] = leaf


def _merge(first: FieldRules, second: FieldRules) -> FieldRules:
    """Both trees' rules; where they differ the stricter action wins."""
    merged = FieldRules(dict(first.fields))
    for name, rule in second.fields.items():
        known = merged.fields.get(name)
        if known is None:
            merged.fields[name] = rule
        elif isinstance(known, FieldRules) and isinstance(rule, FieldRules):
            merged.fields[name] = _merge(known, rule)
        else:
            merged.fields[name] = min((known, rule), key=_severity)
    return merged


def _severity(rule: FieldRules | str) -> int:
    return ("remove", "mask", "hash").index(rule) if rule in ("remove", "mask", "hash") else 4 if rule == "keep" else 3


def mask_tree(node: Any, rules: FieldRules, search: Search) -> None:
    """Apply the field rules to an object, in place."""
    if isinstance(node, list):
        for item in node:
            mask_tree(item, rules, search)
        return
    if not isinstance(node, dict):
        return
    for name in list(node):
        rule = rules.under(name)
        if isinstance(rule, FieldRules):
            mask_tree(node[name], rule, search)
        elif rule == "remove":
            search.count("rule", len(msgspec.json.encode(node.pop(name))))
        elif rule in ("mask", "hash"):
            node[name] = _apply(node[name], rule, search)


def apply_at(path: list[str], value: Any, rules: FieldRules, search: Search) -> Any:
    """Apply the field rules to the value that a JSON patch puts at a path."""
    rule: FieldRules | str | None = rules
    for name in path:
        if not isinstance(rule, FieldRules):
            break
        if not name.isdigit() and name != "-":
            rule = rule.under(name)
    if isinstance(rule, FieldRules):
        mask_tree(value, rule, search)
    elif rule in ("remove", "mask", "hash"):
        return _apply(value, rule, search)
    return value


def _apply(value: Any, action: str, search: Search) -> Any:
    """The value with every leaf masked or digested; field names stay."""
    if isinstance(value, dict):
        return {name: _apply(item, action, search) for name, item in value.items()}
    if isinstance(value, list):
        return [_apply(item, action, search) for item in value]
    if value is None or isinstance(value, bool):
        return value
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    if action != "hash" or search.hash_key is None:
        return search.masked("rule", text)
    if _DIGEST in text and len(text) == len(_DIGEST) + 32:
        return text
    search.count("rule", len(text.encode()))
    # Keyed: equal values can be told to be equal, but not be guessed and tried without the key.
    return _DIGEST + hashlib.blake2b(text.encode(), digest_size=16, key=search.hash_key[:64], person=b"redaction").hexdigest()


_DIGEST: Final = "hash:"
