"""Events have names made of what they say, so that nobody says the same thing twice."""

from __future__ import annotations

import asyncio
import datetime

import pytest

from manta_operator.kube.errors import NotLeaderError, UnreachableError
from manta_operator.kube.events import Event
from manta_operator.kube.recorder import AGAIN_S, Recorder, event_of

CLUSTER = {
    "apiVersion": "manta.compute/v1alpha1",
    "kind": "MantaCluster",
    "metadata": {"name": "demo", "namespace": "n", "uid": "u", "labels": {"not": "told"}},
}
NOW = datetime.datetime(2026, 1, 2, 3, 4, 5, 6, datetime.UTC)


class Writer:
    def __init__(self, error=None):
        self.posted, self.error = [], error

    async def post(self, resource, obj):
        if self.error:
            raise self.error
        self.posted.append(obj["metadata"]["name"])
        return True


def test_an_event_says_all_that_the_api_server_wants():
    """Whole, as events.k8s.io/v1 has it."""
    event = event_of(CLUSTER, Event("Scaled", "up", "Warning"), "me", NOW)
    name = event["metadata"].pop("name")
    assert name.startswith("demo.")
    assert event == {
        "metadata": {"namespace": "n"},
        "eventTime": "2026-01-02T03:04:05.000006Z",
        "reportingController": "manta.compute/manta-operator",
        "reportingInstance": "me",
        "action": "Reconcile",
        "reason": "Scaled",
        "type": "Warning",
        "note": "up",
        "regarding": {
            "apiVersion": "manta.compute/v1alpha1",
            "kind": "MantaCluster",
            "name": "demo",
            "namespace": "n",
            "uid": "u",
        },
    }


def test_the_same_thing_has_the_same_name_whoever_says_it():
    """Two instances, or one that was killed, tell it once."""
    names = {
        event_of(CLUSTER, Event("Scaled", note), instance, NOW)["metadata"]["name"]
        for note, instance in (("up", "a"), ("up", "b"), ("down", "a"))
    }
    assert len(names) == 2


def test_it_is_told_once_an_hour():
    """At most."""
    writer, clock, counted = Writer(), [0.0], []
    recorder = Recorder(writer, "me", lambda: clock[0], counted.append)
    assert asyncio.run(recorder.tell(CLUSTER, Event("A", "a")))
    assert not asyncio.run(recorder.tell(CLUSTER, Event("A", "a")))
    clock[0] = AGAIN_S
    assert asyncio.run(recorder.tell(CLUSTER, Event("A", "a")))
    assert len(writer.posted) == len(counted) == 2


def test_an_event_that_cannot_be_told_stops_nobody():
    """It is logged."""
    recorder = Recorder(Writer(UnreachableError("POST", "cut")), "me", lambda: 0.0)
    assert not asyncio.run(recorder.tell(CLUSTER, Event("A", "a")))


def test_who_does_not_lead_has_not_told_it():
    """If this instance leads again, it does."""
    writer = Writer(NotLeaderError())
    recorder = Recorder(writer, "me", lambda: 0.0)
    with pytest.raises(NotLeaderError):
        asyncio.run(recorder.tell(CLUSTER, Event("A", "a")))
    writer.error = None
    assert asyncio.run(recorder.tell(CLUSTER, Event("A", "a")))
