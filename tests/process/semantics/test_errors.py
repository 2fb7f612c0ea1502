"""How a user's exception comes back: its types, its text, its attributes, and what happens when it cannot travel."""

from __future__ import annotations

import re

import pytest
import ray

from tests.process.semantics.support import manta_does_better, plain, run_driver, until

pytestmark = pytest.mark.shared_cluster


def raised_by(ref) -> BaseException:
    with pytest.raises(Exception) as caught:
        ray.get(ref, timeout=30)
    return caught.value


@ray.remote
def divide(a, b):
    return a / b


def test_an_error_is_both_what_the_user_raised_and_a_ray_task_error():
    error = raised_by(divide.remote(1, 0))
    assert isinstance(error, ZeroDivisionError)
    assert isinstance(error, ray.exceptions.RayTaskError)
    assert isinstance(error, ray.exceptions.RayError)


def test_the_class_is_called_after_both():
    kind = type(raised_by(divide.remote(1, 0)))
    assert (kind.__name__, kind.__qualname__) == ("RayTaskError(ZeroDivisionError)",) * 2


def test_the_text_is_call_frames_and_message():
    text = plain(raised_by(divide.remote(1, 0)))
    first, *frames, last = text.splitlines()
    assert re.fullmatch(r"ray::divide\(\) \(pid=\d+, ip=[\d.]+\)", first)
    assert re.search(r'File ".*test_errors.py", line \d+, in divide', "\n".join(frames))
    assert last == "ZeroDivisionError: division by zero"


def test_the_text_holds_the_users_frames_only():
    def helper():
        raise LookupError("deep")

    @ray.remote
    def calls():
        helper()

    files = re.findall(r'File "([^"]+)"', plain(raised_by(calls.remote())))
    assert [file.rpartition("/")[2] for file in files] == ["test_errors.py"] * 2


def test_a_frame_shows_its_line(tmp_path):
    """As Python's own tracebacks do, for a script's functions too, which travel by value."""
    ended = run_driver(
        """
        import ray
        ray.init(num_cpus=1, log_to_driver=False, include_dashboard=False)

        def main():
            @ray.remote
            def divides(x):
                return 1 / (x - x)

            try:
                ray.get(divides.remote(1))
            except ZeroDivisionError as error:
                print(error)

        main()
        """,
        tmp_path,
    )
    title, frame, line, *_, message = ended.lines
    assert title.startswith("ray::divides() (pid="), "the name alone, wherever it was defined"
    assert frame == f'  File "{tmp_path}/driver.py", line 8, in divides'
    assert line == "    return 1 / (x - x)"
    assert message == "ZeroDivisionError: division by zero"


def test_the_title_is_coloured():
    """As users see it in a terminal; the message is not."""
    assert "\x1b[36mray::divide()\x1b[39m" in str(raised_by(divide.remote(1, 0)))


def test_the_cause_is_the_exception_itself():
    assert type(raised_by(divide.remote(1, 0)).cause) is ZeroDivisionError


@manta_does_better("on Ray 2.60 the dual error forwards function_name, pid and the rest to the cause, which has none")
def test_the_fields_of_the_error_say_where_it_happened():
    error = raised_by(divide.remote(1, 0))
    assert error.function_name.endswith("divide")
    assert error.pid > 0
    assert "division by zero" in error.traceback_str


def test_attributes_of_the_cause_are_the_errors_own():
    class Coded(Exception):
        def __init__(self, code):
            super().__init__(f"code {code}")
            self.code = code

    @ray.remote
    def f():
        raise Coded(7)

    error = raised_by(f.remote())
    assert (error.code, error.cause.code) == (7, 7)


@manta_does_better("on Ray 2.60 errno is None on the dual error: OSError's C slot answers before the cause is asked")
def test_an_os_error_keeps_its_errno():
    @ray.remote
    def f():
        raise FileNotFoundError(2, "No such file", "/nowhere")

    error = raised_by(f.remote())
    assert (error.errno, error.filename) == (2, "/nowhere")


def test_a_plain_exception_is_a_ray_task_error_already():
    """`Exception` is a base of RayTaskError, so there is nothing to combine."""

    @ray.remote
    def f():
        raise Exception("plain")

    error = raised_by(f.remote())
    assert isinstance(error, ray.exceptions.RayTaskError)
    assert "Exception: plain" in plain(error)


def test_an_exception_with_a_strange_constructor_comes_back():
    class Strange(Exception):
        def __init__(self, a, *, b):
            super().__init__(a)
            self.b = b

        def __reduce__(self):
            return (_strange, (Strange, self.args[0], self.b))

    def _strange(kind, a, b):
        return kind(a, b=b)

    @ray.remote
    def f():
        raise Strange("x", b=3)

    error = raised_by(f.remote())
    assert isinstance(error, Strange)
    assert error.b == 3


def test_an_exception_that_cannot_be_pickled_comes_back_as_text():
    class Holds(Exception):
        def __init__(self):
            super().__init__("holding a lock")
            import threading

            self.lock = threading.Lock()

    @ray.remote
    def f():
        raise Holds

    error = raised_by(f.remote())
    assert isinstance(error, ray.exceptions.RayError)
    assert "holding a lock" in plain(error)


def test_an_exception_that_the_reader_cannot_load_comes_back_as_text():
    """Default pickling loses the second argument; the reader then cannot build it, and says what it was."""

    class TwoArguments(Exception):
        def __init__(self, a, b):
            super().__init__(f"{a} and {b}")

    @ray.remote
    def f():
        raise TwoArguments(1, 2)

    error = raised_by(f.remote())
    assert isinstance(error, ray.exceptions.RayError)
    assert "1 and 2" in plain(error)


def test_an_exception_group_comes_back_as_one():
    @ray.remote
    def f():
        raise ExceptionGroup("two", [ValueError("a"), KeyError("b")])

    error = raised_by(f.remote())
    assert isinstance(error, ray.exceptions.RayTaskError)
    assert isinstance(error, ExceptionGroup)
    assert [type(part) for part in error.exceptions] == [ValueError, KeyError]


def test_the_cause_chain_is_in_the_text():
    @ray.remote
    def f():
        try:
            raise KeyError("first")
        except KeyError as error:
            raise ValueError("second") from error

    text = plain(raised_by(f.remote()))
    assert "KeyError: 'first'" in text
    assert "direct cause" in text
    assert text.splitlines()[-1] == "ValueError: second"


def test_a_failed_argument_fails_its_reader_with_the_root_cause():
    """The function of the second task never ran; its error is still a ZeroDivisionError, and says why."""

    @ray.remote
    def use(x):
        return x

    error = raised_by(use.remote(use.remote(divide.remote(1, 0))))
    assert isinstance(error, ZeroDivisionError)
    assert type(error).__name__ == "RayTaskError(ZeroDivisionError)"
    assert "At least one of the input arguments for this task could not be computed" in plain(error)
    assert not isinstance(error.cause, ray.exceptions.RayTaskError)


def test_an_error_got_inside_a_task_passes_through_it():
    @ray.remote
    def outer():
        return ray.get(divide.remote(1, 0))

    error = raised_by(outer.remote())
    assert isinstance(error, ZeroDivisionError)
    assert "divide()" in plain(error)
    assert "outer()" in plain(error)


def test_an_error_of_one_kind_can_be_caught_inside_a_task():
    @ray.remote
    def outer():
        try:
            ray.get(divide.remote(1, 0))
        except ZeroDivisionError as error:
            return type(error).__name__
        return "nothing"

    assert ray.get(outer.remote()) == "RayTaskError(ZeroDivisionError)"


def test_a_ray_task_error_can_be_pickled_by_anyone():
    import cloudpickle

    error = raised_by(divide.remote(1, 0))
    again = cloudpickle.loads(cloudpickle.dumps(error))
    assert isinstance(again, ZeroDivisionError)
    assert plain(again) == plain(error)


def test_each_get_raises_an_error_of_its_own():
    ref = divide.remote(1, 0)
    assert raised_by(ref) is not raised_by(ref)


def test_a_value_that_is_an_exception_is_a_value():
    @ray.remote
    def f():
        return ValueError("returned")

    value = ray.get(f.remote())
    assert (type(value), value.args) == (ValueError, ("returned",))


def test_a_stop_iteration_is_an_ordinary_error():
    @ray.remote
    def f():
        raise StopIteration("end")

    assert isinstance(raised_by(f.remote()), StopIteration)


def test_retry_exceptions_runs_again_what_raised_one_of_them(ledger):
    @ray.remote(max_retries=2, retry_exceptions=[ValueError])
    def flaky(ledger):
        ledger.write("run")
        if len(ledger.read()) < 3:
            raise ValueError("again")
        return len(ledger.read())

    assert ray.get(flaky.remote(ledger)) == 3


def test_retry_exceptions_matches_subclasses_and_nothing_else(ledger):
    class Special(ValueError): ...

    @ray.remote(max_retries=2, retry_exceptions=[ValueError])
    def f(ledger, kind):
        ledger.write(kind.__name__)
        raise kind

    assert isinstance(raised_by(f.remote(ledger, Special)), Special)
    assert isinstance(raised_by(f.remote(ledger, KeyError)), KeyError)
    assert ledger.read() == ["Special"] * 3 + ["KeyError"]


def test_retry_exceptions_true_retries_every_exception(ledger):
    @ray.remote(max_retries=1, retry_exceptions=True)
    def f(ledger):
        ledger.write("run")
        raise KeyError

    raised_by(f.remote(ledger))
    assert ledger.read() == ["run"] * 2


def test_without_it_an_exception_is_final(ledger):
    @ray.remote
    def f(ledger):
        ledger.write("run")
        raise KeyError

    raised_by(f.remote(ledger))
    assert ledger.read() == ["run"]


def test_an_unpicklable_list_of_exceptions_is_refused_at_the_call():
    import threading

    class Unpicklable(Exception):
        lock = threading.Lock()

    @ray.remote(retry_exceptions=[Unpicklable])
    def f(): ...

    with pytest.raises(TypeError):
        f.remote()


def test_the_hierarchy_of_errors():
    e = ray.exceptions
    assert issubclass(e.GetTimeoutError, (e.RayError, TimeoutError))
    assert issubclass(e.ActorDiedError, e.RayActorError)
    assert issubclass(e.ActorUnavailableError, e.RayActorError)
    assert issubclass(e.OwnerDiedError, e.ObjectLostError)
    assert issubclass(e.ObjectReconstructionFailedError, e.ObjectLostError)
    assert issubclass(e.ActorAlreadyExistsError, ValueError)
    assert issubclass(e.ActorHandleNotFoundError, ValueError)
    names = ["RayTaskError", "TaskCancelledError", "WorkerCrashedError", "RayActorError", "ObjectLostError"]
    names += ["ObjectStoreFullError", "OutOfMemoryError", "NodeDiedError", "RaySystemError", "RuntimeEnvSetupError"]
    names += ["TaskUnschedulableError", "ActorUnschedulableError", "PendingCallsLimitExceeded"]
    for name in names:
        assert issubclass(getattr(e, name), e.RayError), name


def test_result_that_cannot_be_pickled_names_the_culprit():
    @ray.remote
    def f():
        import threading

        return {"a": threading.Lock()}

    error = raised_by(f.remote())
    assert isinstance(error, TypeError)
    assert "lock" in plain(error)


def test_an_argument_that_cannot_be_pickled_is_refused_at_the_call():
    import threading

    with pytest.raises(TypeError, match="lock"):
        divide.remote(threading.Lock(), 1)


def test_a_closure_that_cannot_be_pickled_is_refused_at_the_call():
    import threading

    lock = threading.Lock()

    @ray.remote
    def f():
        return lock

    with pytest.raises(TypeError, match="lock"):
        f.remote()


def test_a_task_after_failures_runs_as_if_nothing_had_happened():
    for _ in range(5):
        raised_by(divide.remote(1, 0))
    assert until(lambda: ray.get(divide.remote(4, 2))) == 2
