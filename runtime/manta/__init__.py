"""Manta: distributed Python on Kubernetes and on your laptop, with Ray Core's programming model.

    import manta

    @manta.remote
    def square(x):
        return x * x

    print(manta.get([square.remote(i) for i in range(10)]))

`import manta as ray` runs Ray Core programs unchanged; `python -m manta.compat script.py` runs those that say `import ray`.
"""

from manta.api.actor_classes import exit_actor, get_actor, method
from manta.api.cluster import available_resources, cluster_resources, nodes
from manta.api.context import get_gpu_ids, get_runtime_context
from manta.api.decorator import remote
from manta.api.init import init, is_initialized, shutdown
from manta.api.objects import cancel, get, kill, put, wait
from manta.client.refs import ObjectRef
from manta.core.ids import ActorID, JobID, NodeID, ObjectID, PlacementGroupID, TaskID, UniqueID, WorkerID
from manta.version import __version__

TYPE_CHECKING = False
if TYPE_CHECKING:
    from manta.client.generators import ObjectRefGenerator as ObjectRefGenerator
    from manta.client.handles import ActorHandle as ActorHandle

__all__ = [
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
    """Names that would make `import manta` slow: modules below it, and the handle's class."""
    if name in ("util", "exceptions", "compat", "actor"):
        import importlib

        return importlib.import_module(f"manta.{name}")
    if name == "ObjectRefGenerator":
        from manta.client.generators import ObjectRefGenerator

        return ObjectRefGenerator
    if name == "ActorHandle":
        from manta.client.handles import ActorHandle

        return ActorHandle
    raise AttributeError(f"module 'manta' has no attribute '{name}'")
