"""What a run is asked to do, as plain data: the same on every worker, and recorded so that the run can be replayed."""

from __future__ import annotations

from functools import cached_property, lru_cache
from typing import Final, Literal

import msgspec

from transforms.audit.aggregate_reads import WINDOW, ReadGuard
from transforms.audit.catalogue import load_catalogue
from transforms.audit.event import ODD_BEFORE
from transforms.audit.guards import load_guards
from transforms.audit.policy import Policy, load_policy
from transforms.audit.redaction import Redactor

ODD_AFTER: Final = 86_400_000_000  # a day ahead of the run's start
HOUR: Final = 3_600_000_000
UNKNOWN_HOUR: Final = -1


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that decides what becomes of an event. Files are held by content, times in microseconds since the epoch."""

    started: int
    merge: bool = True
    fold: bool = True
    window: int = WINDOW
    policy: str | None = None
    lenient_policy: bool = False
    group_wildcard: bool = True
    guards: str | None = None
    keep_managed_fields: bool = False
    exec_args: Literal["keep", "program", "none"] = "program"
    redaction_rules: str | None = None
    strip_bulk: bool = False

    def recorded(self) -> str:
        """As JSON, for the ledger."""
        return msgspec.json.encode(self).decode()


# One for all consumers of a stream that ask for the same: what it has judged, it has judged for all of them.
@lru_cache(maxsize=16)
def _redactor(exec_args: Literal["keep", "program", "none"], rules: str | None, strip_bulk: bool, key: bytes) -> Redactor:
    catalogue = None if rules is None else load_catalogue(rules.encode())
    return Redactor(exec_args=exec_args, rules=catalogue, hash_key=key or None, strip_bulk=strip_bulk)


@lru_cache(maxsize=16)
def _read_guard(guards: str | None) -> ReadGuard:
    return ReadGuard(load_guards(guards.encode()) if guards is not None else ())


class Compiled:
    """Settings made ready to work: rules compiled, caches in place. One per worker; not to be pickled."""

    def __init__(self, settings: Settings, key: bytes) -> None:
        self.settings = settings
        self.key = key

    @cached_property
    def policy(self) -> Policy | None:
        """The policy, compiled."""
        text, settings = self.settings.policy, self.settings
        if text is None:
            return None
        return load_policy(text.encode(), lenient=settings.lenient_policy, group_wildcard=settings.group_wildcard)

    @cached_property
    def redactor(self) -> Redactor:
        """The redactor with the run's rules."""
        settings = self.settings
        return _redactor(settings.exec_args, settings.redaction_rules, settings.strip_bulk, self.key)

    @cached_property
    def read_guard(self) -> ReadGuard:
        """The guards, built in and the user's."""
        return _read_guard(self.settings.guards)

    def believable(self, moment: int | None) -> int | None:
        """The time if it may be true, else None: before 2014 or more than a day ahead of the run's start is odd."""
        return moment if moment is not None and ODD_BEFORE <= moment <= self.settings.started + ODD_AFTER else None


def hour_of(moment: int | None) -> int:
    """Start of the hour in microseconds: the output's partition; UNKNOWN_HOUR for no time."""
    return UNKNOWN_HOUR if moment is None else moment - moment % HOUR
