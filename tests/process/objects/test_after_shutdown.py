"""What was read stays readable: after the ref, the cluster and its raylet are gone."""

from __future__ import annotations

import gc

import pytest

import manta
from tests.process.cluster.support import MIB, running_cluster
from tests.support.leaks import shared_mappings

CLUSTER = None

np = pytest.importorskip("numpy")


@pytest.mark.parametrize("how", ["shutdown", "SIGKILL of the raylet"])
def test_a_view_outlives_its_cluster_and_its_memory_goes_with_it(how: str):
    before = sum(shared_mappings().values())
    with running_cluster(object_store_memory=100 * MIB) as cluster:
        array = manta.get(manta.put(np.arange(2 * MIB)))
        if how != "shutdown":
            cluster.kill("raylet")
    part = array[7::1000]
    del array
    with running_cluster(object_store_memory=100 * MIB):
        manta.get(manta.put(np.zeros(2 * MIB)))  # another arena does not land on it
        assert part[:3].tolist() == [7, 1007, 2007]
    assert not part.flags.writeable
    del part
    gc.collect()
    assert sum(shared_mappings().values()) == before
