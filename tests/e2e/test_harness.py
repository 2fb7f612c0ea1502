"""The cluster that all other tests here stand on is what they take it for."""

from __future__ import annotations

import json

from tests.e2e.harness.cluster import Cluster
from tests.e2e.support import pods

EMBEDDED = """
import manta

manta.init(num_cpus=2, object_store_memory=80 << 20)
square = manta.remote(lambda x: x * x)
print(manta.get([square.remote(i) for i in range(4)]))
"""


def test_three_nodes_are_ready_and_two_of_them_take_pods(kubernetes: Cluster):
    """One control plane, two workers, as kind-config.yaml says."""
    ready = [
        node["metadata"]["name"]
        for node in kubernetes.get("nodes")
        if {"type": "Ready", "status": "True"}.items()
        <= next(one for one in node["status"]["conditions"] if one["type"] == "Ready").items()
    ]
    assert (3, 2) == (len(ready), len(kubernetes.nodes()))


def test_both_images_are_on_every_worker_and_speak_this_python(kubernetes: Cluster):
    """A driver outside needs the same minor version as the workers that unpickle its functions."""
    import sys

    with kubernetes.namespace() as namespace:
        for node in kubernetes.nodes():
            for name, image in (("runtime", kubernetes.images.runtime), ("operator", kubernetes.images.operator)):
                pod = pods.script(f"{name}-{node}", image, "import sys; print(list(sys.version_info[:2]))", node=node)
                assert list(sys.version_info[:2]) == json.loads(pods.run(kubernetes, pod, namespace))


def test_the_runtime_image_works_under_the_restricted_standard_without_a_shell(kubernetes: Cluster):
    """Non-root, read-only root, no capability: an embedded cluster starts in it and computes."""
    with kubernetes.namespace() as namespace:
        pod = pods.script("embedded", kubernetes.images.runtime, EMBEDDED)
        assert "[0, 1, 4, 9]" in pods.run(kubernetes, pod, namespace)


def test_each_image_has_what_it_needs_and_not_what_the_other_needs(kubernetes: Cluster):
    """The runtime never imports Kubernetes, the operator never computes."""
    names = ("manta", "manta_operator", "kubernetes", "numpy", "pip")
    look = f"import importlib.util as u; print([name for name in {names} if u.find_spec(name)])"
    with kubernetes.namespace() as namespace:
        runtime = pods.run(kubernetes, pods.script("runtime", kubernetes.images.runtime, look), namespace)
        operator = pods.run(kubernetes, pods.script("operator", kubernetes.images.operator, look), namespace)
    assert ("['manta', 'numpy']", "['manta', 'manta_operator', 'kubernetes']") == (runtime.strip(), operator.strip())
