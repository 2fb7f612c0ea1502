"""Options of tasks, actors, methods and `init()`: which there are, what they may hold, what follows from them.

- `table`: every option with its types and checks.
- `not_built`: those that nothing acts on yet, in one place.
- `compiled`: what the engine reads, made from what users write.
- `init`: the arguments of `init()`. Not imported here: it is needed once.
"""

from __future__ import annotations

from manta.core.options.compiled import (
    ASYNC_CONCURRENCY,
    STREAMING,
    ActorOptions,
    MethodOptions,
    TaskOptions,
    actor_options,
    method_options,
    task_options,
)
from manta.core.options.table import REMOTE

#: What `@remote()` and `remote(5)` say.
REMOTE_MISUSE = (
    "The @ray.remote decorator must be applied either with no arguments and no parentheses, for example '@ray.remote', or "
    f"it must be applied using some of the arguments in the list {list(REMOTE)}, for example "
    "'@ray.remote(num_returns=2, resources={\"CustomResource\": 1})'."
)

__all__ = [
    "ASYNC_CONCURRENCY",
    "REMOTE_MISUSE",
    "STREAMING",
    "ActorOptions",
    "MethodOptions",
    "TaskOptions",
    "actor_options",
    "method_options",
    "task_options",
]
