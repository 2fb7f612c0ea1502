"""Connections to actors that break while both sides live: calls go on where they stood, under their old numbers.

The actor says which calls arrived. What did not is pushed again; what is under way there goes on; results it has sent lately
are sent again. Nothing runs twice in one life, so a call that ran and whose result was lost ends in `ActorUnavailableError`,
retries or not. So does a stream: its items are not kept.
"""

from __future__ import annotations

from manta.rpc.v1 import channel_pb2 as pb
from manta.rpc.v1 import control_pb2 as ctl

TYPE_CHECKING = False
if TYPE_CHECKING:
    from manta.client.actor_client import ActorClient
    from manta.client.actors import ActorClients
    from manta.client.direct import DirectSession
    from manta.client.links import Link


class ActorLinks:
    """The caller's side of broken connections. Runs under the process's lock."""

    def __init__(self, session: DirectSession, actors: ActorClients) -> None:
        self._session = session
        self._actors = actors
        #: Actors that were asked what became of our calls, with the link they are to answer on.
        self._asked: dict[ActorClient, Link] = {}

    def lost(self, link: Link) -> None:
        """A connection ended. If the process at its end lives, there is another one by now; if not, control will say so."""
        client = self._actors.by_worker.get(link.worker_id)
        if client is None or (client.link is not link and self._asked.get(client) is not link):
            return
        client.link = None
        self._asked.pop(client, None)
        other = self._session.links.peers.get(link.worker_id)
        if other is None or client.phase != ctl.ACTOR_PHASE_ALIVE:
            del self._actors.by_worker[link.worker_id]
            return
        self.ask(client, other)

    def ask(self, client: ActorClient, link: Link) -> None:
        """An actor that has had calls of ours in this life is reached again: nothing is pushed until it says which."""
        self._actors.calls.fail_streams(client)
        self._actors.by_worker[link.worker_id] = client
        self._asked[client] = link
        self._session.send(
            link,
            pb.ResumeCalls(actor_id=client.actor_id, incarnation=client.incarnation, sequence=client.sequence),
        )

    def resumed(self, link: Link, frame: pb.CallsResumed, raw: bytes) -> None:
        """The actor says what it has."""
        client = self._actors.by_id.get(frame.actor_id)
        if client is None or self._asked.get(client) is not link or frame.incarnation != client.incarnation:
            return
        del self._asked[client]
        known = {frame.ids[at : at + 28] for at in range(0, len(frame.ids), 28)}
        self._actors.calls.resumed(client, link, frame.next, known)

    def asked(self, client: ActorClient) -> bool:
        """Whether its answer is awaited."""
        return client in self._asked

    def forget(self, client: ActorClient) -> None:
        """This life of the actor is over: its answer is of no use."""
        link = self._asked.pop(client, None)
        if link is not None:
            self._actors.by_worker.pop(link.worker_id, None)
