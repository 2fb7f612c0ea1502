"""Who gets a worker, and when."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

from manta.raylet import events as ev
from manta.raylet.scheduler import Scheduler
from manta.raylet.scheduling.ledger import Ledger
from manta.raylet.scheduling.limits import Limits

JOB = b"job1"
CPU = {"CPU": 10_000}


class Bench:
    """A scheduler, a clock, and short names for what tests say often."""

    def __init__(self, total: Mapping[str, int], limits: Limits | None = None) -> None:
        numbers = itertools.count(1)
        self.scheduler = Scheduler(Ledger(total), make_id=lambda _pool: b"w%d" % next(numbers), limits=limits)
        self.now = 100.0

    def tell(self, event: ev.Event) -> list[ev.Command]:
        commands = self.scheduler.handle(event, self.now)
        self.scheduler.validate()
        return commands

    def want(
        self, owner: bytes, wanted: int, *, key: int = 1, amounts: Mapping[str, int] = CPU, **more: Any
    ) -> list[ev.Command]:
        return self.tell(ev.DemandSet(owner, more.pop("job", JOB), key, amounts, wanted, **more))

    def ready(self, *workers: bytes) -> list[ev.Command]:
        return [command for worker in workers for command in self.tell(ev.WorkerReady(worker))]

    def tick(self, seconds: float) -> list[ev.Command]:
        self.now += seconds
        return self.tell(ev.Tick())

    def workers(self, count: int) -> None:
        """Workers of the job, connected and idle."""
        commands = self.tell(ev.JobStarted(JOB))
        started = [command.worker_id for command in commands if isinstance(command, ev.StartWorker)]
        assert count == len(started)
        assert [] == self.ready(*started)


def grants(commands: list[ev.Command]) -> list[tuple[bytes, int, bytes]]:
    return [(c.owner, c.key, c.worker_id) for c in commands if isinstance(c, ev.Grant)]


def lease_ids(commands: list[ev.Command]) -> list[int]:
    return [command.lease_id for command in commands if isinstance(command, ev.Grant)]


def kinds(commands: list[ev.Command]) -> list[str]:
    return [type(command).__name__ for command in commands]


def test_a_demand_without_a_worker_starts_one_and_gets_it():
    bench = Bench({"CPU": 20_000})

    assert [ev.StartWorker(b"w1", (JOB, b""), "")] == bench.want(b"driver", 1)
    assert 10_000 == bench.scheduler.ledger.available["CPU"]
    assert [ev.Grant(1, b"driver", 1, b"w1", {"CPU": 10_000}, (), "")] == bench.ready(b"w1")


def test_an_idle_worker_is_lent_at_once():
    bench = Bench({"CPU": 20_000})
    bench.workers(2)

    assert [(b"driver", 1, b"w2")] == grants(bench.want(b"driver", 1))


def test_no_more_workers_start_than_resources_allow():
    bench = Bench({"CPU": 20_000})

    assert ["StartWorker", "StartWorker"] == kinds(bench.want(b"driver", 1_000_000))


def test_a_returned_lease_goes_to_the_owner_whose_turn_it_is():
    """Owners take turns, however much one of them wants."""
    bench = Bench({"CPU": 10_000})
    bench.workers(1)
    (lease,) = lease_ids(bench.want(b"greedy", 1000))
    bench.want(b"modest", 1)
    bench.want(b"greedy", 999)

    commands = bench.tell(ev.LeaseBack(b"greedy", lease))
    assert [(b"greedy", 1, b"w1")] == grants(commands)
    commands = bench.tell(ev.LeaseBack(b"greedy", *lease_ids(commands)))
    assert [(b"modest", 1, b"w1")] == grants(commands)


def test_a_demand_that_does_not_fit_holds_up_no_other():
    bench = Bench({"CPU": 20_000, "GPU": 10_000})
    bench.workers(2)
    bench.want(b"a", 1, amounts={"CPU": 10_000, "GPU": 10_000})

    assert [] == grants(bench.want(b"b", 1, amounts={"GPU": 10_000}))
    assert 1 == len(grants(bench.want(b"c", 1)))


def test_a_waiting_task_lends_its_cpu_and_nothing_else():
    bench = Bench({"CPU": 10_000, "GPU": 10_000, "memory": 10_000})
    bench.workers(1)
    bench.want(b"driver", 1, amounts={"CPU": 10_000, "GPU": 10_000, "memory": 10_000})

    bench.tell(ev.WorkerBlocked(b"w1"))

    assert {"CPU": 10_000, "GPU": 0, "memory": 0} == bench.scheduler.ledger.available
    assert ["StartWorker"] == kinds(bench.want(b"w1", 1, depth=1))


def test_a_task_that_wakes_takes_its_cpu_though_it_is_lent():
    bench = Bench({"CPU": 10_000})
    bench.workers(1)
    bench.want(b"driver", 1)
    bench.tell(ev.WorkerBlocked(b"w1"))
    bench.want(b"w1", 1, depth=1)
    bench.ready(b"w2")

    bench.tell(ev.WorkerUnblocked(b"w1"))

    assert -10_000 == bench.scheduler.ledger.available["CPU"]
    assert {"CPU": 0} == bench.scheduler.available()


def test_recursion_of_depth_100_gets_its_next_level_every_time():
    """One CPU, one task per level that waits for the next one."""
    bench = Bench({"CPU": 10_000})
    owner = b"driver"
    for _ in range(100):
        commands = bench.want(owner, 1)
        (start,) = [command for command in commands if isinstance(command, ev.StartWorker)]
        ((_, _, owner),) = grants(bench.ready(start.worker_id))
        bench.tell(ev.WorkerBlocked(owner))

    assert 100 == bench.scheduler.statistics()["workers"]["busy"]


def test_a_thousand_waiting_tasks_do_not_become_a_thousand_processes():
    """Those of one shape are as many as there are CPUs; the brake yields in ever longer steps, so that nothing waits for ever."""
    bench = Bench({"CPU": 20_000})
    bench.workers(2)
    bench.want(b"driver", 1000)
    for worker in (b"w1", b"w2"):
        assert [] == bench.tell(ev.WorkerBlocked(worker))

    busy = []
    for _ in range(4):
        assert bench.scheduler.wake_at is not None
        commands = bench.tick(bench.scheduler.wake_at - bench.now)
        for command in commands:
            if isinstance(command, ev.StartWorker):
                bench.ready(command.worker_id)
                bench.tell(ev.WorkerBlocked(command.worker_id))
        busy.append((round(bench.now - 100, 2), bench.scheduler.statistics()["workers"]["busy"]))
    assert [(0.25, 4), (0.75, 6), (1.75, 8), (3.75, 10)] == busy


def test_an_infeasible_demand_is_told_at_once_and_stays():
    bench = Bench({"CPU": 20_000})

    (told,) = bench.want(b"driver", 1, amounts={"CPU": 640_000}, name="f")

    assert isinstance(told, ev.TellInfeasible)
    assert (b"driver", 1) == (told.owner, told.key)
    assert "task 'f' asks for {CPU: 64}" in told.text
    assert "the only node has {CPU: 2}" in told.text
    assert [] == bench.want(b"driver", 2, amounts={"CPU": 640_000}, name="f"), "said once"
    assert 2 == bench.scheduler.statistics()["demands"][0]["wanted"]


def test_the_text_of_an_infeasible_demand_holds_what_matters():
    bench = Bench({"CPU": 20_000, "memory": 10_000 << 30, "node:127.0.0.1": 10_000, "disk": 10_000})

    (told,) = bench.want(b"driver", 1, amounts={"GPU": 10_000, "memory": 5_000 << 30})

    assert isinstance(told, ev.TellInfeasible)
    assert "asks for {GPU: 1, memory: 0.50 GiB}," in told.text
    assert "the only node has {CPU: 2, GPU: 0, disk: 1, memory: 1.00 GiB}." in told.text


def test_gpus_are_named_and_fractions_share_one():
    bench = Bench({"CPU": 40_000, "GPU": 20_000})
    bench.workers(4)

    (half,) = bench.want(b"a", 1, amounts={"GPU": 5_000})
    (other_half,) = bench.want(b"b", 1, amounts={"GPU": 5_000})
    (whole,) = bench.want(b"c", 1, amounts={"GPU": 10_000})

    assert [("0",), ("0",), ("1",)] == [c.gpu_ids for c in (half, other_half, whole) if isinstance(c, ev.Grant)]
    assert [] == bench.want(b"d", 1, amounts={"GPU": 5_000})


def test_a_dead_worker_is_told_to_its_owner_and_its_resources_are_free():
    bench = Bench({"CPU": 10_000})
    bench.workers(1)
    (lease,) = lease_ids(bench.want(b"driver", 1))

    commands = bench.tell(ev.WorkerDied(b"w1", -9, "killed by signal 9 (SIGKILL)"))

    assert ev.TellLeaseLost(b"driver", lease, b"w1", -9, "killed by signal 9 (SIGKILL)", False, "") == commands[0]
    assert ["TellLeaseLost", "StartWorker"] == kinds(commands), "the demand still stands"


def test_the_workers_of_a_dead_owner_are_killed_and_hold_until_they_are_gone():
    bench = Bench({"CPU": 10_000})
    bench.workers(1)
    bench.want(b"driver", 1)

    assert ["KillWorker"] == kinds(bench.tell(ev.OwnerGone(b"driver")))
    assert 0 == bench.scheduler.ledger.available["CPU"]
    bench.tell(ev.WorkerDied(b"w1", -9, "killed"))
    assert 10_000 == bench.scheduler.ledger.available["CPU"]


def test_a_retired_worker_is_asked_to_leave_and_never_lent_again():
    bench = Bench({"CPU": 10_000})
    bench.workers(1)
    (lease,) = lease_ids(bench.want(b"driver", 1))

    assert ["AskExit", "StartWorker"] == kinds(bench.tell(ev.LeaseBack(b"driver", lease, retire=True)))


def test_workers_that_do_not_start_are_not_started_over_and_over():
    """After three failures in a row those who wait are told, and the next try waits."""
    bench = Bench({"CPU": 10_000})
    seen = kinds(bench.want(b"driver", 1))
    for number in range(1, 4):
        seen += kinds(bench.tell(ev.WorkerDied(b"w%d" % number, 1, "ImportError: nope")))

    assert ["StartWorker", "StartWorker", "StartWorker", "TellInfeasible"] == seen
    assert ["StartWorker"] == kinds(bench.tick(0.1))
    assert [] == bench.tell(ev.WorkerDied(b"w4", 1, "ImportError: nope"))
    assert [] == bench.tick(0.19)
    assert ["StartWorker"] == kinds(bench.tick(0.02))


def test_an_actor_whose_workers_do_not_start_is_reported_dead():
    bench = Bench({"CPU": 10_000})
    bench.tell(ev.ActorWanted(b"actor", 0, JOB, CPU, {}))
    commands = [bench.tell(ev.WorkerDied(b"w%d" % number, 1, "ImportError: nope")) for number in range(1, 4)][-1]

    (report,) = commands
    assert isinstance(report, ev.ReportActorDied)
    assert "ImportError: nope" in report.text


def fail_to_start(bench: Bench, *workers: bytes) -> list[ev.Command]:
    """The last of these deaths' commands."""
    return [bench.tell(ev.WorkerDied(worker, 1, "ImportError: nope")) for worker in workers][-1]


def test_an_environment_is_at_fault_when_only_its_workers_do_not_start():
    """Its tasks fail instead of waiting for what will not come, and its actors are dead for good."""
    bench = Bench({"CPU": 20_000}, Limits(prestart=0))
    bench.tell(ev.SpareReady())
    bench.want(b"driver", 1, environment=b"bad")
    bench.tell(ev.ActorWanted(b"actor", 0, JOB, CPU, {}, environment=b"bad"))

    first, second = fail_to_start(bench, b"w1", b"w2", b"w3")

    assert isinstance(first, ev.TellEnvironmentFailed)
    assert (b"driver", 1) == (first.owner, first.key)
    assert "ImportError: nope" in first.text
    assert "while workers without them do" in first.text
    assert ev.ReportActorDied(b"actor", 0, b"", None, first.text, False, "") == second
    assert [] == bench.scheduler.statistics()["demands"]
    assert bench.scheduler.actor(b"actor") is None


def test_who_asks_for_an_environment_that_just_failed_is_answered_without_another_try():
    """Until the next try is due: a loop that submits tasks is no storm of processes."""
    bench = Bench({"CPU": 20_000}, Limits(prestart=0))
    bench.tell(ev.SpareReady())
    bench.want(b"driver", 1, environment=b"bad")
    fail_to_start(bench, b"w1", b"w2", b"w3")

    for _ in range(100):
        assert ["TellEnvironmentFailed"] == kinds(bench.want(b"driver", 1, environment=b"bad"))
    assert ["ReportActorDied"] == kinds(bench.tell(ev.ActorWanted(b"a", 0, JOB, CPU, {}, environment=b"bad")))
    assert ["StartWorker"] == kinds(bench.want(b"driver", 1, key=2)), "the plain one is not held up"
    bench.now += 0.11
    assert ["StartWorker"] == kinds(bench.want(b"driver", 1, environment=b"bad"))
    assert ["TellEnvironmentFailed"] == kinds(fail_to_start(bench, b"w5"))


def test_a_worker_that_neither_dies_nor_connects_is_ended_and_has_failed_to_start():
    """Once each; three in a row are the environment's fault, as if they had died by themselves."""
    bench = Bench({"CPU": 20_000}, Limits(prestart=0, start_s=60.0))
    bench.tell(ev.SpareReady())
    bench.want(b"driver", 1, environment=b"stuck")
    commands: list[ev.Command] = []

    for number in range(1, 4):
        assert [] == bench.tick(59.9)
        (end,) = bench.tick(0.1)
        assert isinstance(end, ev.EndStart)
        assert b"w%d" % number == end.worker_id
        assert "not ready 60 s after it was asked for" in end.reason
        assert [] == bench.tick(30.0), "it is ended once, however long that takes"
        commands = bench.tell(ev.WorkerDied(end.worker_id, -6, end.reason))

    assert ["TellEnvironmentFailed"] == kinds(commands)
    assert [] == bench.scheduler.statistics()["demands"]


def test_a_worker_that_connects_in_time_is_left_alone():
    bench = Bench({"CPU": 10_000}, Limits(prestart=0, start_s=60.0))
    bench.want(b"driver", 1)
    bench.now += 59.9

    assert [(b"driver", 1, b"w1")] == grants(bench.ready(b"w1"))
    assert [] == bench.tick(100.0)


def test_an_environment_that_works_again_is_forgiven():
    bench = Bench({"CPU": 10_000}, Limits(prestart=0))
    bench.tell(ev.SpareReady())
    bench.want(b"driver", 1, environment=b"flaky")
    fail_to_start(bench, b"w1", b"w2", b"w3")
    bench.now += 0.11
    bench.want(b"driver", 1, environment=b"flaky")

    assert [(b"driver", 1, b"w4")] == grants(bench.ready(b"w4"))
    bench.want(b"driver", 2, environment=b"flaky")
    bench.tell(ev.WorkerDied(b"w4", -9, "killed"))
    assert ["TellInfeasible"] == kinds(fail_to_start(bench, b"w5", b"w6", b"w7")), "it did work: this may pass"


def test_the_node_is_at_fault_when_no_worker_starts():
    """Tasks wait: what ails the node may pass. An actor may find another node."""
    bench = Bench({"CPU": 30_000}, Limits(prestart=0))
    bench.tell(ev.SpareReady())
    bench.want(b"driver", 1)
    bench.tell(ev.WorkerDied(b"w1", None, "fork: out of memory"))
    bench.want(b"driver", 1, key=2, environment=b"good")
    bench.tell(ev.ActorWanted(b"actor", 0, JOB, CPU, {}, environment=b"good"))

    commands: list[ev.Command] = []
    for _ in range(3):
        worker = next(w.worker_id for w in bench.scheduler.workers() if w.pool == (JOB, b"good"))
        commands = bench.tell(ev.WorkerDied(worker, None, "fork: out of memory"))

    told, report = commands
    assert isinstance(told, ev.TellInfeasible)
    assert isinstance(report, ev.ReportActorDied)
    assert report.worker_id, "its last worker's death, not its environment's"
    assert 2 == len(bench.scheduler.statistics()["demands"])


def test_an_actor_needs_a_free_cpu_to_start_and_holds_what_it_asked_for():
    bench = Bench({"CPU": 10_000})
    bench.workers(1)

    commands = bench.tell(ev.ActorWanted(b"actor", 0, JOB, place=CPU, hold={}))

    assert ev.BecomeActor(1, b"actor", 0, b"w1", {}, (), "") == commands[0]
    assert 10_000 == bench.scheduler.ledger.available["CPU"]


def test_a_queued_actor_that_is_killed_never_starts():
    bench = Bench({"CPU": 10_000})
    bench.workers(1)
    bench.want(b"driver", 1)
    assert [] == bench.tell(ev.ActorWanted(b"actor", 0, JOB, CPU, {}))

    assert ["ReportActorDied"] == kinds(bench.tell(ev.ActorUnwanted(b"actor", 0, "killed")))
    bench.want(b"driver", 0)
    assert [] == bench.tell(ev.LeaseBack(b"driver", 1))


def test_actors_leave_spare_workers_behind_them_for_the_next_ones():
    bench = Bench({"CPU": 20_000}, Limits(prestart=0, max_starting=8))
    started = []
    for number in range(4):
        commands = bench.tell(ev.ActorWanted(b"actor%d" % number, 0, JOB, CPU, {}))
        started += [command.worker_id for command in commands if isinstance(command, ev.StartWorker)]
    assert 4 == len(started)

    after = bench.ready(*started)

    assert 4 == kinds(after).count("BecomeActor")
    assert 4 == kinds(after).count("StartWorker"), "as many as were needed lately"


def test_idle_workers_beyond_the_cpus_are_asked_to_leave_after_a_second():
    bench = Bench({"CPU": 10_000}, Limits(prestart=0))
    bench.want(b"driver", 1)
    bench.ready(b"w1")
    bench.tell(ev.WorkerBlocked(b"w1"))
    bench.want(b"w1", 1, depth=1)
    bench.ready(b"w2")
    bench.want(b"driver", 0)
    bench.want(b"w1", 0, depth=1)
    bench.tell(ev.LeaseBack(b"w1", 2))
    bench.now += 0.5
    assert [] == bench.tell(ev.LeaseBack(b"driver", 1))

    assert [] == bench.tick(0.4)
    assert [ev.AskExit(b"w2", "it was idle", "time")] == bench.tick(0.2)


def test_an_alarm_that_rings_in_time_is_not_set_for_the_same_moment_again():
    """The sum of two times is rounded, their difference in another way: (since + 1.0) - since may be less than 1.0."""
    bench = Bench({"CPU": 10_000}, Limits(prestart=0))
    bench.now = since = 0.007
    assert (since + 1.0) - since < 1.0
    bench.want(b"driver", 1)
    bench.ready(b"w1")
    bench.tell(ev.WorkerBlocked(b"w1"))
    bench.want(b"w1", 1, depth=1)
    bench.ready(b"w2")
    bench.want(b"driver", 0)
    bench.want(b"w1", 0, depth=1)
    bench.tell(ev.LeaseBack(b"w1", 2))
    bench.tell(ev.LeaseBack(b"driver", 1))
    assert bench.scheduler.wake_at is not None

    bench.now = bench.scheduler.wake_at
    assert ["AskExit"] == kinds(bench.tell(ev.Tick()))
    assert bench.scheduler.wake_at is None


def test_an_owner_with_leases_is_asked_for_them_when_another_has_none():
    bench = Bench({"CPU": 20_000})
    bench.workers(2)
    bench.want(b"rich", 2)

    assert [] == bench.want(b"poor", 1), "a turn lasts a moment"
    assert [ev.Reclaim(b"rich", 1, "time")] == bench.tick(0.06)
    assert [] == bench.tick(0.01), "not again at once"


def test_an_owner_is_not_asked_for_leases_that_only_itself_waits_for():
    bench = Bench({"CPU": 20_000})
    bench.workers(2)
    bench.want(b"rich", 1000)

    assert [] == bench.tick(1.0)
    assert bench.scheduler.wake_at is None


def test_a_job_that_ends_takes_everything_but_its_detached_actors():
    bench = Bench({"CPU": 40_000})
    bench.workers(4)
    bench.want(b"driver", 1)
    bench.tell(ev.ActorWanted(b"plain", 0, JOB, CPU, {}))
    bench.tell(ev.ActorWanted(b"detached", 0, JOB, CPU, {}, detached=True))
    (detached,) = [w.worker_id for w in bench.scheduler.workers() if w.lease_id == 3]

    killed = [command.worker_id for command in bench.tell(ev.JobFinished(JOB)) if isinstance(command, ev.KillWorker)]

    alive = {worker.worker_id for worker in bench.scheduler.workers()}
    assert alive - set(killed) == {detached}
    for worker_id in killed:
        bench.tell(ev.WorkerDied(worker_id, -9, "its job is over"))
    assert ["ReportActorDied", "ClosePool"] == kinds(bench.tell(ev.WorkerDied(detached, 0, "exit code 0")))


def test_the_story_of_a_worker_names_what_happened_to_it():
    bench = Bench({"CPU": 10_000})
    bench.want(b"driver", 1, cause="frame 7")
    bench.ready(b"w1")

    story = [(type(event).__name__, kinds(commands)) for _, event, commands in bench.scheduler.story(b"w1")]

    assert [("DemandSet", ["StartWorker"]), ("WorkerReady", ["Grant"])] == story


def test_what_a_detached_actor_has_leased_ends_with_the_job_when_the_actor_is_being_killed():
    """It stays for nobody: what it asked for is not placed any more while its process is on its way out."""
    bench = Bench({"CPU": 40_000})
    bench.workers(4)
    bench.tell(ev.ActorWanted(b"detached", 0, JOB, CPU, {}, detached=True))
    (actor,) = [worker.worker_id for worker in bench.scheduler.workers() if worker.lease_id == 1]
    bench.want(actor, 1)
    assert ["KillWorker"] == kinds(bench.tell(ev.ActorUnwanted(b"detached", 0, "killed")))

    assert actor not in {c.worker_id for c in bench.tell(ev.JobFinished(JOB)) if isinstance(c, ev.KillWorker)}
    assert [] == bench.scheduler.statistics()["demands"]
    assert {"dying": 4} == bench.scheduler.statistics()["workers"]


def test_a_dead_worker_that_was_lent_to_itself_is_told_to_nobody():
    bench = Bench({"CPU": 10_000})
    bench.workers(1)
    (lease,) = lease_ids(bench.want(b"driver", 1))
    bench.want(b"driver", 0)
    bench.want(b"w1", 1, depth=1)
    assert [(b"w1", 1, b"w1")] == grants(bench.tell(ev.LeaseBack(b"driver", lease)))

    assert [] == bench.tell(ev.WorkerDied(b"w1", -9, "killed"))
