"""Arguments of `init()`, checked before anything is started."""

from __future__ import annotations

from manta.core.frozen import Frozen
from manta.core.options import environments
from manta.core.options.not_built import refuse_not_built
from manta.core.options.table import NoneType, Option, check_runtime_env, suggestion
from manta.core.resources import UNIT, check_name, custom_resources, to_fixed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Final

#: Smallest object store.
LEAST_OBJECT_STORE_BYTES: Final = 75 << 20


def _whole(name: str) -> Option:
    def check(value: float) -> str | None:
        if to_fixed(name, value) % UNIT:
            return f"Resource quantities must all be whole numbers. Violated by {name}={value}."
        return None

    return Option(int, float, NoneType, check=check)


def _check_store(value: float) -> str | None:
    to_fixed("object_store_memory", value)
    if value < LEAST_OBJECT_STORE_BYTES:
        return (
            f"Attempting to cap object store memory usage at {value} bytes (object_store_memory), but the minimum allowed "
            f"is {LEAST_OBJECT_STORE_BYTES} bytes."
        )
    return None


def _check_labels(value: dict[Any, Any]) -> None:
    for name, text in value.items():
        if not isinstance(name, str) or not isinstance(text, str):
            raise TypeError(f"labels must be a dict of strings to strings, but received {name!r:.100}: {text!r:.100}")


def _check_port(value: int) -> str | None:
    return None if 0 <= value <= 65535 else f"A port must be between 0 and 65535, got {value}."


def _check_not_empty(name: str) -> Option:
    return Option(str, NoneType, check=lambda value: None if value else f"'{name}' cannot be an empty string.")


def _check_address(value: str) -> None:
    check_name(f"node:{value}")  # a resource of the node is called so


def _check_memory(value: float) -> None:
    to_fixed("_memory", value)


def _check_custom(value: dict[str, float]) -> None:
    custom_resources(value)


_ANY = Option()
_TEXT = Option(str, NoneType)
_FLAG = Option(bool, NoneType)

#: Documented arguments.
ARGUMENTS: Final[Mapping[str, Option]] = {
    "address": _TEXT,
    "token": _TEXT,
    "ca": _TEXT,
    "num_cpus": _whole("num_cpus"),
    "num_gpus": _whole("num_gpus"),
    "resources": Option(dict, NoneType, check=_check_custom),
    "labels": Option(dict, NoneType, check=_check_labels),
    "object_store_memory": Option(int, float, NoneType, check=_check_store),
    "local_mode": _FLAG,
    "ignore_reinit_error": _FLAG,
    "include_dashboard": _FLAG,
    "dashboard_host": _TEXT,
    "dashboard_port": Option(int, NoneType, check=_check_port),
    "job_config": _ANY,
    "configure_logging": _FLAG,
    "logging_level": Option(int, str, NoneType),
    "logging_format": _TEXT,
    "logging_config": _ANY,
    "log_to_driver": _FLAG,
    "namespace": _check_not_empty("namespace"),
    "runtime_env": Option(dict, NoneType, check=check_runtime_env),
    "enable_resource_isolation": _FLAG,
    "cgroup_path": _TEXT,
    "system_reserved_cpu": Option(int, float, NoneType),
    "system_reserved_memory": Option(int, NoneType),
    "proxy_server_url": _TEXT,
}

#: Accepted and not documented. Those that only Ray's own parts would understand are accepted and change nothing.
HIDDEN: Final[Mapping[str, Option]] = {
    "_memory": Option(int, float, NoneType, check=_check_memory),
    "_temp_dir": _TEXT,
    "_system_config": Option(dict, NoneType),
    "_node_ip_address": Option(str, NoneType, check=_check_address),
    "_node_name": _TEXT,
    "_metrics_export_port": Option(int, NoneType, check=_check_port),
    "_plasma_directory": _TEXT,
    "_redis_username": _TEXT,
    "_redis_password": _TEXT,
    "_tracing_startup_hook": _ANY,
    "_enable_object_reconstruction": _FLAG,
    "_driver_object_store_memory": Option(int, NoneType),
    "_skip_env_hook": _FLAG,
    "object_spilling_directory": _TEXT,
}

#: What shapes a new cluster and means nothing to one that exists.
CLUSTER_SHAPE: Final = (
    "num_cpus",
    "num_gpus",
    "resources",
    "labels",
    "object_store_memory",
    "_system_config",
    "_memory",
)


class InitOptions(Frozen):
    """Arguments of `init()`.

    Attributes:
        given: What the user wrote, None left out.
        address: Which cluster; None: see the environment, then a running local one, then start one.
        num_cpus: Of the new cluster; None: what the machine has.
        num_gpus: Likewise.
        resources: Custom resources of the new cluster, in parts.
        labels: Labels of its node.
        object_store_memory: Bytes of its object store; None: a share of the machine's memory.
        memory: Bytes that tasks may ask for; None: the rest of the machine's memory.
        ignore_reinit_error: A second call gives the first one's context.
        include_dashboard: None is "as the installation has it".
        dashboard_host: Where the dashboard listens.
        dashboard_port: And on which port.
        configure_logging: Whether loggers are set up,
        logging_level: how much they say
        logging_format: and how.
        log_to_driver: Whether workers' output is shown here; None: see the environment.
        namespace: Of named actors; None: see the environment, then one of the job's own.
        env_vars: Environment variables of the job's workers, by name, in order.
        folders: The rest of their environment, as variables too; see `environments`.
        temp_dir: Where the cluster's directory is made.
        node_name: Shown by the state API.
        node_ip_address: Instead of the one found.
    """

    __slots__ = (
        "address",
        "configure_logging",
        "dashboard_host",
        "dashboard_port",
        "env_vars",
        "folders",
        "given",
        "ignore_reinit_error",
        "include_dashboard",
        "labels",
        "log_to_driver",
        "logging_format",
        "logging_level",
        "memory",
        "namespace",
        "node_ip_address",
        "node_name",
        "num_cpus",
        "num_gpus",
        "object_store_memory",
        "resources",
        "temp_dir",
    )

    given: Mapping[str, Any]
    address: str | None
    num_cpus: int | None
    num_gpus: int | None
    resources: Mapping[str, int]
    labels: Mapping[str, str]
    object_store_memory: int | None
    memory: int | None
    ignore_reinit_error: bool
    include_dashboard: bool | None
    dashboard_host: str
    dashboard_port: int
    configure_logging: bool
    logging_level: int | str
    logging_format: str | None
    log_to_driver: bool | None
    namespace: str | None
    env_vars: tuple[tuple[str, str], ...]
    folders: tuple[tuple[str, str], ...]
    temp_dir: str | None
    node_name: str | None
    node_ip_address: str | None

    __hash__ = None  # type: ignore[assignment]  # `given` is a dict

    def cluster_shape(self) -> list[str]:
        """Arguments given that an existing cluster can't obey."""
        return [name for name in CLUSTER_SHAPE if name in self.given]

    def refuse_cluster_shape(self) -> None:
        """Raise ValueError if an argument only makes sense for a new cluster. For joining an existing one."""
        given = self.cluster_shape()
        if given:
            raise ValueError(
                f"When connecting to an existing cluster, {', '.join(given)} must not be provided: "
                "they describe a new cluster."
            )


def with_submitted_job(arguments: Mapping[str, Any], submitted: Mapping[str, Any], *, override: bool) -> dict[str, Any]:
    """Arguments of `init()` in a submitted job: the environment and namespace it was submitted with come with them.

    Args:
        arguments: Of `init()`.
        submitted: The job's `runtime_env` and `ray_namespace`; the rest is for who submitted it.
        override: Where both name one thing, `init()` wins.

    Raises:
        ValueError: Both name one thing, and may not.
    """
    merged = dict(arguments)
    theirs, mine = submitted.get("runtime_env"), arguments.get("runtime_env")
    if theirs and mine and isinstance(theirs, dict) and isinstance(mine, dict):
        merged["runtime_env"] = _merged_environments(theirs, mine, override=override)
    elif theirs and (not mine or isinstance(mine, dict)):
        merged["runtime_env"] = theirs
    if submitted.get("ray_namespace") and arguments.get("namespace") is None:
        merged["namespace"] = submitted["ray_namespace"]
    return merged


def _merged_environments(theirs: dict[str, Any], mine: dict[str, Any], *, override: bool) -> dict[str, Any]:
    their_variables, my_variables = theirs.get("env_vars") or {}, mine.get("env_vars") or {}
    if not isinstance(their_variables, dict) or not isinstance(my_variables, dict):
        return (
            {**mine, **theirs} if isinstance(my_variables, dict) else mine
        )  # the wrong one, to be refused for its type
    both = (theirs.keys() & mine.keys()) - {"env_vars"} | (their_variables.keys() & my_variables.keys())
    if both and not override:
        raise ValueError(
            f"Failed to merge the job's runtime env {theirs} with init()'s runtime env {mine}: both say what "
            f"{', '.join(sorted(map(str, both)))} is. Say it in one place, or set RAY_OVERRIDE_JOB_RUNTIME_ENV=1 to "
            "let init() win."
        )
    return {**theirs, **mine, "env_vars": {**their_variables, **my_variables}}


def init_options(arguments: Mapping[str, Any]) -> InitOptions:
    """Arguments of `init()`, checked.

    Raises:
        RuntimeError: An argument is unknown, or no longer supported.
        TypeError: One has a wrong type.
        ValueError: One has a bad value.
        NotImplementedError: One asks for what is not built yet.
    """
    unknown = [name for name in arguments if name not in ARGUMENTS and name not in HIDDEN]
    if unknown:
        if unknown == ["storage"]:
            raise RuntimeError("Cluster-wide storage configuration has been removed.")
        near = suggestion(unknown[0], ARGUMENTS)
        raise RuntimeError(f"Unknown keyword argument(s): {', '.join(map(str, unknown))}.{near}")
    given = {name: value for name, value in arguments.items() if value is not None}
    if given.get("local_mode"):
        raise RuntimeError("`local_mode` is no longer supported. Call the function itself, without `.remote()`.")
    for name, value in given.items():
        (ARGUMENTS.get(name) or HIDDEN[name]).validate(name, value)
    refuse_not_built(given)
    get = given.get
    environment = environments.variables(get("runtime_env"))
    return InitOptions(
        given=given,
        address=get("address") or None,
        num_cpus=None if get("num_cpus") is None else int(given["num_cpus"]),
        num_gpus=None if get("num_gpus") is None else int(given["num_gpus"]),
        resources=custom_resources(get("resources")),
        labels=dict(get("labels") or {}),
        object_store_memory=None if get("object_store_memory") is None else int(given["object_store_memory"]),
        memory=None if get("_memory") is None else int(given["_memory"]),
        ignore_reinit_error=get("ignore_reinit_error", False),
        include_dashboard=get("include_dashboard"),
        dashboard_host=get("dashboard_host") or "127.0.0.1",
        dashboard_port=get("dashboard_port", 8265),
        configure_logging=get("configure_logging", True),
        logging_level=level.upper() if isinstance(level := get("logging_level", 20), str) else level,
        logging_format=get("logging_format"),
        log_to_driver=get("log_to_driver"),
        namespace=get("namespace"),
        env_vars=tuple(one for one in environment if one[0] not in environments.RESERVED),
        folders=tuple(one for one in environment if one[0] in environments.RESERVED),
        temp_dir=get("_temp_dir"),
        node_name=get("_node_name"),
        node_ip_address=get("_node_ip_address"),
    )
