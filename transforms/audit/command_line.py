"""Find the credentials among the arguments of programs that are known, in lists and in scripts: which option of theirs takes one.

No name says so: `-p` is a password to `mysql` and a port to `ssh`. What each program's manual says decides.
"""

from __future__ import annotations

import re
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from transforms.audit.credential_names import sensitive_key
from transforms.audit.credentials import benign_value

if TYPE_CHECKING:
    from collections.abc import Iterator

    from transforms.audit.embedded import Search


class _Manual(NamedTuple):
    options: frozenset[str] = frozenset()  # the next argument is a credential
    attached: str = ""  # an option that its credential follows without a space
    logins: frozenset[str] = frozenset()  # the next argument is a name and a password
    divider: str = ":"  # between these two
    only: str = ""  # all this holds for one command of the program


_DATABASE: Final = _Manual(attached="-p")
_LDAP: Final = _Manual(options=frozenset({"-w"}))
_LOGIN: Final = _Manual(options=frozenset({"-p"}), only="login")
_SNMP: Final = _Manual(options=frozenset({"-c", "-A", "-X"}))
_ZIP: Final = _Manual(options=frozenset({"-P"}))
_USERS: Final = _Manual(options=frozenset({"-p"}))
_STORE: Final = _Manual(
    options=frozenset({"-storepass", "-keypass", "-deststorepass", "-srcstorepass", "-destkeypass", "-srckeypass", "-new"})
)
_HTTP: Final = _Manual(logins=frozenset({"-u", "--user", "-U", "--proxy-user"}))
_MANUALS: Final = {
    **dict.fromkeys(("mysql", "mysqldump", "mysqladmin", "mysqlsh", "mariadb", "mariadb-dump", "mariadb-admin"), _DATABASE),
    **dict.fromkeys(("mongo", "mongosh", "mongodump", "mongorestore"), _Manual(frozenset({"-p"}), "-p")),
    **dict.fromkeys(("ldapsearch", "ldapmodify", "ldapadd", "ldapdelete", "ldappasswd", "ldapwhoami"), _LDAP),
    **dict.fromkeys(("docker", "podman", "nerdctl", "skopeo", "buildah", "crane", "helm", "az"), _LOGIN),
    **dict.fromkeys(("snmpget", "snmpwalk", "snmpset", "snmpbulkwalk"), _SNMP),
    "redis-cli": _Manual(options=frozenset({"-a"})),
    "sshpass": _Manual(options=frozenset({"-p"}), attached="-p"),
    **dict.fromkeys(("sqlcmd", "zip", "unzip", "mosquitto_pub", "mosquitto_sub"), _ZIP),
    **dict.fromkeys(("useradd", "usermod", "cqlsh", "ncftpput", "ncftpget"), _USERS),
    **dict.fromkeys(("7z", "7za"), _Manual(attached="-p")),
    "keytool": _STORE,
    "lftp": _Manual(logins=frozenset({"-u"}), divider=","),
    "openssl": _Manual(options=frozenset({"-k"}), only="enc"),
    "curl": _HTTP,
    "etcdctl": _Manual(logins=frozenset({"--user"})),
    "smbclient": _Manual(logins=frozenset({"-U"}), divider="%"),
}
# Commands whose credential has a place of its own: the words before it, and how many arguments stand between.
_PLACES: Final = (
    (("vault", "login"), 0),
    (("vault", "operator", "unseal"), 0),
    (("ngrok", "authtoken"), 0),
    (("rabbitmqctl", "add_user"), 1),
    (("rabbitmqctl", "change_password"), 1),
    (("mc", "alias", "set"), 3),
    (("consul", "acl", "set-agent-token"), 1),
    (("addauth", "digest"), 0),  # of ZooKeeper's client
)
_PROGRAMS: Final = frozenset(_MANUALS) | {words[0] for words, _ in _PLACES} | {"htpasswd", "aws", "kubectl"}
# A letter that a program's name begins with, at the start of a word, then the rest of one: half the price of whole names.
_LETTERS: Final = "".join(sorted({name[0] for name in _PROGRAMS}))
_RESTS: Final = "|".join(re.escape(name[1:]) for name in sorted(_PROGRAMS))
_PROGRAM: Final = re.compile(rf"[{_LETTERS}](?<![\w.\-][{_LETTERS}])(?:{_RESTS})(?=[ \t])")
# Whatever the program: after an option of one letter, what only a machine would write.
_LETTER: Final = re.compile(r"-[A-Za-z]")
_RANDOM: Final = re.compile(r"(?=[^a-z]{0,99}[a-z])(?=[^A-Z]{0,99}[A-Z])(?=\D{0,99}\d)[A-Za-z0-9+_]{20,}={0,2}")
# A word of a shell: any of what is bare, in quotes, or masked before, one after the other.
_WORD: Final = re.compile(r"(?:<redacted: \d{1,9} bytes>|[^\s'\"|;&<>`()]+|'[^'\n]*'|\"[^\"\n]*\")+")
_GAP: Final = re.compile(r"(?:[ \t]|\\\r?\n)+")

_MOST: Final = 16  # programs in one command line that are looked at, each with all that follows it


def mask_arguments(arguments: list[Any], search: Search) -> None:
    """Mask the credentials in a command line, in place. A list that holds anything but strings is none."""
    if len(arguments) < 2 or not all(isinstance(argument, str) for argument in arguments):
        return
    for at in range(1, len(arguments)):
        if len(arguments[at]) >= 20 and _LETTER.fullmatch(arguments[at - 1]) and _RANDOM.fullmatch(arguments[at]):
            arguments[at] = search.masked("credential", arguments[at])
    names = [argument.rpartition("/")[2] for argument in arguments]
    if _PROGRAMS.isdisjoint(names):
        return
    for at, kept in _credentials(arguments, names):
        value = arguments[at][kept:]
        if value and not benign_value(value):
            arguments[at] = arguments[at][:kept] + search.masked("credential", value)


def mask_commands(text: str, search: Search) -> str:
    """The text of a script, or of a line of one, with the credentials masked that its commands take as arguments."""
    out, done, found = [], 0, _PROGRAM.search(text) if " " in text else None
    while found:
        if found[0] not in _PROGRAMS:
            found = _PROGRAM.search(text, found.end())
            continue
        words, end = _words(text, found.start())
        arguments = ["".join(word[0].split(word[0][-1])) if word[0][-1] in "'\"" else word[0] for word in words]
        for at, kept in sorted(_credentials(arguments, [found[0]])):
            value = arguments[at][kept:]
            if value and value[0] not in "$`%{@" and not benign_value(value) and words[at].start() >= done:
                quote = words[at][0][-1] if words[at][0][-1] in "'\"" else ""
                out += [text[done : words[at].start()], arguments[at][:kept], quote, search.masked("credential", value), quote]
                done = words[at].end()
        found = _PROGRAM.search(text, end)
    return "".join(out) + text[done:] if out else text


def _words(text: str, at: int) -> tuple[list[re.Match[str]], int]:
    """The words of one command, and where it ends."""
    words: list[re.Match[str]] = []
    while found := _WORD.match(text, at):
        words.append(found)
        gap = _GAP.match(text, found.end())
        if gap is None:
            return words, found.end()
        at = gap.end()
    return words, at


def _credentials(arguments: list[str], names: list[str]) -> Iterator[tuple[int, int]]:
    """The places of credentials: which argument, and how many of its letters stand before."""
    for at, name in islice(((at, name) for at, name in enumerate(names) if name in _PROGRAMS), _MOST):
        manual = _MANUALS.get(name)
        if manual is not None and (not manual.only or manual.only in arguments[at + 1 :]):
            yield from _by_manual(arguments, at + 1, manual)
        for words, between in _PLACES:
            place = at + len(words) + between
            if name == words[0] and tuple(arguments[at + 1 : at + len(words)]) == words[1:] and _is_word(arguments, place):
                yield place, 0
        if name in {"htpasswd", "openssl"} and _sets_password(name, arguments[at + 1 :]):
            yield len(arguments) - 1, 0
        elif name == "aws" and arguments[at + 1 : at + 3] == ["configure", "set"] and sensitive_key("".join(arguments[at + 3 : at + 4])):
            yield from ((place, 0) for place in (at + 4,) if place < len(arguments))
        elif name == "kubectl" and "secret" in arguments:
            yield from _literals(arguments)


def _by_manual(arguments: list[str], start: int, manual: _Manual) -> Iterator[tuple[int, int]]:
    for at in range(start, len(arguments)):
        argument, before = arguments[at], arguments[at - 1] if at > start else ""
        if before in manual.options and _is_word(arguments, at):
            yield at, 0
        elif before in manual.logins:
            name, divider, password = argument.partition(manual.divider)
            if not (name + password).isdigit():  # the numbers of a user and a group
                yield at, len(name + divider)
        elif manual.attached and argument.startswith(manual.attached):
            yield at, len(manual.attached)


def _is_word(arguments: list[str], at: int) -> bool:
    return at < len(arguments) and not arguments[at].startswith("-") and "=" not in arguments[at].rstrip("=")


def _sets_password(name: str, arguments: list[str]) -> bool:
    """Whether the last argument is a password: `htpasswd -b … user password`, `openssl passwd password`."""
    batch = name == "htpasswd" and any(argument[:1] == "-" and argument[1:2] != "-" and "b" in argument for argument in arguments)
    return len(arguments) > 1 and not arguments[-1].startswith("-") and (batch or arguments[0] == "passwd")


def _literals(arguments: list[str]) -> Iterator[tuple[int, int]]:
    """What `kubectl create secret` is told to put into it."""
    option = "--from-literal"
    for at, argument in enumerate(arguments):
        if argument.startswith(option + "="):
            yield at, argument.find("=", len(option) + 1) + 1
        elif at and arguments[at - 1] == option:
            yield at, argument.find("=") + 1
