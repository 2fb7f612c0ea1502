"""One pure decision: what is to be done about a cluster, given everything that is known of it."""

from __future__ import annotations

from manta_operator.builders.build import Build
from manta_operator.cluster.actions import Plan
from manta_operator.cluster.seen import Seen
from manta_operator.credentials.making import Makes


def plan(seen: Seen, now: float, build: Build, makes: Makes) -> Plan:
    """What is to be done now.

    Args:
        seen: Everything.
        now: Seconds since 1970.
        build: The operator's surroundings.
        makes: Randomness for keys and tokens.

    Returns:
        The same for the same, but for keys and tokens; empty, but for `again_at`, when everything is as it should be and nothing
        is under way.
    """
    raise NotImplementedError("manta_operator.cluster.plan")
