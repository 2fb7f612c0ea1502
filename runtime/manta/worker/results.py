"""Values that calls return, as they travel: inside the frame, or in the node's store; and the refs inside them."""

from __future__ import annotations

from manta.client.counting import counted_inside
from manta.client.values import INLINE_BYTES
from manta.client.waiter import Waiter
from manta.rpc.v1 import channel_pb2 as pb
from manta.rpc.v1 import common_pb2 as common
from manta.serde import serialize, to_bytes
from manta.worker.calls import nth

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection
    from typing import Any

    from manta.client.links import Link
    from manta.client.user import UserSession
    from manta.worker.calls import WorkerTemplate
    from manta.worker.delivery import Delivery

#: Most bytes of one call's small results that ride inside the frame; what comes after goes to the store. A frame has a limit, and
#: a call that returns ten thousand small arrays should not end its process there. Ray's number.
INLINE_TOGETHER_BYTES = 10 << 20


class Results:
    """Makes results of values. Called in the thread that ran the call, without the session's lock."""

    __slots__ = ("_delivery", "_session")

    def __init__(self, session: UserSession, delivery: Delivery) -> None:
        self._session = session
        self._delivery = delivery

    def of_value(self, link: Link, oid: bytes, value: Any, received: Collection[bytes]) -> Any:
        """The result of a call that returns one value: its bytes, or a ResultExtra. The loops have its first lines inlined."""
        serialized = serialize(value)
        if serialized.size <= INLINE_BYTES and not serialized.refs and not serialized.handles:
            return to_bytes(serialized)
        return self.special(link, oid, [serialized], received)

    def of_values(
        self, link: Link, oid: bytes, template: WorkerTemplate, value: Any, received: Collection[bytes]
    ) -> pb.ResultExtra:
        """The result of a call that returns none or several.

        Raises:
            ValueError: It returned another number of them.
        """
        count = template.num_returns
        if count == 0:
            return pb.ResultExtra()
        try:
            values = list(value)
        except TypeError:
            raise ValueError(
                f"Task {template.name} has num_returns={count} but returned a {type(value).__name__}, "
                f"which has no {count} items."
            ) from None
        if len(values) != count:
            raise ValueError(f"Task {template.name} returned {len(values)} objects, but num_returns={count}.")
        return self.special(link, oid, [serialize(one) for one in values], received)

    def special(self, link: Link, oid: bytes, values: list[Any], received: Collection[bytes]) -> pb.ResultExtra:
        """Serialised values that are large, or contain refs, or are several."""
        extra = pb.ResultExtra()
        left = INLINE_TOGETHER_BYTES
        stored: list[bytes] = []
        try:
            for number, one in enumerate(values):
                returned = self.one(link, nth(oid, number), one, received, inline=one.size <= left)
                if returned.size:
                    stored.append(nth(oid, number))
                else:
                    left -= one.size
                extra.returns.append(returned)
        except BaseException:
            if stored:
                # The call fails, and its owner never hears of these. What another attempt has made since stays.
                session = self._session
                with session.lock:
                    session.raylet_send(pb.FreeObjects(object_ids=stored, creator=session.worker_id))
            raise
        return extra

    def one(
        self, link: Link, oid: bytes, serialized: Any, received: Collection[bytes], *, inline: bool = True
    ) -> pb.ReturnValue:
        """One value on its way to its owner: inside the frame, or in the store.

        Args:
            link: Of the owner.
            oid: The value's object.
            serialized: The value.
            received: Refs that came with this very call, and no others: the call holds them until its result is there.
            inline: It may ride inside the frame if it is small.
        """
        session = self._session
        message = pb.ReturnValue()
        if inline and serialized.size <= INLINE_BYTES:
            message.value = to_bytes(serialized)
        else:
            store = session.store
            if link.node_id and link.node_id != store.node_id:
                store.owner_elsewhere(link.worker_id, link.node_id)
            store.create(oid, serialized, link.worker_id)
            message.size = serialized.size
            message.node_id = store.node_id
        refs = counted_inside(serialized)
        if refs:
            self._lend(link, message, refs, oid[:24] + b"\1\0\0\0", received)
        return message

    def _lend(
        self, link: Link, message: pb.ReturnValue, refs: list[bytes], result: bytes, received: Collection[bytes]
    ) -> None:
        """Refs travel inside a result: the receiver is made a borrower of each before the result goes.

        One that goes home to its owner is held here until the owner has read the result: our release travels on another
        connection and must not be there first. What came with this very call is held by the call.

        To a receiver that is dead nothing is lent: who was told of its death would keep that for ever.
        """
        session = self._session
        receiver = link.address()
        elsewhere: dict[bytes, list[bytes]] = {}
        with session.lock:
            if not self._delivery.awaited(link):
                return
            for oid in refs:
                entry = message.contained.add(object_id=oid)
                borrow = session.ownership.borrows.get(oid)
                if borrow is None:
                    entry.owner.CopyFrom(session.address)
                    session.ownership.add_borrower(oid, link.worker_id)
                    continue
                owner = common.Address.FromString(borrow.owner)
                entry.owner.CopyFrom(owner)
                if owner.worker_id != link.worker_id:
                    elsewhere.setdefault(borrow.owner, []).append(oid)
                elif oid not in received:
                    self._delivery.going_home(result, oid)
            if not elsewhere:
                return
            waiter = Waiter()
            session.announce(elsewhere, receiver, lambda: session.pump.finish(waiter))
        session.pump.wait(waiter)
