"""What the operator is told, by flags or by the environment."""

from __future__ import annotations

import pytest

from manta_operator.settings import parse


def test_flags_come_before_the_environment():
    """And the environment before what is usual."""
    environment = {"MANTA_OPERATOR_NAMESPACES": "x", "MANTA_OPERATOR_LEASE_NAME": "l", "MANTA_POD_NAMESPACE": "own"}
    settings = parse(["--namespaces", "a, b,a"], environment)
    assert settings.namespaces == ("a", "b")
    assert (settings.lease_name, settings.lease_namespace, settings.port) == ("l", "own", 8080)


def test_the_lease_may_be_elsewhere_and_the_operator_is_where_its_pod_is():
    """Clusters' NetworkPolicies let in the namespace of the pod."""
    settings = parse(["--lease-namespace", "leases"], {"MANTA_POD_NAMESPACE": "own"})
    assert (settings.namespace, settings.lease_namespace) == ("own", "leases")


def test_no_two_instances_have_the_same_identity():
    """Not even two starts of one container."""
    one, two = (parse([], {"MANTA_POD_NAME": "p"}).identity for _ in range(2))
    assert one != two
    assert one.startswith("p_")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--namespaces", "A"], "'A' is no namespace's name"),
        (["--lease-namespace", "a/b"], "'a/b' is no namespace's name"),
        (["--metrics-port", "70000"], "--metrics-port is a port, 0 for any or -1 for none, not 70000"),
        (["--metrics-port", "x"], "invalid int value: 'x'"),
        (["--lease-seconds", "1"], "--lease-seconds is between 3 and 600, not 1"),
        (["--namespace"], "expected one argument"),
    ],
)
def test_what_cannot_be_understood_is_named(arguments, says, capsys):
    """And ends the process with status 2."""
    with pytest.raises(SystemExit) as ended:
        parse(arguments, {})
    assert ended.value.code == 2
    assert says in capsys.readouterr().err
