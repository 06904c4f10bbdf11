"""Redact secrets from an event, in place: complete, on by default, and closed on failure.

What is sensitive is decided from all evidence together (`sensitivity`). Bodies of sensitive resources keep an allow-list
(`skeleton`); all other content is searched (`embedded`) once its bytes give a reason (`needles`).
"""

from __future__ import annotations

import re
from typing import Any, Final, Literal

from transforms.audit import skeleton
from transforms.audit.bulk import holds_bulk, strip_bulk
from transforms.audit.catalogue import SHIPPED, Catalogue, FieldRules, apply_at, load_catalogue, mask_tree
from transforms.audit.embedded import UNREADABLE, Search, dump, is_patch_operation, load
from transforms.audit.event import ABSENT, Event, flag, reduced
from transforms.audit.event_parts import (
    mask_unknown,
    named,
    record,
    redact_annotation,
    redact_annotation_key,
    redact_reference,
    redact_sensitive_annotation,
    redact_status,
    redact_unknown,
    redact_user,
)
from transforms.audit.evidence import About
from transforms.audit.innocent import Innocent
from transforms.audit.managed_fields import NEEDLE, strip_managed_fields
from transforms.audit.needles import examine
from transforms.audit.request_uri import redact_uri
from transforms.audit.sensitive_status import status as reduce_status
from transforms.audit.sensitivity import Address, address, sensitive_read, shape_of_reference
from transforms.audit.status_message import may_quote
from transforms.audit.withhold import withhold

__all__ = ["DEFAULT", "Redactor", "redact_secrets", "sensitive_read"]

# Resources of Kubernetes itself whose content is free text or configuration: always searched, whatever their bytes say.
_SEARCHED: Final = frozenset(
    {
        "configmaps",
        "certificatesigningrequests",
        "validatingadmissionpolicies",
        "mutatingadmissionpolicies",
        "storageclasses",
        "subjectaccessreviews",
        "ingresses",
        "persistentvolumes",
        "podtemplates",
    }
)
_MEMORY: Final = 20_000
_LONG_HEAD: Final = 8192
# All that Kubernetes writes of an object; anything else about it may be anything.
_plain_reference: Final = re.compile(
    rb'\{(?:"(?:resource|namespace|name|uid|apiGroup|apiVersion|resourceVersion|subresource)":"[^"\\]*+",?)*+\}'
).fullmatch
# A default or an example that a schema gives for a field of a credential's name.
_schema_literal: Final = re.compile(
    rb'(?:pass|pwd|secret|token|key|cred|auth)[^"\\]{0,80}+\\{0,9}+":\s?\{[^{}]*"(?:default|example)\\*":\s*\\*"[^"]', re.IGNORECASE
).search
_DONE: Final = b'"code":2'
# Durations that the server measures on slow requests: no two are the same, and none can hold a secret.
_LATENCIES: Final = re.compile(rb'"apiserver\.latency\.k8s\.io/[a-z-]{1,60}":"(?:\d{1,12}(?:\.\d{1,12})?(?:ns|\xc2\xb5s|ms|s|m|h)){1,4}",?')


class Redactor:
    """What is redacted, and how. Holds caches of what it has judged, so one per thread.

    Args:
        exec_args: what stays of a command executed in a container: all but credentials, the program's name, or nothing.
        rules: the catalogue of fields to redact (`load_catalogue`); the one that ships by default.
        hash_key: key of the digests that `hash` rules write; without one they mask.
        strip_bulk: also cut what is bulky and of no forensic worth (`bulk.FIELDS`).
    """

    def __init__(
        self,
        *,
        exec_args: Literal["keep", "program", "none"] = "program",
        rules: Catalogue | None = None,
        hash_key: bytes | None = None,
        strip_bulk: bool = False,
    ) -> None:
        self.exec_args = exec_args
        self.rules = rules if rules is not None else load_catalogue(SHIPPED.read_bytes(), shipped=True)
        self.hash_key = hash_key
        self.strip_bulk = strip_bulk
        self._clean: set[str] = set()
        self._long: dict[bytes, tuple[str | None, dict[str, list[int]]]] = {}
        self._uris: dict[str, tuple[str, Address, bool, dict[str, list[int]]]] = {}
        # What was judged and found innocent, by its bytes, which are given on in place of equal ones.
        self._callers: dict[tuple[Any, bytes, bytes], tuple[Any, bytes, bytes]] = {}
        self._statuses: dict[bytes, bytes] = {}
        self._annotations: dict[bytes, bytes] = {}
        self._references: set[bytes] = set()
        self._bodies = Innocent()
        self._heads: dict[tuple[str, bytes | str], tuple[Any, dict[str, list[int]]] | None] = {}

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {
            "_uris": {},
            "_heads": {},
            "_callers": {},
            "_statuses": {},
            "_annotations": {},
            "_references": set(),
            "_long": {},
            "_clean": set(),
        }

    def redact(self, event: Event) -> None:
        """Take every secret out of the event, in place. Never raises: what cannot be judged is withheld and flagged."""
        try:
            self._redact(event)
        except Exception:  # noqa: BLE001 - an event must never pass because its redaction failed
            withhold(event)

    def _redact(self, event: Event) -> None:
        uri = event.requestURI if isinstance(event.requestURI, str) else ""
        known = self._uris.get(uri)
        clean, where, searched, cuts = self._uri(uri) if known is None else known
        if cuts:
            event.requestURI = clean
            record(event, cuts, "/requestURI")
        reference = bytes(event.objectRef)
        event.objectRef = reference  # type: ignore[assignment]  # later steps need not copy it again
        shape = where.shape if uri or not reference else None
        if shape is None and reference:
            low = reference.lower()
            if b"secret" in low or b"token" in low or b"oauth" in low or b"\\" in low:
                shape = shape_of_reference(reference)
        self._caller(event)
        if shape is None:
            status, annotations = bytes(event.responseStatus), bytes(event.annotations)
            if status not in self._statuses:
                self._part_of_head(event, "responseStatus", status, status, self._statuses)
            if annotations:
                known_by = _LATENCIES.sub(b"", annotations) if b"latency" in annotations else annotations
                # The same bytes as last time are given on, so that later steps need not compare them.
                alike = self._annotations.get(known_by)
                if alike is None:
                    self._part_of_head(event, "annotations", annotations, known_by, self._annotations)
                elif known_by is annotations:
                    event.annotations = alike  # type: ignore[assignment]
            if reference and reference not in self._references:
                self._reference(event, reference)
            if event.unknown is not None or event.requestObject is not ABSENT or event.responseObject is not ABSENT:
                self._ordinary(event, where, searched, status)
        else:
            self._sensitive(event, where, shape, reference, bytes(event.responseStatus))
        if event.impersonatedUser is not ABSENT:
            self._head(event, "impersonatedUser", bytes(event.impersonatedUser))
        if event.authenticationMetadata is not ABSENT:
            self._head(event, "authenticationMetadata", bytes(event.authenticationMetadata))

    # -- parts of events, judged apart from them (`rows`)

    def leaves_uri(self, uri: str) -> bool:
        """Whether a URI stays as it is, and is that of nothing sensitive."""
        clean, where, _, cuts = self._uri(uri)
        return clean == uri and not cuts and where.shape is None

    def leaves_caller(self, user: bytes, addresses: bytes, agent: Any) -> bool:
        """Whether who called stays as it is."""
        event = Event(user=user, sourceIPs=addresses, userAgent=agent)  # type: ignore[arg-type]
        self._caller(event)
        return event.reductions is None and (event.user, event.sourceIPs, event.userAgent) == (user, addresses, agent)

    def leaves_reference(self, reference: bytes) -> bool:
        """Whether a reference stays as it is, and is that of nothing sensitive."""
        event = Event(objectRef=reference)  # type: ignore[arg-type]
        self._reference(event, reference)
        return event.reductions is None and event.objectRef == reference and shape_of_reference(reference) is None

    def leaves_status(self, status: bytes) -> bool:
        """Whether a status stays as it is."""
        event = Event(responseStatus=status)  # type: ignore[arg-type]
        return not (status and self._head(event, "responseStatus", status)) and event.reductions is None

    def leaves_annotations(self, annotations: bytes) -> bool:
        """Whether annotations stay as they are."""
        known_by = _LATENCIES.sub(b"", annotations) if b"latency" in annotations else annotations
        if annotations and known_by not in self._annotations:
            self._part_of_head(Event(annotations=annotations), "annotations", annotations, known_by, self._annotations)  # type: ignore[arg-type]
        return not annotations or known_by in self._annotations

    def looks_closer(self, uri: str) -> bool:
        """Whether bodies under a URI are redacted one by one, whatever their bytes say."""
        _, where, searched, _ = self._uris.get(uri) or self._uri(uri)
        return searched or self.strip_bulk or where.resource == "customresourcedefinitions"

    def redact_bodies(self, event: Event, uri: str, status: bytes) -> None:
        """Redact the bodies of an event of nothing sensitive, with this URI and status. Raises what must withhold the whole event.

        Where neither `looks_closer` nor `is_failed` it does nothing but to `examine` them.
        """
        _, where, searched, _ = self._uris.get(uri) or self._uri(uri)
        self._ordinary(event, where, searched, status)

    def _caller(self, event: Event) -> None:
        """Redact who called, and from where: few combinations make up a log, and most are innocent."""
        caller = (event.userAgent, bytes(event.user), bytes(event.sourceIPs))
        alike = self._callers.get(caller)
        if alike is None:
            agent, user, addresses = caller
            changed = isinstance(agent, str) and self._head(event, "userAgent", agent)
            changed = (bool(user) and self._head(event, "user", user)) or changed
            changed = (bool(addresses) and self._head(event, "sourceIPs", addresses)) or changed
            if changed or len(user) + len(addresses) + (len(agent) if isinstance(agent, str) else 0) > _LONG_HEAD:
                return
            if len(self._callers) > _MEMORY:
                self._callers.clear()
            alike = self._callers[caller] = caller
        event.userAgent, event.user, event.sourceIPs = alike  # type: ignore[assignment]

    def _reference(self, event: Event, reference: bytes) -> None:
        if b"eyJ" in reference or not _plain_reference(reference):
            self._head(event, "objectRef", reference)
        elif len(reference) < _LONG_HEAD:
            if len(self._references) > _MEMORY:
                self._references.clear()
            self._references.add(reference)

    def _part_of_head(self, event: Event, name: str, raw: bytes, known_by: bytes, innocent: dict[bytes, bytes]) -> None:
        if not (raw and self._head(event, name, raw)) and len(known_by) < _LONG_HEAD:
            if len(innocent) > _MEMORY:
                innocent.clear()
            innocent[known_by] = known_by

    def _uri(self, uri: str) -> tuple[str, Address, bool, dict[str, list[int]]]:
        known = self._uris.get(uri)
        if known is None:
            if len(self._uris) > _MEMORY:
                self._uris.clear()
            where = address(uri)
            search = Search(self.rules, None, self._clean)
            clean = redact_uri(uri, where, search, self.exec_args)
            custom = "." in where.group and not where.group.endswith(".k8s.io")
            searched = (
                not where.known or custom or where.resource in _SEARCHED or self.rules.for_resource(where.group, where.resource) is not None
            )
            known = self._uris[uri] = (clean, where, searched, search.cuts)
        return known

    # -- the head: small, repetitive, remembered by its bytes

    def _head(self, event: Event, name: str, raw: bytes | str, *, sensitive: bool = False) -> bool:
        key = (name + "!" if sensitive else name, raw)
        if key in self._heads:
            found = self._heads[key]
        else:
            if len(self._heads) > _MEMORY:
                self._heads.clear()
            search = Search(self.rules, None, self._clean)
            clean = search.text(raw) if isinstance(raw, str) else self._part(key[0], raw, search)
            found = None if clean == raw else (clean, search.cuts)
            if len(raw) < 4096:
                self._heads[key] = found
        if found is not None:
            setattr(event, name, found[0])
            record(event, found[1], "/" + name)
        return found is not None

    def _part(self, name: str, raw: bytes, search: Search) -> bytes:
        if not raw or raw == b"null" or (name == "responseStatus" and not may_quote(raw) and examine(raw) == (raw, 0, 0)):
            return raw
        tree = load(raw)
        before = dump(tree)
        if name in ("user", "impersonatedUser") and isinstance(tree, dict):
            tree = redact_user(tree, search)
        elif name == "annotations" and isinstance(tree, dict):
            tree = {redact_annotation_key(key, search): redact_annotation(key, value, search) for key, value in tree.items()}
        elif name == "annotations!":
            held = tree.items() if isinstance(tree, dict) else ()
            tree = {redact_annotation_key(key, search): redact_sensitive_annotation(key, value, search) for key, value in held}
        elif name == "responseStatus":
            tree = redact_status(tree, search)
        else:
            tree = search.node(tree)
        after = dump(tree)
        return raw if after == before and raw.count(b'":') == after.count(b'":') else after

    # -- events about ordinary objects

    def _ordinary(self, event: Event, where: Address, searched: bool, status: bytes) -> None:
        if event.unknown is not None:
            redact_unknown(event, Search(self.rules, self.hash_key, self._clean, self._long))
        failed = is_failed(status)
        for name in ("requestObject", "responseObject"):
            body = bytes(getattr(event, name))
            if not body:
                continue
            found = (
                None
                if searched
                or (self.strip_bulk and holds_bulk(body))
                or (failed and _may_be_status(body))
                or (where.resource == "customresourcedefinitions" and _schema_literal(body))
                else examine(body)
            )
            if found is None:
                if (body, (where.known, where.group, where.resource)) not in self._bodies:
                    self._body(event, name, body, where)
            elif found[0] is not body:
                setattr(event, name, found[0])
                reduced(event, "credential", "/" + name, *found[1:])

    def _body(self, event: Event, name: str, body: bytes, where: Address) -> None:
        search = Search(self.rules, self.hash_key, self._clean, self._long)
        try:
            tree = load(body)
            before = dump(tree)
            if self.strip_bulk:
                strip_bulk(tree, search)
            tree = self._searched(tree, where, search)
        except UNREADABLE:
            _withhold_body(event, name, len(body), "unreadable")
            return
        after = dump(tree)
        if after == before and body.count(b'":') == after.count(b'":') and b"\\u00" not in body:
            self._bodies.add((body, (where.known, where.group, where.resource)))
            return
        setattr(event, name, after)
        record(event, search.cuts, "/" + name)
        if NEEDLE in after and NEEDLE not in body:  # it was spelt with escapes
            alone = Event(**{name: after})  # type: ignore[arg-type]  # what else the event holds may keep its own
            strip_managed_fields(alone)
            setattr(event, name, getattr(alone, name))
            cuts: Any = alone.reductions
            for cut in cuts or ():
                reduced(event, *cut)

    def _searched(self, tree: Any, where: Address, search: Search) -> Any:
        rules = self.rules.for_resource(where.group, where.resource) if where.known else None
        if rules is not None and isinstance(tree, list):
            for operation in tree:
                if isinstance(operation, dict) and is_patch_operation(operation) and "value" in operation:
                    path = [part.replace("~1", "/").replace("~0", "~") for part in operation["path"].split("/")[1:]]
                    operation["value"] = apply_at(path, operation["value"], rules, search)
        elif rules is not None and isinstance(tree, dict) and isinstance(tree.get("rows"), list):
            rules = FieldRules({"rows": FieldRules({"object": rules})})
            mask_tree(tree, rules, search)
            return search.node(tree, rules=rules)
        elif rules is not None and isinstance(tree, dict) and tree.get("kind") != "Status":
            items = tree.get("items")
            if not isinstance(items, list):
                mask_tree(tree, rules, search)
                return search.node(tree, rules=rules)
            mask_tree(items, rules, search)
            tree["items"] = None
            whole = search.node(tree)
            whole["items"] = search.node(items, rules=rules)
            return whole
        if isinstance(tree, dict) and (tree.get("kind") == "Status" or ("code" in tree and "message" in tree)):
            tree = redact_status(tree, search)
        return search.node(tree)

    # -- events about Secrets, tokens and OAuth objects

    def _sensitive(self, event: Event, where: Address, shape: str, reference: bytes, raw_status: bytes) -> None:
        search = Search(self.rules, self.hash_key, self._clean, self._long)
        ref = load(reference) if reference else None
        status = load(raw_status) if raw_status else None
        code = status.get("code") if isinstance(status, dict) else None
        about = About(*named(where, ref, shape), failed=isinstance(code, int) and code >= 400)
        if isinstance(ref, dict):
            clean = redact_reference(ref, about, search)
            if search.cuts:
                event.objectRef = dump(clean)  # type: ignore[assignment]
                record(event, search.cuts, "/objectRef")
        if isinstance(status, dict) and not (raw_status.startswith(b'{"metadata":{},"code":') and len(raw_status) == 26):
            self._settle(event, "responseStatus", raw_status, reduce_status(status, Search(), about), about)
        elif raw_status and raw_status != b"null" and not isinstance(status, dict):
            _withhold_body(event, "responseStatus", len(raw_status), "withheld")
        for name in ("requestObject", "responseObject"):
            body = bytes(getattr(event, name))
            if body and body != b"null":
                self._skeleton(event, name, body, shape, about)
        annotations = bytes(event.annotations)
        if annotations:
            self._head(event, "annotations", annotations, sensitive=True)
        if event.unknown is not None:
            mask_unknown(event)

    def _settle(self, event: Event, name: str, raw: bytes, clean: Any, about: About) -> None:
        after = dump(clean)
        if after != dump(load(raw)) or after.count(b'":') != raw.count(b'":'):
            counted = Search()
            reduce_status(load(raw), counted, about)
            setattr(event, name, after)
            record(event, counted.cuts, "/" + name)

    def _skeleton(self, event: Event, name: str, body: bytes, shape: str, about: About) -> None:
        search = Search(self.rules, self.hash_key, self._clean, self._long)
        try:
            tree = load(body)
            clean = skeleton.reduce(tree, shape, search, about)
        except UNREADABLE:
            _withhold_body(event, name, len(body), "unreadable")
            return
        setattr(event, name, dump(clean))
        record(event, search.cuts, "/" + name)


def is_failed(status: bytes) -> bool:
    """Whether a response is an error, or says nothing: then its body may quote values."""
    return status != b"" and _DONE not in status


def _may_be_status(body: bytes) -> bool:
    """Whether a body may be a Status, whose message may quote values."""
    return (b'Status"' in body or b'"code"' in body or b"\\u" in body) and may_quote(body)


def _withhold_body(event: Event, name: str, size: int, kind: str) -> None:
    setattr(event, name, b"")
    reduced(event, kind, "/" + name, 1, size)
    flag(event, "BODY_WITHHELD")


DEFAULT: Final = Redactor()


def redact_secrets(event: Event, redactor: Redactor = DEFAULT) -> None:
    """Redact the event in place. Never raises."""
    redactor.redact(event)
