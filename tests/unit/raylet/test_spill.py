"""What a raylet cannot give is pointed elsewhere, once; what was sent to it is given, or refused."""

from __future__ import annotations

from typing import Any

from manta.core.strategy import ANYWHERE, IN, Term
from manta.raylet import events as ev
from manta.raylet.events import ClusterSeen, NodeSeen
from tests.unit.raylet.test_scheduler import CPU, Bench, grants, lease_ids

OTHER, THIRD = b"o" * 28, b"t" * 28


def bench_with(*others: tuple[bytes, dict[str, int]], cpus: int = 2, total: dict[str, int] | None = None) -> Bench:
    bench = Bench(total or {"CPU": cpus * 10_000})
    bench.tell(ClusterSeen(tuple(NodeSeen(node, free, {**free, "CPU": 40_000}) for node, free in others), anew=True))
    return bench


def spills(commands: list[ev.Command]) -> list[tuple[int, bytes, int, float]]:
    return [(c.number, c.node_id, c.count, c.patience_s) for c in commands if isinstance(c, ev.Spill)]


def told(commands: list[ev.Command], *kinds: type) -> list[Any]:
    return [command for command in commands if isinstance(command, kinds)]


def test_half_of_this_node_is_used_before_others_are():
    bench = bench_with((OTHER, {"CPU": 40_000}), cpus=4)
    assert spills(bench.want(b"driver", 2)) == []
    assert spills(bench.want(b"driver", 4)) == [(1, OTHER, 2, 0.0)]


def test_what_is_elsewhere_is_not_missed_here():
    """A spill counts from the moment it is said, until the owner says itself what it asked for elsewhere."""
    bench = bench_with((OTHER, {"CPU": 20_000}), cpus=2)
    assert spills(bench.want(b"driver", 5)) == [(1, OTHER, 2, 0.0)]
    assert spills(bench.want(b"driver", 5)) == [], "the owner has not heard of the first"
    bench.tell(ClusterSeen((NodeSeen(OTHER, {"CPU": 0}),)))
    assert spills(bench.want(b"driver", 5, away=2, spill_seen=1)) == []
    assert spills(bench.want(b"driver", 6, away=2, spill_seen=1)) == []
    demand = bench.scheduler.statistics()["demands"][0]
    assert (demand["wanted"], demand["away"]) == (6, 2)


def test_what_others_report_as_free_is_used():
    bench = bench_with((OTHER, {"CPU": 0}), cpus=2)
    assert spills(bench.want(b"driver", 4)) == []
    assert spills(bench.tell(ClusterSeen((NodeSeen(OTHER, {"CPU": 10_000}),)))) == [(1, OTHER, 1, 0.0)]


def test_a_refused_part_is_thought_of_again_but_not_sent_back_at_once():
    bench = bench_with((OTHER, {"CPU": 10_000}), cpus=2)
    assert spills(bench.want(b"driver", 3)) == [(1, OTHER, 1, 0.0)]
    assert spills(bench.want(b"driver", 3, away=0, spill_seen=1)) == []
    assert spills(bench.tell(ClusterSeen((NodeSeen(OTHER, {"CPU": 10_000}),)))) == [(2, OTHER, 1, 0.0)]


def test_what_only_another_node_has_waits_there():
    bench = bench_with((OTHER, {"CPU": 0, "x": 0}), (THIRD, {"CPU": 40_000}))
    bench.tell(ClusterSeen((NodeSeen(OTHER, {"CPU": 0, "x": 0}, {"CPU": 40_000, "x": 10_000}),)))
    assert spills(bench.want(b"driver", 1, amounts={"x": 10_000})) == [(1, OTHER, 1, 1.0)]


def test_what_waits_elsewhere_waits_where_least_does():
    """Each choice counts for the next, for the first two, which look at every node, and for all others, which do not."""
    bench = bench_with(*((node, {"CPU": 0}) for node in (OTHER, THIRD)), cpus=0, total={"CPU": 0})
    assert sorted(spills(bench.want(b"driver", 9))) == [(1, OTHER, 5, 1.0), (2, THIRD, 4, 1.0)]
    assert spills(bench.want(b"other", 1)) == [(1, THIRD, 1, 1.0)]
    bench.scheduler.validate()


def test_the_node_with_the_arguments_comes_first():
    bench = bench_with((OTHER, {"CPU": 40_000}), (THIRD, {"CPU": 30_000}))
    assert spills(bench.want(b"driver", 1, prefer=THIRD)) == [(1, THIRD, 1, 0.0)]


def test_what_was_sent_here_is_given_or_refused_and_never_sent_on():
    bench = bench_with((OTHER, {"CPU": 40_000}), cpus=2)
    bench.workers(2)
    commands = bench.want(b"far", 3, patience_s=0.0)
    assert len(grants(commands)) == 2
    assert told(commands, ev.Refuse) == [ev.Refuse(b"far", 1, 1, "")]
    assert spills(commands) == []


def test_who_may_wait_is_refused_only_when_its_time_is_up():
    bench = bench_with((OTHER, {"CPU": 40_000}), cpus=1)
    bench.workers(1)
    first = bench.want(b"far", 1, patience_s=1.0)
    assert told(bench.want(b"late", 1, patience_s=1.0), ev.Refuse) == []
    assert told(bench.tick(0.5), ev.Refuse) == []
    assert told(bench.tick(0.5), ev.Refuse) == [ev.Refuse(b"late", 1, 1, "time")]
    bench.want(b"late", 1, patience_s=1.0)
    assert grants(bench.tell(ev.LeaseBack(b"far", *lease_ids(first)))) == [(b"late", 1, b"w1")]


def test_infeasible_is_what_no_node_could_give():
    bench = bench_with((OTHER, {"CPU": 0}), cpus=2)
    assert told(bench.want(b"driver", 1, amounts={"CPU": 40_000}), ev.TellInfeasible) == []
    commands = bench.want(b"driver", 1, key=2, amounts={"CPU": 50_000}, name="big")
    (news,) = told(commands, ev.TellInfeasible)
    assert (
        "the task 'big' asks for {CPU: 5}, which no node can ever give: the nodes have {CPU: 2}; {CPU: 4}" in news.text
    )
    assert bench.tell(ClusterSeen((), (OTHER,))) == [], "the owner finds out itself what became of what it was sent for"
    (news,) = told(bench.want(b"driver", 1, amounts={"CPU": 40_000}, spill_seen=1), ev.TellInfeasible)
    assert news.key == 1, "the only one that could is gone"
    assert [demand["feasible"] for demand in bench.scheduler.statistics()["demands"]] == [False, False]


def test_one_node_and_no_other_is_an_error_when_that_is_not_there():
    bench = bench_with((OTHER, {"CPU": 40_000}))
    there = ANYWHERE.replace(node=OTHER)
    assert spills(bench.want(b"driver", 1, strategy=there)) == [(1, OTHER, 1, 0.0)]
    (over,) = told(bench.want(b"driver", 1, key=2, strategy=ANYWHERE.replace(node=THIRD)), ev.TellUnschedulable)
    assert "doesn't exist any more or is infeasible, and soft=False was specified" in over.text
    (over,) = told(bench.want(b"driver", 1, key=3, strategy=there, amounts={"CPU": 90_000}), ev.TellUnschedulable)
    assert "it has {CPU: 4}, asked for is {CPU: 9}" in over.text
    assert spills(bench.want(b"driver", 1, key=4, strategy=ANYWHERE.replace(node=THIRD, node_soft=True))) == []


def test_labels_that_no_node_has_are_said():
    bench = bench_with((OTHER, {"CPU": 40_000}))
    zone = ANYWHERE.replace(hard=((Term(key="zone", operator=IN, values=("a",)),),))
    (news,) = told(bench.want(b"driver", 1, strategy=zone), ev.TellInfeasible)
    assert "asks for {CPU: 1} on a node with zone in (a), which no node can ever give" in news.text
    seen = NodeSeen(THIRD, dict(CPU), dict(CPU), {"zone": "a"})
    assert spills(bench.tell(ClusterSeen((seen,)))) == [(1, THIRD, 1, 0.0)]


def test_nobody_is_told_that_something_is_nowhere_before_it_is_known_what_there_is():
    bench = Bench({"CPU": 10_000})
    bench.scheduler.cluster.known = False
    assert told(bench.want(b"driver", 1, amounts={"x": 10_000}), ev.TellInfeasible) == []
    assert len(told(bench.tell(ClusterSeen(anew=True)), ev.TellInfeasible)) == 1
