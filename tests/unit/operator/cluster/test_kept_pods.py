"""What is kept of a pod is enough for what is said of it."""

from __future__ import annotations

from types import SimpleNamespace

from manta_operator.cluster.totals import totals
from manta_operator.kinds import cached
from manta_operator.kube.resources import PODS


def test_the_sizes_of_a_pod_are_read_from_what_is_kept_of_it():
    """The raylet's resources and its object store are kept, its volumes and other containers are not."""
    pod = {
        "metadata": {"name": "p"},
        "spec": {
            "volumes": [1],
            "containers": [
                {"name": "sidecar", "resources": {"limits": {"cpu": "8"}}},
                {
                    "name": "raylet",
                    "image": "manta",
                    "env": [{"name": "A", "value": "b"}, {"name": "MANTA_OBJECT_STORE_BYTES", "value": "1073741824"}],
                    "resources": {"limits": {"cpu": "3", "memory": "4Gi"}, "requests": {"cpu": "100m"}},
                },
            ],
        },
        "status": {},
    }
    [kind] = [kind for kind in cached(nodes=False) if kind.resource is PODS]
    said = totals([SimpleNamespace(raw=kind.trim(pod))])
    assert ("3", "4Gi", "1Gi") == (said.cpu, said.memory, said.object_store)
    assert set(kind.trim(pod)["spec"]) == {"containers"}
