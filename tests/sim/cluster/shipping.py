"""Objects between raylets: the real pulls, chains and moves; bytes take time instead of threads, and break with connections."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from manta.raylet.objects import pull_commands as pc
from manta.raylet.objects import transfer
from manta.raylet.objects.pull_commands import Trouble
from manta.raylet.objects.transfer import Outcome, Progress, Unreachable
from manta.raylet.transfers import Transfers, _Fetch, _Send
from manta.rpc.v1 import channel_pb2 as pb
from manta.transport.channel import PROTOCOL
from tests.sim.cluster.wires import connect

if TYPE_CHECKING:
    from tests.sim.cluster.raylet import Raylet

#: Of one transfer.
BYTES_PER_S = 100e6
#: Whoever passes on what has not come yet looks again so often, and so often in vain, as `transfer.STARVED_S` is 30 s.
LOOK_S, LOOKS = 0.02, 1500


class Stoppable(Progress):
    """Ends its transfer on this machine's clock."""

    __slots__ = ("on_stop",)

    def stop(self) -> None:
        self.on_stop()


class Shipping(Transfers):
    """One node's transfers."""

    raylet: Raylet

    def _fetch(self, command: pc.Fetch) -> None:
        raylet, oid = self.raylet, command.object_id
        progress = Stoppable(command.size)
        fetch = self._running[oid] = _Fetch(command.node_id, command.attempt, progress)
        self._fetches.add(fetch)
        ends: list[Any] = []

        def over(outcome: Outcome) -> None:
            """As a thread's last word: once, and later."""
            if fetch in self._fetches and not getattr(over, "said", False):
                over.said = True  # type: ignore[attr-defined]
                for end in ends:
                    end.close()
                raylet.machine.call_later(0.0005, self._fetched, oid, fetch, outcome)

        progress.on_stop = lambda: raylet.machine.call_later(0.001, over, Outcome(Trouble.BROKEN, "it was stopped"))
        try:
            self._dial(command.node_id)
        except Unreachable as unreachable:
            over(Outcome(unreachable.trouble, str(unreachable)))
            return
        here, there = connect(raylet.machine, raylet.world.machine_of(command.node_id))
        ends.append(here)

        def heard(frame: Any) -> None:
            match frame:
                case pb.PullEnd():
                    progress.add(command.size)
                    over(Outcome())
                case pb.PullAnswer(ask_node=node_id) if node_id:
                    over(Outcome(ask_node=node_id))
                case _:
                    over(transfer._REFUSED[frame.refusal])

        here.on_frame, here.on_closed = heard, lambda reason: over(Outcome(Trouble.BROKEN, reason))
        here.send(
            pb.PullObject(
                object_id=oid,
                size=command.size,
                node_id=raylet.node_id,
                direct=command.direct,
                avoid=command.avoid,
                protocol=PROTOCOL,
            )
        )
        raylet.world.clock.after(0.002, lambda: raylet.world.door(there, command.node_id))

    def _refuse(self, far: Any, answer: pb.PullAnswer) -> None:
        far.send(answer)
        far.close()

    def _send(self, number: int, send: _Send, offset: int, progress: Progress) -> None:
        send.progress = progress
        machine = self.raylet.machine
        far: Any = send.far

        def turn(looks: int) -> None:
            if not far.closed and not progress.revoked and progress.have < progress.size and looks < LOOKS:
                machine.call_later(LOOK_S, turn, looks + 1)
                return
            if not far.closed and not progress.revoked and progress.have == progress.size:
                far.send(pb.PullEnd())
            far.close()
            self._sent(number)

        chance = machine.clock.chance
        machine.call_later(progress.size / BYTES_PER_S * (1 + chance.random()), partial(turn, 0))
