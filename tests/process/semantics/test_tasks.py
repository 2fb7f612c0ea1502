"""Remote functions: how they are made, called, given arguments and asked for several results."""

from __future__ import annotations

import os

import pytest
import ray

from tests.process.semantics.support import manta_does_better, plain

pytestmark = pytest.mark.shared_cluster


def test_bare_decorator_call_form_and_options_form_make_the_same_thing():
    @ray.remote
    def bare(x):
        return x

    @ray.remote(num_cpus=0.5)
    def with_options(x):
        return x

    assert ray.get([bare.remote(1), with_options.remote(2), ray.remote(lambda x: x).remote(3)]) == [1, 2, 3]


def test_a_task_runs_in_another_process():
    @ray.remote
    def pid():
        return os.getpid()

    assert ray.get(pid.remote()) != os.getpid()


def test_a_task_that_needs_nothing_is_a_task_all_the_same():
    @ray.remote(num_cpus=0)
    def light():
        return 1

    assert ray.get(light.remote()) == 1


@manta_does_better("Ray's RemoteFunction has a docstring and no __name__")
def test_a_remote_function_keeps_name_and_docstring():
    @ray.remote
    def documented():
        """What it does."""

    assert (documented.__name__, documented.__doc__) == ("documented", "What it does.")


def test_an_empty_pair_of_brackets_is_refused():
    """`@remote()` says nothing: neither a function nor an option."""
    with pytest.raises(AssertionError, match="remote"):

        @ray.remote()
        def f(): ...


@pytest.mark.parametrize("thing", [1, "text", None])
def test_only_functions_and_classes_can_be_remote(thing: object):
    """With options Ray 2.60 answers TypeError; bare, it takes the thing for a misplaced option: AssertionError."""
    with pytest.raises(TypeError, match="function or a class"):
        ray.remote(num_cpus=1)(thing)
    with pytest.raises((TypeError, AssertionError)):
        ray.remote(thing)


def test_an_async_function_cannot_be_a_task():
    """The text says what to do instead: wrap it with asyncio.run."""

    async def f(): ...

    with pytest.raises(ValueError, match="async"):
        ray.remote(f).remote()


def test_calling_a_remote_function_directly_names_the_right_call():
    @ray.remote
    def f(): ...

    with pytest.raises(TypeError, match=r"cannot be called directly.*\.remote\(\)"):
        f()


def test_globals_are_captured_at_the_first_call_not_at_decoration():
    """Names defined after the function, before its first `.remote()`, are found."""
    namespace: dict = {"ray": ray}
    exec("@ray.remote\ndef late():\n    return helper()\n", namespace)
    exec("def helper():\n    return 'defined later'\n", namespace)
    assert ray.get(namespace["late"].remote()) == "defined later"


def test_a_closure_travels_by_value():
    secret = {"n": 41}

    @ray.remote
    def f():
        return secret["n"] + 1

    assert ray.get(f.remote()) == 42


def test_arguments_are_resolved_at_the_top_level_by_position_and_by_keyword():
    @ray.remote
    def f(a, b, *rest, c, **more):
        return a, b, rest, c, more

    one, two = ray.put(1), ray.put(2)
    assert ray.get(f.remote(one, 0, two, 3, c=two, d=one)) == (1, 0, (2, 3), 2, {"d": 1})


def test_a_ref_inside_a_container_is_passed_untouched():
    @ray.remote
    def kinds(items, table):
        return [type(item).__name__ for item in items], type(table["ref"]).__name__, ray.get(items[0])

    ref = ray.put("value")
    assert ray.get(kinds.remote([ref, 1], {"ref": ref})) == (["ObjectRef", "int"], "ObjectRef", "value")


def test_a_ref_inside_an_object_of_a_users_class_is_passed_untouched():
    class Box:
        def __init__(self, ref):
            self.ref = ref

    @ray.remote
    def open_box(box):
        return ray.get(box.ref)

    assert ray.get(open_box.remote(Box(ray.put(7)))) == 7


def test_a_ref_as_default_value_is_not_resolved():
    """Checked on Ray 2.60: the default travels with the function, as any other object it refers to."""
    default = ray.put(5)

    @ray.remote
    def f(x=default):
        return type(x).__name__

    assert ray.get(f.remote()) == "ObjectRef"


def test_the_result_of_one_task_is_the_argument_of_the_next():
    @ray.remote
    def add(a, b):
        return a + b

    ref = add.remote(1, 0)
    for _ in range(20):
        ref = add.remote(ref, 1)
    assert ray.get(ref) == 21


def test_one_ref_may_be_given_twice():
    @ray.remote
    def same(a, b):
        return a is b, a == b

    assert ray.get(same.remote(*[ray.put([1])] * 2))[1] is True


def test_arguments_are_snapshots():
    @ray.remote
    def f(items):
        items.append("worker")
        return items

    items = ["driver"]
    ref = f.remote(items)
    items.append("later")
    assert ray.get(ref) == ["driver", "worker"]
    assert items == ["driver", "later"]


@pytest.mark.parametrize(
    ("args", "kwargs", "text"),
    [
        ((), {}, "missing (a|1) required (positional )?argument: 'a'"),
        ((1, 2, 3), {}, "too many positional arguments|positional arguments? but"),
        ((1,), {"c": 1}, "got an unexpected keyword argument 'c'"),
        ((1,), {"a": 1}, "multiple values for argument 'a'"),
    ],
)
def test_arguments_are_checked_against_the_signature_by_the_caller(args: tuple, kwargs: dict, text: str):
    """A TypeError at `.remote()`, before anything is sent. Ray words it as inspect.signature does, Manta as Python."""

    @ray.remote
    def f(a, b=2):
        return a, b

    with pytest.raises(TypeError, match=text):
        f.remote(*args, **kwargs)


def test_several_results_are_several_refs():
    @ray.remote(num_returns=3)
    def three():
        return 1, 2, 3

    refs = three.remote()
    assert isinstance(refs, list)
    assert ray.get(refs) == [1, 2, 3]


def test_num_returns_0_returns_none_and_runs_all_the_same(ledger):
    @ray.remote(num_returns=0)
    def f(ledger):
        ledger.write("ran")

    @ray.remote
    def g(ledger):
        while not ledger.read():
            pass
        return ledger.read()

    assert f.remote(ledger) is None
    assert ray.get(g.remote(ledger)) == ["ran"]


@pytest.mark.parametrize("returned", [(1, 2), (1, 2, 3, 4)])
def test_a_wrong_number_of_results_is_an_error_in_every_ref(returned: tuple):
    @ray.remote(num_returns=3)
    def f():
        return returned

    for ref in f.remote():
        with pytest.raises(ValueError, match="num_returns=3"):
            ray.get(ref)


def test_several_results_from_something_not_iterable_is_an_error_in_every_ref():
    @ray.remote(num_returns=2)
    def f():
        return 1

    for ref in f.remote():
        with pytest.raises((TypeError, ValueError)):
            ray.get(ref)


def test_options_change_one_call_and_leave_the_function_alone():
    @ray.remote(num_returns=1)
    def pair():
        return 1, 2

    assert ray.get(pair.options(num_returns=2).remote()) == [1, 2]
    assert ray.get(pair.remote()) == (1, 2)


def test_options_merge_over_the_decorators():
    @ray.remote(num_returns=2, num_cpus=1)
    def f():
        return ray.get_runtime_context().get_assigned_resources(), 0

    assert ray.get(f.options(num_cpus=2).remote())[0] == {"CPU": 2.0}


@pytest.mark.parametrize("option", ["max_calls"])
def test_what_belongs_to_the_function_cannot_be_set_per_call(option: str):
    @ray.remote
    def f(): ...

    with pytest.raises(ValueError, match=option):
        f.options(**{option: 1}).remote()


def test_private_remote_takes_arguments_and_options_apart():
    @ray.remote
    def f(a, b=0):
        return a, b

    assert ray.get(f._remote(args=(1,), kwargs={"b": 2}, num_returns=2)) == [1, 2]


def test_an_unknown_option_is_named_with_the_ones_that_exist():
    with pytest.raises(ValueError, match=r"num_cpu.*num_cpus"):

        @ray.remote(num_cpu=1)
        def f(): ...


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"num_cpus": "two"}, TypeError),
        ({"num_cpus": -1}, ValueError),
        ({"num_returns": -1}, ValueError),
        ({"num_returns": "many"}, (TypeError, ValueError)),
        ({"max_retries": -2}, ValueError),
        ({"max_retries": "3"}, TypeError),
        ({"max_calls": -1}, ValueError),
        ({"resources": {"CPU": 1}}, ValueError),
        ({"resources": {"GPU": 1}}, ValueError),
        ({"resources": [1]}, TypeError),
        ({"retry_exceptions": 5}, TypeError),
        ({"name": 5}, TypeError),
        ({"scheduling_strategy": 5}, TypeError),
        ({"runtime_env": 5}, TypeError),
    ],
)
def test_a_bad_option_is_refused_where_it_is_written(options: dict, error: type[Exception]):
    """Wrong type: TypeError. Wrong value: ValueError. At the decorator or at the call, never in the worker."""
    with pytest.raises(error):
        ray.remote(**options)(lambda: None).remote()


def test_fractions_finer_than_a_ten_thousandth_are_refused():
    with pytest.raises(ValueError, match=r"0\.0001|precision|fraction"):
        ray.remote(num_cpus=0.00001)(lambda: None).remote()


def test_a_task_may_call_itself():
    @ray.remote(num_cpus=0.1)
    def factorial(n):
        return 1 if n == 0 else n * ray.get(factorial.remote(n - 1))

    assert ray.get(factorial.remote(5)) == 120


def test_a_task_name_is_shown_in_its_context():
    @ray.remote
    def f():
        return ray.get_runtime_context().get_task_name()

    assert ray.get(f.options(name="christened").remote()) == "christened"
    assert ray.get(f.remote()).endswith("f")


def test_a_task_returns_none_when_it_returns_nothing():
    @ray.remote
    def f():
        pass

    assert ray.get(f.remote()) is None


def test_a_function_of_a_module_travels_by_reference():
    import json

    assert ray.get(ray.remote(json.dumps).remote({"a": 1})) == '{"a": 1}'


@manta_does_better("Ray 2.60 takes plain functions only")
def test_a_bound_method_can_be_remote():
    class Adder:
        def __init__(self, n):
            self.n = n

        def add(self, x):
            return self.n + x

    add = ray.remote(Adder(1).add)
    assert ray.get(add.remote(2)) == 3
    with pytest.raises(TypeError, match="argument"):
        add.remote()


@manta_does_better("Ray 2.60 says that a builtin is neither a function nor a class")
def test_a_builtin_can_be_remote():
    assert ray.get(ray.remote(len).remote([1, 2])) == 2


def test_unicode_values_survive():
    @ray.remote
    def f(x):
        return f"{x} → ✓ \U0001f41f"

    assert ray.get(f.remote(x="Rochen")) == "Rochen → ✓ \U0001f41f"


@manta_does_better("Ray 2.60's worker dies of a UnicodeEncodeError when it is asked to run such a function")
def test_unicode_names_survive():
    @ray.remote
    def größe(näme):
        return näme

    assert ray.get(größe.remote(näme=1)) == 1


def test_an_error_text_names_the_function():
    @ray.remote
    def fails():
        raise RuntimeError("boom")

    with pytest.raises(RuntimeError) as caught:
        ray.get(fails.remote())
    assert "fails()" in plain(caught.value)
