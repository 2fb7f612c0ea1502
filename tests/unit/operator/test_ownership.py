"""What a name that is taken means to somebody who wanted to create an object of that name."""

from __future__ import annotations

import pytest

from manta_operator.kube.ownership import REVISION, Taken, whose


def pod(*, owner="me", revision="1", going=False):
    metadata = {"name": "demo-w-0", "annotations": {REVISION: revision}}
    if owner:
        metadata["ownerReferences"] = [{"uid": "side"}, {"uid": owner, "controller": True}]
    if going:
        metadata["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    return {"metadata": metadata}


@pytest.mark.parametrize(
    ("existing", "taken"),
    [
        (pod(), Taken.OURS),
        (pod(revision="2"), Taken.OTHER_REVISION),
        (pod(going=True), Taken.GOING),
        (pod(going=True, revision="2"), Taken.GOING),
        (pod(owner="other"), Taken.FOREIGN),
        (pod(owner="other", going=True), Taken.FOREIGN),
        (pod(owner=""), Taken.FOREIGN),
        ({"metadata": {"name": "demo-w-0", "annotations": None, "ownerReferences": None}}, Taken.FOREIGN),
    ],
)
def test_a_taken_name_says_whose_it_is(existing, taken):
    """Owner first: what is somebody else's is never ours to wait for."""
    assert whose(existing, pod()) is taken
