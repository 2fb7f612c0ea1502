"""Copies that other nodes are asked to keep."""

from __future__ import annotations

from manta.raylet.objects.saving import MAX_OPEN, Saved, Saving

A, B, OWNER = b"a" * 28, b"b" * 28, b"o" * 28


def saved(number: int, owner: bytes = OWNER) -> Saved:
    return Saved(number.to_bytes(28, "big"), 100, owner)


def test_what_is_asked_is_owed_until_it_is_answered_or_its_node_or_owner_is_dead():
    saving = Saving()
    for number, owner in ((1, OWNER), (2, OWNER), (3, B)):
        saving.wanted(A, saved(number, owner))
    assert saving.owed(A) == [saved(1), saved(2), saved(3, B)]
    assert saving.answered(A, saved(1).object_id) == OWNER
    assert saving.answered(A, saved(1).object_id) is None, "an answer that comes twice means nothing"
    saving.owner_died(OWNER)
    assert saving.owed(A) == [saved(3, B)]
    saving.node_died(A)
    assert (saving.owed(A), len(saving)) == ([], 0)


def test_questions_are_bounded_and_the_oldest_are_forgotten():
    saving = Saving()
    for number in range(MAX_OPEN + 5):
        saving.wanted(A, saved(number))
    assert len(saving) == MAX_OPEN
    assert saving.owed(A)[0] == saved(5)
