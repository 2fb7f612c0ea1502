"""What others do to a cluster's objects is undone, and what is theirs is left alone."""

from __future__ import annotations

import asyncio

import pytest

from manta_operator.kinds import CLUSTERS
from manta_operator.kube.resources import (
    NETWORK_POLICIES,
    PODS,
    SECRETS,
    SERVICE_ACCOUNTS,
    SERVICES,
)
from tests.kube.reconciling.runs import alike, behind, rests, running, settled, started, unchanged, until
from tests.kube.reconciling.states import NAME, cluster

FOREGROUND = {"propagationPolicy": "Foreground"}


@pytest.mark.parametrize(
    ("resource", "name"),
    [
        (PODS, f"{NAME}-w-0"),
        (PODS, f"{NAME}-head"),
        (SERVICES, f"{NAME}-gateway"),
        (NETWORK_POLICIES, f"{NAME}-workers"),
        (SERVICE_ACCOUNTS, NAME),
        (SECRETS, f"{NAME}-viewer"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.plural,
)
def test_what_a_stranger_deletes_is_made_again(kube, identity, place, tmp_path, resource, name):
    """All else stays as it was, to the byte."""

    async def body():
        async with running(kube, identity, tmp_path, place) as (operator, proxy):
            place.apply(cluster())
            await settled(place, operator)
            state, made = place.state(), place.secrets()
            before = {one["metadata"]["uid"] for one in place.all(resource)}
            place.delete(resource, name)
            # A worker's successor may have another name: the old one is taken until it is gone.
            await until(
                lambda: {one["metadata"]["uid"] for one in place.all(resource)} - before, "there is another one"
            )
            await alike(place, state, operator)
            unchanged(made, place.secrets(), besides=[name] if resource is SECRETS else [])
            await rests(proxy)

    asyncio.run(body())


def test_what_a_stranger_edits_is_put_right(kube, identity, place, tmp_path):
    """Fields that the operator says are what it says; labels that it needs come back; what others add stays."""

    async def body():
        async with running(kube, identity, tmp_path, place) as (operator, proxy):
            place.apply(cluster())
            await settled(place, operator)
            state = place.state()
            ports = [{"name": "gateway", "port": 1, "protocol": "TCP"}]
            place.patch(SERVICES, f"{NAME}-gateway", {"spec": {"ports": ports}})
            place.patch(NETWORK_POLICIES, f"{NAME}-head", {"spec": {"ingress": []}})
            place.patch(PODS, f"{NAME}-w-1", {"metadata": {"labels": {"app.kubernetes.io/managed-by": "me"}}})
            place.patch(CLUSTERS, NAME, {"status": {"workers": "7/7"}}, "status")
            await alike(place, state, operator)
            place.patch(SERVICES, f"{NAME}-gateway", {"metadata": {"annotations": {"mine": "stays"}}})
            await rests(proxy)
            assert place.get(SERVICES, f"{NAME}-gateway")["metadata"]["annotations"]["mine"] == "stays"

    asyncio.run(body())


def test_a_name_that_is_somebody_elses_is_left_alone_and_said(kube, identity, place, tmp_path):
    """The status names it; when it is gone the cluster goes on."""

    async def body():
        service = {"metadata": {"name": f"{NAME}-gateway"}, "spec": {"ports": [{"port": 80}]}}
        assert place.api.create(place.path(SERVICES), service).ok
        theirs = place.get(SERVICES, f"{NAME}-gateway")
        async with running(kube, identity, tmp_path, place) as (operator, proxy):
            place.apply(cluster())
            await until(lambda: place.condition("Degraded").get("status") == "True", "it is said")
            assert f"{NAME}-gateway" in place.condition("Degraded")["message"]
            assert place.get(SERVICES, f"{NAME}-gateway") == theirs
            place.delete(SERVICES, f"{NAME}-gateway")
            place.patch(CLUSTERS, NAME, {"spec": {"workerGroups": cluster(replicas=3)["spec"]["workerGroups"]}})
            await settled(place, operator)
            await rests(proxy)

    asyncio.run(body())


def test_a_cluster_that_was_deleted_and_made_again_has_nothing_of_the_former(kube, identity, place, tmp_path):
    """Under the same name, while the operator looked away: all of the first goes, and the second has its own of everything."""

    async def body():
        async with behind(kube, identity, tmp_path) as proxy:
            place.apply(cluster())
            with started(proxy, tmp_path, place, lease="first") as process:
                await settled(place, process)
            made, pods, state = place.secrets(), place.pods(), place.state()
            place.delete(CLUSTERS, NAME)
            place.apply(cluster())
            with started(proxy, tmp_path, place, lease="second") as process:
                await settled(place, process)
                await alike(place, state, process)
                assert not set(pods.values()) & set(place.pods().values())
                now = place.secrets()
                assert now.keys() == made.keys()
                assert all(now[name] != data for name, data in made.items())
                await rests(proxy)

    asyncio.run(body())


def test_a_quota_stops_a_group_and_says_so_and_what_fits_is_there(kube, identity, place, tmp_path):
    """Midway through its pods; the others are not asked for one by one, and come when there is room."""

    async def body():
        quota = {"metadata": {"name": "q"}, "spec": {"hard": {"pods": "3"}}}
        path = f"/api/v1/namespaces/{place.namespace}/resourcequotas"
        assert place.api.create(path, quota).ok
        await until(lambda: place.api.get(f"{path}/q").body.get("status", {}).get("hard"), "the quota is counted")
        async with running(kube, identity, tmp_path, place) as (operator, proxy):
            place.apply(cluster(replicas=40))
            await until(lambda: place.condition("Degraded").get("reason") == "QuotaExceeded", "it is said")
            assert len(place.pods()) == 3
            refused = [one for one in proxy.requests if one.method == "POST" and one.path.endswith("/pods")]
            assert len(refused) < 20
            assert place.api.delete(f"{path}/q").ok
            place.patch(CLUSTERS, NAME, {"spec": {"workerGroups": cluster(replicas=5)["spec"]["workerGroups"]}})
            await settled(place, operator)
            assert len(place.pods()) == 6
            await rests(proxy)

    asyncio.run(body())
