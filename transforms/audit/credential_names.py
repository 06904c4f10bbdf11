"""What a credential is called: the ends of its names, in any style of writing them.

A heuristic for content that is not a Secret. What belongs to a Secret never depends on it.
"""

from __future__ import annotations

import re
from typing import Final

# A key is a credential's if it ends so: `DB_PASSWORD`, `clientSecret`, `vault.io/token`, but not `secretName`, `tokenizer`.
_KEYED: Final = (
    "api|app|application|access|secret|private|priv|encrypt|encryption|decryption|signing|sign|master|account|storage|shared|auth|user|admin|root|"
    "ssh|fernet|unseal|sec|session|license|deploy|hmac|rsa|gpg|pgp|crypto|cipher|aes|consumer|subscription|instrumentation|integration|client|bucket|signature|jwt|"
    "tls|service|recovery|gcp|certificate|(?<![a-z])sa"
)
ENDS: Final = (
    r"pass(?:_?word|wd|wort|phrase|code|key|_?wrd)s?|pwd|(?<![a-z])p(?:ass|w|sw|swd)|"
    r"(?:db|pg|my|mysql|user|root|admin|smtp|redis|mongo|sql|ssh|ftp|ldap)_?pass|"
    r"secrets?|tokens?|jwt|bearer|credentials?|creds|assertion|signature|(?<![a-z])sig|(?<![a-z])sas|(?<![a-z])pin(?:code)?|(?<![a-z])otp|"
    r"contrase[nñ]a|senha|mot_de_passe|пароль|密码|(?:require|auth)pass|masterauth|secret[ _.\-]?id|webhook[ _.\-]?urls?|slack_api_url|"
    r"(?:npm|redis(?:cli)?)_auth|(?<![a-z])x[_\-]auth|community[ _.\-]?string|snmp[ _.\-]?community|(?:wallet|t?otp|master)[ _.\-]?seed|"
    r"mnemonic|(?<![a-z])salt|pepper|(?<![a-z])psk|(?<![a-z])cred|(?<![a-z])pat|seed_?phrase|(?<![a-z0-9])_auth|httpheadervalue|bindpw|rootpw|"
    r"access[ _.\-]?key[ _.\-]?id|private[ _.\-]?key[ _.\-]?id|secret_key_base|"
    rf"(?:{_KEYED})[ _.\-]?keys?|(?<![a-z])dsn|conn(?:ection)?[ _.\-]?str(?:ing)?|"
    r"dockerconfigjson|dockercfg|docker[_.\-]?auth(?:[_.\-]?config)?|htpasswd|cookies?|"
    r"authorization|(?:basic|proxy|http|registry)[ _.\-]?auth|auth[ _.\-]?(?:code|header|basic)|authorization[ _.\-]?code"
)
ENDING: Final = (
    r"(?:[ _.\-]?(?:value|val|base64|b64|plain|plaintext|text|string|data|raw|literal|current|previous|old|new|env|"
    r"hash|sha\d{1,3}|hex|json|pem|prod|dev|primary|secondary|v(?=\d)))?[ _.\-]?\d{0,4}"
)
_KEY: Final = re.compile(rf"(?:{ENDS}){ENDING}$")
_CAMEL: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
# Names of things beside credentials (of the Secret that holds one, of a file to inject), and numbers that count.
NOT_KEY: Final = re.compile(
    r"(?:existing|pull|tls|ssl|certs?|certificates?|(?<![a-z])ca|credentials?|password|kube_?config|target|source|from)[ _.\-]?secrets?$|"
    r"(?<!o)auth[ .\-]?secrets?$|automount_?service_?account_?token$|agent-inject-[a-z0-9_.\-]*$|existent secret key$|"
    r"(?<![a-z])(?:max|min|num|total)[ _.\-]?tokens?$|pass_?keys?$|primary_?key$|checksum/[a-z0-9.\-]*$|chpasswd$"
)
# A word to one program and a credential to another: RabbitMQ routes by `orders.created`, PagerDuty by 32 letters and digits.
_DOUBTFUL: Final = re.compile(rf"(?:routing|pagerduty)[ _.\-]?keys?{ENDING}$")
_STRONG: Final = re.compile(r"pass|pwd|pin|otp|code")

_keys: dict[str, bool] = {}


def sensitive_key(key: str) -> bool:
    """Whether a field, variable or parameter of this name holds a credential."""
    known = _keys.get(key)
    if known is None:
        known = _sensitive_key(key)
        if len(_keys) > 20_000:
            _keys.clear()
        if len(key) < 200:
            _keys[key] = known
    return known


def _sensitive_key(key: str) -> bool:
    if len(key) > 512:
        return False
    spaced = _CAMEL.sub("_", key).lower()
    plain = key.lower()
    if NOT_KEY.search(plain) or NOT_KEY.search(spaced):
        return False
    return _KEY.search(plain) is not None or _KEY.search(spaced) is not None


def doubtful_key(key: str) -> bool:
    """Whether a field, variable or parameter of this name holds a credential if nobody would write such a value."""
    low = key.lower()
    return ("routing" in low or "pagerduty" in low) and len(low) < 512 and _DOUBTFUL.search(low) is not None


def counts_as_number(key: str) -> bool:
    """Whether a number under this sensitive key is the credential itself (`pin: 1234`) and not a count (`tokens: 3`)."""
    return _STRONG.search(key.lower()) is not None
