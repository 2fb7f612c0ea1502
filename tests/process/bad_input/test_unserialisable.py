"""Values, closures, results and exceptions that cannot travel, or cannot be loaded where they arrive."""

# mypy: ignore-errors
# The calls are wrong on purpose; a type checker finds most of them.

from __future__ import annotations

import sys
import threading

import pytest

import manta
from manta import exceptions
from tests.process.semantics.support import plain

pytestmark = pytest.mark.shared_cluster


class Account:
    def __init__(self):
        self.history = [{"guard": threading.Lock()}]


@manta.remote
def echo(x):
    return x


def raised(call) -> BaseException:
    with pytest.raises(Exception) as caught:
        call()
    return caught.value


def names_the_path(error: BaseException) -> None:
    """The culprit and the way to it."""
    text = plain(error)
    assert isinstance(error, TypeError), repr(error)
    assert "lock" in text
    assert "guard" in text or "history" in text, text


def test_an_argument():
    names_the_path(raised(lambda: echo.remote(Account())))


def test_a_keyword_argument():
    names_the_path(raised(lambda: echo.remote(x={"account": Account()})))


def test_a_put():
    names_the_path(raised(lambda: manta.put([Account()])))


def test_a_closure_names_the_variable():
    guard = threading.Lock()

    @manta.remote
    def f():
        return guard

    error = raised(lambda: f.remote())
    assert isinstance(error, TypeError)
    assert "guard" in plain(error)


def test_an_actor_constructor_and_method_argument():
    @manta.remote
    class A:
        def __init__(self, x=None): ...

        def f(self, x): ...

    names_the_path(raised(lambda: A.remote(Account())))
    a = A.remote()
    names_the_path(raised(lambda: a.f.remote(Account())))


def test_a_result():
    @manta.remote
    def f():
        import threading

        return {"guard": threading.Lock()}

    error = raised(lambda: manta.get(f.remote(), timeout=20))
    assert isinstance(error, TypeError)
    assert "guard" in plain(error)
    assert "f" in plain(error)


def test_one_result_of_several_leaves_the_others_alone_or_fails_all():
    @manta.remote(num_returns=2)
    def f():
        import threading

        return 1, threading.Lock()

    _first, second = f.remote()
    assert isinstance(raised(lambda: manta.get(second, timeout=20)), TypeError)


def test_an_item_of_a_generator():
    @manta.remote
    def f():
        import threading

        yield 1
        yield threading.Lock()

    refs = list(f.remote())
    assert manta.get(refs[0]) == 1
    assert isinstance(raised(lambda: manta.get(refs[1], timeout=20)), TypeError)


class RaisesInReduce:
    def __reduce__(self):
        raise RuntimeError("reduce says no")


class RaisesOnLoad:
    def __reduce__(self):
        return (_explode, ())


def _explode():
    raise RuntimeError("load says no")


def test_a_reduce_that_raises():
    error = raised(lambda: echo.remote(RaisesInReduce()))
    assert "reduce says no" in plain(error)


def test_an_argument_that_cannot_be_loaded_fails_the_call_and_not_the_worker():
    error = raised(lambda: manta.get(echo.remote(RaisesOnLoad()), timeout=20))
    assert isinstance(error, exceptions.RayError)
    assert "load says no" in plain(error)


def test_a_put_value_that_cannot_be_loaded():
    ref = manta.put(RaisesOnLoad())
    assert "load says no" in plain(raised(lambda: manta.get(ref, timeout=20)))


def test_a_result_that_cannot_be_loaded():
    @manta.remote
    def f():
        return RaisesOnLoad()

    assert "load says no" in plain(raised(lambda: manta.get(f.remote(), timeout=20)))


def test_something_nested_too_deep():
    deep: list = []
    for _ in range(sys.getrecursionlimit() * 20):
        deep = [deep]
    error = raised(lambda: manta.put(deep))
    assert isinstance(error, (RecursionError, TypeError))
    assert "deep" in plain(error) or "recursion" in plain(error)
    while deep:  # taken apart one by one: its own deletion would recurse
        deep = deep[0]


def test_recursion_without_end_in_a_task():
    @manta.remote
    def f():
        def g():
            return g()

        return g()

    assert isinstance(raised(lambda: manta.get(f.remote(), timeout=20)), RecursionError)


def test_a_module_that_workers_do_not_have():
    import types

    module = types.ModuleType("only_here")
    exec("class Thing:\n    pass\n", module.__dict__)
    sys.modules["only_here"] = module
    try:
        error = raised(lambda: manta.get(echo.remote(module.Thing()), timeout=20))
    finally:
        del sys.modules["only_here"]
    assert "only_here" in plain(error)


# -- exceptions --------------------------------------------------------------------------------------------------------


class StrRaises(Exception):
    def __str__(self):
        raise RuntimeError("str says no")


class ReprRaises(Exception):
    def __repr__(self):
        raise RuntimeError("repr says no")


class ReduceRaises(Exception):
    def __reduce__(self):
        raise RuntimeError("reduce says no")


class ConstructorRaises(Exception):
    """Pickles by its arguments, and its constructor wants others."""

    def __init__(self, a, b):
        super().__init__(f"{a} with {b}")


class HoldsALock(Exception):
    def __init__(self):
        super().__init__("holds a lock")
        self.lock = threading.Lock()


class Final(Exception):
    def __init_subclass__(cls):
        raise TypeError("no subclasses")


class OddNew(Exception):
    def __new__(cls, *args):
        if cls is not OddNew:
            raise TypeError("only me")
        return super().__new__(cls, *args)


@pytest.mark.parametrize("kind", [StrRaises, ReprRaises, ReduceRaises, HoldsALock, Final, OddNew])
def test_an_odd_exception_arrives_as_an_error_that_names_it(kind: type[Exception]):
    @manta.remote
    def f():
        raise kind

    error = raised(lambda: manta.get(f.remote(), timeout=20))
    assert isinstance(error, exceptions.RayError)
    assert kind.__name__ in plain(error)
    assert "in f" in plain(error)  # the frames are there whatever the exception did


def test_an_exception_whose_constructor_wants_others():
    @manta.remote
    def f():
        raise ConstructorRaises("this", "that")

    error = raised(lambda: manta.get(f.remote(), timeout=20))
    assert isinstance(error, exceptions.RayError)
    assert "this with that" in plain(error)


def test_a_huge_message_arrives():
    @manta.remote
    def f():
        raise ValueError("x" * 5_000_000)

    assert isinstance(raised(lambda: manta.get(f.remote(), timeout=30)), ValueError)


def test_base_exceptions_end_in_a_typed_error():
    class Odd(BaseException): ...

    @manta.remote(max_retries=0)
    def f(kind):
        raise kind

    for kind in (KeyboardInterrupt, GeneratorExit, Odd):
        error = raised(lambda kind=kind: manta.get(f.remote(kind), timeout=20))
        assert isinstance(error, exceptions.RayError), kind


def test_an_exception_from_a_finaliser_hurts_nobody():
    class Grudge:
        def __del__(self):
            raise RuntimeError("a last word")

    @manta.remote
    def f():
        Grudge()
        return 1

    assert manta.get(f.remote(), timeout=20) == 1


def test_half_a_surrogate_pair_in_an_errors_text_is_written_out():
    """No wire takes it; the error arrives all the same."""

    @manta.remote
    def fails():
        raise ValueError("half a pair: \ud800")

    with pytest.raises(ValueError, match="half a pair") as caught:
        manta.get(fails.remote(), timeout=20)
    assert "\\ud800" in plain(caught.value)


def test_half_a_surrogate_pair_in_an_actors_repr_or_name():
    @manta.remote
    class A:
        def __repr__(self):
            return "A\udc00"

        def fails(self):
            raise KeyError("\udc00")

    with pytest.raises(KeyError) as caught:
        manta.get(A.remote().fails.remote(), timeout=20)
    assert "A\\udc00" in plain(caught.value)
    with pytest.raises(ValueError, match="name"):
        A.options(name="a\ud800").remote()
