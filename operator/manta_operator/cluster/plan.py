"""One pure decision: what is to be done about a cluster, given everything that is known of it."""

from __future__ import annotations

from manta_operator.cluster.actions import Plan
from manta_operator.cluster.seen import Seen


def plan(seen: Seen, now: float) -> Plan:
    """What is to be done now.

    Args:
        seen: Everything.
        now: Seconds since 1970.

    Returns:
        The same for the same; empty, but for `again_at`, when everything is as it should be and nothing is under way.
    """
    raise NotImplementedError("manta_operator.cluster.plan")
