"""Which options there are, what each may hold, and how a wrong one is refused.

Types are checked first (TypeError), then values (ValueError); unknown names are a ValueError that lists the known ones.
The texts are Ray's, where it has one: programs and tests match them.
"""

from __future__ import annotations

from manta.core.options.environments import RESERVED, check_folders
from manta.core.resources import custom_resources, show_number, to_fixed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any

    #: Says what is wrong with a value of the right type, or raises; None if nothing is.
    Check = Callable[[Any], str | None]

NoneType = type(None)

#: Largest count an option may hold: what every wire and database takes.
LARGEST_COUNT = (1 << 31) - 1

#: Most results of one task: each is a ref in the owner's memory from the moment of the call.
MOST_RETURNS = 1_000_000

#: Longest name of an actor, a task or a namespace, in characters.
LONGEST_NAME = 4096


class Option:
    """One option.

    Attributes:
        types: What it may be an instance of. A bool counts as an int only where bool is listed too.
        check: What else must hold.
    """

    __slots__ = ("check", "types")

    def __init__(self, *types: type, check: Check | None = None) -> None:
        self.types = types
        self.check = check

    def validate(self, name: str, value: object) -> None:
        """Raise TypeError or ValueError for a value that the option may not hold."""
        types = self.types
        if types and (not isinstance(value, types) or (isinstance(value, bool) and bool not in types)):
            shown = types[0] if len(types) == 1 else types
            raise TypeError(f"The type of keyword '{name}' must be {shown}, but received type {type(value)}")
        if self.check is not None and value is not None:
            wrong = self.check(value)
            if wrong:
                raise ValueError(wrong)


def suggestion(name: object, valid: Iterable[str]) -> str:
    """A sentence for a name that is nearly one of `valid`, else ''."""
    import difflib  # late: 8 ms, and only mistakes need it

    near = difflib.get_close_matches(str(name)[:64], list(valid), n=1, cutoff=0.7)
    return f" Did you mean '{near[0]}'?" if near else ""


def check_known(given: Mapping[str, object], table: Mapping[str, Option], what: str) -> None:
    """Raise for the first unknown name or bad value in `given`. `what` says whose options they are."""
    for name, value in given.items():
        option = table.get(name)
        if option is None:
            raise ValueError(
                f"Invalid option keyword {name} for {what}. Valid ones are {list(table)}.{suggestion(name, table)}"
            )
        option.validate(name, value)


# --- checks -----------------------------------------------------------------------------------------------------------


def _counting(name: str, *, infinite: bool = True) -> Option:
    def check(value: int) -> str | None:
        if value > LARGEST_COUNT:
            return f"The keyword '{name}' accepts at most {LARGEST_COUNT}. Got {show_number(value)}."
        if infinite and value < -1:
            return (
                f"The keyword '{name}' only accepts None, 0, -1 or a positive integer, where -1 represents infinity."
                f" Got {show_number(value)}."
            )
        if not infinite and value < 0:
            return f"The keyword '{name}' only accepts None, 0 or a positive integer. Got {show_number(value)}."
        return None

    return Option(int, NoneType, check=check)


def _quantity(name: str) -> Option:
    def check(value: float) -> None:
        to_fixed(name, value)

    return Option(float, int, NoneType, check=check)


def _check_resources(value: dict[str, float]) -> None:
    custom_resources(value)


def _check_num_returns(value: int | str) -> str | None:
    if value in ("streaming", "dynamic") or (isinstance(value, int) and 0 <= value <= MOST_RETURNS):
        return None
    if isinstance(value, int) and value > MOST_RETURNS:
        return (
            f"num_returns must be at most {MOST_RETURNS}, but got {show_number(value)}. Return one list, or yield the values "
            "with num_returns='streaming'."
        )
    return (
        "Default None. When None is passed, The default value is 1 for a task and actor task, and 'streaming' for "
        "generator tasks and generator actor tasks. The keyword 'num_returns' only accepts None, a non-negative integer, "
        "'streaming' (for generators), or 'dynamic'. 'dynamic' flag will be deprecated in the future, and it is "
        f"recommended to use 'streaming' instead. num_returns must be >= 0, but got "
        f"{show_number(value) if isinstance(value, int) else repr(value[:100])}."
    )


def _check_retry_exceptions(value: object) -> str | None:
    if isinstance(value, bool):
        return None
    if all(isinstance(kind, type) and issubclass(kind, Exception) for kind in value):  # type: ignore[attr-defined]
        return None
    return "retry_exceptions must be either a boolean or a list of exceptions"


def _check_backpressure(value: int) -> str | None:
    if value > 0 or value == -1:
        return None
    return (
        f"_generator_backpressure_num_objects={value} is not allowed. Use a value > 0. If the value is equal to 1, the "
        "behavior is identical to Python generator (generator 1 object whenever `next` is called). "
        "Use -1 to disable this feature. "
    )


def _check_actor_backpressure(value: int) -> str | None:
    if value > 0 or value == -1:
        return None
    return (
        "_actor_generator_backpressure_num_objects must be > 0 to cap the actor's total unconsumed generator objects, "
        f"or -1 to disable. Got {value}."
    )


def _check_objects_per_yield(value: int) -> str | None:
    if value > 0:
        return None
    return "_num_objects_per_yield is a private streaming generator option that must be set to a positive integer."


def _refuse_object_store_memory(_value: object) -> str:
    return "Setting 'object_store_memory' is not implemented for tasks"


def _check_lifetime(value: str) -> str | None:
    if value in ("detached", "non_detached"):
        return None
    return f"actor `lifetime` argument must be one of 'detached', 'non_detached' and 'None'. Got {value!r:.100}."


def _not_a_name(what: str, value: str) -> str | None:
    if len(value) > LONGEST_NAME:
        return f"{what} of {len(value)} characters is too long; it may have {LONGEST_NAME}, and begins with {value[:60]!r}."
    try:
        value.encode()
    except UnicodeEncodeError as wrong:
        return f"{what} {value!r:.100} is no text: {wrong.reason} at {wrong.start}."
    return None


def _check_name(value: str) -> str | None:
    return _not_a_name("A task name", value)


def _check_actor_name(value: str) -> str | None:
    return _not_a_name("An actor name", value) if value else "Actor name cannot be an empty string."


def _check_namespace(value: str) -> str | None:
    if not value:
        return '"" is not a valid namespace. Pass None to not specify a namespace.'
    return _not_a_name("A namespace", value)


def _check_selector(value: dict[str, str]) -> str | None:
    from manta.core.labels import wrong_selector  # late: few programs need it

    return wrong_selector(value)


def _check_fallback(value: list[Any]) -> str | None:
    from manta.core.labels import wrong_fallback

    return wrong_fallback(value)


def _check_strategy(value: object) -> str | None:
    if isinstance(value, str) and value not in ("DEFAULT", "SPREAD"):
        return (
            f"Invalid scheduling_strategy value {value:.100}. Valid values are "
            '["DEFAULT" | "SPREAD" | PlacementGroupSchedulingStrategy | NodeAffinitySchedulingStrategy]'
        )
    if not isinstance(value, str) and not hasattr(type(value), "_strategy"):
        raise TypeError(
            "The type of keyword 'scheduling_strategy' must be None, a str or a scheduling strategy, "
            f"but received type {type(value)}"
        )
    return None


def _check_concurrency(value: int) -> str | None:
    if 1 <= value <= LARGEST_COUNT:
        return None
    # Ray takes 0, and the actor then never answers.
    return f"The keyword 'max_concurrency' only accepts None or a positive integer. Got {show_number(value)}."


def _check_concurrency_groups(value: dict[Any, Any] | list[Any]) -> str | None:
    if isinstance(value, dict):
        for name, width in value.items():
            if not isinstance(name, str) or isinstance(width, bool) or not isinstance(width, int):
                raise TypeError(
                    "The keyword 'concurrency_groups' maps names to numbers of threads or coroutines, "
                    f"but received {name!r:.100}: {width!r:.100}"
                )
            if width < 1:
                return f"The concurrency group '{name}' must allow at least 1 call at a time, got {width}."
    return None


#: Every field of a runtime environment.
RUNTIME_ENV_FIELDS = (
    "working_dir",
    "py_modules",
    "excludes",
    "pip",
    "uv",
    "conda",
    "env_vars",
    "container",
    "image_uri",
    "py_executable",
    "worker_process_setup_hook",
    "config",
    "nsight",
    "rocprof-sys",
    "java_jars",
)


#: Linux's MAX_ARG_STRLEN, less "=" and the NUL at the end.
MAX_VARIABLE_BYTES = 128 * 1024 - 2


def check_runtime_env(value: dict[str, Any]) -> str | None:
    """What is wrong with a runtime environment, if anything. Raises TypeError for wrong types in it."""
    for name in value:
        if name not in RUNTIME_ENV_FIELDS:
            return (
                f"runtime_env has no field {name!r:.100}. Valid ones are {list(RUNTIME_ENV_FIELDS)}."
                f"{suggestion(name, RUNTIME_ENV_FIELDS)}"
            )
    variables = value.get("env_vars")
    if variables is None:
        return check_folders(value)
    promise = "runtime_env['env_vars'] must be of type Dict[str, str],"
    if not isinstance(variables, dict):
        raise TypeError(f"{promise} got {type(variables)}")
    for name, text in variables.items():
        if not isinstance(name, str):
            raise TypeError(f"{promise} but the key {name!r:.100} is of type {type(name)}")
        if not isinstance(text, str):
            raise TypeError(f"{promise} but the value {text!r:.100} is of type {type(text)}")
        if name in RESERVED:
            return f"runtime_env['env_vars'] holds {name!r}, which is not for programs to set."
        if not name or "=" in name or "\0" in name or "\0" in text:
            return f"runtime_env['env_vars'] holds {name!r:.100}, which no process can have as an environment variable."
        try:
            size = len(name.encode()) + len(text.encode())
        except UnicodeEncodeError:
            return (
                f"runtime_env['env_vars'] holds {name!r:.100} with half a character (a lone surrogate): use whole text."
            )
        if size > MAX_VARIABLE_BYTES:
            return (
                f"runtime_env['env_vars'] holds {name!r:.100} with {size} bytes, name included; the kernel starts no program "
                f"with more than {MAX_VARIABLE_BYTES} in one variable. Pass large values as arguments, or with put()."
            )
    return check_folders(value)


# --- tables -----------------------------------------------------------------------------------------------------------

COMMON: Mapping[str, Option] = {
    "label_selector": Option(dict, NoneType, check=_check_selector),
    "fallback_strategy": Option(list, NoneType, check=_check_fallback),
    "accelerator_type": Option(str, NoneType),
    "memory": _quantity("memory"),
    "name": Option(str, NoneType, check=_check_name),
    "num_cpus": _quantity("num_cpus"),
    "num_gpus": _quantity("num_gpus"),
    "object_store_memory": _counting("object_store_memory", infinite=False),
    "placement_group": Option(),
    "placement_group_bundle_index": Option(int),
    "placement_group_capture_child_tasks": Option(bool, NoneType),
    "resources": Option(dict, NoneType, check=_check_resources),
    "runtime_env": Option(dict, NoneType, check=check_runtime_env),
    "scheduling_strategy": Option(check=_check_strategy),
    "enable_task_events": Option(bool),
    "_labels": Option(dict, NoneType),
}

TASK: Mapping[str, Option] = {
    **COMMON,
    "object_store_memory": Option(int, NoneType, check=_refuse_object_store_memory),
    "max_calls": _counting("max_calls", infinite=False),
    "max_retries": _counting("max_retries"),
    "num_returns": Option(int, str, NoneType, check=_check_num_returns),
    "retry_exceptions": Option(bool, list, tuple, check=_check_retry_exceptions),
    "_generator_backpressure_num_objects": Option(int, NoneType, check=_check_backpressure),
    "_num_objects_per_yield": Option(int, NoneType, check=_check_objects_per_yield),
}

ACTOR: Mapping[str, Option] = {
    **COMMON,
    "name": Option(str, NoneType, check=_check_actor_name),
    "concurrency_groups": Option(list, dict, NoneType, check=_check_concurrency_groups),
    "enable_tensor_transport": Option(bool, NoneType),
    "lifetime": Option(str, NoneType, check=_check_lifetime),
    "max_concurrency": Option(int, NoneType, check=_check_concurrency),
    "max_restarts": _counting("max_restarts"),
    "max_task_retries": _counting("max_task_retries"),
    "max_pending_calls": _counting("max_pending_calls"),
    "namespace": Option(str, NoneType, check=_check_namespace),
    "get_if_exists": Option(bool),
    "allow_out_of_order_execution": Option(bool, NoneType),
    "_actor_generator_backpressure_num_objects": Option(int, NoneType, check=_check_actor_backpressure),
}

METHOD: Mapping[str, Option] = {
    "num_returns": TASK["num_returns"],
    "concurrency_group": Option(str, NoneType),
    "max_task_retries": _counting("max_task_retries"),
    "retry_exceptions": Option(bool, list, tuple, NoneType, check=_check_retry_exceptions),
    "_generator_backpressure_num_objects": TASK["_generator_backpressure_num_objects"],
    "_num_objects_per_yield": TASK["_num_objects_per_yield"],
    "enable_task_events": Option(bool, NoneType),
    "tensor_transport": Option(str, NoneType),
}

#: For `.options()` of a method: what a single call may be given beside the decorator's options.
METHOD_CALL: Mapping[str, Option] = {**METHOD, "name": Option(str, NoneType), "_labels": Option(dict, NoneType)}

#: All names that `@remote(...)` knows, for its message.
REMOTE: Mapping[str, Option] = {**TASK, **ACTOR}
