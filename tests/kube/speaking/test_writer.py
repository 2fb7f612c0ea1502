"""Writes are safe to repeat, whatever became of their answers, and touch nothing that is not theirs."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest

from manta_operator.kube.errors import ApiError, NotLeaderError, UnreachableError
from manta_operator.kube.ownership import REVISION, Taken
from manta_operator.kube.resources import CONFIG_MAPS, PODS, SECRETS, SERVICES, Key
from manta_operator.kube.transport import connect
from manta_operator.kube.writer import Writer
from tests.kube.harness.proxy import Cut, Fault, Hold, LoseAnswer, Refuse, fault_proxy, writes


def leads(_write_s):
    """A fence that is always open."""


@asynccontextmanager
async def writing(kube, folder, *faults, fence=leads):
    async with (
        fault_proxy(kube, kube.kubeconfig_of("admin", groups=["system:masters"]), folder) as proxy,
        connect(proxy.kubeconfig) as transport,
    ):
        for fault in faults:
            proxy.add(fault)
        yield Writer(transport, fence, timeout_s=2.0), proxy


def secret(namespace, *, owner, token="first", revision="1"):
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner, "controller": True}
    metadata = {
        "name": "token",
        "namespace": namespace,
        "annotations": {REVISION: revision},
        "ownerReferences": [reference],
    }
    return {"metadata": metadata, "stringData": {"token": token}}


@pytest.fixture
def owner(api, namespace):
    """The UID of something that can own."""
    made = api.create(f"/api/v1/namespaces/{namespace}/configmaps", {"metadata": {"name": "owner"}})
    return made.body["metadata"]["uid"]


def token(api, namespace):
    return api.get(f"/api/v1/namespaces/{namespace}/secrets/token").body["data"]["token"]


@pytest.mark.parametrize(
    "act", [LoseAnswer(), Cut(), Hold(asyncio.Event()), Refuse(500), Refuse(429), Refuse(503)], ids=repr
)
def test_a_token_is_made_once_however_often_it_is_tried(kube, api, namespace, tmp_path, owner, act):
    """The first try fails in any way; the second, with other bytes, leaves the first's as they are if they arrived."""

    async def body():
        async with writing(kube, tmp_path, Fault(writes, act)) as (writer, _):
            with pytest.raises((UnreachableError, ApiError)):
                await writer.create(SECRETS, secret(namespace, owner=owner))
            arrived = isinstance(act, LoseAnswer)
            before = token(api, namespace) if arrived else None

            second = await writer.create(SECRETS, secret(namespace, owner=owner, token="second"))

            assert second.ours
            assert second.taken == (Taken.OURS if arrived else None)
            assert before is None or token(api, namespace) == before

    asyncio.run(body())


def test_two_writers_of_one_name_make_one_object(kube, api, namespace, tmp_path, owner):
    """Both are told what is there, and it is the same."""

    async def body():
        async with writing(kube, tmp_path) as (writer, _):
            one, two = await asyncio.gather(
                *(writer.create(SECRETS, secret(namespace, owner=owner, token=name)) for name in ("one", "two"))
            )
            assert one.obj["metadata"]["uid"] == two.obj["metadata"]["uid"]
            assert one.obj["data"] == two.obj["data"]
            assert {one.taken, two.taken} == {None, Taken.OURS}

    asyncio.run(body())


def test_somebody_elses_object_of_that_name_is_left_alone(kube, api, namespace, tmp_path, owner):
    """Also one of a former owner of the same name: it has another UID."""

    async def body():
        async with writing(kube, tmp_path) as (writer, _):
            await writer.create(SECRETS, secret(namespace, owner=owner))
            assert (await writer.create(SECRETS, secret(namespace, owner="another"))).taken is Taken.FOREIGN
            changed = await writer.create(SECRETS, secret(namespace, owner=owner, revision="2"))
            assert changed.taken is Taken.OTHER_REVISION

    asyncio.run(body())


def test_a_pod_that_is_going_keeps_its_name(kube, api, namespace, tmp_path, owner):
    """Nothing is applied onto it; its name is taken until it is gone."""
    obj = {
        "metadata": {**secret(namespace, owner=owner)["metadata"], "name": "p", "finalizers": ["manta.compute/test"]},
        "spec": {"containers": [{"name": "c", "image": "i"}]},
    }
    path = f"/api/v1/namespaces/{namespace}/pods/p"

    async def body():
        async with writing(kube, tmp_path) as (writer, _):
            made = await writer.create(PODS, obj)
            assert await writer.delete(PODS, Key(namespace, "p"), uid=made.obj["metadata"]["uid"], grace_s=0)
            assert (await writer.create(PODS, obj)).taken is Taken.GOING
            merge = "application/merge-patch+json"
            assert api.call("PATCH", path, {"metadata": {"finalizers": None}}, content_type=merge).ok
            again = await writer.create(PODS, obj)
            assert again.taken is None
            assert again.obj["metadata"]["uid"] != made.obj["metadata"]["uid"]

    asyncio.run(body())


def test_applying_leaves_others_fields_and_takes_back_its_own(kube, api, namespace, tmp_path):
    """A label of somebody else stays; one that is not said any more goes."""
    path = f"/api/v1/namespaces/{namespace}/services/s"

    def service(**labels):
        ports = [{"port": 7620, "protocol": "TCP"}]
        return {"metadata": {"name": "s", "namespace": namespace, "labels": labels}, "spec": {"ports": ports}}

    async def body():
        async with writing(kube, tmp_path, Fault(writes, LoseAnswer())) as (writer, _):
            with pytest.raises(UnreachableError):
                await writer.apply(SERVICES, service(ours="1", old="1"))
            made = await writer.apply(SERVICES, service(ours="1", old="1"))
            patch = {"metadata": {"labels": {"theirs": "1"}}}
            assert api.call("PATCH", path, patch, content_type="application/merge-patch+json").ok

            uid = made["metadata"]["uid"]
            done = await writer.apply(SERVICES, service(ours="2"), uid=uid)
            same = await writer.apply(SERVICES, service(ours="2"), uid=uid)

            assert done["metadata"]["labels"] == {"ours": "2", "theirs": "1"}
            assert same["metadata"]["resourceVersion"] == done["metadata"]["resourceVersion"]

    asyncio.run(body())


def test_what_was_deleted_and_made_anew_is_not_applied_to(kube, api, namespace, tmp_path):
    """With a UID, only that object is meant: its successor is a conflict, and nothing is made where there is none."""
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    obj = {"metadata": {"name": "m", "namespace": namespace}, "data": {"a": "b"}}

    async def body():
        async with writing(kube, tmp_path) as (writer, _):
            first = await writer.apply(CONFIG_MAPS, obj)
            assert api.delete(f"{path}/m").ok
            for made in (False, True):
                if made:
                    assert api.create(path, {"metadata": {"name": "m"}}).ok
                with pytest.raises(ApiError) as caught:
                    await writer.apply(CONFIG_MAPS, obj, uid=first["metadata"]["uid"])
                assert caught.value.conflict
            assert "data" not in api.get(f"{path}/m").body

    asyncio.run(body())


def test_exactly_the_object_that_was_seen_is_deleted(kube, api, namespace, tmp_path):
    """Not its next version, if a version is said, and never another of its name; one that is gone is as good as deleted."""
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    key = Key(namespace, "m")

    async def body():
        async with writing(kube, tmp_path) as (writer, proxy):
            seen = api.create(path, {"metadata": {"name": "m"}}).body["metadata"]
            uid, version = seen["uid"], seen["resourceVersion"]
            merge = "application/merge-patch+json"
            assert api.call("PATCH", f"{path}/m", {"data": {"a": "b"}}, content_type=merge).ok
            assert not await writer.delete(CONFIG_MAPS, key, uid=uid, version=version)
            assert not await writer.delete(CONFIG_MAPS, key, uid="another")
            assert api.get(f"{path}/m").ok

            proxy.add(Fault(writes, LoseAnswer(), times=2))  # aiohttp repeats a DELETE once
            with pytest.raises(UnreachableError):
                await writer.delete(CONFIG_MAPS, key, uid=uid)
            assert await writer.delete(CONFIG_MAPS, key, uid=uid)
            assert api.get(f"{path}/m").status == 404

    asyncio.run(body())


def test_a_field_that_does_not_exist_is_an_error(kube, namespace, tmp_path):
    """And not dropped in silence: a template's typo is heard of."""
    obj = {
        "metadata": {"name": "p", "namespace": namespace},
        "spec": {"containers": [{"name": "c", "image": "i", "imagge": "j"}]},
    }

    async def body():
        async with writing(kube, tmp_path) as (writer, _):
            with pytest.raises(ApiError, match=r'unknown field "spec.containers\[0\].imagge"'):
                await writer.create(PODS, obj)

    asyncio.run(body())


def test_who_does_not_lead_writes_nothing(kube, namespace, tmp_path):
    """The fence is asked before each write, with the time that the write may take."""
    asked = []

    def fence(write_s):
        asked.append(write_s)
        raise NotLeaderError

    async def body():
        async with writing(kube, tmp_path, fence=fence) as (writer, proxy):
            obj = {"metadata": {"name": "m", "namespace": namespace}}
            for write in (
                writer.create(CONFIG_MAPS, obj),
                writer.apply(CONFIG_MAPS, obj),
                writer.delete(CONFIG_MAPS, Key(namespace, "m"), uid="x"),
            ):
                with pytest.raises(NotLeaderError):
                    await write
            assert (proxy.requests, writer.writes, asked) == ([], 0, [2.0, 2.0, 2.0])

    asyncio.run(body())


def test_an_instance_can_be_killed_after_any_write(kube, namespace, tmp_path):
    """The proxy counts writes and ends whoever asked, after the one that is said: it was made, and never answered."""
    made = []

    async def body():
        async with writing(kube, tmp_path) as (writer, proxy):

            async def instance():
                for number in range(5):
                    await writer.create(CONFIG_MAPS, {"metadata": {"name": f"m{number}", "namespace": namespace}})
                    made.append(number)

            task = asyncio.create_task(instance())
            proxy.after_write(3, task.cancel)
            await asyncio.wait([task])
            assert task.cancelled()
            assert proxy.writes == 3

    asyncio.run(body())
    assert made == [0, 1]
