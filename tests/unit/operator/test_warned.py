"""Of all Warning Events there are those are kept that say why something of a cluster's does not come."""

from __future__ import annotations

from manta_operator import warned
from manta_operator.kube.resources import Key
from manta_operator.kube.store import Store
from tests.support.kubernetes import NAMESPACE


def event(about="demo-w-0", reason="FailedMount", kind="Pod", name="", note="why"):
    return {
        "metadata": {"name": name or f"{about}.17", "namespace": NAMESPACE, "uid": "e", "resourceVersion": "3"},
        "regarding": {"kind": kind, "name": about, "namespace": NAMESPACE, "uid": f"{about}-uid", "fieldPath": "spec"},
        "reason": reason,
        "note": note,
        "deprecatedLastTimestamp": "2026-01-01T00:00:00Z",
        "reportingController": "kubelet",
    }


def clusters(*names, claim=None):
    store = Store({warned.BY_CLAIM: warned.claimed})
    for name in names:
        spec = {"head": {"storage": {"existingClaim": claim}}} if claim else {"head": "no object"}
        store.put({"metadata": {"name": name, "namespace": NAMESPACE, "uid": name}, "spec": spec})
    return store


def whose(event, *names, claim=None):
    return [key.name for key in warned.clusters_of(clusters(*names, claim=claim), event)]


def test_whose_an_event_is_is_read_from_the_name():
    """The pod may be newer than the copy of pods; two clusters may both have such a pod."""
    assert whose(event(), "demo", "other") == ["demo"]
    assert whose(event("demo-head"), "demo") == ["demo"]
    assert whose(event("a-b-w-0"), "a", "a-b") == ["a", "a-b"]
    assert whose(event("demolition-w-0"), "demo") == []
    assert whose(event("demo"), "demo") == []
    assert whose(event("mine", kind="PersistentVolumeClaim"), "demo", claim="mine") == ["demo"]
    assert whose(event("mine"), "demo", claim="mine") == []


def test_kept_is_what_is_read():
    """A kind and a reason that `cluster.causes` knows, about what may be a cluster's."""
    kept, there = Store(trim=warned.trim), clusters("demo")
    assert warned.keeps(there, kept, event())
    assert warned.keeps(there, kept, event("demo-head", "ProvisioningFailed", "PersistentVolumeClaim"))
    assert not warned.keeps(there, kept, event("web-0"))
    assert not warned.keeps(there, kept, event(reason="ProvisioningFailed"))
    assert not warned.keeps(there, kept, event(reason="Preempted"))
    assert not warned.keeps(there, kept, event(kind="MantaCluster"))
    assert not warned.keeps(there, kept, {"metadata": {"name": "bare"}})


def test_there_is_a_bound(monkeypatch):
    """One that is kept may still change; a further one is not kept before one goes."""
    monkeypatch.setattr(warned, "MOST", 1)
    kept, there = Store(trim=warned.trim), clusters("demo")
    kept.put(event(name="first"))
    assert warned.keeps(there, kept, event(name="first"))
    assert not warned.keeps(there, kept, event(name="second"))
    kept.remove(Key(NAMESPACE, "first"))
    assert warned.keeps(there, kept, event(name="second"))


def test_little_of_it_is_kept():
    """What it is about, what it says, and when it was said last, by whichever of three ways to say that."""
    assert warned.trim(event(note="x" * 5000)) == {
        "metadata": {"name": "demo-w-0.17", "namespace": NAMESPACE, "uid": "e", "resourceVersion": "3"},
        "regarding": {"kind": "Pod", "name": "demo-w-0", "uid": "demo-w-0-uid"},
        "reason": "FailedMount",
        "note": "x" * 700,
        "at": "2026-01-01T00:00:00Z",
    }
    series = {**event(), "series": {"lastObservedTime": "2026-01-02T00:00:00.5Z", "count": 3}}
    assert warned.trim(series)["at"] == "2026-01-02T00:00:00.5Z"
    assert warned.trim({"metadata": {"name": "bare", "creationTimestamp": "2026-01-03T00:00:00Z"}})["at"] == (
        "2026-01-03T00:00:00Z"
    )
