"""Services, claim and account, and all manifests together."""

from __future__ import annotations

import pytest

from manta_operator.builders.children import applied
from manta_operator.builders.claims import claim, claim_name
from tests.unit.operator.builders import golden
from tests.unit.operator.clusters import BUILD, cluster


def service(parsed, name):
    [found] = [one for one in applied(parsed, BUILD) if one["kind"] == "Service" and one["metadata"]["name"] == name]
    return found


@pytest.mark.parametrize("name", golden.CLUSTERS)
def test_manifests_are_as_they_were(name):
    """A change of any byte is seen by whoever reads the change."""
    assert golden.text(golden.CLUSTERS[name]) == (golden.FOLDER / f"{name}.yaml").read_text()


def test_workers_find_control_before_the_head_is_ready():
    """It gets ready with its own raylet; and names lead to the pod, whose certificate is of its role and not of an address."""
    join = service(cluster(), "demo-join")["spec"]
    assert (join["clusterIP"], join["publishNotReadyAddresses"]) == ("None", True)
    assert join["ports"] == [{"name": "control", "port": 7600, "targetPort": "control", "protocol": "TCP"}]


def test_the_gateway_is_reached_as_the_spec_says():
    """The dashboard stays inside."""
    parsed = cluster(("head.service", {"type": "LoadBalancer", "annotations": {"a": "b"}}))
    gateway = service(parsed, "demo-gateway")
    assert gateway["spec"]["type"] == "LoadBalancer"
    assert gateway["metadata"]["annotations"] == {"a": "b"}
    assert service(parsed, "demo-dashboard")["spec"]["type"] == "ClusterIP"
    assert "annotations" not in service(parsed, "demo-dashboard")["metadata"]


def test_services_lead_to_the_head_alone():
    """By labels that the head's pod has, and no worker."""
    for one in applied(cluster(), BUILD):
        if one["kind"] == "Service":
            assert one["spec"]["selector"]["app.kubernetes.io/component"] == "head"


def test_a_claim_is_made_where_the_spec_wants_one():
    """Of that size and class."""
    found = claim(cluster(("head.storage", {"size": "5Gi", "storageClassName": "fast"})))
    assert found is not None
    assert found["metadata"]["name"] == claim_name(cluster()) == "demo-head"
    assert found["spec"] == {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "5Gi"}},
        "storageClassName": "fast",
    }
    assert "storageClassName" not in (claim(cluster()) or {})["spec"]


@pytest.mark.parametrize(
    ("storage", "mounted"), [({"type": "emptyDir"}, None), ({"existingClaim": "mine"}, "mine")], ids=["emptyDir", "own"]
)
def test_no_claim_is_made_where_there_is_one_or_none_is_wanted(storage, mounted):
    """The user's own is never touched."""
    parsed = cluster(("head.storage", storage))
    assert claim(parsed) is None
    assert claim_name(parsed) == mounted


@pytest.mark.parametrize(("policy", "owners"), [("Delete", 1), ("Retain", 0)])
def test_a_claim_goes_with_its_cluster_or_stays(policy, owners):
    """Without an owner nobody collects it."""
    found = claim(cluster(("head.storage.deletionPolicy", policy)))
    assert found is not None
    assert len(found["metadata"].get("ownerReferences", [])) == owners


def test_everything_else_goes_with_its_cluster():
    """Each object has one owner, which is in charge of it."""
    for one in applied(cluster(), BUILD):
        [owner] = one["metadata"]["ownerReferences"]
        assert owner["controller"] is True
