"""`import ray` gives Manta's own module objects, under any spelling, and nothing else."""

import subprocess
import sys
import textwrap

import pytest


def run(code, *, path=None, ok=True):
    """Run code in a process of its own: the alias is a property of a whole process."""
    env_path = f"import sys; sys.path.insert(0, {str(path)!r})\n" if path else ""
    done = subprocess.run(
        [sys.executable, "-c", env_path + textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode == 0) is ok, done.stderr
    return done.stdout if ok else done.stderr


def test_every_spelling_of_an_import_gives_mantas_module():
    run(
        """
        import manta.compat
        manta.compat.install()
        import ray
        import ray.exceptions
        import ray.util.check_serialize as check
        from ray import util
        from ray.util import inspect_serializability
        from ray.exceptions import GetTimeoutError
        import importlib, sys, manta, manta.exceptions, manta.util, manta.util.check_serialize

        assert ray is manta is sys.modules["ray"]
        assert ray.exceptions is manta.exceptions is sys.modules["ray.exceptions"]
        assert check is manta.util.check_serialize
        assert util is manta.util
        assert inspect_serializability is manta.util.inspect_serializability
        assert GetTimeoutError is manta.exceptions.GetTimeoutError
        assert importlib.import_module("ray.util") is manta.util
        """
    )


def test_manta_stays_what_it_was():
    """An alias that wrote its own spec into the module would break reload, find_spec and relative imports."""
    run(
        """
        import manta.compat, manta.util, importlib.util, sys
        specs = manta.__spec__, manta.util.__spec__
        manta.compat.install()
        import ray, ray.util
        import ray.util.serialization  # loaded through the alias first
        import manta.util.serialization as own
        assert (manta.__spec__, manta.util.__spec__) == specs
        assert ray.util.serialization is own
        assert own.__spec__.name == own.__name__ == "manta.util.serialization"
        assert own.__spec__.loader is own.__loader__
        assert importlib.util.find_spec("ray.util").name == "manta.util"
        assert importlib.reload(manta.util) is ray.util
        """
    )


def test_parts_that_manta_does_not_have_are_named():
    out = run(
        """
        import manta.compat
        manta.compat.install()
        import ray.util
        for statement in (
            "import ray.data",
            "import ray.data.context",
            "from ray.util import nothing",
            "import ray.util.nothing.at.all",
        ):
            try:
                exec(statement)
            except ImportError as error:
                print(type(error).__name__, error.name, "|", error)
        try:
            ray.util.nothing
        except AttributeError as error:
            print(error)
        """
    )
    missing = "ModuleNotFoundError {0} | No module named '{0}': 'ray' is Manta here, and Manta has no module '{1}'"
    assert out.splitlines() == [
        missing.format("ray.data", "manta.data"),
        missing.format("ray.data", "manta.data"),
        f"ImportError manta.util | cannot import name 'nothing' from 'manta.util' ({_util_file()})",
        missing.format("ray.util.nothing", "manta.util.nothing"),
        "module 'manta.util' has no attribute 'nothing'",
    ]


def _util_file():
    import manta.util

    return manta.util.__file__


def test_a_module_of_ours_that_fails_to_import_fails_as_itself(tmp_path):
    out = run(
        """
        import manta.compat, manta.util
        manta.compat.install()
        manta.util.__path__.append(sys.path[0])
        for attempt in range(2):
            try:
                import ray.util.broken
            except ZeroDivisionError:
                print("raised", "ray.util.broken" in sys.modules, "manta.util.broken" in sys.modules)
        """,
        path=_with_file(tmp_path, "broken.py", "1 / 0"),
    )
    assert out.splitlines() == ["raised False False"] * 2


def _with_file(folder, name, text):
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return folder


@pytest.fixture
def installed_ray(tmp_path):
    """A folder that holds what looks like an installed Ray."""
    _with_file(tmp_path, "ray/__init__.py", "REAL = True")
    return _with_file(tmp_path, "ray/data.py", "REAL = True")


def test_the_alias_wins_over_an_installed_ray_and_lets_it_go_again(installed_ray):
    run(
        """
        import manta, manta.compat
        manta.compat.install()
        import ray, ray.util
        assert ray is manta
        try:
            import ray.data
        except ModuleNotFoundError:
            pass
        else:
            raise AssertionError("half a Ray")
        manta.compat.uninstall()
        assert not [name for name in sys.modules if name.partition(".")[0] == "ray"]
        import ray.data
        assert ray.REAL and ray.data.REAL and ray is not manta
        """,
        path=installed_ray,
    )


def test_a_ray_that_is_imported_already_is_not_replaced(installed_ray):
    out = run(
        """
        import ray, manta.compat
        try:
            manta.compat.install()
        except ImportError as error:
            print(error)
        assert not manta.compat.is_installed()
        assert ray.REAL and sys.modules["ray"] is ray
        """,
        path=installed_ray,
    )
    assert "'ray' is already imported (" in out
    assert "before the first 'import ray'" in out


def test_installing_is_repeatable_cheap_and_undone():
    run(
        """
        import sys
        before = set(sys.modules)
        import manta.compat
        manta.compat.install()
        manta.compat.install()
        assert manta.compat.is_installed()
        assert len([finder for finder in sys.meta_path if type(finder).__module__ == "manta.compat.alias"]) == 1
        heavy = {"re", "enum", "typing", "importlib.util", "importlib.abc", "runpy", "dataclasses", "asyncio"}
        assert not (set(sys.modules) - before) & heavy, (set(sys.modules) - before) & heavy
        manta.compat.uninstall()
        manta.compat.uninstall()
        assert not manta.compat.is_installed()
        assert len([finder for finder in sys.meta_path if type(finder).__module__ == "manta.compat.alias"]) == 0
        """
    )


def test_pickles_that_name_ray_load():
    run(
        """
        import pickle, manta.compat
        manta.compat.install()
        assert pickle.loads(b"cray.exceptions\\nGetTimeoutError\\n.") is __import__("manta.exceptions").exceptions.GetTimeoutError
        """
    )


def test_threads_that_import_at_once_get_one_module():
    run(
        """
        import threading, importlib, manta.compat
        manta.compat.install()
        start, got = threading.Barrier(8), []
        def load(name):
            start.wait()
            got.append(importlib.import_module(name))
        names = ["ray.util.serialization", "manta.util.serialization"] * 4
        threads = [threading.Thread(target=load, args=(name,)) for name in names]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        assert len(got) == 8 and len(set(map(id, got))) == 1
        assert got[0].__spec__.name == "manta.util.serialization"
        """
    )
