"""One actor as this process sees it: its calls, its present life, its handles."""

from __future__ import annotations

from collections import deque

from manta.core.ids import ActorCallIds, creation_task_id
from manta.rpc.v1 import control_pb2 as ctl

TYPE_CHECKING = False
if TYPE_CHECKING:
    from manta.client.lease import Record
    from manta.client.links import Link
    from manta.client.values import Failure

#: Clients of handles whose Python object is gone, once for each. As `refs.released`.
gone: deque[ActorClient] = deque()


def handle_id(actor_id: bytes) -> bytes:
    """The object whose references are the actor's handles."""
    return creation_task_id(actor_id) + b"\1\0\0\0"


class ActorClient:
    """One actor as this process sees it."""

    __slots__ = (
        "actor_id",
        "busy",
        "cause",
        "class_name",
        "counted",
        "handle",
        "handles",
        "ids",
        "incarnation",
        "inflight",
        "info",
        "link",
        "max_pending",
        "next_number",
        "ordered",
        "owned",
        "phase",
        "queue",
        "sequence",
        "told",
        "waiting",
    )

    def __init__(self, actor_id: bytes, class_name: str, *, counted: bool, ordered: bool) -> None:
        self.actor_id = actor_id
        self.class_name = class_name
        #: Its handles are counted (it is neither detached nor found by name).
        self.counted = counted
        #: Id of the object that stands for its handles.
        self.handle = handle_id(actor_id)
        #: A call whose argument is missing holds up later ones.
        self.ordered = ordered
        self.ids = ActorCallIds(actor_id)
        self.phase: int = ctl.ACTOR_PHASE_PENDING_CREATION
        self.info: ctl.ActorInfo | None = None
        self.incarnation = 0
        self.link: Link | None = None
        #: Calls not pushed yet, in order.
        self.queue: deque[Record] = deque()
        #: Calls with the actor, in order.
        self.inflight: dict[bytes, Record] = {}
        #: Of the queue, those whose arguments are missing.
        self.waiting: set[bytes] = set()
        #: Number of the next call, from 0 in each incarnation.
        self.next_number = 0
        #: The handle is held because calls are under way.
        self.busy = False
        #: Why it is dead.
        self.cause: Failure | None = None
        self.max_pending = -1
        #: Handles of it in this process, found ones included.
        self.handles = 0
        #: Somebody was told that it waits in vain.
        self.told = False
        #: This process made it and says when its last handle is gone.
        self.owned = False
        #: Names this client to the actor; its calls are in order.
        self.sequence = 0
