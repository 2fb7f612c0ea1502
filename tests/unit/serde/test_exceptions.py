"""Exceptions come back as themselves, whatever their constructor, `__reduce__` or `__str__` does; or say why not."""

import threading

import pytest

from manta import serde
from manta.core.errors import GetTimeoutError, RayTaskError, SerializationError, UnserializableException
from manta.core.errors.failure import Failure


def there_and_back(error):
    return serde.deserialize(serde.dump_exception(error))


class TwoArgumentsError(Exception):
    def __init__(self, code, text):
        super().__init__(f"{code}: {text}")
        self.code = code


class KeywordOnlyError(ValueError):
    def __init__(self, *, reason):
        self.reason = reason


class BrokenReduceError(Exception):
    def __reduce__(self):
        raise RuntimeError("no pickling today")


class BrokenTextError(Exception):
    def __str__(self):
        raise RuntimeError("no text today")

    __repr__ = __str__


class OtherThingError(Exception):
    def __reduce__(self):
        return str, ("not an exception",)


class HostileNewError(Exception):
    def __new__(cls, *args):
        if not args or args[0] != "made here":
            raise ZeroDivisionError("made elsewhere")
        return super().__new__(cls, *args)

    def __init__(self, *args):
        super().__init__()


@pytest.mark.parametrize(
    "error",
    [
        ValueError("text", 2),
        OSError(2, "No such file", "name"),
        UnicodeDecodeError("utf-8", b"x", 0, 1, "bad"),
        KeyError(("a", 1)),
        StopIteration(3),
        SystemExit(3),
        KeyboardInterrupt(),
        GetTimeoutError("waited"),
        serde.DeserializationError("damaged"),
        ExceptionGroup("several", [ValueError(1), TypeError(2)]),
        TwoArgumentsError(7, "seven"),
        KeywordOnlyError(reason="because"),
        BrokenReduceError("a", "b"),
        BrokenTextError("a"),
        OtherThingError("a"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_class_args_and_attributes_survive(error):
    back = there_and_back(error)

    assert type(back) is type(error)
    assert [repr(arg) for arg in back.args] == [repr(arg) for arg in error.args]
    assert back.__dict__ == error.__dict__


def test_notes_survive_and_the_c_fields_of_builtin_errors_do():
    error = OSError(2, "No such file", "name")
    error.add_note("while testing")
    back = there_and_back(error)

    assert (back.errno, back.filename, back.__notes__) == (2, "name", ["while testing"])


def test_classes_of_the_main_program_or_a_function_travel_by_value():
    class LocalError(Exception):
        def __init__(self, a, b):
            super().__init__(a + b)

    assert there_and_back(LocalError(1, 2)).args == (3,)


def test_an_exception_with_something_unpicklable_says_what():
    with pytest.raises(SerializationError, match="the exception ValueError") as caught:
        serde.dump_exception(ValueError("text", {"guard": threading.Lock()}))
    assert caught.value.reason == "cannot pickle '_thread.lock' object"
    assert "['guard']" in caught.value.path


def test_an_exception_that_can_never_be_made_again_says_why():
    with pytest.raises(SerializationError, match="does not survive pickling: made elsewhere"):
        serde.dump_exception(HostileNewError("made here"))


def test_refs_inside_an_exception_are_found():
    class Ref:
        pass

    ref = Ref()
    from manta.serde import pickler

    before = (pickler._ref_type, pickler._reduce_ref, pickler._handle_type, pickler._reduce_handle)
    serde.install_hooks(Ref, lambda ref: (str, ("a ref",)))
    try:
        assert serde.serialize_exception(ValueError(ref)).refs == (ref,)
    finally:
        pickler._ref_type, pickler._reduce_ref, pickler._handle_type, pickler._reduce_handle = before


def failed(function) -> Failure:
    try:
        function()
    except Exception as error:
        return Failure.describe(error, serde.dump_exception, function=function.__name__, pid=1, ip="10.0.0.1")
    raise AssertionError("did not raise")


def test_a_failure_is_an_instance_of_what_was_raised_though_its_constructor_takes_other_arguments():
    def sell():
        raise TwoArgumentsError(7, "sold out")

    error = failed(sell).to_error(serde.deserialize)

    assert isinstance(error, RayTaskError)
    assert isinstance(error, TwoArgumentsError)
    assert error.code == 7
    assert "TwoArgumentsError: 7: sold out" in str(error)


def test_a_failure_whose_exception_has_a_lock_inside_keeps_its_name_and_text():
    def sell():
        raise ValueError("sold out", threading.Lock())

    failure = failed(sell)

    assert failure.classes[0] == "builtins.ValueError"
    assert "sold out" in failure.message
    error = failure.to_error(serde.deserialize)
    assert isinstance(error, RayTaskError)
    assert "sold out" in str(error)
    text = str(error.cause)
    assert "ValueError isn't serializable" in text
    assert "cannot pickle '_thread.lock' object" in text


def test_a_failure_of_a_class_that_is_not_here_shows_the_original_traceback():
    def sell():
        raise ValueError("sold out")

    failure = failed(sell)
    failure.cause = b"\x80\x05cnowhere_to_be_found\nSoldOut\n."
    error = failure.to_error(serde.deserialize)

    assert isinstance(error, UnserializableException)
    assert "Failed to deserialize exception" in str(error)
    assert "No module named 'nowhere_to_be_found'" in str(error)
    assert 'raise ValueError("sold out")' in str(error)
