"""Templates, what is the same for all calls of a function; scheduling keys, what tasks that share workers have in common."""

from __future__ import annotations

from collections import deque

from manta.client.lease import Alone, Estimate

TYPE_CHECKING = False
if TYPE_CHECKING:
    from manta.client.far_leases import FarDemand
    from manta.client.lease import Lease, Record
    from manta.rpc.v1 import channel_pb2 as pb


class SchedulingKey:
    """Tasks that can use each other's leases: same resources, same strategy, same environment."""

    __slots__ = ("demand_sent", "far", "leases", "message", "number", "pending")

    def __init__(self, number: int, message: pb.LeaseDemand) -> None:
        self.number = number
        #: The demand as it is sent, but for its counts.
        self.message = message
        self.pending: deque[Record] = deque()
        self.leases: dict[int, Lease] = {}
        #: `wanted` as last sent.
        self.demand_sent = 0
        #: What other nodes were asked for; None until the first time.
        self.far: FarDemand | None = None


class Template:
    """What is the same for all calls of one function with the same options."""

    __slots__ = (
        "definition",
        "estimate",
        "function_blob",
        "function_hash",
        "key",
        "max_retries",
        "name",
        "num_returns",
        "number",
    )

    def __init__(
        self,
        number: int,
        definition: pb.DefineTemplate,
        key: SchedulingKey | None,
        *,
        max_retries: int,
        function_blob: bytes = b"",
    ) -> None:
        #: Its number within this process.
        self.number = number
        #: As workers are told.
        self.definition = definition
        self.name: str = definition.name
        #: Scheduling key; None for actor methods.
        self.key = key
        #: Attempts after the first; -1 for ever.
        self.max_retries = max_retries
        self.num_returns: int = definition.num_returns
        self.function_hash: bytes = definition.function_hash
        self.function_blob = function_blob
        self.estimate = Alone() if definition.max_calls else Estimate()


class Templates:
    """All templates and scheduling keys of this process. Under the process's lock."""

    def __init__(self) -> None:
        #: By number.
        self.all: list[Template] = []
        #: By number.
        self.keys: list[SchedulingKey] = []
        self._by_identity: dict[bytes, SchedulingKey] = {}
        self._same: dict[tuple[bytes, int, int], Template] = {}

    def key_for(self, identity: bytes, message: pb.LeaseDemand) -> SchedulingKey:
        """The scheduling key of that identity."""
        key = self._by_identity.get(identity)
        if key is None:
            key = SchedulingKey(len(self.keys), message)
            message.key = key.number
            self._by_identity[identity] = key
            self.keys.append(key)
        return key

    def add(
        self, definition: pb.DefineTemplate, key: SchedulingKey | None, *, max_retries: int, function_blob: bytes = b""
    ) -> Template:
        """The number of a template; one that says the same as another has its number.

        Programs say `f.options(...)` and unpickle handles in loops: here and in workers templates stay as few as they differ.
        """
        definition.ClearField("number")
        identity = (definition.SerializeToString(deterministic=True), -1 if key is None else key.number, max_retries)
        template = self._same.get(identity)
        if template is None:
            definition.number = len(self.all)
            template = Template(
                definition.number, definition, key, max_retries=max_retries, function_blob=function_blob
            )
            self.all.append(template)
            self._same[identity] = template
        return template
