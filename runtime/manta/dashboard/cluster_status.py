"""GET /api/cluster_status, by which programs made for Ray wait for nodes and resources.

It has Ray's fields where there is something to say: what is used and what there is, what is waited for, how many nodes there are.
Nothing scales the cluster by itself, so there is no status or error of that.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from aiohttp import web

from manta.core.resources import UNIT
from manta.dashboard.context import Context
from manta.dashboard.routes import Routes
from manta.rpc.v1 import common_pb2 as common
from manta.rpc.v1 import control_pb2 as pb


def add(routes: Routes, context: Context) -> None:
    """/api/cluster_status."""

    async def status(request: web.Request) -> web.Response:
        del request
        ask = context.control.ask
        have: pb.ClusterResourcesResponse = await ask("ClusterResources", pb.ClusterResourcesRequest())
        wanted: pb.GetDemandResponse = await ask("GetDemand", pb.GetDemandRequest())
        nodes: pb.ListNodesResponse = await ask("ListNodes", pb.ListNodesRequest())
        return web.json_response(
            {"result": True, "msg": "Got cluster status.", "data": _data(have, wanted.demand, nodes)}
        )

    routes.get("/api/cluster_status", status)


def _data(have: pb.ClusterResourcesResponse, demand: pb.Demand, nodes: pb.ListNodesResponse) -> dict[str, Any]:
    total, free = _amounts(have.total), _amounts(have.available)
    alive = Counter("head" if node.head else "worker" for node in nodes.nodes if node.state == pb.NODE_STATE_ALIVE)
    return {
        "autoscalingStatus": None,
        "autoscalingError": None,
        "clusterStatus": {
            "loadMetricsReport": {
                "usage": {name: [round(amount - free.get(name, 0.0), 4), amount] for name, amount in total.items()},
                "resourceDemand": [
                    [_amounts(shape.resources), shape.count] for shape in (*demand.tasks, *demand.actors)
                ],
            },
            "autoscalerReport": {"activeNodes": dict(alive)},
        },
    }


def _amounts(resources: common.Resources) -> dict[str, float]:
    return {name: amount / UNIT for name, amount in resources.amounts.items()}
