"""Waiting until control listens, before gRPC dials it: gRPC's own waiting between attempts grows beyond what a start may take."""

from __future__ import annotations

import asyncio
import logging
import random
import socket
from collections.abc import Callable
from itertools import count
from typing import Final

from manta.core.errors import CertificateError, ClusterNotFoundError
from manta.raylet.refusals import NotLetInError
from manta.transport.probe import probe
from manta.transport.tls import TlsFiles

log = logging.getLogger(__name__)

#: Between two looks at a socket of this machine, seconds: short, the laptop's first task waits for it; then longer.
_FIRST_S: Final = 0.003
_CAP_S: Final = 0.2
#: From afar: often at first, as a pod's worker comes before its head, and later less often. Never all nodes at once.
_FAR_S: Final = 0.1
_FAR_CAP_S: Final = 2.0
_FAR_OFTEN: Final = 100
#: Looks of which one is told.
_TOLD_OF: Final = 50


async def until_it_listens(target: str, files: TlsFiles | None, known: Callable[[], bool]) -> None:
    """Return once there is somebody at control's target; wait for ever while there is nobody.

    Args:
        target: gRPC target.
        files: This node's certificates, for a control on another machine.
        known: Whether this cluster has let the node in before.

    Raises:
        NotLetInError: Control and this node do not trust each other, and never did.
    """
    if files is not None:
        await _far(target, files, known)
    elif target.startswith("unix:"):
        await _near(target.removeprefix("unix:"))


async def _near(path: str) -> None:
    pause = _FIRST_S
    while True:
        probing = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        probing.setblocking(False)
        try:
            probing.connect(path)
            return
        except (FileNotFoundError, ConnectionRefusedError, BlockingIOError):
            await asyncio.sleep(pause)
            pause = min(_CAP_S, pause * 1.1)
        finally:
            probing.close()


async def _far(target: str, files: TlsFiles, known: Callable[[], bool]) -> None:
    pause = _FAR_S
    for looks in count():
        try:
            await asyncio.to_thread(probe, target, files)
        except ClusterNotFoundError as away:
            if not looks % _TOLD_OF:
                log.warning("control cannot be reached: %s", away)
            await asyncio.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 - no secret
            if looks >= _FAR_OFTEN:
                pause = min(_FAR_CAP_S, pause * 1.5)
        except CertificateError as wrong:
            if not known():
                raise NotLetInError(wrong) from wrong
            log.warning("control does not trust us, or we do not trust it: %s", wrong)
            await asyncio.sleep(_FAR_CAP_S)
        else:
            return
