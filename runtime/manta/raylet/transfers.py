"""Objects between this node and others: performs what `objects.pulls` and `objects.chains` decide, a thread per transfer.

The event loop starts and ends transfers; the bytes are the threads' own (`objects.transfer`). A range is given to somebody else
only after the thread that writes it has ended, and stays while one reads it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Sequence
from contextlib import suppress
from typing import Any, Final, assert_never

from manta.core.errors import ProtocolError
from manta.metrics.histogram import Histogram
from manta.raylet.kept import Answered, Dialled
from manta.raylet.objects import commands as oc
from manta.raylet.objects import pull_commands as pc
from manta.raylet.objects import transfer
from manta.raylet.objects.chains import Chains
from manta.raylet.objects.pull_commands import MOVES, Need, Trouble
from manta.raylet.objects.pulls import Pulls
from manta.raylet.objects.table import ObjectTable
from manta.raylet.objects.traffic import IN, OUT, Sent, Traffic
from manta.raylet.objects.transfer import Outcome, Progress, Unreachable
from manta.rpc.v1 import channel_pb2 as pb
from manta.shm.client import Arena
from manta.transport.channel import PROTOCOL
from manta.transport.channel_aio import AsyncConnection
from manta.transport.tcp import FarSocket

log = logging.getLogger(__name__)

#: The names under which this part uses the object table.
PULLS: Final = "pulls"
SENDS: Final = "sends"
#: Who owns copies of what lives elsewhere, for the table.
COPIES: Final = "copies of other nodes' objects"

#: How long an object is waited for that its owner knows to be here, seconds: its creator tells the two on two connections.
_SEALED_SOON_S: Final = 2.0

_ID_BYTES: Final = 28

#: Commands that have to wait for a thread that still writes to the object's range.
_ON_RANGES: Final = (pc.Reserve, pc.Fetch, pc.Stop, pc.Drop, pc.Seal)


class _Send:
    """One object on its way to another node, or waited for."""

    __slots__ = ("far", "kept", "object_id", "pinned", "progress", "request", "sent", "timer")

    def __init__(self, far: FarSocket, request: pb.PullObject) -> None:
        self.far, self.request, self.object_id = far, request, request.object_id
        self.pinned = False
        #: The connection, once its thread has left it fit for another object.
        self.kept: FarSocket | None = None
        self.progress: Progress | None = None
        self.sent = Sent()
        self.timer: asyncio.TimerHandle | None = None


class _Fetch:
    """One attempt to fetch an object."""

    __slots__ = ("attempt", "begun", "far", "node_id", "progress")

    def __init__(self, node_id: bytes, attempt: int, progress: Progress) -> None:
        self.node_id, self.attempt, self.progress, self.begun = node_id, attempt, progress, time.monotonic()
        #: The connection, once its thread has left it fit for another object.
        self.far: FarSocket | None = None


class Transfers:
    """One node's transfers.

    Args:
        node_id: This node.
        table: The node's objects.
        capacity: Bytes of the store.
        arena: The raylet's own mapping of it.
        perform: Performs the table's commands. Those for PULLS and SENDS come back by `told`.
        fail: Answers a process's request that cannot be met: (client, request, object, trouble or None, reason).
        dial: Begins a connection to a node's raylet, from any thread. Raises Unreachable, or what dialling raises.
    """

    def __init__(
        self,
        *,
        node_id: bytes,
        table: ObjectTable,
        capacity: int,
        arena: Arena,
        perform: Callable[[Iterable[oc.Command]], None],
        fail: Callable[[Hashable, Hashable, bytes, Trouble | None, object], None],
        dial: Callable[[bytes], FarSocket],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._node_id, self._table, self._arena = node_id, table, arena
        self._perform, self._fail, self._dial = perform, fail, dial
        self.pulls = Pulls(node_id, capacity, table.has)
        self.chains, self.seconds, self.traffic = Chains(), Histogram(), Traffic()
        #: What is asked for besides what is fetched, until the ask begins.
        self._asked: dict[tuple[Hashable, Hashable], Sequence[bytes]] = {}
        #: Fetches whose threads run. By object those that count; and what is to be done when those have ended that were stopped.
        self._fetches: set[_Fetch] = set()
        self._running: dict[bytes, _Fetch] = {}
        self._ending: dict[bytes, list[pc.Command]] = {}
        self._ranges: dict[bytes, int] = {}
        self._sends: dict[int, _Send] = {}
        self._dialled, self._answered = Dialled(), Answered(self.asked)
        self._numbers = 0
        self._threads: set[threading.Thread] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._commands: deque[pc.Command] = deque()
        self._room_seen = 0
        self._busy = self._closed = False
        #: Tells a node that copies it may have are not wanted any more.
        self.tell_copies: Callable[[bytes, list[bytes]], None] = lambda node_id, ids: None
        #: Told of the table's answers for MOVES, and of copies that an object's owner should know of: (object, node).
        self.tell_moves: Callable[[oc.Command], None] = lambda command: None
        self.tell_owner: Callable[[bytes, bytes], None] = lambda object_id, node_id: None
        table.joined(PULLS)
        table.joined(SENDS)

    def close(self) -> None:
        """End every transfer and wait for the threads, which end at once."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        self._dialled.close()
        self._answered.close()
        for fetch in self._fetches:
            fetch.progress.stop()
        for send in list(self._sends.values()):
            if send.timer is not None:
                send.timer.cancel()
                send.far.close()
            if send.progress is not None:
                send.progress.revoke()
        for send in list(self._sends.values()):
            self._cut(send)
        for thread in list(self._threads):
            thread.join(transfer.OPEN_S + 1.0)
        # Those that ended well a moment ago: nobody is told of them any more.
        for left in (*(fetch.far for fetch in self._fetches), *(send.kept for send in self._sends.values())):
            if left is not None:
                left.close()

    def _cut(self, send: _Send) -> None:
        if send.progress is not None:
            with suppress(OSError), socket.socket(fileno=os.dup(send.far.fileno())) as sock:
                sock.shutdown(socket.SHUT_RDWR)

    # ---- what processes of this node ask for

    def ask(self, client: Hashable, request_id: Hashable, ids: Sequence[bytes], needs: Sequence[Need]) -> bool:
        """Have objects fetched, then let the request wait in the table. False when the process asks for too much."""
        self._asked[client, request_id] = ids
        out = self.pulls.ask(client, request_id, needs, now=time.monotonic(), room=self._room())
        if out is None:
            del self._asked[client, request_id]
            return False
        self._do(out)
        return True

    def over(self, client: Hashable, request_id: Hashable) -> None:
        """A request has ended, one that was not asked here included."""
        self._asked.pop((client, request_id), None)
        if self.pulls:
            self._do(self.pulls.over(client, request_id, now=time.monotonic(), room=self._room()))

    def died(self, client: Hashable) -> None:
        """A process is gone."""
        for key in [key for key in self._asked if key[0] == client]:
            del self._asked[key]
        if self.pulls:
            self._do(self.pulls.died(client, now=time.monotonic(), room=self._room()))

    def room(self) -> None:
        """There may be more room in the store."""
        if self.pulls.waits:
            # Asked with nearly every event: only more of it is news.
            before, room = self._room_seen, self._room()
            if room > before:
                self._do(self.pulls.review(now=time.monotonic(), room=room))

    def _room(self) -> int:
        self._room_seen = self._table.room()
        return self._room_seen

    def node_died(self, node_id: bytes, reason: str) -> None:
        """Control has given a node up."""
        self.chains.node_died(node_id)
        self._dialled.forget(node_id)
        self._do(self.pulls.node_died(node_id, reason, now=time.monotonic()))

    def freed(self, ids: Iterable[bytes]) -> None:
        """Their owners have no references any more: those who copied them are told."""
        for node_id, copies in self.chains.freed(ids).items():
            self.tell_copies(node_id, copies)

    def freed_with_owner(self) -> None:
        """An owner is gone, and the table has freed what it kept."""
        self.freed([object_id for object_id in self.chains.remembered() if self._table.where(object_id) is None])

    # ---- what the table says

    def told(self, command: oc.Command) -> None:
        """An answer for PULLS, SENDS or MOVES."""
        if command.client == MOVES:  # type: ignore[union-attr]  # answers have a client
            self.tell_moves(command)
            return
        match command:
            case oc.Created():
                self._ranges[command.object_id] = command.offset
                self._do(self.pulls.created(command.object_id))
            case oc.AlreadyExists():
                self._do(self.pulls.exists(command.object_id))
            case oc.StoreFull():
                self._do(self.pulls.full(command.object_id, command))
                self._do(self.pulls.review(now=time.monotonic(), room=self._room()))
            case oc.Ready():
                self._pinned(command)
            case oc.Gone():
                self._gone(command)
            case _:
                log.error("the object table refused a transfer: %s", command)

    # ---- what the pulls want done

    def _do(self, commands: Iterable[pc.Command]) -> None:
        """Perform commands in order; those that arise meanwhile come after them."""
        self._commands.extend(commands)
        if self._busy:
            return
        self._busy = True
        try:
            while self._commands:
                self._do_one(self._commands.popleft())
        finally:
            self._busy = False
        self._set_timer()

    def _do_one(self, command: pc.Command) -> None:
        now = time.monotonic()
        if isinstance(command, _ON_RANGES) and command.object_id in self._ending:
            self._ending[command.object_id].append(command)
            return
        match command:
            case pc.Begin():
                ids = self._asked.pop((command.client, command.request_id), None)
                if ids is not None:
                    self._perform(
                        self._table.get(command.client, command.request_id, ids, now=now, cause=command.request_id)
                    )
            case pc.Reserve():
                self._perform(
                    self._table.create(PULLS, command.object_id, command.size, now=now, owner=COPIES, secondary=True)
                )
            case pc.Fetch():
                self._fetch(command)
            case pc.Stop():
                running = self._running.pop(command.object_id, None)
                if running is not None:
                    self._ending[command.object_id] = []
                    running.progress.revoke()
                    running.progress.stop()
            case pc.Seal():
                self._ranges.pop(command.object_id, None)
                self._perform(self._table.seal(PULLS, command.object_id, now=now))
            case pc.Drop():
                self._ranges.pop(command.object_id, None)
                self._perform(self._table.abort(PULLS, command.object_id, now=now))
            case pc.Fail():
                self._asked.pop((command.client, command.request_id), None)
                self._perform(self._table.cancel_get(command.client, command.request_id, now=now))
                self._fail(command.client, command.request_id, command.object_id, command.trouble, command.reason)
            case _:
                assert_never(command)

    def _fetch(self, command: pc.Fetch) -> None:
        oid = command.object_id
        progress = Progress(command.size)
        fetch = self._running[oid] = _Fetch(command.node_id, command.attempt, progress)
        self._fetches.add(fetch)
        self.traffic.begun(IN, progress)
        kept = self._dialled.take(command.node_id)
        request = pb.PullObject(
            object_id=oid, size=command.size, node_id=self._node_id, direct=command.direct, avoid=command.avoid, protocol=PROTOCOL
        )  # fmt: skip
        offset = self._ranges[oid]
        view = self._arena.create_view(offset, command.size)

        def warm(at: int, size: int) -> None:
            self._arena.warm(offset + at, size)

        def run() -> None:
            try:
                outcome, fetch.far = transfer.fetch(
                    lambda: self._dial(command.node_id), request, view, progress, warm, kept
                )
            except Unreachable as unreachable:
                outcome = Outcome(unreachable.trouble, str(unreachable))
            self._report(self._fetched, oid, fetch, outcome)

        self._thread(run, "manta-pull")

    def _fetched(self, oid: bytes, fetch: _Fetch, outcome: Outcome) -> None:
        """A fetch's thread has ended."""
        now, attempt, progress = time.monotonic(), fetch.attempt, fetch.progress
        self._fetches.discard(fetch)
        self.traffic.ended(progress)
        running = self._running.get(oid)
        if running is not fetch:
            if fetch.far is not None:
                fetch.far.close()  # it may have been cut after the last byte
            self._do(self._ending.pop(oid, ()))
            return
        del self._running[oid]
        if fetch.far is not None:
            self._dialled.keep(fetch.node_id, fetch.far)
        if outcome.ask_node:
            self._do(self.pulls.redirected(oid, attempt, outcome.ask_node, now=now))
        elif outcome.trouble is not None:
            progress.revoke()
            log.info("object %s did not come: %s", oid.hex(), outcome.reason)
            self._do(self.pulls.failed(oid, attempt, outcome.trouble, outcome.reason, now=now))
        else:
            self.seconds.observe(now - fetch.begun)
            self._do(self.pulls.done(oid, attempt))
            if self._table.where(oid) is None:
                progress.revoke()

    # ---- what other nodes ask for

    def asked(self, connection: AsyncConnection, request: pb.PullObject) -> None:
        """Another node wants an object; the connection is its own for it.

        Raises:
            ProtocolError: It asks for what cannot be.
        """
        if not connection.far:
            raise ProtocolError("PullObject is for connections between nodes")
        if request.protocol != PROTOCOL or len(request.object_id) != _ID_BYTES or len(request.node_id) != _ID_BYTES:
            raise ProtocolError("PullObject: a wrong protocol, or an id that has not 28 bytes")
        far = connection.detach()
        oid = request.object_id
        if self.chains.busy or self._closed:
            self._refuse(far, pb.PullAnswer(refusal=pb.PullAnswer.REFUSAL_BUSY))
            return
        if not request.direct and self._table.where(oid) is not None:
            if self.chains.copied(oid, request.node_id):
                self.tell_owner(oid, request.node_id)
            hop = self.chains.next_hop(oid, request.node_id, request.avoid, direct=False)
            if hop is not None:
                self._refuse(far, pb.PullAnswer(ask_node=hop))
                return
        number = self._numbers = self._numbers + 1
        send = self._sends[number] = _Send(far, request)
        self.chains.begun(oid, request.node_id)
        running = self._running.get(oid)
        if running is not None:
            send.progress = running.progress
            send_range = self._ranges[oid]
        self._perform(self._table.get(SENDS, number, (oid,), now=time.monotonic(), cause=number))
        if number not in self._sends or send.pinned:
            return
        if running is not None:
            self._send(number, send, send_range, running.progress)
        else:
            send.timer = self._loop.call_later(_SEALED_SOON_S, self._absent, number)

    def _pinned(self, command: oc.Ready) -> None:
        """An object that another node wants is here and stays for as long as it is being sent."""
        number: Any = command.request_id
        send = self._sends.get(number)
        if send is None:
            self._perform(self._table.release(SENDS, (command.places[0][0],), now=time.monotonic()))
            return
        send.pinned = True
        if send.timer is not None:
            send.timer.cancel()
            send.timer = None
        if send.progress is None:
            oid, offset, size = command.places[0]
            self._send(number, send, offset, Progress(size, size))
            if not send.request.direct and self.chains.copied(oid, send.request.node_id):
                self.tell_owner(oid, send.request.node_id)

    def _gone(self, command: oc.Gone) -> None:
        number: Any = command.request_id
        send = self._sends.get(number)
        if send is None:
            return
        if send.progress is not None:
            send.progress.revoke()  # its thread ends, and tells
            return
        self._refuse(send.far, pb.PullAnswer(refusal=pb.PullAnswer.REFUSAL_FREED))
        self._sent(number)

    def _absent(self, number: int) -> None:
        send = self._sends[number]
        send.timer = None
        self._refuse(send.far, pb.PullAnswer(refusal=pb.PullAnswer.REFUSAL_ABSENT))
        self._sent(number)

    def _refuse(self, far: FarSocket, answer: pb.PullAnswer) -> None:
        """A few bytes into an empty socket: nothing to wait for."""
        try:
            transfer.refuse(far.take(transfer.STALL_S), answer)
        except OSError:
            pass
        finally:
            far.close()

    def _send(self, number: int, send: _Send, offset: int, progress: Progress) -> None:
        send.progress = progress
        self.traffic.begun(OUT, send.sent)
        view = self._arena.create_view(offset, progress.size).toreadonly()

        def run() -> None:
            whole = False
            try:
                whole = transfer.send(send.far.take(transfer.STALL_S), view, progress, send.sent)
            except OSError:
                pass
            finally:
                if whole:
                    send.kept = send.far
                else:
                    send.far.close()
                self._report(self._sent, number)

        self._thread(run, "manta-send")

    def _sent(self, number: int) -> None:
        """The object is on its way, or will not be."""
        send = self._sends.pop(number, None)
        if send is None:
            return
        self.traffic.ended(send.sent)
        if send.timer is not None:
            send.timer.cancel()
        if send.kept is not None:
            self._answered.keep(send.kept)
        self.chains.ended(send.object_id)
        now = time.monotonic()
        if send.pinned:
            self._perform(self._table.release(SENDS, (send.object_id,), now=now))
        else:
            self._perform(self._table.cancel_get(SENDS, number, now=now))

    # ---- threads and time

    def _thread(self, run: Callable[[], None], name: str) -> None:
        thread = threading.Thread(target=run, name=name, daemon=True)
        self._threads.add(thread)
        thread.start()

    def _report(self, what: Callable[..., None], *arguments: Any) -> None:
        """Called in a thread, as the last thing it does."""
        thread = threading.current_thread()

        def reported() -> None:
            self._threads.discard(thread)
            if not self._closed:
                what(*arguments)

        try:
            self._loop.call_soon_threadsafe(reported)
        except RuntimeError:  # the loop has ended
            pass

    def _set_timer(self) -> None:
        wake_at = self.pulls.wake_at()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if wake_at is not None:
            self._timer = self._loop.call_at(max(wake_at, self._loop.time()), self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._do(self.pulls.review(now=time.monotonic(), room=self._room()))

    def statistics(self) -> dict[str, int]:
        """Sizes and totals."""
        return {
            **self.pulls.statistics(),
            **self.chains.statistics(),
            "kept_connections": len(self._dialled) + len(self._answered),
        }
