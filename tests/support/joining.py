"""Where a program's `init` would start a cluster, it joins the one that runs, through its gateway, as a driver outside.

PROGRAM_GATEWAY=manta://HOST:7620 MANTA_TOKEN_FILE=... MANTA_CA_FILE=... python -m tests.support.joining script.py
"""

from __future__ import annotations

import os
from typing import Any


class Joined:
    """What `embedded.start` would have given."""

    session_dir = raylet = dashboard = ""

    def stop(self) -> None:
        """The cluster stays."""


def install() -> None:
    """From now on."""
    from manta.api import embedded
    from manta.api import init as module
    from manta.api.driver import connect_outside
    from manta.client import current

    def connect(options: Any, raylet: str) -> Any:
        session = current.session = connect_outside(options, os.environ["PROGRAM_GATEWAY"])
        return session

    embedded.start = lambda **wanted: Joined()  # type: ignore[assignment]
    embedded.record = lambda cluster, node_id: None
    module._connect = connect


def main() -> None:
    """Run a script."""
    install()
    from manta.compat.__main__ import main as run

    run()


if __name__ == "__main__":
    main()
