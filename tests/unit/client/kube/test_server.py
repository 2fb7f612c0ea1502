"""What an API server's refusals mean to a person, and how TLS with it is set up."""

from __future__ import annotations

import ssl

import pytest

from manta.client.kube import refusals, server
from manta.client.kube.access import Access, User
from manta.core import errors

ACCESS = Access("context 'c' of /k", "https://s:6443", " --context c", user=User(name="jane"))
SECRET = "/api/v1/namespaces/default/secrets/demo-submitter"


@pytest.mark.parametrize(
    ("path", "command"),
    [
        (SECRET, "kubectl --context c auth can-i get secrets/demo-submitter -n default"),
        (
            "/apis/manta.compute/v1alpha1/namespaces/default/mantaclusters/demo",
            "kubectl --context c auth can-i get mantaclusters.manta.compute/demo -n default",
        ),
        ("/api/v1/namespaces/default/pods", "kubectl --context c auth can-i list pods -n default"),
        (
            "/api/v1/namespaces/default/pods/demo-head/portforward?ports=7620",
            "kubectl --context c auth can-i get pods/demo-head --subresource portforward -n default",
        ),
        ("/version", "kubectl --context c auth can-i get /version"),
    ],
)
def test_how_kubectl_asks_the_same(path, command):
    assert refusals.can_i(ACCESS, path) == command


def status(code, reason, message, **details):
    return {"kind": "Status", "code": code, "reason": reason, "message": message, "details": details}


@pytest.mark.parametrize(
    ("code", "body", "kind", "says"),
    [
        (
            401,
            status(401, "Unauthorized", "Unauthorized"),
            errors.KubernetesUnauthorizedError,
            "credentials of user 'jane' .401.*Log in again",
        ),
        (
            403,
            status(403, "Forbidden", 'secrets "demo-submitter" is forbidden: User "jane" cannot get'),
            errors.KubernetesForbiddenError,
            'secrets "demo-submitter" is forbidden: User "jane" cannot get. Check with: kubectl --context c auth can-i get',
        ),
        (403, "<html>no</html>", errors.KubernetesForbiddenError, "403.: <html>no</html>. Check with"),
        (
            500,
            status(500, "InternalError", "etcd is\nlost"),
            errors.KubernetesUnreachableError,
            "answered 500 to GET .*: etcd is lost$",
        ),
        (503, "", errors.KubernetesUnreachableError, "answered 503 to GET .*: nothing more"),
        (302, "", errors.KubernetesUnreachableError, "is no API server: it said 302"),
        (200, "<html>hello</html>", errors.KubernetesUnreachableError, "is no API server: it said 200"),
        (404, None, refusals.AbsentError, "there is no /api"),
    ],
)
def test_refusals(code, body, kind, says):
    refusal = refusals.refused(ACCESS, SECRET, code, body)

    assert type(refusal) is kind
    with pytest.raises(kind, match=says):
        raise refusal
    assert code == 404 or "https://s:6443" in str(refusal)
    assert "\n" not in str(refusal)


def test_an_object_that_is_missing_is_not_a_kind_that_is_missing():
    absent = refusals.refused(ACCESS, SECRET, 404, status(404, "NotFound", "x", name="demo", kind="mantaclusters"))
    unknown = refusals.refused(
        ACCESS, SECRET, 404, status(404, "NotFound", "the server could not find the requested resource")
    )

    assert (absent.kind, unknown.kind) == ("mantaclusters", "")


def test_tls_is_checked_unless_the_kubeconfig_says_otherwise():
    checked = server.context_of(ACCESS, b"", b"")
    unchecked = server.context_of(Access("c", "https://s", insecure=True), b"", b"")

    assert (checked.check_hostname, checked.verify_mode) == (True, ssl.CERT_REQUIRED)
    assert (unchecked.check_hostname, unchecked.verify_mode) == (False, ssl.CERT_NONE)


def test_certificates_that_are_none_are_named():
    with pytest.raises(errors.KubeconfigError, match="certificate-authority holds no certificate"):
        server.context_of(Access("c", "https://s", authority=b"nothing"), b"", b"")
    with pytest.raises(errors.KubeconfigError, match="client-certificate and client-key of user 'jane' are not a pair"):
        server.context_of(ACCESS, b"nothing", b"neither")


@pytest.mark.parametrize(
    ("variables", "proxy"),
    [
        ({}, ""),
        ({"https_proxy": "http://p:3128"}, "http://p:3128"),
        ({"https_proxy": "http://p:3128", "no_proxy": "s,other"}, ""),
        ({"https_proxy": "http://p:3128", "no_proxy": "other"}, "http://p:3128"),
        ({"http_proxy": "http://p:3128"}, ""),
    ],
)
def test_the_environments_proxy(variables, proxy, monkeypatch):
    for name in ("https_proxy", "http_proxy", "no_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name, text in variables.items():
        monkeypatch.setenv(name, text)

    assert server.Server(ACCESS)._proxy == ({"proxy": proxy} if proxy else {})


def test_a_proxys_name_and_password_go_into_a_header():
    assert server.by_proxy("http://jane:p%40ss@proxy:3128") == {
        "proxy": "http://proxy:3128",
        "proxy_headers": {"Proxy-Authorization": "Basic amFuZTpwQHNz"},
    }


def test_what_has_to_be_created_is_asked_for_so():
    path = "/api/v1/namespaces/default/pods/demo-head/portforward?ports=7620"

    assert refusals.can_i(ACCESS, path, "create") == (
        "kubectl --context c auth can-i create pods/demo-head --subresource portforward -n default"
    )
