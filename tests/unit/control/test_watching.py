from manta.control.model import Actor, ActorId, ActorSpec, ActorState, Address, JobId, Node, NodeId, WorkerId
from manta.control.watching import Ready, Resync, UnknownActor, Watcher, Watchers

OWNER = Address(NodeId(b"n"), WorkerId(b"w"))
X, Y = ActorId(b"x"), ActorId(b"y")


def actor(actor_id, incarnation=0):
    return Actor(ActorSpec(actor_id, JobId(b"j"), OWNER), ActorState.ALIVE, incarnation=incarnation)


class Hub:
    """Watchers over rows that only this test changes."""

    def __init__(self, **limits):
        self.rows = {}
        self.nodes = {}
        self.watchers = Watchers(self.present, **limits)

    def present(self, nodes, jobs, all_actors, actors):
        rows = list(self.nodes.values()) if nodes else []
        rows += list(self.rows.values()) if all_actors else []
        return rows + [self.rows.get(each, UnknownActor(each)) for each in sorted(actors)]

    def change(self, actor_id, incarnation):
        self.rows[actor_id] = actor(actor_id, incarnation)
        self.watchers.publish(self.rows[actor_id])

    def watcher(self, *actors, after=None, lost="", **kinds):
        kinds = {"nodes": False, "jobs": False, "all_actors": False} | kinds
        watcher = Watcher(lambda: None, **kinds)
        self.watchers.join(watcher, actors, after, lost)
        return watcher


def take(watcher):
    news = [(number, getattr(item, "incarnation", item)) for number, item in watcher.unread]
    watcher.unread.clear()
    return news


def test_the_present_state_comes_first_and_then_every_change():
    hub = Hub()
    hub.change(X, 1)
    watcher = hub.watcher(X, Y)
    hub.change(X, 2)
    hub.change(X, 3)
    hub.change(Y, 1)
    assert take(watcher) == [(0, 1), (0, UnknownActor(Y)), (1, Ready()), (2, 2), (3, 3), (4, 1)]


def test_only_what_was_asked_for_is_told():
    hub = Hub()
    watcher = hub.watcher(X)
    take(watcher)
    hub.change(Y, 1)
    hub.watchers.publish(Node(NodeId(b"n"), "unix:/x"))
    assert take(watcher) == []
    hub.watchers.add(watcher, [Y])
    hub.watchers.add(watcher, [Y])
    hub.watchers.remove(watcher, [X])
    hub.change(X, 1)
    assert take(watcher) == [(2, 1), (2, Ready()), (2, Ready())]


def test_one_who_comes_back_misses_nothing():
    hub = Hub()
    first = hub.watcher(X)
    hub.change(X, 1)
    position = take(first)[-1][0]
    hub.watchers.leave(first)
    hub.change(X, 2)
    hub.change(Y, 1)
    hub.change(X, 3)
    assert take(hub.watcher(X, after=position)) == [(2, 2), (4, 3), (4, 3), (4, Ready())]


def test_one_who_comes_back_too_late_or_to_another_control_starts_over_and_is_told_so():
    hub = Hub(log_length=2)
    for incarnation in range(1, 5):
        hub.change(X, incarnation)
    gone = "what was missed is no longer in the log"
    assert take(hub.watcher(X, after=1)) == [(0, Resync(gone)), (0, 4), (4, Ready())]
    assert take(hub.watcher(X, after=2)) == [(3, 3), (4, 4), (4, 4), (4, Ready())]
    assert take(hub.watcher(X, after=4, lost="restarted")) == [(0, Resync("restarted")), (0, 4), (4, Ready())]
    assert take(hub.watcher(X, after=99)) == [(0, Resync(gone)), (0, 4), (4, Ready())], "a number of the future"


def test_one_who_left_before_everything_was_sent_starts_anew():
    hub = Hub()
    hub.change(X, 1)
    first = hub.watcher(X)
    number, _ = first.unread.pop(0)
    assert take(hub.watcher(X, after=number)) == [(0, 1), (1, Ready())]


def test_a_slow_reader_gets_a_resync_instead_of_an_endless_queue():
    hub = Hub(unread_limit=10)
    watcher = hub.watcher(X)
    for incarnation in range(1000):
        hub.change(X, incarnation)
        assert len(watcher.unread) <= 10
    news = take(watcher)
    resyncs = [n for n, (_, item) in enumerate(news) if isinstance(item, Resync)]
    assert resyncs == [0]
    assert news[-1][1] == 999


def test_nothing_stays_behind_when_watchers_leave():
    hub = Hub()
    watchers = [hub.watcher(X, Y), hub.watcher(nodes=True), hub.watcher(all_actors=True)]
    assert hub.watchers.statistics()["watchers"] == 3
    for watcher in watchers:
        hub.watchers.leave(watcher)
    counts = hub.watchers.statistics()
    assert (counts["watchers"], counts["watched_actors"], counts["watch_unread"]) == (0, 0, 0)
