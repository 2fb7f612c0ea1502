"""`init`, `shutdown`, `is_initialized`."""

from __future__ import annotations

import atexit
import os
import sys
import threading

from manta.client import current
from manta.core import errors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from logging import Logger
    from typing import Any

    from manta.api.context import RayContext
    from manta.api.embedded import Embedded
    from manta.client.session import Session
    from manta.core.options.init import InitOptions

#: Descriptors that a driver and its cluster may have, where the machine lets them: a connection costs one.
WANTED_FILES = 65536

#: How addresses of gateways begin, and of clusters on Kubernetes: their drivers are outside.
GATEWAY = "manta://"
KUBERNETES = "k8s://"
OUTSIDE = (GATEWAY, KUBERNETES)

_lock = threading.RLock()
_context: RayContext | None = None
_cluster: Embedded | None = None
_registered = False
#: The interpreter is ending: exit handlers that come later start no cluster by themselves, as nobody would end it.
_exiting = False


def init(address: str | None = None, **arguments: Any) -> RayContext:
    """Join a cluster, or start an embedded one.

    Args:
        address: None joins the cluster that MANTA_ADDRESS (or RAY_ADDRESS) names, else starts one; "local" always starts one;
            "auto" joins the newest one of this user on this machine; "HOST:7600" the one with its head there, through this
            machine's node of it; "manta://HOST:7620" joins one from outside through its gateway, with the token of MANTA_TOKEN
            or MANTA_TOKEN_FILE and the authority of MANTA_CA_FILE; "k8s://NAMESPACE/NAME" joins a MantaCluster from outside
            through its Kubernetes API server, by the kubeconfig, with the token and the authority of its Secret NAME-submitter.
        arguments: `token` and `ca` (a file) for a gateway, each before its variables or the Secret;
            `num_cpus`, `num_gpus`, `resources` (name to amount), `labels`, `object_store_memory` (bytes),
            `namespace`, `runtime_env`, `ignore_reinit_error`, `log_to_driver`, `logging_level`,
            `configure_logging` and the rest of Ray's; see `manta.core.options.init`.
    Returns:
        What was joined; usable as a context manager.
    Raises:
        RuntimeError: Joined already, or an argument is unknown.
        ConnectionError: "auto", and there is no cluster; or the address leads nowhere.
        ValueError: An argument describes a new cluster and an existing one is joined.
    """
    from manta.core.environment import check_settings, env, setting
    from manta.core.options.init import init_options, with_submitted_job

    global _context
    with _lock:
        check_settings()
        submitted = setting("JOB_CONFIG_JSON_ENV_VAR")
        if submitted is not None:
            arguments = with_submitted_job(arguments, submitted, override=setting("OVERRIDE_JOB_RUNTIME_ENV"))
        options = init_options({"address": address, **arguments})
        if current.session is not None and current.session.pid != os.getpid():
            shutdown()  # inherited by a fork: its connections are its parent's
        if current.session is not None:
            if options.ignore_reinit_error:
                _log().info("Calling ray.init() again after it has already been called.")
                if _context is None:  # a worker: it was joined to its cluster before any user code ran
                    _context = _context_of(current.session)
                return _context
            raise RuntimeError(
                "Maybe you called ray.init twice by accident? This error can be suppressed by passing in "
                "'ignore_reinit_error=True' or by calling 'ray.shutdown()' prior to 'ray.init()'."
            )
        where = options.address
        if where is None or where == "auto":
            where = env("ADDRESS") or where
        outside = where is not None and where.startswith(OUTSIDE)
        if not outside and ("token" in options.given or "ca" in options.given):
            raise ValueError(
                f"token and ca are shown to a gateway, and {where or 'no address'!r} is not a {' or '.join(OUTSIDE)} address"
            )
        if sys.platform != "linux" and not outside:
            raise errors.UnsupportedPlatformError(sys.platform)
        if options.configure_logging:
            _configure_logging(options)
        if not outside:
            allow_many_files()
        _context = _join(options, where)
        return _context


def _join(options: InitOptions, where: str | None) -> RayContext:
    from manta.api import embedded

    global _cluster
    if where == "auto":
        options.refuse_cluster_shape()
        clusters = embedded.running(options.temp_dir)
        if not clusters:
            raise errors.ClusterNotFoundError(
                "auto", "no cluster of this user runs on this machine; start one with manta.init(), without an address"
            )
        session = _connect(options, clusters[0]["raylet"])
    elif where is None or where == "local":
        from manta.api import page
        from manta.core.capacity import capacity

        dashboard = page.wanted(options)
        _cluster = _started(
            temp_dir=options.temp_dir,
            num_cpus=options.num_cpus,
            num_gpus=options.num_gpus if options.num_gpus is not None else visible_gpus(),
            resources={name: amount / 10_000 for name, amount in options.resources.items()},
            labels=options.labels,
            object_store_bytes=options.object_store_memory or capacity().store_bytes,
            memory_bytes=options.memory,
            node_name=options.node_name,
            node_ip=options.node_ip_address,
            dashboard=dashboard,
        )
        try:
            session = _connect(options, _cluster.raylet)
        except BaseException:
            _cluster.stop()
            _cluster = None
            raise
        embedded.record(_cluster, session.welcome.node_id)
        _log().info("Started a local Manta cluster.")
        if _cluster.dashboard:
            _log().info("%s", page.sign_in_hint(_cluster.dashboard, _cluster.viewer_token))
    elif where.startswith(OUTSIDE):
        from manta.api.driver import connect_kubernetes, connect_outside

        options.refuse_cluster_shape()
        connect = connect_kubernetes if where.startswith(KUBERNETES) else connect_outside
        session = current.session = connect(options, where)
    elif where.startswith(("unix:", "/")):
        options.refuse_cluster_shape()
        session = _connect(options, where.removeprefix("unix:"))
    elif (node := embedded.node_of(where, options.temp_dir)) is not None:
        options.refuse_cluster_shape()
        session = _connect(options, node["raylet"])
    else:
        raise errors.ClusterNotFoundError(
            where,
            "this machine is no node of a cluster with its head there (`manta start --join-file FILE` makes it one); pass "
            "nothing or 'local' to start a cluster, 'auto' to join the one that runs here, manta://HOST:7620 to join another one "
            "through its gateway, k8s://NAMESPACE/NAME one on Kubernetes",
        )
    _at_exit()
    if options.folders:
        from manta.api.uploads import uploaded

        try:
            session.environment = uploaded(session, session.environment)
        except BaseException:
            shutdown()
            raise
    return _context_of(session)


def _started(**settings: Any) -> Embedded:
    from manta.api import embedded, page

    try:
        return embedded.start(**settings)
    except errors.SettingError as wrong:
        if wrong.name == "bind":  # of the only one of its processes that listens on the network
            raise page.refused(wrong) from wrong
        raise


def _connect(options: InitOptions, raylet: str) -> Session:
    from manta.api.driver import connect_driver

    session = connect_driver(options, raylet)
    current.session = session
    return session


def _context_of(session: Session) -> RayContext:
    from manta.api import page
    from manta.api.context import RayContext

    # Its own cluster's page is known; another's is asked for.
    url = _cluster.dashboard if _cluster is not None else page.url_of(session)
    return RayContext(_address_info(session, url), shutdown, page=url)


def _address_info(session: Session, url: str) -> dict[str, Any]:
    welcome = session.welcome
    return {
        "node_ip_address": welcome.node_ip,
        "node_id": welcome.node_id.hex(),
        "session_dir": welcome.session_dir,
        "session_name": welcome.session_name,
        "raylet_socket_name": session.raylet_endpoint,
        "object_store_address": session.raylet_endpoint,
        "address": session.raylet_endpoint,
        "gcs_address": session.raylet_endpoint,
        "webui_url": url.partition("://")[2],
        "metrics_export_port": 0,
    }


def shutdown(_exiting_interpreter: bool = False, *, wait_for_processes: bool = False) -> None:
    """Leave the cluster; one that `init` started ends. Does nothing when there is none.

    Values read before stay valid. Remote functions and classes work again after the next `init`. In a worker, whose place in
    the cluster is not its tasks' to give up, it does nothing.
    """
    global _context, _cluster, _exiting
    with _lock:
        _exiting = _exiting_interpreter
        session, cluster = current.session, _cluster
        if session is not None and session.is_worker:
            return
        current.session = None
        _context = _cluster = None
        try:
            if session is not None:
                session.close()
        finally:
            if cluster is not None and session is not None and session.pid == os.getpid():
                cluster.stop()


def is_initialized() -> bool:
    """Whether this process has joined a cluster."""
    return current.session is not None


def start_by_itself() -> Session:
    """For `.remote()` and its like without `init`."""
    from manta.core.environment import setting

    if not setting("ENABLE_AUTO_CONNECT"):
        raise errors.NotConnectedError
    if _exiting:
        raise errors.NotConnectedError(
            "The program is ending and has left its cluster; no other one is started by itself."
        )
    with _lock:
        if current.session is None:
            init()
        assert current.session is not None
        return current.session


def _at_exit() -> None:
    global _registered
    if not _registered:
        _registered = True
        atexit.register(shutdown, True)
    _exit_on_sigterm()


def _exit_on_sigterm() -> None:
    """SIGTERM ends a driver as sys.exit does, so that its cluster ends with it; unless the program has its own way."""
    import signal

    if threading.current_thread() is not threading.main_thread():
        return
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _leave)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=_end_at_sigterm)


def _leave(number: int, frame: object) -> None:
    sys.exit(128 + number)


def _end_at_sigterm() -> None:
    """A process that was forked from a driver is none, and ends as without us: one that waits for a semaphore, as those of
    `multiprocessing` do, may never come to run a handler.
    """
    import signal

    if signal.getsignal(signal.SIGTERM) is _leave:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def allow_many_files() -> None:
    """Raise the soft limit of open files; what is started from here inherits it."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED_FILES if hard == resource.RLIM_INFINITY else min(hard, WANTED_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (OSError, ValueError):
            pass  # a sandbox that forbids it; the limit it has may well do


def _log() -> Logger:
    import logging  # 10 ms of which `import manta` shall have none

    return logging.getLogger("manta")


def _configure_logging(options: InitOptions) -> None:
    import logging

    log = _log()
    level = options.logging_level
    log.setLevel(level)
    if not log.handlers and not logging.getLogger().handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(
            logging.Formatter(
                options.logging_format or "%(asctime)s\t%(levelname)s %(filename)s:%(lineno)s -- %(message)s"
            )
        )
        log.addHandler(handler)
        log.propagate = False


def visible_gpus() -> int:
    """GPUs this process may use: as CUDA_VISIBLE_DEVICES says, else as the driver lists them."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([one for one in visible.split(",") if one.strip() and one.strip() != "NoDevFiles"])
    try:
        return len(os.listdir("/proc/driver/nvidia/gpus"))
    except OSError:
        return 0
