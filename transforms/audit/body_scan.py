r"""One pass over a body that clears nearly all of them: Hyperscan finds every place that `needles` would have to look at.

A superset on purpose: what is cleared here `needles.examine` would have cleared as well, which a property test holds it to.
What is not cleared is examined place by place. One pass by a library that compares many bytes at once costs a fifth of the
dozen passes that it stands for.
"""

from __future__ import annotations

from typing import Final

from transforms.audit.scanner import ALL, Scanner

_S: Final = rb"[\x09-\x0d ]"
_WORD: Final = rb"(?:pass|secret|token)"
_WORD_AND_TAIL: Final = (
    rb"(?:pass(?:w(?:or)?ds?|wd|wort|phrase|code|key|wrd)?|secrets?(?:[ _.\-]?(?:access)?[ _.\-]?keys?)?|tokens?)"
    rb"(?:[ _.\-]?(?:value|val|base64|b64|plain|plaintext|text|string|data|raw|literal|current|previous|old|new|env"
    rb"|hash|sha[0-9]{1,3}|hex|json|pem|prod|dev|primary|secondary|v[0-9]))?[ _.\-]?[0-9]{0,4}"
)
_NAME: Final = _WORD + rb"[a-z0-9 _.\-]*"
_KEY: Final = (
    rb"(?:private|api|app|application|access|secret|priv|encrypt|encryption|decryption|signing|sign|master|account|storage|shared|auth|"
    rb"user|admin|root|session|license|deploy|hmac|rsa|gpg|pgp|crypto|cipher|aes|consumer|subscription|instrumentation|integration|"
    rb"client|bucket|signature|jwt|ssh|fernet|unseal|sec|tls|service|recovery|gcp|certificate|sa)[ _.\-]?keys?"
    rb"(?:[ _.\-]?(?:value|val|base64|b64|plain|plaintext|text|string|data|raw|literal|current|previous|old|new|env"
    rb"|hash|sha[0-9]{1,3}|hex|json|pem|prod|dev|primary|secondary|v[0-9]))?[ _.\-]?[0-9]{0,4}"
)
_QUOTE: Final = rb"[\"'`]"
_SAID: Final = (  # a scalar or a list that it is the key of, an assignment, a word, a PEM header's dashes
    rb"(?:\\*" + _QUOTE + _S + rb"*:" + _S + rb"*(?:\[" + _S + rb"*)?(?:\\*[\"']|[0-9\-|>])"
    rb"|[\"'`\]]?" + _S + rb"*(?:=>|:=|=|:)" + _S + rb"*[^\x09-\x0d {\[}\],]|" + _S + rb"+[^\x09-\x0d =:{}\[\]]|--)"
)
# Names of credentials that need no closer look, for few other things are called so.
_RARE: Final = (
    rb"(?:pwd|(?:[^a-z]|\\[nrt])(?:pw|psw|psk|sas|sig|otp|pin|salt|cred|pat)|jwt|pepper|bindpw|rootpw|access[ _.\-]?key[ _.\-]?id|"
    rb"private[ _.\-]?key[ _.\-]?id|secret_key_base|seed_?phrase|"
    rb"(?:routing|pagerduty)[ _.\-]?keys?|auth(?:orization)?[ _.\-]?code|auth[ _.\-]?(?:header|basic)|"
    rb"senha|contrase(?:n|\xc3\xb1)a|mot_de_passe|"
    rb"slack_api_url|docker[_.\-]?auth(?:[_.\-]?config)?|community[ _.\-]?string|snmp[ _.\-]?community|pincode|"
    rb"(?:wallet|otp|master)[ _.\-]?seed|"
    rb"credentials?|creds|assertion|signature|mnemonic|cookies?|htpasswd|dsn|"
    rb"(?:[ _.\-]|basic|http)auth|webhook[_\-]?url|secret[_\-]?id|dockercfg|dockerconfigjson|conn(?:ection)?[ _.\-]?str(?:ing)?)"
    rb"(?:[ _.\-]?(?:value|val|base64|b64|plain|plaintext|text|string|data|raw|literal|current|previous|old|new|env|"
    rb"hash|sha[0-9]{1,3}|hex|json|pem|prod|dev|primary|secondary|v[0-9]))?[ _.\-]?[0-9]{0,4}"
)
# Of these, what ends an option's name.
_OPTION: Final = (
    rb"(?:pwd|-(?:pw|psw|psk|sas|sig|otp|pin|salt|pat)|jwt|pepper|credentials?|creds?|auth|cookies?|mnemonic|dsn|"
    rb"webhook[_\-]?url|secret[_\-]?id|key[_\-]?id|string|assertion|signature|(?:routing|pagerduty)[_\-]?key|senha|seed|code)"
)
_RARE_WORD: Final = rb"pass|pwd|secret|token|key|cred"
_APART: Final = rb"[a-z0-9_.\-]*(?:" + _S + rb"*(?:[<>]|\\u003[ce])|\\*[\"']?(?:\\[nr]|[\x09-\x0d ])+\\*[\"']?value)"
_COLUMN: Final = rb"[a-z0-9_]*(?:(?:[,;|]|\\t)[a-z]|'" + _S + rb"*," + _S + rb"*')"
_SCALAR: Final = rb"\\*[\"'`]?\]?" + _S + rb"*(?:=>|:=|==?|:)" + _S + rb"*\\*[\"']?[^\x09-\x0d {\[\]},\"'\\]"
_CLIENTS: Final = (
    rb"(?:mysql|mariadb|sshpass|redis-cli|mongo|ldap(?:search|modify|add|delete|passwd|whoami)|sqlcmd|login|"
    rb"cqlsh|mosquitto_|zip|7z|user(?:add|mod)|ncftp)"
)
_DATABASE_AND_USER: Final = rb":[^\x09-\x0d :\"]+:[^\x09-\x0d :\"]+:"
# Programs that take a credential without an option, or by one that others use for something else.
_PLACES: Final = (
    rb"(?:vault[^{}a-z]+(?:args\"[^{}a-z]+)?(?:login|operator)|operator[\x09-\x0d \",]+unseal|authtoken\"|"
    rb"(?:add_user|change_password)[\x09-\x0d \"]|alias[\x09-\x0d \",]+set[\x09-\x0d \"]|configure[\x09-\x0d \",]+set|"
    rb"(?:htpasswd|openssl|smbclient|snmp(?:bulk)?(?:get|walk|set)|keytool|lftp|set-agent-token|addauth)[\x09-\x0d \"]|"
    rb"chpasswd|password-stdin|@tcp\(|:thin:|loginmodule|sqlplus[\x09-\x0d \"]|\bpsk[\x09-\x0d ]+(?:\\\"|')|\blogin=[^\x09-\x0d \":=]+:)"
)
_SECRET_TYPES: Final = (
    rb"(?:opaque|kubernetes\.io/(?:service-account-token|dockercfg|dockerconfigjson|basic-auth|ssh-auth|tls)|"
    rb"bootstrap\.kubernetes\.io/token|helm\.sh/release\.v[0-9])"
)
_ENDS: Final = rb"\\*" + _QUOTE + _S + rb"*[,}]"
_BREAK: Final = rb"(?:\\[nrt]|[\x09-\x0d ])"
_COMMA_VALUE: Final = rb"," + _S + rb"*\\*\"value"

# `"DB_PASSWORD","value":` with anything odd about it: escapes, spaces, no string
_ODD_VALUE: Final = (
    rb"(?:(?:\\+" + _QUOTE + _S + rb"*|" + _QUOTE + _S + rb"+)" + _COMMA_VALUE + rb"|"
    rb"" + _QUOTE + rb",(?:" + _S + rb"+\\*\"value|\\+\"value|\"value(?:\\|\"" + _S + rb"|\":[^\"]|\":\z)))"
)

# What was found, by which `needles` chooses what to do: look at environment variables, search in any case, look closer at a
# token or a long run, look at each word that credentials' names end in.
VARIABLES, SEARCH, TOKEN, RUN, WORDS = range(0, -5, -1)
# For speed: a pattern is tried wherever its literal stands, and one that has no literal of two bytes at least, at every byte.
# So what may follow a common word is one pattern for all, and a class of bytes that a literal needs is a pattern for each byte.
_PATTERNS: Final = (
    (VARIABLES, rb'(?-i)"value":"'),
    (SEARCH, rb'"value"(?:' + _S + rb"|." + _S + rb")"),
    (SEARCH, rb'://[^\x09-\x0d "]{1,300}@'),
    (SEARCH, rb"\\u00(?:[46][1-9a-f]|[57][0-9a]|5f|3[0-9])"),
    (SEARCH, rb"%[0-9a-f]{2}"),
    # a Secret that does not say its kind
    (SEARCH, rb"string_?data"),
    (SEARCH, rb"type[\\\"']*" + _S + rb"*:" + _S + rb"*[\\\"']*" + _SECRET_TYPES),
    (SEARCH, rb"secretgenerator|kubernetes_secret"),
    # what `credentials` knows by its first letters
    (SEARCH, rb"(?-i)(?:AKIA|\b(?:ASIA|AGPA|AROA|AIDA|ABIA|ACCA)[A-Z0-9]{16}|AIza[\w\-]{30}|ya29\.|GOCSPX-|EAAC|SG\.[\w\-]{16})"),
    (SEARCH, rb"(?-i)\b(?:gh[pousr]_[A-Za-z0-9]{16}|github_pat_|gl(?:pat|dt|rt|cbt|ptt|ft|soat)-|npm_[A-Za-z0-9]{30}|pypi-[\w\-]{30})"),
    (SEARCH, rb"(?-i)\b(?:xox[abeoprs]-|xapp-|[sr]k_(?:live|test)_|whsec_|sk-[A-Za-z0-9_\-]{20}|hf_[A-Za-z0-9]{20})|hooks\.slack\.com"),
    (SEARCH, rb"(?-i)\b(?:dckr_pat_|hv[sbr]\.[A-Za-z0-9_\-]{20}|s\.[A-Za-z0-9]{24}|dop_v1_|sha256~)|PuTTY-User"),
    (
        SEARCH,
        rb"(?-i)\$(?:apr1|1|2[abxy]|5|6|y|argon2i?d?)\$[./A-Za-z0-9$=,+]{8}|SCRAM-SHA-[0-9]|[\"']md5[0-9a-f]{32}|\{S?SHA[0-9]*\}|com/api/webhooks/|/webhookb2/|/bot[0-9]{6}",
    ),
    # XML, SQL, directives and options in which a credential's name stands apart from its value
    (SEARCH, rb"(?:(?:" + _RARE_WORD + rb")(?:" + _APART + rb"|" + _COLUMN + rb")|auth" + _APART + rb")"),
    (SEARCH, rb"(?:(?:[,;|]|\\t)[a-z0-9_]*|[\x09-\x0d ]--?[a-z0-9_.\-]*)(?:" + _RARE_WORD + rb")[a-z0-9_]*(?:\\r)?\\n"),
    (
        SEARCH,
        rb"identified" + _S + rb"+(?:by|with)|(?:requirepass|masterauth|bindpw|rootpw)[\x09-\x0d \"=]|"
        rb"(?:[?&]|\\u0026)(?:(?:api)?key|auth|code)=|--from-literal",
    ),
    # items of lists that stand in a text: an option and its value, a constant and its; after an option of one letter, a random word
    *((SEARCH, rb"(?-i)\x%02x-[A-Za-z][\x09-\x0d =\",]+[A-Za-z0-9+_]{20}" % before) for before in b'\t\n\v\f\r "'),
    (
        SEARCH,
        rb"(?:_(?:headers?|param)"
        + _S
        + rb"+\\*[\"']?\$?|\bset"
        + _S
        + rb"+\\*[\"']?\$)[a-z0-9_\-]*(?:pass|pwd|secret|token|key|cred|auth)",
    ),
    # rows under columns' names
    (SEARCH, rb"\b(?:insert|replace)" + _S + rb"+(?:[a-z]+" + _S + rb"+)?into" + _S + rb"|from" + _S + rb"+stdin"),
    (SEARCH, _PLACES),
    # a port and then a database and a user
    *((SEARCH, b":[0-9]{3,4}%d" % digit + _DATABASE_AND_USER) for digit in range(10)),
    (SEARCH, rb":\*" + _DATABASE_AND_USER),
    (SEARCH, rb"authorization" + _SCALAR),
    (SEARCH, rb"\b(?:bearer|basic)" + _S + rb"+[a-z._~+/\-]*[0-9=]"),
    # a scalar that it is the name of; an XML element; a variable and its value in JSON within a string, as in what kubectl applied last
    (SEARCH, _RARE + rb"(?:" + _SCALAR + rb"|" + _S + rb"*(?:>|\\u003e)|\\+\"" + _BREAK + rb"*," + _BREAK + rb"*\\+\"value)"),
    (SEARCH, rb"(?:pass|secret|token|key)[a-z0-9 _.\-]*\\+\"," + _BREAK + rb"+\\+\"value"),
    # an option and its value, in a list or in a script
    (SEARCH, rb"[\x09-\x0d \"]-[a-z0-9_.\-]*" + _OPTION + rb"(?:\"" + _S + rb"*,|" + _S + rb"+[^\x09-\x0d \-])"),
    (SEARCH, rb"\"auth\\*\"" + _S + rb"*:" + _S + rb"*\\*\""),
    (SEARCH, rb"[\x09-\x0d \"](?:-u|--user|--proxy-user)[\x09-\x0d =\",]*[^\x09-\x0d :\"'<,]+:"),
    (SEARCH, _CLIENTS + rb"[^{}]*[\x09-\x0d \"]-[paw]"),
    (SEARCH, rb":\\/\\/"),
    (TOKEN, rb"(?-i)eyJ"),
    (WORDS, rb"(?:" + _WORD_AND_TAIL + _SAID + rb"|" + _NAME + _ODD_VALUE + rb")"),
    (WORDS, _KEY + rb"(?:" + _SAID + rb"|" + _ENDS + rb"|\\*" + _QUOTE + _S + rb"*" + _COMMA_VALUE + rb")"),
    (WORDS, rb"key--"),
    (WORDS, rb"(?:kind|@type)[\\\"'\x09-\x0d :=a-z0-9./!>|&;_\-]{0,60}secret"),
    # a string that ends in a credential's name: an option, or a name that stands after its value
    (WORDS, rb"\"-[^\"]*" + _WORD_AND_TAIL + _ENDS),
    (WORDS, rb"value[^{]*(?:name\\*\":|\"key\":)[ \\]*\"[^\"]*" + _WORD_AND_TAIL + _ENDS),
)
_OF_LENGTH: Final = (
    (RUN, rb"[a-z0-9+/_\-=]{48}"),
    # too far from any quote to tell
    (WORDS, rb"\A[^\"]*" + _WORD),
    (WORDS, rb"[^\"]{4096}"),
)
scan_body: Final = Scanner(_PATTERNS + _OF_LENGTH, every=True)
"""Says of a body what there is to look at, and where each `"value":"` ends; nothing in most bodies."""
scan_bodies: Final = Scanner(_PATTERNS, every=ALL)
"""Says the same of many bodies on end, and where; but not what depends on where a body begins, and not what is long (`find_runs`)."""
find_token: Final = Scanner([(0, rb"(?-i)eyJ")])
find_run: Final = Scanner([(0, rb"[a-z0-9+/_\-=]{48}")])
