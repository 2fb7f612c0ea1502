"""Calls relayed to control, actors started for it, and what happens while it is away."""

from __future__ import annotations

import os

from google.protobuf.message import Message

from manta.rpc.v1 import channel_pb2 as pb
from manta.rpc.v1 import common_pb2 as common
from manta.rpc.v1 import control_pb2 as cpb
from tests.process.raylet.node import Client, gone, send_signal
from tests.support.waiting import wait_until


def call(client: Client, method: str, request: Message, *, timeout_s: float = 10.0) -> pb.ControlReply:
    number = int.from_bytes(os.urandom(4), "little")
    client.send(
        pb.ControlCall(request_id=number, method=method, payload=request.SerializeToString(), timeout_s=timeout_s)
    )
    reply = client.read(pb.ControlReply)
    assert reply.request_id == number
    return reply


def create_actor(driver: Client, *, name: str = "", max_restarts: int = 0, detached: bool = False) -> bytes:
    actor_id = os.urandom(12) + driver.welcome.job_id
    driver.send(pb.WatchActors(add=[actor_id]))
    reply = call(
        driver,
        "CreateActor",
        cpb.CreateActorRequest(
            request_id=os.urandom(16),
            actor_id=actor_id,
            job_id=driver.welcome.job_id,
            owner=common.Address(node_id=driver.welcome.node_id, worker_id=driver.worker_id, endpoint="unix:/nowhere"),
            spec=b"spec",
            place=common.Resources(amounts={"CPU": 10_000}),
            class_name="Counter",
            name=name,
            max_restarts=max_restarts,
            detached=detached,
        ),
    )
    assert not reply.HasField("error"), reply.error
    return actor_id


def state(driver: Client, actor_id: bytes, phase: cpb.ActorPhase) -> cpb.ActorInfo:
    """Wait until control says that the actor is in this phase."""
    while True:
        info = cpb.ActorInfo.FromString(driver.read(pb.ActorState).info)
        if info.actor_id == actor_id and info.state == phase:
            return info


def test_a_call_is_relayed_and_its_refusal_too(raylet):
    driver = raylet.driver()
    put = cpb.KvPutRequest(request_id=os.urandom(16), key=b"k", value=b"v", overwrite=True)
    assert cpb.KvPutResponse.FromString(call(driver, "KvPut", put).payload).added
    got = cpb.KvGetResponse.FromString(call(driver, "KvGet", cpb.KvGetRequest(key=b"k")).payload)
    assert (True, b"v") == (got.found, got.value)

    refused = call(driver, "GetNamedActor", cpb.GetNamedActorRequest(name="nobody", namespace="x"))

    assert "ACTOR_NOT_FOUND" == refused.error.code
    assert "nobody" in refused.error.message
    driver.goodbye()


def test_only_a_raylet_says_what_raylets_say(raylet):
    driver = raylet.driver()

    refused = call(driver, "UnregisterNode", cpb.UnregisterNodeRequest())

    assert "'UnregisterNode' is no call that a raylet relays" == refused.error.message
    driver.goodbye()


def test_an_actor_starts_is_killed_and_its_worker_is_gone(raylet):
    driver = raylet.driver()
    actor_id = create_actor(driver)
    alive = state(driver, actor_id, cpb.ACTOR_PHASE_ALIVE)
    assert alive.address.node_id == driver.welcome.node_id

    call(driver, "KillActor", cpb.KillActorRequest(request_id=os.urandom(16), actor_id=actor_id, no_restart=True))

    assert cpb.DEATH_KIND_KILLED == state(driver, actor_id, cpb.ACTOR_PHASE_DEAD).death_cause.kind
    wait_until(lambda: gone(alive.pid), what="the worker is gone")
    driver.goodbye()


def test_an_actor_whose_process_dies_is_restarted_as_often_as_it_may(raylet):
    driver = raylet.driver()
    actor_id = create_actor(driver, max_restarts=1)
    first = state(driver, actor_id, cpb.ACTOR_PHASE_ALIVE)
    send_signal(first.pid)
    second = state(driver, actor_id, cpb.ACTOR_PHASE_ALIVE)
    assert (first.incarnation + 1, True) == (second.incarnation, second.pid != first.pid)

    send_signal(second.pid)

    dead = state(driver, actor_id, cpb.ACTOR_PHASE_DEAD)
    assert cpb.DEATH_KIND_SYSTEM_ERROR == dead.death_cause.kind
    assert "killed by signal 9 (SIGKILL)" in dead.death_cause.message
    driver.goodbye()


def test_a_detached_actor_outlives_its_driver_and_a_plain_one_does_not(raylet):
    driver = raylet.driver(namespace="n")
    plain = state(driver, create_actor(driver), cpb.ACTOR_PHASE_ALIVE)
    detached_id = create_actor(driver, name="d", detached=True)
    detached = state(driver, detached_id, cpb.ACTOR_PHASE_ALIVE)
    driver.goodbye()

    wait_until(lambda: gone(plain.pid), what="the plain actor is gone")
    assert not gone(detached.pid)

    other = raylet.driver(namespace="n")
    found = call(other, "GetNamedActor", cpb.GetNamedActorRequest(name="d", namespace="n"))
    assert cpb.GetNamedActorResponse.FromString(found.payload).actor.pid == detached.pid
    other.goodbye()


def test_work_goes_on_while_control_is_away_and_calls_wait_for_it(node, raylet):
    driver = raylet.driver()
    lease = driver.lease()
    actor_id = create_actor(driver, name="kept", detached=True)
    alive = state(driver, actor_id, cpb.ACTOR_PHASE_ALIVE)

    node.control.kill()
    node.control.wait()
    assert "done" == lease.tell("hello"), "the worker does not notice"
    driver.want(2)
    driver.read(pb.LeaseGranted)
    driver.send(
        pb.ControlCall(
            request_id=7,
            method="GetActor",
            payload=cpb.GetActorRequest(actor_id=actor_id).SerializeToString(),
            timeout_s=20,
        )
    )
    node.start_control()

    reply = driver.read(pb.ControlReply)
    assert 7 == reply.request_id
    assert not reply.HasField("error"), reply.error
    wait_until(lambda: raylet.status()["registered"], what="the node is tied again")
    wait_until(
        lambda: (
            cpb.GetActorResponse.FromString(
                call(driver, "GetActor", cpb.GetActorRequest(actor_id=actor_id)).payload
            ).actor.state
            == cpb.ACTOR_PHASE_ALIVE
        ),
        what="control knows that the actor still lives",
    )
    assert not gone(alive.pid)
    driver.goodbye()


def test_a_call_to_a_control_that_stays_away_ends_with_its_time(node, raylet):
    driver = raylet.driver()
    node.control.kill()
    node.control.wait()

    reply = call(driver, "KvGet", cpb.KvGetRequest(key=b"k"), timeout_s=0.3)

    assert reply.error.code in ("RPC_TIMEOUT", "RPC_ERROR"), reply
    driver.goodbye()


def test_a_raylet_may_be_started_before_control(node):
    raylet = node.start_raylet()
    node.start_control()

    driver = raylet.driver()

    assert 4 == len(driver.welcome.job_id)
    driver.goodbye()


def test_two_raylets_on_one_machine_are_two_nodes(node):
    """They share a session's folder and nothing else."""
    node.start_control()
    one, two = node.start_raylet(cpus=1), node.start_raylet(cpus=3)
    first, second = one.driver(), two.driver()
    assert first.welcome.node_id != second.welcome.node_id

    wait_until(
        lambda: (
            4.0
            == cpb.ClusterResourcesResponse.FromString(
                call(first, "ClusterResources", cpb.ClusterResourcesRequest()).payload
            ).total.amounts["CPU"]
            / 10_000
        ),
        what="control knows both",
    )
    first.lease().back()
    second.lease().back()
    first.goodbye()
    second.goodbye()
