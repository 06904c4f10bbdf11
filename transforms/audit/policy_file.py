"""Read and validate an audit Policy file as kube-apiserver does, listing all that is wrong instead of the first thing."""

from __future__ import annotations

import difflib
import re
from typing import Any, Final

import msgspec

from transforms.audit.event import LEVELS, STAGES
from transforms.audit.policy_rule import GroupResources, Rule
from transforms.audit.policy_yaml import Mapping, Number, UnreadableError, read_document

API_VERSION: Final = "audit.k8s.io/v1"
# Removed from Kubernetes 1.24, equal in all fields of a Policy; managed clouds still publish theirs in it.
OLD_API_VERSION: Final = "audit.k8s.io/v1beta1"
POLICY_FIELDS: Final = ("apiVersion", "kind", "metadata", "rules", "omitStages", "omitManagedFields")
RULE_FIELDS: Final = (
    "level",
    "users",
    "userGroups",
    "verbs",
    "resources",
    "namespaces",
    "nonResourceURLs",
    "omitStages",
    "omitManagedFields",
)
GROUP_FIELDS: Final = ("group", "resources", "resourceNames")
METADATA_FIELDS: Final = tuple(
    "name generateName namespace selfLink uid resourceVersion generation creationTimestamp deletionTimestamp "
    "deletionGracePeriodSeconds labels annotations ownerReferences finalizers managedFields".split()
)
_DNS_SUBDOMAIN: Final = re.compile(r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*")


class PolicyError(ValueError):
    """A policy that kube-apiserver would refuse, or would read as something else. `problems`: each with its path."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems

    def __reduce__(self) -> tuple[type[PolicyError], tuple[list[str]]]:
        return PolicyError, (self.problems,)


class PolicyFile(msgspec.Struct, frozen=True):
    """A valid Policy as written; `warnings` are those of reading it."""

    rules: tuple[Rule, ...]
    omit_stages: tuple[str, ...] = ()
    omit_managed_fields: bool = False
    warnings: list[str] = []


def read_policy(text: bytes, *, lenient: bool = False) -> PolicyFile:
    """The Policy in a YAML or JSON text of exactly one document; raises `PolicyError`.

    Rules of kubernetes/apiserver `pkg/audit/policy/reader.go` and `pkg/apis/audit/validation`. Where upstream falls back
    to ignoring what it does not know, which makes a rule broader, this refuses, unless `lenient`.
    """
    try:
        document = read_document(text)
    except UnreadableError as error:
        raise PolicyError([str(error)]) from None
    reader = _Reader(lenient)
    found = reader.policy(document)
    if reader.problems:
        raise PolicyError(reader.problems)
    return found


class _Reader:
    """Walks the document; what is wrong is noted and read as absent."""

    def __init__(self, lenient: bool) -> None:
        self.lenient = lenient
        self.problems: list[str] = []
        self.warnings: list[str] = []

    def policy(self, document: Any) -> PolicyFile:
        if not isinstance(document, dict):
            self.problems.append(f"expected a Policy, found {_shown(document)}")
            return PolicyFile(())
        fields = self.fields(document, "", POLICY_FIELDS)
        self._check_type(fields)
        self._check_metadata(fields.get("metadata"))
        rules = tuple(self.rule(rule, f"rules[{index}]") for index, rule in enumerate(self.items(fields.get("rules"), "rules")))
        if not rules and not any(problem.startswith("rules") for problem in self.problems):
            self.problems.append("rules: at least one rule is required")
        omit_stages = self.stages(fields.get("omitStages"), "omitStages")
        omit_managed_fields = self.boolean(fields.get("omitManagedFields"), "omitManagedFields") or False
        return PolicyFile(rules, omit_stages, omit_managed_fields, self.warnings)

    def _check_type(self, fields: dict[str, Any]) -> None:
        version = self.string(fields.get("apiVersion"), "apiVersion")
        if version == OLD_API_VERSION:
            self.warnings.append(f"apiVersion: {OLD_API_VERSION} is read as {API_VERSION}; kube-apiserver refuses it since 1.24")
        elif version != API_VERSION:
            self.problems.append(f"apiVersion: must be {API_VERSION}" + (f", not {version!r}" if version else ""))
        kind = self.string(fields.get("kind"), "kind")
        if not kind:  # kube-apiserver knows what it expects
            self.warnings.append("kind: missing, read as Policy")
        elif kind != "Policy":
            self.problems.append(f"kind: must be Policy, not {kind!r}")

    def _check_metadata(self, metadata: Any) -> None:
        fields = self.fields(metadata, "metadata", METADATA_FIELDS)
        for name in ("name", "generateName", "namespace"):
            self.string(fields.get(name), f"metadata.{name}")
        for name in ("labels", "annotations"):
            value = fields.get(name)
            if isinstance(value, dict):
                for key, entry in value.items():
                    self.string(entry, f"metadata.{name}[{key}]")
            elif value is not None:
                self.problems.append(f"metadata.{name}: expected a mapping, found {_shown(value)}")

    def rule(self, value: Any, path: str) -> Rule:
        fields = self.fields(value, path, RULE_FIELDS)
        rule = Rule(
            level=self.level(fields.get("level"), f"{path}.level"),
            users=self.strings(fields.get("users"), f"{path}.users"),
            user_groups=self.strings(fields.get("userGroups"), f"{path}.userGroups"),
            verbs=self.strings(fields.get("verbs"), f"{path}.verbs"),
            resources=tuple(
                self.group_resources(entry, f"{path}.resources[{index}]")
                for index, entry in enumerate(self.items(fields.get("resources"), f"{path}.resources"))
            ),
            namespaces=self.strings(fields.get("namespaces"), f"{path}.namespaces"),
            non_resource_urls=self.strings(fields.get("nonResourceURLs"), f"{path}.nonResourceURLs"),
            omit_stages=self.stages(fields.get("omitStages"), f"{path}.omitStages"),
            omit_managed_fields=self.boolean(fields.get("omitManagedFields"), f"{path}.omitManagedFields"),
        )
        for index, url in enumerate(rule.non_resource_urls):
            self._check_url(url, f"{path}.nonResourceURLs[{index}]")
        if rule.non_resource_urls and rule.wants_resource:
            self.problems.append(f"{path}.nonResourceURLs: a rule cannot apply to both resources or namespaces and non-resource URLs")
        for name in ("users", "userGroups", "verbs", "resources", "namespaces", "nonResourceURLs"):
            if name in fields and not fields[name]:
                self.warnings.append(f"{path}.{name}: empty, so it admits everything")
        return rule

    def _check_url(self, url: str, path: str) -> None:
        if url == "*":
            return
        if not url.startswith("/"):
            self.problems.append(f"{path}: {url!r} must begin with '/', or be '*'")
        if "*" in url[:-1]:
            self.problems.append(f"{path}: in {url!r}, '*' must be the last character, and the only one")

    def group_resources(self, value: Any, path: str) -> GroupResources:
        fields = self.fields(value, path, GROUP_FIELDS)
        entry = GroupResources(
            self.string(fields.get("group"), f"{path}.group"),
            self.strings(fields.get("resources"), f"{path}.resources"),
            self.strings(fields.get("resourceNames"), f"{path}.resourceNames"),
        )
        if entry.group not in ("", "*") and not (len(entry.group) <= 253 and _DNS_SUBDOMAIN.fullmatch(entry.group)):
            hint = f"; the version does not belong here: {entry.group.partition('/')[0]}" if "/" in entry.group else ""
            self.problems.append(f"{path}.group: {entry.group!r} must be empty, '*' or a lower-case DNS subdomain{hint}")
        if entry.resource_names and not entry.resources:
            self.problems.append(f"{path}.resourceNames: needs at least one entry in resources")
        return entry

    def level(self, value: Any, path: str) -> str:
        level = self.string(value, path)
        if value is None or (isinstance(value, str) and level == ""):
            self.problems.append(f"{path}: required, one of {', '.join(LEVELS)}")
        elif level and level not in LEVELS:
            self.problems.append(f"{path}: {level!r} is not one of {', '.join(LEVELS)}{_hint(level, LEVELS)}")
        return level if level in LEVELS else LEVELS[-1]

    def stages(self, value: Any, path: str) -> tuple[str, ...]:
        stages = self.strings(value, path)
        for index, stage in enumerate(stages):
            if stage not in STAGES:
                self.problems.append(f"{path}[{index}]: {stage!r} is not one of {', '.join(STAGES)}{_hint(stage, STAGES)}")
        return stages

    def fields(self, value: Any, path: str, known: tuple[str, ...]) -> dict[str, Any]:
        """The mapping's known fields; null is an empty mapping."""
        if value is None:
            return {}
        if not isinstance(value, dict):
            self.problems.append(f"{path}: expected a mapping, found {_shown(value)}")
            return {}
        prefix = f"{path}." if path else ""
        report = self.warnings if self.lenient else self.problems
        ending = "; ignored, which makes the rule broader" if self.lenient else ""
        for name in value:
            if name not in known:
                report.append(f"{prefix}{name}: unknown field{_hint(name, known)}{ending}")
        for name in value.repeated if isinstance(value, Mapping) else ():
            report.append(f"{prefix}{name}: given more than once{'; the last one counts' if self.lenient else ''}")
        return {name: value[name] for name in known if name in value}

    def items(self, value: Any, path: str) -> list[Any]:
        if value is None or isinstance(value, list):
            return value or []
        self.problems.append(f"{path}: expected a list, found {_shown(value)}")
        return []

    def strings(self, value: Any, path: str) -> tuple[str, ...]:
        return tuple(self.string(entry, f"{path}[{index}]") for index, entry in enumerate(self.items(value, path)))

    def string(self, value: Any, path: str) -> str:
        """The string; null is the empty one, as for Go."""
        if isinstance(value, str) and not isinstance(value, Number):
            return value
        if value is not None:
            quote = "; quote it" if isinstance(value, (bool, Number)) else ""
            self.problems.append(f"{path}: expected a string, found {_shown(value)}{quote}")
        return ""

    def boolean(self, value: Any, path: str) -> bool | None:
        if value is None or isinstance(value, bool):
            return value
        self.problems.append(f"{path}: expected true or false, found {_shown(value)}")
        return None


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "the boolean true" if value else "the boolean false"
    if isinstance(value, Number):
        return f"the number {value}"
    if isinstance(value, str):
        return repr(value if len(value) <= 60 else value[:57] + "...")
    if value is None:
        return "nothing"
    return "a list" if isinstance(value, list) else "a mapping"


def _hint(name: str, known: tuple[str, ...]) -> str:
    by_lower = {candidate.lower(): candidate for candidate in known}
    near = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.6)
    return f", did you mean {by_lower[near[0]]}?" if near else ""
