"""A driver's session: what is different from a worker's."""

from __future__ import annotations

import logging
import os
import sys
import time

from manta.api.output import Printer
from manta.client.reading import exception_of
from manta.core import errors
from manta.core.environment import setting
from manta.rpc.v1 import channel_pb2 as pb

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from manta.client.remote.address import Gateway
    from manta.client.remote.session import RemoteSession
    from manta.client.user import UserSession
    from manta.core.options.init import InitOptions

log = logging.getLogger("manta")

#: How long the gateway of a cluster that takes drivers may be away, a new head's start included; and how often it is tried.
GATEWAY_S = 60.0
LOOK_S = 0.5


def connect_driver(options: InitOptions, raylet: str) -> UserSession:
    """Join the node whose raylet listens at `raylet` as a driver.

    Raises:
        ClusterNotFoundError: Nobody listens there.
        VersionMismatchError, AuthenticationError: It does not want us.
    """
    from manta.client.user import UserSession  # late: what it needs, only Linux has

    show, job_config = _job_config(options)
    hello = pb.Hello(job_config=job_config, python=_python(), namespace=_namespace(options))
    session = UserSession(pb.ROLE_DRIVER, os.urandom(28))
    try:
        session.connect(raylet, hello, directory=os.path.dirname(raylet))
    except (FileNotFoundError, ConnectionRefusedError) as gone:
        raise errors.ClusterNotFoundError(raylet, f"nobody listens there: {gone}") from gone
    _talk(session, options, show)
    return session


def connect_outside(options: InitOptions, address: str, *, looks: bool = False) -> RemoteSession:
    """Join the cluster of the gateway at `address` (manta://HOST:PORT) as a driver outside.

    Args:
        options: Of `init`.
        address: Of the gateway.
        looks: The session is to ask control, and nothing else: it has no job, so that it needs no room on control's disk.
    Raises:
        ClusterNotFoundError: No gateway is there, also after MANTA_CLUSTER_WAIT_S.
        AuthenticationError: It is not the right one, or the token is not.
        VersionMismatchError: Python or Manta differ too much.
    """
    from manta.client.remote.address import Gateway

    # A cluster without TLS was made so on purpose, and so is a driver that goes there.
    plain = not setting("TLS")

    def gateway() -> Gateway:
        authorities = None if plain else _authorities(options.given.get("ca"))
        return Gateway(address, _token(address, options.given.get("token")), authorities, plain=plain)

    gateway()  # what no time puts right is said before any wait
    wait_s: float = setting("CLUSTER_WAIT_S")
    return _connect_in_time(gateway, options, looks, away=errors.ClusterNotFoundError, wait_s=wait_s)


def connect_kubernetes(options: InitOptions, address: str, *, looks: bool = False) -> RemoteSession:
    """Join the MantaCluster that k8s://NAMESPACE/NAME names as a driver outside, through the API server.

    Args:
        options: Of `init`.
        address: Of the cluster.
        looks: See `connect_outside`.
    Raises:
        KubernetesError: There is no way to it, also after `GATEWAY_S`, or it takes no drivers; its classes say which.
        AuthenticationError: Its gateway is not the right one, or does not take the token.
        VersionMismatchError: Python or Manta differ too much.
        MissingPackageError: What reads a kubeconfig is not installed.
    """
    from manta.client.kube.opening import open_cluster

    token, ca = options.given.get("token"), options.given.get("ca")
    cluster = open_cluster(
        address,
        token=None if token is None else _token(address, token),
        ca=None if ca is None else _authorities(ca),
        say=lambda text: log.warning("%s", text),
    )
    try:
        # What is known of it is older than its gateway's last start, or its head's.
        return _connect_in_time(cluster.gateway, options, looks, away=errors.PortForwardError, wait_s=GATEWAY_S)
    except errors.KubernetesError:
        cluster.close()
        raise
    except errors.AuthenticationError as refusal:
        cluster.close()
        raise cluster.refused(refusal) from None
    except BaseException:
        cluster.close()
        raise


def _connect_in_time(
    gateway: Callable[[], Gateway],
    options: InitOptions,
    looks: bool,
    *,
    away: type[errors.MantaError],
    wait_s: float,
) -> RemoteSession:
    """Join by a gateway that may be on its way: one that is being started is waited for.

    Args:
        gateway: What is known of it, asked at each try.
        options: Of `init`.
        looks: See `connect_outside`.
        away: The error of one that is not there.
        wait_s: For how long.
    """
    deadline = time.monotonic() + wait_s
    said = False
    while True:
        try:
            return _connect_to(gateway(), options, looks)
        except (away, errors.RpcError) as failed:
            # Of the others some are answers: one that holds all the sessions it may is there.
            if not isinstance(failed, away) and type(failed) is not errors.RpcError:
                raise
            if time.monotonic() >= deadline:
                raise
            if not said:
                log.warning("%s; waiting up to %.0f s for it", failed, wait_s)
                said = True
        time.sleep(LOOK_S)


def _connect_to(gateway: Gateway, options: InitOptions, looks: bool) -> RemoteSession:
    from manta.client.remote.session import RemoteSession
    from manta.rpc.v1 import gateway_pb2 as gw
    from manta.version import __version__

    show, job_config = _job_config(options)
    session = RemoteSession(gateway)
    session.connect(
        gw.OpenSession(
            job_config=job_config, python=_python(), namespace=_namespace(options), manta=__version__, looks=looks
        )
    )
    _talk(session, options, show)
    return session


def _talk(session: UserSession | RemoteSession, options: InitOptions, show: bool) -> None:
    """What of the cluster's news this process shows."""
    session.environment = dict(options.env_vars + options.folders)
    printer = Printer(session.welcome.node_ip)
    if show:
        session.print_lines = printer.show
        session.finish_lines = printer.finish
    if not setting("IGNORE_UNHANDLED_ERRORS"):
        session.on_unread = lambda failure: log.error(
            "Unhandled error (suppress with 'RAY_IGNORE_UNHANDLED_ERRORS=1'): %s", exception_of(failure)
        )
    session.on_infeasible = lambda text: session.background.run(lambda: log.warning("%s", text))


def _job_config(options: InitOptions) -> tuple[bool, bytes]:
    """Whether workers' lines are shown here, and what the job's workers are told."""
    show = options.log_to_driver if options.log_to_driver is not None else setting("LOG_TO_DRIVER")
    config = pb.JobConfig(
        sys_path=_import_path(),
        working_directory=_working_directory(),
        env_vars=dict(options.env_vars),
        compat=_compat_installed(),
        entrypoint=" ".join(sys.argv)[:2000],
        log_to_driver=show,
    )
    return show, config.SerializeToString(deterministic=True)


def _python() -> str:
    return ".".join(map(str, sys.version_info[:3]))


def _namespace(options: InitOptions) -> str:
    return options.namespace or setting("NAMESPACE") or ""


def _token(address: str, given: str | None) -> str:
    """What to show the gateway: the argument, else the environment's, else a file's."""
    token: str | None = setting("TOKEN")
    path: str | None = setting("TOKEN_FILE")
    where = "MANTA_TOKEN"
    if given is not None:
        token, where = given, "the argument token of init()"
    if token is not None:
        # It travels in a header, which takes no other characters; and nothing else is a token.
        if not token.isascii() or not token.isalnum():
            raise errors.AuthenticationError(f"{where} holds no token: one has letters and digits alone")
        return token
    if path is not None:
        from manta.transport.auth import read_token

        return read_token(path)
    if setting("AUTH") == "none":
        return ""
    raise errors.AuthenticationError(
        f"{address} wants a token: set MANTA_TOKEN, or MANTA_TOKEN_FILE to the file that holds it; neither is set, and "
        "init() was given no token"
    )


def _authorities(given: str | None) -> bytes | None:
    """Who may vouch for the gateway, from the argument's file, else the environment's; None for whom the machine trusts."""
    path: str | None = given if given is not None else setting("CA_FILE")
    if path is None:
        return None
    where = "MANTA_CA_FILE" if given is None else "the file that the argument ca of init() names"
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as wrong:
        raise errors.AuthenticationError(f"{where} cannot be read: {path}: {wrong.strerror}") from wrong


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
