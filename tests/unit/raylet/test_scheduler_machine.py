"""The scheduler under random events, judged by a slow and obvious referee that sees only events and commands."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from manta.raylet import events as ev
from manta.raylet.scheduler import Scheduler
from manta.raylet.scheduling.ledger import Ledger
from manta.raylet.scheduling.limits import Limits

TOTAL = {"CPU": 30_000, "GPU": 20_000, "memory": 50_000}
AMOUNTS: tuple[dict[str, int], ...] = (
    {"CPU": 10_000},
    {"CPU": 20_000},
    {"CPU": 5_000},
    {"CPU": 10_000, "GPU": 10_000},
    {"GPU": 5_000},
    {"memory": 20_000, "CPU": 10_000},
    {},
    {"CPU": 40_000},
)
JOBS = (b"j1", b"j2")
DRIVERS = {b"d1": b"j1", b"d2": b"j2", b"d3": b"j1"}
ENVIRONMENTS = (b"", b"env")


@dataclass
class Process:
    """A worker as the referee knows it."""

    pool: ev.PoolKey
    state: str = "starting"
    lease: int = 0
    holds: dict[str, int] = field(default_factory=dict)
    gpus: tuple[str, ...] = ()
    blocked: bool = False
    actor: bytes = b""


class SchedulerMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        numbers = itertools.count(1)
        self.scheduler = Scheduler(
            Ledger(TOTAL), make_id=lambda _pool: b"w%d" % next(numbers), limits=Limits(prestart=2, max_starting=3)
        )
        # Far from zero, as monotonic clocks are: sums of times are rounded there.
        self.now = 1_000_000.1
        self.processes: dict[bytes, Process] = {}
        self.leases: dict[int, tuple[bytes, int, bytes]] = {}
        #: What owners said last: (owner, key) -> (job, environment, amounts, wanted, depth).
        self.demands: dict[tuple[bytes, int], tuple[bytes, bytes, dict[str, int], int, int]] = {}
        self.actors: dict[bytes, str] = {}
        self.actor_numbers = itertools.count(1)
        self.over: set[bytes] = set()
        self.arriving = False

    # ---- the referee

    def tell(self, event: ev.Event, seconds: float = 0.001) -> None:
        self.now += seconds
        self.arriving = isinstance(event, ev.WorkerReady)
        for command in self.scheduler.handle(event, self.now):
            self.judge(command)
        self.scheduler.validate()

    def used(self) -> dict[str, int]:
        used: dict[str, int] = {}
        for process in self.processes.values():
            for name, amount in process.holds.items():
                if not (process.blocked and name == "CPU"):
                    used[name] = used.get(name, 0) + amount
        return used

    def judge(self, command: ev.Command) -> None:
        match command:
            case ev.StartWorker():
                assert command.worker_id not in self.processes
                self.processes[command.worker_id] = Process(command.pool)
                assert sum(process.state == "starting" for process in self.processes.values()) <= 3
            case ev.Grant():
                job, environment, amounts, wanted, _ = self.demands[command.owner, command.key]
                held = sum((owner, key) == (command.owner, command.key) for owner, key, _ in self.leases.values())
                assert held < wanted, "nobody gets more than they want"
                assert amounts == command.amounts
                process = self.take(command.worker_id, command.lease_id, dict(command.amounts), command.gpu_ids)
                assert process.pool == (job, environment), "workers of other jobs or environments are not lent"
                self.leases[command.lease_id] = (command.owner, command.key, command.worker_id)
            case ev.BecomeActor():
                assert self.actors[command.actor_id] == "queued"
                self.actors[command.actor_id] = "living"
                process = self.take(command.worker_id, command.lease_id, dict(command.amounts), command.gpu_ids)
                process.actor = command.actor_id
            case ev.EndStart():
                assert self.processes[command.worker_id].state == "starting"
            case ev.KillWorker():
                process = self.processes[command.worker_id]
                assert process.state != "dying", "one death is enough"
                process.state = "dying"
            case ev.AskExit():
                process = self.processes[command.worker_id]
                assert ("idle", {}) == (process.state, process.holds)
                process.state = "leaving"
            case ev.TellLeaseLost():
                owner, _, worker_id = self.leases.pop(command.lease_id)
                assert (owner, worker_id) == (command.owner, command.worker_id)
            case ev.ReportActorDied():
                assert self.actors.pop(command.actor_id) in ("queued", "living")
            case ev.TellInfeasible():
                _, _, amounts, wanted, _ = self.demands[command.owner, command.key]
                assert wanted
                assert amounts.get("CPU", 0) > TOTAL["CPU"] or "do not start" in command.text
            case ev.TellEnvironmentFailed():
                job, environment, _, wanted, _ = self.demands.pop((command.owner, command.key))
                assert wanted
                assert environment
                running = [process for process in self.processes.values() if process.pool == (job, environment)]
                assert not any(process.state in ("idle", "busy") for process in running), "an environment that works"
            case ev.ClosePool():
                assert not any(process.pool == command.pool for process in self.processes.values())
            case ev.Reclaim():
                assert any(owner == command.owner for owner, _, _ in self.leases.values())
            case ev.TellActorWaits():
                raise AssertionError("every actor here is feasible")

    def take(self, worker_id: bytes, lease: int, amounts: dict[str, int], gpus: tuple[str, ...]) -> Process:
        process = self.processes[worker_id]
        assert process.state == "idle", "only a free worker is lent"
        used = self.used()
        for name, amount in amounts.items():
            # CPUs of a worker that was on its way were taken before somebody else woke up and took his back.
            if name != "CPU" or not self.arriving:
                assert used.get(name, 0) + amount <= TOTAL[name], f"{name} is given twice"
        process.state, process.lease, process.holds, process.gpus = "busy", lease, amounts, gpus
        process.blocked = False
        return process

    def give_back(self, process: Process, state: str) -> None:
        process.state, process.lease, process.holds, process.gpus, process.blocked = state, 0, {}, (), False

    def of_state(self, *states: str) -> list[bytes]:
        return sorted(worker_id for worker_id, process in self.processes.items() if process.state in states)

    # ---- what happens

    @rule(data=st.data(), wanted=st.integers(0, 4), amounts=st.sampled_from(AMOUNTS), env=st.sampled_from(ENVIRONMENTS),
          key=st.integers(1, 2), deeper=st.integers(0, 2))  # fmt: skip
    def demand(self, data, wanted, amounts, env, key, deeper):
        owners = [
            *(driver for driver, job in DRIVERS.items() if job not in self.over),
            *self.of_state("busy", "leaving"),
        ]
        if not owners:
            return
        owner = data.draw(st.sampled_from(owners))
        job = DRIVERS.get(owner) or self.processes[owner].pool[0]
        if job in self.over:
            return
        self.demands[owner, key] = (job, env, amounts, wanted, deeper)
        self.tell(ev.DemandSet(owner, job, key, amounts, wanted, env, "f", deeper))

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), retire=st.booleans(), kill=st.booleans())
    def give_lease_back(self, data, retire, kill):
        lease = data.draw(st.sampled_from(sorted(self.leases)))
        owner, _, worker_id = self.leases.pop(lease)
        process = self.processes[worker_id]
        if process.state == "busy" and not kill:
            self.give_back(process, "idle")
        process.lease = 0
        self.tell(ev.LeaseBack(owner, lease, retire=retire, kill=kill))

    @precondition(lambda self: self.of_state("starting"))
    @rule(data=st.data())
    def worker_connects(self, data):
        worker_id = data.draw(st.sampled_from(self.of_state("starting")))
        self.processes[worker_id].state = "idle"
        self.tell(ev.WorkerReady(worker_id))

    @precondition(lambda self: self.processes)
    @rule(data=st.data(), status=st.sampled_from([0, 1, -9, -11]))
    def worker_dies(self, data, status):
        self.die(data.draw(st.sampled_from(sorted(self.processes))), status)

    def die(self, worker_id: bytes, status: int = -9) -> None:
        del self.processes[worker_id]
        self.forget_owner(worker_id)
        self.tell(ev.WorkerDied(worker_id, status, "died"))
        assert not any(worker == worker_id for _, _, worker in self.leases.values()), "its owner was told"

    def forget_owner(self, owner: bytes) -> None:
        for lease, (of, _, _) in list(self.leases.items()):
            if of == owner:
                del self.leases[lease]
        for where in [where for where in self.demands if where[0] == owner]:
            del self.demands[where]

    @precondition(lambda self: self.of_state("dying", "leaving"))
    @rule(data=st.data())
    def the_doomed_are_gone(self, data):
        self.die(data.draw(st.sampled_from(self.of_state("dying", "leaving"))))

    @precondition(lambda self: self.of_state("busy"))
    @rule(data=st.data())
    def block(self, data):
        worker_id = data.draw(st.sampled_from(self.of_state("busy")))
        self.processes[worker_id].blocked = True
        self.tell(ev.WorkerBlocked(worker_id))

    @precondition(lambda self: any(process.blocked for process in self.processes.values()))
    @rule(data=st.data())
    def unblock(self, data):
        blocked = sorted(worker_id for worker_id, process in self.processes.items() if process.blocked)
        worker_id = data.draw(st.sampled_from(blocked))
        self.processes[worker_id].blocked = False
        self.tell(ev.WorkerUnblocked(worker_id))

    @rule(
        job=st.sampled_from(JOBS), hold=st.sampled_from([{}, {"CPU": 10_000}, {"GPU": 10_000}]), detached=st.booleans()
    )
    def actor(self, job, hold, detached):
        if job in self.over and not detached:
            return
        actor = b"a%d" % next(self.actor_numbers)
        self.actors[actor] = "queued"
        self.tell(ev.ActorWanted(actor, 0, job, {"CPU": 10_000}, hold, detached=detached))

    @precondition(lambda self: self.actors)
    @rule(data=st.data())
    def kill_actor(self, data):
        self.tell(ev.ActorUnwanted(data.draw(st.sampled_from(sorted(self.actors))), 0))

    @rule(owner=st.sampled_from(sorted(DRIVERS)))
    def driver_leaves(self, owner):
        self.forget_owner(owner)
        self.tell(ev.OwnerGone(owner))

    @rule(job=st.sampled_from(JOBS))
    def job_starts(self, job):
        if job not in self.over:
            self.tell(ev.JobStarted(job))

    @rule(job=st.sampled_from(JOBS))
    def job_ends(self, job):
        self.end_job(job)

    def end_job(self, job: bytes) -> None:
        self.over.add(job)
        for driver, of in DRIVERS.items():
            if of == job:
                self.forget_owner(driver)
        before = dict(self.processes)
        for command in self.scheduler.handle(ev.JobFinished(job), self.now):
            self.judge(command)
        self.scheduler.validate()
        for worker_id, process in before.items():
            if process.state == "dying" and process.pool[0] == job:
                self.forget_owner(worker_id)
        for lease in [lease for lease in self.leases if self.scheduler.lease(lease) is None]:
            del self.leases[lease]
        for actor in [actor for actor, state in self.actors.items() if state == "queued"]:
            if self.scheduler.actor(actor) is None:
                del self.actors[actor]

    @rule()
    def a_spare_connects(self):
        self.tell(ev.SpareReady())

    @rule(env=st.sampled_from(ENVIRONMENTS))
    def none_of_an_environment_starts(self, env):
        for worker_id in self.of_state("starting"):
            if worker_id in self.processes and self.processes[worker_id].pool[1] == env:
                self.die(worker_id, 1)

    @rule(seconds=st.sampled_from([0.01, 0.1, 1.0, 11.0]))
    def time_passes(self, seconds):
        self.tell(ev.Tick(), seconds)

    @precondition(lambda self: self.scheduler.wake_at is not None)
    @rule(times=st.integers(1, 3))
    def the_alarm_rings(self, times):
        """Woken at the very moment it asked for: something happens, or it is not asked for at that moment again."""
        for _ in range(times):
            wake_at = self.scheduler.wake_at
            if wake_at is None:
                return
            assert wake_at > self.now
            self.now = wake_at
            self.tell(ev.Tick(), 0.0)

    # ---- what always holds

    @invariant()
    def the_alarm_is_set_for_later(self):
        assert self.scheduler.wake_at is None or self.scheduler.wake_at > self.now

    @invariant()
    def both_count_the_same(self):
        used = self.used()
        reserved = len(self.of_state("starting"))
        for name, total in TOTAL.items():
            free = self.scheduler.ledger.available[name]
            # What is reserved for workers on their way is the only thing that the referee does not see.
            assert free <= total - used.get(name, 0)
            assert reserved or free == total - used.get(name, 0)
        lost = [lease for lease in self.leases if self.scheduler.lease(lease) is None]
        assert [] == lost, "a lease ends only by a word"

    @invariant()
    def nobody_waits_for_nothing(self):
        """A demand whose worker and resources are free waits only for the brake, which tells when it yields."""
        if self.of_state("starting") or self.scheduler.wake_at is not None:
            return
        used = self.used()
        for (owner, key), (job, env, amounts, wanted, _) in self.demands.items():
            held = sum((of, number) == (owner, key) for of, number, _ in self.leases.values())
            idle = [w for w in self.of_state("idle") if self.processes[w].pool == (job, env)]
            fits = all(used.get(name, 0) + amount <= TOTAL[name] for name, amount in amounts.items())
            if held < wanted and idle and fits and "GPU" not in amounts:
                raise AssertionError(f"{owner!r} waits for {amounts} although there is {idle[0]!r}")

    def teardown(self) -> None:
        for job in JOBS:
            self.end_job(job)
        for actor in sorted(self.actors):
            self.tell(ev.ActorUnwanted(actor, 0))
        while self.processes:
            self.die(min(self.processes))
        assert TOTAL == self.scheduler.ledger.available, "everything is back"
        statistics = self.scheduler.statistics()
        assert ([], 0, {}) == (statistics["demands"], statistics["leases"], statistics["workers"])
        assert self.actors == {}
        super().teardown()


TestSchedulerMachine = SchedulerMachine.TestCase
TestSchedulerMachine.settings = settings(stateful_step_count=60)
