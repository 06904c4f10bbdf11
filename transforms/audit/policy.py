"""Apply a Kubernetes audit Policy to events already captured, as kube-apiserver would have decided at the time."""

from __future__ import annotations

from typing import Any, Final, overload

import msgspec
from msgspec import UNSET

from transforms.audit.event import ABSENT, LEVELS, Event, Text, flag, reduced, text
from transforms.audit.list_options import mentions_field_selector
from transforms.audit.policy_file import PolicyError, read_policy
from transforms.audit.policy_rule import Rule, Target, User, rule_matches_target, rule_matches_user, rule_matches_verb
from transforms.audit.policy_warnings import policy_warnings
from transforms.audit.request_info import VERBS_THAT_SELECT_A_NAME, RequestInfo, request_info

__all__ = ["Decision", "Policy", "PolicyError", "apply_policy", "cut", "load_policy"]

GROUPS_UNKNOWN: Final = "GROUPS_UNKNOWN"
UNDECIDABLE: Final = "POLICY_UNDECIDABLE"
RANK: Final = {level: rank for rank, level in enumerate(LEVELS)}
FULL: Final = len(LEVELS) - 1
QUERY_UNKNOWN: Final = "QUERY_UNKNOWN"
REMEMBERED: Final = 16384
# A client chooses paths, and what it chooses at length is not remembered.
LONGEST: Final = 1024
# Webhooks' whole patches; the server records them from Request up (`pkg/admission/plugin/webhook/mutating/dispatcher.go`).
PATCH_ANNOTATION: Final = "patch.webhook.admission.k8s.io/"


class Decision(msgspec.Struct, frozen=True):
    """What a policy says about an event. `rule` is the index of the first rule that matches, None if none does.

    Where the envelope hides an attribute that a rule needs, the decision is `undecidable`: nothing is dropped or cut.
    """

    rule: int | None
    level: str
    omit_stages: frozenset[str]
    omit_managed_fields: bool
    undecidable: bool = False

    def drops(self, stage: Text) -> str | None:
        """Why an event of this stage is not written: its `rule` (level None), its `stage`, or not at all."""
        if self.level == "None":
            return "rule"
        return "stage" if stage in self.omit_stages else None

    def effective(self, captured: str) -> str:
        """The level that an event captured at `captured` is written at: bodies that were not captured do not come back."""
        return captured if RANK.get(captured, FULL + 1) <= RANK[self.level] else self.level

    def as_dict(self, captured: str | None = None) -> dict[str, Any]:
        """As `explain --json` shows it; with the effective level where the captured one is given."""
        return {
            "rule": self.rule,
            "level": self.level if captured is None else captured if self.undecidable else self.effective(captured),
            "omitStages": sorted(self.omit_stages),
            "omitManagedFields": self.omit_managed_fields,
        }


class _UserInfo(msgspec.Struct, gc=False):
    username: str | None = None
    uid: str | None = None
    groups: list[str] | None = None
    extra: dict[str, Any] | None = None


class _Named(msgspec.Struct, gc=False):
    """The part of `objectRef` that the server takes from the URI."""

    resource: str | None = ""
    apiGroup: str | None = ""
    subresource: str | None = ""


class _ObjectRef(_Named, gc=False):
    namespace: str | None = ""
    name: str | None = ""


_decode_user: Final = msgspec.json.Decoder(_UserInfo).decode
_decode_named: Final = msgspec.json.Decoder(_Named | None).decode
_decode_ref: Final = msgspec.json.Decoder(_ObjectRef | None).decode
_decode_annotations: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_undecodable: Final = (msgspec.MsgspecError, UnicodeError, RecursionError)


class Policy:
    """A policy, compiled: for each user, verb and target seen, the set of rules that admit it, one bit a rule.

    The first rule that matches is the lowest bit that all three sets share. `warnings` says what the policy's author
    may not have meant.
    """

    def __init__(
        self,
        rules: tuple[Rule, ...],
        *,
        omit_stages: tuple[str, ...] = (),
        omit_managed_fields: bool = False,
        group_wildcard: bool = True,
        warnings: list[str] | None = None,
    ) -> None:
        self.rules = rules
        self.warnings = warnings if warnings is not None else []
        self.group_wildcard = group_wildcard
        self._decisions = [_decision(index, rule, omit_stages, omit_managed_fields) for index, rule in enumerate(rules)]
        self._decisions.append(Decision(None, "None", frozenset(omit_stages), omit_managed_fields))  # what index -1 finds
        self._undecidable = Decision(None, LEVELS[FULL], frozenset(), False, undecidable=True)
        self._namespaces = {name for rule in rules for name in rule.namespaces}
        self._names = {name for rule in rules for entry in rule.resources for name in entry.resource_names}
        self._users: dict[bytes, tuple[int, int]] = {}
        self._users_without_groups: dict[bytes, tuple[int, int]] = {}
        self._verbs: dict[Any, int] = {}
        # By path: the rules for its requests, and what `objectRef` says of them unless an envelope or a client meddled.
        self._paths: dict[str, tuple[int, _Named | None]] = {}
        self._firsts: dict[int, Decision] = {}
        # By group, resource, subresource, and the namespace and name if a rule has them: likewise.
        self._targets: dict[tuple[str, str, str, str | None, str | None], tuple[int, _Named]] = {}

    def may_name(self, uri: str) -> bool:
        """Whether a rule has the name that a URI asks for, or may have one that its query selects."""
        if not self._names:
            return False
        path, _, query = uri.partition("?")
        return mentions_field_selector(query) or request_info(path).name in self._names

    def decision(self, rule: int | None) -> Decision:
        """What the rule with this index decides; None: that no rule matched."""
        return self._decisions[-1 if rule is None else rule]

    def decide(self, event: Event) -> Decision:
        """What the policy says about the event, which must be as captured: `requestURI` not yet redacted. Never raises."""
        raw = bytes(event.user)
        event.user = raw  # type: ignore[assignment]  # later steps, and other policies, need not copy and hash it again
        flags: Any = event.flags
        if flags is None or GROUPS_UNKNOWN not in flags:
            certain, possible = self._users.get(raw) or self._remember_user(raw, groups_known=True)
        else:
            certain, possible = self._users_without_groups.get(raw) or self._remember_user(raw, groups_known=False)
        verb = event.verb
        verbs = self._verbs.get(verb)
        if verbs is None:
            verbs = self._remember_verb(verb)
        uri = event.requestURI
        path, mark, query = uri.partition("?") if uri is not UNSET and "?" in uri else (uri or "", "", "")
        known = self._paths.get(path)
        if known is None:
            known = self._remember_path(path)
        targets, expected = known
        if mark and self._names and verb in VERBS_THAT_SELECT_A_NAME and mentions_field_selector(query):
            targets = self._rules(target_of(event))
        elif event.objectRef is not ABSENT:
            try:
                named = _decode_named(event.objectRef)
            except _undecodable:
                named = None
            if named is not None and named != expected:
                targets = self._rules(target_of(event))
        if flags is not None and QUERY_UNKNOWN in flags and self._names and verb in VERBS_THAT_SELECT_A_NAME:
            certain, targets = certain & targets, self._rules_by_any_name(event)
        rules = possible & verbs & targets
        if possible is not certain and rules & -rules & ~certain:
            return self._undecidable
        return self._firsts.get(rules) or self._remember_first(rules)

    def _remember_first(self, rules: int) -> Decision:
        if len(self._firsts) >= REMEMBERED:
            self._firsts.clear()
        decision = self._firsts[rules] = self._decisions[(rules & -rules).bit_length() - 1]
        return decision

    def _remember_user(self, raw: bytes, *, groups_known: bool) -> tuple[int, int]:
        user = user_of(raw, groups_known=groups_known)
        certain = possible = 0
        for index, rule in enumerate(self.rules):
            matches = rule_matches_user(rule, user)
            if matches is not False:
                possible |= 1 << index
            if matches:
                certain |= 1 << index
        cache = self._users if groups_known else self._users_without_groups
        if len(cache) >= REMEMBERED:
            cache.clear()
        known = (certain, certain if certain == possible else possible)
        if len(raw) <= 4 * LONGEST:
            cache[raw] = known
        return known

    def _remember_verb(self, verb: Any) -> int:
        rules = sum(1 << index for index, rule in enumerate(self.rules) if rule_matches_verb(rule, text(verb)))
        if len(self._verbs) >= REMEMBERED:
            self._verbs.clear()
        if len(text(verb)) <= LONGEST:
            self._verbs[verb] = rules
        return rules

    def _remember_path(self, path: str) -> tuple[int, _Named | None]:
        info = request_info(path)
        known: tuple[int, _Named | None]
        if info.is_resource_request:
            known = self._resource_rules(info.api_group, info.resource, info.subresource, info.namespace, info.name)
        else:
            known = (self._admitting(Target(False, info.path, info.api_group)), None)
        if len(self._paths) >= REMEMBERED:
            self._paths.clear()
        if len(path) <= LONGEST:
            self._paths[path] = known
        return known

    def _rules_by_any_name(self, event: Event) -> int:
        """The rules that would admit the event if its lost query had selected this name or that."""
        target = target_of(event)
        if target.name or not target.is_resource_request:
            return self._rules(target)
        rules = 0
        for name in ("", *self._names):
            rules |= self._rules(msgspec.structs.replace(target, name=name))
        return rules

    def _rules(self, target: Target) -> int:
        """The rules that admit the target."""
        if target.is_resource_request:
            return self._resource_rules(target.group, target.resource, target.subresource, target.namespace, target.name)[0]
        return self._admitting(target)

    def _resource_rules(self, group: str, resource: str, subresource: str, namespace: str | None, name: str | None) -> tuple[int, _Named]:
        """The rules that admit a resource request; names and namespaces that no rule has are all the same to it."""
        at = (
            group,
            resource,
            subresource,
            namespace if namespace in self._namespaces else None,
            name if name in self._names else None,
        )
        known = self._targets.get(at)
        if known is None:
            known = (self._admitting(Target(True, "", *at)), _Named(resource, group, subresource))
            if len(self._targets) >= REMEMBERED:
                self._targets.clear()
            if len(group) + len(resource) + len(subresource) <= LONGEST:
                self._targets[at] = known
        return known

    def _admitting(self, target: Target) -> int:
        return sum(
            1 << index for index, rule in enumerate(self.rules) if rule_matches_target(rule, target, group_wildcard=self.group_wildcard)
        )


def _decision(index: int, rule: Rule, omit_stages: tuple[str, ...], omit_managed_fields: bool) -> Decision:
    omits = omit_managed_fields if rule.omit_managed_fields is None else rule.omit_managed_fields
    return Decision(index, rule.level, frozenset((*omit_stages, *rule.omit_stages)), omits)


def _has_empty_segment(info: RequestInfo) -> bool:
    return info.is_resource_request and "//" in info.path.strip("/")


def _reference(event: Event) -> _ObjectRef | None:
    try:
        return _decode_ref(event.objectRef) if event.objectRef else None
    except _undecodable:
        return None


def named_by(reference: bytes) -> tuple[str | None, ...] | None:
    """Group, resource and subresource that an `objectRef` names, as a policy compares them with what the URI says."""
    try:
        named = _decode_named(reference)
    except _undecodable:
        return None
    return None if named is None else (named.apiGroup, named.resource, named.subresource)


def user_of(raw: bytes, *, groups_known: bool = True) -> User | None:
    """The authenticated user of an event's `user`; None for `{}`, which is how a failed authentication looks.

    A user that cannot be read may be anybody, and so may one that an envelope without groups leaves empty.
    """
    unknown = User("", (), known=False, groups_known=False)
    try:
        user = _decode_user(raw) if raw and raw != b"null" else _UserInfo()
    except _undecodable:
        return unknown
    if not (user.username or user.uid or user.groups or user.extra):
        return None if groups_known else unknown
    return User(user.username or "", tuple(user.groups or ()), groups_known=groups_known)


def target_of(event: Event) -> Target:
    """What the server saw being asked for.

    Namespace and name come from the URI: the server fills those of `objectRef` in from the body, later, and the body is
    the client's (`pkg/audit/request.go`, LogRequestObject). Group, resource and subresource come from `objectRef`, which
    an envelope may lose and the server writes for every resource request; an empty segment in the path leaves these to
    be filled in later, too, so there the URI has the word. Where the URI is not one of the API, all come from `objectRef`.
    """
    info = request_info(text(event.requestURI), text(event.verb))
    ref = _reference(event)
    group, resource, subresource = info.api_group, info.resource, info.subresource
    if ref is None or _has_empty_segment(info):
        return Target(info.is_resource_request, info.path, group, resource, subresource, info.namespace, info.name)
    group, resource, subresource = ref.apiGroup or "", ref.resource or "", ref.subresource or ""
    if info.is_resource_request:
        return Target(True, info.path, group, resource, subresource, info.namespace, info.name)
    return Target(True, info.path, group, resource, subresource, ref.namespace or "", ref.name or "")


def load_policy(text: bytes, *, lenient: bool = False, group_wildcard: bool = True) -> Policy:
    """Read, validate and compile one `audit.k8s.io/v1` Policy, YAML or JSON; `PolicyError` lists all that is wrong.

    `lenient` ignores unknown and repeated fields with a warning, as kube-apiserver does; `group_wildcard=False` takes
    group `*` by the letter, as before Kubernetes 1.36.
    """
    found = read_policy(text, lenient=lenient)
    return Policy(
        found.rules,
        omit_stages=found.omit_stages,
        omit_managed_fields=found.omit_managed_fields,
        group_wildcard=group_wildcard,
        warnings=found.warnings + policy_warnings(found, group_wildcard=group_wildcard),
    )


@overload
def apply_policy(policy: Policy, event: Event) -> Decision: ...
@overload
def apply_policy(policy: None, event: Event) -> None: ...
def apply_policy(policy: Policy | None, event: Event) -> Decision | None:
    """Decide, and cut the event to the rule's level if that is lower than the captured one. What to drop is the caller's."""
    if policy is None:
        return None
    decision = policy.decide(event)
    cut(event, decision)
    return decision


def cut(event: Event, decision: Decision) -> None:
    """Cut an event that is kept to the level that was decided."""
    level = decision.level
    if level != event.level and level not in ("None", "RequestResponse") and RANK[level] < RANK.get(text(event.level), FULL + 1):
        _lower(event, level)
    elif decision.undecidable:
        flag(event, UNDECIDABLE)


def _lower(event: Event, level: str) -> None:
    event.level = level  # type: ignore[assignment]
    gone = ("responseObject",) if level == "Request" else ("responseObject", "requestObject")
    for name in gone:
        body = bytes(getattr(event, name))
        if body:
            setattr(event, name, b"")
            reduced(event, "level", f"/{name}", 1, len(body))
    if event.unknown is not None:
        _drop_unknown(event, tuple(f"/{name}/" for name in gone))
    raw = bytes(event.annotations)
    if level == "Metadata" and (b"patch.webhook" in raw or b"\\" in raw):
        _drop_patches(event, raw)


def _drop_unknown(event: Event, bodies: tuple[str, ...]) -> None:
    unknown: Any = event.unknown
    for pointer in [pointer for pointer in unknown if f"{pointer}/".startswith(bodies)]:
        reduced(event, "level", pointer, 1, len(unknown.pop(pointer)))


def _drop_patches(event: Event, raw: bytes) -> None:
    try:
        annotations = _decode_annotations(raw)
    except _undecodable:
        return
    left = {key: value for key, value in annotations.items() if not key.startswith(PATCH_ANNOTATION)}
    if len(left) < len(annotations):
        event.annotations = smaller = msgspec.json.encode(left)  # type: ignore[assignment]
        reduced(event, "level", "/annotations", len(annotations) - len(left), len(raw) - len(smaller))
