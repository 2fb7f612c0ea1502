"""The chart's roles are the table of what the operator may do; tests/kube compares the table with what it asks for."""

from __future__ import annotations

import pytest

from manta_operator.permissions import TABLE, Scope
from tests.charts.rendering import of_kind
from tools import chart_rules


def granted(*roles):
    """What roles allow: group, resource, verb."""
    return {
        (group, resource, verb)
        for role in roles
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def wanted(*scopes):
    return {
        (one.group, one.resource, verb) for one in TABLE if one.scope in scopes for verb in (*one.verbs, *one.unseen)
    }


def named(manifests, name):
    [found] = [one for one in manifests if one["metadata"]["name"] == name]
    return found


def test_the_file_is_up_to_date():
    """`python tools/chart_rules.py` writes it anew."""
    assert chart_rules.FILE.read_text() == chart_rules.content()


def test_a_cluster_role_allows_what_is_in_the_table_and_no_more(helm):
    manifests = helm.render("manta-operator")

    role = named(of_kind(manifests, "ClusterRole"), "manta-operator")
    assert granted(role) == wanted(Scope.WATCHED, Scope.CLUSTER)
    [leader] = of_kind(manifests, "Role")
    assert granted(leader) == wanted(Scope.LEASE)
    assert leader["metadata"]["namespace"] == "manta-system"
    [update] = [rule for rule in leader["rules"] if "update" in rule["verbs"]]
    assert update["resourceNames"] == ["manta-operator"]


def test_limited_to_namespaces_it_has_a_role_in_each_and_nothing_of_what_has_no_namespace(helm):
    manifests = helm.render("manta-operator", "--set", "watchNamespaces={a,b},rbac.aggregate=false")

    assert of_kind(manifests, "ClusterRole") + of_kind(manifests, "ClusterRoleBinding") == []
    roles = [one for one in of_kind(manifests, "Role") if one["metadata"]["name"] == "manta-operator"]
    assert ["a", "b"] == [one["metadata"]["namespace"] for one in roles]
    for role in roles:
        assert granted(role) == wanted(Scope.WATCHED)


@pytest.mark.parametrize("flags", [(), ("--set", "watchNamespaces={a}"), ("--set", "serviceAccount.name=other")])
def test_every_role_is_bound_to_the_account_that_the_pods_run_as(helm, flags):
    manifests = helm.render("manta-operator", *flags)
    [deployment] = of_kind(manifests, "Deployment")
    account = {
        "kind": "ServiceAccount",
        "name": deployment["spec"]["template"]["spec"]["serviceAccountName"],
        "namespace": "manta-system",
    }
    bindings = of_kind(manifests, "RoleBinding") + of_kind(manifests, "ClusterRoleBinding")
    assert {(one["roleRef"]["kind"], one["roleRef"]["name"], one["metadata"].get("namespace")) for one in bindings} == {
        (one["kind"], one["metadata"]["name"], one["metadata"].get("namespace"))
        for one in of_kind(manifests, "Role") + of_kind(manifests, "ClusterRole")
        if not one["metadata"]["name"].endswith(("-view", "-edit"))
    }
    assert all(one["subjects"] == [account] for one in bindings)


def test_nobody_but_the_operator_may_do_more_than_an_editor_of_a_namespace(helm):
    """What is added to Kubernetes' own roles is about Manta's resources alone, and no status is written by people."""
    manifests = helm.render("manta-operator")
    view, edit = (named(manifests, f"manta-operator-{name}") for name in ("view", "edit"))

    assert {group for group, _, _ in granted(view, edit)} == {"manta.compute"}
    assert {verb for _, _, verb in granted(view)} == {"get", "list", "watch"}
    assert {resource for _, resource, _ in granted(edit)} == {"mantaclusters", "mantajobs"}
