"""What the API server would not do, and when to ask again."""

from __future__ import annotations

import pytest

from manta_operator.cluster.refusals import BACKOFF, Refusal, Why, why_of
from manta_operator.kube.errors import ApiError, UnreachableError


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (ApiError("POST", 409, "AlreadyExists"), Why.NAME_TAKEN),
        (ApiError("POST", 403, "Forbidden", "exceeded quota: pods=2"), Why.QUOTA),
        (ApiError("POST", 403, "Forbidden", 'violates PodSecurity "restricted"'), Why.FORBIDDEN),
        (ApiError("POST", 422, "Invalid", "spec.containers[0].image: Required value"), Why.INVALID),
        (ApiError("POST", 400, "BadRequest", 'strict decoding error: unknown field "spec.foo"'), Why.INVALID),
        (ApiError("PATCH", 422, "Invalid", "metadata.uid: Invalid value: field is immutable"), Why.TEMPORARY),
        (ApiError("POST", 404, "NotFound"), Why.TEMPORARY),
        (ApiError("POST", 429), Why.TEMPORARY),
        (ApiError("POST", 500), Why.TEMPORARY),
        (ApiError("POST", 409, "Conflict"), Why.TEMPORARY),
        (UnreachableError("POST", "reset"), Why.TEMPORARY),
    ],
)
def test_an_error_says_what_stands_in_the_way(error, why):
    """And whether the same may do later."""
    assert why_of(error) is why


def refusal(why, **more):
    return Refusal(**{"plural": "pods", "name": "p", "why": why, "message": "m", "at": 100.0, "generation": 1} | more)


def test_what_was_refused_is_tried_again_after_growing_pauses():
    """A quota that grows sends no event."""
    assert [refusal(Why.QUOTA, count=count).again_at - 100.0 for count in (1, 2, 3, 9)] == [
        5.0,
        10.0,
        20.0,
        BACKOFF.cap_s,
    ]


def test_another_spec_is_tried_at_once_except_for_a_name_that_is_taken():
    """Another spec makes another object, of the same name."""
    assert refusal(Why.INVALID).holds(1, 101.0)
    assert not refusal(Why.INVALID).holds(2, 101.0)
    assert refusal(Why.NAME_TAKEN).holds(2, 101.0)
    assert not refusal(Why.NAME_TAKEN).holds(2, 105.0)


def test_a_server_that_is_busy_holds_nothing_up():
    """The shell has its own pauses for that."""
    assert not refusal(Why.TEMPORARY).holds(1, 100.0)
