"""A revision changes with what the user says about a pod, and with nothing else."""

from __future__ import annotations

import dataclasses

import pytest

from manta_operator.builders import labels
from manta_operator.builders.pods import head_pod, worker_pod
from manta_operator.builders.revision import revision, said
from tests.unit.operator.clusters import BUILD, FULL, cluster

GROUP = "workerGroups[]"


def revisions(*changes, annotations=None):
    """Of the head, and of the first group."""
    parsed = cluster(*changes, annotations=annotations)
    return revision(parsed, parsed.spec.head), revision(parsed, parsed.spec.worker_groups[0])


def test_a_revision_is_the_same_for_ever():
    """An operator that counts otherwise would replace every pod of every cluster when it is installed. Do not change these."""
    assert revisions() == ("018e7866f1", "f68b87edf4")
    assert revisions(*FULL) == ("c6a9a4829b", "6eac8e0c97")


BOTH = [
    ("image", "manta:2"),
    ("imagePullSecrets", [{"name": "p"}]),
    ("auth.mode", "none"),
    ("tls.enabled", False),
]
HEAD = [
    ("tls.extraSANs", ["a.example.org"]),
    ("head.resources", {"limits": {"cpu": "2"}}),
    ("head.template", {"spec": {"nodeSelector": {"a": "b"}}}),
    ("head.template", {"metadata": {"labels": {"a": "b"}}}),
    ("head.raylet.enabled", False),
    ("head.storage.existingClaim", "mine"),
    ("head.storage.type", "emptyDir"),
]
WORKERS = [
    (f"{GROUP}.resources", {"limits": {"cpu": "2", "memory": "2Gi"}}),
    (f"{GROUP}.labels", {"a": "b"}),
    (f"{GROUP}.customResources", {"a": 1}),
    (f"{GROUP}.objectStore", {"memory": "1Gi"}),
    (f"{GROUP}.template", {"spec": {"nodeSelector": {"a": "b"}}}),
]
NEITHER = [
    ("suspend", True),
    ("auth.existingSecret", "s"),
    ("tls.existingSecret", "s"),
    ("networkPolicy.enabled", False),
    ("head.service", {"type": "NodePort", "annotations": {"a": "b"}}),
    ("head.storage.size", "5Gi"),
    ("head.storage.deletionPolicy", "Retain"),
    ("upgradeStrategy.type", "OnDelete"),
    (f"{GROUP}.replicas", 5),
    (f"{GROUP}.minReplicas", 0),
    (f"{GROUP}.maxReplicas", 9),
]


@pytest.mark.parametrize(
    ("change", "head", "workers"),
    [
        *((change, True, True) for change in BOTH),
        *((change, True, False) for change in HEAD),
        *((change, False, True) for change in WORKERS),
        *((change, False, False) for change in NEITHER),
    ],
    ids=[change[0] for change in [*BOTH, *HEAD, *WORKERS, *NEITHER]],
)
def test_what_makes_a_new_revision(change, head, workers):
    """Exactly the pods that would be other ones."""
    before, after = revisions(), revisions(change)
    assert (before[0] != after[0], before[1] != after[1]) == (head, workers)


@pytest.mark.parametrize("change", [*BOTH, *HEAD, *WORKERS, *NEITHER], ids=lambda change: change[0])
def test_pods_of_one_revision_are_the_same_pods(change):
    """And a pod that is another one has another revision: none stays as it was in silence."""
    pods = [
        (head_pod(parsed, BUILD), worker_pod(parsed, parsed.spec.worker_groups[0], 0, BUILD))
        for parsed in (cluster(), cluster(change))
    ]
    for old, new in zip(*pods, strict=True):
        assert (old == new) == (
            old["metadata"]["labels"][labels.REVISION] == new["metadata"]["labels"][labels.REVISION]
        )


def test_a_restart_is_a_word_of_the_users():
    """Any new value of the annotation, for all pods."""
    restarted = revisions(annotations={labels.RESTART: "2027-01-31"})
    assert [one == other for one, other in zip(restarted, revisions(), strict=True)] == [False, False]
    assert revisions(annotations={"other": "x", labels.ROTATE: "1"}) == revisions()


def test_a_default_that_is_said_is_none_that_is_not():
    """The API server writes defaults into objects, those of fields that were not there yesterday too."""
    spoken = [
        ("suspend", False),
        ("tls", {"enabled": True}),
        ("head", {"raylet": {"enabled": True}, "resources": {"limits": {"cpu": "1", "memory": "2Gi"}}}),
        (f"{GROUP}.objectStore", {"spill": {}}),
        (f"{GROUP}.template", {"metadata": {}, "spec": {"nodeSelector": None}}),
        ("head.template", {"spec": {}}),
    ]
    assert revisions(*spoken) == revisions()


def test_another_operator_makes_no_revision():
    """Where it runs, and what it thinks of Kubernetes' DNS, are not the user's words."""
    parsed = cluster()
    other = dataclasses.replace(BUILD, operator_namespace="x", metrics_namespaces=(), cluster_domain="other.local")
    for build in (BUILD, other):
        assert head_pod(parsed, build)["metadata"]["labels"][labels.REVISION] == revisions()[0]


def test_what_was_said():
    """Defaults left out, at every depth, and null; what is required stays."""
    parsed = cluster(
        ("head.template", {"spec": {"a": None, "b": {"emptyDir": {}}}}), (f"{GROUP}.customResources", {"x": 0.5})
    )
    assert said(parsed.spec) == {
        "image": "manta:1",
        "head": {"template": {"spec": {"b": {"emptyDir": {}}}}},
        "workerGroups": [
            {"name": "w", "resources": {"limits": {"cpu": "1", "memory": "2Gi"}}, "customResources": {"x": 0.5}}
        ],
    }
