"""`python -m manta_operator`: the operator's process."""

from __future__ import annotations

from manta.transport import grpc_settings as _first  # isort: skip  # noqa: F401

import asyncio
import logging
import sys

from manta.aio.ending import ending
from manta_operator.app import serve
from manta_operator.kube.errors import KubeError
from manta_operator.settings import Settings, parse

log = logging.getLogger("manta_operator")


async def run(settings: Settings) -> None:
    """Be the operator until told to end."""
    async with ending() as over, serve(settings) as operator:
        log.info("starts as %s, probes and metrics at port %d", settings.identity, operator.port)
        log.info("ends: %s", await over)


def main() -> int:
    """Read what was said, run."""
    settings = parse(sys.argv[1:])
    logging.basicConfig(level=settings.log_level, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        asyncio.run(run(settings))
    except (KubeError, OSError) as wrong:
        print(f"manta-operator: {wrong}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
