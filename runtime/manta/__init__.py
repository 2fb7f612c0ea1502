"""Manta: distributed Python on Kubernetes and on your laptop, with Ray Core's programming model.

    import manta

    @manta.remote
    def square(x):
        return x * x

    print(manta.get([square.remote(i) for i in range(10)]))

`import manta as ray` runs Ray Core programs unchanged; `python -m manta.compat script.py` runs those that say `import ray`.
"""

from manta.version import __version__

TYPE_CHECKING = False
if TYPE_CHECKING:
    from manta import actor as actor
    from manta import exceptions as exceptions
    from manta import util as util
    from manta.api.actor_classes import exit_actor, get_actor, method
    from manta.api.cluster import available_resources, cluster_resources, nodes
    from manta.api.context import get_gpu_ids, get_runtime_context
    from manta.api.decorator import remote
    from manta.api.init import init, is_initialized, shutdown
    from manta.api.objects import cancel, get, kill, put, wait
    from manta.client.generators import ObjectRefGenerator
    from manta.client.handles import ActorHandle
    from manta.client.refs import ObjectRef
    from manta.client.refs import ObjectRef as ObjectID
    from manta.core.ids import ActorID, JobID, NodeID, PlacementGroupID, TaskID, UniqueID, WorkerID

#: Where each name lives. It is fetched at its first use: control and raylet import this package too, and need none of them.
_HOMES = {
    **dict.fromkeys(("exit_actor", "get_actor", "method"), "api.actor_classes"),
    **dict.fromkeys(("available_resources", "cluster_resources", "nodes"), "api.cluster"),
    **dict.fromkeys(("get_gpu_ids", "get_runtime_context"), "api.context"),
    "remote": "api.decorator",
    **dict.fromkeys(("init", "is_initialized", "shutdown"), "api.init"),
    **dict.fromkeys(("cancel", "get", "kill", "put", "wait"), "api.objects"),
    "ObjectRefGenerator": "client.generators",
    "ActorHandle": "client.handles",
    "ObjectRef": "client.refs",
    **dict.fromkeys(("ActorID", "JobID", "NodeID", "PlacementGroupID", "TaskID", "UniqueID", "WorkerID"), "core.ids"),
}
_MODULES = frozenset(("actor", "compat", "exceptions", "testing", "util"))

__all__ = [
    "ActorHandle",
    "ActorID",
    "JobID",
    "NodeID",
    "ObjectID",
    "ObjectRef",
    "ObjectRefGenerator",
    "PlacementGroupID",
    "TaskID",
    "UniqueID",
    "WorkerID",
    "__version__",
    "available_resources",
    "cancel",
    "cluster_resources",
    "exit_actor",
    "get",
    "get_actor",
    "get_gpu_ids",
    "get_runtime_context",
    "init",
    "is_initialized",
    "kill",
    "method",
    "nodes",
    "put",
    "remote",
    "shutdown",
    "wait",
]


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if name == "ObjectID":  # Ray's older name of it
        return __getattr__("ObjectRef")
    if home is None and name not in _MODULES:
        raise AttributeError(f"module 'manta' has no attribute '{name}'")
    import importlib

    found: object = importlib.import_module(f"manta.{home or name}")
    if home is not None:
        found = getattr(found, name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_MODULES})
