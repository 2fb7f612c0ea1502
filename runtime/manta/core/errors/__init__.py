"""Every error of ours: whose doing it is, its fields, a stable `code`, a text to act on.

The names users know are Ray's, and `manta.exceptions` is where users find them. The root is `MantaError`, also named
`RayError`.

- `base`, `task`, `actor`, `data`, `system`, `kube`: the classes.
- `wire`: an error as plain fields and back, for protobuf. Nothing is unpickled.
- `failure`: what user code raised, as plain fields; made in the worker, turned into an exception by the reader of the
  result and by nobody else.
- `dual`: the class that is both `RayTaskError` and what user code raised.

`failure` and `dual` are not imported here: most processes never need them.
"""

from __future__ import annotations

from manta.core.errors import actor, base, data, kube, system, task
from manta.core.errors.actor import (
    ActorAlreadyExistsError,
    ActorCreationError,
    ActorDeath,
    ActorDiedError,
    ActorHandleNotFoundError,
    ActorPlacementGroupRemoved,
    ActorUnavailableError,
    ActorUnschedulableError,
    AsyncioActorExit,
    PendingCallsLimitExceeded,
    RayActorError,
)
from manta.core.errors.base import MantaError
from manta.core.errors.data import (
    DependencyResolutionError,
    ObjectFetchTimedOutError,
    ObjectFreedError,
    ObjectLostError,
    ObjectReconstructionFailedError,
    ObjectStoreFullError,
    OufOfBandObjectRefSerializationException,
    OutOfDiskError,
    OwnerDiedError,
    PlasmaObjectNotAvailable,
    ReferenceCountingAssertionError,
    SerializationError,
    StaleRefError,
)
from manta.core.errors.kube import (
    ClusterAbsentError,
    ClusterNotReadyError,
    ForwardedCertificateError,
    ForwardedTokenError,
    KubeconfigError,
    KubernetesAddressError,
    KubernetesError,
    KubernetesForbiddenError,
    KubernetesUnauthorizedError,
    KubernetesUnreachableError,
    MissingPackageError,
    PortForwardError,
)
from manta.core.errors.system import (
    AuthenticationError,
    CertificateError,
    ClusterNotFoundError,
    ForkedProcessError,
    LocalRayletDiedError,
    NodeDiedError,
    NotConnectedError,
    OutOfMemoryError,
    OverloadedError,
    ProtocolError,
    RayCgraphCapacityExceeded,
    RayChannelError,
    RayChannelTimeoutError,
    RayDirectTransportError,
    RaySystemError,
    RpcError,
    RpcTimeoutError,
    SettingError,
    StorageError,
    StorageLockedError,
    StorageUnwritableError,
    StreamingGeneratorReplayInconsistentError,
    UnsupportedPlatformError,
    VersionMismatchError,
)
from manta.core.errors.task import (
    CrossLanguageError,
    GetTimeoutError,
    ObjectRefStreamEndOfStreamError,
    RayTaskError,
    RuntimeEnvSetupError,
    TaskCancelledError,
    TaskPlacementGroupRemoved,
    TaskUnschedulableError,
    UnserializableException,
    UserCodeException,
    WorkerCrashedError,
    WorkerStartupError,
)

#: The names that Ray gives the two roots, and that we give them.
RayError = MantaError
TaskError = RayTaskError

#: Every class by its code.
BY_CODE: dict[str, type[MantaError]] = {}

for _module in (base, task, actor, data, system, kube):
    for _name, _kind in vars(_module).items():
        if isinstance(_kind, type) and issubclass(_kind, MantaError) and _kind.__module__ == _module.__name__:
            BY_CODE[_kind.code] = _kind
for _kind in BY_CODE.values():
    # Where users find them, so that tracebacks and pickles name that place and we stay free to move things here.
    _kind.__module__ = "manta.exceptions"
del _module, _name, _kind

__all__ = [
    "ActorAlreadyExistsError",
    "ActorCreationError",
    "ActorDeath",
    "ActorDiedError",
    "ActorHandleNotFoundError",
    "ActorPlacementGroupRemoved",
    "ActorUnavailableError",
    "ActorUnschedulableError",
    "AsyncioActorExit",
    "AuthenticationError",
    "CertificateError",
    "ClusterAbsentError",
    "ClusterNotFoundError",
    "ClusterNotReadyError",
    "CrossLanguageError",
    "DependencyResolutionError",
    "ForkedProcessError",
    "ForwardedCertificateError",
    "ForwardedTokenError",
    "GetTimeoutError",
    "KubeconfigError",
    "KubernetesAddressError",
    "KubernetesError",
    "KubernetesForbiddenError",
    "KubernetesUnauthorizedError",
    "KubernetesUnreachableError",
    "LocalRayletDiedError",
    "MantaError",
    "MissingPackageError",
    "NodeDiedError",
    "NotConnectedError",
    "ObjectFetchTimedOutError",
    "ObjectFreedError",
    "ObjectLostError",
    "ObjectReconstructionFailedError",
    "ObjectRefStreamEndOfStreamError",
    "ObjectStoreFullError",
    "OufOfBandObjectRefSerializationException",
    "OutOfDiskError",
    "OutOfMemoryError",
    "OverloadedError",
    "OwnerDiedError",
    "PendingCallsLimitExceeded",
    "PlasmaObjectNotAvailable",
    "PortForwardError",
    "ProtocolError",
    "RayActorError",
    "RayCgraphCapacityExceeded",
    "RayChannelError",
    "RayChannelTimeoutError",
    "RayDirectTransportError",
    "RayError",
    "RaySystemError",
    "RayTaskError",
    "ReferenceCountingAssertionError",
    "RpcError",
    "RpcTimeoutError",
    "RuntimeEnvSetupError",
    "SerializationError",
    "SettingError",
    "StaleRefError",
    "StorageError",
    "StorageLockedError",
    "StorageUnwritableError",
    "StreamingGeneratorReplayInconsistentError",
    "TaskCancelledError",
    "TaskError",
    "TaskPlacementGroupRemoved",
    "TaskUnschedulableError",
    "UnserializableException",
    "UnsupportedPlatformError",
    "UserCodeException",
    "VersionMismatchError",
    "WorkerCrashedError",
    "WorkerStartupError",
]
