"""What is done about a MantaJob, case by case: everything that is known in, what is said and done out."""

from __future__ import annotations

from dataclasses import replace

import pytest

from manta_operator.api.job import JobPhase, JobStatus
from manta_operator.api.parse import parse_job
from manta_operator.heads.jobs import HeadJob, HeadState
from manta_operator.job import times
from manta_operator.job.actions import Delete, Hold, Release, Stop, Submit
from manta_operator.job.plan import BACKOFF, plan
from manta_operator.job.seen import ClusterSeen, HeadSeen, Refusal, Seen
from manta_operator.job.submission import body, submission_id, uid_of
from tests.unit.operator.job.world import BEGIN as NOW
from tests.unit.operator.job.world import UID, job, raw_job

ONE, TWO = submission_id(UID, 1), submission_id(UID, 2)


def on_head(*jobs, synced=True):
    return HeadSeen(synced=synced, memory="m", jobs={one.submission_id: one for one in jobs})


def run(state, submission=ONE, **more):
    began = None if state == "PENDING" else NOW - 5
    return HeadJob(submission_id=submission, state=HeadState(state), began_at=more.pop("began_at", began), **more)


def seen(*jobs, status=None, held=True, cluster=ClusterSeen(), synced=True, refusal=None, patience_until=0.0, **spec):  # noqa: B008
    head = replace(on_head(*jobs, synced=synced), patience_until=patience_until)
    return Seen(job=job(**spec), status=status or JobStatus(), held=held, cluster=cluster, head=head, refusal=refusal)


def after(first, **changes):
    """What is seen when a plan's status was written."""
    decided = plan(first, NOW)
    assert decided.status is not None
    return replace(first, status=decided.status, **changes)


def said(decided):
    status = decided.status
    return status.phase, next(one.reason for one in status.conditions if one.type == "Complete"), status.message


def true_conditions(decided):
    return {one.type: one.reason for one in decided.status.conditions if one.status == "True"}


def running(**more):
    """A job whose first try runs, and is said to."""
    return after(seen(run("RUNNING"), **more))


def test_a_new_job_is_held_then_submitted():
    decided = plan(seen(held=False), NOW)
    assert decided.actions == (Hold(), Submit(body(job(), 1)))
    assert said(decided) == (JobPhase.PENDING, "Submitting", "it is being handed to the cluster's head")
    assert decided.status.attempts == 0
    assert decided.status.submission_id is None
    assert decided.status.handed_to == "m"


def test_what_is_submitted_names_the_object_and_the_try():
    made = job(
        runtimeEnv={"env_vars": {"A": "1"}},
        entrypointResources={"cpu": "500m", "memory": "2Gi", "gpu": 1, "custom": {"licence": 0.5}},
    )
    assert body(made, 3) == {
        "submission_id": f"mj-{UID}-3",
        "entrypoint": "python train.py",
        "runtime_env": {"env_vars": {"A": "1"}},
        "metadata": {"manta.compute/job": "train", "manta.compute/namespace": "team", "manta.compute/attempt": "3"},
        "entrypoint_num_cpus": 0.5,
        "entrypoint_num_gpus": 1,
        "entrypoint_memory": 2 << 30,
        "entrypoint_resources": {"licence": 0.5},
    }
    assert uid_of(f"mj-{UID}-3") == UID
    assert uid_of("nightly-1") == ""


def test_a_submission_that_was_never_written_down_is_found_and_not_repeated():
    """The operator was killed between the head's answer and the status."""
    decided = plan(seen(run("RUNNING")), NOW)
    assert decided.actions == ()
    assert (decided.status.attempts, decided.status.phase) == (1, JobPhase.RUNNING)
    assert decided.status.start_time == times.written(NOW - 5)


@pytest.mark.parametrize(
    ("cluster", "synced", "reason"),
    [
        (None, False, "ClusterNotFound"),
        (ClusterSeen(going=True), True, "ClusterDeleting"),
        (ClusterSeen(suspended=True), False, "ClusterSuspended"),
        (ClusterSeen(reason="ImagePullBackOff", message="no such image"), False, "ClusterNotReady"),
    ],
)
def test_without_a_cluster_that_can_take_it_it_is_pending_and_says_why(cluster, synced, reason):
    decided = plan(seen(cluster=cluster, synced=synced), NOW)
    assert decided.actions == ()
    assert said(decided)[:2] == (JobPhase.PENDING, reason)
    assert "'demo'" in decided.status.message
    assert ("no such image" in decided.status.message) == (reason == "ClusterNotReady")
    assert true_conditions(decided) == {"Reconciling": reason}


def test_a_try_that_waits_for_resources_is_pending_with_the_heads_words():
    decided = plan(seen(run("PENDING", message="Job waits for a node with 4 CPUs free."), activeDeadlineSeconds=5), NOW)
    assert said(decided) == (JobPhase.PENDING, "Starting", "Job waits for a node with 4 CPUs free.")
    assert (decided.status.attempts, decided.status.start_time, decided.again_at) == (1, None, None)


def test_a_head_that_is_just_being_dialled_is_not_worth_a_word():
    first = seen(synced=False, patience_until=NOW + 3)
    assert plan(first, NOW).status is None
    assert plan(first, NOW).again_at == NOW + 3
    assert plan(first, NOW + 3).status is not None


def test_it_is_complete_with_its_exit_code_and_the_end_of_its_log():
    first = running(held=True)
    end = run("SUCCEEDED", exit_code=0, log_tail="done\n", ended_at=NOW + 60)
    decided = plan(replace(first, head=on_head(end)), NOW + 61)
    status = decided.status
    assert (status.phase, status.exit_code, status.log_tail) == (JobPhase.SUCCEEDED, 0, "done\n")
    assert status.completion_time == times.written(NOW + 60)
    assert true_conditions(decided) == {"Complete": "Succeeded"}
    assert decided.events[0].type == "Normal"


def test_nothing_is_done_or_said_at_rest():
    """While it runs, while it waits, and after its end."""
    first = running()
    assert plan(first, NOW + 1) == plan(first, NOW + 1000)
    assert plan(first, NOW + 1).status is None
    assert plan(first, NOW + 1).actions == ()
    ended = after(replace(first, head=on_head(run("SUCCEEDED", exit_code=0))), held=False)
    assert plan(ended, NOW + 1e9) == plan(ended, NOW) == type(plan(ended, NOW))()


def failed(number=1, **more):
    return run("FAILED", submission_id(UID, number), exit_code=3, message="exit code 3", **more)


def test_a_failure_is_tried_again_after_a_pause_that_grows():
    first = running(backoffLimit=2)
    failing = replace(first, head=on_head(failed()))
    decided = plan(failing, NOW)
    assert decided.actions == ()
    assert said(decided)[:2] == (JobPhase.PENDING, "BackOff")
    assert "exit code 3" in decided.status.message
    assert (decided.status.failed, decided.status.exit_code) == (1, 3)
    assert decided.again_at == NOW + 10
    waiting = after(failing)
    assert plan(waiting, NOW + 9).actions == ()
    assert plan(waiting, NOW + 9).status is None
    assert plan(waiting, NOW + 10).actions == (Submit(body(job(), 2)),)
    assert [BACKOFF.delay_s(number, 0.0) for number in (0, 1, 5, 60)] == [10, 20, 320, 360]


def test_after_the_last_try_it_has_failed():
    first = running()
    decided = plan(replace(first, head=on_head(failed(log_tail="Traceback"))), NOW)
    assert said(decided)[0] is JobPhase.FAILED
    assert "it failed once" in decided.status.message
    assert "exit code 3" in decided.status.message
    assert decided.status.log_tail == "Traceback"
    assert true_conditions(decided) == {"Failed": "BackoffLimitExceeded", "Stalled": "BackoffLimitExceeded"}
    assert decided.events[0].type == "Warning"


def test_an_end_is_never_looked_at_again():
    """Whatever the head says afterwards, or forgets."""
    ended = after(replace(running(), head=on_head(failed())))
    for head in (on_head(run("RUNNING")), on_head(), on_head(run("SUCCEEDED"), run("RUNNING", TWO))):
        decided = plan(replace(ended, head=head), NOW + 10)
        assert (decided.status, decided.actions) == (None, (Release(),))


def test_a_deadline_counts_all_tries_together():
    first = running(activeDeadlineSeconds=60, backoffLimit=5)
    assert plan(first, NOW).again_at == NOW - 5 + 60
    decided = plan(first, NOW + 55)
    assert decided.actions == (Stop(ONE),)
    stopping = replace(first, head=on_head(run("RUNNING", stopping=True)), status=decided.status)
    assert plan(stopping, NOW + 56).actions == ()
    over = plan(replace(stopping, head=on_head(run("STOPPED"))), NOW + 57)
    assert true_conditions(over) == {"Failed": "DeadlineExceeded", "Stalled": "DeadlineExceeded"}
    waiting = after(replace(first, head=on_head(failed())))
    assert true_conditions(plan(waiting, NOW + 55))["Failed"] == "DeadlineExceeded"


def test_a_suspended_job_waits_and_is_stopped_if_it_runs():
    new = plan(seen(suspend=True), NOW)
    assert (new.actions, new.status.phase) == ((), JobPhase.SUSPENDED)
    assert true_conditions(new) == {"Suspended": "Suspended"}

    first = replace(running(), job=job(suspend=True))
    decided = plan(first, NOW)
    assert decided.actions == (Stop(ONE),)
    assert "Suspended" not in true_conditions(decided)
    suspending = replace(first, status=decided.status)
    stopped = replace(suspending, head=on_head(run("STOPPED", exit_code=-15)))
    at_rest = plan(stopped, NOW)
    assert (at_rest.actions, at_rest.status.phase) == ((), JobPhase.SUSPENDED)
    assert (at_rest.status.attempts, at_rest.status.interrupted, at_rest.status.failed) == (1, 1, 0)
    assert at_rest.status.start_time is None

    resumed = replace(stopped, status=at_rest.status, job=job())
    assert plan(resumed, NOW).actions == (Submit(body(job(), 2)),)


def test_once_it_is_being_stopped_for_a_suspension_it_begins_anew():
    """The word to stop may be on its way: a try that ends by it is no failure."""
    first = replace(running(), job=job(suspend=True))
    suspending = replace(first, status=plan(first, NOW).status, job=job())
    assert plan(suspending, NOW).actions == (Stop(ONE),)
    decided = plan(replace(suspending, head=on_head(run("STOPPED"))), NOW)
    assert decided.actions == (Submit(body(job(), 2)),)


def test_what_somebody_stopped_on_the_cluster_has_failed():
    decided = plan(replace(running(backoffLimit=3), head=on_head(run("STOPPED"))), NOW)
    assert true_conditions(decided)["Failed"] == "Stopped"


@pytest.mark.parametrize(
    ("code", "reason"), [("INVALID_RUNTIME_ENV", "InvalidRuntimeEnv"), ("INVALID_REQUEST", "InvalidJob")]
)
def test_what_the_head_will_never_take_has_failed_with_its_words(code, reason):
    refusal = Refusal(submission_id=ONE, code=code, message="pip cannot be used yet", final=True)
    decided = plan(seen(refusal=refusal, backoffLimit=5), NOW)
    assert said(decided)[0] is JobPhase.FAILED
    assert decided.status.message == "pip cannot be used yet"
    assert true_conditions(decided)["Failed"] == reason


def test_an_environment_that_cannot_be_made_is_not_tried_again():
    end = run("FAILED", error="RUNTIME_ENV_SETUP_FAILURE", message="there is no upload 'a.zip'")
    decided = plan(replace(running(backoffLimit=5), head=on_head(end)), NOW)
    assert true_conditions(decided)["Failed"] == "InvalidRuntimeEnv"
    assert "a.zip" in decided.status.message


def test_what_the_head_refuses_for_now_is_pending_with_its_words():
    refusal = Refusal(submission_id=ONE, code="OVERLOADED", message="256 jobs", final=False, again_at=NOW + 8)
    decided = plan(seen(refusal=refusal), NOW)
    assert said(decided) == (JobPhase.PENDING, "HeadRefuses", "256 jobs")
    assert decided.again_at == NOW + 8
    assert [type(one) for one in plan(seen(refusal=refusal), NOW + 8).actions] == [Submit]


def test_a_try_of_which_nobody_knows_any_more_has_failed():
    """The head's memory was lost, or the cluster was deleted: with either the driver is gone."""
    forgotten = plan(replace(running(backoffLimit=1), head=on_head()), NOW)
    assert said(forgotten)[:2] == (JobPhase.PENDING, "BackOff")
    assert "no record" in forgotten.status.message
    gone = plan(replace(running(), head=on_head(synced=False), cluster=None), NOW)
    assert gone.status.phase is JobPhase.FAILED
    assert "was deleted while it ran" in gone.status.message


def test_what_was_being_handed_to_a_head_without_a_memory_may_have_run_there():
    """Whether it did nobody knows: it counts as a try. The same memory that does not know it has never had it."""
    handed = after(seen())
    assert plan(handed, NOW).actions == (Submit(body(job(), 1)),)
    silent = replace(handed, head=on_head(synced=False))
    assert plan(silent, NOW).status.handed_to == "m"
    new = replace(handed, head=replace(on_head(), memory="another"))
    decided = plan(new, NOW)
    assert (decided.status.phase, decided.status.attempts, decided.status.failed) == (JobPhase.FAILED, 1, 1)


def test_a_head_that_is_silent_decides_nothing():
    first = replace(running(backoffLimit=1), head=on_head(synced=False))
    decided = plan(first, NOW)
    assert (decided.actions, decided.status.phase) == ((), JobPhase.RUNNING)
    assert said(decided)[1] == "HeadUnreachable"
    assert decided.status.failed == 0


def test_an_ended_job_goes_when_its_time_is_over():
    ended = after(
        replace(running(ttlSecondsAfterFinished=30), head=on_head(run("SUCCEEDED", ended_at=NOW))), held=False
    )
    assert plan(ended, NOW + 1).again_at == NOW + 30
    assert plan(ended, NOW + 30).actions == (Delete(),)


def deleted(first):
    raw = raw_job()
    raw["metadata"]["deletionTimestamp"] = times.written(NOW)
    return replace(first, job=parse_job(raw))


def test_a_deleted_job_is_stopped_before_its_object_goes():
    going = deleted(running())
    assert plan(going, NOW).actions == (Stop(ONE),)
    assert plan(replace(going, head=on_head(run("RUNNING", stopping=True))), NOW).actions == ()
    assert plan(replace(going, head=on_head(run("STOPPED"))), NOW).actions == (Release(),)
    unwritten = replace(going, head=on_head(run("FAILED"), run("PENDING", TWO)))
    assert plan(unwritten, NOW).actions == (Stop(TWO),)


@pytest.mark.parametrize("cluster", [None, ClusterSeen(going=True), ClusterSeen(suspended=True)])
def test_a_cluster_that_is_gone_never_blocks_a_deletion(cluster):
    going = replace(deleted(running()), cluster=cluster, head=on_head(synced=False))
    assert plan(going, NOW).actions == (Release(),)


def test_a_head_that_cannot_be_reached_blocks_a_deletion_for_minutes_and_not_for_ever():
    going = replace(deleted(running()), head=on_head(synced=False))
    assert plan(going, NOW).actions == ()
    assert plan(going, NOW).again_at == NOW + 300
    assert plan(going, NOW + 300).actions == (Release(),)


def test_conditions_keep_the_time_of_their_change():
    first = running()
    later = plan(replace(first, head=on_head(run("SUCCEEDED", exit_code=0))), NOW + 100)
    since = {one.type: one.last_transition_time for one in later.status.conditions}
    assert since["Complete"] == times.written(NOW + 100)
    assert since["Suspended"] == since["Failed"] == times.written(NOW)
