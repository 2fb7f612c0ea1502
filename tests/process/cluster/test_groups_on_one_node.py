"""Placement groups where one node is enough: what is refused, and whom a group belongs to."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from manta.core.ids import PlacementGroupID
from manta.util.placement_group import (
    PlacementGroup,
    get_placement_group,
    placement_group,
    placement_group_table,
    remove_placement_group,
)
from tests.process.cluster.test_placement_groups import free, inside, where
from tests.process.cluster.test_two_nodes import Where
from tests.support.waiting import wait_until

pytestmark = pytest.mark.shared_cluster

CLUSTER = {"num_cpus": 2}
#: What users write that type checkers would not let them.
NO_LIST: Any = {"CPU": 1}


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: placement_group([]), "Bundles must be a non-empty list"),
        (lambda: placement_group([{}]), "Bundles cannot be an empty dictionary"),
        (lambda: placement_group([{"CPU": 0}]), "resources with only 0 values"),
        (lambda: placement_group(NO_LIST), "The type of bundles must be list"),
        (lambda: placement_group([{"CPU": 1}], strategy="BEST"), "Supported strategies are"),
        (lambda: placement_group([{"CPU": 1}], lifetime="long"), "`lifetime` argument must be either"),
        (lambda: placement_group([{"CPU": -1}]), "cannot be negative"),
        (lambda: get_placement_group(""), "non-empty value"),
    ],
)
def test_wrong_groups_are_refused(make, text):
    with pytest.raises(ValueError, match=text):
        make()


def test_what_fits_in_no_bundle_is_refused_at_once():
    group = placement_group([{"CPU": 1}])
    with pytest.raises(
        ValueError, match="Cannot schedule the task with the placement group because the resource request"
    ):
        where.options(num_cpus=2, scheduling_strategy=inside(group))
    with pytest.raises(ValueError, match=r"bundle index 1 is invalid\. Valid placement group indexes: 0-0"):
        where.options(scheduling_strategy=inside(group, 1))
    with pytest.raises(ValueError, match="cannot fit into any bundles"):
        Where.options(resources={"x": 1}, scheduling_strategy=inside(group)).remote()
    remove_placement_group(group)


def test_a_group_goes_with_its_driver_unless_detached(cluster):
    code = f"""
import manta
from manta.util.placement_group import placement_group
manta.init("unix:{cluster.socket}", namespace="n", log_to_driver=False)
for name, lifetime in (("stays", "detached"), ("goes", None)):
    manta.get(placement_group([{{"CPU": 1}}], name=name, lifetime=lifetime).ready(), timeout=20)
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=50)

    def states() -> dict[str, str]:
        return {row["name"]: row["state"] for row in placement_group_table().values() if row["name"]}

    # What is free lags, and was as much when the first of them alone was held.
    wait_until(lambda: states() == {"stays": "CREATED", "goes": "REMOVED"}, what="the driver's group to go")
    wait_until(lambda: free() == 1.0)
    assert json.dumps(placement_group_table())
    (stays,) = (key for key, row in placement_group_table().items() if row["name"] == "stays")
    remove_placement_group(PlacementGroup(PlacementGroupID(bytes.fromhex(stays))))
