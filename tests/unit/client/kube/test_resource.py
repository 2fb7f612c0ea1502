"""What a MantaCluster, its Secret and its head's pod say about whether and how it is reached."""

from __future__ import annotations

import pytest

from manta.client.kube import resource
from manta.client.kube.resource import Standing


def condition(kind, status, reason="Because", message=""):
    return {"type": kind, "status": status, "reason": reason, "message": message}


def cluster(*conditions, spec=None, head=None, **metadata):
    return {
        "metadata": {"name": "demo", "uid": "u-1", **metadata},
        "spec": spec or {},
        "status": {"conditions": list(conditions), "head": head or {}},
    }


def test_one_whose_head_serves_is_open_whatever_its_workers_do():
    assert resource.standing(cluster(condition("Available", "True"), condition("Ready", "False"))) == Standing(
        open=True
    )


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({}, "nothing has been said of it yet"),
        (cluster(), "is the operator, manta-operator, running?"),
        (cluster(condition("Available", "False", "HeadPending", "0/3 nodes fit")), "HeadPending: 0/3 nodes fit"),
        (
            cluster(
                condition("Available", "False", "NotYet"),
                condition("Degraded", "True", "ImagePullBackOff", "no such image"),
            ),
            "ImagePullBackOff: no such image",
        ),
        (
            cluster(condition("Available", "False", "Restarting"), head={"lastFailure": "control: OOMKilled"}),
            "Restarting (its head ended before: control: OOMKilled)",
        ),
        (cluster(condition("Available", "Unknown")), "its status does not say why"),
        ({"status": {"conditions": "?"}, "metadata": 3, "spec": []}, "nothing has been said"),
    ],
)
def test_one_that_is_not_open_yet_says_why(given, text):
    standing = resource.standing(given)

    assert (standing.open, standing.final) == (False, False)
    assert text in standing.text


def test_one_that_will_not_open_is_not_waited_for():
    suspended = resource.standing(cluster(condition("Available", "True"), spec={"suspend": True}))
    going = resource.standing(cluster(condition("Available", "True"), deletionTimestamp="2030-01-01T00:00:00Z"))

    assert (suspended.open, suspended.final, "spec.suspend" in suspended.text) == (False, True, True)
    assert (going.open, going.final, going.text) == (False, True, "it is being deleted")


def pod(name, phase="Running", *, ready=True, owner="u-1", created="2030-01-01T00:00:00Z", **metadata):
    return {
        "metadata": {
            "name": name,
            "creationTimestamp": created,
            "ownerReferences": [{"uid": owner, "controller": True}],
            **metadata,
        },
        "status": {"phase": phase, "conditions": [{"type": "Ready", "status": str(ready)}]},
    }


def head(*pods):
    return resource.head_of({"items": list(pods)}, "u-1")


def test_the_heads_pod():
    assert head(pod("demo-head")) == ("demo-head", "")
    assert head(pod("old", ready=False), pod("new", created="2029-01-01T00:00:00Z")) == ("new", "")
    assert head(pod("old", deletionTimestamp="now"), pod("new", ready=False)) == ("new", "")
    assert head(pod("another's", owner="u-0"), pod("demo-head")) == ("demo-head", "")


def test_no_pod_and_why():
    pending = pod("demo-head", "Pending")
    pending["status"]["conditions"] = [
        {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "no node fits"}
    ]

    assert head() == ("", "its head has no pod now")
    assert head(pod("another's", owner="u-0")) == ("", "its head has no pod now")
    assert head(pod("demo-head", deletionTimestamp="now")) == (
        "",
        "its head's pod demo-head is going, and no other is there yet",
    )
    assert head(pending) == ("", "its head's pod demo-head is Pending: Unschedulable: no node fits")
    assert resource.head_of({"items": None}, "u-1") == ("", "its head has no pod now")


def test_what_a_secret_holds():
    secret = {"data": {"token": "YWJj", "bad": "%", "worse": 3}}

    assert [resource.content(secret, key) for key in ("token", "bad", "worse", "none")] == [b"abc", b"", b"", b""]
    assert resource.content({}, "token") == b""


def test_names_of_a_list():
    assert resource.names({"items": [{"metadata": {"name": "b"}}, {"metadata": {"name": "a"}}]}) == ["a", "b"]
