"""The Avro schemas of everything we write, as package data."""

from __future__ import annotations

from functools import cache
from importlib.resources import files


@cache
def schema(name: str) -> str:
    """Text of the schema `name` (audit_event, read_summary, dead_letter, ledger_entry)."""
    return (files(__package__) / f"{name}.avsc").read_text(encoding="utf-8")
