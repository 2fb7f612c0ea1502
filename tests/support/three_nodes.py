"""Where a program's `init` would start a cluster of one node, it gets one of three: the same program, its CPUs on three nodes.

python -m tests.support.three_nodes script.py                 a driver on the head
MANTA_TEST_GATEWAY=1 python -m tests.support.three_nodes ...  a driver outside, through a gateway beside the head
"""

from __future__ import annotations

import os
from typing import Any

from manta.testing import Cluster


class Three:
    """What `embedded.start` would have given."""

    dashboard = ""

    def __init__(self, num_cpus: float, store_bytes: int) -> None:
        # The two nodes without the driver get a third each, the head what is left.
        share = int(num_cpus) // 3
        room = {"object_store_memory": store_bytes}
        self._cluster = Cluster(head_node_args={"num_cpus": num_cpus - 2 * share, **room})
        for _ in range(2):
            self._cluster.add_node(wait=False, num_cpus=share, **room)  # type: ignore[arg-type]
        self._cluster.wait_for_nodes()
        head = self._cluster.list_all_nodes()[0]
        self.session_dir, self.raylet = head.session_dir, head.socket
        self.dashboard = self.tokens = self.viewer_token = ""
        self.stop = self._cluster.shutdown


def install() -> None:
    """From now on."""
    from manta.api import embedded

    def start(**wanted: Any) -> Three:
        return Three(wanted["num_cpus"], min(wanted["object_store_bytes"], 200 << 20))

    embedded.start = start  # type: ignore[assignment]


def main() -> None:
    """Run a script."""
    install()
    if os.environ.get("MANTA_TEST_GATEWAY", "") not in ("", "0"):
        from tests.support import through_gateway

        through_gateway.install()
    from manta.compat.__main__ import main as run

    run()


if __name__ == "__main__":
    main()
