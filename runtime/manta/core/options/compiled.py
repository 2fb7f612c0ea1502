"""Options as the engine reads them: checked, with every default filled in, and what follows from them worked out."""

from __future__ import annotations

from manta.core.frozen import Frozen
from manta.core.options import environments
from manta.core.options.not_built import refuse_not_built
from manta.core.options.placing import check_group, group_of, says_where, strategy_of
from manta.core.options.table import ACTOR, METHOD, METHOD_CALL, TASK, check_known
from manta.core.resources import CPU, MEMORY, OBJECT_STORE_MEMORY, UNIT, ResourceSet, request
from manta.core.strategy import Strategy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Final

    #: What a scheduling decision depends on: tasks of one key may share a lease.
    SchedulingKey = tuple[tuple[tuple[str, int], ...], Strategy, tuple[tuple[str, str], ...]]

#: `num_returns` of a generator whose values become refs one by one.
STREAMING: Final = -1

#: `max_concurrency` of an actor with async methods that says nothing of its own.
ASYNC_CONCURRENCY: Final = 1000

_NOTHING: Mapping[str, Any] = {}


class TaskOptions(Frozen):
    """Options of a remote function.

    Attributes:
        given: What the user wrote, decorator and `.options()` merged. Not to be changed.
        resources: What a call asks for.
        num_returns: Number of refs, or STREAMING.
        max_retries: How often a crash is retried, -1 without end; None: what the environment says at each call.
        retry_exceptions: Whether exceptions of user code are retried,
        retry_on: and which ones: these classes and their subclasses; empty is all.
        max_calls: After how many calls of the function its process ends; 0 is never.
        name: Shown instead of the function's name.
        env_vars: The worker's environment as variables, by name, in order; see `environments`.
        strategy: On which nodes it may run, and which are better.
        scheduling_key: Tasks of one key may share a lease.
        backpressure: How many unread values a generator may have; -1 is any.
        objects_per_yield: Private: how many refs one `yield` makes.
        enable_task_events: Whether the state API hears of the calls.
        labels: Shown by the state API.
        captures: The placement group in which its children run too; empty for none.
        own_place: The user said where it runs: no group captures it.
    """

    __slots__ = (
        "backpressure",
        "captures",
        "enable_task_events",
        "env_vars",
        "given",
        "labels",
        "max_calls",
        "max_retries",
        "name",
        "num_returns",
        "objects_per_yield",
        "own_place",
        "resources",
        "retry_exceptions",
        "retry_on",
        "scheduling_key",
        "strategy",
    )

    given: Mapping[str, Any]
    resources: ResourceSet
    num_returns: int
    max_retries: int | None
    retry_exceptions: bool
    retry_on: tuple[type[Exception], ...]
    max_calls: int
    name: str | None
    env_vars: tuple[tuple[str, str], ...]
    strategy: Strategy
    scheduling_key: SchedulingKey
    backpressure: int
    objects_per_yield: int
    enable_task_events: bool
    labels: tuple[tuple[str, str], ...]
    captures: bytes
    own_place: bool

    __hash__ = None  # type: ignore[assignment]  # `given` is a dict


class ActorOptions(Frozen):
    """Options of an actor class.

    Attributes:
        given: What the user wrote, decorator and `.options()` merged. Not to be changed.
        resources: What the actor holds for life.
        placement: What a node must have free to take it: more than it holds when the user named no resource.
        max_restarts: How often it is started again after a crash, -1 without end.
        max_task_retries: How often a call is run again after a crash, -1 without end.
        max_concurrency: How many calls run at a time: coroutines for async actors, else threads.
        name: Its name, unique in its namespace; or None.
        namespace: Of the name; None is the job's.
        detached: Lives on without handles and without its creator.
        get_if_exists: Use the actor that has the name, if there is one.
        max_pending_calls: How many calls of a handle may be pending; -1 is any.
        out_of_order: Calls of one caller may overtake each other.
        concurrency_groups: Name and width of each.
        env_vars: As for tasks.
        strategy: As for tasks.
        scheduling_key: As for tasks, of the placement.
        generator_backpressure: Unread values that all its generators may have; -1 is any.
        enable_task_events: As for tasks.
        labels: As for tasks.
        captures: As for tasks.
        own_place: As for tasks.
    """

    __slots__ = (
        "captures",
        "concurrency_groups",
        "detached",
        "enable_task_events",
        "env_vars",
        "generator_backpressure",
        "get_if_exists",
        "given",
        "labels",
        "max_concurrency",
        "max_pending_calls",
        "max_restarts",
        "max_task_retries",
        "name",
        "namespace",
        "out_of_order",
        "own_place",
        "placement",
        "resources",
        "scheduling_key",
        "strategy",
    )

    given: Mapping[str, Any]
    resources: ResourceSet
    placement: ResourceSet
    max_restarts: int
    max_task_retries: int
    max_concurrency: int
    name: str | None
    namespace: str | None
    detached: bool
    get_if_exists: bool
    max_pending_calls: int
    out_of_order: bool
    concurrency_groups: tuple[tuple[str, int], ...]
    env_vars: tuple[tuple[str, str], ...]
    strategy: Strategy
    scheduling_key: SchedulingKey
    generator_backpressure: int
    enable_task_events: bool
    labels: tuple[tuple[str, str], ...]
    captures: bytes
    own_place: bool

    __hash__ = None  # type: ignore[assignment]  # `given` is a dict


class MethodOptions(Frozen):
    """Options of an actor's method.

    Attributes:
        given: What the user wrote, decorator and `.options()` merged. Not to be changed.
        num_returns: As for tasks.
        max_task_retries: How often a call is run again after a crash, -1 without end; None: as the actor says.
        retry_exceptions: As for tasks.
        retry_on: As for tasks.
        concurrency_group: Where it runs; None is the default group.
        name: Shown instead of `Class.method`.
        backpressure: As for tasks.
        objects_per_yield: As for tasks.
        enable_task_events: Whether the state API hears of the calls; None: as the actor says.
        labels: As for tasks.
    """

    __slots__ = (
        "backpressure",
        "concurrency_group",
        "enable_task_events",
        "given",
        "labels",
        "max_task_retries",
        "name",
        "num_returns",
        "objects_per_yield",
        "retry_exceptions",
        "retry_on",
    )

    given: Mapping[str, Any]
    num_returns: int
    max_task_retries: int | None
    retry_exceptions: bool
    retry_on: tuple[type[Exception], ...]
    concurrency_group: str | None
    name: str | None
    backpressure: int
    objects_per_yield: int
    enable_task_events: bool | None
    labels: tuple[tuple[str, str], ...]

    __hash__ = None  # type: ignore[assignment]  # `given` is a dict


# --- builders ---------------------------------------------------------------------------------------------------------


def task_options(
    given: Mapping[str, Any] = _NOTHING, *, over: Mapping[str, Any] | None = None, is_generator: bool = False
) -> TaskOptions:
    """Options of a function.

    Args:
        given: The decorator's.
        over: Those of `.options()`, which win; None outside of it.
        is_generator: Whether the function is a generator.

    Raises:
        TypeError: An option has a wrong type.
        ValueError: It has a bad value, is unknown, or can't be set in `.options()`.
        NotImplementedError: It is not built yet.
    """
    check_known(given, TASK, "remote functions")
    if over is None:
        over = _NOTHING
    else:
        check_known(over, TASK, "remote functions")
        if "max_calls" in over:
            raise ValueError("Setting 'max_calls' is not supported in '.options()'.")
        if over.get("_num_objects_per_yield") not in (None, given.get("_num_objects_per_yield") or 1):
            raise ValueError(
                "_num_objects_per_yield cannot be overridden per task call. "
                "Use @ray.remote(_num_objects_per_yield=...) instead."
            )
    merged = {**given, **over}
    check_group(merged)
    _check_generator(merged.get("num_returns"), is_generator)
    refuse_not_built(merged)
    num_cpus = merged.get("num_cpus")
    resources = request(
        num_cpus=1 if num_cpus is None else num_cpus,
        num_gpus=merged.get("num_gpus"),
        memory=merged.get("memory"),
        resources=merged.get("resources"),
        accelerator_type=merged.get("accelerator_type"),
    )
    max_calls = merged.get("max_calls")
    if max_calls is None:
        # A process that used a GPU keeps its context, and with it the device's memory, until it ends.
        max_calls = 1 if merged.get("num_gpus") else 0
    retry, retry_on = _retries(merged.get("retry_exceptions"))
    strategy, env_vars = strategy_of(merged), _env_vars(merged)
    group = group_of(merged)
    if group is not None:
        group.group.check(resources, resources, group.index, f"the task {merged.get('name') or ''}".rstrip())
        resources = ResourceSet(group.group.amounts(resources, group.index))
    return TaskOptions(
        given=merged,
        resources=resources,
        num_returns=_num_returns(merged.get("num_returns"), is_generator),
        max_retries=merged.get("max_retries"),
        retry_exceptions=retry,
        retry_on=retry_on,
        max_calls=max_calls,
        name=merged.get("name") or None,
        env_vars=env_vars,
        strategy=strategy,
        scheduling_key=(resources.key, strategy, env_vars),
        backpressure=merged.get("_generator_backpressure_num_objects") or -1,
        objects_per_yield=merged.get("_num_objects_per_yield") or 1,
        enable_task_events=merged.get("enable_task_events", True),
        labels=_labels(merged),
        captures=group.captures if group is not None else b"",
        own_place=says_where(merged),
    )


def actor_options(
    given: Mapping[str, Any] = _NOTHING, *, over: Mapping[str, Any] | None = None, is_async: bool = False
) -> ActorOptions:
    """Options of an actor class.

    Args:
        given: The decorator's.
        over: Those of `.options()`, which win; None outside of it.
        is_async: Whether the class has async methods.

    Raises:
        TypeError: An option has a wrong type.
        ValueError: It has a bad value, is unknown, contradicts another, or can't be set in `.options()`.
        NotImplementedError: It is not built yet.
    """
    check_known(given, ACTOR, "actors")
    if over is None:
        over = _NOTHING
    else:
        check_known(over, ACTOR, "actors")
        if "concurrency_groups" in over:
            raise ValueError("Setting 'concurrency_groups' is not supported in '.options()'.")
    merged = {**given, **over}
    if merged.get("get_if_exists") and not merged.get("name"):
        raise ValueError("The actor name must be specified to use `get_if_exists`.")
    check_group(merged)
    max_concurrency = merged.get("max_concurrency")
    if max_concurrency is None:
        max_concurrency = ASYNC_CONCURRENCY if is_async else 1
    out_of_order = merged.get("allow_out_of_order_execution")
    if out_of_order is None:
        out_of_order = is_async or max_concurrency > 1
    elif not out_of_order and (is_async or max_concurrency > 1):
        raise ValueError(
            f"If you're using {'async' if is_async else 'multi-threaded'} actors, Ray can't execute actor tasks in order. "
            "Set `allow_out_of_order_execution=True` to allow out-of-order execution."
        )
    refuse_not_built(merged)
    resources, placement = _actor_resources(merged)
    strategy, env_vars = strategy_of(merged), _env_vars(merged)
    group = group_of(merged)
    if group is not None:
        group.group.check(resources, placement, group.index, "the actor")
        resources, placement = (
            ResourceSet(group.group.amounts(wanted, group.index)) for wanted in (resources, placement)
        )
    max_pending_calls = merged.get("max_pending_calls")
    return ActorOptions(
        given=merged,
        resources=resources,
        placement=placement,
        max_restarts=merged.get("max_restarts") or 0,
        max_task_retries=merged.get("max_task_retries") or 0,
        max_concurrency=max_concurrency,
        name=merged.get("name"),
        namespace=merged.get("namespace"),
        detached=merged.get("lifetime") == "detached",
        get_if_exists=merged.get("get_if_exists", False),
        max_pending_calls=-1 if max_pending_calls is None else max_pending_calls,
        out_of_order=out_of_order,
        concurrency_groups=tuple((merged.get("concurrency_groups") or {}).items()),
        env_vars=env_vars,
        strategy=strategy,
        scheduling_key=(placement.key, strategy, env_vars),
        generator_backpressure=merged.get("_actor_generator_backpressure_num_objects") or -1,
        enable_task_events=merged.get("enable_task_events", True),
        labels=_labels(merged),
        captures=group.captures if group is not None else b"",
        own_place=says_where(merged),
    )


def method_options(
    given: Mapping[str, Any] = _NOTHING, *, over: Mapping[str, Any] | None = None, is_generator: bool = False
) -> MethodOptions:
    """Options of an actor's method.

    Args:
        given: Those of `@method`.
        over: Those of `.options()`, which win; None outside of it.
        is_generator: Whether the method is a generator, async ones included.

    Raises:
        AssertionError: `@method` was given an unknown option.
        TypeError: An option has a wrong type.
        ValueError: It has a bad value, is unknown, or can't be set in `.options()`.
        NotImplementedError: It is not built yet.
    """
    for name in given:
        if name not in METHOD:
            raise AssertionError(
                f"Unexpected keyword argument to @ray.method: '{name}'. "
                f"The supported keyword arguments are {list(METHOD)}"
            )
    check_known(given, METHOD, "actor methods")
    if over is None:
        over = _NOTHING
    else:
        if "_num_objects_per_yield" in over:
            raise ValueError(
                "_num_objects_per_yield cannot be overridden per actor method call. "
                "Use @ray.method(_num_objects_per_yield=...) instead."
            )
        check_known(over, METHOD_CALL, "actor methods")
    merged = {**given, **over}
    _check_generator(merged.get("num_returns"), is_generator)
    refuse_not_built(merged)
    retry, retry_on = _retries(merged.get("retry_exceptions"))
    return MethodOptions(
        given=merged,
        num_returns=_num_returns(merged.get("num_returns"), is_generator),
        max_task_retries=merged.get("max_task_retries"),
        retry_exceptions=retry,
        retry_on=retry_on,
        concurrency_group=merged.get("concurrency_group"),
        name=merged.get("name") or None,
        backpressure=merged.get("_generator_backpressure_num_objects") or -1,
        objects_per_yield=merged.get("_num_objects_per_yield") or 1,
        enable_task_events=merged.get("enable_task_events"),
        labels=_labels(merged),
    )


# --- rules ------------------------------------------------------------------------------------------------------------


def _actor_resources(merged: Mapping[str, Any]) -> tuple[ResourceSet, ResourceSet]:
    """What an actor holds, and what a node needs to take it.

    An actor whose creator named no resource (memory does not count) holds nothing but needs a free CPU to come to a
    node, so that a thousand idle actors fit and still spread. Naming any, even at zero, means that what was named is
    held, and one CPU unless num_cpus says otherwise.
    """
    wanted: dict[str, Any] = {
        name: merged.get(name) for name in ("num_cpus", "num_gpus", "memory", "resources", "accelerator_type")
    }
    named = any(wanted[name] is not None for name in ("num_cpus", "num_gpus", "accelerator_type"))
    if named or wanted["resources"]:
        if wanted["num_cpus"] is None:
            wanted["num_cpus"] = 1
        held = request(**wanted)
        return held, held
    held = request(**wanted).only(MEMORY, OBJECT_STORE_MEMORY)
    return held, held + ResourceSet({CPU: UNIT})


def _check_generator(num_returns: object, is_generator: bool) -> None:
    if num_returns in ("streaming", "dynamic") and not is_generator:
        raise ValueError(
            f"num_returns='{num_returns}' can only be used with generator functions (functions that use 'yield'). "
            "The decorated function is not a generator function."
        )


def _num_returns(given: int | str | None, is_generator: bool) -> int:
    if given is None:
        return STREAMING if is_generator else 1
    return given if isinstance(given, int) else STREAMING


def _retries(given: Any) -> tuple[bool, tuple[type[Exception], ...]]:
    """Whether user exceptions are retried, and which; an empty list means all, as True does."""
    if given is None or isinstance(given, bool):
        return bool(given), ()
    return True, tuple(given)


def _env_vars(merged: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    return environments.variables(merged.get("runtime_env"))


def _labels(merged: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((merged.get("_labels") or {}).items()))
