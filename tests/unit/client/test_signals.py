"""Where a KeyboardInterrupt may land: in user code at once, in ours never."""

from __future__ import annotations

import sys

import pytest

from manta.client.signals import Guarded, Interrupts, in_our_code, open_to_interrupts
from manta.core.handler_errors import is_handler_s


def calls(module: str, inner):
    """A function of that module that calls `inner`."""
    namespace = {"__name__": module, "inner": inner}
    exec("def function():\n    return inner()", namespace)
    return namespace["function"]


def here() -> bool:
    """Asked from a module that is nobody's: what the frames above decide."""
    return in_our_code(sys._getframe())


@pytest.mark.parametrize(
    "module",
    [
        "manta.client.pump",
        "manta.client",
        "manta.transport.channel",
        "manta.api.objects",
        "manta.worker.executor",
        "manta.clients",
    ],
)
def test_our_own_code_is_protected(module):
    """Each by its whole name: `manta.client` begins with `manta.cli`."""
    assert calls(module, here)()


@pytest.mark.parametrize(
    "module", ["manta.serde", "manta.serde.value", "manta.cli", "manta.cli.stack", "manta.util.queue"]
)
def test_modules_of_ours_that_hold_nothing_are_not(module):
    assert not calls(module, here)()


def test_modules_that_answer_for_others_are_as_their_callers():
    """An import in the middle of the pump asks the alias whether it is for it."""
    assert calls("manta.client.pump", calls("importlib._bootstrap", calls("manta.compat.alias", here)))()
    assert not calls("__main__", calls("manta.compat.alias", here))()


def test_user_code_is_not():
    assert not calls("__main__", here)()
    assert not calls("mantarays", here)()


def test_libraries_below_our_code_are_ours_and_below_user_code_the_users():
    library = calls("logging", here)

    assert calls("manta.client.links", library)()
    assert not calls("__main__", library)()


def test_the_nearest_frame_of_ours_decides():
    """User code that we call is the user's, also when we called it out of the middle of something."""
    pickling = calls("manta.serde.pickler", here)

    assert not calls("manta.client.direct", pickling)()
    assert calls("manta.serde.pickler", calls("manta.client.direct", here))()


def test_a_marked_function_opens_what_it_calls():
    function = calls("manta.worker.executor", calls("user_module", here))
    assert function()

    open_to_interrupts(function)
    assert not function()
    assert calls("manta.worker.executor", calls("user_module", here))(), "its twin is another function"


class Wakes:
    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> None:
        self.count += 1


def signal_in(module: str, interrupts: Interrupts) -> None:
    calls(module, lambda: interrupts._handle(2, sys._getframe(1)))()


@pytest.fixture
def unwatched(monkeypatch):
    """The interpreter does not say when user code goes on: nothing comes before the test asks for it."""
    monkeypatch.setattr(sys, "setprofile", lambda function: None)


@pytest.mark.usefixtures("unwatched")
def test_an_interrupt_in_our_code_waits_and_wakes_whoever_waits():
    wake, attend = Wakes(), Wakes()
    interrupts = Interrupts(wake, attend)

    signal_in("manta.client.pump", interrupts)

    assert interrupts.pending()
    assert (wake.count, attend.count) == (1, 1)
    with pytest.raises(KeyboardInterrupt):
        interrupts.raise_pending()
    assert not interrupts.pending()
    interrupts.raise_pending()  # once is enough


def test_one_that_waited_comes_before_user_code_calls_anything():
    interrupts = Interrupts(Wakes(), Wakes())
    called = []

    with pytest.raises(KeyboardInterrupt):
        signal_in("manta.client.pump", interrupts)
        called.append(1)

    assert not called
    assert sys.getprofile() is None
    assert not interrupts.pending()


def test_what_our_code_calls_meanwhile_is_still_ours():
    interrupts = Interrupts(Wakes(), Wakes())
    done = []

    def in_the_middle() -> None:
        interrupts._handle(2, sys._getframe(1))
        calls("logging", lambda: done.append(1))()
        calls("manta.compat.alias", lambda: done.append(2))()

    with pytest.raises(KeyboardInterrupt):
        calls("manta.client.pump", in_the_middle)()
        done.append(3)

    assert done == [1, 2]


def test_a_user_s_handler_runs_once_for_a_signal_that_came_in_our_code():
    interrupts = Interrupts(Wakes(), Wakes())
    ran = []
    guarded = Guarded(lambda number, frame: ran.append(number), interrupts)

    calls("manta.client.pump", lambda: guarded(14, sys._getframe()))()
    interrupts._nudged(23, sys._getframe())

    assert ran == [14]


def test_what_a_handler_raises_is_known_as_its_own():
    def handler(number: int, frame: object) -> None:
        raise ValueError("too long")

    with pytest.raises(ValueError, match="too long") as raised:
        Guarded(handler, Interrupts(Wakes(), Wakes())).run(14, None)

    assert is_handler_s(raised.value)
    assert not is_handler_s(ValueError("too long"))


@pytest.mark.usefixtures("unwatched")
def test_an_interrupt_in_user_code_is_raised_at_once_and_stands_for_all_before_it():
    interrupts = Interrupts(Wakes(), Wakes())
    signal_in("manta.client.pump", interrupts)

    with pytest.raises(KeyboardInterrupt):
        signal_in("__main__", interrupts)
    assert not interrupts.pending()


def test_an_interrupt_nobody_wants_is_dropped():
    """A worker's: the task it was meant for is over."""
    interrupts = Interrupts(Wakes(), Wakes())
    interrupts.wanted = lambda: False

    signal_in("__main__", interrupts)
    signal_in("manta.client.pump", interrupts)

    assert not interrupts.pending()


@pytest.mark.usefixtures("unwatched")
def test_one_that_comes_too_late_is_forgotten():
    interrupts = Interrupts(Wakes(), Wakes())
    signal_in("manta.client.pump", interrupts)
    interrupts.forget()

    interrupts.raise_pending()
