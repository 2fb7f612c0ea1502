"""Options that are specified and validated but that nothing acts on yet.

Using one raises NotImplementedError: an option that is accepted and ignored would be a lie. Whoever builds one removes
its line here, and nothing else.
"""

from __future__ import annotations

from manta.core.options.environments import BUILT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any


def _given(value: object) -> bool:
    return bool(value)


def _not_default(*defaults: object) -> Callable[[Any], bool]:
    def asks(value: object) -> bool:
        return not any(value is default or value == default for default in defaults)

    return asks


def _other_fields(value: dict[str, Any] | None) -> bool:
    return any(field not in BUILT and content for field, content in (value or {}).items())


def _dynamic(value: object) -> bool:
    return value == "dynamic"


#: Option, when it asks for what is not there, and what that is.
NOT_BUILT: tuple[tuple[str, Callable[[Any], bool], str], ...] = (
    ("runtime_env", _other_fields, f"other fields of a runtime_env than {', '.join(BUILT)}; have packages installed"),
    ("enable_tensor_transport", _given, "tensor transports"),
    ("tensor_transport", _given, "tensor transports"),
    ("_actor_generator_backpressure_num_objects", _not_default(-1, None), "a limit on all generators of an actor"),
    ("num_returns", _dynamic, "num_returns='dynamic'; num_returns='streaming' is"),
    # of init()
    ("logging_config", _given, "logging_config"),
    ("job_config", _given, "job_config"),
    ("enable_resource_isolation", _given, "resource isolation by cgroups"),
    ("cgroup_path", _given, "resource isolation by cgroups"),
    ("system_reserved_cpu", _given, "resource isolation by cgroups"),
    ("system_reserved_memory", _given, "resource isolation by cgroups"),
    ("proxy_server_url", _given, "a proxy in front of the dashboard"),
)


def refuse_not_built(given: Mapping[str, object]) -> None:
    """Raise NotImplementedError for the first option that asks for what is not built."""
    for name, asks, what in NOT_BUILT:
        if name in given and asks(given[name]):
            raise NotImplementedError(f"The option '{name}' cannot be used yet: not built is {what}.")
