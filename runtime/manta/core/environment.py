"""Settings from environment variables: one table, two prefixes.

Each variable may be set as `MANTA_<name>` or, as programs written for Ray do, as `RAY_<name>`; the first wins. Reading
is typed: a value that means nothing raises a `SettingError` that names the variable, its value and what it may hold.

Variables are read when they are asked for, never at import, so that a program may set them before `init()`.
"""

from __future__ import annotations

import os

from manta.core.errors import SettingError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, Final

PREFIXES: Final = ("MANTA_", "RAY_")


class Variable:
    """One setting.

    Attributes:
        name: Without its prefix.
        default: What it is when unset.
        expected: What it may hold, for messages.
        read: Text to value; raises ValueError for what it does not understand.
        doc: What it does.
    """

    __slots__ = ("default", "doc", "expected", "name", "read")

    def __init__(self, name: str, default: object, expected: str, read: Callable[[str], object], doc: str) -> None:
        self.name = name
        self.default = default
        self.expected = expected
        self.read = read
        self.doc = doc


def _flag(text: str) -> bool:
    lowered = text.strip().lower()
    if lowered in ("1", "true", "yes", "on"):
        return True
    if lowered in ("0", "false", "no", "off"):
        return False
    raise ValueError


def _retries(text: str) -> int:
    value = int(text)
    if value < -1:
        raise ValueError
    return value


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 <= value < 1e9:
        raise ValueError
    return value


def _some_seconds(text: str) -> float:
    value = _seconds(text)
    if not value:
        raise ValueError
    return value


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise ValueError
    return value


def _count(text: str) -> int:
    value = int(text)
    if value < 0:
        raise ValueError
    return value


def _port(text: str) -> int:
    value = int(text)
    if not 0 <= value <= 65535:
        raise ValueError
    return value


def _pattern(text: str) -> str:
    import re  # late: only for those who filter log lines

    try:
        re.compile(text)
    except re.error as wrong:
        raise ValueError from wrong
    return text


def _auth(text: str) -> str:
    if text not in ("token", "none"):
        raise ValueError
    return text


def _json_object(text: str) -> dict[str, Any]:
    import json

    value = json.loads(text)
    if not isinstance(value, dict):
        raise ValueError  # noqa: TRY004 - the callers turn ValueError into the message
    return value


#: Set by a raylet for the workers of one environment: what it adds to the job's, as JSON, for their own children to inherit.
WORKER_ENVIRONMENT: Final = "MANTA_WORKER_ENVIRONMENT"

#: What of a runtime environment is not variables travels as variables too, which a worker reads and takes away when it starts:
#: each of the first two holds a JSON list, see `core.options.environments`.
WORKING_DIR: Final = "MANTA_RUNTIME_ENV_WORKING_DIR"
PY_MODULES: Final = "MANTA_RUNTIME_ENV_PY_MODULES"
SETUP_TIMEOUT: Final = "MANTA_RUNTIME_ENV_SETUP_TIMEOUT_S"

_YES_NO = "1 or 0"

_TABLE = (
    Variable("ADDRESS", None, "an address", str, "The cluster that init() joins when it is told none, or 'auto'."),
    Variable("TOKEN", None, "a token", str, "What a driver outside shows a gateway; a secret."),
    Variable("TOKEN_FILE", None, "a file's path", str, "The file that holds that token."),
    Variable("CA_FILE", None, "a file's path", str, "The authorities by which a gateway has to prove who it is, PEM."),
    Variable("TLS", True, _YES_NO, _flag, "Gateways are spoken to by TLS; 0 for a cluster that was started without."),
    Variable(
        "AUTH", "token", "'token' or 'none'", _auth, "What gateways want to be shown; 'none' where they ask nobody."
    ),
    Variable(
        "CLUSTER_WAIT_S",
        0.0,
        "a number of seconds",
        _seconds,
        "How long init() waits for a gateway that does not listen yet: for programs that are started beside their cluster.",
    ),
    Variable("NAMESPACE", None, "a name", str, "The namespace of named actors when init() is told none."),
    Variable(
        "JOB_CONFIG_JSON_ENV_VAR",
        None,
        "a JSON object",
        _json_object,
        "Runtime environment and namespace of a submitted job, set by who submits it.",
    ),
    Variable(
        "OVERRIDE_JOB_RUNTIME_ENV",
        False,
        _YES_NO,
        _flag,
        "Where a submitted job's environment and that of its init() say different things, init() wins.",
    ),
    Variable(
        "TASK_MAX_RETRIES",
        3,
        "-1 (without end), 0 or a positive integer",
        _retries,
        "How often a task that says nothing of its own is run again after a crash. Read at every call.",
    ),
    Variable("ENABLE_AUTO_CONNECT", True, _YES_NO, _flag, "Calls that need a cluster start one when there is none."),
    Variable("LOG_TO_DRIVER", True, _YES_NO, _flag, "Workers' output is shown on the driver."),
    Variable("COLOR_PREFIX", True, _YES_NO, _flag, "The prefix of a forwarded line is coloured."),
    Variable("DISABLE_WORKER_LOG_PREFIX", False, _YES_NO, _flag, "Forwarded lines come without their prefix."),
    Variable("DEDUP_LOGS", True, _YES_NO, _flag, "Lines that several workers repeat are shown once, with a count."),
    Variable("DEDUP_LOGS_AGG_WINDOW_S", 5.0, "a number of seconds", _seconds, "How long repeated lines are gathered."),
    Variable("DEDUP_LOGS_ALLOW_REGEX", None, "a regular expression", _pattern, "Lines that are never gathered."),
    Variable("DEDUP_LOGS_SKIP_REGEX", None, "a regular expression", _pattern, "Lines that are never shown."),
    Variable("IGNORE_UNHANDLED_ERRORS", False, _YES_NO, _flag, "Failed results that nobody asked for stay unsaid."),
    Variable(
        "enable_infeasible_task_early_exit",
        False,
        _YES_NO,
        _flag,
        "Tasks and actors that no node can ever take fail, rather than wait for a node that can.",
    ),
    Variable("TMPDIR", None, "a directory", str, "Where the directory of a local cluster is made."),
    Variable("AUTH_TOKEN", None, "a token", str, "The cluster's token."),
    Variable("AUTH_TOKEN_PATH", None, "a file", str, "The file that holds the cluster's token."),
    Variable(
        "memory_usage_threshold",
        0.95,
        "a share, 0 to 1",
        _share,
        "Share of the node's memory above which workers are killed to save the node.",
    ),
    Variable(
        "worker_register_timeout_seconds",
        60.0,
        "a positive number of seconds",
        _some_seconds,
        "How long a worker may take from being asked for until it is ready; one that takes longer is ended.",
    ),
    Variable(
        "node_silence_seconds",
        10.0,
        "a positive number of seconds",
        _some_seconds,
        "A node that control has not heard of for so long is dead; nodes say something every second. Read by control.",
    ),
    Variable(
        "memory_monitor_refresh_ms",
        250,
        "a number of milliseconds, 0 turns it off",
        _count,
        "How often the node's memory is looked at.",
    ),
    Variable("metrics_port", None, "a TCP port, 0 for any", _port, "Where a raylet tells its health and metrics."),
    Variable("control_metrics_port", None, "a TCP port, 0 for any", _port, "Where control tells its own."),
    Variable("gateway_metrics_port", None, "a TCP port, 0 for any", _port, "Where a gateway tells its own."),
    Variable("dashboard_metrics_port", None, "a TCP port, 0 for any", _port, "Where the dashboard tells its own."),
    Variable("metrics_token_path", None, "a file", str, "The file that holds a token with which metrics can be seen."),
)

#: Every variable by its name without prefix.
VARIABLES: Final[Mapping[str, Variable]] = {variable.name: variable for variable in _TABLE}


def env(name: str, environ: Mapping[str, str] | None = None) -> str | None:
    """Text of a variable under either prefix, whether the table knows it or not; None if it is unset.

    An empty MANTA_ variable counts as set: that is how a program switches a RAY_ one off.
    """
    environ = os.environ if environ is None else environ
    for prefix in PREFIXES:
        text = environ.get(prefix + name)
        if text is not None:
            return text
    return None


def setting(name: str, environ: Mapping[str, str] | None = None) -> Any:
    """Value of a variable of the table; its default if it is unset or empty.

    Raises:
        SettingError: It holds something that it may not.
        KeyError: The table has no such variable.
    """
    variable = VARIABLES[name]
    text = env(name, environ)
    if text is None or text == "":
        return variable.default
    return _parse(variable, text, environ)


def check_settings(environ: Mapping[str, str] | None = None) -> None:
    """Read all variables, so that `init()` can refuse garbage before anything is started.

    Raises:
        SettingError: See `setting`; of the first bad one.
    """
    for name in VARIABLES:
        setting(name, environ)


def _parse(variable: Variable, text: str, environ: Mapping[str, str] | None) -> object:
    try:
        return variable.read(text)
    except (ValueError, OverflowError):
        environ = os.environ if environ is None else environ
        prefix = next((prefix for prefix in PREFIXES if environ.get(prefix + variable.name) is not None), PREFIXES[0])
        shown = "..." if "TOKEN" in variable.name else text
        raise SettingError(prefix + variable.name, shown, variable.expected) from None


# --- the one that is read for every call ------------------------------------------------------------------------------

# A look-up of an unset name in os.environ raises and catches a KeyError inside, 1.5 us, and there are two of them for
# every `.remote()`. The dictionary of encoded names behind it answers in 0.1 us. Where it is missing (it is private to
# the standard library, and has other keys on Windows), the slow way is taken.
_encoded: Mapping[Any, Any] = getattr(os.environ, "_data", {})
_fast = os.name == "posix" and isinstance(_encoded, dict)
_RETRY_KEYS = (b"MANTA_TASK_MAX_RETRIES", b"RAY_TASK_MAX_RETRIES")


def default_max_retries() -> int:
    """How often a task that says nothing of its own is run again after a crash; -1 is without end.

    Raises:
        SettingError: The environment says something else than a number from -1 up.
    """
    if _fast and _RETRY_KEYS[0] not in _encoded and _RETRY_KEYS[1] not in _encoded:
        return 3
    value: int = setting("TASK_MAX_RETRIES")
    return value
