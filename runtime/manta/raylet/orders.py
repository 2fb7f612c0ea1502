"""What control has this node do: note it, let the scheduler decide, answer. See raylet.proto for what each order guarantees."""

from __future__ import annotations

from collections.abc import Callable

from manta.core.errors import ProtocolError
from manta.raylet import events as ev
from manta.raylet.actors import Actors
from manta.raylet.admission import settings_of, variables_of
from manta.raylet.clients import Clients, Job
from manta.raylet.runner import Runner
from manta.raylet.workers.pool import WorkerProcesses
from manta.rpc.v1 import channel_pb2 as pb
from manta.rpc.v1 import common_pb2 as common
from manta.rpc.v1 import raylet_pb2 as rpb
from manta.transport.convert import resources_from_proto

_ACCEPTED = rpb.StartActorAnswer.VERDICT_ACCEPTED
_REFUSED = rpb.StartActorAnswer.VERDICT_REFUSED


class Orders:
    """Carries control's orders out.

    Args:
        runner: Hears of actors.
        actors: Notes them.
        clients: Who is connected.
        jobs: Filled with jobs that come with an order.
        processes: Hears what those jobs' workers need.
        job_over: Frees what a job holds here.
    """

    def __init__(
        self,
        *,
        runner: Runner,
        actors: Actors,
        clients: Clients,
        jobs: dict[bytes, Job],
        processes: WorkerProcesses,
        job_over: Callable[[bytes], None],
    ) -> None:
        self._runner = runner
        self._actors = actors
        self._clients = clients
        self._jobs = jobs
        self._processes = processes
        self._job_over = job_over

    def carry_out(self, order: rpb.Order) -> rpb.OrderAnswer:
        """Do or note one; safe to repeat.

        Raises:
            ProtocolError: It is of a kind that this version does not know.
        """
        match order.WhichOneof("order"):
            case "start_actor":
                return rpb.OrderAnswer(start_actor=self._start_actor(order.start_actor))
            case "kill_actor":
                self._kill_actor(order.kill_actor)
            case "finish_job":
                self._job_over(order.finish_job.job_id)
            case "prepare_bundles":
                return rpb.OrderAnswer(prepare_bundles=self._prepare_bundles(order.prepare_bundles))
            case "commit_bundles":
                commit = order.commit_bundles
                self._runner.tell(ev.BundlesWanted(commit.group_id, None, tuple(commit.indexes)))
            case "return_bundles":
                unwanted = order.return_bundles
                self._runner.tell(ev.BundlesUnwanted(unwanted.group_id, tuple(unwanted.indexes)))
            case _:
                raise ProtocolError("an order of control's is of no kind that this raylet knows")
        return rpb.OrderAnswer()

    def _start_actor(self, order: rpb.StartActorOrder) -> rpb.StartActorAnswer:
        verdict, reason = self._actors.admit(order)
        if verdict == _ACCEPTED and self._runner.scheduler.actor(order.actor_id) is None:
            job = self._jobs.get(order.job_id)
            if job is None:
                # Its driver is elsewhere, or gone: what its workers need comes with the order.
                job = self._jobs[order.job_id] = Job(order.job_id, order.job_config, order.namespace)
                job.log_to_driver = settings_of(job.config).log_to_driver
                if order.driver_node:
                    job.driver = common.Address(node_id=order.driver_node)
                self._processes.job_variables(job.job_id, variables_of(settings_of(job.config)))
            if self._runner.scheduler.cluster.draining:
                self._actors.refuse(order.actor_id)
                verdict, reason = _REFUSED, "the node is being drained"
            elif not self._runner.scheduler.ledger.feasible(resources_from_proto(order.place)):
                self._actors.refuse(order.actor_id)
                verdict, reason = _REFUSED, "the node does not have what it asks for"
            else:
                self._runner.tell(
                    ev.ActorWanted(
                        actor_id=order.actor_id,
                        incarnation=order.incarnation,
                        job=order.job_id,
                        place=resources_from_proto(order.place),
                        hold=resources_from_proto(order.hold),
                        environment=order.env_hash,
                        name=order.class_name,
                        detached=order.detached,
                    )
                )
        available = common.Resources(amounts=self._runner.scheduler.available())
        return rpb.StartActorAnswer(verdict=verdict, reason=reason, available=available)

    def _prepare_bundles(self, order: rpb.PrepareBundlesOrder) -> rpb.PrepareBundlesAnswer:
        if self._runner.scheduler.cluster.draining:
            return rpb.PrepareBundlesAnswer(reason="the node is being drained")
        amounts = {bundle.index: resources_from_proto(bundle.amounts) for bundle in order.bundles}
        self._runner.tell(ev.BundlesWanted(order.group_id, amounts))
        scheduler = self._runner.scheduler
        held = scheduler.bundles.held().get(order.group_id, ())
        accepted = all(index in held for index in amounts)
        return rpb.PrepareBundlesAnswer(
            accepted=accepted,
            reason="" if accepted else "the node does not have that free any more",
            available=common.Resources(amounts=scheduler.available()),
        )

    def _kill_actor(self, order: rpb.KillActorOrder) -> None:
        life = self._actors.unwanted(order.actor_id, order.incarnation, order.reason, graceful=order.graceful)
        if life is None:
            return
        if order.graceful and life.started:
            self._clients.send(life.worker_id, pb.Exit(reason=order.reason or "nobody refers to the actor any more"))
        else:
            self._runner.tell(ev.ActorUnwanted(order.actor_id, order.incarnation, order.reason))
