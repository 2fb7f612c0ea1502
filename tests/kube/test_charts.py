"""Whatever the charts make, a real API server takes, strictly: no field that does not exist, nothing out of bounds."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest

from tests.charts import conftest as charts
from tests.charts import monitoring
from tests.charts.rendering import CASES, Helm, Manifest, name_of, of_kind
from tests.kube.harness.client import Api
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.usefixtures("definitions", "monitoring_definitions")]

helm = charts.helm

#: Where objects of a kind are kept: the API group's path and, unless it has a namespace, that.
PLURALS = {"NetworkPolicy": "networkpolicies"}


@pytest.fixture(scope="session")
def monitoring_definitions(api: Api) -> None:
    """Stand-ins for the Prometheus operator's."""
    for definition in monitoring.definitions():
        name = definition["metadata"]["name"]
        answer = api.apply(f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}", definition)
        assert answer.ok, answer.message
        plural = definition["spec"]["names"]["plural"]
        wait_until(partial(_served, api, plural), what=f"{plural} are served")


def _served(api: Api, plural: str) -> bool:
    return api.get(f"/apis/monitoring.coreos.com/v1/{plural}").ok


@pytest.fixture
def namespaces(api: Api) -> Iterator[set[str]]:
    """Namespaces that are made when they are added, and go with the test."""
    made: set[str] = set()
    yield made
    for name in made:
        api.delete(f"/api/v1/namespaces/{name}")


def folder_of(manifest: Manifest) -> str:
    """Where it is POSTed to."""
    group, kind = manifest["apiVersion"], manifest["kind"]
    plural = PLURALS.get(kind, f"{kind.lower()}s")
    namespace = manifest["metadata"].get("namespace")
    root = f"/apis/{group}" if "/" in group else f"/api/{group}"
    return f"{root}/namespaces/{namespace}/{plural}" if namespace else f"{root}/{plural}"


def in_namespaces_of_its_own(api: Api, manifests: list[Manifest], made: set[str], suffix: str) -> None:
    """Move objects to namespaces that nobody else has, and make these, with the restricted standard."""
    for manifest in manifests:
        namespace = manifest["metadata"].get("namespace")
        if namespace is None:
            continue
        manifest["metadata"]["namespace"] = moved = f"{namespace}-{suffix}"
        if moved not in made:
            labels = {"pod-security.kubernetes.io/enforce": "restricted"}
            answer = api.create("/api/v1/namespaces", {"metadata": {"name": moved, "labels": labels}})
            assert answer.ok, answer.message
            made.add(moved)


@pytest.mark.parametrize(("chart", "values"), CASES, ids=name_of)
def test_everything_that_is_rendered_is_accepted(helm: Helm, api, namespaces, namespace, chart, values):
    manifests = helm.render(chart, values=values)
    in_namespaces_of_its_own(api, manifests, namespaces, namespace)
    refused = []
    for manifest in manifests:
        if manifest["kind"] == "CustomResourceDefinition":
            continue  # `definitions` has applied them
        answer = api.create(folder_of(manifest), manifest, dryRun="All", fieldValidation="Strict")
        if not answer.ok:
            refused.append(f"{manifest['kind']} {manifest['metadata']['name']}: {answer.message}")
    assert refused == []


def test_what_does_not_exist_is_refused(helm, api, namespaces, namespace):
    """The test above means something: with a letter more in a field's name, each of these kinds is refused."""
    values = {"metrics": {"serviceMonitor": {"enabled": True}}, "prometheusRule": {"enabled": True}}
    manifests = helm.render("manta-operator", values=values)
    manifests += helm.render("manta-cluster", values={"metrics": {"podMonitor": {"enabled": True}}})
    in_namespaces_of_its_own(api, manifests, namespaces, namespace)
    for manifest in manifests:
        if "spec" not in manifest or manifest["kind"] == "CustomResourceDefinition":
            continue
        manifest["spec"]["labl"] = "x"
        answer = api.create(folder_of(manifest), manifest, dryRun="All", fieldValidation="Strict")
        assert answer.status in (400, 422), manifest["kind"]
        assert "labl" in answer.message


@pytest.mark.parametrize("values", [path for chart, path in CASES if chart == "manta-operator"], ids=name_of)
def test_the_operators_pods_keep_to_the_restricted_standard(helm, api, namespaces, namespace, values):
    """A Deployment is accepted whatever its pods are, so the pod is tried by itself."""
    manifests = helm.render("manta-operator", values=values)
    [deployment] = of_kind(manifests, "Deployment")
    in_namespaces_of_its_own(api, [deployment], namespaces, namespace)
    where = deployment["metadata"]["namespace"]
    spec = {**deployment["spec"]["template"]["spec"], "serviceAccountName": "default"}
    wait_until(lambda: api.get(f"/api/v1/namespaces/{where}/serviceaccounts/default").ok)
    spec.pop("priorityClassName", None)  # needs a quota in every namespace but kube-system
    pod = {"metadata": {"name": "p", **deployment["spec"]["template"]["metadata"]}, "spec": spec}

    answer = api.create(f"/api/v1/namespaces/{where}/pods", pod, dryRun="All", fieldValidation="Strict")

    assert answer.ok, answer.message


def test_what_is_installed_once_is_the_same_when_it_is_applied_again(helm, api, namespaces, namespace):
    """An upgrade without changes changes nothing: the MantaCluster has the spec, and the generation, that it had."""
    [cluster] = of_kind(helm.render("manta-cluster"), "MantaCluster")
    cluster["metadata"]["namespace"] = namespace
    path = f"{folder_of(cluster)}/{cluster['metadata']['name']}"

    first = api.apply(path, cluster, manager="helm")
    second = api.apply(path, cluster, manager="helm")

    assert first.ok, first.message
    assert (first.body["spec"], first.body["metadata"]["generation"]) == (
        second.body["spec"],
        second.body["metadata"]["generation"],
    )
