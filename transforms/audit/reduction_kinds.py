"""The kinds of reductions: what redaction says, in a record, that it took out."""

from __future__ import annotations

from typing import Final

# Every kind of reduction that redaction records, closed.
KINDS: Final = {
    "secret": "content of a Secret, or of a request for one",
    "token": "a token, or a field beside one in a token's object",
    "name": "a name that is, or may be, a secret itself",
    "label": "a label copied from secret data",
    "annotation": "annotations of a sensitive object, or an audit annotation about one",
    "patch": "a value that a patch sets in a sensitive object",
    "message": "a message that quotes values",
    "credential": "a credential in content that is otherwise kept",
    "embedded": "an encoded or embedded document that holds a Secret or a credential",
    "lastApplied": "a last-applied-configuration that cannot be read",
    "rule": "a field that the redaction catalogue names",
    "query": "the value of a query parameter",
    "path": "a segment of a proxied or unknown path",
    "execArgument": "an argument of a command executed in a container",
    "extra": "an extra attribute of a user",
    "unknown": "a field that the schema does not know, of a sensitive event",
    "unreadable": "a body that does not parse or is nested too deeply",
    "withheld": "content of an event or object that could not be judged",
    "bulk": "content of no forensic worth, on request",
}
