"""The API server takes every manifest that is built, strictly, in a namespace that enforces the restricted standard."""

from __future__ import annotations

import copy
from functools import partial

import pytest

from manta_operator.api.names import GROUP_VERSION
from manta_operator.api.parse import parse_cluster
from manta_operator.builders import labels
from manta_operator.builders.children import applied
from manta_operator.builders.claims import claim
from manta_operator.builders.pods import head_pod, worker_pod
from manta_operator.builders.revision import revision
from manta_operator.credentials.decide import decide
from manta_operator.credentials.making import Makers
from manta_operator.kube.resources import (
    CLAIMS,
    NETWORK_POLICIES,
    PODS,
    SECRETS,
    SERVICE_ACCOUNTS,
    SERVICES,
    key_of,
)
from tests.kube.harness.client import APPLY, MERGE
from tests.support.waiting import wait_until
from tests.unit.operator.clusters import BUILD, FULL, cluster, raw_cluster

pytestmark = pytest.mark.usefixtures("definitions")

KINDS = {one.kind: one for one in (CLAIMS, NETWORK_POLICIES, PODS, SECRETS, SERVICE_ACCOUNTS, SERVICES)}
NOW = 1_800_000_000.0
#: Labels of a namespace.
RESTRICTED = {
    "pod-security.kubernetes.io/enforce": "restricted",
    "pod-security.kubernetes.io/enforce-version": "latest",
}

CLUSTERS = {
    "minimal": (),
    "full": FULL,
    "open": (("auth.mode", "none"), ("tls.enabled", False), ("networkPolicy.enabled", False)),
    "emptyDir": (("head.storage", {"type": "emptyDir"}), ("head.raylet.enabled", False)),
    "own claim": (("head.storage", {"existingClaim": "mine"}), ("head.service.type", "NodePort")),
}


@pytest.fixture
def restricted(api, namespace):
    """A namespace in which a pod that could be root is refused."""
    path = f"/api/v1/namespaces/{namespace}"
    assert api.apply(
        path, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": RESTRICTED}}
    ).ok
    # What it enforces, the admission learns by a watch of its own.
    wait_until(partial(_refuses_root, api, namespace), what="the standard is enforced")
    return namespace


def _refuses_root(api, namespace):
    pod = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    return "restricted" in api.create(PODS.path(namespace), pod, dryRun="All").message


def made(api, namespace, changes):
    """A MantaCluster as the API server has it after somebody has made it: with every default, and a UID."""
    raw = raw_cluster(*changes)
    raw["metadata"] = {"name": "demo", "namespace": namespace}
    answer = api.create(f"/apis/{GROUP_VERSION}/namespaces/{namespace}/mantaclusters", raw, fieldValidation="Strict")
    assert answer.ok, answer.message
    return parse_cluster(answer.body)


def manifests(cluster):
    """Everything that a cluster is made of."""
    secrets = {}
    for _ in range(2):
        for one in decide(cluster, secrets.values(), NOW, Makers(), BUILD).creates:
            secrets[one["metadata"]["name"]] = one
    claimed = claim(cluster)
    pods = [head_pod(cluster, BUILD), *(worker_pod(cluster, group, 0, BUILD) for group in cluster.spec.worker_groups)]
    return [*secrets.values(), *applied(cluster, BUILD), *([claimed] if claimed else []), *pods]


def with_accounts(api, namespace, cluster):
    """What pods name and the API server wants to be there."""
    specs = [one["spec"] for one in manifests(cluster) if one["kind"] == "Pod"]
    for name in {one["serviceAccountName"] for one in specs}:
        assert api.create(SERVICE_ACCOUNTS.path(namespace), {"metadata": {"name": name}}).ok


def wrong(api, manifest):
    """What the API server says against a manifest; nothing if it takes it as it stands."""
    resource, key = KINDS[manifest["kind"]], key_of(manifest)
    if manifest["kind"] in ("Pod", "Secret"):  # these are created, all else is applied
        answer = api.create(resource.path(key.namespace), manifest, dryRun="All", fieldValidation="Strict")
    else:
        answer = api.call(
            "PATCH",
            resource.path_of(key),
            manifest,
            content_type=APPLY,
            fieldManager="manta-operator",
            force="true",
            dryRun="All",
            fieldValidation="Strict",
        )
    return "" if answer.ok else f"{manifest['kind']} {key.name}: {answer.status} {answer.message}"


@pytest.mark.parametrize("name", CLUSTERS)
def test_every_manifest_is_taken(api, restricted, name):
    """Strictly: a field that does not exist would be refused, and so would a pod that is not restricted."""
    cluster = made(api, restricted, CLUSTERS[name])
    with_accounts(api, restricted, cluster)
    whole = manifests(cluster)
    assert {one["kind"] for one in whole} >= {"Pod", "Secret", "Service", "ServiceAccount"}
    assert [said for said in (wrong(api, one) for one in whole) if said] == []


@pytest.mark.parametrize("name", CLUSTERS)
def test_defaults_that_the_server_writes_make_no_revision(api, namespace, name):
    """What it returns says more than the user did; the pods are the same."""
    parsed = made(api, namespace, CLUSTERS[name])
    said = cluster(*CLUSTERS[name])
    assert revision(parsed, parsed.spec.head) == revision(said, said.spec.head)
    for ours, theirs in zip(parsed.spec.worker_groups, said.spec.worker_groups, strict=True):
        assert revision(parsed, ours) == revision(said, theirs)


def test_a_typo_in_a_template_is_said_by_the_server(api, restricted):
    """What we do not know of a pod, it does."""
    cluster = made(api, restricted, (("workerGroups[].template", {"spec": {"nodeSelectr": {"a": "b"}}}),))
    with_accounts(api, restricted, cluster)
    said = wrong(api, worker_pod(cluster, cluster.spec.worker_groups[0], 0, BUILD))
    assert 'strict decoding error: unknown field "spec.nodeSelectr"' in said


def test_a_template_that_wants_more_than_the_standard_allows_is_refused(api, restricted):
    """By the server, with its words; the operator does not stand in the way elsewhere."""
    spec = {"containers": [{"name": "raylet", "securityContext": {"capabilities": {"add": ["SYS_PTRACE"]}}}]}
    cluster = made(api, restricted, (("workerGroups[].template", {"spec": spec}),))
    with_accounts(api, restricted, cluster)
    said = wrong(api, worker_pod(cluster, cluster.spec.worker_groups[0], 0, BUILD))
    assert 'violates PodSecurity "restricted:latest": unrestricted capabilities' in said


def test_applying_the_same_again_changes_nothing(api, restricted):
    """An object's version is the same after another apply: what is written twice is as if it was written once."""
    cluster = made(api, restricted, FULL)
    claimed = claim(cluster)
    assert claimed is not None

    def version(manifest):
        path = KINDS[manifest["kind"]].path_of(key_of(manifest))
        answer = api.apply(path, manifest, manager="manta-operator")
        assert answer.ok, answer.message
        return answer.body["metadata"]["resourceVersion"]

    for manifest in [*applied(cluster, BUILD), claimed]:
        # Others write as well: a claim's controller has its own to say about a new one.
        wait_until(lambda one=manifest: version(one) == version(one), what=f"{manifest['kind']} is at rest")


def test_a_claims_owner_comes_and_goes_with_its_policy(api, restricted):
    """What an apply leaves out that it said before is taken away."""
    path = CLAIMS.path(restricted, "demo-head")
    cluster = made(api, restricted, ())
    folder = f"/apis/{GROUP_VERSION}/namespaces/{restricted}/mantaclusters/demo"
    for policy, owners in (("Delete", 1), ("Retain", 0), ("Delete", 1)):
        spec = {"spec": {"head": {"storage": {"deletionPolicy": policy}}}}
        answer = api.call("PATCH", folder, spec, content_type=MERGE)
        assert answer.ok, answer.message
        cluster = parse_cluster(answer.body)
        answer = api.apply(path, claim(cluster), manager="manta-operator")
        assert answer.ok, answer.message
        assert len(answer.body["metadata"].get("ownerReferences", [])) == owners


def test_what_is_over_in_a_rotation_is_gone_from_its_secret(api, restricted):
    """A Secret is created by one request and changed by another kind: names that it no longer needs are emptied."""
    cluster = made(api, restricted, ())
    secrets = {}
    for _ in range(2):
        for one in decide(cluster, secrets.values(), NOW, Makers(), BUILD).creates:
            made_secret = api.create(SECRETS.path(restricted), one, fieldManager="manta-operator")
            assert made_secret.ok, made_secret.message
            secrets[one["metadata"]["name"]] = made_secret.body
    folder = f"/apis/{GROUP_VERSION}/namespaces/{restricted}/mantaclusters/demo"
    word = {"metadata": {"annotations": {labels.ROTATE: "1"}}}
    rotated = parse_cluster(api.call("PATCH", folder, word, content_type=MERGE).body)
    now, bundles = NOW, []
    for _ in range(12):
        updates = decide(rotated, secrets.values(), now, Makers(), BUILD).updates
        for one in updates:
            body = copy.deepcopy(one.manifest)
            body["metadata"] |= {"uid": one.uid, "resourceVersion": one.version}
            name = body["metadata"]["name"]
            answer = api.apply(SECRETS.path(restricted, name), body, manager="manta-operator")
            assert answer.ok, answer.message
            secrets[name] = answer.body
        bundles.append(secrets["demo-head"]["data"]["ca.crt"])
        now += 1800
    assert len(dict.fromkeys(bundles)) == 4
    assert not any(secrets["demo-authority"]["data"][f"ca-{which}.crt"] for which in ("next", "old"))
    assert secrets["demo-authority"]["data"]["ca.crt"] == secrets["demo-head"]["data"]["ca.crt"]
