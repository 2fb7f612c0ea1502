"""Whatever stands in a spec, and however it got there: the operator says what is wrong with it, once, and does not fall."""

from __future__ import annotations

from dataclasses import replace

import hypothesis
import pytest
from hypothesis import strategies as st

from manta_operator.api.cluster import MantaCluster
from manta_operator.api.parse import InvalidObjectError, parse_cluster
from tests.kube import cases
from tests.sim.reconciling.server import plain
from tests.unit.operator.cluster.test_plan import at_rest, conditions, decide, message

PATHS = list(cases.paths(cases.DEFINITIONS["MantaCluster"]))


def wanting(raw):
    """A cluster at rest whose spec is now another's."""
    seen = at_rest()
    mine = plain(seen.raw)
    mine.pop("spec", None)
    mine |= {"spec": raw["spec"]} if "spec" in raw else {}
    mine["metadata"]["generation"] = seen.generation + 1
    try:
        parsed = parse_cluster(mine)
    except InvalidObjectError as wrong:
        parsed = wrong
    return replace(seen, raw=mine, cluster=parsed)


def said(raw):
    """The plan for it; said once, as there is nothing to say when that is what the status has."""
    seen = wanting(raw)
    made = decide(seen)
    if made.status is None:
        return seen, made
    again = decide(replace(seen, raw={**seen.raw, "status": plain(made.status.status)}))
    assert (again.status, again.events) == (None, ())
    assert (again.creates, again.applies, again.deletes) == (made.creates, made.applies, made.deletes)
    return seen, made


@pytest.mark.parametrize("path", PATHS)
def test_every_wrong_value_of_every_field_makes_a_plan(path):
    """Of an object that an older definition let in, or that no definition looks into: what cannot be read is named."""
    for case in cases.field_cases("MantaCluster", path):
        seen, made = said(case.raw)
        if isinstance(seen.cluster, MantaCluster):
            continue
        assert not any((made.creates, made.applies, made.deletes, made.drains)), case.name
        assert conditions(made)["Degraded"] == "True InvalidSpec"
        assert f"spec.{path.replace('[]', '[0]')}" in message(made, "Degraded"), case.name


@pytest.mark.parametrize("spec", [None, 3, "x", [], {}])
def test_a_spec_that_is_none_is_said(spec):
    """And one that is not there at all."""
    for raw in ({"spec": spec}, {}):
        _, made = said(raw)
        assert conditions(made)["Degraded"] == "True InvalidSpec"


GROUP = "workerGroups[]"
#: Accepted by the definitions, as they cannot look there: by the field, what stands in it, and what is said of it.
HIDDEN = [
    (f"{GROUP}.labels", {"a b": "x"}, "spec.workerGroups[0].labels[a b]"),
    (f"{GROUP}.labels", {"k" * 300: "x"}, "spec.workerGroups[0].labels[kkk"),
    (f"{GROUP}.labels", {"a": "x y"}, "spec.workerGroups[0].labels[a]"),
    (f"{GROUP}.customResources", {"CPU": 1}, "spec.workerGroups[0].customResources[CPU]"),
    (f"{GROUP}.customResources", {"node:x": 1}, "spec.workerGroups[0].customResources[node:x]"),
    (f"{GROUP}.template.spec", {"containers": [{"name": "raylet", "command": ["x"]}]}, "command"),
    (f"{GROUP}.template.spec", {"containers": "raylet"}, "spec.workerGroups[0].template.spec.containers"),
    (f"{GROUP}.template.spec", {"containers": [{"name": "raylet"}, {"name": "raylet"}]}, "containers"),
    (f"{GROUP}.template.spec", {"terminationGracePeriodSeconds": -1}, "terminationGracePeriodSeconds"),
    ("head.template.spec", {"volumes": [{"name": "session"}]}, "spec.head.template.spec.volumes[0]"),
    ("head.template.spec", {"containers": [{"name": "control", "env": [{"name": "MANTA_TLS"}]}]}, "MANTA_TLS"),
    ("head.template.metadata", {"labels": {"manta.compute/cluster": "x"}}, "manta.compute/cluster"),
]


@pytest.mark.parametrize(("path", "value", "words"), HIDDEN, ids=lambda value: str(value)[:40])
def test_what_a_definition_does_not_look_into_is_said_by_the_operator(path, value, words):
    """Degraded, with the field; the pods that there are stay as they are."""
    base = cases.changed(cases.minimal("MantaCluster"), (f"{GROUP}.replicas", 2))
    _, made = said(cases.changed(base, (path, value)))
    assert conditions(made)["Degraded"] == "True InvalidTemplate"
    assert words in message(made, "Degraded")
    name = "demo-head" if path.startswith("head") else "demo-w"
    assert not any(one.name.startswith(name) for one in made.deletes)


@pytest.mark.parametrize("size", ["9" * 32, "1e99", "9" * 30 + "Ei", "0", "0.000000001", "1n"])
def test_sizes_of_any_size_make_pods_for_the_scheduler_to_judge(size):
    """No number of the user's is too much for ours: no node has it, and that is what is said then."""
    limits = {"cpu": size, "memory": size, "nvidia.com/gpu": size}
    raw = cases.changed(cases.minimal("MantaCluster"), (f"{GROUP}.resources", {"limits": limits}))
    said(raw)
    said(cases.changed(raw, ("head.resources", {"limits": limits})))


#: Words that pods have, so that whatever stands there stands where somebody looks.
WORDS = st.sampled_from(
    ["containers", "initContainers", "volumes", "name", "env", "envFrom", "value", "volumeMounts", "resources", "limits",
     "memory", "raylet", "control", "securityContext", "nodeSelector", "tolerations", "emptyDir", "ports", "metadata",
     "terminationGracePeriodSeconds", "affinity", "topologySpreadConstraints", "image", "session", "MANTA_TLS", "x"]
)  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=12,
)


@hypothesis.given(path=st.sampled_from(PATHS), value=JSON, deep=st.booleans())
@hypothesis.settings(deadline=None)
def test_a_plan_comes_out_of_whatever_stands_there(path, value, deep):
    """Any JSON, more often than not in a template, which definitions let through as it is."""
    place = f"{GROUP}.template.spec" if deep else path
    if deep and not isinstance(value, dict):
        value = {"containers": value}
    said(cases.changed(cases.minimal("MantaCluster"), (place, value)))
