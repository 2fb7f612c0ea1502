"""The channel's object frames on the object table: decode, decide there, send what it says. Nothing is decided here."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, assert_never

from google.protobuf.message import Message

from manta.core.errors import (
    ObjectFreedError,
    ObjectLostError,
    ObjectStoreFullError,
    OverloadedError,
    OwnerDiedError,
    ProtocolError,
)
from manta.core.ids import is_put
from manta.raylet.clients import Client, Clients
from manta.raylet.objects import commands as oc
from manta.raylet.objects.pull_commands import MOVES, Need, Trouble
from manta.raylet.objects.table import ObjectTable
from manta.rpc.v1 import channel_pb2 as pb
from manta.rpc.v1 import common_pb2 as common
from manta.transport.convert import error_to_proto

TYPE_CHECKING = False
if TYPE_CHECKING:
    from manta.raylet.moving import Moving
    from manta.raylet.neighbours import Neighbours
    from manta.raylet.transfers import Transfers

log = logging.getLogger(__name__)

#: What the arena does by itself, in a thread of its own.
MemoryWork = oc.ReserveExtent | oc.PunchHole | oc.Warm

_ID_BYTES = 28

#: What ends a creator's wait.
_ANSWERS = (oc.Created, oc.AlreadyExists, oc.StoreFull)

#: A creator that has waited this long has every process collect its garbage; again while somebody waits. Seconds.
_GARBAGE_AFTER_S = 0.2
_GARBAGE_EVERY_S = 2.0


class ObjectService:
    """One node's object store as its clients see it. A client's name in the table is its worker id.

    Args:
        table: Decides.
        clients: Who is connected.
        work: Has the arena reserve, punch or warm; the answer comes back by the table's methods and `perform`.

    Attributes:
        transfers: Fetches what lives elsewhere; None on a node that knows no others.
        neighbours: Where that is; the same.
        moving: Moves objects to and from nodes that are drained; the same.
        moved: Of objects that this node has given away: their sizes, and who has them. A copy may still be here.
    """

    def __init__(self, table: ObjectTable, clients: Clients, work: Callable[[MemoryWork], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self.table = table
        self._clients = clients
        self._work = work
        self.transfers: Transfers | None = None
        self.neighbours: Neighbours | None = None
        self.moving: Moving | None = None
        self.moved: dict[bytes, tuple[int, bytes]] = {}
        #: Requests of processes for what lives elsewhere: their worker ids and numbers.
        self._pulled: set[tuple[object, object]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._looks_for_garbage: asyncio.TimerHandle | None = None
        self.handlers: dict[type[Message], Callable[[Client, Any], None]] = {
            pb.CreateObject: self._create,
            pb.SealObject: self._seal,
            pb.AbortObject: self._abort,
            pb.RequestBlock: self._request_block,
            pb.SealInBlock: self._seal_in_block,
            pb.ReturnBlock: self._return_block,
            pb.GetObjects: self._get,
            pb.ReleaseObjects: self._release,
            pb.FreeObjects: self._free,
            pb.OwnerElsewhere: self._owner_elsewhere,
            pb.MoveKnown: self._move_known,
            pb.SaveCopy: self._save_copy,
        }

    # ---- processes come and go

    def joined(self, client: Client) -> None:
        """A process may use the store from now on."""
        self.table.joined(client.worker_id)

    def died(self, worker_id: bytes) -> None:
        """A process is gone: its ranges and pins are settled, what it owned is freed."""
        self.perform(self.table.died(worker_id, now=time.monotonic()))
        if self.transfers is not None:
            self._pulled = {key for key in self._pulled if key[0] != worker_id}
            self.transfers.died(worker_id)
        self.owner_died(worker_id)
        if self.neighbours is not None:
            self.neighbours.died(worker_id)

    def job_over(self, job: bytes) -> None:
        """What nobody in particular owns lives as long as its job."""
        self.owner_died(job)

    def owner_died(self, owner: bytes) -> None:
        """Whoever owned objects is gone, here or elsewhere: they are freed."""
        self.perform(self.table.owner_died(owner, now=time.monotonic()))
        if self.transfers is not None:
            self.transfers.freed_with_owner()
        if self.moving is not None:
            self.moving.owner_died(owner)

    # ---- frames

    def _create(self, client: Client, message: pb.CreateObject) -> None:
        _check_ids((message.object_id,))
        # Without an owner it is the job's: a worker may end while others read what it made.
        commands = self.table.create(
            client.worker_id,
            message.object_id,
            message.size,
            now=time.monotonic(),
            owner=message.owner or client.job,
        )
        self.perform(commands)
        if self._looks_for_garbage is None and not any(isinstance(command, _ANSWERS) for command in commands):
            self._looks_for_garbage = self._loop.call_later(_GARBAGE_AFTER_S, self._have_garbage_collected)

    def _seal(self, client: Client, message: pb.SealObject) -> None:
        self.perform(self.table.seal(client.worker_id, message.object_id, now=time.monotonic()))

    def _abort(self, client: Client, message: pb.AbortObject) -> None:
        self.perform(self.table.abort(client.worker_id, message.object_id, now=time.monotonic()))

    def _request_block(self, client: Client, message: pb.RequestBlock) -> None:
        self.perform(
            self.table.blocks.lend(client.worker_id, message.size, now=time.monotonic(), cause=message.request_id)
        )

    def _seal_in_block(self, client: Client, message: pb.SealInBlock) -> None:
        count = len(message.object_ids)
        if not (count == len(message.offsets) == len(message.sizes)) or len(message.owners) not in (0, 1, count):
            raise ProtocolError("SealInBlock: its columns differ in length")
        _check_ids(message.object_ids)
        owners = list(message.owners) or [client.job]
        if len(owners) == 1:
            owners *= count
        now = time.monotonic()
        rows = zip(message.object_ids, message.offsets, message.sizes, owners, strict=True)
        for object_id, offset, size, owner in rows:
            self.perform(
                self.table.blocks.seal_in_block(
                    client.worker_id, message.block_id, object_id, offset, size, now=now, owner=owner or client.job
                )
            )

    def _return_block(self, client: Client, message: pb.ReturnBlock) -> None:
        self.perform(self.table.blocks.return_block(client.worker_id, message.block_id, now=time.monotonic()))

    def _get(self, client: Client, message: pb.GetObjects) -> None:
        now = time.monotonic()
        if message.cancel:
            self.perform(self.table.cancel_get(client.worker_id, message.request_id, now=now))
            self._over(client.worker_id, message.request_id)
            return
        _check_ids(message.object_ids)
        request_id = message.request_id
        if (message.places or self.moved) and self.transfers is not None and self._pull(client, message):
            return
        self.perform(self.table.get(client.worker_id, request_id, message.object_ids, now=now, cause=request_id))

    def _pull(self, client: Client, message: pb.GetObjects) -> bool:
        """Have what lives elsewhere fetched; False when all of it is here."""
        assert self.transfers is not None
        ids = message.object_ids
        if any(place.index >= len(ids) or not place.size for place in message.places):
            raise ProtocolError("GetObjects: a place is for none of its objects, or has no size")
        _check_ids(node_id for place in message.places for node_id in place.node_ids)
        has = self.table.has
        needs = [
            Need(ids[place.index], place.size, tuple(place.node_ids))
            for place in message.places
            if not has(ids[place.index])
        ]
        if self.moved:
            placed = {need.object_id for need in needs}
            needs += [
                Need(object_id, self.moved[object_id][0], (self.moved[object_id][1],))
                for object_id in dict.fromkeys(ids)
                if object_id in self.moved and object_id not in placed and not has(object_id)
            ]
        if not needs:
            return False
        key = client.worker_id, message.request_id
        self._pulled.add(key)
        if not self.transfers.ask(*key, tuple(ids), needs):
            self._pulled.discard(key)
            error = OverloadedError("the process waits for too many objects of other nodes, or twice in one name")
            self._send(client.worker_id, pb.ObjectsReady(request_id=message.request_id, error=error_to_proto(error)))
        return True

    def _over(self, client: object, request_id: object) -> None:
        """A request has ended; was it for what lives elsewhere, nothing is fetched for it any more."""
        if (client, request_id) in self._pulled:
            self._pulled.discard((client, request_id))
            assert self.transfers is not None
            self.transfers.over(client, request_id)

    def cannot_fetch(
        self, client: object, request_id: object, object_id: bytes, trouble: Trouble | None, reason: object
    ) -> None:
        """An object that lives elsewhere is not to be had: the process is told why."""
        if client == MOVES:
            assert self.moving is not None
            self.moving.cannot_fetch(request_id, reason)
            return
        self._pulled.discard((client, request_id))
        if isinstance(reason, oc.StoreFull):
            error = self._full(reason)
        elif trouble is Trouble.FREED:
            error = error_to_proto(ObjectFreedError(object_id.hex()))
        else:
            # Running its task again, from its lineage, belongs here.
            lost = ObjectLostError(object_id.hex(), detail=str(reason))
            creator = "put()" if is_put(object_id) else f"task {object_id[:24].hex()}"
            error = error_to_proto(lost.with_facts(creator=creator))
        message = pb.ObjectsReady(request_id=_number(request_id), object_ids=(object_id,), error=error)
        self._send(client, message)

    def _release(self, client: Client, message: pb.ReleaseObjects) -> None:
        self.perform(self.table.release(client.worker_id, message.object_ids, now=time.monotonic()))

    def _free(self, client: Client, message: pb.FreeObjects) -> None:
        _check_ids(message.object_ids)
        if message.node_id and self.neighbours is not None:
            self.neighbours.free(message.node_id, message.object_ids, message.creator)
            if not message.creator:
                # A copy may be here.
                self.drop_copies(message.object_ids)
            return
        self.free(message.object_ids, client.worker_id, message.creator)

    def free(self, ids: Sequence[bytes], by: bytes, creator: bytes = b"") -> None:
        """Nobody refers to these any more, says a process here or another node."""
        self.perform(self.table.delete(ids, now=time.monotonic(), by=by, creator=creator or None))
        if self.transfers is not None:
            self.transfers.freed(ids)

    def drop_copies(self, ids: Sequence[bytes]) -> None:
        """The originals of these are freed."""
        copies = [object_id for object_id in ids if self.table.is_copy(object_id)]
        self.perform(self.table.delete(copies, now=time.monotonic()))
        if self.transfers is not None:
            self.transfers.freed(copies)

    def _owner_elsewhere(self, client: Client, message: pb.OwnerElsewhere) -> None:
        _check_ids((message.worker_id, message.node_id))
        if self.neighbours is not None and not self.lives_here(message.worker_id):
            self.neighbours.owner(message.worker_id, message.node_id)

    def _move_known(self, client: Client, message: pb.MoveKnown) -> None:
        _check_ids((message.node_id,))
        if self.moving is not None:
            self.moving.heard(client, message)

    def _save_copy(self, client: Client, message: pb.SaveCopy) -> None:
        if self.moving is not None:
            self.moving.save(client, message)

    # ---- what the arena did

    def arena_did(self, event: oc.ArenaEvent) -> None:
        """The arena has done a piece of work, or could not."""
        self.perform(self.table.arena_event(event, now=time.monotonic()))

    # ---- what the table wants done

    def perform(self, commands: Iterable[oc.Command]) -> None:
        """Send answers, pass memory work on, set the next tick."""
        for command in commands:
            match command:
                case oc.Ready() | oc.Created() | oc.Gone() | oc.AlreadyExists() | oc.StoreFull() | oc.Rejected() if (
                    type(command.client) is str
                ):
                    assert self.transfers is not None
                    self.transfers.told(command)
                case oc.Ready():
                    ids, offsets, sizes = zip(*command.places, strict=True) if command.places else ((), (), ())
                    self._send(
                        command.client,
                        pb.ObjectsReady(
                            request_id=int(command.request_id),  # type: ignore[call-overload]  # as it was asked
                            object_ids=ids,
                            offsets=offsets,
                            sizes=sizes,
                        ),
                    )
                    if self._pulled:
                        self._over(command.client, command.request_id)
                case oc.Created():
                    self._send(command.client, pb.ObjectCreated(object_id=command.object_id, offset=command.offset))
                case oc.AlreadyExists():
                    self._send(command.client, pb.ObjectCreated(object_id=command.object_id, exists=True))
                case oc.StoreFull():
                    self._send(command.client, pb.ObjectCreated(object_id=command.object_id, error=self._full(command)))
                case oc.Gone():
                    keeper = self.table.went_with(command.object_id)
                    error = (
                        OwnerDiedError(command.object_id.hex(), keeper)
                        if isinstance(keeper, bytes)
                        else ObjectFreedError(command.object_id.hex())
                    )
                    self._send(
                        command.client,
                        pb.ObjectsReady(
                            request_id=int(command.request_id),  # type: ignore[call-overload]
                            object_ids=(command.object_id,),
                            error=error_to_proto(error),
                        ),
                    )
                    self._over(command.client, command.request_id)
                case oc.BlockLent():
                    self._send(
                        command.client,
                        pb.BlockGranted(
                            request_id=_number(command.cause),
                            block_id=command.block_id,
                            offset=command.offset,
                            size=command.size,
                        ),
                    )
                case oc.BlockRefused():
                    self._send(command.client, pb.BlockGranted(request_id=_number(command.cause)))
                case oc.RecallBlocks():
                    self._send(command.client, pb.RecallBlocks())
                case oc.ReserveExtent() | oc.PunchHole() | oc.Warm():
                    self._work(command)
                case oc.Evicted():
                    # Nobody keeps locations of copies: who has none says so when it is asked.
                    pass
                case oc.Left():
                    owner: bytes = command.owner  # type: ignore[assignment]  # clients are worker ids
                    if self.neighbours is not None and not self.lives_here(owner):
                        self.neighbours.left(owner, command.creator, command.ids)  # type: ignore[arg-type]
                        continue
                    self._send(command.owner, pb.ObjectsLeft(creator=command.creator, object_ids=command.ids))  # type: ignore[arg-type]  # clients are worker ids
                case oc.Rejected():
                    log.warning("the object store refused %s: %s", command.object_id.hex(), command.reason)
                    info = common.ErrorInfo(code="PROTOCOL_ERROR", message=command.reason)
                    if command.object_id:
                        self._send(command.client, pb.ObjectCreated(object_id=command.object_id, error=info))
                    else:
                        self._send(command.client, pb.ObjectsReady(request_id=_number(command.cause), error=info))
                        self._over(command.client, _number(command.cause))
                case _:
                    assert_never(command)
        if self._pulled and self.transfers is not None:
            self.transfers.room()
        self._set_timer()

    def close(self) -> None:
        """No more ticks."""
        for timer in (self._timer, self._looks_for_garbage):
            if timer is not None:
                timer.cancel()

    def _have_garbage_collected(self) -> None:
        """A creator waits: what only cycles hold, in any process, is room that nobody needs."""
        self._looks_for_garbage = None
        if self.table.statistics()["waiting_creates"]:
            for client in self._clients:
                if client.role != pb.ROLE_TOOL:
                    self._send(client.worker_id, pb.RecallBlocks(collect_garbage=True))
            self._looks_for_garbage = self._loop.call_later(_GARBAGE_EVERY_S, self._have_garbage_collected)

    def _send(self, client: oc.Client, message: Message) -> None:
        if isinstance(client, bytes):
            self._clients.send(client, message)

    def _full(self, command: oc.StoreFull) -> common.ErrorInfo:
        held = "; ".join(
            f"{self._who(holder.who)} owns {holder.owned_bytes} bytes in {holder.owned_objects} objects, "
            f"reads {holder.pinned_bytes}, keeps {holder.block_bytes} in blocks"
            for holder in command.holders
        )
        return error_to_proto(
            ObjectStoreFullError(
                f"Failed to put object {command.object_id.hex()} of {command.size} bytes: {command.reason}. The object "
                f"store has {command.capacity} bytes, {command.used} are taken, "
                f"{command.largest} are free in one piece"
                + (f" (waited {command.waited_s:.1f} s)" if command.waited_s else "")
                + (f". Who keeps most: {held}" if held else "")
                + ". Delete references you do not need, or start with a larger object_store_memory."
            )
        )

    def lives_here(self, worker_id: bytes) -> bool:
        """Whether it is a process of this node; one of another node may lease here under its own id."""
        client = self._clients.get(worker_id)
        return client is not None and client.role != pb.ROLE_LEASER

    def _who(self, who: object) -> str:
        client = self._clients.get(who) if isinstance(who, bytes) else None
        if client is not None:
            return f"{pb.Role.Name(client.role).removeprefix('ROLE_').lower()} pid={client.pid}"
        if isinstance(who, bytes) and len(who) == 4:
            return f"job {who.hex()}"
        if isinstance(who, str):
            return who
        return "a process that is gone"

    def _set_timer(self) -> None:
        wake_at = self.table.wake_at()
        if self._timer is not None:
            if wake_at is not None and self._timer.when() <= wake_at + 0.001 and not self._timer.cancelled():
                # An early tick is harmless, and most events change nothing about the time.
                return
            self._timer.cancel()
            self._timer = None
        if wake_at is not None:
            self._timer = self._loop.call_at(max(wake_at, self._loop.time()), self._tick)

    def _tick(self) -> None:
        self._timer = None
        self.perform(self.table.tick(now=time.monotonic()))


def _check_ids(ids: Iterable[bytes]) -> None:
    if any(len(object_id) != _ID_BYTES for object_id in ids):
        raise ProtocolError(f"an object id has {_ID_BYTES} bytes")


def _number(cause: object) -> int:
    return cause if isinstance(cause, int) else 0
