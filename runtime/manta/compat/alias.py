"""Makes `ray[.x.y]` the very module object `manta[.x.y]`."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.machinery import ModuleSpec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

ALIAS = "ray"
TARGET = "manta"

#: Modules that have another name here.
ELSEWHERE = {"ray.cluster_utils": "manta.testing.cluster"}


def install() -> None:
    """Let `ray` mean Manta in this process, from now on. Cheap, and may be called again.

    Raises:
        ImportError: The real Ray, or anything else named `ray`, is imported already.
    """
    if is_installed():
        return
    present = sys.modules.get(ALIAS)
    if present is not None and present is not sys.modules.get(TARGET):
        where = getattr(present, "__file__", None) or "no file"
        raise ImportError(
            f"a module named {ALIAS!r} is already imported ({where}): what holds it would not become Manta. "
            f"Call manta.compat.install() before the first 'import {ALIAS}', or run the program with "
            "'python -m manta.compat'.",
            name=ALIAS,
        )
    # First: it has to win over an installed Ray, which the path finder would find.
    sys.meta_path.insert(0, _FINDER)


def uninstall() -> None:
    """Undo `install`. Modules keep what they imported; a later `import ray` finds what is installed, if anything."""
    sys.meta_path[:] = [finder for finder in sys.meta_path if finder is not _FINDER]
    for name, module in list(sys.modules.items()):
        if _is_ours(name) and module is sys.modules.get(_target_of(name)):
            del sys.modules[name]


def is_installed() -> bool:
    """True if `import ray` gives Manta in this process."""
    return _FINDER in sys.meta_path


def _is_ours(name: str) -> bool:
    return name == ALIAS or name.startswith(f"{ALIAS}.")


def _target_of(name: str) -> str:
    return ELSEWHERE.get(name) or TARGET + name[len(ALIAS) :]


class _AliasFinder:
    """Answers for `ray` and all below it, so that nothing of them is ever found elsewhere or loaded twice."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not _is_ours(fullname):
            return None
        from importlib.util import find_spec  # late: a worker installs the alias whether or not its code uses it

        wanted = _target_of(fullname)
        if wanted not in sys.modules and find_spec(wanted) is None:
            raise ModuleNotFoundError(
                f"No module named {fullname!r}: {ALIAS!r} is Manta here, and Manta has no module {wanted!r}",
                name=fullname,
            )
        # No subclass of importlib.abc.Loader, whose import costs workers 5 ms for nothing.
        return ModuleSpec(fullname, _AliasLoader(), origin=f"alias of {wanted}")  # type: ignore[arg-type]


class _AliasLoader:
    """Loads `ray.x` by importing `manta.x`."""

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = import_module(_target_of(spec.name))
        # The import system is about to write the alias's spec into the module; `exec_module` puts its own back.
        spec.loader_state = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        alias = module.__spec__
        assert alias is not None
        module.__spec__ = alias.loader_state


_FINDER = _AliasFinder()
