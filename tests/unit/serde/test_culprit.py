"""An error about an unpicklable value names the way to the part that can't be pickled."""

import functools
import threading

import pytest

from manta import serde
from manta.core.errors import SerializationError
from manta.serde import culprit


def error_of(value, **options) -> SerializationError:
    with pytest.raises(SerializationError) as caught:
        serde.serialize(value, **options)
    return caught.value


class Model:
    def __init__(self, **attributes):
        self.__dict__.update(attributes)

    def method(self):
        return self


class Slots:
    __slots__ = ("inner", "other")

    def __init__(self, inner):
        self.inner = inner


class StateOfItsOwn:
    def __init__(self):
        self.dropped = threading.Lock()

    def __getstate__(self):
        return {"kept": threading.Lock()}


class Keyed(dict):
    pass


LOCK = threading.Lock()


def uses_lock():
    return LOCK


uses_lock.__module__ = "__main__"


def nested(depth):
    value = LOCK
    for _ in range(depth):
        value = [value]
    return value


def captures(x):
    def inner():
        return x

    return inner


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ([1, LOCK], ["[1]"]),
        ({"a": {"b": (1, LOCK)}}, ["['a']", "['b']", "[1]"]),
        (Model(encoder={"lock": LOCK}), [".encoder", "['lock']"]),
        (Slots(Model(lock=LOCK)), [".inner", ".lock"]),
        (StateOfItsOwn(), [".kept"]),
        (captures(LOCK), ["captured variable 'x'"]),
        (captures([captures({"a": LOCK})]), ["captured variable 'x'", "[0]", "captured variable 'x'", "['a']"]),
        (uses_lock, ["global 'LOCK'"]),
        (lambda guard=LOCK: guard, ["default of 'guard'"]),
        (lambda *, guard=LOCK: guard, ["default of 'guard'"]),
        (functools.partial(print, 1, end=LOCK), ["argument 'end'"]),
        (Model(method=Model(lock=LOCK).method), [".method", ".__self__", ".lock"]),
        (Keyed(a=1, b=LOCK), ["['b']"]),
        ({"ok": 1, LOCK: 2}, [f"key {LOCK!r}"]),
        ([*range(50_000), LOCK], ["[50000]"]),
        ({f"k{i}": i for i in range(1000)} | {"bad": LOCK}, ["['bad']"]),
        ([Model(lock=LOCK)] * 3, ["[0]", ".lock"]),
    ],
)
def test_the_path_leads_to_the_culprit(value, path):
    error = error_of(value, what="result of f()")

    assert error.what == "result of f()"
    assert list(error.path) == path
    assert error.reason == "cannot pickle '_thread.lock' object"
    assert error.culprit == "a _thread.lock"


def test_the_path_of_a_call_starts_with_the_parameters_name():
    model = Model(encoder=[LOCK])
    assert error_of(((1, model), {}), parameters=("x", "model")).what == "argument 'model'"
    assert error_of(((1, 2, model), {}), parameters=("x",)).what == "argument 2"
    error = error_of(((1,), {"model": model}), parameters=("x",))
    assert (error.what, list(error.path)) == ("argument 'model'", [".encoder", "[0]"])
    assert error_of(((b"small", b"large" * 999), {}), parameters=("x", "y"), limit=999).what == "argument 'y'"


def test_local_classes_name_the_attribute():
    class Local:
        guard = LOCK

    assert list(error_of(Local()).path) == [f"class {Local.__qualname__}", ".guard"]


def test_the_object_itself_may_be_the_culprit():
    error = error_of(LOCK, what="result of f()")
    assert (error.what, error.path, error.culprit) == ("result of f()", (), "a _thread.lock")


def test_what_user_code_raises_is_named_with_its_type():
    class Refuses:
        def __reduce__(self):
            raise RuntimeError("not\nme")

    class Worse:
        def __reduce__(self):
            raise self.error

        class error(Exception):
            def __str__(self):
                raise RuntimeError

    error = error_of([Refuses()])
    assert (error.path, error.reason) == (("[0]",), "RuntimeError: not me")
    assert isinstance(error.__cause__, RuntimeError)
    assert "error" in error_of([Worse()]).reason


def test_values_that_lie_about_themselves_end_the_walk_and_not_the_program():
    class Liar(dict):
        def items(self):
            raise RuntimeError("no items")

        def __reduce_ex__(self, protocol):
            raise RuntimeError("no reduce")

        def __repr__(self):
            raise RuntimeError("no repr")

    class Endless:
        def __reduce__(self):
            return Endless, (), {"again": Endless(), "lock": LOCK}

    assert error_of([Liar()]).path == ("[0]",)
    assert error_of({Keyed: Liar(a=LOCK)}).path[0].startswith("[<class")
    error_of([Endless()])


def test_cycles_do_not_catch_the_walk():
    cycle = [1]
    cycle.append({"back": cycle, "lock": LOCK})
    assert list(error_of(cycle).path) == ["[1]", "['lock']"]


def test_the_walk_keeps_to_its_budget(monkeypatch):
    """However large the value, an error comes soon; here by count, as time is nobody's promise in a test."""
    trials = []
    real = culprit._Walk.trial

    def counted(walk, obj):
        trials.append(obj)
        return real(walk, obj)

    monkeypatch.setattr(culprit._Walk, "trial", counted)

    wide = [[LOCK if i == j == 199 else i * j for i in range(200)] for j in range(200)]
    assert list(error_of(wide).path) == ["[199]", "[199]"]
    assert len(trials) < 60

    trials.clear()
    assert len(error_of(nested(200)).path) == culprit.MAX_DEPTH - 1  # the value itself is the first level
    assert len(trials) <= culprit.MAX_TRIALS


def test_keys_and_texts_of_any_length_are_cut():
    error = error_of({"k" * 10_000: LOCK})
    assert len(error.path[0]) < 300
    assert "10002 characters" in error.path[0]


def test_size_of_counts_buffers():
    assert 1_000_000 <= culprit.size_of([bytearray(1_000_000)]) < 1_001_000
    assert culprit.size_of(LOCK) == 0
