"""Whether an object has to be applied again."""

from __future__ import annotations

import copy

import pytest

from manta_operator.cluster.differs import differs, stamped

SERVICE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "demo-join", "labels": {"a": "b"}, "annotations": {"mine": "1"}},
    "spec": {
        "clusterIP": "None",
        "publishNotReadyAddresses": True,
        "selector": {"app": "x"},
        "ports": [{"name": "control", "port": 7600, "targetPort": "control"}],
    },
}
WANTED = stamped(SERVICE)


def there(**changes):
    """The object as the server has it after it was applied: with its defaults."""
    obj = copy.deepcopy(WANTED)
    obj["metadata"] |= {"uid": "u", "resourceVersion": "5"}
    obj["spec"] |= {"type": "ClusterIP", "sessionAffinity": "None", "ipFamilies": ["IPv4"]}
    obj["spec"]["ports"][0]["protocol"] = "TCP"
    obj["spec"] |= changes
    return obj


def test_defaults_and_others_fields_are_no_difference():
    """The server fills in, other tools annotate, a stranger adds a port of another name: none of it is ours."""
    obj = there()
    obj["metadata"]["annotations"]["others"] = "x"
    obj["spec"]["ports"].append({"name": "theirs", "port": 1})
    assert not differs(obj, WANTED)


@pytest.mark.parametrize(
    "changes",
    [
        {"publishNotReadyAddresses": False},
        {"selector": {"app": "y"}},
        {"selector": None},
        {"ports": []},
        {"ports": [{"name": "control", "port": 1}]},
    ],
)
def test_a_field_of_ours_that_somebody_changed_is_one(changes):
    """Whatever it was changed to."""
    assert differs(there(**changes), WANTED)


def test_what_is_no_longer_wanted_is_one():
    """Nothing of what is wanted is missing, but something is there that was wanted last time: the hash says so."""
    less = copy.deepcopy(SERVICE)
    less["metadata"]["annotations"] = {}
    assert differs(there(), stamped(less))


@pytest.mark.parametrize(("one", "other", "same"), [("1Gi", "1024Mi", True), ("1Gi", "1G", False), ("a", "b", False)])
def test_amounts_are_compared_by_what_they_are_worth(one, other, same):
    """The API server writes them in its own way."""
    wanted = stamped({"metadata": {"name": "c"}, "spec": {"storage": one}})
    assert differs({**wanted, "spec": {"storage": other}}, wanted) is not same


def test_nothing_is_the_same_as_an_empty_thing():
    """The API server leaves out empty lists and objects."""
    wanted = stamped({"metadata": {"name": "p"}, "spec": {"podSelector": {}, "ingress": [], "egress": None}})
    assert not differs({"metadata": wanted["metadata"], "spec": {"podSelector": {}}}, wanted)
    assert not differs({"metadata": wanted["metadata"], "spec": {}}, wanted)
    assert differs({"metadata": wanted["metadata"], "spec": {"podSelector": {}, "ingress": [{}]}}, wanted)


def test_items_without_names_are_compared_one_by_one():
    """As a NetworkPolicy's rules."""
    wanted = stamped({"metadata": {"name": "p"}, "spec": {"ingress": [{"from": [{"podSelector": {}}]}, {"ports": []}]}})
    same = copy.deepcopy(wanted)
    assert not differs(same, wanted)
    same["spec"]["ingress"].append({"from": []})
    assert differs(same, wanted)
