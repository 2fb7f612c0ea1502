"""What a node tells control of itself when it registers: after control was replaced also what that may have forgotten."""

from __future__ import annotations

import os
from collections.abc import Iterable

from manta.raylet.actors import Actors
from manta.raylet.clients import Clients
from manta.raylet.config import RayletConfig
from manta.raylet.scheduler import Scheduler
from manta.rpc.v1 import channel_pb2 as pb
from manta.rpc.v1 import common_pb2 as common
from manta.rpc.v1 import control_pb2 as cpb


def registration(
    config: RayletConfig, scheduler: Scheduler, actors: Actors, clients: Clients, jobs: Iterable[bytes]
) -> cpb.RegisterNodeRequest:
    """The node, and what of the cluster's it has."""
    return cpb.RegisterNodeRequest(
        node=cpb.NodeInfo(
            node_id=config.node_id,
            raylet_target=f"unix:{config.grpc_path}",
            channel_endpoint=f"unix:{config.channel_path}",
            door=config.door,
            host=config.node_ip,
            name=config.node_name or config.node_ip,
            pid=os.getpid(),
            total=common.Resources(amounts=scheduler.ledger.total),
            available=common.Resources(amounts=scheduler.available()),
            labels=config.labels,
            head=config.head,
        ),
        actors=actors.running(),
        driver_ids=[client.worker_id for client in clients if client.role == pb.ROLE_DRIVER and client.job],
        job_ids=list(jobs),
        bundles=[
            cpb.HeldBundles(group_id=group, indexes=indexes) for group, indexes in scheduler.bundles.held().items()
        ],
    )


def total_of(scheduler: Scheduler) -> common.Resources | None:
    """What the node has by now; None while that has not changed since it registered."""
    ledger = scheduler.ledger
    return common.Resources(amounts=ledger.total) if ledger.version else None
