"""An operator at rest writes nothing: `with rest(kubernetes, namespace):` and whatever is to be no reason to write."""

from __future__ import annotations

import contextlib
import json
import re
import time
import urllib.request
from collections.abc import Iterator

from tests.e2e.harness.cluster import Cluster
from tests.e2e.support.charts import SYSTEM
from tests.support.waiting import wait_until

#: How long there is nothing.
REST_S = 60.0
#: Without a write for so long it is taken to have come to rest.
QUIET_S = 10.0
#: Everything that an operator may write, but Events and the Lease: that one is written for as long as one leads.
KINDS = (
    "mantaclusters,mantajobs,pods,services,secrets,configmaps,networkpolicies,persistentvolumeclaims,serviceaccounts"
)
_CALLS = re.compile(r"^manta_operator_api_calls_total\{(?P<labels>.*)\} (?P<count>\S+)$", re.MULTILINE)
_READS = {"get", "list", "watch"}


@contextlib.contextmanager
def rest(kubernetes: Cluster, namespace: str) -> Iterator[None]:
    """For a block, a minute at least: the operator, once it has come to rest, writes nothing, and no object becomes another.

    What it says of itself is compared with what became of the objects. The block is whatever must be no reason to write.
    """
    with kubernetes.forwarded("deployment/manta-operator", 8080, namespace=SYSTEM) as port:
        writes, until = _writes(port), time.monotonic() + QUIET_S

        def quiet() -> bool:
            nonlocal writes, until
            now = _writes(port)
            if now != writes:
                writes, until = now, time.monotonic() + QUIET_S
            return time.monotonic() > until

        wait_until(quiet, timeout_s=60, what="the operator comes to rest")
        objects, until = _objects(kubernetes, namespace), time.monotonic() + REST_S
        yield
        wait_until(lambda: time.monotonic() > until, timeout_s=REST_S + 10, what="a minute is over")
        assert writes == _writes(port)
        assert objects == _objects(kubernetes, namespace)


def _writes(port: int) -> dict[str, float]:
    """Of the operator so far, by what was written how."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    found = {}
    for match in _CALLS.finditer(text):
        labels = dict(re.findall(r'(\w+)="([^"]*)"', match["labels"]))
        if labels["verb"] not in _READS and labels["resource"] != "leases":
            found[match["labels"]] = float(match["count"])
    assert found, f"it has never written anything: {text[:2000]}"
    return found


def _objects(kubernetes: Cluster, namespace: str) -> dict[str, str]:
    """Versions of what it may have written."""
    items = json.loads(kubernetes.kubectl("--namespace", namespace, "get", KINDS, "--output=json"))["items"]
    return {f"{one['kind']}/{one['metadata']['name']}": one["metadata"]["resourceVersion"] for one in items}
