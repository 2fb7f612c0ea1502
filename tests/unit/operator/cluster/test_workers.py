"""Which workers come and which go."""

from __future__ import annotations

import pytest

from manta_operator.cluster.pods import SILENT_S as LOST_S
from manta_operator.cluster.pods import pods_of
from manta_operator.cluster.seen import Control, ControlNode, Drain, Seen
from manta_operator.cluster.workers import BRAKE_S, MARGIN_S, POLL_S, REFUSED_S, SILENT_S, UNKNOWN_S, Wish, move
from tests.support.kubernetes import NOW, cluster, node, pod

GRACE_S = 30.0
NODES = (node(), node("node-2"))


def raylet(slot, **more):
    """Control's node of a worker."""
    return ControlNode(id=f"n{slot}", pod_uid=f"demo-w-{slot}-uid", **more)


def worker(slot, **more):
    return pod(f"demo-w-{slot}", **more)


def decide(
    pods,
    desired,
    *,
    raylets=(),
    nodes=NODES,
    now=NOW,
    silent="",
    silent_since=0.0,
    refused=None,
    **wish,
):
    """What is done about a group of revision r1."""
    control = Control(nodes=tuple(raylets), silent=silent, silent_since=silent_since, refused=refused or {})
    seen = Seen(
        raw=cluster(),
        cluster=None,
        pods=tuple(pods),
        nodes={one["metadata"]["name"]: one for one in nodes},
        control=control,
    )
    return move(pods_of(seen, now), Wish(**{"desired": desired, "revision": "r1"} | wish), control, now)


def gone(moves):
    return [(one.name, one.live) for one in moves.deletes]


def drained(moves):
    return [(one.node, one.grace_s, one.live) for one in moves.drains]


def test_what_is_missing_is_made_under_the_smallest_numbers():
    """All at once."""
    moves = decide([worker(1)], 4, raylets=[raylet(1)])
    assert (moves.creates, moves.missing, gone(moves), drained(moves)) == ([0, 2, 3], 3, [], [])


def test_at_rest_nothing_is_done_and_no_time_is_waited_for():
    """As many as are wanted, and all are of the spec."""
    moves = decide([worker(0), worker(1)], 2, raylets=[raylet(0), raylet(1)])
    assert (moves.creates, gone(moves), drained(moves), moves.again_at) == ([], [], [], [])


@pytest.mark.parametrize("more", [{"ready": False}, {"ready": False, "host": "", "phase": "Pending"}])
def test_no_pod_is_replaced_for_being_unready(more):
    """A restart of control makes every worker unready."""
    moves = decide([worker(0, **more)], 1, silent="no answer")
    assert (moves.creates, gone(moves)) == ([], [])


def test_one_that_goes_is_replaced_at_once_under_another_number():
    """Its name is taken until it is gone."""
    assert decide([worker(0, going=True)], 1).creates == [1]


def test_one_that_is_over_is_taken_away_and_replaced_at_once_under_another_number():
    """Whatever the spec says by now: this needs no fresh look at it."""
    moves = decide([worker(0, phase="Failed", reason="Evicted")], 1)
    assert (moves.creates, gone(moves), moves.deletes[0].why) == ([1], [("demo-w-0", False)], "Evicted")


def test_one_that_is_over_as_soon_as_it_was_made_is_replaced_no_faster_than_the_brake():
    """A node that admits nothing would otherwise be asked hundreds of times a second."""
    moves = decide([worker(0, phase="Failed", created=NOW - 1)], 1)
    assert (moves.creates, gone(moves), moves.again_at) == ([], [], [NOW - 1 + BRAKE_S])


def test_one_on_a_lost_node_is_replaced_at_once_and_deleted():
    """It is not drained: nobody hears it."""
    silent = node(ready="Unknown", since=NOW - 1000)
    moves = decide([worker(0)], 1, nodes=[silent, node("node-2")])
    assert (moves.creates, gone(moves), drained(moves)) == ([1], [("demo-w-0", False)], [])


def test_one_that_would_be_lost_soon_is_looked_at_then():
    """Nothing else would tell."""
    moves = decide([worker(0)], 1, nodes=[node(ready="Unknown", since=NOW), node("node-2")])
    assert (gone(moves), moves.again_at) == ([], [NOW + LOST_S])


def test_a_zombie_is_fenced_through_control():
    """Its kubelet tells it nothing, whether its pod is deleted yet or not."""
    silent = node(ready="Unknown", since=NOW - 1000)
    for going in (False, True):
        moves = decide([worker(0, going=going)], 1, raylets=[raylet(0)], nodes=[silent, node("node-2")])
        assert (moves.creates, gone(moves), drained(moves)) == ([1], [], [("n0", GRACE_S, False)])
    moves = decide(
        [worker(0, going=True)], 1, raylets=[raylet(0, drain=Drain.DRAINING)], nodes=[silent, node("node-2")]
    )
    assert drained(moves) == []


def test_who_goes_costs_least():
    """Without a node, then not ready, then with nothing to do, then of the highest number."""
    pods = [
        worker(0),
        worker(1),
        worker(2),
        worker(3, ready=False),
        worker(4, ready=False, host="", phase="Pending"),
        worker(5),
    ]
    raylets = [raylet(0, idle=False), raylet(1, idle=True), raylet(2, idle=True), raylet(3), raylet(5, idle=False)]
    order = []
    for desired in range(5, -1, -1):
        moves = decide(pods, desired, raylets=raylets)
        leaving = sorted(moves.leaving - set(order))
        order += leaving
    assert [uid.split("-")[2] for uid in order] == ["4", "3", "2", "1", "5", "0"]


def test_a_worker_goes_when_control_has_drained_it():
    """Asked; then waited for; then deleted, if the spec is still the same when it is read again."""
    pods = [worker(0), worker(1)]
    asked = decide(pods, 1, raylets=[raylet(0), raylet(1)])
    assert (drained(asked), gone(asked), asked.again_at) == ([("n1", GRACE_S, True)], [], [NOW + POLL_S])
    waited = decide(pods, 1, raylets=[raylet(0), raylet(1, drain=Drain.DRAINING, deadline=NOW + 20)])
    assert (drained(waited), gone(waited), waited.again_at) == ([], [], [NOW + POLL_S])
    done = decide(pods, 1, raylets=[raylet(0), raylet(1, alive=False, drain=Drain.DRAINED)])
    assert (drained(done), gone(done)) == ([], [("demo-w-1", True)])


def test_a_drain_that_takes_too_long_is_not_waited_for():
    """Some seconds after its deadline, as clocks differ."""
    for now, count in ((NOW + MARGIN_S - 1, 0), (NOW + MARGIN_S, 1)):
        moves = decide([worker(0)], 0, raylets=[raylet(0, drain=Drain.DRAINING, deadline=NOW)], now=now)
        assert len(moves.deletes) == count


def test_the_choice_of_who_goes_is_read_from_control():
    """Another one would cost less by now, but this one is being drained, and no drain can be taken back."""
    raylets = [raylet(0, drain=Drain.DRAINING, deadline=NOW + 20), raylet(1, idle=True)]
    moves = decide([worker(0), worker(1)], 1, raylets=raylets)
    assert (moves.leaving, drained(moves)) == ({"demo-w-0-uid"}, [])


def test_one_that_is_drained_counts_until_it_is_deleted_and_is_then_replaced():
    """Wanted again meanwhile: there is never one too many."""
    drain = decide([worker(0), worker(1)], 2, raylets=[raylet(0), raylet(1, drain=Drain.DRAINING, deadline=NOW + 20)])
    assert (drain.creates, drain.missing) == ([], 0)
    after = decide([worker(0), worker(1, going=True)], 2, raylets=[raylet(0)])
    assert after.creates == [2]


def test_what_never_started_needs_no_drain():
    """No container of it ever ran."""
    for more in ({"host": "", "phase": "Pending"}, {"phase": "Pending", "containers": []}):
        assert gone(decide([worker(0, ready=False, **more)], 0, silent="no answer", silent_since=NOW)) == [
            ("demo-w-0", True)
        ]


def test_while_control_is_silent_a_worker_goes_only_after_a_long_time():
    """It drains by itself then, in its own grace."""
    until = NOW + SILENT_S + GRACE_S
    for now, count in ((NOW, 0), (until - 1, 0), (until, 1)):
        moves = decide([worker(0)], 0, silent="no answer", silent_since=NOW, now=now)
        assert len(moves.deletes) == count
        assert bool(moves.again_at) is not bool(count)


def test_one_that_control_does_not_know_goes_if_it_is_not_ready_or_stays_unknown():
    """Ready means that it has registered; control may not have heard of it yet."""
    assert gone(decide([worker(0, ready=False)], 0)) == [("demo-w-0", True)]
    assert gone(decide([worker(0, since=NOW - 1)], 0)) == []
    assert gone(decide([worker(0, since=NOW - UNKNOWN_S)], 0)) == [("demo-w-0", True)]


def test_one_that_control_will_not_drain_stays_is_asked_for_again_and_said():
    """Nobody else could do its work, for now; whoever knows better deletes the pod."""
    moves = decide([worker(0)], 0, raylets=[raylet(0)], refused={"n0": "no other node takes work"})
    assert (gone(moves), drained(moves), moves.again_at) == ([], [("n0", GRACE_S, True)], [NOW + REFUSED_S])
    [cause] = moves.causes
    assert (cause.reason, cause.fault) == ("DrainRefused", True)
    assert cause.message == "demo-w-0 is to go (scale down), and control will not drain it: no other node takes work"


def test_workers_of_another_revision_are_drained_and_none_is_made_before():
    """Recreate, with nothing on top: the replacement comes when the old one is going."""
    raylets = [raylet(0), raylet(1)]
    moves = decide([worker(0, revision="r0"), worker(1)], 2, raylets=raylets, replace=True)
    assert (drained(moves), moves.creates) == ([("n0", GRACE_S, True)], [])
    assert decide([worker(0, revision="r0"), worker(1)], 2, raylets=raylets).drains == []
    assert decide([worker(0, revision="r0", going=True), worker(1)], 2, raylets=raylets, replace=True).creates == [2]


def test_old_workers_are_among_those_that_are_too_many():
    """Nobody is drained twice for two reasons."""
    raylets = [raylet(slot) for slot in range(3)]
    pods = [worker(0), worker(1, revision="r0"), worker(2)]
    assert [one.node for one in decide(pods, 2, raylets=raylets, replace=True).drains] == ["n1"]


def test_a_suspended_group_goes_at_once():
    """Nobody is left who could take its work."""
    moves = decide([worker(0), worker(1, ready=False)], 2, raylets=[raylet(0), raylet(1)], suspended=True)
    assert (gone(moves), drained(moves), moves.creates) == ([("demo-w-0", True), ("demo-w-1", True)], [], [])


def test_a_strangers_name_is_passed_over():
    """Seen, or known from a refusal."""
    moves = decide([worker(0, owner=None)], 2, taken=frozenset({1}))
    assert (moves.creates, gone(moves)) == ([2, 3], [])


def test_what_is_held_is_missing_all_the_same():
    """Nothing is made now; it is still said that something is missing."""
    moves = decide([], 2, hold=True)
    assert (moves.creates, moves.missing) == ([], 2)
