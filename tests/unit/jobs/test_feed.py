"""Who follows jobs is told of every change, once, as it is when they look."""

from __future__ import annotations

import pytest

from manta.core.errors import OverloadedError
from manta.jobs import feed as module
from manta.jobs import states
from manta.jobs.feed import Feed
from manta.jobs.states import Facts


def job(job_id):
    return {"submission_id": job_id, "submitted_unix_ms": 1}


def test_a_follower_begins_with_everything_and_then_hears_of_changes():
    feed = Feed()
    feed.put(Facts(job("a")))
    with feed.follow("") as follower:
        assert follower.take() == ["a"]
        assert follower.take() == []
        feed.put(Facts(job("b")))
        feed.put(Facts(job("a"), run={"group": 1}))
        feed.put(Facts(job("b"), run={"group": 2}))
        feed.put(Facts(job("b"), run={"group": 2}))
        assert follower.take() == ["b", "a"]
        feed.remove("a")
        feed.remove("a")
        assert follower.take() == ["a"]
        assert feed.get("a") is None


def test_a_follower_of_some_hears_of_those_alone():
    feed = Feed()
    feed.put(Facts(job("mj-1")))
    feed.put(Facts(job("other")))
    with feed.follow("mj-") as follower:
        feed.put(Facts(job("other"), run={}))
        assert follower.take() == ["mj-1"]


def test_what_was_written_once_stays_in_whatever_order_it_is_read():
    """Two reads at a time may end in the other order."""
    feed = Feed()
    feed.put(Facts(job("a"), run={"group": 1}, end={"status": "FAILED"}))
    with feed.follow("") as follower:
        follower.take()
        feed.put(Facts(job("a"), stop={"unix_ms": 1}))
        assert feed.get("a") == Facts(job("a"), {"group": 1}, {"unix_ms": 1}, {"status": "FAILED"})
        feed.put(Facts(job("a")))
        assert follower.take() == ["a"]


def test_there_are_only_so_many_followers(monkeypatch):
    monkeypatch.setattr(module, "MOST_FOLLOWERS", 1)
    feed = Feed()
    with feed.follow(""), pytest.raises(OverloadedError, match="1 connections follow"), feed.follow(""):
        pass
    with feed.follow(""):
        pass


def test_an_event_has_what_changes_and_nothing_of_what_was_submitted():
    """Least of all the values of variables."""
    facts = Facts(
        {**job("a"), "entrypoint": "echo $SECRET", "metadata": {}, "runtime_env": {"env_vars": {"SECRET": "x"}}},
        {"group": 1, "unix_ms": 2},
        {"unix_ms": 3},
        {**states.ended(3, stop_wanted=False), "unix_ms": 4, "log_tail": "oh\n"},
    )
    assert states.event(facts) == {
        "submission_id": "a",
        "status": "FAILED",
        "stopping": True,
        "message": "Job entrypoint command failed with exit code 3; its log says more.",
        "error_type": "JOB_ENTRYPOINT_COMMAND_ERROR",
        "submitted_unix_ms": 1,
        "began_unix_ms": 2,
        "ended_unix_ms": 4,
        "exit_code": 3,
        "log_tail": "oh\n",
    }
