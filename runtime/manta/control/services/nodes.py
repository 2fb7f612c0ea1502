"""RPCs about nodes."""

# The methods are named as the RPCs, and what each promises is stated once: in control.proto.
# ruff: noqa: D102, N802

from __future__ import annotations

import sys

from manta.control import convert, events
from manta.control.groups.model import GroupId
from manta.control.model import Node, NodeState, WorkerId
from manta.control.runner import Runner
from manta.control.services.cluster import period_ms
from manta.control.services.requests import request_id
from manta.core.errors import VersionMismatchError
from manta.rpc.v1 import control_pb2 as pb
from manta.transport.channel import PROTOCOL
from manta.version import __version__

#: How often nodes should be heard of, ms. A tenth of the silence that counts as death.
HEARTBEAT_PERIOD_MS = 1000


class NodeRpcs:
    """RegisterNode to ReportWorkersDied."""

    def __init__(self, runner: Runner) -> None:
        self._runner, self._state = runner, runner.state

    def RegisterNode(self, request: pb.RegisterNodeRequest, cause: str) -> pb.RegisterNodeResponse:
        check_versions(request)
        info = request.node
        running = tuple(map(convert.running_actor, request.actors))
        job_ids = tuple(convert.job_id(each, "job_ids") for each in request.job_ids)
        event = events.RegisterNode(
            cause=cause,
            request_id=request_id(request.request_id),
            node=convert.node(info),
            available=convert.amounts(info.available, "node.available") if info.HasField("available") else None,
            actors=running,
            driver_ids=frozenset(map(WorkerId, request.driver_ids)),
            job_ids=job_ids,
            bundles={GroupId(held.group_id): list(held.indexes) for held in request.bundles},
        )
        self._runner.decide(event)
        return pb.RegisterNodeResponse(
            epoch=self._state.epoch,
            cluster_id=self._state.cluster_id,
            heartbeat_period_ms=HEARTBEAT_PERIOD_MS,
            kill_actors=[
                pb.ActorIncarnation(actor_id=actor_id, incarnation=incarnation)
                for actor_id, incarnation in self._state.unwanted(event.node.node_id, running)
            ],
            finished_job_ids=self._state.over(job_ids),
            return_bundles=[
                pb.HeldBundles(group_id=group_id, indexes=indexes)
                for group_id, indexes in self._state.groups.unwanted(event.node.node_id, event.bundles).items()
            ],
        )

    def Heartbeat(self, request: pb.HeartbeatRequest, cause: str) -> pb.HeartbeatResponse:
        event = events.Heartbeat(
            cause=cause,
            node_id=convert.node_id(request.node_id),
            number=request.number,
            available=convert.amounts(request.available, "available"),
            gauges=convert.text_map(request.gauges),
            total=convert.amounts(request.total, "total") if request.HasField("total") else None,
            load=convert.load(request.load) if request.HasField("load") else None,
        )
        self._runner.decide(event)
        return pb.HeartbeatResponse(
            epoch=self._state.epoch,
            wanted=self._state.actors.wanting,
            report_period_ms=period_ms(len(self._state.nodes.cluster)),
        )

    def UnregisterNode(self, request: pb.UnregisterNodeRequest, cause: str) -> pb.UnregisterNodeResponse:
        self._runner.decide(
            events.UnregisterNode(
                cause=cause,
                request_id=request_id(request.request_id),
                node_id=convert.node_id(request.node_id),
                reason=convert.name(request.reason, "reason"),
            )
        )
        return pb.UnregisterNodeResponse()

    def ListNodes(self, request: pb.ListNodesRequest, cause: str) -> pb.ListNodesResponse:
        rows = self._state.nodes.rows.values()
        wanted = [row for row in rows if row.state is NodeState.ALIVE or not request.alive_only]
        return pb.ListNodesResponse(nodes=[self._node(row) for row in wanted])

    def _node(self, row: Node) -> pb.NodeInfo:
        nodes = self._state.nodes
        return convert.to_node(row, nodes.available(row.node_id), nodes.gauges(row.node_id))

    def ClusterResources(self, request: pb.ClusterResourcesRequest, cause: str) -> pb.ClusterResourcesResponse:
        total, available = self._state.resources()
        return pb.ClusterResourcesResponse(total=convert.to_amounts(total), available=convert.to_amounts(available))

    def ReportWorkersDied(self, request: pb.ReportWorkersDiedRequest, cause: str) -> pb.ReportWorkersDiedResponse:
        self._runner.decide(
            events.WorkersDied(
                cause=cause,
                request_id=request_id(request.request_id),
                node_id=convert.node_id(request.node_id),
                worker_ids=tuple(map(WorkerId, request.worker_ids)),
            )
        )
        return pb.ReportWorkersDiedResponse()


def check_versions(request: pb.RegisterNodeRequest) -> None:
    """Refuse a node whose processes and ours would not understand each other.

    Raises:
        VersionMismatchError: Names both sides.
    """
    ours = f"{sys.version_info.major}.{sys.version_info.minor}"
    theirs = ".".join(request.python.split(".")[:2])
    if request.protocol and request.protocol != PROTOCOL:
        raise VersionMismatchError(
            f"this node speaks protocol {request.protocol} (manta {request.version[:40] or 'unknown'}), the cluster speaks "
            f"{PROTOCOL} (manta {__version__}): install the same version of manta on both sides"
        )
    if theirs and theirs != ours:
        raise VersionMismatchError(
            f"this node runs Python {request.python[:40]}, the cluster runs {ours}: use the same minor version"
        )
