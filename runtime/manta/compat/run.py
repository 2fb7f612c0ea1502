"""Runs a script, a module or a string as `__main__`, as the interpreter's own command line does."""

from __future__ import annotations

import builtins
import sys
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import find_spec
from os import getcwd
from os.path import dirname, isdir, join, realpath
from types import CodeType, ModuleType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any


def run_script(path: str, args: Sequence[str]) -> None:
    """Run a file of Python code; or a folder or zip file with a `__main__.py` in it.

    Raises:
        OSError: The file can't be read.
        SyntaxError: It is no Python.
    """
    full = join(getcwd(), path)
    if isdir(full) or _is_zip(full):
        sys.path[0] = full
        _run_module("__main__", [path, *args])
        return
    loader = SourceFileLoader("__main__", full)
    code = compile(loader.get_data(full), full, "exec", dont_inherit=True)
    sys.path[0] = dirname(realpath(full))
    _run(code, [path, *args], __file__=full, __loader__=loader, __package__=None, __cached__=None)


def run_module(name: str, args: Sequence[str]) -> None:
    """Run a module that can be imported, or a package's `__main__`, as `python -m` does.

    Raises:
        ImportError: There is no such module, or it can't be run.
    """
    sys.path[0] = getcwd()
    sys.argv = ["-m", *args]  # what packages see that are imported on the way to the module
    _run_module(name, args, own_argv0=True)


def run_code(code: str, args: Sequence[str]) -> None:
    """Run a string, as `python -c` does."""
    sys.path[0] = ""
    _run(compile(code, "<string>", "exec", dont_inherit=True), ["-c", *args], __loader__=None, __package__=None)


def _run_module(name: str, argv: Sequence[str], *, own_argv0: bool = False) -> None:
    spec = _find(name)
    if spec.submodule_search_locations is not None:
        spec = _find(f"{name}.__main__")
    get_code = getattr(spec.loader, "get_code", None)
    code = get_code(spec.name) if get_code is not None else None
    if code is None:
        raise ImportError(f"No code object available for {spec.name}", name=name)
    if own_argv0:
        argv = [spec.origin or name, *argv]
    names = {"__loader__": spec.loader, "__package__": spec.parent, "__spec__": spec, "__cached__": spec.cached}
    _run(code, argv, __file__=spec.origin, **names)


def _find(name: str) -> ModuleSpec:
    # `__main__` is this program until now, and would be found in sys.modules.
    shown = sys.modules.pop(name, None) if name == "__main__" else None
    try:
        spec = find_spec(name)
    finally:
        if shown is not None:
            sys.modules[name] = shown
    if spec is None:
        raise ModuleNotFoundError(f"No module named {name}", name=name)
    return spec


def _run(code: CodeType, argv: Sequence[str], **names: Any) -> None:
    # A module of its own in `sys.modules`, left there: threads and exit handlers of the program outlive this call, and
    # cloudpickle pickles a function by value because its module is the one named `__main__`.
    main = ModuleType("__main__")
    main.__dict__.update({"__builtins__": builtins, "__spec__": None} | names)
    sys.modules["__main__"] = main
    sys.argv = list(argv)
    exec(code, main.__dict__)  # noqa: S102 - running a program is what this module is for


def _is_zip(path: str) -> bool:
    from zipfile import is_zipfile

    return is_zipfile(path)
