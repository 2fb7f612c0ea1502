"""How a command asks a cluster's control: through a raylet of this machine, or from outside through the gateway."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from google.protobuf.message import Message

from manta.cli import clusters
from manta.cli.tool import CONTROL_S, Tool
from manta.core.environment import check_settings, env

#: How long nodes may take to answer, seconds.
NODES_S = 5.0


class Control(Protocol):
    """Makes a call to control."""

    def __call__(self, method: str, request: Message, reply: Any, timeout_s: float = CONTROL_S) -> Any:
        """Returns the decoded answer."""


@contextmanager
def control_of(address: str | None, command: str) -> Iterator[Control]:
    """The control of the cluster that an address names.

    Args:
        address: As `clusters.find` takes it, "manta://HOST:PORT" of a gateway, or "k8s://NAMESPACE/NAME" of a MantaCluster.
        command: The command's name, for texts.
    """
    wanted = address or env("ADDRESS") or ""
    if wanted.startswith(clusters.ELSEWHERE):
        from manta.api.driver import connect_kubernetes, connect_outside
        from manta.core.options.init import init_options

        check_settings()
        options = init_options({"address": wanted, "log_to_driver": False})
        # No job: a command has to say how a cluster is also while nothing can be written there.
        connect = connect_kubernetes if wanted.startswith(clusters.KUBERNETES) else connect_outside
        session = connect(options, wanted, looks=True)
        try:
            yield session.control
        finally:
            session.close()
        return
    with Tool(clusters.find(address, command).raylet) as tool:
        yield tool.control
