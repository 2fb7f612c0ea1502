"""Actors as this process knows them: found, watched, restarted, dead, forgotten.

An actor's state comes from control, through the raylet. What it is called is in `actor_calls`, how it is made in
`actor_creation`. Everything runs under the process's lock.
"""

from __future__ import annotations

import os

from manta.client import failures
from manta.client.actor_calls import ActorCalls
from manta.client.actor_client import ActorClient, gone
from manta.client.actor_creation import ActorCreation
from manta.client.actor_links import ActorLinks
from manta.core import errors
from manta.core.environment import setting
from manta.core.errors.actor import OUT_OF_SCOPE
from manta.rpc.v1 import channel_pb2 as pb
from manta.rpc.v1 import control_pb2 as ctl

TYPE_CHECKING = False
if TYPE_CHECKING:
    from manta.client.direct import DirectSession
    from manta.client.values import Failure

#: How control begins the reason of an actor that waits for what no node has.
INFEASIBLE = "infeasible: "

#: Handles that are gone are looked at when there are so many; as many actors without any are remembered.
SWEEP = 256

#: A life has ended.
_OVER = (ctl.ACTOR_PHASE_RESTARTING, ctl.ACTOR_PHASE_DEAD)


class ActorClients:
    """All actors this process knows."""

    def __init__(
        self,
        session: DirectSession,
        calls: type[ActorCalls] = ActorCalls,
        creation: type[ActorCreation] = ActorCreation,
    ) -> None:
        self._session = session
        self._ownership = session.ownership
        self.by_id: dict[bytes, ActorClient] = {}
        #: Those that can be reached, by the worker they live in.
        self.by_worker: dict[bytes, ActorClient] = {}
        #: Clients without a handle, the longest so first.
        self.unused: dict[ActorClient, None] = {}
        self._sequences = 0
        self.calls = calls(session, self)
        self.creation = creation(session, self)
        self.links = ActorLinks(session, self)

    def know(self, actor_id: bytes, class_name: str, *, counted: bool, ordered: bool) -> ActorClient:
        """The client of an actor, made and subscribed when it is new. Called under the lock."""
        client = self.by_id.get(actor_id)
        if client is None:
            client = self.by_id[actor_id] = ActorClient(actor_id, class_name, counted=counted, ordered=ordered)
            self._sequences += 1
            client.sequence = self._sequences
            self._session.raylet_send(pb.WatchActors(add=[actor_id]))
        client.handles += 1
        if self.unused:
            self.unused.pop(client, None)
        if len(gone) >= SWEEP:
            self._sweep()
        return client

    def _sweep(self) -> None:
        """Forget actors that this process has no handles of any more; some are kept, as tasks bring the same ones again."""
        while gone:
            client = gone.popleft()
            client.handles -= 1
            if not client.handles:
                self.unused[client] = None
        for client in list(self.unused):
            if client.busy or client.owned or self.by_id.get(client.actor_id) is not client:
                del self.unused[client]  # `ActorCalls.rest`, or the end of its handles elsewhere, may forget it
            elif client.cause is not None or len(self.unused) > SWEEP:
                del self.unused[client]
                self._forget(client)

    # -- states

    def state(self, info: bytes) -> None:
        """Control says how an actor is."""
        self.state_info(ctl.ActorInfo.FromString(info))

    def state_info(self, info: ctl.ActorInfo) -> None:
        """Control says how an actor is."""
        client = self.by_id.get(info.actor_id)
        if client is None or client.phase == ctl.ACTOR_PHASE_DEAD:
            return
        if info.state == ctl.ACTOR_PHASE_UNSPECIFIED:
            self.creation.announce(client)
            return
        if client.link is not None and (info.state in _OVER or info.incarnation > client.incarnation):
            self._session.links.read_to_end(client.link)  # what it returned before that life ended
        if info.incarnation < client.incarnation:
            return
        client.info = info
        client.phase = info.state
        if info.state in (ctl.ACTOR_PHASE_ALIVE, ctl.ACTOR_PHASE_DEAD) and not info.max_restarts:
            self.creation.ended(info)
        if info.state == ctl.ACTOR_PHASE_ALIVE:
            if client.link is None or client.incarnation != info.incarnation:
                self._alive(client, info)
        elif info.state == ctl.ACTOR_PHASE_RESTARTING:
            self._interrupted(client)
        elif info.state == ctl.ACTOR_PHASE_DEAD:
            self.died(client, death_of(info))
        if info.waiting_reason.startswith(INFEASIBLE) and client.owned:
            self._infeasible(client, info.waiting_reason.removeprefix(INFEASIBLE))

    def _infeasible(self, client: ActorClient, reason: str) -> None:
        """No node can ever take it. It waits for one that can, or fails, as the environment says."""
        text = f"the actor '{client.class_name}' fits on no node: {reason}"
        if setting("enable_infeasible_task_early_exit"):
            self.died(client, failures.system(errors.ActorUnschedulableError(text)))
            request = ctl.KillActorRequest(request_id=os.urandom(16), actor_id=client.actor_id, no_restart=True)
            self._session.control_async("KillActor", request, lambda frame: None)
        elif not client.told:
            client.told = True
            self._session.on_infeasible(f"{text}. It waits until a node joins that can; ask for less, or kill it.")

    def _alive(self, client: ActorClient, info: ctl.ActorInfo) -> None:
        same = client.link is None and info.incarnation == client.incarnation
        if not same:
            # Also when nobody told of the restart between two lives.
            self._interrupted(client)
            client.incarnation = info.incarnation
            client.next_number = 0
        elif self.links.asked(client):
            return
        link = self._session.links.peer(info.address)
        if link is None:
            return  # it died already; control will say so
        if client.next_number:
            self.links.ask(client, link)
            return
        client.link = link
        self.by_worker[link.worker_id] = client
        self.calls.push(client)

    def _interrupted(self, client: ActorClient) -> None:
        """This life of the actor is over, another will follow: calls under way may or may not have run."""
        self._unlink(client)
        self.calls.interrupted(client)
        self._session.perform()

    def died(self, client: ActorClient, failure: Failure) -> None:
        """It is dead for good: calls of it fail from here on."""
        client.phase = ctl.ACTOR_PHASE_DEAD
        client.cause = failure
        self.creation.forget(client.actor_id)
        self._unlink(client)
        self.calls.fail(client, failure)
        self._session.perform()

    def _unlink(self, client: ActorClient) -> None:
        """Nothing goes to the process it lived in any more."""
        self.links.forget(client)
        if client.link is not None:
            self.by_worker.pop(client.link.worker_id, None)
            client.link = None

    def kill(self, client: ActorClient, *, no_restart: bool) -> None:
        """Ask control to kill it. Calls from here on see it dead, or in its next life, and never the one being killed."""
        if client.phase == ctl.ACTOR_PHASE_DEAD:
            return
        self._unlink(client)
        request = ctl.KillActorRequest(request_id=os.urandom(16), actor_id=client.actor_id, no_restart=no_restart)
        self._session.control_async("KillActor", request, lambda frame: None)

    def kill_actor(self, client: ActorClient, *, no_restart: bool) -> None:
        """Kill an actor: its later calls fail, or wait for its next life. From any thread; a name is free when this returns."""
        session = self._session
        with session.lock:
            session.check()
            self.kill(client, no_restart=no_restart)
            named = client.info is not None and client.info.name
        session.pump.attend()
        if named:
            # Its name has to be free when we return.
            session.control("GetActor", ctl.GetActorRequest(actor_id=client.actor_id), ctl.GetActorResponse)

    # -- the end of handles

    def handle_freed(self, oid: bytes) -> None:
        """Nobody refers to an owned actor any more: it finishes what it has and leaves."""
        actor_id = oid[8:24]
        client = self.by_id.get(actor_id)
        if client is None or client.handle != oid:
            return
        self.creation.forget(actor_id)
        self._session.control_async(
            "ReleaseActor", ctl.ReleaseActorRequest(request_id=os.urandom(16), actor_id=actor_id), lambda frame: None
        )
        # No call is under way, or the handle would be held. Handles found by name may still be there, and nobody tells them.
        death = errors.ActorDeath(
            actor_id.hex(), client.class_name, OUT_OF_SCOPE, pid=client.info.pid if client.info is not None else 0
        )
        self.died(client, failures.system(errors.ActorDiedError(death)))
        self._forget(client)

    def _forget(self, client: ActorClient) -> None:
        client.owned = False
        self.by_id.pop(client.actor_id, None)
        self._unlink(client)
        self._session.raylet_send(pb.WatchActors(remove=[client.actor_id]))


def death_of(info: ctl.ActorInfo) -> Failure:
    """The failure of every call of an actor that is dead."""
    cause = info.death_cause
    raised = cause.error.blobs.get("failure")
    if raised:
        return failures.constructor_raised(pb.TaskFailure.FromString(raised))
    if cause.kind == ctl.DEATH_KIND_ENVIRONMENT_FAILED:
        return failures.system(errors.RuntimeEnvSetupError(cause.message))
    if cause.kind == ctl.DEATH_KIND_PLACEMENT_GROUP_REMOVED:
        return failures.system(errors.ActorPlacementGroupRemoved())
    if cause.kind == ctl.DEATH_KIND_UNSCHEDULABLE:
        return failures.system(errors.ActorUnschedulableError(cause.message))
    death = errors.ActorDeath(
        info.actor_id.hex(),
        info.class_name,
        cause.message,
        pid=info.pid,
        name=info.name,
        ray_namespace=info.namespace if info.name else "",
        never_started=not info.pid and not info.num_restarts and not info.incarnation,
    )
    return failures.system(errors.ActorDiedError(death))
