"""What the URI of a request says; cases from kubernetes/apiserver 24a394e516bf, `pkg/endpoints/request/requestinfo_test.go`."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transforms.audit.list_options import is_label_selector, selected_name
from transforms.audit.request_info import RequestInfo, request_info

RESOURCES = [
    # uri, verb, prefix, group, version, namespace, resource, subresource, name, parts
    ("/api/v1/namespaces", "list", "api", "", "v1", "", "namespaces", "", "", "namespaces"),
    ("/api/v1/namespaces/other", "get", "api", "", "v1", "other", "namespaces", "", "other", "namespaces other"),
    ("/api/v1/namespaces/other/pods", "list", "api", "", "v1", "other", "pods", "", "", "pods"),
    ("/api/v1/namespaces/other/pods/foo", "get", "api", "", "v1", "other", "pods", "", "foo", "pods foo"),
    ("/api/v1/pods", "list", "api", "", "v1", "", "pods", "", "", "pods"),
    ("/api/v1/proxy/namespaces/other/pods/foo", "proxy", "api", "", "v1", "other", "pods", "", "foo", "pods foo"),
    (
        "/api/v1/proxy/namespaces/other/pods/foo/subpath/not/a/sub",
        "proxy",
        "api",
        "",
        "v1",
        "other",
        "pods",
        "",
        "foo",
        "pods foo subpath not a sub",
    ),
    ("/api/v1/watch/pods", "watch", "api", "", "v1", "", "pods", "", "", "pods"),
    ("/api/v1/pods?watch=true", "watch", "api", "", "v1", "", "pods", "", "", "pods"),
    ("/api/v1/watch/namespaces/other/pods", "watch", "api", "", "v1", "other", "pods", "", "", "pods"),
    ("/api/v1/namespaces/other/pods?watch=1", "watch", "api", "", "v1", "other", "pods", "", "", "pods"),
    ("/api/v1/namespaces/other/pods/foo/status", "get", "api", "", "v1", "other", "pods", "status", "foo", "pods foo status"),
    ("/api/v1/namespaces/other/pods/foo/proxy/sub", "get", "api", "", "v1", "other", "pods", "proxy", "foo", "pods foo proxy sub"),
    (
        "/api/v1/namespaces/other/finalize",
        "update",
        "api",
        "",
        "v1",
        "other",
        "namespaces",
        "finalize",
        "other",
        "namespaces other finalize",
    ),
    ("/api/v1/namespaces/other/status", "update", "api", "", "v1", "other", "namespaces", "status", "other", "namespaces other status"),
    ("/api/v1/nodes", "deletecollection", "api", "", "v1", "", "nodes", "", "", "nodes"),
    ("/apis/extensions/v1/namespaces/other/pods", "create", "apis", "extensions", "v1", "other", "pods", "", "", "pods"),
    ("/apis/batch/v1/job/foo/scale", "get", "apis", "batch", "v1", "", "job", "scale", "foo", "job foo scale"),
    # Ours: read from requestinfo.go and from net/url.
    ("/api/v1/namespaces/%6bube-system/pods/a%2Fb", "get", "api", "", "v1", "kube-system", "pods", "b", "a", "pods a b"),
    ("//api/v1/pods/", "list", "api", "", "v1", "", "pods", "", "", "pods"),
    ("/api/v1/namespaces//pods", "list", "api", "", "v1", "", "pods", "", "", "pods"),
    (
        "/api/v1/watch/namespaces/other/status",
        "watch",
        "api",
        "",
        "v1",
        "other",
        "namespaces",
        "status",
        "other",
        "namespaces other status",
    ),
    ("/api/v1/namespaces/../secrets", "list", "api", "", "v1", "..", "secrets", "", "", "secrets"),
    ("/api/v1/pods/a%00b", "get", "api", "", "v1", "", "pods", "", "a\0b", "pods a\0b"),
    ("/api/v1/pods/a+b", "get", "api", "", "v1", "", "pods", "", "a+b", "pods a+b"),
    ("/api/v1/pods/caf%C3%A9", "get", "api", "", "v1", "", "pods", "", "café", "pods café"),
    ("/api/v1/pods/%FF", "get", "api", "", "v1", "", "pods", "", "\udcff", "pods \udcff"),
]


@pytest.mark.parametrize(("uri", "verb", "prefix", "group", "version", "namespace", "resource", "subresource", "name", "parts"), RESOURCES)
def test_a_resource_request_reads_as_upstream_reads_it(
    uri: str, verb: str, prefix: str, group: str, version: str, namespace: str, resource: str, subresource: str, name: str, parts: str
) -> None:
    info = request_info(uri, verb)
    assert info.is_resource_request
    assert (info.api_prefix, info.api_group, info.api_version) == (prefix, group, version)
    assert (info.namespace, info.resource, info.subresource, info.name) == (namespace, resource, subresource, name)
    assert info.parts == tuple(parts.split(" "))


def test_an_empty_segment_is_a_segment() -> None:
    assert request_info("/api/v1//pods", "get") == RequestInfo(True, "/api/v1//pods", "api", "", "v1", "", "", "", "pods", ("", "pods"))


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "/",
        "/api",
        "/api/version/",
        "/apis/group/version/",
        "/badprefix/version/resource",
        "/apis/version/resource",
        "/apis/extensions/v1beta1",
        "/healthz",
        "*",
    ],
)
def test_discovery_and_other_paths_are_no_resource_requests(uri: str) -> None:
    info = request_info(uri, "get")
    assert not info.is_resource_request
    assert (info.path, info.resource, info.namespace, info.name) == (uri, "", "", "")


@pytest.mark.parametrize("uri", ["api/v1/pods", "%2Fhealthz", "healthz"])
def test_a_target_without_leading_slash_has_no_path(uri: str) -> None:
    assert request_info(uri, "list") == RequestInfo(False, "")


def test_the_path_is_decoded_and_has_no_query() -> None:
    assert request_info("/healthz%2Fetcd?verbose=1", "get").path == "/healthz/etcd"


SELECTORS = [
    ("fieldSelector=metadata.name=name1", "name1"),
    ("watch=true&fieldSelector=metadata.name=name1", "name1"),
    ("fieldSelector=metadata.name%3Dname1", "name1"),
    ("%66ieldSelector=metadata.name=name1", "name1"),
    ("fieldSelector=metadata.name==name1", "name1"),
    ("fieldSelector=metadata.name=foo&fieldSelector=metadata.name=bar", "foo"),
    ("fieldSelector=spec.nodeName=n,metadata.name=b", "b"),
    ("fieldSelector=metadata.name=b,metadata.name=a", "a"),
    ("fieldSelector=,metadata.name=b,", "b"),
    ("fieldSelector=metadata.name=a%5C,b", "a,b"),
    ("fieldSelector=metadata.name=a+b", "a b"),
    ("fieldSelector=metadata.name=x&limit=500&timeoutSeconds=-1&labelSelector=a+in+(b,,c),!d,e", "x"),
    ("fieldSelector=foo=bar&labelSelector=baz=qux", ""),
    ("fieldSelector=metadata.name!=name1", ""),
    ("fieldSelector=metadata.name=name1,foo", ""),
    ("fieldSelector=metadata.name=a=b", ""),
    ("fieldSelector=metadata.name=a%5Cb", ""),
    ("fieldSelector=metadata.name=..", ""),
    ("fieldSelector=metadata.name=a%2Fb", ""),
    ("fieldSelector=metadata.name=a%25b", ""),
    ("fieldSelector=metadata.name=x;y", ""),
    ("fieldSelector=metadata.name=x%zz", ""),
    ("fieldSelector=metadata.name=x&limit=", ""),
    ("fieldSelector=metadata.name=x&limit=1_0", ""),
    ("fieldSelector=metadata.name=x&timeoutSeconds=9223372036854775808", ""),
    ("fieldSelector=metadata.name=x&labelSelector=a,", ""),
    ("fieldSelector=metadata.name=x&labelSelector=(", ""),
]


@pytest.mark.parametrize(("query", "name"), SELECTORS)
def test_a_list_takes_its_name_from_a_selector_that_decodes(query: str, name: str) -> None:
    assert selected_name(query) == name
    assert request_info(f"/apis/group/version/resource?{query}", "list").name == name


@pytest.mark.parametrize(
    ("uri", "verb"), [("/api/v1/pods", "deletecollection"), ("/api/v1/watch/pods", "watch"), ("/api/v1/pods", "create")]
)
def test_only_a_list_or_watch_without_prefix_takes_a_name_from_its_selector(uri: str, verb: str) -> None:
    assert request_info(f"{uri}?fieldSelector=metadata.name=x", verb).name == ""


def test_a_name_in_the_path_wins_over_the_selector() -> None:
    assert request_info("/api/v1/namespaces/n/pods/p?fieldSelector=metadata.name=x", "watch").name == "p"


@pytest.mark.parametrize(
    ("selector", "valid"),
    [
        ("", True),
        ("x in (foo,,baz),y,z notin ()", True),
        ("in in (in,notin)", True),
        ("example.com/app==x", True),
        ("a>1", True),
        ("a=", True),
        (" a = b , !c ", True),
        ("a\0,", False),
        ("a>b", False),
        ("a in (b c)", False),
        ("a in (b", False),
        ("a in b", False),
        ("!a=b", False),
        ("!", False),
        ("a b", False),
        ("a,,b", False),
        ("a===b", False),
        ("-a", False),
        ("a/b/c", False),
        ("a=" + "b" * 64, False),
    ],
)
def test_a_label_selector_parses_or_not_as_upstream(selector: str, valid: bool) -> None:
    assert is_label_selector(selector) is valid


@settings(deadline=None)
@given(st.text(st.characters(exclude_categories=[])), st.sampled_from(["get", "list", "watch", ""]))
def test_no_string_is_too_odd(uri: str, verb: str) -> None:
    request_info(uri, verb)
    info = request_info(f"/api/v1/{uri}", verb)
    assert not info.is_resource_request or len(info.parts) > 0 or info.path.strip("/").split("/")[2:] in (["proxy"], ["watch"])


@settings(deadline=None)
@given(st.text(st.sampled_from("ab,=!()<>\\ \0%+;&1inot"), max_size=12), st.text(st.sampled_from("ab,=!\\%&;."), max_size=8))
def test_no_selector_is_too_odd(labels: str, fields: str) -> None:
    name = selected_name(f"labelSelector={labels}&fieldSelector=metadata.name={fields}")
    assert name not in (".", "..")
    assert "/" not in name
    assert "%" not in name
