"""The port between what users call and the process's session: `api`, handles and refs know nothing else of it.

`user.UserSession` is the one for processes on a node, `remote.RemoteSession` the one for drivers outside of the cluster, through
the gateway. Type checkers compare both with what is written here.
"""

from __future__ import annotations

from typing import Protocol

TYPE_CHECKING = False
if TYPE_CHECKING:
    import concurrent.futures
    import threading
    from collections.abc import Callable, Sequence
    from typing import Any

    from google.protobuf.message import Message

    from manta.client.actor_client import ActorClient
    from manta.client.counting import Capture
    from manta.client.handles import ActorHandle
    from manta.client.ownership import Ownership
    from manta.client.refs import ObjectRef
    from manta.client.templates import Template
    from manta.client.values import Values
    from manta.client.waiter import Waiter
    from manta.core import errors
    from manta.core.ids import IdMaker
    from manta.rpc.v1 import channel_pb2 as pb
    from manta.rpc.v1 import control_pb2 as ctl


class Session(Protocol):
    """What the process's session is to everything above it. From any thread, where nothing else is said."""

    # -- who and where this process is

    #: The process that opened it: a fork of it has none.
    pid: int
    worker_id: bytes
    #: As the cluster let this process in: job, node, folders, namespace.
    welcome: pb.Welcome
    #: This process as an owner, encoded.
    address_bytes: bytes
    #: Makes the ids of what this process makes.
    ids: IdMaker
    #: Environment variables of this process's own that its children inherit.
    environment: dict[str, str]
    #: The actor this process is; None for others.
    actor_host: Any
    #: What `exit_actor` raises.
    actor_exit: type[BaseException]
    #: Why the session ended by itself.
    broken: errors.MantaError | None

    @property
    def is_worker(self) -> bool:
        """Whether this process runs tasks or an actor."""

    @property
    def raylet_endpoint(self) -> str:
        """Where this process's raylet, or gateway, listens."""

    def held_resources(self) -> dict[str, int]:
        """What the running task or actor holds, in 1/10000ths."""

    def held_gpus(self) -> list[Any]:
        """GPUs the running task or actor may use."""

    # -- life

    def check(self) -> None:
        """Raise if the session has ended."""

    def close(self) -> None:
        """Leave the cluster. Views that user code holds stay valid."""

    # -- objects

    @property
    def put(self) -> Callable[[Any], ObjectRef[Any]]:
        """Store a value; it may be changed afterwards without effect."""

    @property
    def get_one(self) -> Callable[[ObjectRef[Any], float | None], Any]:
        """The value of one ref, until a deadline in monotonic seconds."""

    @property
    def get_many(self) -> Callable[[Sequence[ObjectRef[Any]], float | None], list[Any]]:
        """The values of some refs, in order, until a deadline in monotonic seconds."""

    @property
    def wait(
        self,
    ) -> Callable[..., tuple[list[ObjectRef[Any]], list[ObjectRef[Any]]]]:
        """Split refs, given with their ids, into ready and not: once so many are ready or time is up. Deadline 0 only looks.

        Called with (refs, ids, num_returns, deadline), and False as a fifth where ready need not mean here.
        """

    @property
    def future_of(self) -> Callable[[ObjectRef[Any]], concurrent.futures.Future[Any]]:
        """A future of the value."""

    # -- tasks

    @property
    def dump(self) -> Callable[[Any], bytes]:
        """Pickle what travels in a field that only its reader unpickles."""

    def task_template(
        self,
        identity: bytes,
        demand: pb.LeaseDemand,
        definition: pb.DefineTemplate,
        *,
        max_retries: int,
        function_blob: bytes,
    ) -> Template:
        """The template of a task; those of one `identity` can use the same workers."""

    @property
    def submit(self) -> Callable[[Template, tuple[Any, ...], dict[str, Any]], Any]:
        """Call a task. Returns its ref, a list of refs, or None, as the template says."""

    def cancel(self, oid: bytes, *, force: bool, recursive: bool) -> None:
        """Cancel the task that makes the object."""

    # -- actors

    @property
    def create_actor(
        self,
    ) -> Callable[
        [ctl.CreateActorRequest, pb.ActorSpec, pb.MethodTable, tuple[Any, ...], dict[str, Any]], ActorHandle[Any]
    ]:
        """Create an actor and return its handle; the request's and the spec's owner and arguments are filled in."""

    @property
    def know_actor(self) -> KnowActor:
        """The client of an actor: what its handles in this process have in common."""

    def method_template(self, definition: pb.DefineTemplate, *, max_retries: int) -> Template:
        """The template of an actor's method."""

    @property
    def call_actor(self) -> Callable[[ActorClient, Template, tuple[Any, ...], dict[str, Any]], Any]:
        """Call a method. Returns its ref, a list of refs, or None, as the template says."""

    @property
    def kill_actor(self) -> KillActor:
        """Kill an actor: its later calls fail, or wait for its next life."""

    # -- control

    @property
    def control(self) -> Control:
        """Call control and return its decoded answer."""

    @property
    def post(self) -> Post:
        """Have control do something that nobody waits for; what this process asks of control later, control does later."""

    # -- references

    #: Guards everything below.
    lock: threading.RLock
    #: Who refers to what. Refs that come out of pickles are counted in place: a value may hold ten thousand of them.
    ownership: Ownership
    #: What is known of objects.
    values: Values
    #: Where refs that come out of pickles in this thread are noted.
    capture: Capture

    @property
    def ref_made(self) -> Callable[[bytes], None]:
        """User code made a ref out of an id."""

    @property
    def ref_received(self) -> Callable[[bytes, bytes], None]:
        """A ref came out of a pickle, with its owner's encoded address."""

    @property
    def export_ref(self) -> ExportRef:
        """The owner's encoded address, to travel with the ref. `forever` counts it for the life of this process."""

    # -- waiting

    now: Callable[[], float]

    @property
    def watch(self) -> Callable[[bytes, Any], None]:
        """Call `watcher.ready(oid, value)` once the object is there; at once if it is. Called under the lock."""

    def flush(self) -> None:
        """Send whatever was gathered: somebody waits. Called under the lock."""

    @property
    def poll_once(self) -> Callable[[], bool]:
        """Handle what has come, without waiting."""

    @property
    def finish(self) -> Callable[[Waiter], None]:
        """What a thread waits for has come. Called under the lock."""

    def wait_for(self, waiter: Waiter, what: str | Callable[[], str], deadline: float | None = None) -> bool:
        """Wait until finished; `what` says for what, should it take long. False when the deadline has passed."""


class Control(Protocol):
    """A call to control."""

    def __call__(self, method: str, request: Message, reply: Any, timeout_s: float = 30.0) -> Any:
        """Returns the decoded answer; raises what control said, or RpcTimeoutError."""


class Post(Protocol):
    """See `Session.post`."""

    def __call__(self, method: str, request: Message, then: Callable[[pb.ControlReply], None]) -> None:
        """`then` takes the answer, or an error in its place, under the session's lock; nothing if the session ends before."""


class ExportRef(Protocol):
    """See `Session.export_ref`."""

    def __call__(self, oid: bytes, *, forever: bool) -> bytes:
        """Returns the encoded address."""


class KillActor(Protocol):
    """See `Session.kill_actor`."""

    def __call__(self, client: ActorClient, *, no_restart: bool) -> None:
        """Its name is free when this returns."""


class KnowActor(Protocol):
    """See `Session.know_actor`."""

    def __call__(self, actor_id: bytes, class_name: str, *, counted: bool, ordered: bool) -> ActorClient:
        """One more handle of it exists. Called under the lock."""
