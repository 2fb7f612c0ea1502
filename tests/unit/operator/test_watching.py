"""A copy of a kind's objects is made by a list, kept by a watch, and exact whatever happens between."""

from __future__ import annotations

import pytest

from manta_operator.kube.errors import ApiError, UnreachableError
from manta_operator.kube.resources import Key
from manta_operator.kube.watching import BACKOFF, Follow, Put, ReadAll, Remove, Watching


def pod(name, version="1"):
    return {"metadata": {"namespace": "n", "name": name, "uid": f"uid-{name}", "resourceVersion": version}}


def listed(*names, version="10"):
    watching = Watching()
    watching.listed([pod(name) for name in names], version)
    return watching


def test_it_begins_with_a_list_and_watches_from_there():
    """The list's version is where the watch begins: nothing falls between the two."""
    watching = Watching()
    assert watching.start() == [ReadAll(0.0)]
    assert watching.listed([pod("a")], "10") == [Put(pod("a")), Follow("10", 0.0)]


def test_events_change_the_copy():
    """Added and changed objects are put, deleted ones removed, bookmarks only say how far the watch is."""
    watching = listed("a")
    assert watching.event({"type": "ADDED", "object": pod("b", "11")}) == [Put(pod("b", "11"))]
    assert watching.event({"type": "MODIFIED", "object": pod("b", "12")}) == [Put(pod("b", "12"))]
    assert watching.event({"type": "DELETED", "object": pod("b", "13")}) == [Remove(Key("n", "b"))]
    assert watching.event({"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "20"}}}) == []
    assert watching.ended(0.0) == [Follow("20", 0.0)]


def test_an_expired_version_leads_to_a_list_and_what_is_not_in_it_is_removed():
    """Nobody will ever send an event for what was deleted meanwhile."""
    watching = listed("a", "b", "c")
    assert watching.failed(ApiError("WATCH", 410, "Expired"), 0.0) == [ReadAll(BACKOFF.delay_s(0, 0.0))]
    assert watching.listed([pod("b"), pod("d")], "30") == [
        Remove(Key("n", "a")),
        Remove(Key("n", "c")),
        Put(pod("b")),
        Put(pod("d")),
        Follow("30", 0.0),
    ]


def test_an_error_within_a_watch_is_that_error():
    """The API server says 410 as an event when the version goes out of reach meanwhile."""
    watching = listed()
    status = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old resource version"}
    with pytest.raises(ApiError) as caught:
        watching.event({"type": "ERROR", "object": status})
    assert caught.value.expired


@pytest.mark.parametrize(
    "event", [{}, {"type": "ADDED"}, {"type": "ADDED", "object": 3}, {"type": "NEW", "object": pod("a")}]
)
def test_an_event_of_no_known_form_is_an_error(event):
    """It ends the watch, which goes on from before it."""
    with pytest.raises(ApiError):
        listed().event(event)


def test_a_cut_watch_goes_on_from_the_last_version():
    """A lost connection costs a pause, and no list."""
    watching = listed("a")
    watching.event({"type": "MODIFIED", "object": pod("a", "15")})
    assert watching.failed(UnreachableError("WATCH", "cut"), 0.0) == [Follow("15", BACKOFF.delay_s(0, 0.0))]


def test_pauses_grow_until_something_comes():
    """A server that refuses everybody is not asked ever faster; one event says that it is well."""
    watching = listed("a")
    pauses = [watching.failed(UnreachableError("WATCH", "cut"), 0.0)[0].after_s for _ in range(12)]
    assert pauses == sorted(pauses)
    assert pauses[-1] == BACKOFF.cap_s
    watching.event({"type": "MODIFIED", "object": pod("a", "15")})
    assert watching.failed(UnreachableError("WATCH", "cut"), 0.0)[0].after_s == BACKOFF.first_s


def test_a_watch_that_ends_at_once_every_time_is_begun_with_pauses():
    """A server that accepts watches and ends them is ill, too."""
    watching = listed("a")
    assert [watching.ended(0.0)[0].after_s for _ in range(3)] == [0.2, 0.4, 0.8]


def test_a_server_that_says_when_to_come_again_is_obeyed_within_reason():
    """429 with Retry-After; an hour is not believed."""
    watching = listed("a")
    assert watching.failed(ApiError("WATCH", 429, retry_after_s=7.0), 0.0) == [Follow("10", 7.0)]
    assert watching.failed(ApiError("WATCH", 429, retry_after_s=3600.0), 0.0) == [Follow("10", BACKOFF.cap_s)]


def test_a_version_that_is_gone_costs_no_pause_of_before():
    """After a restart the server's first answer may be that: everything is listed soon, not half a minute later."""
    watching = listed("a")
    for _ in range(8):
        watching.failed(UnreachableError("WATCH", "nobody there"), 0.0)
    assert watching.failed(ApiError("WATCH", 410, "Expired"), 0.0) == [ReadAll(BACKOFF.first_s)]
    assert watching.failed(UnreachableError("LIST", "cut"), 0.0) == [ReadAll(2 * BACKOFF.first_s)]
