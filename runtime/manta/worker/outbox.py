"""Results on their way: gathered per link, sent when somebody may be waiting."""

from __future__ import annotations

from collections import deque

from manta.rpc.v1 import channel_pb2 as pb

TYPE_CHECKING = False
if TYPE_CHECKING:
    from manta.client.links import Link

#: A finished result never waits longer than this while short tasks go on.
HOLD_NS = 1_000_000

#: Nor while more than this has gathered.
HOLD_BYTES = 256 << 10


#: Frames of results that an actor keeps for each caller, and how large one may be: sent again when a connection broke.
RECENT_FRAMES = 16
RECENT_BYTES = 16 << 10


class Outbox:
    """Results of one link, in columns as they travel. Results in, frames out; the session's lock guards it."""

    __slots__ = ("_extras", "_ids", "_lease_id", "_micros", "_recent", "_size", "_values", "link", "since")

    def __init__(self, link: Link, lease_id: int) -> None:
        self.link = link
        self._lease_id = lease_id
        self._ids: list[bytes] = []
        self._values: list[bytes] = []
        self._micros: list[int] = []
        self._extras: list[pb.ResultExtra] = []
        self._size = 0
        #: What was sent last to a caller whose connection may break while both live.
        self._recent: deque[pb.TaskResults] | None = None if lease_id else deque(maxlen=RECENT_FRAMES)
        #: When the oldest gathered result was finished, in nanoseconds; 0 for none.
        self.since = 0

    def add(self, oid: bytes, value: bytes, micros: int, now_ns: int) -> None:
        """A result that is one small value."""
        if not self.since:
            self.since = now_ns
        self._ids.append(oid)
        self._values.append(value)
        self._micros.append(micros)
        self._size += len(value)

    def add_extra(self, oid: bytes, extra: pb.ResultExtra, micros: int, now_ns: int) -> None:
        """A result that is something else."""
        extra.index = len(self._ids)
        self._extras.append(extra)
        self._size += extra.ByteSize()
        self.add(oid, b"", micros, now_ns)

    def due(self, now_ns: int) -> bool:
        """Whether what has gathered should go now, although more will follow soon."""
        return self.since != 0 and (now_ns - self.since > HOLD_NS or self._size > HOLD_BYTES)

    @property
    def heavy(self) -> bool:
        """Whether as much has gathered as one frame should carry."""
        return self._size > HOLD_BYTES

    def take(self) -> pb.TaskResults:
        """The frame with everything that has gathered; afterwards nothing has."""
        message = pb.TaskResults(
            lease_id=self._lease_id,
            ids=b"".join(self._ids),
            values=self._values,
            micros=self._micros,
            extras=self._extras,
        )
        if self._recent is not None and self._size <= RECENT_BYTES:
            self._recent.append(message)
        self._ids, self._values, self._micros, self._extras = [], [], [], []
        self._size = 0
        self.since = 0
        return message

    def recent(self) -> list[pb.TaskResults]:
        """Frames that were taken last and may not have been read."""
        return list(self._recent or ())
