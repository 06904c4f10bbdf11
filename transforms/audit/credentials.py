"""What a credential looks like in running text: after its name, in the syntax of many programs, and by its own shape.

Everything here is a heuristic for content that is not a Secret. What belongs to a Secret never depends on it.
"""

from __future__ import annotations

import re
from typing import Final

from transforms.audit.columns import mask_columns
from transforms.audit.credential_names import ENDING, ENDS, NOT_KEY, doubtful_key, sensitive_key
from transforms.audit.credential_syntax import CURL, MARKUP, PGPASS, PGPASS_PORT, PLACED, STORED, TOKENS

# What stands for a value that was cut, and for how much of it there was.
MASK: Final = "<redacted: {} bytes>"
MASKED: Final = re.compile(r"<redacted: \d{1,9} bytes>")

# Values under a credential's key that are none: settings, references, templates, paths of mounted files, services of the cluster.
_BENIGN: Final = re.compile(
    r"|true|false|null|none|nil|~|\$\([\w.\-]+\)|\$\{[\w.\-]+\}|\$[A-Z_]+|\{\{[^{}]*\}\}|<redacted: \d{1,9} bytes>|"
    r"https?://[a-z0-9\-]+(?:\.[a-z0-9\-]+\.svc(?:\.[a-z0-9.\-]+)?)?(?::\d{1,5})?(?:/[^\s?@]*)?|"
    r"/(?:var|etc|run|mnt|opt|home|tmp|secrets?|usr|app|data|config)(?:/[A-Za-z0-9._\-]+)*/?|\*+|"
    r"(?:ssh-(?:rsa|ed25519|dss)|ecdsa-[a-z0-9\-]+) [^\n]*",  # a public key
    re.IGNORECASE,
)


def benign_value(value: str) -> bool:
    """Whether the value under a credential's name is a setting, a reference or a template, and not the credential."""
    return len(value) < 300 and _BENIGN.fullmatch(value) is not None


_OPAQUE: Final = re.compile(r"(?=(?:\D*\d){3})(?=.*[A-Za-z])[A-Za-z0-9_~+\-]{12,}={0,2}")


def opaque(text: str) -> bool:
    """Whether a word is one that nobody would write: as long as a credential, and of letters among digits."""
    return len(text) < 4096 and _OPAQUE.fullmatch(text) is not None


def is_credential(key: str, value: str) -> bool:
    """Whether what stands under a name is a credential, by the name, and where that leaves it open by what it is."""
    return (sensitive_key(key) or (doubtful_key(key) and opaque(value))) and not benign_value(value)


def mask(value: str) -> str:
    """The stand-in for a value; a stand-in stays itself, so that redacting twice equals once."""
    if MASKED.fullmatch(value):
        return value
    return MASK.format(len(value.encode("utf-8", "surrogatepass")))


_VALUE: Final = (
    r"\\*\"(?:<redacted: \d+ bytes>|[^\"\\\n]|\\[^\"\n]|\\\"(?=[^\\\"]*\\\"))*\\*\"?|'[^'\n]*'?|\[redacted\]|"
    r"(?:md5|sha\d{0,3}|crypt)\('[^'\n]*'?|"
    r"(?:(?![,;&\n\r\"'\\\]}\)]|(?<!\s)\s+(?:[\-\w.]+\s*[=:]|[\]}\)])|\s--?\w).)+"
)
_TEXT: Final = re.compile(rf"((?:{ENDS}){ENDING}\\*[\"'`]?\]?\s*(?:=>|:=|[!?+]?==?|:)\s*)({_VALUE})", re.IGNORECASE)
_SAID: Final = re.compile(
    r"((?:pass(?:word|wd|phrase|code)|(?<![a-z])pwd|(?<![a-z])pw|token|jwt|(?<![a-z])pin(?=\s+(?:is\s+|was\s+)?\d)|api[_\- ]?key)\s+"
    r"(?:is\s+|was\s+|of\s+\S+\s+)?)(?=\S*\d)([^\s\"'<]{5,})",
    re.IGNORECASE,
)
# From the start of a word, so that a row of dashes is read once.
_OPTION: Final = re.compile(
    rf"((?<![\w.\-])(?=[\w.\-]*?(?<!\w)-)[\w.\-]*(?:{ENDS})\s+)(\"[^\"]*\"|'[^']*'|[^\s\"'<\-][^\s]*)", re.IGNORECASE
)
_NAMED: Final = re.compile(
    rf"((?:name|key)\\*[\"']?\s*[:=]\s*\\*[\"']?[\w.\-]*(?:{ENDS}){ENDING}\\*(?!\\)[\"']?[\s,;+\-]*\\*[\"']?value\\*[\"']?\s*[:=]\s*)"
    r"(\\*\"(?:<redacted: \d+ bytes>|[^\"\\\n])*\\*\"|'[^'\n]*'|<redacted: \d+ bytes>|[^\s,;\]\}]+)",
    re.IGNORECASE,
)
_HEADER: Final = re.compile(
    r"(authorization\\*[\"']?\s*[:=]\s*\\*[\"']?)([^\"'\n\r\\]+)|(\b(?:bearer|basic)\s+)(?=[^\s\"']*[\d=])([A-Za-z0-9._~+/=\-]{6,})",
    re.IGNORECASE,
)
_PEM: Final = re.compile(
    r"-----BEGIN (?=[A-Z0-9 ]*PRIVATE KEY|OpenVPN Static key)[A-Za-z0-9 ]*-----.*?(?:-----END [A-Za-z0-9 ]*-----|\Z)"
    r"|PuTTY-User-Key-File.*\Z",
    re.DOTALL,
)
_NO_URL: Final = re.compile(r"[\s\"'<>\\]")
_LOGIN: Final = re.compile(
    r"(://)"
    r"(?:([^\s/?#:@\"'<>\\]*):(?!\d{1,5}(?:[/?#\s]|\Z))((?!<redacted)[^\s/\"'<>\\]+|[^\s\"'<>\\@]+)|([^\s/?#:@\"'<>\\]{12,}))@"
)
_CLIENT: Final = re.compile(
    r"\b(?:mysql|mysqldump|mysqladmin|mariadb|sshpass|redis-cli|mongo|mongosh|mongodump|mongorestore|sqlcmd|"
    r"ldap(?:search|modify|add|delete|passwd|whoami)|(?:docker|podman|nerdctl|skopeo|buildah|crane auth|helm registry|az) login)\b"
)
_COMMAND_END: Final = re.compile(r"[|;&\n]")
_PASSWORD: Final = re.compile(r"(\s-(?:p\s?|[aPw]\s))(?!\d{1,5}(?:[\s:;,)'\"]|\Z))([^\s<\-][^\s<]{2,})")
# A JSON Web Token (RFC 7519); without the second part a word that only begins like one, read once for all that begin within.
_JWT: Final = re.compile(r"\beyJ[A-Za-z0-9_\-]{6,}(\.[A-Za-z0-9_\-]*\.?[A-Za-z0-9_\-]{4,}(?:\.[A-Za-z0-9_\-]*){0,3})?")
_SHAPES: Final = re.compile(
    r"\b(?:AKIA|ASIA|AGPA|AROA|AIDA|ABIA|ACCA)[A-Z0-9]{16}\b"  # AWS access key
    r"|\bAIza[A-Za-z0-9_\-]{30,}|\bya29\.[A-Za-z0-9_\-]{10,}|\bGOCSPX-[A-Za-z0-9_\-]{10,}"  # Google
    r"|\bgh[pousr]_[A-Za-z0-9]{16,}|\bgithub_pat_[A-Za-z0-9_]{16,}|\bgl(?:pat|dt|rt|cbt|ptt|ft|soat)-[A-Za-z0-9_\-]{16,}"  # GitHub, GitLab
    r"|\bxox[abeoprs]-[A-Za-z0-9\-]{10,}|\bxapp-[A-Za-z0-9\-]{10,}|https://hooks\.slack\.com/services/[A-Za-z0-9/]+"  # Slack
    r"|\b[sr]k_(?:live|test)_[A-Za-z0-9]{10,}|\bwhsec_[A-Za-z0-9]{10,}|\bsk-[A-Za-z0-9_\-]{20,}"  # Stripe, OpenAI, Anthropic
    r"|\bhv[sbr]\.[A-Za-z0-9_\-]{20,}|\bs\.[A-Za-z0-9]{24}\b"  # Vault
    r"|\bSG\.[A-Za-z0-9_\-]{16,}\.[A-Za-z0-9_\-]{16,}|\bnpm_[A-Za-z0-9]{30,}|\bpypi-[A-Za-z0-9_\-]{30,}|\bdop_v1_[a-f0-9]{32,}"
    r"|\bhf_[A-Za-z0-9]{20,}"  # Hugging Face
    r"|\bdckr_pat_[A-Za-z0-9_\-]{16,}|\bAGE-SECRET-KEY-1[A-Z0-9]{20,}|\bEAAC[A-Za-z0-9]{20,}|\bsha256~[A-Za-z0-9_\-]{40,}"
)
# In a file of many lines a credential reaches to the end of its line; in one line, to the next delimiter.
_LINE: Final = re.compile(
    rf"^([ \t]*(?:export[ \t]+|set[ \t]+|-[ \t]+)*[\"']?[\w.\-/]*(?:{ENDS}){ENDING}[\"']?[ \t]*[:=][ \t]*)(\S.*)$",
    re.IGNORECASE | re.MULTILINE,
)
_VAULT: Final = re.compile(r"s\.[A-Za-z0-9]{24}")
# Without one of these a pattern cannot match: finding a substring costs a hundredth of trying a pattern at every letter.
_PREFIXES: Final = (
    "AKIA ASIA AGPA AROA AIDA ABIA ACCA AIza ya29. GOCSPX- ghp_ gho_ ghu_ ghs_ ghr_ github_pat_ "
    "glpat- gldt- glrt- glcbt- glptt- glft- glsoat- xox xapp- hooks.slack k_live_ k_test_ whsec_ "
    "hf_ "
    "sk- hvs. hvb. hvr. SG. npm_ pypi- dop_v1_ dckr_pat_ AGE-SECRET EAAC sha256~"
).split()
_HINTS: Final = (
    "pass secret token key cred pwd pw jwt bearer basic assert sig sas pin otp mnemonic salt dsn conn docker cookie auth psw "
    "psk pepper pat= pat: -pat seed identified webhook community contrase senha пароль 密码 login= slack_api".split()
)


def scrub_text(text: str) -> str:
    """The text with every credential in it masked: keys, tokens, private keys, logins in URLs, `password=…` and its kin."""
    if "-----BEGIN" in text or "PuTTY" in text:
        text = _PEM.sub(_whole, text)
    if "://" in text and "@" in text:
        text = _logins(text)
    for pattern, sign in STORED:
        if sign in text:
            text = pattern.sub(_whole, text)
    if len(text) >= 14:
        text = _shapes(text)
    low = text.lower()
    if True in map(low.__contains__, _HINTS):
        text = mask_columns(text, low, _stand_in)
        for pattern, sign in MARKUP:
            if sign in low:
                text = pattern.sub(_second, text)
        if "value" in low and ("name" in low or "key" in low):
            text = _NAMED.sub(_second, text)
        if "\n" in text:
            text = _LINE.sub(_assigned, _block_scalars(text)) if len(text) < _LONG else _by_line(text)
        text = _assignments(text) if "\n" not in text or len(text) < _LONG else "\n".join(map(_assignments_of_line, text.split("\n")))
    if ",system:" in text or ',"system:' in text:
        text = TOKENS.sub(_whole, text)
    if text.count(":") > 3 and PGPASS_PORT.search(text):
        text = PGPASS.sub(_second, text)
    if "u " in text or "-u" in text or "user" in text:
        text = CURL.sub(_second, text)
    for pattern, sign in PLACED:
        if sign in text:
            text = pattern.sub(_second, text)
    if " -p" in text or " -P" in text or " -a" in text or " -w" in text:
        text = _passwords(text)
    return text


def _logins(text: str) -> str:
    """Logins in URLs: from each `://` to the last `@` before what ends a URL, so that no part is read for every `://` in it."""
    out, done, at = [], 0, text.find("://")
    while at >= 0:
        closed = _NO_URL.search(text, at)
        end = closed.start() if closed else len(text)
        last = text.rfind("@", at, end) + 1
        if last:
            out += [text[done:at], _LOGIN.sub(_login, text[at:last])]
            done = last
        at = text.find("://", end)
    return "".join(out) + text[done:] if out else text


def _shapes(text: str) -> str:
    """Tokens and keys that their first letters give away; the leftmost first."""
    jwt = _next_jwt(text, 0) if "eyJ" in text else None
    other = _SHAPES.search(text) if _may_hold_shape(text) else None
    out, done = [], 0
    while found := jwt if jwt and (not other or jwt.start() <= other.start()) else other:
        out += [text[done : found.start()], mask(found[0])]
        done = found.end()
        if jwt and jwt.start() < done:
            jwt = _next_jwt(text, done)
        if other and other.start() < done:
            other = _SHAPES.search(text, done)
    return "".join(out) + text[done:] if out else text


def _next_jwt(text: str, start: int) -> re.Match[str] | None:
    found = _JWT.search(text, start)
    while found and found[1] is None:
        found = _JWT.search(text, found.end())
    return found


def _may_hold_shape(text: str) -> bool:
    return True in map(text.__contains__, _PREFIXES) or ("s." in text and _VAULT.search(text) is not None)


def _passwords(text: str) -> str:
    """The password after `-p` of a database's client, within one command of a shell."""
    out, done = [], 0
    client, password = _CLIENT.search(text), _PASSWORD.search(text)
    while client and password:
        if password.start() < client.end():
            password = _PASSWORD.search(text, client.end())
            continue
        closed = _COMMAND_END.search(text, client.end())
        end = closed.start() if closed else len(text)
        if password.start() <= end:
            out += [text[done : password.start()], _second(password)]
            done = end = password.end()
        client = _CLIENT.search(text, end)
    return "".join(out) + text[done:] if out else text


# What validation says of a field (apimachinery `field.Error`), not what the field holds.
_VERDICT: Final = re.compile(r"(?:Invalid|Required|Unsupported|Duplicate|Forbidden|Too (?:long|many)|Internal error|Not found)\b")

# What a program says of a credential, in words of its own: `failed to get token: unexpected status from …`.
_SENTENCE: Final = re.compile(
    r"(?P<rule>cannot|expired|invalid|must|required|should)\s+\S+\s+\S|"
    r"(?:access|could|couldn't|denied|error|failed|forbidden|keys?|missing|no|not|permission|rejected|request|rpc|secrets?|server|tokens?|"
    r"unable|unauthorized|unexpected|unknown|unsupported|user)\s+\S+\s+\S|server\Z"
)


# Beyond this many letters a text is taken line by line, and only lines with a hint are tried.
_LONG: Final = 2000


def _assignments(text: str) -> str:
    if ":" in text or "=" in text:
        text = _TEXT.sub(_assigned, text)
    text = _HEADER.sub(_header, text)
    if "-" in text:
        text = _OPTION.sub(_second, text)
    return _SAID.sub(_second, text)


def _assignments_of_line(line: str) -> str:
    if len(line) < 6 or not (":" in line or "=" in line or " " in line):
        return line
    low = line.lower()
    return _assignments(line) if True in map(low.__contains__, _HINTS) else line


def _by_line(text: str) -> str:
    return "\n".join(map(_line, _block_scalars(text).split("\n")))


def _line(line: str) -> str:
    if (":" in line or "=" in line) and True in map(line.lower().__contains__, _HINTS):
        return _LINE.sub(_assigned, line)
    return line


def _whole(found: re.Match[str]) -> str:
    return mask(found[0])


def _stand_in(value: str) -> str:
    return value if benign_value(value) else mask(value)


def _second(found: re.Match[str]) -> str:
    value = found[2].strip("\\\"'")
    return found[0] if benign_value(value) else found[1] + mask(value)


# On the next line of a YAML document: a mapping, whose fields are judged by their own names (`secret:\n  secretName: db`).
_NESTED: Final = re.compile(r"(?:- +)*[\w.\-/\"']+ *:(?:\s|\Z)")


_ANCHORED: Final = re.compile(r"&[\w\-]+[ \t]+(?=[^\s<])")


def _assigned(found: re.Match[str]) -> str:
    value = found[2].strip().strip("\\\"'")
    if anchored := _ANCHORED.match(value):  # an anchor of YAML before the value
        return found[1] + anchored[0] + mask(value[anchored.end() :])
    if (
        benign_value(value)
        or MASKED.match(value)
        or _VERDICT.match(value)
        or (found[2][:1] not in "\\\"'" and _says(found[1], value))
        or value[:1] in "|>{[&"
        or ("\n" in found[1] and (value == "-" or ("pass" not in found[1].lower() and _NESTED.match(value))))
        or NOT_KEY.search((found.string[max(0, found.start() - 40) : found.start()] + found[1].rstrip("\\\"'`] =:>\n")).lower())
    ):
        return found[0]
    quote = re.match(r"\\*[\"']?", found[2])[0] if found[2][:1] in "\\\"'" else ""  # type: ignore[index]
    return f"{found[1]}{quote}{mask(value)}{quote}"


def _says(name: str, value: str) -> bool:
    """Whether what follows a credential's name says something of it; a password may be words as well, but not these."""
    found = _SENTENCE.match(value)
    return found is not None and (found["rule"] is not None or "pass" not in name.lower())


def _header(found: re.Match[str]) -> str:
    if found[1] is None:
        return found[3] + mask(found[4])
    said = found[2].strip()
    return found[0] if MASKED.match(said) or _SENTENCE.match(said) else found[1] + mask(found[2])


def _login(found: re.Match[str]) -> str:
    if found[4] is not None:
        return f"{found[1]}{mask(found[4])}@"
    return f"{found[1]}{found[2]}:{mask(found[3])}@"


_BLOCK: Final = re.compile(rf"^([ \t]*)(?:- )?[\"']?[\w.\-/]*(?:{ENDS}){ENDING}[\"']?[ \t]*:[ \t]*[|>][-+0-9]*[ \t]*$", re.IGNORECASE)


def _block_scalars(text: str) -> str:
    """Mask the YAML block scalars (`password: |`) under a credential's key."""
    if "|" not in text and ">" not in text:
        return text
    lines, out, within = text.split("\n"), [], -1
    for line in lines:
        indent = len(line) - len(line.lstrip(" \t"))
        if within >= 0 and (not line.strip() or indent > within):
            out.append(line[:indent] + mask(line[indent:]) if line.strip() else line)
            continue
        within = -1
        start = _BLOCK.match(line)
        if start:
            within = len(start[1])
        out.append(line)
    return "\n".join(out)
