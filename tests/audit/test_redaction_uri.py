from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transforms.audit.event import Event
from transforms.audit.redaction import Redactor

PODS = "/api/v1/namespaces/shop/pods"


def uri(before: str) -> str:
    event = Event(requestURI=before)
    Redactor().redact(event)
    after = str(event.requestURI)
    Redactor().redact(event)
    assert event.requestURI == after
    assert event.flags is None
    return after


@pytest.mark.parametrize(
    "unchanged",
    [
        PODS,
        f"{PODS}?limit=500&resourceVersion=0",
        f"{PODS}?allowWatchBookmarks=true&resourceVersion=7&timeout=5m0s&timeoutSeconds=300&watch=true",
        f"{PODS}?labelSelector=app%3Dcart-7f3a9c51e2%2Ctier+in+%28a%2Cb%29",
        f"{PODS}?fieldSelector=metadata.name%3Dcart%2Cstatus.phase%21%3DRunning",
        f"{PODS}?limit=500&continue=eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MjY4MDUsInN0YXJ0IjoiYSJ9",
        f"{PODS}/cart-7f3a9c51e2-x7k2p/log?container=main&follow=true&tailLines=100",
        f"{PODS}/cart/proxy/metrics",
        "/api/v1/namespaces/shop/services/https:vault:8200/proxy/v1/sys/health",
        "/apis/apps/v1/namespaces/shop/deployments/cart?fieldManager=kubectl-client-side-apply&dryRun=All&force=true",
        "/api/v1/namespaces/shop/secrets/db-7f3a9c51e2?timeout=32s",
        "/api/v1/secrets?fieldSelector=metadata.name%3Ddb",
        "/healthz",
        "/readyz?verbose=true",
        "/openapi/v3/apis/apps/v1?hash=REDACTED",
        "/apis/apps/v1",
        "/",
        "",
    ],
)
def test_an_ordinary_uri_is_kept(unchanged):
    assert uri(unchanged) == unchanged


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (f"{PODS}?access_token=abc&limit=5", f"{PODS}?access_token=REDACTED&limit=5"),
        (f"{PODS}?labelSelector=token%3Dx1%2Capp%3Dcart", f"{PODS}?labelSelector=token%3DREDACTED%2Capp%3Dcart"),
        (f"{PODS}?labelSelector=a%3D%3D%3D%28x", f"{PODS}?labelSelector=REDACTED"),
        (f"{PODS}?fieldSelector=spec.bogus%3Dx1", f"{PODS}?fieldSelector=REDACTED"),
        (
            f"{PODS}/cart/proxy/login?user=a&password=x&verbose=true",
            f"{PODS}/cart/proxy/login?user=REDACTED&password=REDACTED&verbose=true",
        ),
        ("/api/v1/nodes/n1/proxy/run/x?cmd=id", "/api/v1/nodes/n1/proxy/run/x?cmd=REDACTED"),
        ("/api/v1/namespaces/a/services/v/proxy/v1/secret/x1", "/api/v1/namespaces/a/services/v/proxy/v1/secret/REDACTED"),
        ("/api/v1/namespaces/a/services/v/proxy/bot/0123456789abcdef0123", "/api/v1/namespaces/a/services/v/proxy/bot/REDACTED"),
        ("/login/hunter2?password=x", "/login/REDACTED?password=REDACTED"),
        ("/api/v1/namespaces/a/secrets/NOT_A_NAME", "/api/v1/namespaces/a/secrets/REDACTED"),
        ("/api/v1/namespaces/a/pods/eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl", "/api/v1/namespaces/a/pods/REDACTED"),
        (f"{PODS}/cart/exec?command=sh&command=-c&command=export+A%3D1", f"{PODS}/cart/exec?command=sh&command=REDACTED&command=REDACTED"),
        (f"{PODS}/cart/exec?command=curl+-u+a%3Ab+x", f"{PODS}/cart/exec?command=REDACTED"),
        ("/oauth/token?hunter2", "/oauth/token?REDACTED"),
        (
            "/apis/build.openshift.io/v1/namespaces/a/buildconfigs/b/webhooks/s3cret-hunter-two/github",
            "/apis/build.openshift.io/v1/namespaces/a/buildconfigs/b/webhooks/REDACTED/github",
        ),
        ("/api/v1/proxy/namespaces/a/services/b/hunter2-4f1c", "/api/v1/proxy/namespaces/a/services/b/REDACTED"),
        ("/api/v1/watch/namespaces/a/secrets/b?note=hunter", "/api/v1/watch/namespaces/a/secrets/b?note=REDACTED"),
        (f"{PODS}?hunter2-4f1c-9d58", f"{PODS}?REDACTED"),
        (f"{PODS}?note=hunter2-4f1c-9d58", f"{PODS}?note=REDACTED"),
    ],
)
def test_credentials_leave_the_uri(before, after):
    assert uri(before) == after


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=60))
def test_no_string_breaks_it(text):
    uri(text)
    uri("/api/v1/namespaces/a/pods/b/exec?command=" + text)
    uri("/api/v1/" + text)


WORDS = st.sampled_from(["access_token", "password", "X-Amz-Signature", "token", "client_secret", "api_key"])


@settings(max_examples=200, deadline=None)
@given(
    WORDS,
    st.sampled_from([PODS, f"{PODS}/a/proxy/x", "/oauth/authorize", "/api/v1/namespaces/a/services/b/proxy/", "/healthz"]),
    st.booleans(),
)
def test_a_credentials_parameter_never_survives(name, path, encoded):
    marker = "mk7f3a9c51"
    value = "".join(f"%{ord(letter):02x}" for letter in marker) if encoded else marker
    after = uri(f"{path}?limit=5&{name}={value}&watch=true")
    assert value not in after
    assert marker not in after
