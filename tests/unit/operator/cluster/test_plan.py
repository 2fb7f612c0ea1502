"""Whole plans: of a cluster at rest in which one thing is otherwise, what is done and what is said."""

from __future__ import annotations

import functools
from dataclasses import replace

import pytest

from manta_operator.api.parse import InvalidObjectError, parse_cluster
from manta_operator.builders.build import Build
from manta_operator.cluster import children
from manta_operator.cluster.actions import Create, Plan
from manta_operator.cluster.plan import plan
from manta_operator.cluster.refusals import Refusal, Why
from manta_operator.cluster.seen import Control, ControlNode, Seen
from manta_operator.credentials.decide import Decision
from manta_operator.credentials.given import SecretProblem, Wrong
from tests.sim.reconciling.server import plain
from tests.sim.reconciling.world import Makes, World
from tests.support.kubernetes import NOW, at, cluster, group

CONDITIONS = ("Available", "Ready", "UpToDate", "Progressing", "Degraded", "Suspended")


@functools.cache
def world():
    """A cluster at rest: a head, two workers of `w`, one of `gpu`."""
    made = World(0, spec=cluster(group("w", 2), group("gpu", 1))["spec"])
    made.settle()
    made.operators[0].decide()
    return made


def at_rest() -> Seen:
    seen: Seen = world().operators[0].seen
    return seen


def with_spec(seen=None, *, metadata=None, **spec):
    """The same with another spec; a value of None leaves a field out."""
    seen = seen or at_rest()
    raw = plain(seen.raw)
    raw["spec"] = {name: value for name, value in (raw["spec"] | spec).items() if value is not None}
    raw["metadata"] |= {"generation": seen.generation + 1, **(metadata or {})}
    try:
        parsed = parse_cluster(raw)
    except InvalidObjectError as error:
        parsed = error
    return replace(seen, raw=raw, cluster=parsed)


def decide(seen, now=None) -> Plan:
    return plan(seen, world().now if now is None else now, Build(), Makes())


def conditions(made):
    """Each condition as `status reason`."""
    return {one["type"]: f"{one['status']} {one['reason']}" for one in made.status.status["conditions"]}


def message(made, kind):
    return next(one["message"] for one in made.status.status["conditions"] if one["type"] == kind)


def idle(made, *kinds):
    """Nothing of some kinds is done."""
    assert {kind: getattr(made, kind) for kind in kinds} == dict.fromkeys(kinds, ())


def told(made):
    return [(one.type, one.reason) for one in made.events]


def pods(seen, *, without=(), **changes):
    """The same with other pods: `without` some, and some changed by name (underscores for hyphens)."""
    kept = []
    for one in seen.pods:
        name = one["metadata"]["name"]
        if name in without:
            continue
        change = changes.get(name.replace("-", "_"))
        one = plain(one)
        if change is not None:
            change(one)
        kept.append(one)
    return replace(seen, pods=tuple(kept))


def going(pod):
    pod["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"


def strange(pod):
    del pod["metadata"]["ownerReferences"]


@pytest.mark.parametrize("name", ["demo-head", "demo-w-1"])
def test_what_ended_for_want_of_memory_is_said_of_the_head_as_of_workers(name):
    """By the raylet's count, where the kernel ends one process; by the container's last end, where it ends them all."""

    def said(seen):
        made = decide(seen)
        assert conditions(made)["Degraded"].startswith("False")
        status = made.status.status
        part = status["head"] if name == "demo-head" else status["groups"][0]
        return part["reason"], part["message"], made.again_at is not None

    seen, now = at_rest(), world().now
    [uid] = [one["metadata"]["uid"] for one in seen.pods if one["metadata"]["name"] == name]
    others = tuple(one for one in seen.control.nodes if one.pod_uid != uid)
    counted = ControlNode(id="n", pod_uid=uid, oom_kills=2, oom_at=now - 5)
    assert said(replace(seen, control=replace(seen.control, nodes=(*others, counted)))) == (
        "OOMKilled",
        f"{name}: 2 of its processes were ended as its memory was full",
        True,
    )

    def ended(pod):
        [raylet] = [one for one in pod["status"]["containerStatuses"] if one["name"] == "raylet"]
        raylet["restartCount"] = 1
        raylet["lastState"] = {"terminated": {"reason": "OOMKilled", "exitCode": 137, "finishedAt": at(now - 5)}}

    assert said(pods(seen, **{name.replace("-", "_"): ended})) == (
        "OOMKilled",
        f"{name}: raylet ended with exit code 137, its memory was full (OOMKilled)",
        True,
    )


def test_at_rest_there_is_nothing_to_do():
    """And everything is said."""
    made = decide(at_rest())
    assert made.at_rest
    status = at_rest().raw["status"]
    assert {one["type"]: one["status"] for one in status["conditions"]} == dict(
        zip(CONDITIONS, ("True", "True", "True", "False", "False", "False"), strict=True)
    )
    assert (status["workers"], status["resources"]["cpu"], status["resources"]["memory"]) == ("3/3", "6", "12Gi")
    assert status["endpoints"] == {
        "gateway": "manta://demo-gateway.default.svc:7620",
        "dashboard": "https://demo-dashboard.default.svc:8265",
    }
    assert status["head"] == {"podName": "demo-head", "ready": True, "restarts": 0}
    assert status["observedGeneration"] == at_rest().generation


def test_a_cluster_that_is_being_deleted_is_left_to_its_owner_references():
    """Nothing is made anew that goes."""
    seen = with_spec(metadata={"deletionTimestamp": "2026-01-01T00:00:00Z"}, workerGroups=[])
    assert decide(pods(seen, without=["demo-head"])) == Plan()


def test_a_spec_that_cannot_be_read_is_said_and_nothing_is_done():
    """Its pods go on as they are."""
    made = decide(pods(with_spec(workerGroups=[group("w", -1)]), without=["demo-head"]))
    idle(made, "creates", "deletes", "drains", "applies")
    assert (conditions(made)["Degraded"], conditions(made)["Ready"]) == ("True InvalidSpec", "False InvalidSpec")
    assert "spec.workerGroups[0].replicas: must be at least 0, not -1" in message(made, "Degraded")
    assert told(made) == [("Normal", "NotReady"), ("Normal", "Outdated"), ("Warning", "InvalidSpec")]


def test_pods_are_made_when_what_they_mount_is_there_and_last():
    """First the authority, and what does not hang on it; then what is made of it; then pods, the head first among them."""
    seen = replace(at_rest(), pods=(), secrets=(), services=(), policies=(), accounts=(), claims=())
    first = decide(seen)
    assert [one.name for one in first.creates] == ["demo-authority"]
    assert {one.name for one in first.applies} >= {"demo", "demo-head", "demo-join", "demo-gateway", "demo-dashboard"}
    last = decide(replace(at_rest(), pods=(), control=Control(silent="no head")))
    assert [one.name for one in last.creates] == ["demo-head", "demo-w-0", "demo-w-1", "demo-gpu-0"]
    assert [one.group for one in last.creates if isinstance(one, Create)] == ["head", "w", "w", "gpu"]


def test_a_missing_pod_is_made_and_said():
    """Progressing, not degraded."""
    made = decide(pods(at_rest(), without=["demo-w-0"]))
    assert [one.name for one in made.creates] == ["demo-w-0"]
    assert conditions(made) == {
        "Available": "True HeadReady",
        "Ready": "False WorkersNotReady",
        "UpToDate": "True UpToDate",
        "Progressing": "True Creating",
        "Degraded": "False AsExpected",
        "Suspended": "False NotSuspended",
    }
    assert made.status.status["workers"] == "2/3"
    assert told(made) == [("Normal", "NotReady")]


def test_a_group_that_the_spec_has_no_more_is_drained_and_shown_until_it_is_gone():
    """With nothing wanted."""
    made = decide(with_spec(workerGroups=[group("w", 2)]))
    assert [one.pod for one in made.drains] == ["demo-gpu-0"]
    assert {one["name"]: (one["desired"], one["ready"]) for one in made.status.status["groups"]} == {
        "w": (2, 2),
        "gpu": (0, 1),
    }
    assert conditions(made)["Progressing"] == "True Draining"


@pytest.mark.parametrize("groups", [[group("w", 1), group("gpu", 1)], [group("gpu", 1)]])
def test_a_drain_that_control_refuses_is_said(groups):
    """Of a group that is smaller by now, or is no more."""
    control = at_rest().control
    refused = dict.fromkeys([node.id for node in control.nodes], "no other node takes work")
    made = decide(replace(with_spec(workerGroups=groups), control=replace(control, refused=refused)))
    assert made.drains
    idle(made, "deletes", "creates")
    assert conditions(made)["Degraded"] == "True DrainRefused"
    assert "no other node takes work" in message(made, "Degraded")


def test_a_suspended_cluster_has_no_pods_and_keeps_the_rest():
    """Its storage, its credentials, its Services."""
    made = decide(with_spec(suspend=True))
    assert [one.name for one in made.deletes] == ["demo-w-0", "demo-w-1", "demo-gpu-0", "demo-head"]
    assert all(one.live for one in made.deletes)
    idle(made, "drains", "applies", "creates")
    assert (conditions(made)["Suspended"], conditions(made)["Progressing"]) == ("True Suspended", "True Suspending")
    assert ("Normal", "Suspended") in told(made)
    after = decide(replace(with_spec(suspend=True), pods=()))
    idle(after, "creates", "deletes")
    assert conditions(after)["Progressing"] == "False Suspended"
    assert conditions(after)["Degraded"] == "False AsExpected"
    assert after.status.status["workers"] == "0/0"


def test_a_changed_template_is_tried_before_any_pod_goes():
    """The API server has the last word, and old pods do their work until then."""
    seen = with_spec(image="manta:2")
    tried = decide(seen)
    assert len(tried.checks) == 3
    idle(tried, "drains", "deletes")
    revisions = [one.revision for one in tried.checks]
    wrong = decide(replace(seen, checked=dict.fromkeys(revisions, 'unknown field "spec.foo"')))
    idle(wrong, "drains", "deletes", "checks")
    assert conditions(wrong)["Available"] == "True HeadReady"
    for kind in ("Ready", "UpToDate"):
        assert conditions(wrong)[kind] == "False InvalidTemplate"
    assert 'w: unknown field "spec.foo"' in message(wrong, "Degraded")


def test_workers_of_an_old_spec_go_before_the_head_that_drains_them():
    """And new ones come with the new head."""
    seen = with_spec(image="manta:2")
    seen = replace(seen, checked=dict.fromkeys([one.revision for one in decide(seen).checks], ""))
    first = decide(seen)
    assert sorted(one.pod for one in first.drains) == ["demo-gpu-0", "demo-w-0", "demo-w-1"]
    idle(first, "deletes", "creates")
    assert conditions(first)["UpToDate"] == "False Updating"
    workers = {"demo_w_0": going, "demo_w_1": going, "demo_gpu_0": going}
    then = decide(pods(seen, **workers))
    assert ([one.name for one in then.deletes], then.creates) == (["demo-head"], ())
    last = decide(pods(seen, demo_head=going, **workers))
    assert [one.name for one in last.creates] == ["demo-w-2", "demo-w-3", "demo-gpu-1"]


def test_a_head_that_does_not_serve_is_replaced_before_its_workers():
    """It drains nobody, and the changed spec may be what it was missing."""

    def unready(pod):
        pod["status"]["conditions"] = [
            {"type": "Ready", "status": "False", "lastTransitionTime": "2026-01-01T00:00:00Z"}
        ]

    seen = pods(with_spec(image="manta:2"), demo_head=unready)
    seen = replace(seen, control=Control(silent="it does not answer", silent_since=world().now))
    made = decide(replace(seen, checked=dict.fromkeys([one.revision for one in decide(seen).checks], "")))
    assert ([one.name for one in made.deletes], made.creates, made.drains) == (["demo-head"], (), ())


def test_a_group_of_another_spec_does_not_concern_the_head():
    """Only its own workers go."""
    seen = with_spec(workerGroups=[group("w", 2, labels={"a": "b"}), group("gpu", 1)])
    [check] = decide(seen).checks
    made = decide(replace(seen, checked={check.revision: ""}))
    assert ([one.pod for one in made.drains], made.deletes) == (["demo-w-0", "demo-w-1"], ())


def test_on_delete_leaves_old_pods_and_says_so():
    """Ready all the same."""
    made = decide(with_spec(image="manta:2", upgradeStrategy={"type": "OnDelete"}))
    idle(made, "drains", "deletes", "checks")
    assert (conditions(made)["UpToDate"], conditions(made)["Ready"]) == ("False OnDelete", "True Ready")


def test_a_restart_is_a_changed_spec():
    """By annotation."""
    assert len(decide(with_spec(metadata={"annotations": {"manta.compute/restart": "1"}})).checks) == 3


def test_a_template_that_cannot_be_laid_over_a_pod_is_degraded():
    """No pod is made of it, none goes for it."""
    made = decide(with_spec(workerGroups=[group("w", 3, template={"spec": {"containers": "x"}}), group("gpu", 1)]))
    idle(made, "drains", "deletes", "creates")
    assert conditions(made)["Degraded"] == "True InvalidTemplate"
    assert "workerGroups" in message(made, "Degraded")


@pytest.mark.parametrize("name", ["demo-head", "demo-w-0"])
def test_a_strangers_pod_on_a_name_of_ours_is_never_touched(name):
    """The head's name cannot be had otherwise; a worker takes another number."""
    made = decide(pods(at_rest(), **{name.replace("-", "_"): strange}))
    idle(made, "deletes", "drains")
    assert [one.name for one in made.creates] == ([] if name == "demo-head" else ["demo-w-2"])
    assert conditions(made)["Degraded"] == "True NameTaken"
    assert name in message(made, "Degraded")


def refusal(name, why, part, **more):
    return Refusal(
        **{
            "plural": "pods",
            "name": name,
            "why": why,
            "message": "the server's words",
            "at": world().now,
            "group": part,
            "generation": at_rest().generation,
        }
        | more
    )


@pytest.mark.parametrize(
    ("why", "reason"), [(Why.QUOTA, "QuotaExceeded"), (Why.INVALID, "InvalidTemplate"), (Why.FORBIDDEN, "Forbidden")]
)
def test_what_was_refused_is_said_and_tried_again_later(why, reason):
    """Another group is not held up by it."""
    seen = replace(pods(at_rest(), without=["demo-w-1", "demo-gpu-0"]), refusals=(refusal("demo-w-1", why, "w"),))
    made = decide(seen)
    assert [one.name for one in made.creates] == ["demo-gpu-0"]
    assert made.again_at == seen.refusals[0].again_at
    assert (conditions(made)["Degraded"], conditions(made)["Ready"]) == (f"True {reason}", f"False {reason}")
    assert "the server's words" in message(made, "Degraded")
    later = decide(seen, now=seen.refusals[0].again_at)
    assert [one.name for one in later.creates] == ["demo-w-1", "demo-gpu-0"]


@pytest.mark.parametrize("why", [Why.QUOTA, Why.INVALID, Why.FORBIDDEN])
@pytest.mark.parametrize("name", ["demo-head", "demo-w-1"])
def test_a_further_try_of_what_was_refused_is_no_news(why, name):
    """It is tried for as long as it is wanted; a status that told of each try would be written twice for each, for ever."""
    part = "head" if name == "demo-head" else "w"
    seen = replace(pods(at_rest(), without=[name]), refusals=(refusal(name, why, part),))
    status = decide(seen).status.status
    seen = replace(seen, raw={**seen.raw, "status": plain(status)})
    later = decide(seen, now=seen.refusals[0].again_at)
    assert [one.name for one in later.creates] == [name]
    assert (later.status, later.events) == (None, ())


def test_a_further_try_of_a_service_that_was_refused_is_no_news():
    """The same of what is no pod."""
    seen = at_rest()
    left = tuple(one for one in seen.services if one["metadata"]["name"] != "demo-gateway")
    no = replace(refusal("demo-gateway", Why.FORBIDDEN, ""), plural="services")
    seen = replace(seen, services=left, refusals=(no,))
    status = decide(seen).status.status
    seen = replace(seen, raw={**seen.raw, "status": plain(status)})
    later = decide(seen, now=no.again_at)
    assert [one.manifest["metadata"]["name"] for one in later.applies] == ["demo-gateway"]
    assert (later.status, later.events) == (None, ())


def test_what_was_refused_once_and_is_not_wanted_any_more_is_no_trouble():
    """A quota that is too small for what was asked for before."""
    assert decide(replace(at_rest(), refusals=(refusal("demo-w-2", Why.QUOTA, "w"),))).at_rest


def test_a_heads_name_that_an_unseen_stranger_has_holds_workers_back():
    """They would look for a head that cannot come."""
    seen = replace(at_rest(), pods=(), refusals=(refusal("demo-head", Why.NAME_TAKEN, "head"),))
    made = decide(seen)
    assert made.creates == ()
    assert conditions(made)["Available"] == "False NameTaken"


def test_a_slot_that_an_unseen_stranger_has_is_passed_over():
    """Its name is taken, nothing else."""
    seen = pods(at_rest(), without=["demo-w-0"])
    made = decide(replace(seen, refusals=(refusal("demo-w-0", Why.NAME_TAKEN, "w"),)))
    assert [one.name for one in made.creates] == ["demo-w-2"]


def test_a_users_secret_that_is_missing_is_degraded():
    """What can go on without goes on."""
    made = decide(with_spec(auth={"existingSecret": "mine"}))
    assert conditions(made)["Degraded"] == "True MissingSecret"
    assert "mine" in message(made, "Degraded")
    assert not made.deletes
    assert made.again_at is not None


@pytest.mark.parametrize(
    ("wrong", "ready", "progressing"),
    [
        (Wrong.EXPIRING, "True Ready", "False Complete"),
        (Wrong.INVALID, "False InvalidSecret", "False InvalidSecret"),
    ],
)
def test_what_is_wrong_only_later_makes_no_cluster_unready(monkeypatch, wrong, ready, progressing):
    """An authority of the user's that ends in a month: somebody should look, and nothing that waits for Ready waits."""
    problem = SecretProblem(wrong, "mine", "its authority")
    monkeypatch.setattr(children, "decide", lambda *_: Decision(problems=(problem,), ready=True))
    made = decide(at_rest())
    assert conditions(made)["Degraded"] == f"True {wrong.value}"
    assert message(made, "Degraded") == "Secret mine: its authority"
    assert (conditions(made)["Ready"], conditions(made)["Progressing"]) == (ready, progressing)
    assert conditions(made)["Available"] == "True HeadReady"


def test_a_users_claim_that_is_missing_is_degraded_and_waited_for():
    """No head is made that could not start."""
    seen = replace(with_spec(head={"storage": {"existingClaim": "mine"}}), pods=())
    made = decide(seen)
    assert made.creates == ()
    assert conditions(made)["Degraded"] == "True MissingClaim"
    there = {"metadata": {"name": "mine", "uid": "m"}, "spec": {}, "status": {"phase": "Bound"}}
    assert decide(replace(seen, claims=(there,))).creates[0].name == "demo-head"


def test_a_claim_that_outlived_its_cluster_is_taken_again():
    """Retain: it has nobody in charge, and labels that say whose it was. A stranger's of that name is left alone."""
    spec = {"head": {"storage": {"deletionPolicy": "Retain"}}}
    [claim] = [plain(one) for one in at_rest().claims]
    claim["metadata"].pop("ownerReferences")
    kept = decide(replace(with_spec(**spec), claims=(claim,)))
    assert conditions(kept)["Degraded"] == "False AsExpected"
    claim["metadata"]["labels"] = {}
    taken = decide(replace(with_spec(**spec), claims=(claim,)))
    assert conditions(taken)["Degraded"] == "True NameTaken"
    assert not [one for one in taken.applies if one.resource.plural == "persistentvolumeclaims"]


def test_a_claim_grows_and_never_shrinks():
    """Not even where somebody let it grow by hand."""
    [grown] = decide(with_spec(head={"storage": {"size": "2Gi"}})).applies
    assert grown.manifest["spec"]["resources"]["requests"]["storage"] == "2Gi"
    assert grown.uid == at_rest().claims[0]["metadata"]["uid"]
    [claim] = [plain(one) for one in at_rest().claims]
    claim["spec"]["resources"]["requests"]["storage"] = "5Gi"
    for one in decide(replace(at_rest(), claims=(claim,))).applies:
        assert one.manifest["spec"]["resources"]["requests"]["storage"] == "5Gi"


def test_a_child_that_a_stranger_changed_or_deleted_is_written_again_alone():
    """Nothing else is."""
    changed = [plain(one) for one in at_rest().services]
    changed[0]["spec"]["ports"] = []
    [applied] = decide(replace(at_rest(), services=tuple(changed))).applies
    assert (applied.name, applied.uid) == (changed[0]["metadata"]["name"], changed[0]["metadata"]["uid"])
    [again] = decide(replace(at_rest(), services=at_rest().services[1:])).applies
    assert (again.name, again.uid) == (at_rest().services[0]["metadata"]["name"], "")


def test_a_strangers_service_of_our_name_is_left_alone():
    """And said."""
    changed = [plain(one) for one in at_rest().services]
    changed[0]["metadata"].pop("ownerReferences")
    changed[0]["metadata"]["labels"] = {}
    made = decide(replace(at_rest(), services=tuple(changed)))
    assert made.applies == ()
    assert (conditions(made)["Degraded"], conditions(made)["Ready"]) == ("True NameTaken", "False NameTaken")


def test_policies_that_are_switched_off_are_deleted():
    """If they are ours."""
    made = decide(with_spec(networkPolicy={"enabled": False}))
    assert sorted(one.name for one in made.deletes) == ["demo-head", "demo-workers"]
    assert {one.resource.plural for one in made.deletes} == {"networkpolicies"}
    assert all(one.live and one.uid for one in made.deletes)


def test_conditions_change_their_time_only_with_their_answer():
    """Not with their reason or their words."""
    made = decide(pods(at_rest(), without=["demo-w-0"]))
    times = {one["type"]: one["lastTransitionTime"] for one in made.status.status["conditions"]}
    before = {one["type"]: one["lastTransitionTime"] for one in at_rest().raw["status"]["conditions"]}
    changed = {kind for kind in CONDITIONS if times[kind] != before[kind]}
    assert changed <= {"Ready", "Progressing"}
    assert times["Available"] == before["Available"]
    assert NOW > 0
