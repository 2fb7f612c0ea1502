"""Which class serves which noun. A new noun is a new class here."""

from __future__ import annotations

from collections.abc import Callable

from manta.control.logs import EventLog
from manta.control.runner import Runner
from manta.control.services.actors import ActorRpcs
from manta.control.services.functions import FunctionRpcs
from manta.control.services.jobs import JobRpcs
from manta.control.services.kv import KvRpcs
from manta.control.services.nodes import NodeRpcs
from manta.control.services.rpcs import Rpcs
from manta.control.services.statistics import StatisticsRpcs
from manta.control.services.watch import WatchRpcs


def compose(
    runner: Runner,
    log: EventLog,
    failed: Callable[[BaseException], None],
    more_statistics: Callable[[], dict[str, int]] = dict,
) -> Rpcs:
    """Every RPC of control.proto.

    Args:
        runner: Decides and performs.
        log: For what goes wrong.
        failed: See `Rpcs`.
        more_statistics: Counts of others, for GetStatistics.
    """
    faces = (
        NodeRpcs(runner),
        JobRpcs(runner),
        ActorRpcs(runner),
        KvRpcs(runner),
        FunctionRpcs(runner),
        WatchRpcs(runner),
        StatisticsRpcs(runner, more_statistics),
    )
    return Rpcs(faces, runner, log, failed)
