"""`inspect_serializability`, `register_serializer` and `deregister_serializer`, as users call them."""

import io
import subprocess
import sys
import threading

import cloudpickle
import pytest

from manta import serde
from manta.util import deregister_serializer, inspect_serializability, register_serializer


class Connection:
    def __init__(self, host):
        self.host = host
        self.guard = threading.Lock()


def there_and_back(value):
    return serde.deserialize(serde.to_bytes(serde.serialize(value)))


def test_a_registered_class_is_pickled_as_it_was_told_until_it_is_deregistered():
    register_serializer(Connection, serializer=lambda c: c.host, deserializer=Connection)
    try:
        assert there_and_back([Connection("db")])[0].host == "db"
        assert cloudpickle.loads(cloudpickle.dumps(Connection("db"))).host == "db"
        register_serializer(Connection, serializer=lambda c: c.host, deserializer=lambda host: Connection(host * 2))
        assert there_and_back(Connection("db")).host == "dbdb"
    finally:
        deregister_serializer(Connection)
    deregister_serializer(Connection)  # twice is fine

    with pytest.raises(TypeError, match="lock"):
        serde.serialize(Connection("db"))


def test_deregistering_a_class_that_pickle_knows_anyway_changes_nothing():
    deregister_serializer(property)
    assert there_and_back(property(len)).fget is len
    register_serializer(property, serializer=str, deserializer=len)
    deregister_serializer(property)
    assert there_and_back(property(len)).fget is len


@pytest.mark.parametrize("cls", [int, dict, type, None, Connection("x")])
def test_registering_what_would_have_no_effect_is_refused(cls):
    with pytest.raises(TypeError, match=r"expects a class|has a fixed form"):
        register_serializer(cls, serializer=str, deserializer=str)


def test_inspecting_names_the_innermost_part_and_its_parent():
    out = io.StringIO()
    guard = threading.Lock()

    def locked():
        return guard

    ok, failures = inspect_serializability(locked, name="locked", print_file=out)
    (failure,) = failures

    assert ok is False
    assert (failure.name, failure.obj, failure.parent) == ("guard", guard, locked)
    text = out.getvalue()
    assert "Checking Serializability of <function" in text
    assert "!!! FAIL serialization: cannot pickle '_thread.lock' object" in text
    assert "FailTuple(guard [obj=<unlocked _thread.lock" in text
    assert "was found to be non-serializable" in text


def test_inspecting_finds_several_parts_and_keeps_to_its_depth():
    a, b = threading.Lock(), threading.Lock()
    nested = {"x": [a], "y": b}

    _, failures = inspect_serializability(nested, print_file=io.StringIO())
    assert {failure.obj for failure in failures} == {a, b}
    _, failures = inspect_serializability(nested, depth=1, print_file=io.StringIO())
    assert [failure.obj for failure in failures if failure.obj is b] == [b]
    assert [failure.obj for failure in failures if failure.obj is not b] == [[a]]
    _, failures = inspect_serializability(a, name="a", print_file=io.StringIO())
    assert [(failure.obj, failure.name, failure.parent) for failure in failures] == [(a, "a", None)]


def test_inspecting_what_is_fine_says_so(capsys):
    assert inspect_serializability([1, "a"]) == (True, set())
    assert "Checking Serializability of [1, 'a']" in capsys.readouterr().out


def test_inspecting_survives_an_object_that_hides():
    class Shy:
        def __repr__(self):
            raise RuntimeError

        def __reduce_ex__(self, protocol):
            raise RuntimeError("no")

    ok, failures = inspect_serializability([Shy()], print_file=io.StringIO())
    assert (ok, [failure.name for failure in failures]) == (False, ["[0]"])


def test_util_loads_its_names_when_they_are_used():
    code = (
        "import sys, manta.util\nassert 'manta.util.serialization' not in sys.modules\n"
        "from manta.util.check_serialize import inspect_serializability\n"
        "assert manta.util.inspect_serializability is inspect_serializability\n"
        "assert 'register_serializer' in dir(manta.util)\n"
        "try: manta.util.nothing\nexcept AttributeError as e: print(e)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout == "module 'manta.util' has no attribute 'nothing'\n"
