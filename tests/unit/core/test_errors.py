"""The classes: names, bases, codes and texts that programs match."""

import pickle

import pytest

import manta.exceptions as exceptions
from manta.core.errors import BY_CODE, actor, data
from manta.core.ids import TaskID

#: `ray.exceptions` of 2.60: every class and its bases.
RAY = {
    "ActorAlreadyExistsError": "ValueError RayError",
    "ActorDiedError": "RayActorError",
    "ActorHandleNotFoundError": "ValueError RayError",
    "ActorPlacementGroupRemoved": "RayError",
    "ActorUnavailableError": "RayActorError",
    "ActorUnschedulableError": "RayError",
    "AsyncioActorExit": "RayError",
    "AuthenticationError": "RayError",
    "CrossLanguageError": "RayError",
    "GetTimeoutError": "RayError TimeoutError",
    "LocalRayletDiedError": "RayError",
    "NodeDiedError": "RayError",
    "ObjectFetchTimedOutError": "ObjectLostError",
    "ObjectFreedError": "ObjectLostError",
    "ObjectLostError": "RayError",
    "ObjectReconstructionFailedError": "ObjectLostError",
    "ObjectRefStreamEndOfStreamError": "RayError",
    "ObjectStoreFullError": "RayError",
    "OufOfBandObjectRefSerializationException": "RayError",
    "OutOfDiskError": "RayError",
    "OutOfMemoryError": "RayError",
    "OwnerDiedError": "ObjectLostError",
    "PendingCallsLimitExceeded": "RayError",
    "PlasmaObjectNotAvailable": "RayError",
    "RayActorError": "RayError",
    "RayCgraphCapacityExceeded": "RaySystemError",
    "RayChannelError": "RaySystemError",
    "RayChannelTimeoutError": "RayChannelError TimeoutError",
    "RayDirectTransportError": "RaySystemError",
    "RayError": "Exception",
    "RaySystemError": "RayError",
    "RayTaskError": "RayError",
    "ReferenceCountingAssertionError": "ObjectLostError AssertionError",
    "RpcError": "RayError",
    "RuntimeEnvSetupError": "RayError",
    "StreamingGeneratorReplayInconsistentError": "RaySystemError",
    "TaskCancelledError": "RayError",
    "TaskPlacementGroupRemoved": "RayError",
    "TaskUnschedulableError": "RayError",
    "UnserializableException": "RayError",
    "UserCodeException": "RayError",
    "WorkerCrashedError": "RayError",
}

#: Every class of ours with arguments of its constructor.
MADE = [
    exceptions.ActorAlreadyExistsError("The name x is taken"),
    exceptions.ActorCreationError("ab", "no worker"),
    exceptions.ActorDiedError(),
    exceptions.ActorHandleNotFoundError("of an earlier session"),
    exceptions.ActorPlacementGroupRemoved(),
    exceptions.ActorUnavailableError("it restarts", b"\1" * 16),
    exceptions.ActorUnschedulableError("no node has 3 GPUs"),
    exceptions.AsyncioActorExit(),
    exceptions.AuthenticationError("no token"),
    exceptions.CertificateError("another cluster's"),
    exceptions.ClusterAbsentError("there are a, b", "k8s://n/c"),
    exceptions.ClusterNotFoundError(),
    exceptions.ClusterNotReadyError("it is suspended", "k8s://n/c"),
    exceptions.CrossLanguageError("java"),
    exceptions.DependencyResolutionError("no node has it"),
    exceptions.ForkedProcessError(),
    exceptions.ForwardedCertificateError("another's", "k8s://n/c"),
    exceptions.ForwardedTokenError("it was changed", "k8s://n/c"),
    exceptions.GetTimeoutError(),
    exceptions.KubeconfigError("no context", "k8s://n/c"),
    exceptions.KubernetesAddressError("no name", "k8s://"),
    exceptions.KubernetesError("no", "k8s://n/c"),
    exceptions.KubernetesForbiddenError("secrets", "k8s://n/c"),
    exceptions.KubernetesUnauthorizedError("expired", "k8s://n/c"),
    exceptions.KubernetesUnreachableError("nobody there", "k8s://n/c"),
    exceptions.LocalRayletDiedError(),
    exceptions.MantaError("text"),
    exceptions.MissingPackageError("pip install x"),
    exceptions.NodeDiedError("node ab is gone"),
    exceptions.NotConnectedError(),
    exceptions.ObjectFetchTimedOutError("ab" * 28),
    exceptions.ObjectFreedError("ab" * 28),
    exceptions.ObjectLostError("ab" * 28, b"\0\xffaddress", "here.py:3"),
    exceptions.ObjectReconstructionFailedError("ab" * 28, "OBJECT_UNRECONSTRUCTABLE_PUT"),
    exceptions.ObjectRefStreamEndOfStreamError(),
    exceptions.ObjectStoreFullError("needs 3 GB"),
    exceptions.OufOfBandObjectRefSerializationException("no"),
    exceptions.OutOfDiskError("needs 3 GB"),
    exceptions.OutOfMemoryError("f() used 3 GB"),
    exceptions.OverloadedError("too many", 8, 2.5),
    exceptions.OwnerDiedError("ab" * 28),
    exceptions.PendingCallsLimitExceeded("3 calls"),
    exceptions.PlasmaObjectNotAvailable(),
    exceptions.PortForwardError("connection refused", "k8s://n/c"),
    exceptions.ProtocolError("frame of 3 TB"),
    exceptions.RayActorError("ab"),
    exceptions.RayCgraphCapacityExceeded("10"),
    exceptions.RayChannelError("x"),
    exceptions.RayChannelTimeoutError("x"),
    exceptions.RayDirectTransportError("x"),
    exceptions.RaySystemError("x", "y"),
    exceptions.RayTaskError("f", "Traceback (most recent call last):\nValueError: 3", ValueError(3), pid=4, ip="i"),
    exceptions.ReferenceCountingAssertionError("ab" * 28),
    exceptions.RpcError("socket closed", 14),
    exceptions.RpcTimeoutError("5 s passed", 4),
    exceptions.RuntimeEnvSetupError("pip failed"),
    exceptions.SerializationError("the value given to put()", "cannot pickle", ["['a']", ".lock"], "a _thread.lock"),
    exceptions.SettingError("RAY_X", "abc", "a number"),
    exceptions.StaleRefError("ab" * 28),
    exceptions.StorageError("disk full"),
    exceptions.StorageLockedError("pid 3 has it"),
    exceptions.StorageUnwritableError("/var/lib/store", "its disk is full", 4096),
    exceptions.StreamingGeneratorReplayInconsistentError("3 then 4"),
    exceptions.TaskCancelledError(TaskID(b"\1" * 24), "by the user"),
    exceptions.TaskPlacementGroupRemoved(),
    exceptions.TaskUnschedulableError("no node has 3 GPUs"),
    exceptions.UnserializableException("trace", "why"),
    exceptions.UnsupportedPlatformError("darwin"),
    exceptions.UserCodeException("x"),
    exceptions.VersionMismatchError("0.1 and 0.2"),
    exceptions.WorkerCrashedError("killed by signal 9"),
    exceptions.WorkerStartupError("fork failed"),
]


def by_name(name):
    return getattr(exceptions, name, None) or getattr(__builtins__, name, None) or __builtins__[name]


@pytest.mark.parametrize("name", RAY)
def test_rays_classes_are_there_with_their_bases(name):
    kind = getattr(exceptions, name)

    assert all(issubclass(kind, by_name(base)) for base in RAY[name].split())
    assert kind.__module__ == "manta.exceptions"


def test_the_roots_have_two_names():
    assert exceptions.RayError is exceptions.MantaError
    assert exceptions.TaskError is exceptions.RayTaskError


def test_codes_name_one_class_each_and_every_class_is_made_below():
    assert {type(error) for error in MADE} == set(BY_CODE.values())
    assert all(code == kind.code and code == code.upper() for code, kind in BY_CODE.items())
    public = {getattr(exceptions, name) for name in exceptions.__dict__ if name[0] != "_" and name != "ActorDeath"}
    assert public == set(BY_CODE.values())


def test_codes_are_the_state_apis_where_it_has_names():
    state_api = """WORKER_DIED ACTOR_DIED ACTOR_UNAVAILABLE TASK_EXECUTION_EXCEPTION TASK_CANCELLED ACTOR_CREATION_FAILED
    RUNTIME_ENV_SETUP_FAILED WORKER_STARTUP_FAILED OBJECT_LOST OBJECT_FREED OBJECT_DELETED OWNER_DIED OBJECT_FETCH_TIMED_OUT
    DEPENDENCY_RESOLUTION_FAILED LOCAL_RAYLET_DIED NODE_DIED OUT_OF_MEMORY OUT_OF_DISK_ERROR TASK_PLACEMENT_GROUP_REMOVED
    ACTOR_PLACEMENT_GROUP_REMOVED TASK_UNSCHEDULABLE_ERROR ACTOR_UNSCHEDULABLE_ERROR
    STREAMING_GENERATOR_REPLAY_INCONSISTENT"""

    assert set(state_api.split()) <= set(BY_CODE)
    assert set(data.RECONSTRUCTION_REASONS) == {
        "MAX_ATTEMPTS_EXCEEDED",
        "LINEAGE_EVICTED",
        "PUT",
        "RETRIES_DISABLED",
        "BORROWED",
        "REF_NOT_FOUND",
        "TASK_CANCELLED",
        "LINEAGE_DISABLED",
    }


@pytest.mark.parametrize("error", MADE, ids=lambda error: type(error).__name__)
def test_every_error_says_something_and_survives_pickling(error):
    error = error.with_facts(node_id="abcd", attempt=2, pid=None)
    again = pickle.loads(pickle.dumps(error))

    assert type(again) is type(error)
    assert str(again) == str(error)
    assert again.args == error.args or isinstance(error, exceptions.RayTaskError)
    assert str(error).endswith("\n\tnode_id: abcd\n\tattempt: 2")
    assert not str(error).startswith("\n")


def test_facts_belong_to_one_error():
    exceptions.NodeDiedError("a").with_facts(node_id="x")

    assert str(exceptions.NodeDiedError("a")) == "a"


def test_a_users_subclass_with_its_own_constructor_survives_pickling():
    again = pickle.loads(pickle.dumps(OfAUser(3, b=4)))

    assert (type(again), again.a, again.b, str(again)) == (OfAUser, 3, 4, "a is 3")


class OfAUser(exceptions.RayError):
    def __init__(self, a, *, b):
        super().__init__(f"a is {a}")
        self.a, self.b = a, b


TEXTS = [
    (exceptions.GetTimeoutError(), "Get timed out: some object(s) not ready."),
    (exceptions.GetTimeoutError("x"), "x"),
    (
        exceptions.TaskCancelledError(TaskID(b"\1" * 24)),
        "Task: TaskID(010101010101010101010101010101010101010101010101) was cancelled.",
    ),
    (exceptions.TaskCancelledError(), "The task was cancelled."),
    (exceptions.WorkerCrashedError(), "The worker died unexpectedly while executing this task."),
    (
        exceptions.WorkerCrashedError("exit code 7"),
        "The worker died unexpectedly while executing this task. exit code 7.",
    ),
    (
        exceptions.ActorUnavailableError("it restarts", b"\x0a" * 16),
        f"The actor {'0a' * 16} is unavailable: it restarts. The task may or may not have been executed on the actor.",
    ),
    (exceptions.ActorDiedError(), "The actor died unexpectedly before finishing this task."),
    (exceptions.RaySystemError("no"), "System error: no"),
    (exceptions.RuntimeEnvSetupError("no"), "Failed to set up runtime environment.\nno"),
    (exceptions.TaskUnschedulableError("no"), "The task is not schedulable: no"),
    (exceptions.ActorUnschedulableError("no"), "The actor is not schedulable: no"),
    (
        exceptions.SerializationError("x", "no", ["[0]", ".lock"], "a lock"),
        (
            "Could not serialize x: no\nThe culprit is at [0] -> .lock: a lock\n"
            "Leave it out, make it where it is needed, or tell pickle how to write it (__reduce__ or __getstate__)."
        ),
    ),
    (exceptions.SettingError("RAY_X", "abc", "a number"), "RAY_X='abc': expected a number"),
]


@pytest.mark.parametrize(("error", "text"), TEXTS, ids=lambda value: type(value).__name__)
def test_texts(error, text):
    assert str(error) == text


def test_a_dead_actor_is_described_line_by_line_without_what_is_unknown():
    death = actor.ActorDeath(
        "ab", "Counter", actor.OUT_OF_SCOPE, pid=3, name="c", ray_namespace="n", node_ip_address="i"
    )
    error = exceptions.ActorDiedError(death)

    assert str(error).split("\n") == [
        "The actor died unexpectedly before finishing this task.",
        "\tclass_name: Counter",
        "\tactor_id: ab",
        "\tpid: 3",
        "\tname: c",
        "\tnamespace: n",
        "\tip: i",
        "The actor is dead because all references to the actor were removed.",
    ]
    assert (error.actor_id, error.actor_init_failed, error.preempted) == ("ab", False, False)
    never = exceptions.ActorDiedError(actor.ActorDeath("ab", "C", actor.KILLED, never_started=True, preempted=True))
    assert str(never).split("\n")[3:] == [
        "The actor is dead because it was killed by `ray.kill`.",
        "The actor never ran - it was cancelled before it started running.",
    ]
    assert never.preempted


def test_an_actor_whose_constructor_failed_shows_its_traceback():
    cause = exceptions.RayTaskError(
        "A.__init__",
        'Traceback (most recent call last):\n  File "x.py", line 1\nValueError: init',
        ValueError("init"),
        pid=3,
        ip="i",
        actor_repr="A()",
        actor_id="ab",
    )
    error = exceptions.ActorDiedError.from_task_error(cause)

    assert error.actor_init_failed
    assert error.actor_id == "ab"
    assert str(error) == (
        "The actor died because of an error raised in its creation task, "
        "\x1b[36mray::A.__init__()\x1b[39m (pid=3, ip=i, actor_id=ab, repr=A())\n"
        '  File "x.py", line 1\nValueError: init'
    )


def test_errors_of_misuse_are_also_the_builtin_that_says_so():
    assert issubclass(exceptions.StaleRefError, ValueError)
    assert issubclass(exceptions.SettingError, ValueError)
    assert issubclass(exceptions.SerializationError, TypeError)
    assert issubclass(exceptions.ClusterNotFoundError, ConnectionError)
    assert issubclass(exceptions.NotConnectedError, exceptions.RaySystemError)
    assert issubclass(exceptions.UnsupportedPlatformError, RuntimeError)
