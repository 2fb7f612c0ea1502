"""How a command asks for what an administrator alone may: by a raylet of this machine, or by the dashboard of a MantaCluster."""

from __future__ import annotations

import json
import ssl
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from google.protobuf.message import Message

from manta.cli import clusters
from manta.cli.asking import Control
from manta.cli.failures import NoClusterError, SilentError
from manta.cli.tool import CONTROL_S, Tool
from manta.core.environment import env
from manta.rpc.v1 import control_pb2 as ctl

#: Of an answer: nodes of a large cluster, and yet.
_MOST_BYTES: Final = 64 << 20
#: What the dashboard may take beside what control takes: it asks three times.
_BESIDE_S: Final = 20.0


@contextmanager
def administrator_of(address: str | None, command: str) -> Iterator[Control]:
    """Calls ListNodes and DrainNode of the cluster that an address names.

    Args:
        address: As `clusters.find` takes it, or "k8s://NAMESPACE/NAME" of a MantaCluster, whose Secret NAME-admin is read.
        command: The command's name, for texts.

    Raises:
        NoClusterError: There is none, or it can be reached as a driver alone.
        MantaError: The MantaCluster cannot be reached; says why.
    """
    wanted = address or env("ADDRESS") or ""
    if wanted.startswith(clusters.KUBERNETES):
        from manta.client.kube.opening import open_cluster

        cluster = open_cluster(wanted, role="admin", say=lambda text: print(text, file=sys.stderr))
        try:
            url, context = cluster.dashboard()
            yield Dashboard(wanted, url, context, cluster.shown.token)
        except SilentError:
            if cluster.forward.failure is not None:
                raise cluster.forward.failure from None
            raise
        finally:
            cluster.close()
        return
    if wanted.startswith(clusters.ELSEWHERE):
        raise NoClusterError(
            f"`manta {command}` is an administrator's, and {wanted} lets drivers in: use k8s://NAMESPACE/NAME, or a machine of "
            "the cluster"
        )
    with Tool(clusters.find(address, command).raylet) as tool:
        yield tool.control


class Dashboard:
    """Those calls as routes of a head's HTTP server.

    Args:
        shown: Its address for people.
        url: Where it is reached.
        context: How TLS is spoken with it; None without.
        token: What lets the caller in; empty where everybody is.
    """

    def __init__(self, shown: str, url: str, context: ssl.SSLContext | None, token: str) -> None:
        self._shown, self._url = shown, url
        self._headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {token}"} if token else {})}
        handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})]
        if context is not None:
            handlers.append(urllib.request.HTTPSHandler(context=context))
        self._opener = urllib.request.build_opener(*handlers)

    def __call__(self, method: str, request: Message, reply: Any, timeout_s: float = CONTROL_S) -> Any:
        """See `asking.Control`.

        Raises:
            SilentError: It does not answer, or refuses; says why.
        """
        del reply
        if isinstance(request, ctl.DrainNodeRequest):
            body = {"grace_s": request.grace_ms / 1000, "reason": request.reason}
            answer = self._ask("POST", f"/api/nodes/{request.node_id.hex()}/drain", body, timeout_s)
            drain = ctl.NodeDrain(
                state=f"DRAIN_STATE_{answer['state']}",
                reason=answer["reason"],
                grace_ms=answer["grace_ms"],
                deadline_unix_ms=answer["deadline_unix_ms"],
            )
            return ctl.DrainNodeResponse(drain=drain, holds=ctl.NodeLoad(**answer["holds"]))
        assert method == "ListNodes", method
        nodes = [
            ctl.NodeInfo(
                node_id=bytes.fromhex(one["node_id"]),
                name=one["name"],
                state=f"NODE_STATE_{one['state']}",
                death_reason=one["death_reason"],
            )
            for one in self._ask("GET", "/api/nodes", None, timeout_s)
        ]
        return ctl.ListNodesResponse(nodes=nodes)

    def _ask(self, method: str, path: str, body: Any, timeout_s: float) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(  # noqa: S310 - http or https of the forward
            self._url + path, data, self._headers, method=method
        )
        try:
            with self._opener.open(request, timeout=timeout_s + _BESIDE_S) as answer:
                return json.loads(answer.read(_MOST_BYTES))
        except urllib.error.HTTPError as refused:
            with refused:
                text = refused.read(1 << 16).decode(errors="replace")
            raise SilentError(f"{self._shown}: {_sentence(refused.code, text)}") from None
        except (urllib.error.URLError, TimeoutError, ConnectionError) as away:
            raise SilentError(
                f"{self._shown}: the dashboard does not answer: {getattr(away, 'reason', away)}"
            ) from None


def _sentence(code: int, text: str) -> str:
    try:
        return str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        return f"the dashboard answers with status {code}: {text[:200]}"
