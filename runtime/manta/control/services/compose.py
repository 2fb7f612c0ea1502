"""Which class serves which noun. A new noun is a new class here."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import grpc

from manta.control.logs import EventLog
from manta.control.orders import Orders
from manta.control.runner import Runner
from manta.control.services.actors import ActorRpcs
from manta.control.services.attach import AttachRpcs
from manta.control.services.demand import DemandRpcs
from manta.control.services.functions import FunctionRpcs
from manta.control.services.groups import GroupRpcs
from manta.control.services.jobs import JobRpcs
from manta.control.services.kv import KvRpcs
from manta.control.services.nodes import NodeRpcs
from manta.control.services.questions import QuestionRpcs
from manta.control.services.rpcs import Calls, Rpcs
from manta.control.services.statistics import StatisticsRpcs
from manta.control.services.watch import WatchRpcs


class Service(NamedTuple):
    """What a gRPC server serves, and what it counts."""

    handler: grpc.GenericRpcHandler
    calls: Calls


def compose(
    runner: Runner,
    orders: Orders,
    log: EventLog,
    failed: Callable[[BaseException], None],
    shown: Callable[[str], None],
) -> Service:
    """Every RPC of control.proto.

    Args:
        runner: Decides and performs.
        orders: What nodes have to do.
        log: For what goes wrong.
        failed: See `Rpcs`.
        shown: See `Rpcs`.
    """
    questions = QuestionRpcs(runner, orders)
    demand = DemandRpcs(runner)
    rpcs = Rpcs(
        NodeRpcs(runner),
        demand,
        JobRpcs(runner),
        ActorRpcs(runner),
        KvRpcs(runner),
        FunctionRpcs(runner),
        GroupRpcs(runner),
        questions,
        StatisticsRpcs(runner, lambda: orders.statistics() | questions.questions.statistics()),
        runner=runner,
        log=log,
        failed=failed,
        shown=shown,
    )
    return Service(rpcs.handlers(demand, WatchRpcs(runner), AttachRpcs(runner, orders, rpcs)), rpcs.calls)
