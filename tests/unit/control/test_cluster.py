"""What nodes are told of each other."""

import tracemalloc
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from manta.control.cluster import ClusterBook
from manta.control.groups.model import Group, GroupId, GroupState, Layout
from manta.control.groups.table import GroupTable
from manta.control.model import NO_NODE, Instant, JobId, Node, NodeId, NodeState, WorkerId
from manta.control.nodes import NodeTable
from manta.control.services.cluster import ClusterTeller, period_ms
from manta.control.stories import Stories
from manta.rpc.v1 import control_pb2 as pb

GROUP = GroupId(b"g" * 18)

steps = st.lists(st.tuples(st.sampled_from(["facts", "free", "left"]), st.integers(0, 4)), max_size=40)


@given(steps, st.data())
def test_whoever_hears_every_change_knows_what_there_is(history, data):
    """Against a twin that writes down the whole truth at each version; listeners stand anywhere, also too far back."""
    book = ClusterBook(gone_kept=3)
    truth: dict[bytes, tuple[int, int]] = {}
    pictures = {0: dict(truth)}
    for number, (kind, node) in enumerate(history):
        node_id = NodeId(bytes([node]))
        if kind == "left":
            book.left(node_id)
            truth.pop(node_id, None)
        else:
            facts = kind == "facts" or node_id not in truth
            book.changed(node_id, facts=facts)
            truth[node_id] = (number if facts else truth[node_id][0], number)
        pictures[book.version] = dict(truth)

    start = data.draw(st.sampled_from([None, *pictures]))
    picture = dict(pictures[start]) if start is not None else {}
    changes = book.since(start)
    if changes.anew:
        picture = {}
    for node_id in changes.gone:
        # One that left and came back is told with its facts.
        picture.pop(node_id, None)
    for node_id in changes.facts:
        picture[node_id] = truth[node_id]
    for node_id in changes.free:
        assert picture[node_id][0] == truth[node_id][0], "what it has, has changed unheard"
        picture[node_id] = truth[node_id]

    assert picture == truth
    assert changes.version == book.version


def test_news_grow_with_what_has_changed_and_not_with_the_cluster():
    book = ClusterBook()
    for n in range(1000):
        book.changed(NodeId(n.to_bytes(28, "big")), facts=True)
    stands = book.version
    book.changed(NodeId((7).to_bytes(28, "big")), facts=False)

    changes = book.since(stands)

    assert (changes.anew, changes.facts, changes.free) == (False, (), (NodeId((7).to_bytes(28, "big")),))


def test_the_rate_falls_with_the_size_of_the_cluster():
    assert [period_ms(nodes) for nodes in (1, 2, 100, 400, 1000, 5000)] == [0, 100, 100, 400, 1000, 1000]


def table_of(count: int) -> NodeTable:
    table = NodeTable(Stories(10))
    for n in range(count):
        register(table, n)
    return table


def register(table: NodeTable, n: int) -> NodeId:
    node_id = NodeId(n.to_bytes(28, "big"))
    total = {"CPU": 640_000, "memory": 1 << 50, f"node:10.0.0.{n}": 10_000}
    node = Node(node_id, f"10.0.0.{n}:7611", total=total, labels={"zone": f"z{n % 3}", "pool": "default"})
    table.register(node, dict(total), Instant(0.0), [], "test")
    return node_id


def test_a_thousand_nodes_cost_little_memory():
    """Rows, accounts and pictures of 1,000 nodes: below 25 KB a node."""
    table_of(2)
    tracemalloc.start()
    table = table_of(1000)
    for n in range(1000):
        table.heartbeat(NodeId(n.to_bytes(28, "big")), 1, {"CPU": n, "memory": 1 << 49}, {}, Instant(1.0))
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert len(table.cluster) == 1000
    assert used / 1000 < 25_000


class Loop:
    """Takes timers and calls them when told to."""

    def __init__(self) -> None:
        self.timers: list = []

    def call_later(self, delay, callback):
        self.timers.append((delay, callback))
        return callback

    def ring(self) -> None:
        timers, self.timers = self.timers, []
        for _, callback in timers:
            callback()


def teller_of(table: NodeTable) -> tuple[ClusterTeller, Loop]:
    loop: Any = Loop()
    runner: Any = SimpleNamespace(state=SimpleNamespace(nodes=table, epoch=3), on_cluster=None)
    return ClusterTeller(runner, loop), loop


def heard(picture: bytes) -> pb.ClusterNews:
    return pb.ClusterNews.FromString(picture)


def test_a_new_line_is_told_everything_at_once_and_then_changes_at_a_bounded_rate():
    table = table_of(3)
    teller, loop = teller_of(table)
    woken = []
    told = teller.join(None, lambda: woken.append(1))

    first = heard(teller.take(told))
    assert (first.anew, len(first.nodes), first.nodes[0].facts.labels["pool"]) == (True, 3, "default")
    for number in range(1, 4):
        table.heartbeat(NodeId((1).to_bytes(28, "big")), number, {"CPU": number}, {}, Instant(1.0))
        teller.changed()
    assert teller.take(told) == b"", "not yet"
    assert [delay for delay, _ in loop.timers] == [0.1]
    loop.ring()
    news = heard(teller.take(told))

    assert len(woken) == 2
    assert (news.anew, len(news.nodes), news.nodes[0].HasField("facts")) == (False, 1, False)
    assert news.nodes[0].available.amounts == {"CPU": 3}


def test_who_comes_and_who_goes_is_told_without_delay():
    table = table_of(2)
    teller, loop = teller_of(table)
    told = teller.join(None, lambda: None)
    teller.take(told)
    register(table, 2)
    teller.changed()
    assert [delay for delay, _ in loop.timers] == [0.0]
    loop.ring()
    assert len(heard(teller.take(told)).nodes) == 1
    table.die(NodeId((2).to_bytes(28, "big")), "test", Instant(2.0), [], "test")
    teller.changed()
    loop.ring()
    assert list(heard(teller.take(told)).gone) == [(2).to_bytes(28, "big")]


def test_after_a_reconnect_only_what_was_missed_is_told():
    table = table_of(3)
    teller, _ = teller_of(table)
    told = teller.join(None, lambda: None)
    position = heard(teller.take(told)).position
    teller.leave(told)
    table.heartbeat(NodeId((1).to_bytes(28, "big")), 1, {"CPU": 5}, {}, Instant(1.0))

    again = heard(teller.take(teller.join(position, lambda: None)))
    other = heard(teller.take(teller.join(pb.ClusterPosition(epoch=2, version=position.version), lambda: None)))

    assert (again.anew, len(again.nodes)) == (False, 1)
    assert (other.anew, len(other.nodes)) == (True, 3)


def test_after_a_restart_nothing_is_told_until_who_was_there_is_back_or_dead():
    """Else every node would hear that the others are gone."""
    row = table_of(2).rows[NodeId((0).to_bytes(28, "big"))]
    table = NodeTable(Stories(10))
    table.restore(row, Instant(0.0))
    teller, loop = teller_of(table)
    register(table, 1)
    told = teller.join(None, lambda: None)
    teller.changed()
    assert (teller.take(told), loop.timers) == (b"", [])

    register(table, 0)
    teller.changed()
    loop.ring()

    assert len(heard(teller.take(told)).nodes) == 2


def test_whoever_starts_anew_hears_of_removed_groups():
    """Else what waits there for a group that was removed while the node's line was away would wait for ever."""
    book = ClusterBook()
    book.group_gone(GROUP)
    book.changed(NodeId(b"n"), facts=True)

    assert book.since(None).groups == (GROUP,)
    assert book.since(book.version).groups == ()


def test_who_died_while_control_was_away_is_named_too():
    """Else what others owe to such a node, and what they wait for from it, stays for ever."""
    rows = [table_of(3).rows[NodeId(n.to_bytes(28, "big"))] for n in range(3)]
    table = NodeTable(Stories(10))
    table.restore(replace(rows[2], state=NodeState.DEAD), Instant(0.0))
    for row in rows[:2]:
        table.restore(row, Instant(0.0))
    register(table, 0)

    table.die(rows[1].node_id, "it did not come back", Instant(11.0), [], "test")

    changes = table.cluster.since(None)
    assert (changes.facts, changes.gone) == ((rows[0].node_id,), (rows[2].node_id, rows[1].node_id))


def test_removed_groups_are_told_again_after_a_restart():
    nodes = NodeTable(Stories())
    groups = GroupTable(nodes, Stories())
    row = Group(
        GROUP, JobId(b"job1"), WorkerId(b"w"), Layout.PACK, ({"CPU": 1},), state=GroupState.REMOVED, nodes=(NO_NODE,)
    )

    groups.restore(row, [], "start 2")

    assert nodes.cluster.since(None).groups == (GROUP,)


def test_who_died_is_told_with_the_reason_also_to_who_missed_it():
    table = table_of(3)
    teller, loop = teller_of(table)
    told = teller.join(None, lambda: None)
    teller.take(told)
    dead = NodeId((2).to_bytes(28, "big"))
    table.die(dead, "it was silent for 10 s", Instant(2.0), [], "test")
    teller.changed()
    loop.ring()

    for line in (told, teller.join(None, lambda: None)):
        news = heard(teller.take(line))
        assert (list(news.gone), list(news.gone_reasons)) == ([dead], ["it was silent for 10 s"])


def test_after_a_restart_the_dead_of_before_and_those_that_did_not_come_back_are_told():
    before = table_of(3)
    ids = [NodeId(n.to_bytes(28, "big")) for n in range(3)]
    before.die(ids[2], "it was silent for 10 s", Instant(2.0), [], "test")
    table = NodeTable(Stories(10))
    for node_id in ids:
        table.restore(before.rows[node_id], Instant(0.0))
    teller, loop = teller_of(table)
    told = teller.join(None, lambda: None)
    register(table, 0)
    table.die(ids[1], "it did not come back after control restarted", Instant(11.0), [], "test")
    teller.changed()
    loop.ring()

    news = heard(teller.take(told))

    assert dict(zip(news.gone, news.gone_reasons, strict=True)) == {
        ids[1]: "it did not come back after control restarted",
        ids[2]: "it was silent for 10 s",
    }
    assert [node.node_id for node in news.nodes] == [ids[0]]
