"""Incarnations: what becomes of a start, and whether another follows when one has ended."""

from __future__ import annotations

from dataclasses import replace

from manta.control.actors import deaths
from manta.control.actors.limits import ActorLimits
from manta.control.actors.placing import Placing
from manta.control.actors.rows import ActorRows
from manta.control.actors.timers import Purpose, Timers
from manta.control.commands import Command, KillOnNode
from manta.control.events import ReportActor, StartAnswered
from manta.control.functions import FunctionTable
from manta.control.model import NO_NODE, Actor, ActorId, ActorState, DeathCause, DeathKind, Instant
from manta.control.nodes import NodeTable
from manta.control.stories import Stories


class Lives:
    """Begins and ends incarnations of the actors in `rows`."""

    def __init__(
        self,
        rows: ActorRows,
        placing: Placing,
        nodes: NodeTable,
        functions: FunctionTable,
        timers: Timers,
        stories: Stories,
        limits: ActorLimits,
    ) -> None:
        self._rows = rows
        self._placing = placing
        self._nodes = nodes
        self._functions = functions
        self._timers = timers
        self._stories = stories
        self._limits = limits
        #: Refusals in a row, and since when the incarnation runs, of those for whom it matters.
        self._refusals: dict[ActorId, int] = {}
        self._alive_since: dict[ActorId, float] = {}
        self._quick_deaths: dict[ActorId, int] = {}
        placing.on_never = self.die

    # ---- beginning

    def accepted(self, actor_id: ActorId) -> None:
        """A raylet takes the start."""
        self._refusals.pop(actor_id, None)

    def refused(self, row: Actor, event: StartAnswered, now: Instant, out: list[Command]) -> None:
        """The raylet does not: another place is looked for in a while."""
        self._nodes.left(row.node_id, row.actor_id)
        attempt = self._refusals.get(row.actor_id, 0)
        self._refusals[row.actor_id] = attempt + 1
        reason = f"node {row.node_id.hex()[:8]} refused it: {event.reason}"
        self._stories.tell(now.s, event.cause, f"start {row.incarnation} refused: {event.reason}", row.actor_id)
        row = replace(row, node_id=NO_NODE, waiting_reason=reason)
        self._rows.commit(row, out, event.cause)
        self._timers.put_off(now.s + self._limits.refused.delay_s(attempt, 0.0), Purpose.PLACE, row)

    def started(self, row: Actor, event: ReportActor, now: Instant, out: list[Command]) -> None:
        """Its constructor has ended well."""
        self._alive_since[row.actor_id] = now.s
        self._refusals.pop(row.actor_id, None)
        self._nodes.started(row.node_id, row.actor_id, row.spec.hold)
        row = replace(row, state=ActorState.ALIVE, address=event.address, pid=event.pid, death=None, waiting_reason="")
        self._rows.commit(row, out, event.cause)
        self._stories.tell(now.s, event.cause, f"start {row.incarnation} is alive", row.actor_id)

    def found_alive(self, actor_id: ActorId, now: Instant) -> None:
        """A node says again that it runs."""
        self._alive_since.setdefault(actor_id, now.s)

    # ---- ending

    def kill_there(self, row: Actor, reason: str, out: list[Command], cause: str) -> None:
        """Have its process ended, if it may have one."""
        if row.node_id and self._nodes.is_alive(row.node_id):
            out.append(KillOnNode(row.node_id, row.actor_id, row.incarnation, False, reason, cause))

    def ended(self, row: Actor, death: DeathCause, now: Instant, out: list[Command], cause: str) -> None:
        """An incarnation is over: restart the actor or let it die."""
        spec = row.spec
        if row.released:
            self.die(row, deaths.OUT_OF_SCOPE, now, out, cause)
            return
        ran = row.state is ActorState.ALIVE
        if row.state is ActorState.PENDING_CREATION and death.kind is DeathKind.NODE_DIED and row.announced:
            # Its node went before it ran: nobody has seen it, so it is simply placed again.
            self._close_account(row)
            self._placing.wait(replace(row, node_id=NO_NODE), now, out, cause)
            return
        # A node that is taken out of service is nobody's failure, so moving costs no restart.
        node = self._nodes.rows.get(row.node_id)
        moves = (
            node is not None and node.drain is not None and death.kind in (DeathKind.OUT_OF_SCOPE, DeathKind.NODE_DIED)
        )
        if moves:
            death = deaths.MOVES
        left = spec.max_restarts < 0 or row.num_restarts < spec.max_restarts
        if death.kind not in deaths.RESTARTABLE or not left or not row.announced:
            self.die(row, death, now, out, cause)
            return
        lived = now.s - self._alive_since.get(row.actor_id, now.s) if ran else 0.0
        quick = 0 if lived >= self._limits.settled_s else self._quick_deaths.get(row.actor_id, 0)
        self._quick_deaths[row.actor_id] = quick + 1
        self._close_account(row)
        row = replace(
            row,
            state=ActorState.RESTARTING,
            num_restarts=row.num_restarts + (not moves),
            node_id=NO_NODE,
            address=None,
            pid=0,
            death=death,
        )
        self._stories.tell(now.s, cause, f"restarting ({row.num_restarts}): {death.message}", row.actor_id)
        if quick == 0:
            self._placing.wait(row, now, out, cause)
        else:
            self._rows.commit(row, out, cause)
            self._timers.put_off(now.s + self._limits.restart.delay_s(quick - 1, 0.0), Purpose.PLACE, row)

    def ended_with_node(self, row: Actor, now: Instant, out: list[Command], cause: str) -> None:
        """The node it was placed on is gone, or cannot come back."""
        node = self._nodes.rows.get(row.node_id)
        reason = node.death_reason if node is not None else ""
        self.ended(row, deaths.node_died(row.node_id, reason), now, out, cause)

    def owner_died(self, row: Actor, now: Instant, out: list[Command], cause: str) -> None:
        """Its owner is gone: so is the actor."""
        if row.state is ActorState.DEAD:
            return
        death = deaths.owner_died(row.spec.owner)
        self.kill_there(row, death.message, out, cause)
        self.die(row, death, now, out, cause)

    def die(self, row: Actor, death: DeathCause, now: Instant, out: list[Command], cause: str) -> None:
        """It ends for good."""
        spec = row.spec
        self._placing.drop(row)
        self._close_account(row)
        self._refusals.pop(row.actor_id, None)
        self._quick_deaths.pop(row.actor_id, None)
        self._functions.unneeded(spec.blobs, row.actor_id, out)
        # The creation spec is of no use any more, and may be large.
        row = replace(
            row,
            spec=replace(spec, spec=b"", piece_hashes=()),
            state=ActorState.DEAD,
            address=None,
            death=death,
            waiting_reason="",
            ended_unix_ms=now.unix_ms,
        )
        self._rows.bury(row, out, cause)
        self._stories.tell(now.s, cause, f"dead: {death.message}", row.actor_id, spec.job_id)

    def _close_account(self, row: Actor) -> None:
        """Of its latest start."""
        self._nodes.left(row.node_id, row.actor_id)
        self._alive_since.pop(row.actor_id, None)
