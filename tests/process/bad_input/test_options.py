"""Option names, types and amounts that cannot be."""

# mypy: ignore-errors
# The calls are wrong on purpose; a type checker finds most of them.

from __future__ import annotations

import math

import pytest

import manta

pytestmark = pytest.mark.shared_cluster


def refused(**options) -> str:
    """The text of the error that such options get, at the decorator or at the call."""
    with pytest.raises((ValueError, TypeError)) as caught:
        manta.remote(**options)(lambda: None).remote()
    return str(caught.value)


@pytest.mark.parametrize("name", ["num_cpus", "num_gpus", "memory"])
@pytest.mark.parametrize("amount", [-1, -0.5, math.nan, math.inf, -math.inf, 1e308, "1", None.__class__, [1], 1j])
def test_an_amount_that_cannot_be_names_option_and_value(name: str, amount: object):
    assert name in refused(**{name: amount})


@pytest.mark.parametrize("amount", [-1, math.nan, math.inf, 1e308, "1", None])
def test_a_custom_resource_likewise(amount: object):
    assert "slot" in refused(resources={"slot": amount})


@pytest.mark.parametrize(
    "name", ["", 5, None, "CPU", "GPU", "memory", "object_store_memory", "a\nb", "a\0b", "x" * 65536]
)
def test_a_resource_name_that_cannot_be(name: object):
    text = refused(resources={name: 1})
    assert len(text) < 2000  # the hostile name is not repeated in full
    assert "\n" not in text.splitlines()[0]


@pytest.mark.parametrize(
    ("wrong", "right"), [("num_cpu", "num_cpus"), ("num_return", "num_returns"), ("retries", "max_retries")]
)
def test_an_unknown_option_is_answered_with_the_likely_one(wrong: str, right: str):
    text = refused(**{wrong: 1})
    assert wrong in text
    assert right in text


@pytest.mark.parametrize(
    "options",
    [
        {"max_restarts": 1},
        {"lifetime": "detached"},
        {"max_concurrency": 2},
    ],
)
def test_an_actors_option_on_a_task_is_refused(options: dict):
    assert next(iter(options)) in refused(**options)


def test_a_tasks_option_on_an_actor_is_refused():
    class A: ...

    with pytest.raises(ValueError, match="max_calls"):
        manta.remote(max_calls=1)(A).remote()


@pytest.mark.parametrize("num_returns", [-1, 1.5, "several", 10**9, True.__class__])
def test_num_returns_that_cannot_be(num_returns: object):
    assert "num_returns" in refused(num_returns=num_returns)


@pytest.mark.parametrize(
    "runtime_env",
    [
        {"env_vars": {"A=B": "1"}},
        {"env_vars": {"A\0": "1"}},
        {"env_vars": {"": "1"}},
        {"env_vars": {"A": "x\0"}},
        {"env_vars": {"A": "x" * (128 * 1024)}},
        {"env_vars": {"A": "\udcff"}},
    ],
)
def test_environment_variables_that_no_process_can_have(runtime_env: dict):
    assert "env_vars" in refused(runtime_env=runtime_env)


def test_a_runtime_env_field_that_is_not_there_yet_is_not_ignored():
    with pytest.raises((ValueError, NotImplementedError), match=r"runtime_env"):
        manta.remote(runtime_env={"conda": "env"})(lambda: None).remote()


@pytest.mark.parametrize(
    "settings", [{"num_cpus": -1}, {"num_cpus": math.nan}, {"num_cpus": "2"}, {"object_store_memory": 1}]
)
def test_init_settings_are_checked_before_anything_starts(settings: dict):
    manta.shutdown()
    try:
        with pytest.raises((ValueError, TypeError), match=next(iter(settings))):
            manta.init(**settings)
        assert not manta.is_initialized()
    finally:
        if not manta.is_initialized():
            manta.init(num_cpus=2, log_to_driver=False)
