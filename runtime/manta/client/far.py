"""Links between nodes: dialled through the other node's door, handed over by the own raylet, and dialled again when they break.

A link is there at once; frames wait in it until connection, preamble and TLS are through. A socket that breaks is not a process
that died: the same link goes on over another one (`transport.lasting`), dialled at once, then less and less often, until the
other side is known to be gone or has not been reached for `GIVE_UP_S`. Who was dialled waits a moment and then dials as well, as
whoever had dialled may be dead; only for a lease its worker waits, as the raylet looks after leases.

Runs under the process's lock, and never blocks.
"""

from __future__ import annotations

import logging
import socket
import ssl

from manta.client.links import Link
from manta.core.errors import AuthenticationError, ProtocolError
from manta.rpc.v1 import channel_pb2 as pb
from manta.transport.channel import close_descriptors
from manta.transport.lasting import ForgottenError, Lasting, lasting
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
#: Who was dialled leaves so much time to the other side, which dials first.
AFTER_YOU_S = 0.2
#: How long an end that does not dial keeps a link for the other: longer than that tries. And how long an end remembers links that
#: are over, so that whoever comes late for one is told so.
HELD_S = GIVE_UP_S + 2 * OPEN_S
#: Connections from other nodes that are not open yet.
MAX_OPENING = 64

#: Refusals after which nobody has to ask again.
_FINAL = (Answer.GONE, Answer.OTHER_NODE, Answer.VERSION)


class Far:
    """What is remembered of a link to or from another node."""

    __slots__ = ("broken", "dialled", "failing_since", "lease_id", "opened_at", "tries")

    def __init__(
        self, lease_id: int = 0, tries: int = 0, failing_since: float | None = None, *, dialled: bool = True
    ) -> None:
        #: The lease it serves.
        self.lease_id = lease_id
        #: This end dialled first.
        self.dialled = dialled
        #: How often in a row it was dialled without lasting.
        self.tries = tries
        #: When that began.
        self.failing_since = failing_since
        #: When it was open; None before.
        self.opened_at: float | None = None
        #: Why it closed.
        self.broken: BaseException | None = None


def _bare(error: BaseException) -> BaseException:
    """An error to be kept: without the frames of whoever was reading, whose refs and values would live as long as it does."""
    error.__traceback__ = error.__context__ = None
    return error


def is_final(error: BaseException | None) -> bool:
    """Whether dialling again is of no use: the process is gone, or we and it do not trust each other."""
    match error:
        case RefusedError():
            return error.answer in _FINAL
        case ssl.SSLEOFError() | ssl.SSLZeroReturnError():
            return False
        case ssl.SSLError() | AuthenticationError() | ConnectionRefusedError() | ValueError():
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
        #: Links without a socket that the other side has to come back for, and until when.
        self._held: dict[Link, float] = {}
        #: Links that can go on over another socket, by key; keys of those that are over, and until when that matters.
        self._by_key: dict[bytes, Link] = {}
        self._over: dict[bytes, float] = {}
        links.on(pb.Handover, self.handed_over)
        links.on(pb.LinkOpens, self._opens)
        links.on(pb.LinkCloses, lambda link, frame, raw: links.close(link))

    @classmethod
    def of_node(
        cls, links: Links, welcome: pb.Welcome, now: Callable[[], float], schedule: Callable[[float], None]
    ) -> FarLinks:
        """For a process that a node with a door has let in."""
        return cls(links, TlsFiles.of_role(welcome.credentials, "worker", welcome.cluster), now, schedule)

    @property
    def busy(self) -> bool:
        """Whether `tick` has something to do."""
        return bool(self._opening or self._later or self._failed or self._held)

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
        connection = Lasting()
        link = self._by_key[connection.key] = Link(connection, where.worker_id, where.endpoint)
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
            link.far.broken = _bare(error)
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
            link = Link(Lasting(FarSocket.accepted(sock, self._tls)))
        except (OSError, AuthenticationError) as error:
            log.warning("a connection from another node was closed: %s", error)
            sock.close()
            close_descriptors(descriptors[1:])
            return
        link.far = Far(frame.lease_id, dialled=False)
        if len(descriptors) > 2:
            link.tokens_fd, link.read_fd = descriptors[1:3]
            close_descriptors(descriptors[3:])
        self._open(link, self._now())

    def _opens(self, link: Link, frame: pb.LinkOpens, raw: bytes) -> None:
        """The first frame on a socket from another node: a link begins, or goes on."""
        before = self._by_key.get(frame.key)
        if before is None:
            connection: Any = link.connection
            if frame.key in self._over or frame.heard:
                connection.refuse()
                self._drop(link)
                return
            self._by_key[frame.key] = link
            connection.begin(frame, raw)
            self._links.write_wanted(link)
            if raw:
                self._links.read(link)
            return
        if before.far is not None and before.far.dialled and before in self._opening:
            self._drop(link)  # both have dialled at once: the one that did so first wins
            return
        self._links.suspend(link)
        sock = link.connection.detach()
        self._drop(link)
        self._down(before)
        try:
            before.connection.adopt(sock, frame.received)  # type: ignore[attr-defined]
        except ProtocolError as wrong:
            log.warning("a link cannot go on: %s", wrong)
            sock.close()
            self._links.close(before)
            return
        self._links.adopt(before)
        self._up(before)
        self._links.write_wanted(before)

    def _drop(self, link: Link) -> None:
        """A socket that came is not wanted, or is another link's now."""
        self._opening.pop(link, None)
        self._links.discard(link)
        link.close_tokens()

    # -- a link goes on

    def revive(self, link: Link) -> bool:
        """A link's socket broke, which `broke` has heard of; whether the link goes on without one until there is another."""
        far, now = link.far, self._now()
        if far is None or lasting(link.connection) is None or link.node_id in self._links.dead:
            return False
        waits = not far.dialled and (link.tokens_fd >= 0 or not link.door)
        pause_s = None if isinstance(far.broken, ForgottenError) else pause_before(far, now)
        if pause_s is None and not waits:
            log.debug("the process at %s is given up: %s", link.door, far.broken)
            return False
        self._down(link)
        if waits or pause_s is None:
            self._held[link] = now + HELD_S
            self._schedule(now + HELD_S)
            return True
        lasted = not pause_s
        far.tries = 0 if lasted else far.tries + 1
        if lasted or far.failing_since is None:
            far.failing_since = now
        far.opened_at = None
        if not far.dialled:
            pause_s = max(pause_s, AFTER_YOU_S)
        if pause_s:
            self._later[link] = now + pause_s
            self._schedule(now + pause_s)
        else:
            self._begin(link)
        return True

    def _down(self, link: Link) -> None:
        self._later.pop(link, None)
        self._opening.pop(link, None)
        self._held.pop(link, None)
        connection: Any = link.connection
        self._links.suspend(link)
        connection.down()
        if link.lease is not None:
            link.lease.clogged = True  # what is pending goes to others meanwhile

    def _up(self, link: Link) -> None:
        far: Any = link.far
        far.opened_at, far.broken = self._now(), None
        self._links.opened(link)

    # -- time

    def tick(self, now: float) -> float | None:
        """Dial what is due, close what takes too long; when to be called again."""
        for link in [link for link, at in self._later.items() if at <= now]:
            del self._later[link]
            self._begin(link)
        failed, self._failed = self._failed, []
        for link in failed:
            if link.far is not None and link.far.broken is not None:
                self._links.broke(link, link.far.broken)
        for link, until in list(self._opening.items()):
            if link.connection.is_open:
                del self._opening[link]
                self._up(link)
            elif link.connection.closed:
                del self._opening[link]
            elif now >= until:
                self._links.broke(link, TimeoutError(f"the connection was not open within {OPEN_S:g} s"))
        for link in [link for link, until in self._held.items() if until <= now]:
            self._links.close(link)
        return min(
            [*self._later.values(), *self._opening.values(), *self._held.values(), *([now] if self._failed else [])],
            default=None,
        )

    def broke(self, link: Link, error: BaseException) -> None:
        """A link ended with an error."""
        far: Any = link.far
        far.broken = _bare(error)
        if isinstance(error, ssl.SSLError) and is_final(error):
            log.warning("%s", refused_by(error, link.door or "a process of another node"))
        elif link.connection.is_open and far.opened_at is None:
            far.opened_at = self._now()

    def closed(self, link: Link) -> None:
        """A link is closed for good: nothing is due for it, and whoever comes back for it is told so."""
        self._later.pop(link, None)
        self._opening.pop(link, None)
        self._held.pop(link, None)
        key: bytes = getattr(link.connection, "key", b"")
        if self._by_key.pop(key, None) is not None:
            now = self._now()
            while self._over and next(iter(self._over.values())) <= now:
                del self._over[next(iter(self._over))]
            self._over[key] = now + HELD_S
