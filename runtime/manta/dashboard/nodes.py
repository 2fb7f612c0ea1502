"""Routes of nodes: which there are, and taking one out of service, which is an administrator's."""

from __future__ import annotations

import json
import os
from typing import Any, Final

from aiohttp import web

from manta.core.errors import MantaError
from manta.dashboard.context import Context
from manta.dashboard.control import Control
from manta.dashboard.routes import Routes
from manta.rpc.v1 import control_pb2 as pb
from manta.transport.tokens import TokenRole

#: Of a body: a number and a sentence.
MOST_BYTES: Final = 4096
#: Fields of a drain's body, and what they are without a word.
_FIELDS: Final = {"grace_s": 60.0, "reason": "asked for by HTTP"}


class NodeRequestError(MantaError):
    """A part of a request is malformed; the text names it."""

    code = "INVALID_REQUEST"


def add(routes: Routes, context: Context) -> None:
    """/api/nodes."""
    nodes = NodeRoutes(context.control)
    routes.get("/api/nodes", nodes.list)
    routes.add("POST", "/api/nodes/{id}/drain", nodes.drain, TokenRole.ADMIN, most_bytes=MOST_BYTES)


class NodeRoutes:
    """Handlers."""

    def __init__(self, control: Control) -> None:
        self._control = control

    async def list(self, request: web.Request) -> web.Response:
        """Every node that control knows, dead ones too."""
        del request
        answer: pb.ListNodesResponse = await self._control.ask("ListNodes", pb.ListNodesRequest())
        return web.json_response([_node(node) for node in answer.nodes])

    async def drain(self, request: web.Request) -> web.Response:
        """Begin to drain a node, or say how far its drain is: asking again changes nothing."""
        grace_s, reason = _wishes(await request.read())
        try:
            node_id = bytes.fromhex(request.match_info["id"])
        except ValueError:
            raise NodeRequestError("a node's id is 56 hex digits, as /api/nodes has it") from None
        wish = pb.DrainNodeRequest(
            request_id=os.urandom(16), node_id=node_id, grace_ms=round(grace_s * 1000), reason=reason
        )
        answer: pb.DrainNodeResponse = await self._control.ask("DrainNode", wish)
        return web.json_response(_drain(answer))


def _wishes(body: bytes) -> tuple[float, str]:
    """Grace and reason.

    Raises:
        NodeRequestError: They are none.
    """
    try:
        said = json.loads(body or b"{}")
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict) or said.keys() - _FIELDS.keys():
        raise NodeRequestError(f"the body is a JSON object with {', '.join(_FIELDS)}, or nothing")
    grace_s, reason = (said.get(name, usual) for name, usual in _FIELDS.items())
    if isinstance(grace_s, bool) or not isinstance(grace_s, (int, float)) or not 0 <= grace_s <= 24 * 3600:
        raise NodeRequestError("grace_s is a number of seconds, a day at most")
    if not isinstance(reason, str) or len(reason) > 256:
        raise NodeRequestError("reason is a text of at most 256 characters")
    return float(grace_s), reason


def _node(node: pb.NodeInfo) -> dict[str, Any]:
    return {
        "node_id": node.node_id.hex(),
        "name": node.name,
        "host": node.host,
        "state": pb.NodeState.Name(node.state).removeprefix("NODE_STATE_"),
        "head": node.head,
        "death_reason": node.death_reason,
        "draining": node.HasField("drain"),
    }


def _drain(answer: pb.DrainNodeResponse) -> dict[str, Any]:
    drain, holds = answer.drain, answer.holds
    return {
        "state": pb.DrainState.Name(drain.state).removeprefix("DRAIN_STATE_"),
        "reason": drain.reason,
        "grace_ms": drain.grace_ms,
        "deadline_unix_ms": drain.deadline_unix_ms,
        "holds": {
            field.name: getattr(holds, field.name) for field in holds.DESCRIPTOR.fields if field.message_type is None
        },
    }
