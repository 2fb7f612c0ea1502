"""Objects move from nodes that are drained, or dead, to others: performs what `objects.giving`, `taking` and `saving` decide.

The bytes go the way of every fetch (`transfers`), the questions and answers on the links between raylets (`neighbours`).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final, assert_never

from google.protobuf.message import Message

from manta.core.errors import ProtocolError
from manta.raylet.clients import Client, Clients
from manta.raylet.objects import commands as oc
from manta.raylet.objects import taking as tk
from manta.raylet.objects.giving import Giving, Offer, Sole, Verdict
from manta.raylet.objects.pull_commands import MOVES, Need
from manta.raylet.objects.saving import Saved, Saving
from manta.raylet.objects.taking import Offered, Taking
from manta.raylet.transfers import COPIES
from manta.rpc.v1 import channel_pb2 as pb

if TYPE_CHECKING:
    from manta.raylet.neighbours import Neighbours
    from manta.raylet.object_service import ObjectService
    from manta.raylet.transfers import Transfers

log = logging.getLogger(__name__)

_ID_BYTES: Final = 28
#: Former places in one offer.
_FORMER: Final = 8


class Moving:
    """Both ends of it, for one node.

    Args:
        node_id: This node.
        objects: The node's objects.
        transfers: Fetches them.
        neighbours: Links to other raylets.
        clients: The processes of this node.
    """

    def __init__(
        self, *, node_id: bytes, objects: ObjectService, transfers: Transfers, neighbours: Neighbours, clients: Clients
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self.node_id, self._objects, self._transfers = node_id, objects, transfers
        self._neighbours, self._clients = neighbours, clients
        self.giving, self.taking, self.saving = Giving(), Taking(node_id), Saving()
        #: Nodes that take objects.
        self._takers: dict[bytes, None] = {}
        #: Fetches under way, by number.
        self._pulls: dict[int, bytes] = {}
        self._numbers = 0
        self._soon: asyncio.Handle | None = None
        self._again: asyncio.TimerHandle | None = None
        objects.table.joined(MOVES)

    def close(self) -> None:
        """Give and take nothing more."""
        for handle in (self._soon, self._again):
            if handle is not None:
                handle.cancel()

    # ---- who is there

    def seen(self, node_id: bytes, *, draining: bool) -> None:
        """A node lives; one that is drained, or cannot be dialled, takes nothing."""
        if node_id == self.node_id:
            self.taking.refusal = "the node is being drained" if draining else ""
        elif draining:
            self._takers.pop(node_id, None)
        else:
            self._takers[node_id] = None

    def node_died(self, node_id: bytes, reason: str) -> None:
        """Control has given a node up."""
        self._takers.pop(node_id, None)
        self.giving.node_left(node_id, f"it is dead: {reason}")
        self.saving.node_died(node_id)

    def owner_died(self, owner: bytes) -> None:
        """An owner is dead, here or elsewhere, and what it kept is freed."""
        self._do(self.taking.owner_died(owner))
        self.saving.owner_died(owner)

    # ---- links

    def wants_link(self, node_id: bytes) -> bool:
        """Whether an answer is awaited from that node."""
        return self.giving.wants_link(node_id) or self.taking.wants_link(node_id) or bool(self.saving.owed(node_id))

    def owed(self, node_id: bytes) -> list[Message]:
        """There is a new link to a node: what has to be said there (again)."""
        offers, saved = self.giving.offered_to(node_id), self.saving.owed(node_id)
        return [
            *([_offers(offers)] if offers else []),
            *([self._saved(saved)] if saved else []),
            *(self._asked(one) for one in self.taking.asked_at(node_id)),
        ]

    def said(self, giver: bytes, message: pb.OfferObjects | pb.ObjectMoved) -> None:
        """Another node offers objects, or asks an owner of this one.

        Raises:
            ProtocolError: Something has a length that it cannot have.
        """
        if isinstance(message, pb.ObjectMoved):
            # Should the owner be dead, it is told by WatchOwners.
            self._clients.send(message.owner, message)
            return
        for one in message.offers:
            ids = one.object_id, one.owner, one.owner_node, *one.former
            if any(len(each) != _ID_BYTES for each in ids) or len(one.former) > _FORMER or not one.size:
                raise ProtocolError("OfferObjects: an id has 28 bytes, former nodes are few, and an object has a size")
            here = self._objects.table.where(one.object_id) is not None
            offered = Offered(one.object_id, one.size, one.owner, one.owner_node, tuple(one.former))
            self._do(self.taking.offered(giver, offered, here=here, room=self._objects.table.room()))

    def answered(self, node_id: bytes, message: pb.OfferAnswers | pb.MoveKnown) -> None:
        """Another node answers what this one asked."""
        if isinstance(message, pb.MoveKnown):
            self._known(message)
            return
        for answer in message.answers:
            if answer.verdict not in _VERDICTS:
                raise ProtocolError(f"OfferAnswers: there is no verdict {answer.verdict}")
            verdict = Verdict(answer.verdict)
            now, oid = time.monotonic(), answer.object_id
            owner = self.saving.answered(node_id, oid)
            if owner is not None:
                if verdict is Verdict.REFUSED:
                    self._clients.send(owner, pb.ObjectsCopied(object_ids=[oid], node_id=node_id, gone=True))
                continue
            if not self.giving.answered(node_id, oid, verdict, answer.reason[:500]):
                continue
            table = self._objects.table
            place = table.where(oid)
            if verdict is Verdict.TAKEN:
                if place is not None:
                    self._objects.moved[oid] = place[1], node_id
                self._objects.perform(table.demote(oid, COPIES, now=now))
            else:
                self._free(oid)
        if self._soon is None:
            self._soon = self._loop.call_soon(self._look_again)

    # ---- giving

    def look(self) -> None:
        """This node is drained: offer what has to go. To be called again and again."""
        kept = self._objects.table.kept()
        soles = [
            Sole(item.object_id, item.size, item.owner, self._owner_node(item.owner), self._copies(item.object_id))
            for item in kept
        ]
        by_node: dict[bytes, list[Offer]] = {}
        for offer in self.giving.look(soles, list(self._takers), now=time.monotonic()):
            by_node.setdefault(offer.node_id, []).append(offer)
        for node_id, offers in by_node.items():
            self._neighbours.say(node_id, _offers(offers))

    def _look_again(self) -> None:
        self._soon = None
        self.look()

    def _owner_node(self, owner: object) -> bytes:
        """Where an owner lives that is no process of this node; empty for any other."""
        if not isinstance(owner, bytes) or self._objects.lives_here(owner):
            return b""
        return self._neighbours.far.node_of(owner) or b""

    def _copies(self, object_id: bytes) -> list[bytes]:
        return self._transfers.chains.copies_of(object_id)

    # ---- saving

    def copied(self, object_id: bytes, node_id: bytes) -> None:
        """A node has asked for an object whose first copy is here: its owner hears so, wherever it is."""
        owner = self._objects.table.owner_of(object_id)
        if not isinstance(owner, bytes) or len(owner) != _ID_BYTES:
            return
        told = pb.ObjectsCopied(owner=owner, object_ids=[object_id], node_id=node_id)
        there = self._owner_node(owner)
        if there:
            self._neighbours.tell(there, told)
        else:
            self._clients.send(owner, told)

    def save(self, client: Client, message: pb.SaveCopy) -> None:
        """A process of this node wants another node's copy kept.

        Raises:
            ProtocolError: Something has a length that it cannot have.
        """
        ids = message.object_id, message.node_id, message.dead_node
        if any(len(each) != _ID_BYTES for each in ids) or not message.size:
            raise ProtocolError("SaveCopy: an id has 28 bytes, and an object has a size")
        saved = Saved(message.object_id, message.size, client.worker_id)
        if message.node_id == self.node_id:
            if not self._objects.table.promote(saved.object_id, saved.owner):
                # Whoever was sent here meanwhile is to hear where it was lost, not to wait for it.
                self._objects.moved[saved.object_id] = saved.size, message.dead_node
                gone = pb.ObjectsCopied(object_ids=[saved.object_id], node_id=self.node_id, gone=True)
                self._clients.send(saved.owner, gone)
            return
        self.saving.wanted(message.node_id, saved)
        self._neighbours.say(message.node_id, self._saved([saved]))

    def _saved(self, saved: Iterable[Saved]) -> pb.OfferObjects:
        return _offers(Offer(self.node_id, Sole(one.object_id, one.size, one.owner, self.node_id), ()) for one in saved)

    # ---- taking

    def told(self, command: oc.Command) -> None:
        """The table has an answer for MOVES."""
        if not isinstance(command, oc.Ready | oc.Gone):
            log.error("the object table refused a move: %s", command)
            return
        number = command.request_id
        oid = self._pulls.pop(number, None)  # type: ignore[call-overload]
        if isinstance(command, oc.Ready):
            if oid is not None:
                self._do(self.taking.here(oid))
            ids = [place[0] for place in command.places]
            self._objects.perform(self._objects.table.release(MOVES, ids, now=time.monotonic()))
        elif oid is not None:
            self._do(self.taking.failed(oid, "it is freed"))
        self._transfers.over(MOVES, number)

    def cannot_fetch(self, number: object, reason: object) -> None:
        """An object that was offered does not come."""
        oid = self._pulls.pop(number, None)  # type: ignore[call-overload]
        if oid is not None:
            text = reason.reason if isinstance(reason, oc.StoreFull) else str(reason)
            self._do(self.taking.failed(oid, text))

    def heard(self, client: Client, message: pb.MoveKnown) -> None:
        """A process of this node says what it knows of objects that have moved."""
        message.owner = client.worker_id
        if message.node_id == self.node_id:
            self._known(message)
        else:
            self._neighbours.reply(message.node_id, message)

    def _known(self, message: pb.MoveKnown) -> None:
        known = self.taking.known(
            message.owner, message.object_id, message.number, moved=message.moved, gone=message.gone
        )
        self._do(known)
        if self.taking.waits and self._again is None:
            self._again = self._loop.call_later(tk.AGAIN_S, self._ask_again)

    def _ask_again(self) -> None:
        self._again = None
        self._do(self.taking.ask_again())

    def _do(self, commands: Iterable[tk.Command]) -> None:
        table = self._objects.table
        for command in commands:
            match command:
                case tk.Pull():
                    self._pull(command)
                case tk.Keep():
                    offered = command.offered
                    table.promote(offered.object_id, offered.owner)
                    if offered.owner_node != self.node_id:
                        self._neighbours.owner(offered.owner, offered.owner_node)
                    elif not self._objects.lives_here(offered.owner):
                        self._objects.owner_died(offered.owner)
                case tk.Free():
                    self._free(command.object_id)
                case tk.Ask():
                    if command.owner_node == self.node_id:
                        self._clients.send(command.owner, self._asked(command))
                    else:
                        self._neighbours.say(command.owner_node, self._asked(command))
                case tk.Answer():
                    answer = pb.OfferAnswers.Answer(
                        object_id=command.object_id,
                        verdict=f"VERDICT_{command.verdict.name}",
                        reason=command.reason[:500],
                    )
                    self._neighbours.reply(command.giver, pb.OfferAnswers(answers=[answer]))
                    if command.verdict is Verdict.TAKEN:
                        self._transfers.chains.copied(command.object_id, command.giver)
                case _:
                    assert_never(command)

    def _pull(self, command: tk.Pull) -> None:
        self._numbers += 1
        number, offered = self._numbers, command.offered
        self._pulls[number] = offered.object_id
        need = Need(offered.object_id, offered.size, (command.giver,))
        needs = [] if self._objects.table.has(offered.object_id) else [need]
        if not self._transfers.ask(MOVES, number, (offered.object_id,), needs):
            self.cannot_fetch(number, "the node fetches too many objects")

    def _free(self, object_id: bytes) -> None:
        self._objects.perform(self._objects.table.delete((object_id,), now=time.monotonic()))
        self._transfers.freed((object_id,))

    def _asked(self, command: tk.Ask) -> pb.ObjectMoved:
        return pb.ObjectMoved(
            owner=command.owner,
            object_id=command.object_id,
            node_id=self.node_id,
            former=command.former,
            number=command.number,
        )

    def statistics(self) -> dict[str, int]:
        """Sizes and totals."""
        return {**self.giving.statistics(), **self.taking.statistics(), "copies_being_saved": len(self.saving)}


#: What an answer may say.
_VERDICTS: Final = frozenset(verdict.value for verdict in Verdict)


def _offers(offers: Iterable[Offer]) -> pb.OfferObjects:
    return pb.OfferObjects(
        offers=[
            pb.ObjectOffer(
                object_id=offer.sole.object_id,
                size=offer.sole.size,
                owner=offer.sole.owner,  # type: ignore[arg-type]  # those elsewhere are worker ids
                owner_node=offer.sole.owner_node,
                former=offer.former,
            )
            for offer in offers
        ]
    )
