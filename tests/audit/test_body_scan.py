"""The one pass over a body finds whatever a dozen plain passes find: held to these, pass by pass, on bodies made of traps."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from transforms.audit import needles
from transforms.audit.body_scan import RUN, SEARCH, TOKEN, WORDS, find_run, find_token, scan_body
from transforms.audit.needles import examine

LOGIN = re.compile(rb"://[^\s\"]{1,300}@")
ESCAPED_LETTER = re.compile(rb"\\u00(?:[46][1-9a-f]|[57][0-9a]|5f|3[0-9])", re.IGNORECASE)
PERCENT = re.compile(rb"%[0-9A-Fa-f]{2}")
LONG_RUN = re.compile(rb"[A-Za-z0-9+/_\-=]{48}")
TOKEN_START = re.compile(rb"eyJ")
SPACED_VALUE = re.compile(rb"\"value\"(?:\s|.\s)", re.DOTALL)

ENDING = (
    rb"(?:[ _.\-]?(?:value|val|base64|b64|plain|plaintext|text|string|data|raw|literal|current|previous|old|new|env|"
    rb"hash|sha\d{1,3}|hex|json|pem|prod|dev|primary|secondary|v\d))?[ _.\-]?\d{0,4}"
)
SCALAR = rb"\\*[\"'`]?\]?\s*(?:=>|:=|==?|:)\s*\\*[\"']?[^\s{\[\]},\"'\\]"
RARE = (
    rb"(?:pwd|(?:[^a-z]|\\[nrt])(?:pw|psw|psk|sas|sig|otp|pin|salt|cred|pat)|jwt|pepper|bindpw|rootpw"
    rb"|access[ _.\-]?key[ _.\-]?id|private[ _.\-]?key[ _.\-]?id"
    rb"|secret_key_base|seed_?phrase|credentials?|creds|assertion|signature|mnemonic|cookies?|htpasswd|dsn|dockercfg"
    rb"|(?:[ _.\-]|basic|http)auth|webhook[_\-]?url|secret[_\-]?id"
    rb"|(?:routing|pagerduty)[ _.\-]?keys?|auth(?:orization)?[ _.\-]?code|senha|contrase(?:n|\xc3\xb1)a|mot_de_passe"
    rb"|slack_api_url|docker[_.\-]?auth(?:[_.\-]?config)?|community[ _.\-]?string|snmp[ _.\-]?community|pincode"
    rb"|(?:wallet|otp|master)[ _.\-]?seed|auth[ _.\-]?(?:header|basic)"
    rb"|dockerconfigjson|conn(?:ection)?[ _.\-]?str(?:ing)?)" + ENDING
)
OPTION = (
    rb"(?:pwd|-(?:pw|psw|psk|sas|sig|otp|pin|salt|pat)|jwt|pepper|credentials?|creds?|auth|cookies?|mnemonic|dsn|webhook[_\-]?url"
    rb"|secret[_\-]?id|key[_\-]?id|string|assertion|signature|(?:routing|pagerduty)[_\-]?key|senha|seed|code)"
)
BREAK = rb"(?:\\[nrt]|\s)"
# Secrets that do not say their kind, credentials' rarer names, clients' options.
IN_ANY_CASE = (
    rb"string_?data",
    (
        rb"type[\\\"']*\s*:\s*[\\\"']*(?:opaque|kubernetes\.io/(?:service-account-token|dockercfg|dockerconfigjson|basic-auth|ssh-auth|tls)"
        rb"|bootstrap\.kubernetes\.io/token|helm\.sh/release\.v\d)"
    ),
    rb"secretgenerator|kubernetes_secret|hooks\.slack\.com",
    rb"authorization" + SCALAR,
    rb"(?:pass|pwd|secret|token|key|cred|auth)[a-z0-9_.\-]*\s*(?:[<>]|\\u003[ce])",
    rb"(?:pass|pwd|secret|token|key|cred|auth)[a-z0-9_.\-]*\\*[\"']?(?:\\[nr]|\s)+\\*[\"']?value",
    rb"identified\s+(?:by|with)|(?:requirepass|masterauth|bindpw|rootpw)[\s\"=]|(?:[?&]|\\u0026)(?:(?:api)?key|auth|code)=|--from-literal",
    rb"\b(?:insert|replace)\s+(?:[a-z]+\s+)?into\s|from\s+stdin",
    rb"(?:pass|pwd|secret|token|key|cred)[a-z0-9_]*(?:[,;|]|\\t)[a-z]|(?:[,;|]|\\t)[a-z0-9_]*(?:pass|pwd|secret|token|key|cred)[a-z0-9_]*(?:\\r)?\\n",
    rb"vault[^{}a-z]+(?:args\"[^{}a-z]+)?(?:login|operator)|operator[\s\",]+unseal|authtoken\"|(?:add_user|change_password)[\s\"]|alias[\s\",]+set[\s\"]",
    rb"configure[\s\",]+set|chpasswd|password-stdin|@tcp\(|:thin:",
    rb"(?:_(?:headers?|param)\s+\\*[\"']?\$?|\bset\s+\\*[\"']?\$)[a-z0-9_\-]*(?:pass|pwd|secret|token|key|cred|auth)",
    rb"loginmodule|sqlplus[\s\"]|\bpsk\s+(?:\\\"|')|\blogin=[^\s\":=]+:",
    rb"\s--?[a-z0-9_.\-]*(?:pass|pwd|secret|token|key|cred)[a-z0-9_]*(?:\\r)?\\n",
    rb"(?:pass|pwd|secret|token|key|cred)[a-z0-9_]*'\s*,\s*'",
    rb"(?:htpasswd|openssl|smbclient|snmp(?:bulk)?(?:get|walk|set)|keytool|lftp|set-agent-token|addauth)[\s\"]",
    rb":(?:[0-9]{4,5}|\*):[^\s:\"]+:[^\s:\"]+:",
    rb"\b(?:bearer|basic)\s+[a-z._~+/\-]*[0-9=]",
    RARE + SCALAR,
    RARE + rb"\s*(?:>|\\u003e)",
    RARE + rb"\\+\"" + BREAK + rb"*," + BREAK + rb"*\\+\"value",
    rb"(?:pass|secret|token|key)[a-z0-9 _.\-]*\\+\"," + BREAK + rb"+\\+\"value",
    rb"[\s\"]-[a-z0-9_.\-]*" + OPTION + rb"(?:\"\s*,|\s+[^\s\-])",
    rb"\"auth\\*\"\s*:\s*\\*\"",
    rb"[\s\"](?:-u|--user|--proxy-user)[\s=\",]*[^\s:\"'<,]+:",
    (
        rb"(?:mysql|mariadb|sshpass|redis-cli|mongo|ldap(?:search|modify|add|delete|passwd|whoami)|sqlcmd|login|cqlsh|mosquitto_|zip|7z"
        rb"|user(?:add|mod)|ncftp)[^{}]*[\s\"]-[paw]"
    ),
    rb":\\/\\/",
)
AS_WRITTEN = (
    rb"[\s\"]-[A-Za-z][\s=\",]+[A-Za-z0-9+_]{20}",
    rb"AKIA|\b(?:ASIA|AGPA|AROA|AIDA|ABIA|ACCA)[A-Z0-9]{16}|AIza[\w\-]{30}|ya29\.|GOCSPX-|EAAC|SG\.[\w\-]{16}|PuTTY-User",
    rb"\b(?:gh[pousr]_[A-Za-z0-9]{16}|github_pat_|gl(?:pat|dt|rt|cbt|ptt|ft|soat)-|dckr_pat_|npm_[A-Za-z0-9]{30}|pypi-[\w\-]{30})",
    rb"\$(?:apr1|1|2[abxy]|5|6|y|argon2i?d?)\$[./A-Za-z0-9$=,+]{8}|SCRAM-SHA-[0-9]|[\"']md5[0-9a-f]{32}|\{S?SHA[0-9]*\}|com/api/webhooks/|/webhookb2/|/bot\d{6}",
    rb"\b(?:xox[abeoprs]-|xapp-|[sr]k_(?:live|test)_|whsec_|sk-[\w\-]{20}|hf_[A-Za-z0-9]{20})",
    rb"\b(?:hv[sbr]\.[\w\-]{20}|s\.[A-Za-z0-9]{24}|dop_v1_|sha256~)",
)
PASSES = (
    *(re.compile(pattern, re.IGNORECASE | re.DOTALL) for pattern in IN_ANY_CASE),
    *map(re.compile, AS_WRITTEN),
    LOGIN,
    ESCAPED_LETTER,
    PERCENT,
    SPACED_VALUE,
)

WORDS_OF_TRAPS = rb"""pass password passwords passphrase pwd secret secrets secretaccesskey secret-key token tokens token1 token_value key
    keys api apikey api_key private-key access.key client PASSWORD Secret TOKEN API_KEY kind KIND Kind @type name "name": {"key":
    "value" "value": value "value":" \"value\": \"name\": name\": " ' ` \ \\ \\" \" : = => := | > [ ] { } , . / // :// ://u:p@h @ % %41 %zz
    stringData string_data "type":"Opaque" \\"type\\":\\"kubernetes.io/tls\\" secretGenerator authorization
    < > \u003c \u003e \u0026apikey= identified by requirepass masterauth ?key= &apikey= --from-literal
    :5432: :*: a:b: $2y$ 10$abcdefgh /webhookb2/ /bot123456 pepper rootpw
    Bearer basic a1b2 pwd _pw sas jwt creds cookie
    vault login operator unseal add_user alias set configure htpasswd openssl -stdin @tcp( :thin: webhook_url tls-key secret_id with
    insert into replace from stdin ,name; |id \tpwd ,token\r\n ,x_key\n secret|a
    routing_key pagerdutyKey SCRAM-SHA-256$ 'md5 {SHA} ?code= :6432: keytool lftp addauth cqlsh useradd
    --db-pw --dsn \npsk: \tsalt: slack_api_url pincode snmp_community
    set_header _param set $x loginmodule psk login=a: token\n ' "-k" authorization_code
    dsn connectionString "auth":" -u --user u:p mysql docker -p ghp_ ghp_0123456789abcdefgh glpat- xoxb-
    sk_live_ hvs. s. ya29. SG. hf_ :\\/\\/
    - -- --token "-t "--x eyJ eyJhIjoiYiJ9 AKIA 1 12 0 a e.g. x_ \u0041 \u00e9 \u005f \u0022 \u003D {"name":"DB_PASSWORD","value":"x"}
    {"name":"PORT","value":"8080"} "continue":" s/ /secrets/ -----BEGIN """.split()
FRAGMENTS = [
    *WORDS_OF_TRAPS,
    b" ",
    b"\t",
    b"\n",
    b"\x0b",
    b"  ",
    b"a" * 47,
    b"A" * 48,
    b"0123456789abcdef" * 3,
    b"f" * 64,
    b"x" * 4100,
    b'"' + b"y" * 4090,
]
traps = st.lists(st.sampled_from(FRAGMENTS), min_size=1, max_size=14).map(b"".join)
# A credential's name, then its value, with all that may be odd between them; and a name that stands after its value.
variables = st.tuples(
    *map(
        st.sampled_from,
        (
            [b'{"name":"db_', b"", b'{"key":"'],
            [b"password", b"SECRET", b"token", b"api key", b"pass"],
            [b"", b" value", b"_1", b" x y", b"-old"],
            [b"", b"\\", b"\\\\"],
            [b'"', b"'", b"`"],
            [b"", b" ", b"\n"],
            [b","],
            [b"", b" ", b"\t"],
            [b"", b"\\"],
            [b'"value'],
            [b"", b"\\"],
            [b'"', b'" '],
            [b":", b": ", b""],
            [b'"x"}', b"1}", b""],
        ),
    )
).map(b"".join)
# As kubectl keeps what it applied last: a variable and its value, escaped, on one line or two.
applied = st.tuples(
    *map(
        st.sampled_from,
        (
            [b'{\\"name\\":\\"', b'{\\"name\\": \\"db_', b'"'],
            [b"pwd", b"PW", b"dsn", b"routing_key", b"PASSWORD", b"jwt", b"senha", b"token2", b"kind"],
            [b"", b"_1", b" x", b"-old", b"_url"],
            [b'\\"', b'\\\\"', b'"'],
            [b"", b"\\n", b" "],
            [b",", b""],
            [b"", b" ", b"\\n  ", b"\\r\\n\\t", b"x"],
            [b'\\"value\\":\\"x\\"}', b'"value":"x"}', b'\\"val'],
        ),
    )
).map(b"".join)
names_last = st.tuples(
    *map(
        st.sampled_from,
        (
            [b'{"value":', b'"value" :', b'{"a":1},"valueFrom":', b'{"v":'],
            [b'"x",', b"{},", b"[1],", b'"x{",'],
            [b'"name":', b'\\"name\\":', b'"key":', b'{"key":', b'"name": ', b'"id":', b'name":'],
            [b'"', b'\\"', b' \\"'],
            [b"", b"my ", b"-", b"x-"],
            [b"token", b"password2", b"secret", b"SECRETKEY"],
            [b"", b"_text", b"s", b"z"],
            [b'"', b'\\"', b"'", b"` "],
            [b",", b"}", b" }", b""],
        ),
    )
).map(b"".join)
traps = st.one_of(traps, variables, applied, names_last, st.tuples(variables, names_last).map(b"".join))
bodies = st.one_of(traps, traps.map(lambda trap: b'{"a":"' + trap + b'"}'), traps.map(lambda trap: b'{"spec":{' + trap + b'"}}'))


def words_speak(body: bytes) -> bool:
    low = body.lower()
    for word, size, context in needles._CONTEXTS:
        at = low.find(word)
        while at >= 0:
            if needles._speaks(low, at, word, context.match(low, at + size)):
                return True
            at = low.find(word, at + size)
    return False


@settings(max_examples=3000, deadline=None)
@given(bodies)
@example(b'{"name":"token value","value":"x"}')
@example(b'token",')
@example(b"x-key--")
def test_what_plain_passes_find_the_one_pass_finds(body: bytes):
    seen = scan_body(body)
    assert (SEARCH in seen) == any(one.search(body) for one in PASSES)
    assert (TOKEN in seen) == (b"eyJ" in body)
    assert find_token(body) == [found.end() for found in TOKEN_START.finditer(body)][:1]
    assert (RUN in seen) == bool(LONG_RUN.search(body))
    assert find_run(body) == [found.end() for found in LONG_RUN.finditer(body)][:1]
    assert [place for place in seen if place > 0] == [found.start() + 9 for found in re.finditer(rb'(?="value":")', body)]
    assert WORDS in seen or not words_speak(body)


@pytest.mark.parametrize("digits", [4, 5])
def test_a_line_of_pgpass_is_searched_whatever_its_port(digits: int):
    for port in range(10 ** (digits - 1), 10**digits, 7):
        assert scan_body(b"db:%d:shop:app:hunter22" % port) == [SEARCH]


@pytest.mark.parametrize(
    "body",
    [
        b'{"metadata":{"name":"web","namespace":"shop"},"spec":{"replicas":3}}',
        b'{"volumeMounts":[{"name":"kube-api-access-abcde","mountPath":"/var/run/secrets/kubernetes.io/serviceaccount"}]}',
        b'{"sources":[{"serviceAccountToken":{"expirationSeconds":3607,"path":"token"}}]}',
        b'{"secretName":{},"keys":[],"items":[{"key":"ca.crt","path":"ca.crt"}]}',
    ],
)
def test_what_every_pod_has_is_cleared_by_the_one_pass(body: bytes):
    assert scan_body(body) == []
    assert examine(body) == (body, 0, 0)


def test_a_masked_variable_is_counted_with_the_bytes_of_its_value():
    body = b'{"env":[{"name":"DB_PASSWORD","value":"hunter22"},{"name":"PORT","value":"8080"}]}'
    assert examine(body) == (body.replace(b"hunter22", b"<redacted: 8 bytes>"), 1, 8)


def test_a_variable_that_is_masked_already_stays_as_it_is():
    body = b'{"env":[{"name":"DB_PASSWORD","value":"<redacted: 8 bytes>"}]}'
    assert examine(body) == (body, 0, 0)
