"""A node is drained by an administrator who is on none of the machines: by the head's HTTP server."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

from manta.cli import administration
from manta.cli.drain import chosen
from manta.cli.failures import SilentError
from manta.core.errors import MantaError
from manta.rpc.v1 import control_pb2 as ctl
from manta.transport.auth import new_token, write_private
from tests.process.cluster.machines import START_S, machines
from tests.support import dashboard

if TYPE_CHECKING:
    from pathlib import Path

CLUSTER = None


def test_an_administrator_drains_a_node_by_http(tmp_path: Path):
    """The routes that `manta drain --address k8s://` asks: who is less is refused, nonsense too; asking again is the same."""
    with machines(tmp_path) as cluster:
        first, second = cluster.add("first", cpus=1), cluster.add("second", cpus=1)
        tokens = {role: new_token() for role in dashboard.ROLES}
        write_private(str(tmp_path / "tokens"), "".join(f"{role} {token}\n" for role, token in tokens.items()).encode())
        flags = ("--control", cluster.control_target, "--credentials", cluster.credentials)
        page = dashboard.launch(tmp_path, tmp_path / "first", tokens, *flags)
        try:
            path = f"/api/nodes/{second.node_id}/drain"
            assert page.ask("POST", path, {}, role="submitter")[0] == 403
            for wrong in (
                b"[",
                b"[]",
                {"grace_s": "x"},
                {"grace_s": -1},
                {"grace_s": 1e9},
                {"reason": 1},
                {"grace": 1},
            ):
                assert page.ask("POST", path, wrong, role="admin")[0] == 400, wrong
            assert page.ask("POST", "/api/nodes/xyz/drain", {}, role="admin")[0] == 400
            assert page.ask("POST", f"/api/nodes/{'0' * 56}/drain", {}, role="admin")[0] == 404

            ask = administration.Dashboard("the head", page.address, None, tokens["admin"])
            node = chosen(ask("ListNodes", ctl.ListNodesRequest(), ctl.ListNodesResponse), "second")
            assert node.node_id.hex() == second.node_id
            request = ctl.DrainNodeRequest(
                request_id=os.urandom(16), node_id=node.node_id, grace_ms=60_000, reason="a new kernel"
            )
            reply = ask("DrainNode", request, ctl.DrainNodeResponse)
            assert reply.drain.reason == "a new kernel"
            assert second.process.wait(START_S) == 0
            assert ask("DrainNode", request, ctl.DrainNodeResponse).drain.state == ctl.DRAIN_STATE_DRAINED
            listed = {one["name"]: one for one in page.ask("GET", "/api/nodes")[1]}
            assert {name: one["state"] for name, one in listed.items()} == {"first": "ALIVE", "second": "DEAD"}
            assert "a new kernel" in listed["second"]["death_reason"] or "drain" in listed["second"]["death_reason"]
            assert first.process.poll() is None
            with pytest.raises((SilentError, MantaError), match="role viewer may not"):
                administration.Dashboard("the head", page.address, None, tokens["viewer"])(
                    "DrainNode", request, ctl.DrainNodeResponse
                )
            json.dumps(listed)
        finally:
            dashboard.stop(page)
