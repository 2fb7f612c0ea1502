"""Whatever keeps a driver from its cluster is said at once, by its own error, with what and where on its first line."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest

import manta
from manta.api import driver
from manta.client.kube import opening
from manta.core import errors
from manta.transport.auth import new_token
from tests.process.forwarding.conftest import ADDRESS
from tests.support import gateway, kube_api

pytestmark = pytest.mark.shared_cluster

CLUSTER = "/apis/manta.compute/v1alpha1/namespaces/default/mantaclusters/demo"


def refused(kind, *says, address=ADDRESS, **arguments):
    with pytest.raises(kind) as refusal:
        manta.init(address, **arguments)
    first, *_ = str(refusal.value).splitlines()
    assert type(refusal.value) is kind
    for text in (address, *says):
        assert text in first
    assert not manta.is_initialized()


def test_no_kubeconfig(api, monkeypatch, tmp_path):
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    refused(errors.KubeconfigError, "there is no kubeconfig", str(tmp_path / "none"))


def test_an_unknown_context(api):
    refused(errors.KubeconfigError, "no context 'x'; its contexts: c", address=f"{ADDRESS}?context=x")


def test_an_address_that_is_none():
    refused(errors.KubernetesAddressError, "an address is k8s://NAME", address="k8s://a/b/c")


def test_an_api_server_that_is_not_there(api, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    monkeypatch.setenv("KUBECONFIG", str(api.kubeconfig(server=f"https://127.0.0.1:{port}")))
    refused(
        errors.KubernetesUnreachableError,
        f"cannot reach the API server https://127.0.0.1:{port} (context 'c'",
        "refused",
    )


def test_an_api_server_without_a_name(api, monkeypatch):
    monkeypatch.setenv("KUBECONFIG", str(api.kubeconfig(server="https://no-such-host.invalid:6443")))
    refused(errors.KubernetesUnreachableError, "cannot reach the API server https://no-such-host.invalid:6443")


def test_an_api_server_of_another_authority(api, door, monkeypatch):
    monkeypatch.setenv("KUBECONFIG", str(api.kubeconfig(certificate_authority=str(door.folder / "ca.pem"))))
    refused(errors.KubernetesUnreachableError, "does not prove who it is", api.url)


def test_its_certificate_may_have_another_name(api, monkeypatch):
    port = api.url.rpartition(":")[2]
    monkeypatch.setenv("KUBECONFIG", str(api.kubeconfig(server=f"https://localhost:{port}")))
    refused(errors.KubernetesUnreachableError, "does not prove who it is", "localhost")
    monkeypatch.setenv(
        "KUBECONFIG", str(api.kubeconfig(server=f"https://localhost:{port}", tls_server_name="api.test"))
    )
    manta.init(ADDRESS)


def test_something_else_than_an_api_server(api, door, monkeypatch):
    monkeypatch.setenv("KUBECONFIG", str(api.kubeconfig(server=f"http://127.0.0.1:{door.port}")))
    refused(errors.KubernetesUnreachableError, f"the API server http://127.0.0.1:{door.port}")


def test_expired_credentials(api):
    api.tokens = {"another"}
    refused(
        errors.KubernetesUnauthorizedError, "does not accept the credentials of user 'jane'", api.url, "Log in again"
    )


@pytest.mark.parametrize(
    ("path", "command"),
    [
        ("/mantaclusters", "auth can-i get mantaclusters.manta.compute/demo -n default"),
        ("/secrets", "auth can-i get secrets/demo-submitter -n default"),
        ("/pods$", "auth can-i list pods -n default"),
        ("/portforward", "auth can-i get pods/demo-head --subresource portforward -n default"),
    ],
)
def test_missing_permissions(api, path, command):
    api.faults.forbidden = path
    refused(errors.KubernetesForbiddenError, "forbids user 'jane'", f"Check with: kubectl --context c {command}")


def test_no_such_cluster_says_which_there_are(api):
    refused(
        errors.ClusterAbsentError,
        "there is no MantaCluster nothing in namespace default",
        "there are demo, other",
        address="k8s://default/nothing",
    )


def test_no_operator(api):
    api.objects.clear()
    refused(errors.ClusterAbsentError, "knows no MantaClusters: install the operator")


def test_a_suspended_cluster_is_not_waited_for(api):
    api.objects[CLUSTER]["spec"]["suspend"] = True
    refused(errors.ClusterNotReadyError, "MantaCluster default/demo takes no drivers: it is suspended")


def test_a_cluster_that_does_not_get_ready_says_why(api, monkeypatch):
    api.objects[CLUSTER]["status"]["conditions"] = [
        kube_api.condition("Degraded", "True", "ImagePullBackOff", "manta:latest: not found")
    ]
    monkeypatch.setattr(opening, "READY_S", 0.05)
    monkeypatch.setattr(opening, "LOOK_S", 0.02)
    refused(errors.ClusterNotReadyError, "takes no drivers yet: ImagePullBackOff: manta:latest: not found; waited")


def test_no_secret(api):
    del api.objects["/api/v1/namespaces/default/secrets/demo-submitter"]
    refused(errors.ClusterNotReadyError, "there is no Secret default/demo-submitter")


@pytest.fixture
def impatient(monkeypatch):
    """A gateway that is away is not waited for."""
    monkeypatch.setattr(driver, "GATEWAY_S", 0.0)


def test_no_head(api, impatient):
    api.put_head()
    refused(errors.PortForwardError, "MantaCluster default/demo cannot be reached: its head has no pod now")


def test_nobody_listens_in_the_pod(api, impatient):
    api.ports.clear()
    refused(
        errors.PortForwardError,
        "forwarding to port 7620 of pod demo-head failed: error forwarding",
        "connection refused",
    )


def test_the_gateway_does_not_take_the_token(api):
    refused(
        errors.ForwardedTokenError,
        "MantaCluster default/demo was reached and does not take the token of the argument token",
        token=new_token(),
    )


def test_the_gateway_is_another_clusters(api, door, tmp_path):
    gateway.prepare(tmp_path, kube_api.UID)
    refused(
        errors.ForwardedCertificateError,
        f"does not prove to be gateway.{kube_api.UID}.manta",
        "The authority is that of the argument ca",
        ca=str(tmp_path / "ca.pem"),
    )
    api.objects[CLUSTER]["metadata"]["uid"] = "another"
    for pod in api.objects["/api/v1/namespaces/default/pods"]["items"]:
        pod["metadata"]["ownerReferences"][0]["uid"] = "another"
    refused(
        errors.ForwardedCertificateError, "does not prove to be gateway.another.manta", "Secret default/demo-submitter"
    )


def test_a_plugin_that_fails(api, monkeypatch):
    plugin = {"apiVersion": "client.authentication.k8s.io/v1", "command": "no-such-plugin", "installHint": "see x"}
    monkeypatch.setenv("KUBECONFIG", str(api.kubeconfig(user={"exec": plugin})))
    refused(errors.KubeconfigError, "'no-such-plugin' of user 'jane' is not installed: see x")


def test_without_aiohttp_it_says_how_to_install_it(api):
    program = f"import sys; sys.modules['aiohttp'] = None; import manta; manta.init({ADDRESS!r})"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False)

    assert ended.stderr.splitlines()[-1] == (
        "manta.exceptions.MissingPackageError: k8s:// addresses need aiohttp, which is not installed: "
        "pip install 'manta-executor[kubernetes]'"
    )


def test_arguments_for_a_new_cluster_make_no_sense(api):
    with pytest.raises(ValueError, match="must not be provided"):
        manta.init(ADDRESS, num_cpus=2)
