"""The fields of a runtime environment besides its variables: folders that workers get, and how long they may wait for them.

They travel as variables of the worker (`core.environment` has their names), so that they are inherited, merged and told apart as
those are. A folder is `{"path": ...}` until `api.uploads` has put it into the cluster; then it has `hash`, `ref` and `size`.
A detached actor's has `pieces`, too: hashes of what control keeps of it.
"""

from __future__ import annotations

from manta.core.environment import PY_MODULES, SETUP_TIMEOUT, WORKING_DIR

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Final

#: Variables that are not the user's.
RESERVED: Final = frozenset((WORKING_DIR, PY_MODULES, SETUP_TIMEOUT))
#: Fields that something acts on.
BUILT: Final = ("env_vars", "working_dir", "py_modules", "excludes", "config")
#: How long a worker waits for its folders unless it is told, as Ray has it.
SETUP_S: Final = 600

_CONFIG: Final = ("setup_timeout_seconds", "eager_install")


def check_folders(value: Mapping[str, Any]) -> str | None:
    """What is wrong with the other fields, if anything. Raises TypeError for wrong types."""
    folder = value.get("working_dir")
    if folder is not None:
        if not isinstance(folder, str):
            raise TypeError(f"runtime_env['working_dir'] must be the path of a folder, got {type(folder)}")
        if wrong := _check_path("runtime_env['working_dir']", folder):
            return wrong
    modules = value.get("py_modules")
    if modules is not None:
        if not isinstance(modules, list | tuple):
            raise TypeError(f"runtime_env['py_modules'] must be a list of paths or modules, got {type(modules)}")
        for one in modules:
            if not isinstance(one, str) and not getattr(one, "__path__", None):
                raise TypeError(
                    f"runtime_env['py_modules'] must be a list of paths or packages, and holds {one!r:.100}"
                )
            if isinstance(one, str) and (wrong := _check_path("runtime_env['py_modules']", one)):
                return wrong
    excludes = value.get("excludes")
    if excludes is not None and (
        not isinstance(excludes, list | tuple) or not all(isinstance(one, str) for one in excludes)
    ):
        raise TypeError(f"runtime_env['excludes'] must be a list of patterns, got {excludes!r:.100}")
    return check_config(value.get("config"))


def check_config(config: object) -> str | None:
    """What is wrong with `runtime_env["config"]`, if anything. Raises TypeError for wrong types."""
    if config is None:
        return None
    if not isinstance(config, dict):
        raise TypeError(f"runtime_env['config'] must be a dict, got {type(config)}")
    for name in config:
        if name not in _CONFIG:
            return f"runtime_env['config'] has no field {name!r:.100}. Valid ones are {list(_CONFIG)}."
    seconds, eager = config.get("setup_timeout_seconds", SETUP_S), config.get("eager_install", True)
    if not isinstance(seconds, int) or isinstance(seconds, bool):
        raise TypeError(f"setup_timeout_seconds must be of type int, got: {type(seconds)}")
    if not isinstance(eager, bool):
        raise TypeError(f"eager_install must be a boolean. got {type(eager)}")
    if seconds != -1 and not 0 < seconds < 1 << 31:
        return f"setup_timeout_seconds must be greater than zero or equal to -1, got: {seconds!r:.50}"
    return None


def _check_path(where: str, path: str) -> str | None:
    if "://" in path:
        return f"{where} holds {path!r:.200}: remote packages are not built, it takes a local folder or .zip file."
    if not path or "\0" in path:
        return f"{where} holds {path!r:.200}, which is no path of a folder or .zip file."
    return None


def variables(runtime_env: Mapping[str, Any] | None) -> tuple[tuple[str, str], ...]:
    """Variables of a worker in this environment, sorted. Paths become absolute, as seen from the current folder."""
    if not runtime_env:
        return ()
    found = dict(runtime_env.get("env_vars") or {})
    folder, modules = runtime_env.get("working_dir"), runtime_env.get("py_modules")
    if folder or modules:
        import json

        excludes = list(runtime_env.get("excludes") or ())
        if folder:
            found[WORKING_DIR] = json.dumps([_folder(folder, excludes)])
        if modules:
            entries = [_folder(one if isinstance(one, str) else one.__path__[0], excludes) for one in modules]
            # A module is imported by the name of its folder, so that comes along.
            found[PY_MODULES] = json.dumps([entry | {"named": True} for entry in entries])
    seconds = (runtime_env.get("config") or {}).get("setup_timeout_seconds")
    if seconds is not None:
        found[SETUP_TIMEOUT] = str(seconds)
    return tuple(sorted(found.items()))


def _folder(path: str, excludes: list[str]) -> dict[str, Any]:
    import os

    return {"path": os.path.abspath(os.path.expanduser(path)), "excludes": excludes}


def fields(environment: Mapping[str, str]) -> dict[str, Any]:
    """The runtime environment of a worker with these variables, as it is shown to programs."""
    found: dict[str, Any] = {}
    plain = {name: text for name, text in environment.items() if name not in RESERVED}
    if plain:
        found["env_vars"] = plain
    for name, field in ((WORKING_DIR, "working_dir"), (PY_MODULES, "py_modules")):
        if name in environment:
            import json

            names = [uri(entry) for entry in json.loads(environment[name])]
            found[field] = names[0] if field == "working_dir" else names
    if SETUP_TIMEOUT in environment:
        found["config"] = {"setup_timeout_seconds": int(environment[SETUP_TIMEOUT])}
    return found


def uri(entry: Mapping[str, Any]) -> str:
    """What people call a folder that is in the cluster."""
    return f"gcs://_manta_pkg_{entry['hash']}.zip" if "hash" in entry else str(entry["path"])
