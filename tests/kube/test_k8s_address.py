"""k8s:// addresses before a real API server: what it refuses and how, and that the documented permissions are enough.

There are no nodes here, so no port is forwarded: tests/process/forwarding does that with a stand-in, tests/e2e for real.
"""

from __future__ import annotations

import base64
import json
import secrets
from pathlib import Path

import pytest
import yaml

import manta
from manta.api import driver
from manta.client.kube import opening
from manta.core import errors
from manta_operator.api.names import GROUP_VERSION

pytestmark = pytest.mark.usefixtures("definitions")

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "kubernetes"


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """There is no gateway to wait for."""
    monkeypatch.setattr(driver, "GATEWAY_S", 0.0)


def made(answer):
    assert answer.ok, answer.message
    return answer.body


@pytest.fixture
def demo(api, namespace):
    """A MantaCluster that says that it takes drivers, with its Secret; its namespace."""
    folder = f"/apis/{GROUP_VERSION}/namespaces/{namespace}/mantaclusters"
    cluster = {
        "apiVersion": GROUP_VERSION,
        "kind": "MantaCluster",
        "metadata": {"name": "demo"},
        "spec": {"image": "manta:test"},
    }
    made(api.create(folder, cluster))
    be(api, namespace, "Available", "True", "HeadServes")
    data = {"token": base64.b64encode(b"ab" * 32).decode(), "ca.crt": base64.b64encode(b"a certificate").decode()}
    secret = {"metadata": {"name": "demo-submitter"}, "data": data}
    made(api.create(f"/api/v1/namespaces/{namespace}/secrets", secret))
    return namespace


def be(api, namespace, kind, status, reason, message=""):
    """Have the MantaCluster say this of itself."""
    condition = {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": message,
        "lastTransitionTime": "2030-01-01T00:00:00Z",
    }
    path = f"/apis/{GROUP_VERSION}/namespaces/{namespace}/mantaclusters/demo/status"
    body = {"status": {"conditions": [condition]}}
    made(api.call("PATCH", path, body, content_type="application/merge-patch+json"))


@pytest.fixture
def jane(kube, monkeypatch):
    """A user who may nothing yet; her name. KUBECONFIG is hers."""
    name = f"jane-{secrets.token_hex(3)}"
    monkeypatch.setenv("KUBECONFIG", str(kube.kubeconfig_of(name)))
    return name


def allow(api, namespace, user, *rules):
    """Give a user a Role of these rules."""
    path = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}"
    name = f"r-{secrets.token_hex(3)}"
    made(api.create(f"{path}/roles", {"metadata": {"name": name}, "rules": list(rules)}))
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name}
    subject = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}
    made(api.create(f"{path}/rolebindings", {"metadata": {"name": name}, "roleRef": reference, "subjects": [subject]}))


def documented_rules():
    return yaml.safe_load((EXAMPLES / "driver_role.yaml").read_text())["rules"]


def refused(kind, address, *says):
    with pytest.raises(kind) as refusal:
        manta.init(address)
    first, *_ = str(refusal.value).splitlines()
    for text in (address, *says):
        assert text in first
    assert not manta.is_initialized()


def test_the_documented_permissions_are_enough_to_get_to_the_pod(api, demo, jane):
    """The last question is the one for the port, and there it is a pod that is missing."""
    allow(api, demo, jane, *documented_rules())
    cluster = opening.open_cluster(f"k8s://{demo}/demo")
    try:
        assert (cluster.shown.token, cluster.shown.authority) == ("ab" * 32, b"a certificate")
        with pytest.raises(
            errors.PortForwardError, match=f"MantaCluster {demo}/demo cannot be reached: its head has no pod"
        ):
            cluster.forward.dial(7620, 30)
    finally:
        cluster.close()


def test_each_of_the_documented_permissions_is_needed_and_missed_by_name(api, demo, jane):
    """In the order in which they are needed; the command that is printed is one that kubectl understands."""
    address = f"k8s://{demo}/demo"
    checks = (
        f"kubectl --context c auth can-i get mantaclusters.manta.compute/demo -n {demo}",
        f"kubectl --context c auth can-i get secrets/demo-submitter -n {demo}",
        f"kubectl --context c auth can-i list pods -n {demo}",
    )
    for check, rule in zip(checks, documented_rules(), strict=False):
        refused(errors.KubernetesForbiddenError, address, f'User "{jane}" cannot', f"Check with: {check}")
        allow(api, demo, jane, rule)
    refused(errors.PortForwardError, address, "its head has no pod now")


def test_to_forward_a_port_is_a_permission_of_its_own(api, demo, jane):
    """The API server's words come with it, though the WebSocket that it refuses has no room for them."""
    allow(api, demo, jane, *documented_rules()[:3])
    head(api, demo, "Running")
    refused(
        errors.KubernetesForbiddenError,
        f"k8s://{demo}/demo",
        f'User "{jane}" cannot get resource "pods/portforward"',
        f"auth can-i get pods/demo-head --subresource portforward -n {demo}",
    )


def head(api, namespace, phase):
    """The head's pod, without a node."""
    labels = {"manta.compute/cluster": "demo", "app.kubernetes.io/component": "head"}
    pod = {
        "metadata": {"name": "demo-head", "labels": labels},
        "spec": {"containers": [{"name": "gateway", "image": "manta:test"}], "automountServiceAccountToken": False},
    }
    path = f"/api/v1/namespaces/{namespace}/pods"
    made(api.create(path, pod))
    body = {"status": {"phase": phase}}
    made(api.call("PATCH", f"{path}/demo-head/status", body, content_type="application/merge-patch+json"))


def test_a_pod_that_has_no_node_is_not_reached_and_says_so(api, demo, kube, monkeypatch):
    monkeypatch.setenv("KUBECONFIG", str(kube.kubeconfig))
    head(api, demo, "Pending")
    refused(errors.PortForwardError, f"k8s://{demo}/demo", "its head's pod demo-head is Pending")
    made(api.delete(f"/api/v1/namespaces/{demo}/pods/demo-head", gracePeriodSeconds="0"))
    head(api, demo, "Running")
    refused(errors.KubernetesUnreachableError, f"k8s://{demo}/demo", "answered 400", "does not have a host assigned")


def test_a_missing_cluster_and_a_missing_kind_are_told_apart(api, demo, kube, monkeypatch):
    monkeypatch.setenv("KUBECONFIG", str(kube.kubeconfig))
    refused(
        errors.ClusterAbsentError, f"k8s://{demo}/other", f"no MantaCluster other in namespace {demo}", "there are demo"
    )
    refused(errors.ClusterAbsentError, "k8s://no-such-namespace/demo", "there is none in that namespace")
    monkeypatch.setattr("manta.client.kube.resource._API", "/apis/manta.example/v1")
    refused(errors.ClusterAbsentError, f"k8s://{demo}/demo", "knows no MantaClusters: install the operator")


def test_what_the_status_says_is_passed_on(api, demo, kube, monkeypatch):
    monkeypatch.setenv("KUBECONFIG", str(kube.kubeconfig))
    monkeypatch.setattr(opening, "READY_S", 0.0)
    be(api, demo, "Degraded", "True", "ImagePullBackOff", "manta:test: not found")
    refused(
        errors.ClusterNotReadyError,
        f"k8s://{demo}/demo",
        "takes no drivers yet: ImagePullBackOff: manta:test: not found",
    )


def test_credentials_that_the_server_does_not_know(demo, kube, monkeypatch, tmp_path):
    config = json.loads(Path(kube.kubeconfig).read_text())
    config["users"][0]["user"] = {"token": "expired"}
    path = tmp_path / "config"
    path.write_text(json.dumps(config))
    monkeypatch.setenv("KUBECONFIG", str(path))
    refused(
        errors.KubernetesUnauthorizedError,
        f"k8s://{demo}/demo",
        kube.server,
        "does not accept the credentials of user 'u'",
    )


def test_a_service_accounts_token(api, demo, kube, monkeypatch, tmp_path):
    """As a pod has it; and its permissions are its own."""
    made(api.create(f"/api/v1/namespaces/{demo}/serviceaccounts", {"metadata": {"name": "driver"}}))
    answer = made(api.create(f"/api/v1/namespaces/{demo}/serviceaccounts/driver/token", {"spec": {}}))
    (tmp_path / "token").write_text(answer["status"]["token"])
    (tmp_path / "namespace").write_text(demo)
    (tmp_path / "ca.crt").write_bytes(kube.authority.read_bytes())
    host, _, port = kube.server.removeprefix("https://").partition(":")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", host)
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", port)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setattr("manta.client.kube.kubeconfig.SERVICE_ACCOUNT", str(tmp_path))
    user = f"system:serviceaccount:{demo}:driver"
    refused(errors.KubernetesForbiddenError, "k8s://demo", f'User "{user}" cannot', "the pod's service account")
    allow(api, demo, user, *documented_rules())
    refused(errors.PortForwardError, "k8s://demo", f"MantaCluster {demo}/demo cannot be reached")


def test_acting_as_somebody_else(api, demo, kube, jane, monkeypatch, tmp_path):
    config = json.loads(Path(kube.kubeconfig).read_text())
    config["users"][0]["user"]["as"] = jane
    path = tmp_path / "config"
    path.write_text(json.dumps(config))
    monkeypatch.setenv("KUBECONFIG", str(path))
    refused(errors.KubernetesForbiddenError, f"k8s://{demo}/demo", f'User "{jane}" cannot get resource "mantaclusters"')
