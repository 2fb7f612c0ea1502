"""The operator asks for what its role allows, for nothing else, and for all of it."""

from __future__ import annotations

import asyncio
import secrets

from manta_operator.builders.labels import ROTATE_TOKENS
from manta_operator.job.seen import FINALIZER
from manta_operator.kinds import CLUSTERS, JOBS
from manta_operator.kube.resources import PODS, SECRETS, SERVICES
from manta_operator.permissions import TABLE
from tests.kube.harness.operator import operator
from tests.kube.reconciling.runs import behind, settled, until
from tests.kube.reconciling.states import NAME, cluster


def asked(kube, user, namespace):
    """What a user has asked the API server for, and whether anything there was refused for want of a permission.

    In namespaces of tests before this one, which are being deleted, nothing can be created any more: a 403 too.
    """
    calls = [call for call in kube.audit() if call.user == user]
    rows, refused = set(), []
    for call in calls:
        if not call.resource:
            continue
        resource = f"{call.resource}/{call.subresource}" if call.subresource else call.resource
        rows.add((call.group, resource, call.verb))
        if call.code == 403 and call.namespace in ("", namespace):
            refused.append((call.verb, resource, call.uri))
    return rows, refused


def volume(place):
    """A volume that is the head's: nothing here makes any."""
    spec = {
        "capacity": {"storage": "10Gi"},
        "accessModes": ["ReadWriteOnce"],
        "hostPath": {"path": "/nowhere"},
        "claimRef": {"namespace": place.namespace, "name": f"{NAME}-head"},
        "persistentVolumeReclaimPolicy": "Retain",
    }
    body = {"metadata": {"name": f"pv-{place.namespace}"}, "spec": spec}
    assert place.api.create("/api/v1/persistentvolumes", body).ok


def brought(place):
    """A Secret with tokens of the user's own."""
    tokens = {role: secrets.token_hex(32) for role in ("viewer", "submitter", "admin", "join")}
    body = {"metadata": {"name": "mine"}, "stringData": tokens}
    assert place.api.create(place.path(SECRETS), body).ok


async def a_job(place):
    """One that was stopped before and ended long ago: its finalizer is taken away, and then it is."""
    job = {
        "apiVersion": JOBS.api_version,
        "kind": JOBS.kind,
        "metadata": {"name": "j", "finalizers": [FINALIZER]},
        "spec": {"clusterRef": {"name": NAME}, "entrypoint": "true", "ttlSecondsAfterFinished": 0, "suspend": True},
    }
    assert place.api.create(place.path(JOBS), job).ok
    await until(lambda: (place.get(JOBS, "j") or {}).get("status", {}).get("phase") == "Suspended", "it waits")
    ended = {"phase": "Succeeded", "startTime": "2026-01-01T00:00:00Z", "completionTime": "2026-01-01T00:00:01Z"}
    place.patch(JOBS, "j", {"status": ended}, "status")
    await until(lambda: place.get(JOBS, "j") is None, "its time is over")


def test_the_role_is_what_is_asked_for(kube, may, place, tmp_path):
    """A life in which everything happens: the audit log has each row of the table, and nothing beside it."""
    user = f"operator-{secrets.token_hex(4)}"
    may(user)

    async def body():
        async with behind(kube, kube.kubeconfig_of(user), tmp_path) as proxy:
            with operator(proxy.kubeconfig, tmp_path, lease_namespace=place.namespace) as process:
                volume(place)
                brought(place)
                place.apply(cluster(storage="pvc", auth={"existingSecret": "mine"}))
                await settled(place, process)
                place.apply(cluster(replicas=1, image="manta:2", storage="pvc"))
                await settled(place, process)
                place.patch(PODS, f"{NAME}-head", {"metadata": {"labels": {"app.kubernetes.io/managed-by": "me"}}})
                await until(lambda: len(place.pods()) == 2 and place.settled(), "labels are back")
                place.apply(cluster(replicas=1, image="manta:2", storage="pvc", networkPolicy={"enabled": False}))
                await settled(place, process)
                place.patch(CLUSTERS, NAME, {"metadata": {"annotations": {ROTATE_TOKENS: "now"}}})
                place.delete(SERVICES, f"{NAME}-gateway")
                await until(lambda: place.get(SERVICES, f"{NAME}-gateway"), "the Service is back")
                await settled(place, process)
                await a_job(place)
                place.delete(CLUSTERS, NAME)
                await until(place.gone, "all of it is gone")
                assert await asyncio.to_thread(process.end) == 0

    asyncio.run(body())
    rows, refused = asked(kube, user, place.namespace)
    table = {(one.group, one.resource, verb) for one in TABLE for verb in one.verbs}
    assert refused == []
    assert rows - table == set(), "asked for, and not in the table"
    assert table - rows == set(), "in the table, and never asked for"
