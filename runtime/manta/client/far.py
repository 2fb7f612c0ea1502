"""Links between nodes: dialled through the other node's door, handed over by the own raylet, and dialled again when they break.

A link is there at once; frames wait in it until connection, preamble and TLS are through. A connection that breaks is not a
process that died: it is dialled again, first at once, then less and less often, until the other side is known to be gone or
has not been reached for `GIVE_UP_S`. Runs under the process's lock, and never blocks.
"""

from __future__ import annotations

import logging
import socket
import ssl

from manta.client.links import Link
from manta.core.errors import AuthenticationError
from manta.rpc.v1 import channel_pb2 as pb
from manta.transport.channel import Connection, close_descriptors
from manta.transport.tcp import Answer, FarSocket, Preamble, RefusedError, Wish
from manta.transport.tls import Tls, TlsFiles, refused_by

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from google.protobuf.message import Message

    from manta.client.links import Links
    from manta.rpc.v1 import common_pb2 as common

log = logging.getLogger(__name__)

#: How long a connection may take to be open.
OPEN_S = 10.0
#: A process that could not be reached for so long is given up. Control gives a silent node up after ten seconds.
GIVE_UP_S = 20.0
#: Pause before a connection that did not last is dialled again, and the longest pause.
PAUSE_S = 0.05
LONGEST_PAUSE_S = 2.0
#: One that lasted so long is dialled again at once.
LASTED_S = 1.0
#: Connections from other nodes that are not open yet.
MAX_OPENING = 64

#: Refusals after which nobody has to ask again.
_FINAL = (Answer.GONE, Answer.OTHER_NODE, Answer.VERSION)


class Far:
    """What is remembered of a link to or from another node."""

    __slots__ = ("broken", "failing_since", "lease_id", "opened_at", "tries")

    def __init__(self, lease_id: int = 0, tries: int = 0, failing_since: float | None = None) -> None:
        #: The lease it serves.
        self.lease_id = lease_id
        #: How often in a row it was dialled without lasting.
        self.tries = tries
        #: When that began.
        self.failing_since = failing_since
        #: When it was open; None before.
        self.opened_at: float | None = None
        #: Why it closed.
        self.broken: BaseException | None = None


def is_final(error: BaseException | None) -> bool:
    """Whether dialling again is of no use: the process is gone, or we and it do not trust each other."""
    match error:
        case RefusedError():
            return error.answer in _FINAL
        case ssl.SSLEOFError() | ssl.SSLZeroReturnError():
            return False
        case ssl.SSLError() | AuthenticationError() | ConnectionRefusedError():
            # Nobody listens at the door: the raylet is dead, and its processes with it.
            return True
    return False


def pause_before(far: Far, now: float) -> float | None:
    """How long to wait before a link that closed is dialled again; None when there is no use in that."""
    if is_final(far.broken):
        return None
    if far.opened_at is not None and now - far.opened_at > LASTED_S:
        return 0.0
    if far.failing_since is not None and now - far.failing_since > GIVE_UP_S:
        return None
    return float(min(LONGEST_PAUSE_S, PAUSE_S * 2**far.tries))


class _NotYet:
    """The face of a socket that has not been made: everything would block."""

    waits_to_read = True
    is_open = False

    def send(self, data: bytes | memoryview) -> int:
        raise BlockingIOError

    def recv(self, size: int) -> bytes:
        raise BlockingIOError

    def fileno(self) -> int:
        return -1

    def setblocking(self, flag: bool) -> None: ...

    def close(self) -> None: ...


class FarLinks:
    """Opens links between nodes, and keeps their time.

    Args:
        links: Whose they are.
        files: This node's certificates.
        now: Monotonic seconds.
        schedule: Makes sure that `tick` is called then.
    """

    def __init__(
        self, links: Links, files: TlsFiles, now: Callable[[], float], schedule: Callable[[float], None]
    ) -> None:
        self._links = links
        self._tls = Tls(files)
        self._now = now
        self._schedule = schedule
        #: Links that are dialled later, and when.
        self._later: dict[Link, float] = {}
        #: Links that are being opened, and until when that may take.
        self._opening: dict[Link, float] = {}
        #: Links that could not even be begun; they are closed at the next tick, when their maker knows them.
        self._failed: list[Link] = []
        links.on(pb.Handover, self.handed_over)

    @classmethod
    def of_node(
        cls, links: Links, welcome: pb.Welcome, now: Callable[[], float], schedule: Callable[[float], None]
    ) -> FarLinks:
        """For a process that a node with a door has let in."""
        return cls(links, TlsFiles.of_role(welcome.credentials, "worker", welcome.cluster), now, schedule)

    @property
    def busy(self) -> bool:
        """Whether `tick` has something to do."""
        return bool(self._opening or self._later or self._failed)

    # -- out

    def dial(
        self, where: common.Address, lease_id: int = 0, first: tuple[Message, ...] = (), hello: pb.Hello | None = None
    ) -> Link:
        """A link to a process of another node, or to its raylet (without a worker id)."""
        link = self._link(where, Far(lease_id), first, hello)
        self._begin(link)
        return link

    def again(self, link: Link) -> Link | None:
        """Another link to the process at the end of one that closed; None if it is given up."""
        far, now = link.far, self._now()
        if far is None or not link.door:
            return None
        pause_s = pause_before(far, now)
        if pause_s is None:
            log.debug("the process at %s is given up: %s", link.door, far.broken)
            return None
        lasted = not pause_s
        since = None if lasted else far.failing_since
        other = self._link(
            link.address(), Far(far.lease_id, 0 if lasted else far.tries + 1, now if since is None else since)
        )
        if lasted:
            self._begin(other)
        else:
            self._later[other] = now + pause_s
            self._schedule(now + pause_s)
        return other

    def _link(
        self, where: common.Address, far: Far, first: tuple[Message, ...] = (), hello: pb.Hello | None = None
    ) -> Link:
        link = Link(Connection.over(_NotYet()), where.worker_id, where.endpoint)
        link.node_id, link.door, link.far = where.node_id, where.door, far
        self._links.expect(link)
        for message in (hello or self._links.hello, *first):
            link.connection.send(message)
        return link

    def _begin(self, link: Link) -> None:
        assert link.far is not None
        wish = Wish.PROCESS if link.worker_id else Wish.RAYLET
        preamble = Preamble(link.node_id, link.worker_id, link.far.lease_id, wish)
        now = self._now()
        try:
            sock = FarSocket.dial(link.door, preamble, self._tls)
        except (OSError, ValueError, AuthenticationError) as error:
            link.far.broken = error
            self._failed.append(link)
            self._schedule(now)
            return
        link.connection.take_over(sock)
        self._open(link, now)
        self._links.write_wanted(link)

    def _open(self, link: Link, now: float) -> None:
        self._links.adopt(link)
        self._opening[link] = now + OPEN_S
        self._schedule(now + OPEN_S)

    # -- in

    def handed_over(self, carrier: Link, frame: pb.Handover, raw: bytes) -> None:
        """The raylet passes on a socket that somebody on another node has dialled."""
        descriptors = carrier.connection.take_descriptors()
        self._links.discard(carrier)
        if not descriptors:
            return
        if sum(not link.door for link in self._opening) >= MAX_OPENING:
            log.warning("a connection from another node was closed: %d others are being opened", MAX_OPENING)
            close_descriptors(descriptors)
            return
        sock = socket.socket(fileno=descriptors[0])
        try:
            link = Link(Connection.over(FarSocket.accepted(sock, self._tls)))
        except (OSError, AuthenticationError) as error:
            log.warning("a connection from another node was closed: %s", error)
            sock.close()
            close_descriptors(descriptors[1:])
            return
        link.far = Far(frame.lease_id)
        if len(descriptors) > 1:
            link.tokens_fd = descriptors[1]
            close_descriptors(descriptors[2:])
        self._open(link, self._now())

    # -- time

    def tick(self, now: float) -> float | None:
        """Dial what is due, close what takes too long; when to be called again."""
        for link in [link for link, at in self._later.items() if at <= now]:
            del self._later[link]
            self._begin(link)
        failed, self._failed = self._failed, []
        for link in failed:
            self._links.close(link)
        for link, until in list(self._opening.items()):
            if link.connection.is_open:
                del self._opening[link]
                if link.far is not None:
                    link.far.opened_at = now
            elif link.connection.closed:
                del self._opening[link]
            elif now >= until:
                if link.far is not None:
                    link.far.broken = TimeoutError(f"the connection was not open within {OPEN_S:g} s")
                self._links.close(link)
        return min([*self._later.values(), *self._opening.values(), *([now] if self._failed else [])], default=None)

    def broke(self, link: Link, error: BaseException) -> None:
        """A link ended with an error."""
        far: Any = link.far
        far.broken = error
        if isinstance(error, ssl.SSLError) and is_final(error):
            log.warning("%s", refused_by(error, link.door or "a process of another node"))
        elif link.connection.is_open and far.opened_at is None:
            far.opened_at = self._now()

    def closed(self, link: Link) -> None:
        """A link is closed: nothing is due for it."""
        self._later.pop(link, None)
        self._opening.pop(link, None)
