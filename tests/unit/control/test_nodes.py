"""The table of nodes: who is noticed as dead, and what placement sees of the living."""

from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from manta.control.model import ActorId, Instant, Node, NodeId
from manta.control.nodes import NodeLimits, NodeTable
from manta.control.stories import Stories
from tests.unit.control.worlds import CPU

LIMITS = NodeLimits(silence_s=10.0, reconnect_s=1.0, recovery_s=10.0, dead_kept=3)


def node_id(n: int) -> NodeId:
    return NodeId(b"node" + n.to_bytes(24, "big"))


class Shell:
    """The table with a clock, looked at when it says so and no sooner, as control's shell does."""

    def __init__(self, nodes: int = 0) -> None:
        self.table = NodeTable(Stories(10), LIMITS)
        self.now = 0.0
        self.beats = 0
        self.dead: dict[NodeId, float] = {}
        for n in range(nodes):
            self.register(n)

    def register(self, n: int, total: Mapping[str, int] | None = None) -> None:
        row = Node(node_id(n), "unix:r", total=total or {"CPU": 4 * CPU})
        self.table.register(row, None, Instant(self.now), [], "test")

    def beat(self, n: int, available: Mapping[str, int] | None = None) -> None:
        self.beats += 1
        self.table.heartbeat(node_id(n), self.beats, available or {"CPU": 4 * CPU}, {}, Instant(self.now))

    def tick(self) -> None:
        for node, reason in self.table.due(Instant(self.now)):
            self.table.die(node, reason, Instant(self.now), [], "test")
            self.dead[node] = self.now

    def pass_time(self, seconds: float, *beating: int) -> None:
        end = self.now + seconds
        while self.now < end:
            self.now += 0.25
            if self.now % 1 == 0:
                for n in beating:
                    self.beat(n)
            due = self.table.next_due()
            if due is not None and due <= self.now:
                self.tick()
            self.table.validate()


def test_each_node_that_falls_silent_is_noticed_not_only_the_first():
    """A shell looks when it is told to: if that is only when somebody is overdue, every look comes after a long pause."""
    shell = Shell(nodes=3)
    shell.pass_time(20.0, 0, 1, 2)
    shell.pass_time(20.0, 0, 1)
    shell.pass_time(20.0, 0)
    assert list(shell.dead) == [node_id(2), node_id(1)]
    assert 30.0 <= shell.dead[node_id(2)] <= 31.0
    assert 50.0 <= shell.dead[node_id(1)] <= 51.0


def test_our_own_sleep_is_nobody_elses_silence():
    shell = Shell(nodes=2)
    shell.pass_time(5.0, 0, 1)
    shell.now += 3600
    shell.pass_time(5.0, 0, 1)
    assert not shell.dead


amounts = st.dictionaries(st.sampled_from(["CPU", "GPU", "x"]), st.integers(0, 4).map(lambda n: n * CPU), max_size=2)
actor = st.integers(0, 4).map(lambda n: ActorId(n.to_bytes(16, "big")))
steps = st.lists(
    st.one_of(
        st.tuples(st.just("placed"), actor, amounts, amounts),
        st.tuples(st.just("adopted"), actor, amounts),
        st.tuples(st.just("started"), actor, amounts),
        st.tuples(st.just("left"), actor),
        st.tuples(st.just("beat"), amounts),
    ),
    max_size=30,
)


NAMES = ("CPU", "GPU", "x")


def left(have: Mapping[str, int], taken: list[Mapping[str, int]]) -> dict[str, int]:
    return {name: have.get(name, 0) - sum(each.get(name, 0) for each in taken) for name in NAMES}


def seen(amounts: Mapping[str, int]) -> dict[str, int]:
    return {name: amounts.get(name, 0) for name in NAMES}


@given(steps)
def test_what_placement_sees_is_the_sum_of_everything_that_was_said(history):
    """Against a twin that keeps every entry and adds them up each time."""
    shell = Shell(nodes=1)
    table, node = shell.table, node_id(0)
    total = {"CPU": 4 * CPU}
    available: Mapping[str, int] = total
    held: dict[ActorId, Mapping[str, int]] = {}
    unreported: dict[ActorId, tuple[Mapping[str, int], bool]] = {}
    starting: dict[ActorId, Mapping[str, int]] = {}
    for step, *more in history:
        match step:
            case "placed":
                table.placed(node, *more)
                held[more[0]], unreported[more[0]], starting[more[0]] = more[2], (more[1], False), more[1]
            case "adopted" if more[0] not in unreported:
                table.adopted(node, *more)
                held[more[0]] = more[1]
            case "started" if more[0] in held:
                table.started(node, *more)
                held[more[0]] = more[1]
                starting.pop(more[0], None)
                if more[0] in unreported:
                    unreported[more[0]] = more[1], True
            case "left":
                table.left(node, *more)
                for account in (held, unreported, starting):
                    account.pop(more[0], None)
            case "beat":
                available = more[0]
                shell.beat(0, available or {"CPU": 0})
                available = available or {"CPU": 0}
                unreported = {key: entry for key, entry in unreported.items() if not entry[1]}
        table.validate()

        (view,) = table.views()

        assert seen(view.free) == left(available, [entry for entry, _ in unreported.values()])
        assert seen(view.room) == left(total, list(held.values()))
        assert seen(view.load) == {name: -n for name, n in left({}, list(starting.values())).items()}
        assert view.actors == len(held)


def test_whoever_watches_nodes_is_told_of_each_end_for_want_of_memory():
    """Once for each news, and with the count: a heartbeat that says the same again is none."""
    from manta.control import events
    from tests.unit.control.worlds import World

    world = World()
    world.register(node_id(1))

    def beat(kills: int) -> list[Node]:
        gauges = {"oom_kills": kills, "oom_unix_ms": 5}
        number = next(world._numbers)
        before = len(world.published)
        world.handle(events.Heartbeat(node_id=node_id(1), number=number, available={"CPU": 2 * CPU}, gauges=gauges))
        told: list[Node] = world.published[before:]
        return told

    assert [[], [node_id(1)], []] == [[row.node_id for row in beat(kills)] for kills in (0, 1, 1)]
    assert world.state.nodes.gauges(node_id(1))["oom_kills"] == 1
