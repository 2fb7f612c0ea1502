"""Actors: making them, calling them, their handles, their resources and their errors."""

# mypy: disable-error-code="attr-defined"
# mypy takes a decorated class for the class itself.

from __future__ import annotations

import os
import re

import pytest
import ray

from tests.process.semantics.support import Gate, manta_does_better, plain, until

pytestmark = pytest.mark.shared_cluster


@ray.remote
class Counter:
    """Counts."""

    def __init__(self, start=0):
        self.n = start

    def add(self, n=1):
        self.n += n
        return self.n

    def pid(self):
        return os.getpid()

    def fail(self):
        raise ValueError("failed")


def test_state_stays_between_calls():
    counter = Counter.remote(10)
    assert ray.get([counter.add.remote() for _ in range(3)]) == [11, 12, 13]


def test_each_actor_has_a_process_of_its_own():
    pids = ray.get([Counter.remote().pid.remote() for _ in range(2)])
    assert len({*pids, os.getpid()}) == 3


def test_constructor_arguments_may_be_refs_and_keywords():
    assert ray.get(Counter.remote(start=ray.put(5)).add.remote(n=ray.put(2))) == 7


def test_calls_of_one_caller_run_in_the_order_of_submission():
    @ray.remote
    class Log:
        def __init__(self):
            self.seen = []

        def write(self, n):
            self.seen.append(n)

        def read(self):
            return self.seen

    log = Log.remote()
    for n in range(200):
        log.write.remote(n)
    assert ray.get(log.read.remote()) == list(range(200))


def test_a_call_that_waits_for_its_argument_keeps_later_calls_of_its_caller_waiting(gate: Gate):
    """Order per caller is kept even if a later call could run."""

    @ray.remote
    def slow(gate):
        gate.wait()
        return 10

    counter = Counter.remote()
    first = counter.add.remote(slow.remote(gate))
    second = counter.add.remote(1)
    assert ray.wait([second], timeout=0.3) == ([], [second])
    gate.open()
    assert ray.get([first, second]) == [10, 11]


def test_a_call_whose_argument_failed_does_not_stop_the_next():
    @ray.remote
    def fails():
        raise KeyError("argument")

    counter = Counter.remote()
    failed, after = counter.add.remote(fails.remote()), counter.add.remote(1)
    with pytest.raises(KeyError):
        ray.get(failed)
    assert ray.get(after) == 1


def test_an_exception_leaves_the_actor_alive_with_its_state():
    counter = Counter.remote(1)
    with pytest.raises(ValueError, match="failed"):
        ray.get(counter.fail.remote())
    assert ray.get(counter.add.remote()) == 2


def test_the_text_of_an_error_names_class_method_and_actor():
    counter = Counter.remote()
    with pytest.raises(ValueError) as caught:
        ray.get(counter.fail.remote())
    first = plain(caught.value).splitlines()[0]
    assert re.match(r"ray::Counter\.fail\(\) \(pid=\d+, ip=[\d.]+, actor_id=[0-9a-f]{32}, repr=.*Counter", first)


def test_repr_of_the_instance_is_in_the_text_of_an_error():
    @ray.remote
    class Named:
        def __repr__(self):
            return "Named(7)"

        def fail(self):
            raise ValueError

    with pytest.raises(ValueError, match=r"repr=Named\(7\)"):
        ray.get(Named.remote().fail.remote())


def test_a_handle_says_bare_class_name_and_id():
    assert re.fullmatch(r"Actor\(Counter, ?[0-9a-f]{32}\)", repr(Counter.remote()))


def test_a_handle_travels_in_arguments_results_and_closures():
    counter = Counter.remote()

    @ray.remote
    def use(handle, handles):
        ray.get(handle.add.remote())
        ray.get(handles[0].add.remote())
        ray.get(counter.add.remote())
        return handle

    again = ray.get(use.remote(counter, [counter]))
    assert ray.get(again.add.remote()) == 4
    assert again == counter
    assert hash(again) == hash(counter)


def test_a_bound_method_travels():
    counter = Counter.remote()

    @ray.remote
    def call(method):
        return ray.get(method.remote(5))

    assert ray.get(call.remote(counter.add)) == 5


def test_a_method_may_be_kept_and_the_actor_lives_as_long():
    """Checked on Ray 2.60: `Counter.remote().add` keeps the actor alive."""
    add = Counter.remote().add
    assert ray.get(add.remote()) == 1
    assert ray.get(add.remote()) == 2


def test_an_actor_may_call_itself_through_its_handle():
    @ray.remote
    class Me:
        def handle(self):
            return ray.get_runtime_context().current_actor

        def ping(self):
            return "pong"

    assert ray.get(ray.get(Me.remote().handle.remote()).ping.remote()) == "pong"


def test_an_actor_may_make_actors_and_tasks():
    @ray.remote
    class Parent:
        def __init__(self):
            self.child = Counter.remote(1)

        def ask(self):
            return ray.get([self.child.add.remote(), ray.remote(lambda: 7).remote()])

    assert ray.get(Parent.remote().ask.remote()) == [2, 7]


def test_dir_of_a_handle_lists_the_methods():
    assert {"add", "pid", "fail"} <= set(dir(Counter.remote()))


def test_a_wrong_method_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="subtract"):
        Counter.remote().subtract.remote()


def test_class_and_methods_cannot_be_called_directly():
    with pytest.raises(TypeError, match=r"cannot be instantiated directly.*Counter\.remote\(\)"):
        Counter()
    with pytest.raises(TypeError, match=r"cannot be called directly.*\.remote\(\)"):
        Counter.remote().add()


def test_arguments_are_checked_by_the_caller():
    counter = Counter.remote()
    with pytest.raises(TypeError, match=r"too many positional arguments|positional arguments? but"):
        counter.add.remote(1, 2)
    with pytest.raises(TypeError, match="unexpected keyword argument 'm'"):
        counter.add.remote(m=1)
    with pytest.raises(TypeError, match=r"too many positional arguments|positional arguments? but"):
        Counter.remote(1, 2)


def test_a_decorated_class_cannot_be_a_base():
    with pytest.raises(TypeError):

        class Sub(Counter): ...


def test_a_subclass_of_a_plain_base_has_its_methods():
    class Base:
        def who(self):
            return type(self).__name__

    @ray.remote
    class Sub(Base):
        def ask(self):
            return self.who() + "!"

    sub = Sub.remote()
    assert ray.get([sub.who.remote(), sub.ask.remote()]) == ["Sub", "Sub!"]


def test_super_and_class_attributes_work():
    class Base:
        kind = "base"

        def __init__(self, n):
            self.n = n

    @ray.remote
    class Sub(Base):
        def __init__(self, n):
            super().__init__(n + 1)

        def read(self):
            return self.kind, self.n

    assert ray.get(Sub.remote(1).read.remote()) == ("base", 2)


def test_a_failing_constructor_fails_every_call_with_its_traceback():
    @ray.remote
    class Broken:
        def __init__(self):
            raise ZeroDivisionError("in the constructor")

        def ping(self): ...

    broken = Broken.remote()
    for _ in range(2):
        with pytest.raises(ray.exceptions.ActorDiedError) as caught:
            ray.get(broken.ping.remote(), timeout=30)
        assert "ZeroDivisionError: in the constructor" in plain(caught.value)
        assert caught.value.actor_init_failed


def test_remote_returns_before_the_constructor_has_run(gate: Gate):
    @ray.remote
    class Slow:
        def __init__(self, gate):
            gate.wait()

        def ping(self):
            return "pong"

    slow = Slow.remote(gate)
    ref = slow.ping.remote()
    assert ray.wait([ref], timeout=0.1) == ([], [ref])
    gate.open()
    assert ray.get(ref) == "pong"


def test_method_num_returns():
    @ray.remote
    class A:
        @ray.method(num_returns=2)
        def two(self):
            return 1, 2

        def one(self):
            return 1, 2

    a = A.remote()
    assert ray.get(a.two.remote()) == [1, 2]
    assert ray.get(a.one.options(num_returns=2).remote()) == [1, 2]
    assert ray.get(a.one.remote()) == (1, 2)


def test_method_refuses_an_unknown_setting():
    with pytest.raises(AssertionError, match="'pace'"):
        ray.method(pace=1)


def test_method_without_settings_changes_nothing():
    @ray.remote
    class A:
        @ray.method
        def ping(self):
            return "pong"

        @ray.method()
        def pong(self):
            return "ping"

    a = A.remote()
    assert ray.get([a.ping.remote(), a.pong.remote()]) == ["pong", "ping"]


def test_a_handle_takes_no_more_calls_than_it_may(gate: Gate):
    @ray.remote(max_pending_calls=2)
    class A:
        def wait(self, gate):
            if gate is not None:
                gate.wait()

    a = A.remote()
    ray.get(a.wait.remote(None))
    refs = [a.wait.remote(gate) for _ in range(2)]
    with pytest.raises(ray.exceptions.PendingCallsLimitExceeded, match="more than 2 tasks are queued on the actor"):
        a.wait.remote(None)
    gate.open()
    ray.get(refs)
    ray.get(a.wait.remote(None))


@pytest.mark.parametrize("limit", [0, -1])
def test_zero_and_minus_one_pending_calls_are_no_limit(gate: Gate, limit: int):
    @ray.remote(max_pending_calls=limit)
    class A:
        def wait(self, gate):
            gate.wait()

    a = A.remote()
    refs = [a.wait.remote(gate) for _ in range(5)]
    gate.open()
    ray.get(refs)


def test_a_class_without_a_constructor_takes_no_arguments():
    class Plain: ...

    with pytest.raises(TypeError, match="argument"):
        ray.remote(Plain).remote(1)
    with pytest.raises(TypeError, match="argument"):
        ray.remote(Plain).remote(x=1)


def test_options_of_a_class():
    named = Counter.options(num_cpus=0, name="options-of-a-class").remote(3)
    assert ray.get(named.add.remote()) == 4
    ray.kill(named)


def test_private_remote_of_class_and_method():
    counter = Counter._remote(args=(1,), kwargs={}, num_cpus=0)
    assert ray.get(counter.add._remote(args=(2,), kwargs={})) == 3


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"nonsense": 1}, ValueError),
        ({"max_restarts": -2}, ValueError),
        ({"max_task_retries": -2}, ValueError),
        ({"max_restarts": "1"}, TypeError),
        ({"lifetime": "eternal"}, ValueError),
        ({"name": ""}, ValueError),
        ({"name": 5}, TypeError),
        ({"get_if_exists": True}, ValueError),
        ({"namespace": 5}, TypeError),
        ({"num_cpus": -1}, ValueError),
        ({"max_concurrency": "2"}, TypeError),
    ],
)
def test_a_bad_option_is_refused_where_it_is_written(options: dict, error: type[Exception]):
    with pytest.raises(error):
        Counter.options(**options).remote()


@manta_does_better("Ray 2.60 takes max_concurrency=0 and the actor then never answers")
def test_no_concurrency_at_all_is_refused():
    with pytest.raises(ValueError, match="max_concurrency"):
        Counter.options(max_concurrency=0).remote()


def test_built_in_methods_exist():
    counter = Counter.remote(3)
    assert ray.get(counter.__ray_ready__.remote()) is True
    assert ray.get(counter.__ray_call__.remote(lambda self, n: self.n * n, 2)) == 6
    counter.__ray_terminate__.remote()
    with pytest.raises(ray.exceptions.RayActorError):
        for _ in range(1000):
            ray.get(counter.add.remote(), timeout=30)


@manta_does_better("Ray 2.60's actor class has no docstring")
def test_a_class_keeps_its_docstring():
    assert Counter.__doc__ == "Counts."


def test_static_and_class_methods_and_properties_are_not_remote():
    @ray.remote
    class A:
        size = property(lambda self: 3)

        @staticmethod
        def static(x):
            return x

        def ask(self):
            return self.static(self.size)

    assert ray.get(A.remote().ask.remote()) == 3


def test_an_actor_called_from_many_tasks_at_once_answers_every_call():
    """Each caller is a worker that has never seen the actor; none waits for ever."""
    counter = Counter.remote()

    @ray.remote
    def call(handle):
        return ray.get(handle.add.remote())

    for start in range(0, 128, 32):
        counts = ray.get([call.remote(counter) for _ in range(32)], timeout=30)
        assert sorted(counts) == list(range(start + 1, start + 33))


@ray.remote
class Friend:
    """Calls another one."""

    def meet(self, other):
        self.other = other

    def one(self):
        return 1

    def ask(self):
        return ray.get(self.other.one.remote())


def test_two_actors_call_each_other():
    """What each has told the other about its calls is its own."""
    first, second = Friend.remote(), Friend.remote()
    ray.get([first.meet.remote(second), second.meet.remote(first)])
    assert [ray.get(one.ask.remote()) for one in (first, second, first)] == [1, 1, 1]


def test_ten_actors_one_after_the_other():
    """What an actor held comes back; none of ten is refused."""
    for n in range(10):
        assert ray.get(Counter.options(num_cpus=1).remote(n).add.remote()) == n + 1
    until(lambda: ray.available_resources().get("CPU") == 4.0, what="all CPUs free")


# -- what an actor holds -----------------------------------------------------------------------------------------------


def free_cpus() -> float:
    return float(ray.available_resources().get("CPU", 0.0))


def test_by_default_an_actor_holds_no_cpu():
    """1 to be placed, 0 to run."""
    until(lambda: free_cpus() == 4.0)
    counters = [Counter.remote() for _ in range(6)]
    ray.get([counter.add.remote() for counter in counters])
    until(lambda: free_cpus() == 4.0, what="CPUs not held by actors")


def test_an_explicit_cpu_is_held_for_life():
    until(lambda: free_cpus() == 4.0)
    counter = Counter.options(num_cpus=1).remote()
    ray.get(counter.add.remote())
    until(lambda: free_cpus() == 3.0)
    del counter
    until(lambda: free_cpus() == 4.0)


def test_any_explicit_resource_makes_the_cpu_1_and_held():
    """The most misread rule of all: `resources={"slot": 1}` holds a CPU as well."""
    until(lambda: free_cpus() == 4.0)
    counter = Counter.options(resources={"slot": 1}).remote()
    ray.get(counter.add.remote())
    until(lambda: free_cpus() == 3.0, what="one CPU held")
    del counter
    until(lambda: free_cpus() == 4.0)


def test_a_handle_kept_in_another_actors_state_keeps_the_actor_alive():
    @ray.remote
    class Keeper:
        def keep(self, handles):
            self.handle = handles[0]

        def use(self):
            return ray.get(self.handle.add.remote())

    keeper, counter = Keeper.remote(), Counter.remote()
    ray.get(keeper.keep.remote([counter]))
    del counter
    assert ray.get(keeper.use.remote()) == 1
    assert ray.get(keeper.use.remote()) == 2
