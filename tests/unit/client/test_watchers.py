"""Who waits for which objects: each is told once for each time it asked, however it asked."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from manta.client.values import All, Values

OIDS = [bytes([number]) * 28 for number in range(4)]
SOME = st.lists(st.sampled_from(OIDS), max_size=6)


class Watcher:
    def __init__(self) -> None:
        self.told: list[bytes] = []

    def ready(self, oid: bytes, value: object) -> None:
        self.told.append(oid)


@given(st.lists(st.tuples(st.booleans(), SOME), max_size=5), st.sets(st.integers(0, 4)))
def test_every_watcher_hears_of_every_object_as_often_as_it_asked(asks, forgotten):
    """Asking for many at once is asking for each; one that is forgotten as often as it asked hears nothing."""
    values = Values()
    watchers = [Watcher() for _ in asks]
    for watcher, (at_once, oids) in zip(watchers, asks, strict=True):
        if at_once:
            values.watch_all(oids, watcher)
        else:
            for oid in oids:
                values.watch(oid, watcher)
    for number in forgotten & set(range(len(asks))):
        values.unwatch(asks[number][1], watchers[number])

    for oid in OIDS:
        values.set(oid, b"")

    for number, (watcher, (_, oids)) in enumerate(zip(watchers, asks, strict=True)):
        assert watcher.told == ([] if number in forgotten else sorted(oids))
    assert not values.watchers


def test_the_same_object_twice_counts_twice():
    """`get([ref, ref])` waits for two."""
    values, finished = Values(), []
    waiter = All(2, finished.append)

    values.watch_all([OIDS[0]] * 2, waiter)
    values.set(OIDS[0], b"")

    assert finished == [waiter]
