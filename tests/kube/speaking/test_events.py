"""Events come without bookmarks: how the copy of them is kept all the same."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys

import psutil

from manta_operator.kube.reflector import Limits, Reflector
from manta_operator.kube.resources import EVENTS
from manta_operator.kube.store import Store
from manta_operator.kube.transport import connect
from manta_operator.warned import FIELDS
from tests.kube.speaking.test_reflector import until
from tests.support.waiting import wait_until

#: A watch ends after two seconds, give or take half of one.
LIMITS = Limits(answer_s=20.0, unmarked_watch_s=2.0, silence_s=30.0)
COMPACT = """
import json, sys, urllib.request
asked = urllib.request.Request("http://127.0.0.1:2379/v3/kv/compaction", json.dumps({"revision": sys.argv[1]}).encode())
urllib.request.urlopen(asked, timeout=10).read()
"""


def warn(api, namespace, name):
    event = {
        "metadata": {"name": name, "namespace": namespace},
        "involvedObject": {"kind": "Pod", "namespace": namespace, "name": "a"},
        "type": "Warning",
        "reason": "FailedMount",
        "message": "of a test",
    }
    assert api.create(f"/api/v1/namespaces/{namespace}/events", event).ok


def calls(kube, agent):
    """What was asked of Events, by the audit log: a watch once it has ended."""
    return [one.verb for one in kube.audit() if one.agent == agent and one.resource == "events"]


def compact(kube, version):
    """Have etcd forget what was before, as the API server does every five minutes."""
    [inside] = psutil.Process(kube.pid).children()
    subprocess.run(
        ["nsenter", f"--target={inside.pid}", "--net", sys.executable, "-c", COMPACT, str(version)],
        check=True,
        timeout=30,
    )


async def copying(kube, namespace, agent, body):
    async with connect(kube.kubeconfig, agent=agent) as transport:
        reflector = Reflector(
            transport, EVENTS, Store(), namespace=namespace, fields=FIELDS, bookmarks=False, limits=LIMITS
        )
        running = asyncio.create_task(reflector.run())
        try:
            await asyncio.wait_for(reflector.synced.wait(), 20.0)
            await body(reflector)
        finally:
            running.cancel()
            await asyncio.wait([running])


def test_watches_that_end_without_an_event_are_followed_by_watches(kube, api, namespace):
    """No second list, as long as etcd knows the version of the first. No bookmark comes, although they are asked for."""

    async def body(reflector):
        version = reflector.version
        await until(lambda: reflector.watches == 3)
        assert reflector.version == version
        warn(api, namespace, "late")
        await until(lambda: len(reflector.store) == 1)
        await until(lambda: reflector.watches >= 4)
        assert (reflector.lists, reflector.failures) == (1, 0)

    asyncio.run(copying(kube, namespace, "idle-watches", body))
    wait_until(lambda: len(calls(kube, "idle-watches")) >= 4, what="the log has them")
    assert calls(kube, "idle-watches")[:4] == ["list", "watch", "watch", "watch"]
    assert calls(kube, "idle-watches").count("list") == 1


def test_a_version_that_etcd_has_forgotten_costs_one_list(kube, api, namespace):
    """And nothing else: what there is stays, what came is seen, and it is no failure of the API server."""

    async def body(reflector):
        warn(api, namespace, "first")
        await until(lambda: len(reflector.store) == 1)
        for number in range(3):
            assert api.create(
                f"/api/v1/namespaces/{namespace}/configmaps", {"metadata": {"name": f"later-{number}"}}
            ).ok
        page = api.get(f"/api/v1/namespaces/{namespace}/configmaps").body
        compact(kube, page["metadata"]["resourceVersion"])
        await until(lambda: reflector.lists == 2)
        assert reflector.failing_since is None
        warn(api, namespace, "second")
        await until(lambda: len(reflector.store) == 2)
        assert reflector.lists == 2

    asyncio.run(copying(kube, namespace, "forgotten", body))
    wait_until(lambda: calls(kube, "forgotten").count("list") >= 2, what="the log has them")
    assert calls(kube, "forgotten").count("list") == 2


def test_the_kernel_looks_whether_the_other_side_of_a_watch_is_there(kube, api, namespace):
    """A watch may be silent for an hour; one to a machine that is gone ends within a minute."""

    async def body(reflector):
        warn(api, namespace, "late")
        await until(lambda: len(reflector.store) == 1)  # so there is a watch
        assert kept_alive()

    def kept_alive():
        found = []
        for one in psutil.Process().net_connections("tcp"):
            if one.raddr and one.raddr.port == int(kube.server.rsplit(":", 1)[1]):
                with socket.socket(fileno=os.dup(one.fd)) as sock:
                    found.append(sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE))
        return 1 in found

    asyncio.run(copying(kube, namespace, "kept-alive", body))
