"""A driver's session: what is different from a worker's."""

from __future__ import annotations

import logging
import os
import sys

from manta.api.output import Printer
from manta.client.reading import exception_of
from manta.client.user import UserSession
from manta.core import errors
from manta.core.environment import setting
from manta.rpc.v1 import channel_pb2 as pb

TYPE_CHECKING = False
if TYPE_CHECKING:
    from manta.core.options.init import InitOptions

log = logging.getLogger("manta")


def connect_driver(options: InitOptions, raylet: str) -> UserSession:
    """Join the node whose raylet listens at `raylet` as a driver.

    Raises:
        ClusterNotFoundError: Nobody listens there.
        VersionMismatchError, AuthenticationError: It does not want us.
    """
    show = options.log_to_driver if options.log_to_driver is not None else setting("LOG_TO_DRIVER")
    config = pb.JobConfig(
        sys_path=_import_path(),
        working_directory=_working_directory(),
        env_vars=dict(options.env_vars),
        compat=_compat_installed(),
        entrypoint=" ".join(sys.argv)[:2000],
        log_to_driver=show,
    )
    hello = pb.Hello(
        job_config=config.SerializeToString(deterministic=True),
        python=".".join(map(str, sys.version_info[:3])),
        namespace=options.namespace or setting("NAMESPACE") or "",
    )
    session = UserSession(pb.ROLE_DRIVER, os.urandom(28))
    try:
        session.connect(raylet, hello, directory=os.path.dirname(raylet))
    except (FileNotFoundError, ConnectionRefusedError) as gone:
        raise errors.ClusterNotFoundError(raylet, f"nobody listens there: {gone}") from gone
    session.environment = dict(options.env_vars)
    printer = Printer(session.welcome.node_ip)
    if show:
        session.print_lines = printer.show
        session.finish_lines = printer.finish
    if not setting("IGNORE_UNHANDLED_ERRORS"):
        session.on_unread = lambda failure: log.error(
            "Unhandled error (suppress with 'RAY_IGNORE_UNHANDLED_ERRORS=1'): %s", exception_of(failure)
        )
    session.on_infeasible = lambda text: session.background.run(lambda: log.warning("%s", text))
    return session


def _import_path() -> list[str]:
    """What workers add to their import path: ours, the script's folder and the working directory for ''."""
    here = _working_directory()
    known = [entry for entry in sys.path if not entry.endswith(".zip") and (here or os.path.isabs(entry))]
    path = [os.path.abspath(entry) if entry else here for entry in known]
    if here and here not in path:
        path.append(here)
    return path


def _working_directory() -> str:
    """Where this process is; '' when that folder has been deleted."""
    try:
        return os.getcwd()
    except FileNotFoundError:
        return ""


def _compat_installed() -> bool:
    compat = sys.modules.get("manta.compat")
    return bool(compat is not None and compat.is_installed())
