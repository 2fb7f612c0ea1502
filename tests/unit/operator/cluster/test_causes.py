"""Why a pod does not do its work: in one word and one sentence, which stay the same as long as the trouble."""

from __future__ import annotations

import pytest

from manta_operator.cluster.causes import (
    CRASH_S,
    MEMORY_S,
    PATIENCE_S,
    TOGETHER_S,
    Cause,
    cause_of,
    last_failure,
    memory_cause,
    restarts,
    worst,
)
from manta_operator.cluster.pods import pods_of
from manta_operator.cluster.seen import Control, ControlNode, Drain, Seen
from tests.support.kubernetes import NOW, at, cluster, container, node, pod


def only(raw, *, nodes=None, control=None, now=NOW):
    """One pod as a plan sees it."""
    nodes = {one["metadata"]["name"]: one for one in nodes or (node(), node("node-2"))}
    [one] = pods_of(Seen(raw=cluster(), cluster=None, pods=(raw,), nodes=nodes, control=control or Control()), now)
    return one


def cause(raw, *, warnings=(), claim=None, now=NOW, **more):
    return cause_of(only(raw, now=now, **more), warnings, claim, now)


def waiting(reason, message="", **more):
    """A pod whose raylet waits for a reason."""
    state = {"waiting": {"reason": reason, "message": message}}
    return pod(ready=False, phase="Pending", containers=[container(ready=False, state=state, **more)])


def ended(reason="Error", code=1, message="", ago=5.0, **more):
    return {"terminated": {"reason": reason, "exitCode": code, "message": message, "finishedAt": at(NOW - ago), **more}}


def warning(uid, reason, note, ago=5.0):
    """An Event as it is kept."""
    return {"regarding": {"uid": uid}, "reason": reason, "note": note, "at": at(NOW - ago)}


PULL = "demo-w-0: the image manta:1 of raylet cannot be pulled: not found"


@pytest.mark.parametrize(
    ("raw", "reason", "fault", "words"),
    [
        (pod(owner=None), "NameTaken", True, "left alone"),
        (pod(owner="the uid of another"), "Terminating", False, "of a former cluster of this name"),
        (pod(going=True), "Terminating", False, "is being deleted"),
        (pod(phase="Failed", reason="Evicted", message="low on memory"), "Evicted", True, "low on memory"),
        (pod(phase="Succeeded"), "PodSucceeded", True, "has ended"),
        (pod(host="", phase="Pending", ready=False), "Pending", False, "waits for a node"),
        (waiting("ContainerCreating"), "Starting", True, "kubectl describe pod demo-w-0"),
        (waiting("InvalidImageName", "bad"), "InvalidImageName", True, "bad"),
        (
            waiting("CreateContainerConfigError", 'secret "x" not found'),
            "CreateContainerConfigError",
            True,
            'secret "x"',
        ),
        (pod(ready=False, since=NOW - 5), "NotReady", False, "raylet is not ready"),
        (pod(ready=False, since=NOW - PATIENCE_S), "NotReady", True, "kubectl logs"),
    ],
)
def test_each_trouble_has_its_word(raw, reason, fault, words):
    """And says whether somebody should look."""
    found = cause(raw)
    assert (found.reason, found.fault) == (reason, fault)
    assert words in found.message
    assert "demo-w-0" in found.message


def test_a_ready_pod_has_none():
    """Whatever happened before."""
    assert cause(pod(containers=[container(restarts=3, last=ended())])) is None


def test_an_image_that_cannot_be_pulled_has_one_text_in_turns_of_two():
    """The kubelet says ErrImagePull and ImagePullBackOff in turns, for ever: the status must not."""
    texts = {
        cause(waiting("ErrImagePull", "not found")).message,
        cause(waiting("ImagePullBackOff", 'Back-off pulling image "manta:1": ErrImagePull: not found')).message,
    }
    assert texts == {PULL}
    assert cause(waiting("ImagePullBackOff", 'Back-off pulling image "manta:1"')).message == PULL.removesuffix(
        ": not found"
    )


def test_a_container_that_ends_again_and_again_has_one_text_in_turns_of_three():
    """Waiting to be started, running and ended: the same words, with its last ones."""
    last = ended(code=3, message="no\nlicense ")
    turns = [
        container(
            ready=False,
            restarts=4,
            state={"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 40s"}},
            last=last,
        ),
        container(ready=False, restarts=4, state={"running": {"startedAt": at(NOW - 1)}}, last=last),
        container(ready=False, restarts=4, state=last),
    ]
    found = [cause(pod(ready=False, containers=[one])) for one in turns]
    assert {(one.reason, one.message) for one in found} == {
        ("CrashLoopBackOff", "demo-w-0: raylet ended with exit code 3, Error: no license")
    }


def test_a_crash_is_no_cause_for_ever():
    """A container that has been running for long since, and is not ready, is so for another reason."""
    one = container(ready=False, restarts=4, state={"running": {"startedAt": at(NOW)}}, last=ended())
    raw = pod(ready=False, containers=[one], since=NOW + CRASH_S)
    assert cause(raw).until == NOW + CRASH_S
    assert cause(raw, now=NOW + CRASH_S).reason == "NotReady"


def test_a_container_whose_memory_was_full_is_oomkilled():
    """While it is not ready, a fault; and when it is ready again that is said for a while."""
    last = ended("OOMKilled", 137)
    raw = pod(
        ready=False,
        containers=[container(ready=False, restarts=1, state={"running": {"startedAt": at(NOW)}}, last=last)],
    )
    assert (cause(raw).reason, cause(raw).fault) == ("OOMKilled", True)
    again = pod(containers=[container(restarts=1, last=last)])
    assert cause(again) is None
    found = memory_cause(only(again), NOW)
    assert (found.reason, found.fault, found.until) == ("OOMKilled", False, NOW - 5 + MEMORY_S)
    assert memory_cause(only(again), NOW - 5 + MEMORY_S) is None


def test_one_process_that_was_ended_for_memory_is_known_from_the_raylet():
    """Where the kernel ends a child and not the container (cgroup v1), Kubernetes never hears of it."""
    told = ControlNode(id="n", pod_uid="demo-w-0-uid", oom_kills=2, oom_at=NOW - 60)
    found = memory_cause(only(pod(), control=Control(nodes=(told,))), NOW)
    assert found.message == "demo-w-0: 2 of its processes were ended as its memory was full"
    assert memory_cause(only(pod(), control=Control(nodes=(told,))), NOW - 60 + MEMORY_S) is None


def unscheduled(message):
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    return pod("demo-head", host="", phase="Pending", ready=False, conditions=[condition])


def test_a_pod_that_fits_nowhere_is_unschedulable_in_the_schedulers_words():
    """They say which nodes lack what."""
    found = cause(unscheduled("0/3 nodes are available: 3 Insufficient cpu."))
    assert (found.reason, found.message) == ("Unschedulable", "demo-head: 0/3 nodes are available: 3 Insufficient cpu.")


@pytest.mark.parametrize(
    ("kind", "words"),
    [(None, "there is no default StorageClass"), ("fast", "its StorageClass fast gives it no volume")],
)
def test_a_head_that_waits_for_its_volume_says_so(kind, words):
    """The claim's class is what is wrong, and the claim's events say how."""
    claim = {
        "metadata": {"name": "demo-head", "uid": "c"},
        "spec": {"storageClassName": kind} if kind else {},
        "status": {"phase": "Pending"},
    }
    event = warning("c", "ProvisioningFailed", 'class "fast" not found')
    raw = unscheduled("0/3 nodes are available: pod has unbound immediate PersistentVolumeClaims.")
    found = cause(raw, claim=claim, warnings=[event])
    assert found.reason == "NoStorageClass"
    assert words in found.message
    assert 'class "fast" not found' in found.message
    bound = {**claim, "status": {"phase": "Bound"}}
    assert cause(raw, claim=bound).reason == "Unschedulable"


def test_a_volume_that_cannot_be_mounted_is_known_from_events():
    """No state of a container says which Secret is missing."""
    event = warning("demo-w-0-uid", "FailedMount", 'MountVolume.SetUp failed for volume "a": secret "mine" not found')
    found = cause(waiting("ContainerCreating"), warnings=[event])
    assert (found.reason, 'secret "mine"' in found.message) == ("MissingSecret", True)
    assert cause(pod(), warnings=[event]) is None


MISSES = 'MountVolume.SetUp failed for volume "{0}" : {1} "{0}" not found'
WAITS = "Unable to attach or mount volumes: unmounted volumes=[a], unattached volumes={}: timed out"


def test_what_fails_in_turns_has_one_text():
    """A kubelet tries the volumes of a pod again and again, one after the other, and says which were left in any order."""
    uid, texts = "demo-w-0-uid", set()
    for turn in range(4):
        ago = (10.0, 100.0) if turn % 2 else (100.0, 10.0)
        said = [
            warning(uid, "FailedMount", MISSES.format(name, "secret"), ago=since)
            for name, since in zip("ab", ago, strict=True)
        ]
        said.append(warning(uid, "FailedMount", WAITS.format("[a b]" if turn % 2 else "[b a]"), ago=0.0))
        texts.add(cause(waiting("ContainerCreating"), warnings=said).message)
    assert texts == {f"demo-w-0: {MISSES.format('a', 'secret')}; {MISSES.format('b', 'secret')}"}
    alone = [warning(uid, "FailedMount", WAITS.format(order)) for order in ("[a b]", "[b a]")]
    assert cause(waiting("ContainerCreating"), warnings=alone).message == (
        "demo-w-0: Unable to attach or mount volumes: unmounted volumes=[a]"
    )


def test_what_was_put_right_is_no_longer_said():
    """The Event of a Secret that is there by now lies around for an hour; that of another that is missing comes again."""
    uid = "demo-w-0-uid"
    said = [
        warning(uid, "FailedMount", MISSES.format("a", "secret"), ago=TOGETHER_S + 10),
        warning(uid, "FailedMount", MISSES.format("b", "configmap")),
        warning("another's", "FailedMount", MISSES.format("c", "secret")),
    ]
    found = cause(waiting("ContainerCreating"), warnings=said)
    assert (found.reason, found.message) == (
        "MissingConfigMap",
        f"demo-w-0: {MISSES.format('b', 'configmap')}",
    )


def test_a_scheduler_in_trouble_of_its_own_is_quoted():
    """Its condition is then SchedulerError, and says less than its Event."""
    raw = unscheduled("running Bind plugin: timed out")
    raw["status"]["conditions"][0]["reason"] = "SchedulerError"
    event = warning("demo-head-uid", "FailedScheduling", "running PreBind plugin VolumeBinding: no such class")
    assert cause(raw).reason == "Pending"
    found = cause(raw, warnings=[event])
    assert (found.reason, found.message) == ("Unschedulable", f"demo-head: {event['note']}")


def test_a_pod_on_a_node_that_does_not_answer_says_what_would_help():
    """It cannot be gone before somebody does something about the node."""
    silent = node(ready="Unknown", since=NOW - 1000)
    assert cause(pod(), nodes=[silent, node("node-2")]).reason == "NodeLost"
    going = cause(pod(going=True), nodes=[silent, node("node-2")])
    assert (going.reason, going.fault) == ("NodeLost", True)
    assert "out-of-service" in going.message


def test_one_that_is_drained_is_on_its_way():
    """Not a fault, however long it is not ready."""
    told = ControlNode(id="n", pod_uid="demo-w-0-uid", drain=Drain.DRAINING, deadline=NOW + 9)
    found = cause(pod(ready=False), control=Control(nodes=(told,)))
    assert (found.reason, found.fault) == ("Draining", False)


def test_the_worst_explains_most():
    """Faults before steps on the way; among faults the one that others follow from."""
    step = Cause(reason="Starting", message="", fault=False)
    pull, late = Cause(reason="ImagePullBackOff", message=""), Cause(reason="NotReady", message="")
    assert worst([step, late, pull]) is pull
    assert worst([step]) is step
    assert worst([]) is None


def test_a_heads_restarts_and_last_failure_are_read_from_its_containers():
    """The latest of all of them, with its last words."""
    raw = pod(
        "demo-head",
        containers=[
            container("control", restarts=1, last=ended(ago=50, message="disk full")),
            container("raylet", restarts=2, last=ended("OOMKilled", 137, ago=5)),
        ],
    )
    assert restarts(only(raw)) == 3
    assert last_failure(only(raw)) == "demo-head: raylet ended with exit code 137, its memory was full (OOMKilled)"
    assert last_failure(only(pod("demo-head"))) is None


@pytest.mark.parametrize(
    "status", [None, {}, {"containerStatuses": None}, {"containerStatuses": [None, {}, {"state": "x"}]}]
)
def test_a_pod_that_says_nonsense_breaks_nothing(status):
    """A pod's status is written by kubelets, and by whoever may."""
    raw = pod(ready=False)
    raw["status"] = status
    found = cause(raw)
    assert found.reason == "Starting"


def test_long_words_are_cut():
    """A status has a limit, and so has a reader."""
    assert len(cause(pod(phase="Failed", reason="Evicted", message="x" * 5000)).message) <= 700


@pytest.mark.parametrize(
    ("reason", "word"),
    [("Ev icted!", "Evicted"), ("9_", "Unknown"), ("UnexpectedAdmissionError", "UnexpectedAdmissionError")],
)
def test_reasons_are_words_that_a_condition_may_have(reason, word):
    """Or the whole status would be refused."""
    assert cause(pod(phase="Failed", reason=reason)).reason == word
