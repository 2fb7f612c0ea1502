"""One instance leads; when it is gone another does, soon; and nobody writes who is not sure to lead."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest

from manta_operator.kube.errors import NotLeaderError
from manta_operator.kube.lease import Leadership
from manta_operator.kube.resources import Key
from manta_operator.kube.tenure import Terms
from manta_operator.kube.transport import connect
from tests.kube.harness.proxy import Cut, Fault, Hold, LoseAnswer, Refuse, fault_proxy, writes

TERMS = Terms(lease_s=6, renew_s=0.3, sure_s=3.0, write_s=2.0, look_s=0.2, ask_s=0.5)
#: In which nobody's lease runs out, however busy the machine is.
LONG = Terms(lease_s=60, renew_s=0.3, sure_s=50.0, write_s=2.0, look_s=0.2, ask_s=10.0)


@asynccontextmanager
async def instance(kube, namespace, folder, name, terms=TERMS):
    """One instance behind a proxy of its own, and the proxy."""
    async with (
        fault_proxy(kube, kube.kubeconfig_of("admin", groups=["system:masters"]), folder) as proxy,
        connect(proxy.kubeconfig) as transport,
    ):
        leadership = Leadership(transport, Key(namespace, "operator"), name, terms=terms)
        running = asyncio.create_task(leadership.run())
        try:
            yield leadership, proxy, running
        finally:
            running.cancel()
            await asyncio.wait([running])


def record(api, namespace):
    return api.get(f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/operator").body["spec"]


async def leads(leadership, within_s=20.0):
    await asyncio.wait_for(leadership.leading(), within_s)


async def until(condition, within_s=20.0):
    async with asyncio.timeout(within_s):
        while not condition():
            await asyncio.sleep(0.01)


def test_of_two_one_leads_and_the_other_follows_when_it_resigns(kube, api, namespace, tmp_path):
    """At the end of a well-behaved leader the next one need not wait for the lease to run out."""

    async def body():
        async with instance(kube, namespace, tmp_path, "one", LONG) as (one, _, running):
            await leads(one)
            async with instance(kube, namespace, tmp_path, "two", LONG) as (two, proxy, _):
                await until(lambda: len(proxy.requests) > 3)
                assert not two.leads
                with pytest.raises(NotLeaderError):
                    two.fence(1.0)
                one.fence(1.0)

                running.cancel()
                await asyncio.wait([running])
                await one.resign()

                with pytest.raises(NotLeaderError):
                    one.fence(1.0)
                loop = asyncio.get_running_loop()
                began = loop.time()
                await leads(two)
                assert loop.time() - began < LONG.lease_s / 2, "it waited for the lease to run out"
                assert record(api, namespace)["holderIdentity"] == "two"
                assert record(api, namespace)["leaseTransitions"] == 1

    asyncio.run(body())


def test_a_leader_that_is_cut_off_is_not_sure_any_more_before_another_leads(kube, api, namespace, tmp_path):
    """Its own clock tells it; nobody else can."""

    async def body():
        async with instance(kube, namespace, tmp_path, "one") as (one, proxy, _):
            await leads(one)
            async with instance(kube, namespace, tmp_path, "two") as (two, _, _):
                proxy.add(Fault(lambda request: True, Hold(asyncio.Event()), times=None))
                both = []

                async def look():
                    while not two.leads:
                        await asyncio.sleep(0.005)
                        both.append(one.leads and two.leads)

                await asyncio.wait_for(look(), 30.0)
                assert not one.leads
                assert not any(both)
                with pytest.raises(NotLeaderError):
                    one.fence(1.0)

    asyncio.run(body())


@pytest.mark.parametrize(
    "act", [LoseAnswer(), Cut(), Hold(asyncio.Event()), Refuse(500), Refuse(429), Refuse(409, "Conflict")], ids=repr
)
def test_one_bad_renewal_costs_no_leader(kube, api, namespace, tmp_path, act):
    """It is read again and renewed again: the same leader, the same term."""

    async def body():
        async with instance(kube, namespace, tmp_path, "one") as (one, proxy, _):
            await leads(one)
            fault = proxy.add(Fault(writes, act))
            await until(lambda: fault.met)
            renewed = record(api, namespace)["renewTime"]
            await until(lambda: record(api, namespace)["renewTime"] > renewed)
            await leads(one)
            assert record(api, namespace)["holderIdentity"] == "one"
            assert record(api, namespace)["leaseTransitions"] == 0

    asyncio.run(body())


def test_the_first_lease_may_be_made_by_a_lost_request(kube, api, namespace, tmp_path):
    """An answer that never came: it finds itself in the lease, and leads."""

    async def body():
        async with (
            fault_proxy(kube, kube.kubeconfig_of("admin", groups=["system:masters"]), tmp_path) as proxy,
            connect(proxy.kubeconfig) as transport,
        ):
            fault = proxy.add(Fault(writes, LoseAnswer()))
            leadership = Leadership(transport, Key(namespace, "operator"), "me", terms=TERMS)
            running = asyncio.create_task(leadership.run())
            await leads(leadership)
            assert fault.met
            assert record(api, namespace)["leaseTransitions"] == 0
            running.cancel()
            await asyncio.wait([running])

    asyncio.run(body())


def test_a_lease_that_somebody_deleted_is_made_again(kube, api, namespace, tmp_path):
    """The leader notices at its next renewal, and is not sure until it holds the new one."""

    async def body():
        async with instance(kube, namespace, tmp_path, "one") as (one, _, _):
            await leads(one)
            path = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/operator"
            uid = api.get(path).body["metadata"]["uid"]
            assert api.delete(path).ok
            await until(lambda: api.get(path).ok and api.get(path).body["metadata"]["uid"] != uid)
            await leads(one)

    asyncio.run(body())


def test_a_write_longer_than_the_terms_allow_is_refused(kube, namespace, tmp_path):
    """It could end after somebody else has begun to lead."""

    async def body():
        async with instance(kube, namespace, tmp_path, "one") as (one, _, _):
            await leads(one)
            with pytest.raises(ValueError, match="a write may take 2 s, not 3"):
                one.fence(3.0)

    asyncio.run(body())


def test_a_lease_is_given_back_although_its_renewal_has_just_arrived(kube, api, namespace, tmp_path):
    """Told to end while a renewal is on its way, a leader knows an older version of the Lease than there is."""

    async def body():
        async with instance(kube, namespace, tmp_path, "one") as (one, _, running):
            await leads(one)
            running.cancel()
            await asyncio.wait([running])
            path = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/operator"
            arrived = api.get(path).body
            arrived["metadata"]["annotations"] = {"a": "renewal"}
            assert api.replace(path, arrived).ok
            await one.resign()
            assert record(api, namespace).get("holderIdentity", "") == ""

    asyncio.run(body())
