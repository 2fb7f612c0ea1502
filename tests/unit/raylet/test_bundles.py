"""Bundles of placement groups on a node, against a twin that says what is held and adds it up each time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from manta.core.bundles import in_group
from manta.raylet import events as ev
from manta.raylet.scheduling.bundles import Bundles
from manta.raylet.scheduling.ledger import Ledger
from tests.unit.raylet.test_scheduler import Bench, grants, kinds, lease_ids

CPU = 10_000
TOTAL = {"CPU": 6 * CPU, "x": 2 * CPU}
GROUPS = (b"a" * 18, b"b" * 18)

group = st.sampled_from(GROUPS)
index = st.integers(0, 2)
amounts = st.dictionaries(st.sampled_from(["CPU", "x"]), st.integers(1, 4).map(lambda n: n * CPU), min_size=1)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("prepare"), group, st.dictionaries(index, amounts, min_size=1)),
        st.tuples(st.just("commit"), group, st.sets(index, min_size=1)),
        st.tuples(st.just("return"), group, st.sets(index, min_size=1)),
    ),
    max_size=30,
)


@given(steps)
def test_what_is_held_back_is_missing_and_what_is_open_is_there_under_its_own_name(history):
    """All or nothing, safe to repeat, and nothing is left when all is given back."""
    ledger = Ledger(dict(TOTAL))
    bundles = Bundles(ledger)
    held: dict[tuple[bytes, int], dict[str, int]] = {}
    opened: set[tuple[bytes, int]] = set()
    for what, of, wanted in history:
        keys = [(of, each) for each in wanted]
        if what == "prepare":
            new = {(of, each): need for each, need in wanted.items() if (of, each) not in held}
            taken = [*held.values(), *new.values()]
            fits = all(sum(need.get(name, 0) for need in taken) <= TOTAL[name] for name in TOTAL)
            assert bundles.prepare(of, wanted) == fits
            if fits:
                held.update(new)
        elif what == "commit":
            bundles.commit(of, wanted)
            opened.update(key for key in keys if key in held)
        else:
            bundles.give_back(of, wanted)
            bundles.settle([])
            opened.difference_update(keys)
            for key in keys:
                held.pop(key, None)

        expected = {name: TOTAL[name] - sum(need.get(name, 0) for need in held.values()) for name in TOTAL}
        for key in opened:
            for name, amount in in_group(held[key], *key).items():
                there = 1000 * CPU if name.startswith("bundle") else amount
                expected[name] = expected.get(name, 0) + there
        assert {name: amount for name, amount in ledger.available.items() if amount or name in TOTAL} == expected
        listed = {(of, each) for of, indexes in bundles.held().items() for each in indexes}
        assert listed == set(held)


def test_what_bundles_took_is_free_only_when_their_last_user_is_dead():
    bench = Bench({"CPU": 2 * CPU})
    bench.workers(2)
    bench.tell(ev.BundlesWanted(GROUPS[0], {0: {"CPU": CPU}}))
    bench.tell(ev.BundlesWanted(GROUPS[0], None, (0,)))
    bench.want(b"driver", 1, amounts=in_group({"CPU": CPU}, GROUPS[0], 0))

    assert kinds(bench.tell(ev.BundlesUnwanted(GROUPS[0], (0,)))) == ["KillWorker"]
    assert bench.scheduler.ledger.available["CPU"] == CPU
    bench.tell(ev.WorkerDied(b"w2", -9, "killed"))
    assert bench.scheduler.ledger.available == {"CPU": 2 * CPU}


def of_group(bench: Bench, wanted: int = 1) -> list[ev.Command]:
    return bench.want(b"driver", wanted, amounts=in_group({"CPU": CPU}, GROUPS[0], 0))


def with_group(cpus: int = 2) -> Bench:
    bench = Bench({"CPU": cpus * CPU})
    bench.workers(cpus)
    bench.tell(ev.BundlesWanted(GROUPS[0], {0: {"CPU": CPU}}))
    bench.tell(ev.BundlesWanted(GROUPS[0], None, (0,)))
    return bench


def test_who_waits_for_a_group_that_is_removed_is_told():
    bench = with_group()
    of_group(bench, 2)
    assert kinds(bench.tell(ev.GroupGone(GROUPS[0]))) == ["TellGroupGone"]
    assert kinds(bench.want(b"late", 1, amounts=in_group({"CPU": CPU}, GROUPS[0], 0))) == ["TellGroupGone"]


def test_who_had_the_last_lease_of_a_removed_group_is_told_when_it_is_over():
    """Its owner retries what ran there, wants no more than before and so says nothing: it would wait for ever."""
    bench = with_group()
    (granted,) = grants(of_group(bench))
    assert kinds(bench.tell(ev.BundlesUnwanted(GROUPS[0], (0,)))) == ["KillWorker"]
    assert kinds(bench.tell(ev.GroupGone(GROUPS[0]))) == []
    assert kinds(bench.tell(ev.WorkerDied(granted[2], -9, "killed"))) == ["TellLeaseLost", "TellGroupGone"]


def test_a_lease_of_a_removed_group_that_comes_back_is_not_missed_in_silence():
    bench = with_group()
    (lease_id,) = lease_ids(of_group(bench))
    bench.tell(ev.GroupGone(GROUPS[0]))
    assert "TellGroupGone" in kinds(bench.tell(ev.LeaseBack(b"driver", lease_id)))
