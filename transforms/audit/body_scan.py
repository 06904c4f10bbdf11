r"""One pass over a body that clears nearly all of them: Hyperscan finds every place that `needles` would have to look at.

A superset on purpose: what is cleared here `needles.examine` would have cleared as well, which a property test holds it to.
What is not cleared is examined place by place. One pass by a library that compares many bytes at once costs a fifth of the
dozen passes that it stands for.
"""

from __future__ import annotations

from threading import local
from typing import Final

import hyperscan

_S: Final = rb"[\x09-\x0d ]"
_WORD: Final = rb"(?:pass|secret|token)"
_WORD_AND_TAIL: Final = (
    rb"(?:pass(?:w(?:or)?ds?|wd|wort|phrase|code|key|wrd)?|secrets?(?:[ _.\-]?(?:access)?[ _.\-]?keys?)?|tokens?)"
    rb"(?:[ _.\-]?(?:value|val|base64|b64|plain|plaintext|text|string|data|raw|literal|current|previous|old|new|env))?[ _.\-]?[0-9]{0,4}"
)
_NAME: Final = _WORD + rb"[a-z0-9 _.\-]*"
_KEY: Final = (
    rb"(?:private|api|app|application|access|secret|priv|encrypt|encryption|decryption|signing|sign|master|account|storage|shared|auth|"
    rb"user|admin|root|session|license|deploy|hmac|rsa|gpg|pgp|crypto|cipher|aes|consumer|subscription|instrumentation|integration|"
    rb"client|bucket|signature|jwt)[ _.\-]?keys?"
    rb"(?:[ _.\-]?(?:value|val|base64|b64|plain|plaintext|text|string|data|raw|literal|current|previous|old|new|env))?[ _.\-]?[0-9]{0,4}"
)
_QUOTE: Final = rb"[\"'`]"
_SAID: Final = (  # a scalar or a list that it is the key of, an assignment, a word, a PEM header's dashes
    rb"(?:\\*" + _QUOTE + _S + rb"*:" + _S + rb"*(?:\[" + _S + rb"*)?(?:\\*[\"']|[0-9\-|>])"
    rb"|[\"'`\]]?" + _S + rb"*(?:=>|:=|=|:)" + _S + rb"*[^\x09-\x0d {\[}\],]|" + _S + rb"+[^\x09-\x0d =:{}\[\]]|--)"
)
_ENDS: Final = rb"\\*" + _QUOTE + _S + rb"*[,}]"
_COMMA_VALUE: Final = rb"," + _S + rb"*\\*\"value"

# What was found, by which `needles` chooses what to do: look at environment variables, search in any case, look closer at a
# token or a long run, look at each word that credentials' names end in.
VARIABLES, SEARCH, TOKEN, RUN, WORDS = range(5)
_PATTERNS: Final = (
    (VARIABLES, rb'"value":"'),
    (SEARCH, rb'"value"(?:' + _S + rb"|." + _S + rb")"),
    (SEARCH, rb'://[^\x09-\x0d "]{1,300}@'),
    (SEARCH, rb"\\u00(?:[46][1-9a-f]|[57][0-9a]|5f|3[0-9])"),
    (SEARCH, rb"%[0-9a-f]{2}"),
    (SEARCH, rb"(?-i)AKIA"),
    (TOKEN, rb"(?-i)eyJ"),
    (RUN, rb"[a-z0-9+/_\-=]{48}"),
    (WORDS, _WORD_AND_TAIL + _SAID),
    # `"DB_PASSWORD","value":` with anything odd about it: escapes, spaces, no string (a space in the name is in the pattern above)
    (WORDS, _NAME + rb"\\+" + _QUOTE + _S + rb"*" + _COMMA_VALUE),
    (WORDS, _NAME + _QUOTE + _S + rb"+" + _COMMA_VALUE),
    (WORDS, _NAME + _QUOTE + rb"," + _S + rb"+\\*\"value"),
    (WORDS, _NAME + _QUOTE + rb",\\+\"value"),
    (WORDS, _NAME + _QUOTE + rb",\"value(?:\\|\"" + _S + rb"|\":[^\"]|\":\z)"),
    (WORDS, _KEY + rb"(?:" + _SAID + rb"|" + _ENDS + rb"|\\*" + _QUOTE + _S + rb"*" + _COMMA_VALUE + rb")"),
    (WORDS, rb"key--"),
    (WORDS, rb"(?:kind|@type)[\\\"'\x09-\x0d :=a-z0-9./]*secret"),
    # a string that ends in a credential's name: an option, or a name that stands after its value
    (WORDS, rb"\"-[^\"]*" + _WORD_AND_TAIL + _ENDS),
    (WORDS, rb"value[^{]*(?:name\\*\":|\"key\":)[ \\]*\"[^\"]*" + _WORD_AND_TAIL + _ENDS),
    # too far from any quote to tell
    (WORDS, rb"\A[^\"]*" + _WORD),
    (WORDS, rb"[^\"]{4096}"),
)
_FLAGS: Final = hyperscan.HS_FLAG_SINGLEMATCH | hyperscan.HS_FLAG_DOTALL | hyperscan.HS_FLAG_CASELESS
_own: Final = local()  # a database's working memory serves one thread at a time


def _note(kind: int, _start: int, _end: int, _flags: int, found: list[int]) -> None:
    found.append(kind)


def _database() -> hyperscan.Database:
    database = hyperscan.Database(mode=hyperscan.HS_MODE_BLOCK)
    kinds, patterns = zip(*_PATTERNS, strict=True)
    database.compile(expressions=patterns, ids=kinds, elements=len(patterns), flags=[_FLAGS] * len(patterns))
    _own.database = database
    return database


def scan_body(body: bytes) -> list[int]:
    """What there is to look at, in any order; nothing in most bodies."""
    found: list[int] = []
    database: hyperscan.Database = getattr(_own, "database", None) or _database()
    database.scan(body, match_event_handler=_note, context=found)  # type: ignore[arg-type]  # the context is any object
    return found
