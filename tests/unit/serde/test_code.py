"""Functions and classes: those of the main program and of other functions by value, those of modules by name."""

import functools
import logging
import operator
import subprocess
import sys
import textwrap
import types
import typing
import weakref

import cloudpickle
import pytest

from manta import serde


def there_and_back(value):
    return serde.deserialize(serde.to_bytes(serde.serialize(value)))


def module_level(x):
    return x + 1


class ModuleLevel:
    class Nested:
        pass

    @classmethod
    def make(cls):
        return cls()

    def method(self):
        return "called"


@pytest.mark.parametrize(
    "code", [module_level, ModuleLevel, ModuleLevel.Nested, len, operator.add, functools.reduce, logging.Logger]
)
def test_what_a_module_holds_under_its_name_goes_by_name(code):
    serialized = serde.to_bytes(serde.serialize(code))
    assert serde.deserialize(serialized) is code
    assert len(serialized) < 120


def test_functions_of_functions_go_by_value_with_what_they_captured():
    def scale(factor, offset=1):
        return lambda x: factor * x + offset + module_level(0)

    assert there_and_back(scale(3))(2) == 8
    assert there_and_back([scale, scale(2)])[1](5) == 12


def test_code_remembers_its_file():
    """Tracebacks name the user's file and show its line; cloudpickle alone would say "<dynamic-code>"."""

    def outer():
        return lambda: 1 / 0

    class Local:
        def method(self): ...

    for code, file in [
        (there_and_back(outer), __file__),
        (there_and_back(outer)(), __file__),
        (there_and_back(Local).method, __file__),
        (there_and_back(eval(compile("lambda: 1", "<stdin>", "eval"))), "<stdin>"),
    ]:
        assert code.__code__.co_filename == file


def test_recursive_and_mutually_recursive_functions_come_back():
    def even(n):
        return n == 0 or odd(n - 1)

    def odd(n):
        return n != 0 and even(n - 1)

    assert there_and_back(even)(10)


def test_functions_of_one_value_share_their_globals_and_values_do_not():
    namespace = {"counter": 0, "__name__": "nowhere"}
    exec("def up():\n global counter\n counter += 1\ndef show(): return counter", namespace)
    up, show = there_and_back((namespace["up"], namespace["show"]))
    up()

    assert show() == 1
    assert namespace["counter"] == 0
    assert there_and_back(namespace["show"])() == 0


def test_local_classes_go_by_value_and_are_one_class_for_all_values():
    class Local:
        registry = None

        def __init__(self, x):
            self.x = x

        def double(self):
            return super().__repr__() and self.x * 2

    first, second = there_and_back(Local(1)), there_and_back(Local(2))
    assert type(first) is type(second)
    assert first.double() == 2


def test_bound_methods_partials_properties_and_views_come_back():
    assert there_and_back(ModuleLevel().method)() == "called"
    assert type(there_and_back(ModuleLevel.make)()) is ModuleLevel
    assert there_and_back(functools.partial(module_level, 1))() == 2
    assert there_and_back(property(module_level)).fget is module_level
    assert list(there_and_back({"a": 1}.keys())) == ["a"]
    assert there_and_back(types.MappingProxyType({"a": 1})) == {"a": 1}
    assert there_and_back(memoryview(b"abc")) == b"abc"
    assert there_and_back(logging.getLogger("x")) is logging.getLogger("x")
    assert there_and_back(sys) is sys
    assert there_and_back(module_level.__code__) == module_level.__code__
    assert isinstance(there_and_back(weakref.WeakSet()), weakref.WeakSet)
    assert there_and_back(T) is T


T = typing.TypeVar("T")


def test_metaclasses_that_refuse_to_be_looked_at_do_not_break_pickling():
    class Meta(type):
        def __getattribute__(cls, name):
            if name == "__module__":
                raise RuntimeError("private")
            return super().__getattribute__(name)

    class Shy(metaclass=Meta):
        pass

    with pytest.raises(TypeError, match="private"):
        serde.serialize(Shy)


def test_modules_registered_by_value_go_by_value():
    module = types.ModuleType("registered_module")
    sys.modules["registered_module"] = module
    exec("def answer(): return 42", module.__dict__)
    by_name = serde.to_bytes(serde.serialize(module.answer))
    cloudpickle.register_pickle_by_value(module)
    try:
        by_value = serde.to_bytes(serde.serialize(module.answer))
    finally:
        cloudpickle.unregister_pickle_by_value(module)
        del sys.modules["registered_module"]

    assert serde.deserialize(by_value)() == 42
    with pytest.raises(serde.DeserializationError):
        serde.deserialize(by_name)


def run(code, *args, data=b""):
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *args], input=data, capture_output=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def test_functions_and_classes_of_the_main_program_run_in_a_process_that_has_another():
    data = run(
        """
        import sys, enum, dataclasses
        from manta import serde
        base = 40
        class Color(enum.Enum):
            RED = 2
        @dataclasses.dataclass
        class Point:
            x: int
            def up(self): return self.x + base
        def work(): return Point(Color.RED.value).up()
        sys.stdout.buffer.write(serde.to_bytes(serde.serialize([work, Point(1), Color.RED])))
        """
    )
    result = run(
        """
        import sys
        from manta import serde
        work, point, color = serde.deserialize(sys.stdin.buffer.read())
        print(work(), point.up(), color.name, type(color) is type(color)(2).__class__)
        """,
        data=data,
    )
    assert result.split() == [b"42", b"41", b"RED", b"True"]


def test_plain_values_and_refs_import_no_cloudpickle_and_code_does():
    """15-40 ms that a program of plain values does not pay; and nothing of the like at import."""
    result = run(
        """
        import sys
        from manta import serde
        class Ref: pass
        serde.install_hooks(Ref, lambda ref: (str, ("ref",)))
        heavy = {"cloudpickle", "asyncio", "dataclasses", "enum", "inspect", "re", "pickle", "typing", "hashlib", "logging"}
        before = {name for name in heavy if name in sys.modules}
        data = serde.to_bytes(serde.serialize([1, {"a": (b"x", 2.5, Ref())}, bytearray(100)]))
        serde.deserialize(data)
        assert not {name for name in heavy if name in sys.modules} - before, sys.modules.keys() & heavy
        print(sorted(before))
        serde.serialize(Ref)
        assert "cloudpickle" in sys.modules
        """
    )
    assert result.strip() == b"[]"
