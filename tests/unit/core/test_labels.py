"""Labels and what they ask for."""

from __future__ import annotations

from typing import Any

import pytest

from manta.core.labels import parse, selectors
from manta.core.options import actor_options, task_options
from manta.core.strategy import ANYWHERE, SPREAD, allowed, matches
from manta.util.scheduling_strategies import (
    DoesNotExist,
    Exists,
    In,
    NodeAffinitySchedulingStrategy,
    NodeLabelSchedulingStrategy,
    NotIn,
)

ID = "ab" * 28
#: What users write that type checkers would not let them.
WRONG: Any = {"none": None, "five": 5, "bare": {"a": "b"}, "number": {1: In("b")}, "list": []}


@pytest.mark.parametrize(
    ("wish", "yes", "no"),
    [
        ("a", ["a"], ["b", None]),
        ("!a", ["b", None], ["a"]),
        ("in(a,b)", ["a", "b"], ["c", None]),
        ("in( a , b )", ["a", "b"], ["c"]),
        ("!in(a,b)", ["c", None], ["a", "b"]),
    ],
)
def test_a_selector_says_which_values_a_label_may_have(wish, yes, no):
    terms = parse({"zone": wish})
    for values, expected in ((yes, True), (no, False)):
        for value in values:
            assert matches(terms, {} if value is None else {"zone": value}) is expected


@pytest.mark.parametrize(
    ("selector", "error", "text"),
    [
        ({"zone": 5}, TypeError, "must be a string"),
        ({5: "a"}, TypeError, "must be a string"),
        ({"zone": "in()"}, ValueError, "Invalid label selector value `in()` for label `zone`"),
        ({"zone": "a b"}, ValueError, "Supported operators are"),
        ({"-zone": "a"}, ValueError, "Invalid label key name `-zone`"),
        ({"No_Domain/zone": "a"}, ValueError, "Invalid label key prefix"),
        ({f"k{n}": "a" for n in range(65)}, ValueError, "at most 64 are allowed"),
    ],
)
def test_a_wrong_selector_is_refused_by_name(selector, error, text):
    with pytest.raises(error, match=text.replace("(", r"\(").replace(")", r"\)")):
        task_options({"label_selector": selector})


def test_fallbacks_come_in_order():
    class Node:
        def __init__(self, name, **labels):
            self.node_id, self.labels = name, labels

    nodes = [Node(b"1", zone="b"), Node(b"2", zone="c")]
    strategy = ANYWHERE.replace(
        hard=selectors({"zone": "a"}, [{"label_selector": {"zone": "c"}}, {"label_selector": {}}])
    )
    assert [[node.node_id for node in tier] for tier in allowed(strategy, nodes, lambda _: True)] == [[b"2"]]
    assert [[node.node_id for node in tier] for tier in allowed(strategy, nodes[:1], lambda _: True)] == [[b"1"]]


@pytest.mark.parametrize(
    ("fallback", "error"),
    [([5], TypeError), ([{"x": 1}], ValueError), ([{"label_selector": 5}], TypeError), ([{}] * 65, ValueError)],
)
def test_wrong_fallbacks_are_refused(fallback, error):
    with pytest.raises(error):
        task_options({"fallback_strategy": fallback})


def test_options_carry_where_to():
    hard = {"zone": In("b", "a"), "gpu": Exists()}
    strategy = NodeLabelSchedulingStrategy(hard, soft={"disk": NotIn("slow"), "old": DoesNotExist()})
    found = task_options({"scheduling_strategy": strategy}).strategy
    assert found.text() == " on a node with gpu exists and zone in (a, b)"
    assert [str(term) for term in found.soft] == ["disk not in (slow)", "old does not exist"]
    assert task_options({"scheduling_strategy": "SPREAD"}).strategy == SPREAD
    assert task_options({"scheduling_strategy": "DEFAULT"}).strategy == ANYWHERE
    affinity = actor_options({"scheduling_strategy": NodeAffinitySchedulingStrategy(ID, soft=True)}).strategy
    assert (affinity.node.hex(), affinity.node_soft) == (ID, True)
    one, same, other = (task_options({"label_selector": {"zone": zone}}) for zone in ("in(a,b)", "in(b, a)", "a"))
    assert one.scheduling_key == same.scheduling_key != other.scheduling_key


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: NodeAffinitySchedulingStrategy("xyz", soft=False), ValueError, "Invalid node_id 'xyz'"),
        (lambda: NodeAffinitySchedulingStrategy(WRONG["none"], soft=False), ValueError, "Invalid node_id None"),
        (lambda: In(), ValueError, "can't be an empty list"),
        (lambda: NotIn(WRONG["five"]), TypeError, "must be a string"),
        (lambda: NodeLabelSchedulingStrategy({}), ValueError, "cannot both be empty"),
        (lambda: NodeLabelSchedulingStrategy(WRONG["bare"]), ValueError, "must be one of the `In`"),
        (lambda: NodeLabelSchedulingStrategy(WRONG["number"]), ValueError, "must be of type str"),
        (lambda: NodeLabelSchedulingStrategy(WRONG["list"]), ValueError, "must be a map"),
        (
            lambda: task_options(
                {"label_selector": {"a": "b"}, "scheduling_strategy": NodeAffinitySchedulingStrategy(ID, soft=True)}
            ),
            ValueError,
            "cannot be used beside",
        ),
    ],
)
def test_wrong_strategies_are_refused(make, error, text):
    with pytest.raises(error, match=text):
        make()
