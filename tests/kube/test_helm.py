"""Releases of the charts come, change and go on a real API server; there are no nodes, so that no pod of theirs runs."""

from __future__ import annotations

import json
import secrets
import subprocess
from collections.abc import Iterator

import pytest

from tests.charts import conftest as charts
from tests.charts.rendering import CHARTS, Helm
from tests.kube.harness.client import Api
from tests.kube.harness.control_plane import ControlPlane

# The definitions exist already, and no release has them: so it is after `kubectl apply`, and after another release is gone.
pytestmark = [pytest.mark.usefixtures("definitions")]

helm = charts.helm

DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
#: Kinds that the operator's chart makes, where they are listed.
FOLDERS = (
    "/api/v1/serviceaccounts", "/api/v1/services", "/api/v1/configmaps", "/apis/apps/v1/deployments",
    "/apis/networking.k8s.io/v1/networkpolicies", "/apis/rbac.authorization.k8s.io/v1/clusterroles",
    "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", "/apis/rbac.authorization.k8s.io/v1/roles",
    "/apis/rbac.authorization.k8s.io/v1/rolebindings", "/apis/manta.compute/v1alpha1/mantaclusters",
)  # fmt: skip


class Releases:
    """Helm, in a namespace."""

    def __init__(self, helm: Helm, kube: ControlPlane, api: Api, namespace: str) -> None:
        self._helm, self._kube, self._api, self.namespace = helm, kube, api, namespace
        #: No two tests share one: of some kinds a name is taken in every namespace.
        self.name = f"op-{secrets.token_hex(3)}"

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """One command."""
        return self._helm.run(*words, "-n", self.namespace, "--kubeconfig", str(self._kube.kubeconfig))

    def ok(self, *words: str) -> str:
        """One command that works; what it says."""
        done = self.run(*words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def left(self, release: str) -> set[str]:
        """What there is of a release, by its label."""
        return {
            f"{folder.rpartition('/')[2]}/{one['metadata']['name']}"
            for folder in FOLDERS
            for one in self._api.get(folder, labelSelector=f"app.kubernetes.io/instance={release}").body["items"]
        }


@pytest.fixture
def releases(helm: Helm, kube: ControlPlane, api: Api, namespace: str) -> Iterator[Releases]:
    found = Releases(helm, kube, api, namespace)
    yield found
    for release in json.loads(found.ok("list", "-a", "-o", "json")):
        found.run("uninstall", release["name"])


def owner(api, name="mantaclusters.manta.compute"):
    """Which release has a definition, as Helm sees it."""
    return api.get(f"{DEFINITIONS}/{name}").body["metadata"]["annotations"].get("meta.helm.sh/release-name")


def test_definitions_of_somebody_else_are_taken_over_when_that_is_said(releases, api):
    chart = str(CHARTS["manta-operator"])
    refused = releases.run("install", releases.name, chart)
    assert refused.returncode != 0
    assert "mantaclusters.manta.compute" in refused.stderr
    releases.run("uninstall", releases.name)

    releases.ok("install", releases.name, chart, "--take-ownership")

    assert owner(api) == releases.name


def test_nothing_is_left_of_a_release_but_the_definitions_and_what_is_theirs(releases, api):
    cluster = {
        "apiVersion": "manta.compute/v1alpha1",
        "kind": "MantaCluster",
        "metadata": {"name": "by-hand", "namespace": releases.namespace},
        "spec": {"image": "x"},
    }
    folder = f"/apis/manta.compute/v1alpha1/namespaces/{releases.namespace}/mantaclusters"
    assert api.create(folder, cluster).ok
    releases.ok("install", releases.name, str(CHARTS["manta-operator"]), "--take-ownership")
    there = releases.left(releases.name)
    assert {kind.split("/")[0] for kind in there} >= {"deployments", "clusterroles", "rolebindings", "configmaps"}

    said = releases.ok("uninstall", releases.name)

    assert "mantaclusters.manta.compute" in said, "helm names what it keeps"
    assert releases.left(releases.name) == set()
    assert api.get(f"{DEFINITIONS}/mantajobs.manta.compute").ok
    assert api.get(f"{folder}/by-hand").ok


def test_an_upgrade_takes_the_new_defaults_and_keeps_what_was_said(releases, api):
    chart = str(CHARTS["manta-operator"])
    releases.ok("install", releases.name, chart, "--take-ownership", "--set", "replicas=2,commonLabels.team=data")

    releases.ok("upgrade", releases.name, chart, "--reset-then-reuse-values", "--set", "logLevel=DEBUG")

    name = f"{releases.name}-manta-operator"
    deployment = api.get(f"/apis/apps/v1/namespaces/{releases.namespace}/deployments/{name}").body
    assert deployment["spec"]["replicas"] == 2
    assert deployment["metadata"]["labels"]["team"] == "data"
    assert "--log-level=DEBUG" in deployment["spec"]["template"]["spec"]["containers"][0]["args"]


def test_a_cluster_comes_scales_and_goes(releases, api):
    chart, name = str(CHARTS["manta-cluster"]), releases.name
    path = f"/apis/manta.compute/v1alpha1/namespaces/{releases.namespace}/mantaclusters/{name}"

    notes = releases.ok("install", name, chart)
    assert f"kubectl -n {releases.namespace} wait --for=condition=Ready mantacluster/{name}" in notes
    assert api.get(path).body["spec"]["workerGroups"][0]["replicas"] == 2
    releases.ok("upgrade", name, chart, "--reset-then-reuse-values", "--set", "workerGroups.workers.replicas=5")
    assert api.get(path).body["spec"]["workerGroups"][0]["replicas"] == 5
    releases.ok("uninstall", name)
    assert api.get(path).status == 404


def test_a_refused_upgrade_changes_nothing_and_a_rollback_by_number_undoes_what_came_after(releases, api):
    """What is refused stays in Helm's history; a later change is undone by the number of a revision that was applied."""
    chart, name = str(CHARTS["manta-cluster"]), releases.name
    path = f"/apis/manta.compute/v1alpha1/namespaces/{releases.namespace}/mantaclusters/{name}"
    change = ("upgrade", name, chart, "--reset-then-reuse-values", "--set")

    releases.ok("install", name, chart)
    before = api.get(path).body["spec"]
    refused = releases.run(*change, "head.storage.type=emptyDir,workerGroups.workers.replicas=9")
    assert "the head's data would not move along" in refused.stderr
    assert api.get(path).body["spec"] == before
    releases.ok(*change, "workerGroups.workers.replicas=5,suspend=true")
    assert api.get(path).body["spec"] != before
    releases.ok("rollback", name, "1")
    assert api.get(path).body["spec"] == before


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ("head.storage.type=emptyDir,head.storage.existingClaim=mine", 'existingClaim goes with type "pvc" alone'),
        ("workerGroups.head.resources.limits.cpu=1", 'a group cannot be called "head"'),
        ("workerGroups.workers.objectStore.memory=3Gi", "objectStore.memory must be less than the memory of the worker"),
        ("workerGroups.workers.minReplicas=3", "replicas must be between minReplicas and maxReplicas"),
        ("tls.enabled=false,tls.existingSecret=mine", "existingSecret holds an authority"),
    ],
)  # fmt: skip
def test_what_contradicts_itself_is_refused_by_the_api_server_in_words(releases, values, words):
    done = releases.run("install", releases.name, str(CHARTS["manta-cluster"]), "--set", values)

    assert done.returncode != 0
    assert words in done.stderr
