"""Options of tasks, actors and methods. Texts were compared with Ray 2.60."""

import pickle

import pytest

from manta.core.options import (
    REMOTE_MISUSE,
    STREAMING,
    actor_options,
    method_options,
    task_options,
)
from manta.core.options.not_built import NOT_BUILT
from manta.core.options.table import ACTOR, COMMON, METHOD, METHOD_CALL, TASK
from manta.core.resources import ResourceSet
from manta.core.strategy import ANYWHERE

CPU = ResourceSet({"CPU": 10_000})


# --- tasks


def test_a_function_that_says_nothing_asks_for_one_cpu_and_returns_one_ref():
    options = task_options()

    assert {name: getattr(options, name) for name in options.__slots__} == {
        "given": {},
        "resources": CPU,
        "num_returns": 1,
        "max_retries": None,
        "retry_exceptions": False,
        "retry_on": (),
        "max_calls": 0,
        "name": None,
        "env_vars": (),
        "strategy": ANYWHERE,
        "scheduling_key": ((("CPU", 10_000),), ANYWHERE, ()),
        "backpressure": -1,
        "objects_per_yield": 1,
        "enable_task_events": True,
        "labels": (),
        "captures": b"",
        "own_place": False,
    }


def test_dot_options_win_over_the_decorators():
    options = task_options({"num_cpus": 2, "name": "a", "max_calls": 3}, over={"num_cpus": 0.5, "max_retries": 0})

    assert options.resources == ResourceSet({"CPU": 5_000})
    assert (options.name, options.max_retries, options.max_calls) == ("a", 0, 3)
    assert options.given == {"num_cpus": 0.5, "name": "a", "max_calls": 3, "max_retries": 0}


@pytest.mark.parametrize(
    ("given", "is_generator", "expected"),
    [
        ({}, False, 1),
        ({}, True, STREAMING),
        ({"num_returns": None}, True, STREAMING),
        ({"num_returns": "streaming"}, True, STREAMING),
        ({"num_returns": 0}, False, 0),
        ({"num_returns": 3}, True, 3),
        ({"num_returns": 3000}, False, 3000),
    ],
)
def test_num_returns(given, is_generator, expected):
    assert task_options(given, is_generator=is_generator).num_returns == expected
    assert method_options(given, is_generator=is_generator).num_returns == expected


@pytest.mark.parametrize("value", ["streaming", "dynamic"])
@pytest.mark.parametrize("make", [task_options, method_options])
def test_only_generators_stream(make, value):
    with pytest.raises(ValueError, match=f"num_returns='{value}' can only be used with generator functions"):
        make({"num_returns": value})
    with pytest.raises(ValueError, match="can only be used with generator functions"):
        make({}, over={"num_returns": value})


@pytest.mark.parametrize(
    ("given", "retry", "on"),
    [
        ({}, False, ()),
        ({"retry_exceptions": False}, False, ()),
        ({"retry_exceptions": True}, True, ()),
        ({"retry_exceptions": []}, True, ()),
        ({"retry_exceptions": [ValueError, KeyError]}, True, (ValueError, KeyError)),
        ({"retry_exceptions": (ValueError,)}, True, (ValueError,)),
    ],
)
@pytest.mark.parametrize("make", [task_options, method_options])
def test_retry_exceptions(make, given, retry, on):
    """An empty list retries everything, as True does."""
    options = make(given)

    assert (options.retry_exceptions, options.retry_on) == (retry, on)


def test_a_task_with_a_gpu_ends_its_process_unless_told_otherwise():
    """Else its CUDA context would hold the device's memory."""
    assert task_options({"num_gpus": 0.5}).max_calls == 1
    assert task_options({}, over={"num_gpus": 1}).max_calls == 1
    assert task_options({"num_gpus": 1, "max_calls": 0}).max_calls == 0
    assert task_options({"num_gpus": 0}).max_calls == 0


def test_tasks_of_one_resource_shape_strategy_and_environment_share_a_key():
    one = task_options({"num_cpus": 1, "runtime_env": {"env_vars": {"B": "2", "A": "1"}}})
    same = task_options({"name": "other", "runtime_env": {"env_vars": {"A": "1", "B": "2"}}})
    others = [
        task_options(),
        task_options({"num_cpus": 2, "runtime_env": {"env_vars": {"A": "1", "B": "2"}}}),
        task_options({"scheduling_strategy": "SPREAD", "runtime_env": {"env_vars": {"A": "1", "B": "2"}}}),
    ]

    assert one.scheduling_key == same.scheduling_key
    assert one.env_vars == (("A", "1"), ("B", "2"))
    assert len({one.scheduling_key, *(other.scheduling_key for other in others)}) == 4


# --- actors: what is held and what is needed to be placed


@pytest.mark.parametrize(
    ("given", "held", "placed"),
    [
        ({}, {}, {"CPU": 1}),
        ({"memory": 100}, {"memory": 100}, {"CPU": 1, "memory": 100}),
        ({"resources": {}}, {}, {"CPU": 1}),
        ({"num_cpus": 0}, {}, {}),
        ({"num_cpus": 1}, {"CPU": 1}, {"CPU": 1}),
        ({"num_cpus": 0.5}, {"CPU": 0.5}, {"CPU": 0.5}),
        ({"num_gpus": 1}, {"CPU": 1, "GPU": 1}, {"CPU": 1, "GPU": 1}),
        ({"num_gpus": 0}, {"CPU": 1}, {"CPU": 1}),
        ({"resources": {"x": 2}}, {"CPU": 1, "x": 2}, {"CPU": 1, "x": 2}),
        ({"resources": {"x": 0}}, {"CPU": 1}, {"CPU": 1}),
        ({"num_cpus": 0, "resources": {"x": 2}}, {"x": 2}, {"x": 2}),
        (
            {"accelerator_type": "A100"},
            {"CPU": 1, "accelerator_type:A100": 0.001},
            {"CPU": 1, "accelerator_type:A100": 0.001},
        ),
    ],
)
def test_an_actor_holds_nothing_and_needs_a_cpu_to_be_placed_unless_any_resource_was_named(given, held, placed):
    options = actor_options(given)

    assert options.resources.floats() == held
    assert options.placement.floats() == placed


def test_an_actor_class_that_says_nothing():
    options = actor_options()

    assert (options.max_restarts, options.max_task_retries, options.max_concurrency) == (0, 0, 1)
    assert (options.name, options.namespace, options.detached, options.get_if_exists) == (None, None, False, False)
    assert (options.max_pending_calls, options.out_of_order, options.concurrency_groups) == (-1, False, ())


@pytest.mark.parametrize(
    ("given", "is_async", "width", "out_of_order"),
    [
        ({}, False, 1, False),
        ({}, True, 1000, True),
        ({"max_concurrency": 3}, True, 3, True),
        ({"max_concurrency": 3}, False, 3, True),
        ({"allow_out_of_order_execution": True}, False, 1, True),
        ({"allow_out_of_order_execution": False}, False, 1, False),
    ],
)
def test_concurrency_and_order(given, is_async, width, out_of_order):
    options = actor_options(given, is_async=is_async)

    assert (options.max_concurrency, options.out_of_order) == (width, out_of_order)


@pytest.mark.parametrize(
    ("given", "is_async", "text"),
    [
        ({"allow_out_of_order_execution": False}, True, "async actors"),
        ({"allow_out_of_order_execution": False, "max_concurrency": 2}, False, "multi-threaded actors"),
    ],
)
def test_concurrent_actors_cannot_promise_order(given, is_async, text):
    with pytest.raises(ValueError, match=f"{text}.*can't execute actor tasks in order"):
        actor_options(given, is_async=is_async)


def test_names_and_lifetimes():
    options = actor_options({"name": "n"}, over={"namespace": "s", "lifetime": "detached", "get_if_exists": True})

    assert (options.name, options.namespace, options.detached, options.get_if_exists) == ("n", "s", True, True)
    assert not actor_options({"lifetime": "non_detached"}).detached


# --- methods


def test_a_method_that_says_nothing_leaves_retries_to_its_actor():
    options = method_options()

    assert (options.num_returns, options.max_task_retries, options.name, options.enable_task_events) == (
        1,
        None,
        None,
        None,
    )


def test_a_call_may_be_named_and_a_decorator_may_not():
    assert method_options({"num_returns": 2}, over={"name": "n"}).given == {"num_returns": 2, "name": "n"}
    with pytest.raises(AssertionError, match=r"Unexpected keyword argument to @ray.method: 'name'.*'num_returns'"):
        method_options({"name": "n"})


# --- refusals

COMMON_REFUSALS = [
    (
        {"num_cpus": "1"},
        TypeError,
        r"The type of keyword 'num_cpus' must be \(<class 'float'>, .*received type <class 'str'>",
    ),
    ({"num_cpus": True}, TypeError, "keyword 'num_cpus' must be .* received type <class 'bool'>"),
    ({"num_cpus": -1}, ValueError, "quantity of resource num_cpus cannot be negative"),
    ({"num_cpus": float("nan")}, ValueError, "num_cpus cannot be NaN"),
    ({"num_cpus": float("inf")}, ValueError, "num_cpus cannot be larger"),
    ({"num_gpus": 1e308}, ValueError, "num_gpus cannot be larger"),
    ({"num_gpus": 1.5}, ValueError, "must be whole numbers"),
    ({"num_cpus": 0.00001}, ValueError, "cannot go beyond 0.0001"),
    ({"memory": -1}, ValueError, "resource memory cannot be negative"),
    ({"memory": "1GB"}, TypeError, "keyword 'memory'"),
    ({"resources": [1]}, TypeError, "keyword 'resources' must be"),
    ({"resources": {"CPU": 1}}, ValueError, "Use the 'num_cpus' and 'num_gpus' keyword"),
    ({"resources": {"x": -1}}, ValueError, "resource x cannot be negative"),
    ({"accelerator_type": 3}, TypeError, "keyword 'accelerator_type'"),
    ({"accelerator_type": "a\nb"}, ValueError, "cannot be a resource's name"),
    ({"name": 3}, TypeError, "keyword 'name'"),
    ({"runtime_env": 3}, TypeError, "keyword 'runtime_env'"),
    ({"runtime_env": {"env_var": {}}}, ValueError, "no field 'env_var'.*Did you mean 'env_vars'"),
    ({"runtime_env": {"env_vars": [1]}}, TypeError, r"must be of type Dict\[str, str\], got <class 'list'>"),
    ({"runtime_env": {"env_vars": {"A": 1}}}, TypeError, "but the value 1 is of type <class 'int'>"),
    ({"runtime_env": {"env_vars": {1: "A"}}}, TypeError, "but the key 1 is of type <class 'int'>"),
    ({"runtime_env": {"env_vars": {"A=": "1"}}}, ValueError, "which no process can have"),
    ({"runtime_env": {"env_vars": {"A": "1\0"}}}, ValueError, "which no process can have"),
    ({"scheduling_strategy": "FOO"}, ValueError, "Invalid scheduling_strategy value FOO. Valid values are"),
    ({"scheduling_strategy": 3}, TypeError, "keyword 'scheduling_strategy'"),
    ({"enable_task_events": 3}, TypeError, "keyword 'enable_task_events' must be <class 'bool'>"),
    ({"placement_group_bundle_index": None}, TypeError, "keyword 'placement_group_bundle_index'"),
    (
        {"placement_group": object(), "scheduling_strategy": "SPREAD"},
        ValueError,
        "Placement groups should be specified via",
    ),
]
RETRY_REFUSALS = [
    ({"retry_exceptions": "x"}, TypeError, "keyword 'retry_exceptions' must be"),
    ({"retry_exceptions": ValueError}, TypeError, "keyword 'retry_exceptions' must be"),
    ({"retry_exceptions": [1]}, ValueError, "must be either a boolean or a list of exceptions"),
    ({"retry_exceptions": [KeyboardInterrupt]}, ValueError, "must be either a boolean or a list of exceptions"),
    ({"num_returns": -1}, ValueError, "num_returns must be >= 0, but got -1"),
    ({"num_returns": "foo"}, ValueError, "'num_returns' only accepts None, a non-negative integer"),
    ({"num_returns": 1.0}, TypeError, "keyword 'num_returns' must be"),
    ({"num_returns": True}, TypeError, "keyword 'num_returns' must be"),
    ({"_generator_backpressure_num_objects": 0}, ValueError, "_generator_backpressure_num_objects=0 is not allowed"),
    ({"_generator_backpressure_num_objects": -5}, ValueError, "=-5 is not allowed"),
    ({"_num_objects_per_yield": 0}, ValueError, "must be set to a positive integer"),
]


@pytest.mark.parametrize(
    ("given", "kind", "text"),
    [
        *COMMON_REFUSALS,
        *RETRY_REFUSALS,
        (
            {"max_retries": -2},
            ValueError,
            "'max_retries' only accepts None, 0, -1 or a positive integer, where -1 represents",
        ),
        ({"max_retries": 10**5000}, ValueError, "'max_retries' accepts at most 2147483647"),
        ({"max_retries": -(10**5000)}, ValueError, "'max_retries' only accepts None, 0, -1"),
        ({"num_returns": 10**12}, ValueError, "but got 1000000000000"),
        ({"max_retries": 1.0}, TypeError, "keyword 'max_retries'"),
        ({"max_calls": -1}, ValueError, "'max_calls' only accepts None, 0 or a positive integer"),
        ({"object_store_memory": 3}, ValueError, "Setting 'object_store_memory' is not implemented for tasks"),
        ({"foo": 1}, ValueError, "Invalid option keyword foo for remote functions. Valid ones are .*'max_retries'"),
        ({"nun_cpus": 1}, ValueError, r"Did you mean 'num_cpus'\?"),
        ({"max_restarts": 1}, ValueError, "Invalid option keyword max_restarts for remote functions"),
        ({"_metadata": {}}, ValueError, "Invalid option keyword _metadata"),
    ],
)
def test_bad_options_of_a_task(given, kind, text):
    for make in (lambda: task_options(given), lambda: task_options({}, over=given)):
        with pytest.raises(kind, match=text):
            make()


@pytest.mark.parametrize(
    ("given", "kind", "text"),
    [
        *COMMON_REFUSALS,
        ({"max_restarts": -2}, ValueError, "'max_restarts' only accepts None, 0, -1 or a positive integer"),
        ({"max_restarts": 1.5}, TypeError, "keyword 'max_restarts'"),
        ({"max_task_retries": -2}, ValueError, "'max_task_retries' only accepts"),
        ({"max_concurrency": -1}, ValueError, "'max_concurrency' only accepts None or a positive integer"),
        ({"max_concurrency": 0}, ValueError, "'max_concurrency' only accepts None or a positive integer. Got 0"),
        ({"max_pending_calls": -2}, ValueError, "'max_pending_calls' only accepts"),
        (
            {"lifetime": "forever"},
            ValueError,
            "`lifetime` argument must be one of 'detached', 'non_detached' and 'None'",
        ),
        ({"get_if_exists": True}, ValueError, "The actor name must be specified to use `get_if_exists`"),
        ({"get_if_exists": 1}, TypeError, "keyword 'get_if_exists' must be <class 'bool'>"),
        ({"name": ""}, ValueError, "Actor name cannot be an empty string"),
        ({"namespace": ""}, ValueError, '"" is not a valid namespace'),
        ({"namespace": 3}, TypeError, "keyword 'namespace'"),
        (
            {"num_returns": 1},
            ValueError,
            "Invalid option keyword num_returns for actors. Valid ones are .*'max_restarts'",
        ),
        ({"max_restart": 1}, ValueError, r"Did you mean 'max_restarts'\?"),
        ({"_actor_generator_backpressure_num_objects": 0}, ValueError, "must be > 0"),
    ],
)
def test_bad_options_of_an_actor(given, kind, text):
    for make in (lambda: actor_options(given), lambda: actor_options({}, over=given)):
        with pytest.raises(kind, match=text):
            make()


@pytest.mark.parametrize(
    ("groups", "kind", "text"),
    [
        (3, TypeError, "keyword 'concurrency_groups' must be"),
        ({"io": "2"}, TypeError, "maps names to numbers"),
        ({3: 2}, TypeError, "maps names to numbers"),
        ({"io": 0}, ValueError, "must allow at least 1 call at a time, got 0"),
    ],
)
def test_bad_concurrency_groups(groups, kind, text):
    with pytest.raises(kind, match=text):
        actor_options({"concurrency_groups": groups})


@pytest.mark.parametrize(
    ("given", "kind", "text"),
    [
        *RETRY_REFUSALS,
        ({"max_task_retries": -3}, ValueError, "'max_task_retries' only accepts"),
        ({"concurrency_group": 3}, TypeError, "keyword 'concurrency_group'"),
        ({"enable_task_events": 3}, TypeError, "keyword 'enable_task_events'"),
    ],
)
def test_bad_options_of_a_method(given, kind, text):
    with pytest.raises(kind, match=text):
        method_options(given)
    if "_num_objects_per_yield" not in given:
        with pytest.raises(kind, match=text):
            method_options({}, over=given)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: task_options({}, over={"max_calls": 1}), "Setting 'max_calls' is not supported in '.options\\(\\)'"),
        (
            lambda: actor_options({}, over={"concurrency_groups": {"io": 1}}),
            "Setting 'concurrency_groups' is not supported in '.options\\(\\)'",
        ),
        (lambda: task_options({}, over={"_num_objects_per_yield": 2}), "cannot be overridden per task call"),
        (lambda: method_options({}, over={"_num_objects_per_yield": 2}), "cannot be overridden per actor method call"),
        (
            lambda: method_options({}, over={"num_cpus": 2}),
            "Invalid option keyword num_cpus for actor methods. Valid ones",
        ),
    ],
)
def test_what_cannot_be_set_per_call(make, text):
    with pytest.raises(ValueError, match=text):
        make()


# --- what is not there yet


NOT_YET = {
    "runtime_env": {"pip": ["x"], "env_vars": {"A": "1"}},
    "enable_tensor_transport": True,
    "tensor_transport": "NCCL",
    "_actor_generator_backpressure_num_objects": 3,
    "num_returns": "dynamic",
}


def makers(option):
    """Everything that takes the option."""
    if option in TASK:
        yield lambda given: task_options(given, is_generator=True)
    if option in ACTOR:
        yield actor_options
    if option in METHOD:
        yield lambda given: method_options(given, is_generator=True)


@pytest.mark.parametrize("option", NOT_YET)
def test_an_option_that_nothing_acts_on_says_so_by_name(option):
    for make in makers(option):
        with pytest.raises(NotImplementedError, match=f"'{option}' cannot be used yet"):
            make({option: NOT_YET[option]})


def test_every_unbuilt_option_is_a_known_one_and_is_tried_above():
    from manta.core.options.init import ARGUMENTS

    known = {*TASK, *ACTOR, *METHOD_CALL, *ARGUMENTS}
    assert {name for name, _, _ in NOT_BUILT} <= known
    assert {name for name, _, _ in NOT_BUILT if name not in ARGUMENTS or name in COMMON} == set(NOT_YET)


@pytest.mark.parametrize(
    "given",
    [
        {"label_selector": None, "fallback_strategy": None, "placement_group": None, "runtime_env": {}},
        {"placement_group": "default", "placement_group_bundle_index": -1, "scheduling_strategy": None},
        {"scheduling_strategy": "SPREAD", "runtime_env": {"env_vars": {"A": "1"}, "pip": []}},
        {"object_store_memory": None, "_labels": None, "placement_group_capture_child_tasks": False},
    ],
)
def test_saying_the_default_is_no_wish(given):
    task_options(given)
    actor_options(given)


# --- records


def test_options_are_frozen_and_survive_pickling():
    options = task_options({"num_cpus": 2, "retry_exceptions": [ValueError]})

    with pytest.raises(AttributeError, match=r"frozen: make another with replace\(name=\.\.\.\)"):
        options.name = "x"
    with pytest.raises(AttributeError, match="frozen"):
        del options.name
    assert options.replace(name="x").name == "x"
    assert options.replace(name="x") != options
    assert pickle.loads(pickle.dumps(options)) == options
    with pytest.raises(TypeError, match="takes backpressure, "):
        type(options)(name="x")


def test_given_options_are_not_changed():
    given, over = {"num_cpus": 1}, {"num_gpus": 1}
    task_options(given, over=over)

    assert (given, over) == ({"num_cpus": 1}, {"num_gpus": 1})


def test_misuse_of_the_decorator_lists_every_option():
    assert all(f"'{name}'" in REMOTE_MISUSE for name in {**TASK, **ACTOR})
