"""Libraries over the public API: what users build with, and could have built themselves.

What lives here is ordinary code that calls `remote`, `get` and `wait`, and small services for users. What does not: anything
the API itself needs. Names are loaded when they are first used, so that `import manta` does not pay for them.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from manta.util.serialization import deregister_serializer, inspect_serializability, register_serializer
    from manta.util.streaming import as_completed, map_unordered

#: Public names and the modules that hold them.
_HOMES = {
    "as_completed": "streaming",
    "deregister_serializer": "serialization",
    "inspect_serializability": "serialization",
    "map_unordered": "streaming",
    "register_serializer": "serialization",
}

__all__ = ["as_completed", "deregister_serializer", "inspect_serializability", "map_unordered", "register_serializer"]


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value: object = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
