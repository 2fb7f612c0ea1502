"""Libraries over the public API: what users build with, and could have built themselves.

What lives here is ordinary code that calls `remote`, `get` and `wait`, and small services for users. What does not: anything
the API itself needs. Names are loaded when they are first used, so that `import manta` does not pay for them.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from manta.util import placement_group, scheduling_strategies
    from manta.util.placement_group import (
        get_current_placement_group,
        get_placement_group,
        placement_group_table,
        remove_placement_group,
    )
    from manta.util.serialization import deregister_serializer, inspect_serializability, register_serializer
    from manta.util.streaming import as_completed, map_unordered

#: Public names and the modules that hold them.
_HOMES = {
    "as_completed": "streaming",
    "deregister_serializer": "serialization",
    "inspect_serializability": "serialization",
    "map_unordered": "streaming",
    "get_current_placement_group": "placement_group",
    "get_placement_group": "placement_group",
    "placement_group_table": "placement_group",
    "register_serializer": "serialization",
    "remove_placement_group": "placement_group",
}

#: Modules that users name without having imported them; the first can be called.
_MODULES = ("placement_group", "scheduling_strategies")

__all__ = [
    "as_completed",
    "deregister_serializer",
    "get_current_placement_group",
    "get_placement_group",
    "inspect_serializability",
    "map_unordered",
    "placement_group",
    "placement_group_table",
    "register_serializer",
    "remove_placement_group",
    "scheduling_strategies",
]


def __getattr__(name: str) -> object:
    from importlib import import_module

    if name in _MODULES:
        return import_module(f"{__name__}.{name}")
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    value: object = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES, *_MODULES})
