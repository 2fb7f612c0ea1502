"""What is remembered of a cluster between two plans, and when it is forgotten."""

from __future__ import annotations

from manta_operator.cluster.actions import Create, Plan
from manta_operator.cluster.memory import Memory
from manta_operator.cluster.refusals import Refusal, Why
from manta_operator.kube.resources import PODS


def refusal(name="p", why=Why.QUOTA, at=0.0, message="full", generation=1):
    return Refusal(plural="pods", name=name, why=why, message=message, at=at, generation=generation)


def test_the_same_refusal_again_is_no_news_and_counted():
    """So that it is said once, and asked for more and more rarely."""
    memory = Memory("u")
    assert memory.refused(refusal())
    assert not memory.refused(refusal(at=5.0))
    assert memory.refusals["pods", "p"].count == 2
    assert memory.refused(refusal(message="fuller"))
    assert memory.refused(refusal(why=Why.INVALID, message="fuller"))
    assert memory.refusals["pods", "p"].count == 1


def test_what_was_written_or_is_seen_is_not_refused():
    """Whoever made it."""
    memory = Memory("u")
    for name in ("a", "b", "c"):
        memory.refused(refusal(name))
    memory.went_well("pods", "a")
    memory.seen([("pods", "b"), ("secrets", "c")])
    assert list(memory.refusals) == [("pods", "c")]


def test_what_nobody_wants_any_more_is_forgotten_in_its_time():
    """A plan that waits for its time still wants it."""
    memory = Memory("u")
    memory.refused(refusal("a"))
    memory.refused(refusal("b"))
    wanted = Create(resource=PODS, manifest={"metadata": {"name": "a"}})
    memory.planned(Plan(), now=1.0)
    assert len(memory.refusals) == 2
    memory.planned(Plan(creates=(wanted,)), now=10.0)
    assert list(memory.refusals) == [("pods", "a")]


def test_trials_are_remembered_up_to_a_bound():
    """The oldest go first."""
    memory = Memory("u")
    for number in range(100):
        memory.tried(f"r{number}", "")
    memory.tried("r99", "wrong")
    assert len(memory.checked) == 64
    assert memory.checked["r99"] == "wrong"
    assert "r0" not in memory.checked
