"""What an administrator sees of the operator: probes, numbers, and how it ends."""

from __future__ import annotations

import asyncio
import re
import urllib.error
import urllib.request

from manta_operator.kinds import CLUSTERS
from tests.kube.harness.operator import operator
from tests.kube.reconciling.runs import behind, settled, until
from tests.kube.reconciling.states import NAME, cluster


def port_of(process):
    found = re.search(r"probes and metrics at port (\d+)", process.log.read_text())
    return int(found[1]) if found else 0


def get(port, path):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def series(text, start):
    return {
        line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(start)
    }


def test_probes_and_numbers_say_how_it_is(kube, identity, place, tmp_path):
    """Ready when everything was read; numbers of what it does and of the clusters there are; nothing of those that are gone."""

    async def ask(port, path):
        return await asyncio.to_thread(get, port, path)

    async def body():
        async with behind(kube, identity, tmp_path) as proxy:
            flags = ["--metrics-port", "0", "--metrics-host", "127.0.0.1"]
            with operator(
                proxy.kubeconfig, tmp_path, place.namespace, lease_namespace=place.namespace, more=flags
            ) as process:
                await until(lambda: port_of(process), "it has a port")
                port = port_of(process)
                assert await ask(port, "/healthz") == (200, "ok\n")
                place.apply(cluster())
                await settled(place, process)
                assert await ask(port, "/readyz") == (200, "ok\n")
                assert (await ask(port, "/elsewhere"))[0] == 404

                status, text = await ask(port, "/metrics")
                assert status == 200, text
                assert series(text, "manta_operator_leader") == {"manta_operator_leader": 1.0}
                assert series(text, "manta_operator_clusters ") == {"manta_operator_clusters": 1.0}
                conditions = series(text, "manta_operator_cluster_condition{")
                mine = f'namespace="{place.namespace}"'
                assert [value for name, value in conditions.items() if '"Ready"' in name and mine in name] == [1.0]
                pods = series(text, 'manta_operator_pod_seconds_count{stage="ready"}')
                assert list(pods.values()) == [3.0]
                calls = series(text, "manta_operator_api_calls_total{")
                assert calls['manta_operator_api_calls_total{code="201",resource="pods",verb="create"}'] == 3.0
                assert series(text, "manta_operator_control_links") == {"manta_operator_control_links": 1.0}

                place.delete(CLUSTERS, NAME)
                await until(place.gone, "all of it is gone")
                _, text = await ask(port, "/metrics")
                assert place.namespace not in text
                assert await asyncio.to_thread(process.end) == 0

    asyncio.run(body())


def test_without_an_api_server_it_lives_and_is_not_ready(tmp_path):
    """It tries again for ever, and says what it waits for."""

    async def body():
        config = tmp_path / "nowhere.conf"
        config.write_text(
            '{"apiVersion": "v1", "kind": "Config", "clusters": [{"name": "k", "cluster": {"server": "http://127.0.0.1:9"}}],'
            '"users": [{"name": "u", "user": {}}], "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],'
            '"current-context": "c"}'
        )
        flags = ["--metrics-port", "0", "--metrics-host", "127.0.0.1"]
        with operator(config, tmp_path, "n", lease_namespace="n", more=flags) as process:
            await until(lambda: port_of(process), "it has a port")
            status, text = await asyncio.to_thread(get, port_of(process), "/readyz")
            assert status == 503
            assert "not read yet: mantaclusters, mantajobs" in text
            assert (await asyncio.to_thread(get, port_of(process), "/healthz"))[0] == 200
            assert await asyncio.to_thread(process.end) == 0

    asyncio.run(body())


def test_without_an_identity_it_ends_and_says_what_is_missing(tmp_path):
    """One line, and status 1."""
    with operator(tmp_path / "none.conf", tmp_path, "n", lease_namespace="n") as process:
        assert process.process.wait(30) == 1
        assert "manta-operator: cannot take an identity from" in process.log.read_text()
