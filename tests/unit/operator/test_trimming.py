"""Of objects that are many only what is read is kept."""

from __future__ import annotations

from manta_operator.kube import trimming


def test_a_pod_keeps_who_it_is_and_how_it_is():
    """Its spec is what the operator made it of: nobody reads that again."""
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p", "uid": "u", "managedFields": [1], "labels": {"a": "b"}},
        "spec": {"nodeName": "n", "containers": [1], "volumes": [2], "terminationGracePeriodSeconds": 40},
        "status": {
            "phase": "Running",
            "qosClass": "Burstable",
            "podIP": "10.0.0.1",
            "containerStatuses": [{"name": "c", "ready": True, "imageID": "sha256:x", "state": {"running": {}}}],
        },
    }
    assert trimming.pod(pod) == {
        "metadata": {"name": "p", "uid": "u", "labels": {"a": "b"}},
        "spec": {"nodeName": "n", "terminationGracePeriodSeconds": 40},
        "status": {
            "phase": "Running",
            "podIP": "10.0.0.1",
            "containerStatuses": [{"name": "c", "ready": True, "state": {"running": {}}}],
        },
    }


def test_a_node_keeps_taints_and_conditions():
    """Its images alone take 10 KB."""
    node = {
        "metadata": {"name": "n", "uid": "u", "labels": {"a": "b"}, "annotations": {"c": "d"}},
        "spec": {"taints": [{"key": "k"}], "podCIDR": "x"},
        "status": {
            "images": [1],
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "t", "lastHeartbeatTime": "now"}],
        },
    }
    assert trimming.node(node) == {
        "metadata": {"name": "n", "uid": "u"},
        "spec": {"taints": [{"key": "k"}]},
        "status": {"conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "t"}]},
    }


def test_what_is_not_there_is_not_missed():
    """A pod that was just created has next to nothing."""
    assert trimming.pod({"metadata": {"name": "p"}}) == {"metadata": {"name": "p"}, "spec": {}, "status": {}}
    assert trimming.node({"metadata": {"name": "n"}}) == {
        "metadata": {"name": "n"},
        "spec": {},
        "status": {"conditions": []},
    }
