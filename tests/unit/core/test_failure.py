"""What user code raised, on its way from a worker through owners to whoever asks for the result."""

import asyncio
import copy
import pickle
import sys
import threading
import traceback

import cloudpickle
import pytest

from manta import exceptions
from manta.core.errors.failure import Failure
from manta.core.errors.wire import ErrorFields, from_fields, to_fields


def fail(call, dumps=cloudpickle.dumps, **where):
    """The failure of a call of `call`."""
    try:
        call()
    except BaseException as error:
        error.__traceback__ = error.__traceback__.tb_next  # without this frame
        return Failure.describe(error, dumps, **{"function": call.__name__, "pid": 1, "ip": "10.0.0.1", **where})
    raise AssertionError


def raised(call, **where):
    """What `get` of a call of `call` raises."""
    return fail(call, **where).to_error(pickle.loads)


def boom():
    raise ValueError("boom", 3)


def lines(error):
    """Lines of its text, this file's name and numbers left out."""
    return [line.split(", line ")[0].replace(__file__, "F") for line in str(error).split("\n")]


# --- what `get` raises


def test_an_error_is_both_a_task_error_and_what_was_raised():
    error = raised(boom)

    assert isinstance(error, exceptions.RayTaskError)
    assert isinstance(error, ValueError)
    assert type(error).__name__ == type(error).__qualname__ == "RayTaskError(ValueError)"
    assert type(error).__mro__[1:4] == (exceptions.RayTaskError, exceptions.MantaError, ValueError)
    assert repr(error) == "RayTaskError(ValueError)(ValueError('boom', 3))"
    assert error.args == (error.cause,)
    assert error.cause.args == ("boom", 3)


def test_its_text_is_the_remote_traceback_under_a_title():
    assert lines(raised(boom)) == [
        "\x1b[36mray::boom()\x1b[39m (pid=1, ip=10.0.0.1)",
        '  File "F"',
        '    raise ValueError("boom", 3)',
        "ValueError: ('boom', 3)",
    ]


def test_the_title_of_an_actors_method_names_the_actor():
    error = raised(boom, function="A.m", actor_id="ab", actor_repr="A(\n3)")

    assert lines(error)[0] == "\x1b[36mray::A.m()\x1b[39m (pid=1, ip=10.0.0.1, actor_id=ab, repr=A(?3))"


def test_task_attributes_are_there_unless_the_cause_has_its_own():
    error = raised(boom)
    assert (error.function_name, error.pid, error.ip, error.proctitle) == ("boom", 1, "10.0.0.1", "ray::boom")

    def crowded():
        raise Crowded

    error = raised(crowded)
    assert (error.pid, error.code, error.title(), error._text, error.extra) == (77, 7, "title", "text", 8)
    assert isinstance(error.cause, Crowded)
    assert error.function_name == "crowded"


class Crowded(Exception):
    code = 5
    _text = "text"
    facts = "facts"

    def __init__(self):
        self.code, self.extra, self.pid, self.cause, self.args = 7, 8, 77, 99, ()

    def title(self):
        return "title"


def test_the_same_class_is_made_once():
    assert type(raised(boom)) is type(raised(boom))


def test_a_plain_exception_stays_a_task_error():
    def plain():
        raise Exception("plain")

    error = raised(plain)

    assert type(error) is exceptions.RayTaskError
    assert repr(error.cause) == "Exception('plain')"


def test_state_kept_in_c_comes_along():
    def missing():
        open("/no/such/file").close()

    error = raised(missing)
    assert (error.errno, error.filename) == (2, "/no/such/file")
    assert isinstance(error, FileNotFoundError)

    def decode():
        b"a\xff".decode()

    error = raised(decode)
    assert (error.start, error.end, error.object, error.encoding) == (1, 2, b"a\xff", "utf-8")

    def stop():
        raise StopIteration(4)

    assert raised(stop).value == 4

    def absent():
        __import__("no_such_module")

    assert raised(absent).name == "no_such_module"


def test_slots_and_read_only_args_come_along():
    def slotted():
        raise Slotted(4)

    error = raised(slotted)
    assert error.inside == 4
    assert isinstance(error, Slotted)

    def read_only():
        raise ReadOnlyArgs

    error = raised(read_only)
    assert isinstance(error, ReadOnlyArgs)
    assert error.args == (error.cause,)


class Slotted(Exception):
    __slots__ = ("inside",)

    def __init__(self, inside):
        super().__init__(inside)
        self.inside = inside


class ReadOnlyArgs(Exception):
    @property
    def args(self):
        return ("fixed",)


def test_a_strange_new_is_passed_over():
    def strange():
        raise StrangeNew(q=4)

    error = raised(strange)
    assert isinstance(error, StrangeNew)
    assert error.q == 4


class StrangeNew(Exception):
    def __new__(cls, *, q):
        made = super().__new__(cls)
        made.q = q
        return made

    def __init__(self, *, q):
        pass

    def __reduce__(self):
        return make_strange, (self.q,)


def make_strange(q):
    return StrangeNew(q=q)


def test_an_exception_group_can_be_split():
    def group():
        raise ExceptionGroup("several", [ValueError(1), TypeError(2)])

    error = raised(group)
    assert isinstance(error, ExceptionGroup)
    assert error.message == "several"
    assert str(error).startswith("\x1b[36mray::group()\x1b[39m (pid=1")
    seen = []
    try:
        raise error
    except* ValueError as part:
        seen += part.exceptions
    except* TypeError as part:
        seen += part.exceptions
    assert [repr(part) for part in seen] == ["ValueError(1)", "TypeError(2)"]


def test_a_class_that_refuses_subclasses_is_raised_as_a_task_error_with_a_warning(caplog):
    def final():
        raise Final("x")

    error = raised(final)

    assert type(error) is exceptions.RayTaskError
    assert isinstance(error.cause, Final)
    assert "can't be subclassed" in caplog.text
    with pytest.raises(TypeError, match="final"):
        error.make_dual_exception_instance()


class Final(Exception):
    def __init_subclass__(cls):
        raise TypeError("final")


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, GeneratorExit, asyncio.CancelledError])
def test_what_steers_programs_and_loops_is_not_raised_on_the_reader(kind):
    def steer():
        raise kind

    error = raised(steer)
    assert type(error) is exceptions.RayTaskError
    assert isinstance(error.cause, kind)


def test_a_dual_error_survives_pickling_and_copying():
    error = raised(boom)
    for again in (pickle.loads(pickle.dumps(error)), pickle.loads(cloudpickle.dumps(error)), copy.copy(error)):
        assert type(again) is type(error)
        assert str(again) == str(error)
        assert again.cause.args == ("boom", 3)


def test_notes_are_shown_once():
    def noted():
        error = ValueError("n")
        error.add_note("a hint")
        raise error

    text = "".join(traceback.format_exception(raised(noted)))
    assert text.count("a hint") == 1


# --- which frames


def test_a_chain_shows_each_part_with_the_users_frames():
    def chained():
        try:
            1 / 0  # noqa: B018
        except ZeroDivisionError as first:
            raise KeyError("k") from first

    assert lines(raised(chained)) == [
        "\x1b[36mray::chained()\x1b[39m (pid=1, ip=10.0.0.1)",
        '  File "F"',
        "    1 / 0  # noqa: B018",
        "    ~~^~~",
        "ZeroDivisionError: division by zero",
        "",
        "The above exception was the direct cause of the following exception:",
        "",
        "\x1b[36mray::chained()\x1b[39m (pid=1, ip=10.0.0.1)",
        '  File "F"',
        '    raise KeyError("k") from first',
        "KeyError: 'k'",
    ]


def test_our_own_frames_are_left_out_wherever_they_are():
    """Also between the user's, as in a task that asks for the result of another."""

    def calls_back():
        Failure.describe(ValueError(), lambda _: boom(), function="", pid=0, ip="")  # caught inside
        from_fields(to_fields(exceptions.RayTaskError("f", "t", ValueError())), None)
        exceptions.MantaError().with_facts(a=Unprintable())

    text = str(raised(calls_back))
    assert "manta" + "/core" not in text.replace("tests/unit", "")
    assert text.count('  File "') == 2
    assert text.endswith("TypeError: no text")


class Unprintable:
    def __str__(self):
        raise TypeError("no text")


def test_endless_tracebacks_and_messages_are_cut():
    def endless():
        raise ValueError("x" * 10_000_000)

    failure = fail(endless)
    assert len(failure.traceback) < 70_000
    assert "characters left out" in failure.traceback
    assert len(failure.message) <= 1 << 20


def test_recursion_without_end_is_described():
    def deep():
        deep()

    error = raised(deep)
    assert isinstance(error, RecursionError)
    assert "more times]" in str(error)


# --- what can't be pickled, shown or loaded


def test_an_exception_that_cannot_be_pickled_is_replaced_by_one_that_says_so():
    def unpicklable():
        error = ValueError("locked")
        error.lock = threading.Lock()
        raise error

    failure = fail(unpicklable)
    error = failure.to_error(pickle.loads)

    assert failure.classes[0] == "builtins.ValueError"
    assert type(error) is exceptions.RayTaskError
    assert str(error.cause).startswith("Exception ValueError isn't serializable: cannot pickle '_thread.lock' object")
    assert "Original exception details:" in str(error.cause)
    assert "ValueError: locked" in str(error)


@pytest.mark.parametrize("method", ["__reduce_ex__", "__reduce__"])
def test_nothing_that_pickling_raises_gets_out(method):
    def hostile():
        raise type("Hostile", (Exception,), {method: lambda *_: 1 / 0})("h")

    assert "isn't serializable: division by zero" in str(raised(hostile).cause)


def test_an_exception_without_a_text_is_still_described():
    def mute():
        raise Mute

    failure = fail(mute)
    assert failure.message == f"<{__name__}.Mute: its __str__ raised RuntimeError>"
    assert lines(failure.to_error(pickle.loads))[-1].endswith("Mute: <exception str() failed>")


class Mute(Exception):
    def __str__(self):
        raise RuntimeError("no")


def test_an_exception_that_cannot_be_loaded_shows_the_original_and_why():
    def picky():
        raise Picky(1, 2)

    error = raised(picky)
    text = str(error)

    assert type(error) is exceptions.UnserializableException
    assert text.startswith("Failed to deserialize exception. Refer to ")
    assert "Original exception:\nmanta.exceptions.RayTaskError: \x1b[36mray::picky()" in text
    assert "Picky: 12" in text
    assert "missing 1 required positional argument: 'b'" in text
    assert "its constructor accepts its `args`" in text


class Picky(Exception):
    def __init__(self, a, b):
        super().__init__(f"{a}{b}")


def test_a_class_that_the_reader_does_not_have_is_named():
    def unknown(_):
        raise ModuleNotFoundError("No module named 'theirs'")

    error = fail(boom).to_error(unknown)

    assert type(error) is exceptions.UnserializableException
    assert "ModuleNotFoundError: No module named 'theirs' (make sure that ValueError can be imported here" in str(error)


def test_what_loads_as_no_exception_is_refused():
    error = fail(boom).to_error(lambda _: 3)

    assert "it loads as int, which is no exception" in str(error)


# --- passing errors on


def test_an_owner_reads_classes_and_text_without_unpickling():
    failure = fail(boom)

    def never(_):
        raise AssertionError("unpickled")

    assert failure.classes == ("builtins.ValueError", "builtins.Exception", "builtins.BaseException")
    assert failure.message == "('boom', 3)"
    assert Failure.of_argument(failure, function="use", pid=2, ip="i").classes == failure.classes
    with pytest.raises(AssertionError):
        never(b"")


def test_a_failed_argument_fails_the_call_with_its_root_cause():
    """However long the chain: never a task error of a task error."""
    middle = Failure.of_argument(fail(boom), function="middle", pid=2, ip="10.0.0.2")
    error = Failure.of_argument(middle, function="last", pid=3, ip="10.0.0.3").to_error(pickle.loads)

    assert type(error.cause) is ValueError
    assert isinstance(error, ValueError)
    assert lines(error) == [
        "\x1b[36mray::last()\x1b[39m (pid=3, ip=10.0.0.3)",
        "  At least one of the input arguments for this task could not be computed:",
        "manta.exceptions.RayTaskError: \x1b[36mray::middle()\x1b[39m (pid=2, ip=10.0.0.2)",
        "  At least one of the input arguments for this task could not be computed:",
        "manta.exceptions.RayTaskError: \x1b[36mray::boom()\x1b[39m (pid=1, ip=10.0.0.1)",
        '  File "F"',
        '    raise ValueError("boom", 3)',
        "ValueError: ('boom', 3)",
    ]


def test_an_argument_lost_to_the_system_fails_the_call_with_that_error():
    lost = to_fields(exceptions.WorkerCrashedError("killed by signal 9"))
    error = Failure.of_argument(lost, function="use", pid=2, ip="i").to_error(pickle.loads)

    assert isinstance(error, exceptions.WorkerCrashedError)
    assert isinstance(error, exceptions.RayTaskError)
    assert error.reason == "killed by signal 9"
    assert lines(error)[1:] == [
        "  At least one of the input arguments for this task could not be computed:",
        "manta.exceptions.WorkerCrashedError: The worker died unexpectedly while executing this task. killed by signal 9.",
    ]


def test_a_task_that_lets_anothers_error_through_keeps_the_root_cause_and_shows_both():
    inner = fail(boom)

    def outer():
        raise inner.to_error(pickle.loads)

    def never(_):
        raise AssertionError("pickled again")

    failure = fail(outer, dumps=never)
    error = failure.to_error(pickle.loads)
    assert failure.cause == inner.cause
    assert type(error.cause) is ValueError
    assert lines(error)[2:4] == [
        "    raise inner.to_error(pickle.loads)",
        "manta.exceptions.RayTaskError(ValueError): \x1b[36mray::boom()\x1b[39m (pid=1, ip=10.0.0.1)",
    ]


def test_an_error_of_ours_travels_as_fields_not_as_a_pickle():
    def waits():
        raise exceptions.GetTimeoutError("after 3 s")

    failure = fail(waits)
    error = failure.to_error(pickle.loads)

    assert failure.cause == b""
    assert failure.error == ErrorFields("GET_TIMEOUT", "after 3 s", {"text": "after 3 s"})
    assert isinstance(error, exceptions.GetTimeoutError)
    assert isinstance(error, TimeoutError)


def test_a_failure_comes_back_from_its_fields():
    def waits():
        raise exceptions.WorkerCrashedError("x").with_facts(pid=3)

    for failure in (fail(boom), fail(waits), fail(boom, actor_id="ab", actor_repr="A")):
        fields = failure.to_fields()
        again = Failure.from_fields(fields)
        assert {name: getattr(again, name) for name in Failure.__slots__} == {
            name: getattr(failure, name) for name in Failure.__slots__
        }
        error = failure.to_error(pickle.loads)
        assert to_fields(error) == fields
        assert str(from_fields(fields, pickle.loads)) == str(error)
        assert type(from_fields(fields, pickle.loads)) is type(error)
        assert type(from_fields(fields)) is exceptions.RayTaskError
    assert to_fields(raised(boom)).message == "ValueError: ('boom', 3)"


def test_describing_a_failure_needs_no_traceback():
    failure = Failure.describe(ValueError("x"), pickle.dumps, function="f", pid=1, ip="i")

    assert lines(failure.to_error(pickle.loads)) == ["\x1b[36mray::f()\x1b[39m (pid=1, ip=i)", "ValueError: x"]


def test_made_classes_are_let_go():
    import gc
    import weakref

    def dynamic():
        raise type("Dynamic", (ValueError,), {})("x")

    gone = weakref.ref(type(fail(dynamic).to_error(cloudpickle.loads)))
    sys.exc_info()
    for _ in range(3):
        gc.collect()

    assert gone() is None
