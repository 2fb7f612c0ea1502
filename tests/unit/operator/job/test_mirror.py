"""What a head knows of jobs, kept by its events: nothing is missed, and nothing is taken for gone before it is."""

from __future__ import annotations

import pytest

from manta_operator.heads.mirror import Mirror


def begin():
    return {"type": "begin", "session": "s1"}


def told(submission_id, status="RUNNING", **more):
    return {"type": "job", "job": {"submission_id": submission_id, "status": status, **more}}


WHOLE = {"type": "whole", "memory": "m1"}


def heard(*events):
    mirror = Mirror()
    mirror.opened()
    for event in events:
        mirror.event(event)
    return mirror


def test_until_a_stream_is_whole_what_is_not_known_may_exist():
    mirror = heard(begin(), told("a"))
    assert not mirror.synced
    assert mirror.event(WHOLE) == set()
    assert mirror.synced
    assert mirror.memory == "m1"
    assert {one: job.state.value for one, job in mirror.jobs.items()} == {"a": "RUNNING"}


def test_what_does_not_come_again_after_a_cut_is_gone():
    mirror = heard(begin(), told("a"), told("b"), WHOLE)
    mirror.broken()
    assert not mirror.synced
    assert set(mirror.jobs) == {"a", "b"}
    mirror.opened()
    assert mirror.event(told("b", "SUCCEEDED", exit_code=0, ended_unix_ms=1500)) == {"b"}
    assert mirror.event(WHOLE) == {"a"}
    assert mirror.jobs["b"].ended_at == 1.5
    assert mirror.event({"type": "gone", "submission_id": "b"}) == {"b"}
    assert mirror.jobs == {}


def test_what_was_said_twice_has_not_changed():
    mirror = heard(begin(), told("a"), WHOLE)
    assert mirror.event(told("a")) == set()
    assert mirror.event({"type": "alive"}) == set()
    assert mirror.event({"type": "of a later version"}) == set()


def test_a_submission_exists_before_an_event_says_so():
    """The stream that was open when it was answered may have been made whole just before."""
    mirror = heard(begin())
    mirror.submitted("a")
    assert mirror.event(WHOLE) == set()
    assert "a" in mirror.jobs
    mirror.broken()
    mirror.opened()
    assert mirror.event(WHOLE) == {"a"}


def test_a_submission_is_no_news_of_a_job_that_is_known():
    mirror = heard(begin(), told("a", "FAILED"), WHOLE)
    mirror.submitted("a")
    assert mirror.jobs["a"].state.value == "FAILED"


@pytest.mark.parametrize(
    "job",
    [
        {},
        {"submission_id": 3},
        {"submission_id": "a", "status": "ODD"},
        {"submission_id": "a", "status": "FAILED", "exit_code": "1"},
    ],
)
def test_what_is_no_job_is_said_so(job):
    with pytest.raises(ValueError):
        heard({"type": "job", "job": job})
