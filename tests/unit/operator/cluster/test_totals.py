"""What ready workers have together."""

from __future__ import annotations

from decimal import Decimal

import pytest

from manta_operator.api.cluster_status import Totals
from manta_operator.cluster.pods import pods_of
from manta_operator.cluster.seen import Seen
from manta_operator.cluster.totals import shown, shown_bytes, totals
from tests.support.kubernetes import cluster, pod


def test_sums_are_read_from_the_pods():
    """Limits before requests; a pod that says nothing, or nonsense, adds nothing."""
    one, two, three = pod("demo-w-0"), pod("demo-w-1"), pod("demo-w-2")
    two["spec"]["containers"] = [
        {
            "name": "raylet",
            "resources": {
                "requests": {"cpu": "1", "memory": "1Gi"},
                "limits": {"cpu": "500m", "nvidia.com/gpu": "2"},
            },
        }
    ]
    three["spec"]["containers"] = [{"name": "raylet", "resources": {"limits": {"cpu": "many"}}}, {"name": "other"}]
    seen = pods_of(Seen(raw=cluster(), cluster=None, pods=(one, two, three)), 0.0)
    assert totals(seen) == Totals(cpu="2500m", memory="5Gi", gpu="2", object_store="1Gi")


@pytest.mark.parametrize(("number", "text"), [("2", "2"), ("2.5", "2500m"), ("0", "0"), ("0.0005", "0m")])
def test_numbers_are_whole_or_in_thousandths(number, text):
    """As Kubernetes writes them."""
    assert shown(Decimal(number)) == text


@pytest.mark.parametrize(("number", "text"), [(0, "0"), (1 << 30, "1Gi"), (1288490188, "1228Mi"), (1000, "1000")])
def test_bytes_are_whole_and_never_more_than_there_are(number, text):
    """Rounded down."""
    assert shown_bytes(Decimal(number)) == text
