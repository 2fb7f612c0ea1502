"""Placement groups with bundles on a node that is drained: placed again at once, and what runs in the old ones is left alone."""

from manta.control import events
from manta.control.commands import PrepareOnNode, ReturnOnNode
from manta.control.groups.model import Group, GroupId, GroupState, Layout
from tests.unit.control.worlds import CPU, World, node_id

GROUP = GroupId(b"g" * 18)
HEAD, FIRST, SECOND = node_id(0), node_id(1), node_id(2)


def world(*nodes, bundles=1):
    """Nodes of two CPUs each, the first one the driver's, and a group of bundles of two CPUs."""
    found = World()
    for each in nodes:
        found.register(each, cpus=2)
    job, driver = found.job(nodes[0])
    group = Group(GROUP, job, driver.worker_id, Layout.SPREAD, ({"CPU": 2 * CPU},) * bundles)
    found.handle(events.CreateGroup(request_id=found.request_id(), group=group))
    return found


def settle(found):
    """Every node does what it is told, until nothing more is."""
    while found.sent:
        sent, found.sent = found.sent, []
        for command in sent:
            if isinstance(command, PrepareOnNode):
                found.handle(
                    events.BundlesAnswered(
                        node_id=command.node_id, group_id=GROUP, attempt=command.attempt, accepted=True
                    )
                )
            elif type(command).__name__ == "CommitOnNode":
                event = events.BundlesOpened(node_id=command.node_id, group_id=GROUP, attempt=command.attempt)
                found.handle(event)
    return found.state.groups.rows[GROUP]


def drain(found, node):
    found.handle(events.DrainNode(request_id=found.request_id(), node_id=node, grace_ms=60_000, reason="test"))


def test_bundles_of_a_drained_node_are_placed_elsewhere_at_once():
    """What runs in the old ones is not ended: the node is not told to give them back, also when it registers again."""
    found = world(HEAD, FIRST)
    before = settle(found).nodes[0]
    found.register(SECOND, cpus=2)
    drain(found, before)
    assert not [command for command in found.sent if isinstance(command, ReturnOnNode)]
    row = settle(found)
    assert row.state is GroupState.CREATED
    assert row.nodes[0] not in (before, b"")
    assert found.state.groups.unwanted(before, {GROUP: [0]}) == {}
    found.state.validate()


def test_what_was_left_behind_goes_with_its_group():
    found = world(HEAD, FIRST)
    before = settle(found).nodes[0]
    drain(found, before)
    settle(found)
    found.handle(events.RemoveGroup(request_id=found.request_id(), group_id=GROUP))
    assert {command.node_id for command in found.sent if isinstance(command, ReturnOnNode)} >= {before}
    assert found.state.groups.unwanted(before, {GROUP: [0]}) == {GROUP: [0]}


def test_a_group_that_has_no_other_place_waits_and_says_so():
    """Until a node comes; the drained one leaves meanwhile, and nothing is remembered of it."""
    found = world(HEAD, FIRST, bundles=2)
    assert set(settle(found).nodes) == {HEAD, FIRST}
    drain(found, FIRST)
    row = settle(found)
    assert row.state is GroupState.RESCHEDULING
    assert row.missing
    assert row.waiting_reason
    found.handle(events.UnregisterNode(request_id=found.request_id(), node_id=FIRST, reason="it was drained"))
    assert not found.state.groups._behind
    found.register(SECOND, cpus=2)
    assert set(settle(found).nodes) == {HEAD, SECOND}
