"""Leases over the wire, with forked workers."""

from __future__ import annotations

import pytest

from manta.rpc.v1 import channel_pb2 as pb
from tests.process.raylet.node import RefusedError, gone
from tests.support.pausing import pause
from tests.support.waiting import wait_until


def test_a_driver_is_welcomed_with_a_job_and_the_arena(raylet):
    driver = raylet.driver(namespace="mine", job_config=b"anything")

    assert 4 == len(driver.welcome.job_id)
    assert ("mine", b"anything") == (driver.welcome.namespace, driver.welcome.job_config)
    assert driver.welcome.driver.worker_id == driver.worker_id
    assert 1 == len(driver.descriptors)
    assert 64 << 20 == driver.welcome.arena_bytes
    driver.goodbye()


def test_a_demand_brings_a_worker_and_a_returned_one_is_lent_again(raylet):
    driver = raylet.driver()
    first = driver.lease()
    assert "done" == first.tell("hello")
    first.back()
    second = driver.lease()

    assert first.pid == second.pid
    assert first.id != second.id
    driver.goodbye()


@pytest.mark.parametrize(
    ("order", "status", "text"),
    [
        ("signal 9", -9, "killed by signal 9 (SIGKILL)"),
        ("crash", -11, "killed by signal 11 (SIGSEGV)"),
        ("exit 3", 3, "exit code 3"),
        ("leave 4", 4, "exit code 4"),
        ("raise oops", 1, "exit code 1"),
    ],
)
def test_the_death_of_a_leased_worker_is_told_with_its_cause(raylet, order, status, text):
    driver = raylet.driver()
    lease = driver.lease()
    lease.tell(order)

    died = driver.read(pb.WorkerDied)

    assert (lease.id, status, text) == (died.lease_id, died.status, died.cause)
    assert driver.read(pb.LeaseGranted).pid != lease.pid, "the demand stands"
    driver.goodbye()


def test_a_lease_returned_for_killing_ends_the_process(raylet):
    driver = raylet.driver()
    lease = driver.lease()
    lease.back(kill=True)

    wait_until(lambda: gone(lease.pid), what="the worker is gone")
    driver.goodbye()


def test_a_worker_that_is_waiting_lends_its_cpu(node):
    node.start_control()
    raylet = node.start_raylet(cpus=1)
    driver = raylet.driver()
    parent = driver.lease()
    driver.want(1, key=2, depth=1)
    parent.tell("block")

    child = driver.read(pb.LeaseGranted)

    assert (2, True) == (child.key, child.pid != parent.pid)
    driver.goodbye()


def test_an_infeasible_demand_is_answered_and_waits(raylet):
    driver = raylet.driver()
    driver.want(1, amounts={"GPU": 10_000}, name="train")

    told = driver.read(pb.LeaseInfeasible)

    assert "task 'train' asks for {GPU: 1}" in told.text
    assert "CPU: 2" in told.text
    driver.goodbye()


def test_an_environment_has_workers_of_its_own(raylet):
    driver = raylet.driver()
    plain = driver.lease()
    special = driver.lease(key=2, environment=b'{"env_vars": {"COLOUR": "blue"}}')

    assert ("", "blue") == (plain.tell("env COLOUR"), special.tell("env COLOUR"))
    driver.goodbye()


def test_an_environment_that_is_none_is_told(raylet):
    driver = raylet.driver()
    driver.want(1, environment=b"nonsense")

    failed = driver.read(pb.LeaseFailed)
    assert (1, "RUNTIME_ENV_SETUP_FAILED") == (failed.key, failed.error.code)
    assert '{"env_vars": {"NAME": "text"}}' in failed.error.message
    driver.goodbye()


def test_sibling_workers_draw_different_numbers(raylet):
    driver = raylet.driver()
    driver.want(2)
    from tests.process.raylet.node import Lease

    leases = [Lease(driver, driver.read(pb.LeaseGranted)) for _ in range(2)]

    assert 2 == len({lease.tell("random") for lease in leases})
    driver.goodbye()


def test_two_drivers_share_nothing_but_the_node(raylet):
    one, two = raylet.driver(), raylet.driver()
    first = one.lease()
    second = two.lease()

    assert one.welcome.job_id != two.welcome.job_id
    assert first.pid != second.pid
    first.back()
    one.goodbye()
    wait_until(lambda: gone(first.pid), what="a finished job's workers are gone")
    assert "done" == second.tell("hello")
    two.goodbye()


@pytest.mark.parametrize(
    ("hello", "why"),
    [
        ({"protocol": 99}, "speaks channel protocol 99"),
        ({"python": "2.7.18"}, "runs Python 2.7.18"),
    ],
)
def test_a_stranger_is_refused_with_a_reason(raylet, hello, why):
    with pytest.raises(RefusedError, match=why):
        raylet.driver(**hello)
    assert "node_id" in raylet.status(), "and the raylet lives"


def test_a_stopped_worker_is_killed_all_the_same(raylet):
    driver = raylet.driver()
    lease = driver.lease()
    pause(lease.pid)
    lease.back(kill=True)

    wait_until(lambda: gone(lease.pid), what="the worker is gone")
    driver.goodbye()
