"""Ids, their sizes and reprs, and what a task, an actor and a driver learn about themselves."""

from __future__ import annotations

import pickle
import re

import pytest
import ray

from tests.process.semantics.support import IS_RAY, OBJECT_REF, manta_does_better

pytestmark = pytest.mark.shared_cluster

HEX = re.compile(r"[0-9a-f]+")


def lengths(ids: dict) -> dict:
    return {name: len(value) for name, value in ids.items() if HEX.fullmatch(value)}


def test_ids_of_a_driver():
    context = ray.get_runtime_context()
    ids = {"job": context.get_job_id(), "node": context.get_node_id(), "worker": context.get_worker_id()}
    assert lengths(ids) == {"job": 8, "node": 56, "worker": 56}


def test_a_driver_is_no_task_and_no_actor():
    context = ray.get_runtime_context()
    assert (context.get_task_id(), context.get_actor_id()) == (None, None)


def test_ids_of_a_task():
    @ray.remote
    def f():
        context = ray.get_runtime_context()
        ids = {
            "job": context.get_job_id(),
            "node": context.get_node_id(),
            "worker": context.get_worker_id(),
            "task": context.get_task_id(),
        }
        return ids, context.get_actor_id(), context.get_assigned_resources(), context.get_task_function_name()

    ids, actor, resources, name = ray.get(f.remote())
    assert lengths(ids) == {"job": 8, "node": 56, "worker": 56, "task": 48}
    assert ids["task"].endswith(ids["job"])
    assert ids["job"] == ray.get_runtime_context().get_job_id()
    assert ids["node"] == ray.get_runtime_context().get_node_id()
    assert (actor, resources) == (None, {"CPU": 1.0})
    assert name == f"{__name__}.f"


def test_ids_of_an_actor():
    @ray.remote
    class A:
        def f(self):
            context = ray.get_runtime_context()
            return (
                context.get_actor_id(),
                context.get_task_id(),
                context.get_assigned_resources(),
                context.get_actor_name(),
                context.get_task_function_name(),
            )

    a = A.options(name="known").remote()
    actor, task, resources, name, function = ray.get(a.f.remote())
    assert len(actor) == 32
    assert actor.endswith(ray.get_runtime_context().get_job_id())
    assert actor in task
    assert actor in repr(a)
    assert (resources, name) == ({}, "known")
    assert function == f"{__name__}.A.f"


def test_an_object_ref_is_28_bytes_of_task_and_index():
    @ray.remote(num_returns=2)
    def f():
        return ray.get_runtime_context().get_task_id(), 0

    first, second = f.remote()
    task = ray.get(first)
    assert first.hex() == task + "01000000"
    assert second.hex() == task + "02000000"
    assert len(first.binary()) == 28 == ray.ObjectRef.size()
    assert first.task_id().hex() == task
    assert first.job_id().hex() == ray.get_runtime_context().get_job_id()


def test_a_ref_says_its_id():
    ref = ray.put(1)
    assert re.fullmatch(OBJECT_REF, repr(ref))
    assert str(ref) == repr(ref)
    assert ref.hex() in repr(ref)


def test_refs_are_equal_by_id():
    ref = ray.put(1)
    again = ray.get(ray.put([ref]))[0]
    assert again == ref
    assert hash(again) == hash(ref)
    assert ref != ray.put(1)
    assert len({ref, again}) == 1


def test_refs_from_nothing():
    assert ray.ObjectRef.nil().is_nil()
    assert not ray.put(1).is_nil()
    assert ray.ObjectRef.from_random() != ray.ObjectRef.from_random()
    assert ray.ObjectID is ray.ObjectRef


@pytest.mark.parametrize("binary", [b"", b"short", b"x" * 29])
def test_an_id_of_a_wrong_length_is_refused(binary: bytes):
    with pytest.raises(ValueError, match="28"):
        ray.ObjectRef(binary)


def test_a_ref_pickled_by_hand_comes_back_as_itself():
    """Out of band: the object is then pinned as long as this process lives."""
    import cloudpickle

    ref = ray.put("kept")
    again = pickle.loads(cloudpickle.dumps(ref))
    assert ray.get(again) == "kept"


def test_a_ref_printed_in_a_worker_carries_the_drivers_id():
    @ray.remote
    def show(refs):
        return repr(refs[0])

    ref = ray.put(1)
    assert ray.get(show.remote([ref])) == repr(ref)


def test_the_namespace_of_the_cluster_is_everybodys():
    assert ray.get_runtime_context().namespace == "semantics"
    assert ray.get(ray.remote(lambda: ray.get_runtime_context().namespace).remote()) == "semantics"


def test_what_only_a_worker_may_ask_a_driver_may_not():
    context = ray.get_runtime_context()
    with pytest.raises(AssertionError, match="worker"):
        context.get_assigned_resources()
    with pytest.raises(RuntimeError):
        context.is_canceled()


def test_a_worker_has_joined_its_cluster_and_cannot_leave_it():
    """init says so, or gives its context; shutdown is not a task's to call. On Ray 2.60 it ends the worker, and retries."""

    @ray.remote(max_retries=0)
    def f():
        try:
            ray.init()
        except RuntimeError as error:
            twice = "ignore_reinit_error=True" in str(error)
        context = ray.init(ignore_reinit_error=True)
        if not IS_RAY:
            ray.shutdown()
        return twice, repr(context)[:11], ray.is_initialized(), ray.get(ray.put("works"))

    assert ray.get(f.remote()) == (True, "RayContext(", True, "works")


def test_the_node_is_labelled_with_its_id():
    labels = ray.get_runtime_context().get_node_labels()
    assert labels["ray.io/node-id"] == ray.get_runtime_context().get_node_id()
    assert ray.nodes()[0]["Labels"] == labels


def test_gpu_ids_of_a_driver_are_none():
    assert ray.get_gpu_ids() == []


def test_nodes():
    (node,) = ray.nodes()
    keys = {"NodeID", "Alive", "alive", "NodeManagerAddress", "NodeManagerHostname", "NodeName", "Resources", "Labels"}
    keys |= {"NodeManagerPort", "ObjectManagerPort", "ObjectStoreSocketName", "RayletSocketName", "MetricsExportPort"}
    assert keys <= set(node)
    assert node["Alive"] is True
    assert node["NodeID"] == ray.get_runtime_context().get_node_id()
    assert node["Resources"]["CPU"] == 4.0


def test_task_ids_differ():
    @ray.remote
    def f():
        return ray.get_runtime_context().get_task_id()

    assert len(set(ray.get([f.remote() for _ in range(50)]))) == 50


def test_runtime_env_of_a_task_is_told():
    @ray.remote(runtime_env={"env_vars": {"A": "1"}})
    def f():
        return ray.get_runtime_context().runtime_env["env_vars"]

    assert ray.get(f.remote()) == {"A": "1"}


@manta_does_better("Ray 2.60 shows a bare object address")
def test_a_remote_function_and_a_remote_class_say_what_they_are():
    @ray.remote
    def fly(): ...

    @ray.remote
    class Fish: ...

    assert "fly" in repr(fly)
    assert "Fish" in repr(Fish)
