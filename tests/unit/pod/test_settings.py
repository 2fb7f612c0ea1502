"""Variables of a container: what follows from them, and what is said of those that are missing or wrong."""

from __future__ import annotations

import json

import pytest

from manta.core.capacity import Capacity
from manta.core.errors import SettingError
from manta.pod.settings import Role, read

GIB = 1 << 30
GIVEN = {
    "MANTA_POD_NAME": "demo-cpu-0", "MANTA_POD_UID": "0b9c", "MANTA_POD_IP": "10.0.0.7", "MANTA_CLUSTER_NAME": "demo",
    "MANTA_GROUP": "cpu", "MANTA_CONTROL": "demo-join.default.svc:7600",
}  # fmt: skip


def found() -> Capacity:
    return Capacity(cpus=4, memory_bytes=10 * GIB)


def untouched() -> Capacity:
    raise AssertionError("what the container may use was asked for")


def test_sizes_come_from_the_container_where_no_variable_gives_them():
    """Heap and store together are what there is."""
    settings = read(Role.RAYLET, GIVEN, found)

    assert settings.cpus == 4
    assert settings.store_bytes == 3 * GIB
    assert settings.memory_bytes == 7 * GIB
    assert settings.gpus == 0


def test_sizes_that_are_given_count():
    sizes = {
        "MANTA_NODE_CPUS": "0.5", "MANTA_NODE_GPUS": "1", "MANTA_NODE_MEMORY": str(2 * GIB),
        "MANTA_OBJECT_STORE_BYTES": str(GIB), "MANTA_NODE_RESOURCES": '{"disk": 2}',
    }  # fmt: skip

    settings = read(Role.RAYLET, GIVEN | sizes, untouched)

    assert (settings.cpus, settings.gpus, settings.memory_bytes, settings.store_bytes) == (0.5, 1.0, GIB, GIB)
    assert settings.resources == {"disk": 2}


def test_no_cpus_are_no_cpus():
    """A head whose raylet takes no tasks. Memory of which nobody said anything is what the container has."""
    settings = read(Role.RAYLET, GIVEN | {"MANTA_NODE_CPUS": "0", "MANTA_NODE_MEMORY": "0"}, found)
    assert (settings.cpus, settings.memory_bytes) == (0, 7 * GIB)


def test_a_node_is_labelled_with_its_pod():
    """Control's list of nodes is compared with the pods by these."""
    settings = read(Role.RAYLET, GIVEN | {"MANTA_NODE_LABELS": '{"zone": "a"}'}, found)

    assert settings.labels == {
        "zone": "a",
        "manta.compute/pod-uid": "0b9c",
        "manta.compute/pod-name": "demo-cpu-0",
        "manta.compute/group": "cpu",
    }
    assert not settings.head


@pytest.mark.parametrize("role", [role for role in Role if role is not Role.RAYLET])
def test_doors_are_the_heads_and_need_no_sizes(role):
    given = {name: text for name, text in GIVEN.items() if name != "MANTA_GROUP"}
    assert read(role, given, untouched).head


def test_control_is_not_told_where_control_is():
    given = {name: text for name, text in GIVEN.items() if name != "MANTA_CONTROL"}
    assert read(Role.CONTROL, given, untouched).control == ""


def test_a_token_is_asked_for_and_tls_is_spoken_unless_said_otherwise():
    usual = read(Role.GATEWAY, GIVEN, untouched)
    other = read(Role.GATEWAY, GIVEN | {"MANTA_AUTH": "none", "MANTA_TLS": "0"}, untouched)

    assert (usual.open_to_all, usual.plain) == (False, False)
    assert (other.open_to_all, other.plain) == (True, True)


@pytest.mark.parametrize("name", GIVEN)
@pytest.mark.parametrize("empty", ["", "  ", None])
def test_a_missing_variable_is_named(name, empty):
    given = {key: text for key, text in GIVEN.items() if key != name}
    if empty is not None:
        given[name] = empty

    with pytest.raises(SettingError) as wrong:
        read(Role.RAYLET, given, found)

    assert wrong.value.name == name
    assert "the operator sets it" in str(wrong.value)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("MANTA_POD_IP", "demo"),
        ("MANTA_POD_NAME", "a\nb"),
        ("MANTA_CONTROL", "demo-join.default.svc"),
        ("MANTA_CONTROL", "demo:0"),
        ("MANTA_CONTROL", "a b:7600"),
        ("MANTA_NODE_CPUS", "two"),
        ("MANTA_NODE_CPUS", "-1"),
        ("MANTA_NODE_CPUS", "nan"),
        ("MANTA_NODE_CPUS", "1e99"),
        ("MANTA_NODE_GPUS", "-0.5"),
        ("MANTA_NODE_MEMORY", "2Gi"),
        ("MANTA_OBJECT_STORE_BYTES", "1.5"),
        ("MANTA_OBJECT_STORE_BYTES", str(10 * GIB)),
        ("MANTA_NODE_RESOURCES", "disk=1"),
        ("MANTA_NODE_RESOURCES", '["disk"]'),
        ("MANTA_NODE_RESOURCES", '{"disk": "1"}'),
        ("MANTA_NODE_RESOURCES", '{"disk": true}'),
        ("MANTA_NODE_RESOURCES", '{"disk": NaN}'),
        ("MANTA_NODE_RESOURCES", "[" * 100_000),
        ("MANTA_NODE_LABELS", '{"zone": 1}'),
        ("MANTA_NODE_LABELS", '{"-": "a"}'),
        ("MANTA_DRAIN_GRACE", "1m"),
        ("MANTA_DRAIN_GRACE", "1e9"),
        ("MANTA_AUTH", "None"),
        ("MANTA_AUTH", "kubernetes"),
        ("MANTA_TLS", "true"),
        ("MANTA_EXTRA_NAMES", "a, b c/d"),
    ],
)
def test_a_wrong_variable_is_named_with_what_would_be_right(name, text):
    with pytest.raises(SettingError) as wrong:
        read(Role.RAYLET, GIVEN | {name: text}, found)

    assert (wrong.value.name, wrong.value.value) == (name, text)
    assert wrong.value.expected
    assert "\n" not in json.dumps(str(wrong.value))


def test_names_are_separated_by_commas_or_spaces():
    assert read(Role.DASHBOARD, GIVEN | {"MANTA_EXTRA_NAMES": "Demo.example, 10.0.0.1\ndemo"}, untouched).names == (
        "demo.example",
        "10.0.0.1",
        "demo",
    )
