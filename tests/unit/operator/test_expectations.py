"""A decision waits until the copies show what was written for its object, and not for ever."""

from __future__ import annotations

from manta_operator.kube.expectations import Expectations


def copies(**versions):
    return lambda kind, namespace: versions.get(kind, 0)


def test_a_decision_waits_until_each_copy_has_come_as_far_as_what_was_written():
    """Of several writes of a kind the newest counts."""
    writes = Expectations(patience_s=10.0)
    writes.wrote("a", "pods", "n", "7", now=0.0)
    writes.wrote("a", "pods", "n", "5", now=0.0)
    writes.wrote("a", "secrets", "n", "3", now=0.0)
    assert writes.behind("a", copies(pods=6, secrets=3), now=1.0) == 9.0
    assert writes.behind("a", copies(pods=7, secrets=3), now=2.0) is None
    assert len(writes) == 0


def test_another_object_does_not_wait():
    """Each has its own."""
    writes = Expectations()
    writes.wrote("a", "pods", "n", "7", now=0.0)
    assert writes.behind("b", copies(), now=0.0) is None


def test_a_copy_that_never_gets_there_is_given_up():
    """Writes are safe to repeat: the wait saves requests, and must not cost the decision."""
    writes = Expectations(patience_s=10.0)
    writes.wrote("a", "pods", "n", "7", now=0.0)
    assert writes.behind("a", copies(), now=9.5) == 0.5
    assert writes.behind("a", copies(), now=10.0) is None


def test_versions_that_are_no_numbers_are_not_waited_for():
    """Nobody can tell whether such a copy has come so far."""
    writes = Expectations()
    for version in ("", "abc", "-1", "٣"):
        writes.wrote("a", "pods", "n", version, now=0.0)
    assert writes.behind("a", copies(), now=0.0) is None


def test_what_is_forgotten_is_not_waited_for():
    """The object is gone."""
    writes = Expectations()
    writes.wrote("a", "pods", "n", "7", now=0.0)
    writes.forget("a")
    assert writes.behind("a", copies(), now=0.0) is None
