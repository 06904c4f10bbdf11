"""How programs write a credential in files of their own and in URLs: patterns, most with a sign without which they cannot match.

A pattern of two groups masks the second; one of none masks the whole of what it matches.
"""

from __future__ import annotations

import re
from typing import Final

from transforms.audit.credential_names import ENDING, ENDS

# A password as crypt(5) and its kin store it; webhooks whose path is their secret; a Telegram bot's token.
STORED: Final = (
    (re.compile(r"\$(?:apr1|1|2[abxy]|5|6|y|argon2i?d?)\$[./A-Za-z0-9$=,+]{8,}"), "$"),
    (re.compile(r"https://(?:discord(?:app)?\.com/api/webhooks|[\w.\-]{1,80}\.webhook\.office\.com/webhookb2)/[\w/@\-]+"), "webhook"),
    (re.compile(r"(?<=/)bot\d{6,}:[\w\-]{20,}"), "/bot"),
    # PostgreSQL's, as PgBouncer lists them, and those of Apache and LDAP
    (re.compile(r"SCRAM-SHA-(?:1|256|512)\$\d{3,7}:[\w+/=]+\$[\w+/=]+:[\w+/=]+"), "SCRAM"),
    (re.compile(r"(?<=[\"'])md5[0-9a-f]{32}(?=\\*[\"'])"), "md5"),
    (re.compile(r"\{S?SHA(?:256|384|512)?\}[A-Za-z0-9+/]{16,}={0,2}"), "SHA"),
)
# XML: an element, and a property that names its value; SQL; a directive; a PHP constant; kubectl's literals; a parameter.
MARKUP: Final = (
    (re.compile(rf"(<(?:[\w.\-]{{1,80}}:)?[\w.\-]{{0,80}}?(?:{ENDS}){ENDING}\s*>)([^<]+)(?=</)", re.IGNORECASE), "</"),
    (re.compile(rf"(name>[^<]{{0,200}}?(?:{ENDS}){ENDING}</name>\s*<value>)([^<]+)", re.IGNORECASE), "</name>"),
    (
        re.compile(
            r"(\b(?:PASSWORD(?:\s{0,9}\(|[ \t])|PSK\s|IDENTIFIED\s+(?:WITH\s+\w+\s+)?BY\s|ConvertTo-SecureString\s)\s*)"
            r"('[^']+'|\"[^\"]+\")",
            re.IGNORECASE,
        ),
        "",
    ),
    (re.compile(r"(\bsecret[ \t]+)(\"[^\"]+\")(?=[ \t]*;)"), ";"),
    (
        re.compile(
            r"^([ \t]*(?:(?:requirepass|masterauth|bindpw|rootpw|r[ow]community|shared_key)[ \t]+(?:--[\w\-]+[ \t]+){0,3}|"
            r"stats[ \t]+auth[ \t]+[^\s:]+:))"
            r"((?!--)[^\s<]\S*)",
            re.IGNORECASE | re.MULTILINE,
        ),
        "",
    ),
    *(
        (
            re.compile(
                word + r"[_\-]?key\\*[\"']?(?:\s*[:=]\s*|[\s,;\-]{1,40}[\"']?value[\"']?\s*[:=]\s*)\\*[\"']?)"
                r"(?=(?:[A-Za-z_\-]*\d){3})([A-Za-z0-9_\-]{12,})(?![\w.])",
                re.IGNORECASE,
            ),
            sign,
        )
        for word, sign in (
            (r"(routing", "routing"),
            (r"(pagerduty", "pagerduty"),
            (r"(\bservice", "service"),
            (r"(\bintegration", "integration"),
        )
    ),
    (
        re.compile(
            r"((?:\bmachine\s+\S+|^[ \t]*default)\s+login\s+\S+\s+(?:account\s+\S+\s+)?password\s+)([^\s<]+)", re.MULTILINE
        ),  # .netrc
        "login",
    ),
    (re.compile(r"(\blogin=[^\s:=]+:)([^\s<]+)"), "login="),
    (re.compile(r"(\becho\s+[\"']?(?:[\w.\-]+:)?)([^\s\"'|<]+)(?=[\"']?\s*\|[^|]*(?:chpasswd|password-stdin))"), "echo"),
    (re.compile(r"(\bset\s+aws_(?:secret_access_key|session_token)\s+)([^\s<]+)"), "configure"),
    (re.compile(rf"(\(\s*[\"'][\w.\-]{{0,80}}?(?:{ENDS}){ENDING}[\"']\s*,\s*[\"'])([^\"'\n]+)", re.IGNORECASE), "("),
    # nginx's headers, Terraform's variables, cloud-init's users
    (
        re.compile(
            rf"((?:_(?:headers?|param)[ \t]+[\"']?\$?|\bset[ \t]+[\"']?\$)[\w\-]{{0,60}}?(?:{ENDS})(?:[\"']?[ \t]+|:[ \t]*)[\"']?)"
            r"((?!basic\s|bearer\s)[^\s;\"'<][^;\"'\n]*)(?=[\"']?;)",
            re.IGNORECASE,
        ),
        ";",
    ),
    (
        re.compile(
            rf"(\bvariable[ \t]+\"[\w\-]{{0,80}}?(?:{ENDS})\"\s{{0,99}}\{{[^{{}}]{{0,300}}?\bdefault[ \t]{{0,99}}=[ \t]{{0,99}}\")"
            r"([^\"\n<]+)",
            re.IGNORECASE,
        ),
        "variable",
    ),
    (
        re.compile(
            r"(\bchpasswd:[ \t]*\n[ \t]+list:[ \t]*\|[-+]?[ \t]*\n[ \t]+)"
            r"([\w.\-]+:[^\s<][^\n]*(?:\n[ \t]+[\w.\-]+:[^\s<][^\n]*)*)"
        ),
        "chpasswd:",
    ),
    # an option and its value as items of a list, YAML's or in brackets
    (
        re.compile(
            rf"(^[ \t]*-[ \t]+[\"']?--?[\w.\-]{{0,80}}?(?:{ENDS})[\"']?[ \t]*\r?\n[ \t]*-[ \t]+[\"']?)([^\s\"'<\-][^\n\r\"']*)",
            re.IGNORECASE | re.MULTILINE,
        ),
        "- ",
    ),
    (
        re.compile(
            rf"([\"']--?[\w.\-]{{0,80}}?(?:{ENDS})\\{{0,9}}[\"']\s{{0,99}},\s{{0,99}}\\{{0,9}}[\"'])([^\"'\n\\<\-][^\"'\n\\]*)",
            re.IGNORECASE,
        ),
        ",",
    ),
    (re.compile(r"(--from-literal[= ][\w.\-]+=)([^\s<]+)"), "--from-literal"),
    (re.compile(r"([?&](?:(?:api)?key|auth)=)([^&\s\"'<>]{8,})", re.IGNORECASE), "="),
    (re.compile(r"(\bauth\\*[\"']?\s*[:=]\s*\\*[\"'])([A-Za-z0-9+/]{8,}={0,2})(?=\\*[\"'])"), "auth"),
)
PGPASS: Final = re.compile(r"^((?![0-9A-Fa-f:.]+$)[^\s:#/]+:(?:\d{2,5}|\*):[^\s:/]+:[^\s:/]+:)(\S+)$", re.MULTILINE)
PGPASS_PORT: Final = re.compile(r":(?:\d{4,5}|\*):[^\s:/]+:[^\s:/]+:")
# The API server's `--token-auth-file`: of groups that are Kubernetes' own.
TOKENS: Final = re.compile(
    r"^(?=[^,\n]*\d)[^\s,:\"#<]{12,}(?=,[^,:\n]+,[^,:\n]*,(?:\"[^\"\n]*system:[^\"\n]*\"|system:[^,\s]+)[ \t\r]*$)", re.MULTILINE
)
# Not the numbers of a user and a group.
CURL: Final = re.compile(r"((?:(?<=\s)|^)(?:-[a-z]{0,6}u|--user|--proxy-user)[ =]?)(?!\d+:\d+(?:\s|\Z))([^\s:\"'<]+:[^\s\"'<]+)")
# Data source names of Go and Oracle, codes in URLs, access lists: each with the sign without which it cannot match.
PLACED: Final = (
    (re.compile(r"(\b[\w.\-]{1,64}:)([^\s:@\"'<\\]+)(?=@tcp\()"), "@tcp("),
    (re.compile(r"([?&]code=)(?=[^&?\s\d]{0,200}\d)([^&\s\"'<>]{8,})"), "code="),
    (re.compile(r"(\buser_[\w.\-]{1,64}\s{0,9}=\s{0,9}\\*\")([^\"\\\n<]+)"), "LoginModule"),  # of Java's JAAS
    (re.compile(r"(\bsqlplus\s+(?:-\w{1,5}\s+){0,3}[\w.\-]{1,64}/)([^\s@\"'/<]+)(?=@)"), "sqlplus"),
    # after an option of one letter, what only a machine would write
    (
        re.compile(
            r"(\s-[A-Za-z][ =])(?=[^\sa-z]{0,99}[a-z])(?=[^\sA-Z]{0,99}[A-Z])(?=[^\s\d]{0,99}\d)([A-Za-z0-9+_]{20,}={0,2})(?![^\s'\"])"
        ),
        " -",
    ),
    (re.compile(r"(:thin:[\w.\-]{1,64}/)([^\s@\"'<\\]+)(?=@)"), ":thin:"),
    (re.compile(r"^(user[ \t]+[\w.\-]{1,64}[ \t]+(?:[\w~&*+@|\-]{1,64}[ \t]+){0,9}>)([^\s<]+)", re.MULTILINE), " >"),
)
