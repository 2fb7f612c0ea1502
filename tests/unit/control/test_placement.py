from hypothesis import given
from hypothesis import strategies as st

from manta.control.model import NodeId
from manta.control.placement import PACK_UP_TO, NodeView, choose
from manta.core.strategy import ANYWHERE

NAMES = ("CPU", "GPU", "x")
amount = st.integers(0, 8).map(lambda n: n * 5000)
amounts = st.dictionaries(st.sampled_from(NAMES), amount)


@st.composite
def nodes(draw):
    views = []
    for n in range(draw(st.integers(0, 5))):
        total = draw(amounts)
        free = {name: draw(st.integers(0, have)) for name, have in total.items()}
        room = {name: draw(st.integers(0, have)) for name, have in total.items()}
        load = {name: draw(st.integers(0, have)) for name, have in total.items()}
        views.append(NodeView(NodeId(bytes([n])), total, free, room, load))
    return views


def slow_twin(place, hold, views, prefer, affinity, soft):
    """The policy as one would say it aloud, rule after rule, with no cleverness."""

    def covers(need, have):
        return all(have.get(name, 0) >= need.get(name, 0) for name in NAMES)

    def use(total, left):
        shares = [(total[name] - left.get(name, 0)) / total[name] for name in total if total[name]]
        return max(shares) if shares else 0.0

    def best(candidates, left):
        if not (place.get("GPU") or hold.get("GPU")):
            without = [view for view in candidates if not view.total.get("GPU")]
            candidates = without or candidates
        packable = [view for view in candidates if use(view.total, left(view)) < PACK_UP_TO]
        if packable:
            candidates = packable
        else:
            least = min(use(view.total, left(view)) for view in candidates)
            candidates = [view for view in candidates if use(view.total, left(view)) == least]
        for view in candidates:
            if view.node_id == prefer:
                return view.node_id
        return candidates[0].node_id

    def among(candidates):
        able = [view for view in candidates if covers(place, view.total) and covers(hold, view.total)]
        if not able:
            return "infeasible"
        now = [view for view in able if covers(place, view.free) and covers(hold, view.room)]
        if now:
            return best(now, lambda view: view.free)
        later = [view for view in able if covers(hold, view.room)]
        if later:
            return best(later, lambda view: {name: view.room.get(name, 0) - view.load.get(name, 0) for name in NAMES})
        return "wait"

    if affinity:
        there = among([view for view in views if view.node_id == affinity])
        if not soft or isinstance(there, bytes):
            return there
    return among(views)


@given(amounts, amounts, nodes(), st.integers(-1, 5), st.integers(-1, 5), st.booleans())
def test_the_choice_is_what_the_rules_say(place, hold, views, prefer, affinity, soft):
    preferred, bound = (NodeId(bytes([n])) if n >= 0 else NodeId(b"") for n in (prefer, affinity))
    choice = choose(place, hold, views, prefer=preferred, strategy=ANYWHERE.replace(node=bound, node_soft=soft))
    expected = slow_twin(place, hold, views, preferred, bound, soft)
    assert (choice.node_id or ("infeasible" if choice.infeasible else "wait")) == expected
    assert bool(choice.reason) != bool(choice.node_id)


def test_an_infeasible_request_is_told_what_there_is():
    views = [NodeView(NodeId(b"n"), {"CPU": 20000}, {}, {}, {})]
    assert choose({"CPU": 15000, "GPU": 10000}, {}, views).reason == (
        'infeasible: needs {"CPU": 1.5, "GPU": 1}, the most that any node has is {"CPU": 2}'
    )
    assert choose({"CPU": 10000}, {}, []).reason == 'infeasible: needs {"CPU": 1}, there is no node'
