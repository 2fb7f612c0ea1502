"""Placement groups: histories against nodes that hold, open and give back what they are told to, and answer late."""

from __future__ import annotations

from collections import deque
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from manta.control import events
from manta.control.commands import CommitOnNode, ForgetNode, PrepareOnNode, ReturnOnNode, Table
from manta.control.groups.model import Group, GroupId, GroupState, Layout
from manta.control.model import Address, JobId, NodeId, WorkerId
from tests.unit.control.worlds import CPU, World, node_id


class Node:
    """A raylet as one would say it aloud: what it holds, and orders that it carries out one after the other."""

    def __init__(self, cpus: int) -> None:
        self.cpus = cpus
        self.held: dict[tuple[GroupId, int], tuple[int, bool]] = {}
        self.orders: deque[Any] = deque()
        self.answers: deque[Any] = deque()

    @property
    def free(self) -> int:
        return self.cpus * CPU - sum(amount for amount, _ in self.held.values())

    def carry_out(self) -> None:
        order = self.orders.popleft()
        match order:
            case PrepareOnNode():
                new = {i: b["CPU"] for i, b in order.bundles.items() if (order.group_id, i) not in self.held}
                accepted = sum(new.values()) <= self.free
                if accepted:
                    self.held.update({(order.group_id, index): (amount, False) for index, amount in new.items()})
                self.answers.append((order, accepted, self.free))
            case CommitOnNode():
                for index in order.indexes:
                    if (order.group_id, index) in self.held:
                        self.held[order.group_id, index] = self.held[order.group_id, index][0], True
                self.answers.append((order, True, 0))
            case ReturnOnNode():
                for index in order.indexes:
                    self.held.pop((order.group_id, index), None)


class Groups(RuleBasedStateMachine):
    """A few nodes that come, die and answer late, and a control that is killed at times."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.nodes: dict[NodeId, Node] = {}
        self.made = 0
        self.groups: list[GroupId] = []
        self.taken = 0
        self.job: JobId = JobId(b"")
        self.driver: Address | None = None

    @initialize()
    def head(self):
        self.join(4)
        self.job, self.driver = self.world.job(next(iter(self.nodes)))
        self.deliver()

    @rule(cpus=st.integers(1, 4))
    @precondition(lambda self: len(self.nodes) < 4)
    def join(self, cpus):
        self.made += 1
        new = node_id(self.made)
        self.nodes[new] = Node(cpus)
        self.world.register(new, cpus=cpus)
        self.deliver()

    def deliver(self):
        """Control's orders are on the nodes' lines."""
        sent: list[Any] = self.world.sent
        for command in sent[self.taken :]:
            node = self.nodes.get(command.node_id)
            if isinstance(command, ForgetNode):
                continue
            assert node is not None, f"an order for a node that is gone is kept for ever: {command}"
            node.orders.append(command)
        self.taken = len(sent)

    @rule(
        layout=st.sampled_from(Layout), bundles=st.lists(st.integers(1, 3), min_size=1, max_size=3), name=st.booleans()
    )
    def create(self, layout, bundles, name):
        group_id = GroupId(b"g" * 10 + len(self.groups).to_bytes(4, "big") + self.job)
        group = Group(
            group_id, self.job, WorkerId(b"w"), layout, tuple({"CPU": n * CPU} for n in bundles),
            name=f"g{len(self.groups)}" if name else "",
        )  # fmt: skip
        self.groups.append(group_id)
        self.world.handle(events.CreateGroup(request_id=self.world.request_id(), group=group))
        self.deliver()

    @rule(data=st.data())
    @precondition(lambda self: self.groups)
    def remove(self, data):
        group_id = data.draw(st.sampled_from(self.groups))
        self.world.handle(events.RemoveGroup(request_id=self.world.request_id(), group_id=group_id))
        self.deliver()

    @rule(data=st.data())
    def node_works(self, data):
        node = data.draw(st.sampled_from(sorted(self.nodes)))
        if self.nodes[node].orders:
            self.nodes[node].carry_out()

    @rule(data=st.data())
    def node_answers(self, data):
        self.answer(data.draw(st.sampled_from(sorted(self.nodes))))

    def answer(self, node):
        if not self.nodes[node].answers:
            return
        order, accepted, free = self.nodes[node].answers.popleft()
        if isinstance(order, PrepareOnNode):
            event: events.Event = events.BundlesAnswered(
                node_id=node,
                group_id=order.group_id,
                attempt=order.attempt,
                accepted=accepted,
                available={"CPU": max(0, free)},
            )
        else:
            event = events.BundlesOpened(node_id=node, group_id=order.group_id, attempt=order.attempt)
        self.world.handle(event)
        self.deliver()

    @rule(data=st.data())
    @precondition(lambda self: len(self.nodes) > 1)
    def node_dies(self, data):
        node = data.draw(st.sampled_from(sorted(self.nodes)[1:]))
        del self.nodes[node]
        del self.world.running[node]
        self.world.handle(events.UnregisterNode(request_id=self.world.request_id(), node_id=node))
        self.deliver()

    @rule()
    def control_is_killed_and_comes_back(self):
        """Orders and answers under way are lost; nodes say what they hold."""
        self.world.restart()
        self.taken = 0
        for node in self.nodes.values():
            node.orders.clear()
            node.answers.clear()
        self.deliver()
        for node_, node in self.nodes.items():
            self.world.drivers.setdefault(node_, set())
            self.world.register(node_, cpus=node.cpus)
            held: dict[GroupId, list[int]] = {}
            for group_id, index in node.held:
                held.setdefault(group_id, []).append(index)
            for group_id, indexes in self.world.state.groups.unwanted(node_, held).items():
                for index in indexes:
                    del node.held[group_id, index]
            self.deliver()

    @rule(seconds=st.sampled_from([0.2, 6.0]))
    def time_passes(self, seconds):
        self.report()
        self.world.now += seconds
        self.world.handle(events.Tick())
        self.deliver()

    def report(self):
        for node_, node in self.nodes.items():
            self.world.handle(
                events.Heartbeat(
                    node_id=node_, number=int(self.world.request_id().hex(), 16), available={"CPU": node.free}
                )
            )
        self.deliver()

    @invariant()
    def the_store_holds_every_group_as_it_is(self):
        stored = {key: row for (table, key), row in self.world.store.items() if table is Table.GROUPS}
        assert stored == self.world.state.groups.rows

    @invariant()
    def no_node_holds_more_than_it_has(self):
        assert all(node.free >= 0 for node in self.nodes.values())

    @invariant()
    def what_is_called_created_is_open(self):
        """Whoever is told so asks for the bundles at once, and nobody opens them later."""
        for group_id, row in self.world.state.groups.rows.items():
            if row.state is GroupState.CREATED:
                for index, node in enumerate(row.nodes):
                    assert self.nodes[node].held[group_id, index][1], f"bundle {index} is closed"

    def teardown(self):
        """When everybody has answered, groups are held as they are written down, or named as waiting, and nothing else is."""
        if not self.nodes:
            return
        for _ in range(30):
            for node in list(self.nodes):
                while self.nodes[node].orders or self.nodes[node].answers:
                    if self.nodes[node].orders:
                        self.nodes[node].carry_out()
                    self.answer(node)
            self.time_passes(6.0)
        expected: dict[NodeId, dict[tuple[GroupId, int], tuple[int, bool]]] = {node: {} for node in self.nodes}
        for group_id, row in self.world.state.groups.rows.items():
            if row.state is GroupState.REMOVED:
                continue
            assert row.state is GroupState.CREATED or row.waiting_reason, row
            for index, at in enumerate(row.nodes):
                if at:
                    expected[at][group_id, index] = row.bundles[index]["CPU"], row.state is GroupState.CREATED
            check_layout(row)
        for node_, node in self.nodes.items():
            ignoring_open = {key: amount for key, (amount, _) in node.held.items()}
            assert ignoring_open == {key: amount for key, (amount, _) in expected[node_].items()}
            assert all(node.held[key][1] for key, (_, is_open) in expected[node_].items() if is_open)


def check_layout(row: Group) -> None:
    if row.missing:
        return
    if row.layout is Layout.STRICT_PACK:
        assert len(set(row.nodes)) == 1
    if row.layout is Layout.STRICT_SPREAD:
        assert len(set(row.nodes)) == len(row.nodes)


TestGroups = Groups.TestCase
TestGroups.settings = settings(settings.get_profile("standard"), max_examples=80, stateful_step_count=30)


def group(layout: Layout, *cpus: int) -> Group:
    return Group(GroupId(b"g" * 18), JobId(b"\1\0\0\0"), WorkerId(b"w"), layout, tuple({"CPU": n * CPU} for n in cpus))


def commands(world: World, kind: type) -> list[Any]:
    found: list[Any] = [command for command in world.sent if isinstance(command, kind)]
    world.sent.clear()
    return found


def prepared(world: World, order: PrepareOnNode) -> None:
    world.handle(
        events.BundlesAnswered(node_id=order.node_id, group_id=order.group_id, attempt=order.attempt, accepted=True)
    )


def opened(world: World, order: CommitOnNode) -> None:
    world.handle(events.BundlesOpened(node_id=order.node_id, group_id=order.group_id, attempt=order.attempt))


def test_an_answer_to_an_earlier_opening_does_not_open_what_came_since():
    """Control would write down that the group is created, forget the order with its next end, and the bundle stays closed."""
    world = World()
    world.register(node_id(1), cpus=4)
    world.register(node_id(2), cpus=1)
    job, _ = world.job(node_id(1))
    spread = group(Layout.SPREAD, 1, 1)
    assert job == spread.job_id
    world.handle(events.CreateGroup(request_id=world.request_id(), group=spread))
    for order in commands(world, PrepareOnNode):
        prepared(world, order)
    first = next(order for order in commands(world, CommitOnNode) if order.node_id == node_id(1))

    world.handle(events.UnregisterNode(request_id=world.request_id(), node_id=node_id(2)))
    (again,) = commands(world, PrepareOnNode)
    assert again.node_id == node_id(1)
    prepared(world, again)
    (second,) = commands(world, CommitOnNode)
    opened(world, first)
    assert world.state.groups.get(spread.group_id).state is GroupState.PREPARED
    opened(world, second)
    assert world.state.groups.get(spread.group_id).state is GroupState.CREATED


def test_a_dead_node_is_told_nothing_about_groups_of_its_own_drivers():
    """Their jobs end with it, and so do their groups: an order for it would be kept until control ends."""
    world = World()
    world.register(node_id(1), cpus=1)
    world.register(node_id(2), cpus=4)
    world.job(node_id(2))
    mine = group(Layout.PACK, 2)
    world.handle(events.CreateGroup(request_id=world.request_id(), group=mine))
    (order,) = commands(world, PrepareOnNode)
    prepared(world, order)
    assert order.node_id == node_id(2)
    commands(world, CommitOnNode)

    world.handle(events.UnregisterNode(request_id=world.request_id(), node_id=node_id(2)))

    assert world.state.groups.get(mine.group_id).state is GroupState.REMOVED
    told: list[Any] = list(world.sent)
    assert [command for command in told if command.node_id == node_id(2)] == [ForgetNode(node_id(2))]
