"""What goes wrong below user code: processes, nodes, memory, the wire, the platform, settings."""

from __future__ import annotations

from manta.core.errors.base import FLOAT, INT, OPTIONAL_TEXT, TEXT, MantaError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import ClassVar

    from manta.core.errors.base import Fields


class RaySystemError(MantaError):
    """Something below user code failed.

    Attributes:
        client_exc: What.
        traceback_str: Where, if known.
    """

    code = "SYSTEM_ERROR"
    _fields: ClassVar[Fields] = (("client_exc", TEXT), ("traceback_str", OPTIONAL_TEXT))

    def __init__(self, client_exc: object, traceback_str: str | None = None) -> None:
        self.client_exc = client_exc
        self.traceback_str = traceback_str

    def _text(self) -> str:
        text = f"System error: {self.client_exc}"
        return f"{text}\ntraceback: {self.traceback_str}" if self.traceback_str else text


class StreamingGeneratorReplayInconsistentError(RaySystemError):
    """A generator task that was run again gave another number of values than the first time."""

    code = "STREAMING_GENERATOR_REPLAY_INCONSISTENT"


class NotConnectedError(RaySystemError):
    """The call needs a cluster, and this process is connected to none: before `init()` or after `shutdown()`."""

    code = "NOT_CONNECTED"

    def __init__(self, client_exc: object = None, traceback_str: str | None = None) -> None:
        text = client_exc or "Manta has not been started yet. You can start it with `init()`."
        super().__init__(text, traceback_str)


class ForkedProcessError(NotConnectedError, RuntimeError):
    """This process was forked from one that is connected, and may not use its connections."""

    code = "FORKED_PROCESS"

    def __init__(self, client_exc: object = None, traceback_str: str | None = None) -> None:
        text = client_exc or (
            "This process was forked from a driver or worker and can't use its parent's connections. "
            "Call init() here, or start the process with multiprocessing's 'spawn' method."
        )
        super().__init__(text, traceback_str)


class LocalRayletDiedError(MantaError):
    """The raylet of the task's node died."""

    code = "LOCAL_RAYLET_DIED"

    def _text(self) -> str:
        return "The task's local raylet died. Its log, logs/raylet-*.log in the folder of the session, may say why."


class NodeDiedError(MantaError):
    """The node is dead or can't be reached."""

    code = "NODE_DIED"
    _fields: ClassVar[Fields] = (("message", TEXT),)

    def __init__(self, message: str) -> None:
        self.message = message

    def _text(self) -> str:
        return self.message


class OutOfMemoryError(MantaError):
    """The node ran out of memory and the process was chosen to make room.

    Attributes:
        message: What was used by whom, and what to do.
    """

    code = "OUT_OF_MEMORY"
    _fields: ClassVar[Fields] = (("message", TEXT),)

    def __init__(self, message: str) -> None:
        self.message = message

    def _text(self) -> str:
        return self.message


class RpcError(MantaError):
    """A remote call failed below its meaning.

    Attributes:
        message: What happened.
        rpc_code: gRPC's number of the status, if there is one.
    """

    code = "RPC_ERROR"
    _fields: ClassVar[Fields] = (("message", TEXT), ("rpc_code", INT))

    def __init__(self, message: str, rpc_code: int | None = None) -> None:
        self.message = message
        self.rpc_code = rpc_code

    def _text(self) -> str:
        return self.message


class RpcTimeoutError(RpcError, TimeoutError):
    """A remote call had no answer by its deadline. It may have been executed."""

    code = "RPC_TIMEOUT"


class OverloadedError(RpcError):
    """The receiver has all the work it may hold and did not accept this.

    Attributes:
        retry_after_s: Seconds after which another try is welcome.
    """

    code = "OVERLOADED"
    _fields: ClassVar[Fields] = (*RpcError._fields, ("retry_after_s", FLOAT))

    def __init__(self, message: str, rpc_code: int | None = None, retry_after_s: float = 1.0) -> None:
        super().__init__(message, rpc_code)
        self.retry_after_s = retry_after_s


class ProtocolError(MantaError):
    """What came over a connection is not what the protocol allows there. The connection is closed."""

    code = "PROTOCOL_ERROR"


class VersionMismatchError(MantaError, RuntimeError):
    """The cluster runs other versions of Manta or Python than this process, and they don't understand each other."""

    code = "VERSION_MISMATCH"


class AuthenticationError(MantaError):
    """The token is missing or is not the cluster's.

    Attributes:
        message: What was wrong.
    """

    code = "AUTHENTICATION_FAILED"
    _fields: ClassVar[Fields] = (("message", TEXT),)

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message
        self.__suppress_context__ = True  # the handshake below it explains nothing

    def _text(self) -> str:
        return (
            f"{self.message.rstrip('.')}. Ensure that the token of the cluster is there: in MANTA_AUTH_TOKEN, or in the "
            "file that MANTA_AUTH_TOKEN_PATH names."
        )


class CertificateError(AuthenticationError):
    """Certificates are missing, or this process and another one do not trust each other's.

    Attributes:
        message: What was wrong.
    """

    code = "CERTIFICATE_REFUSED"

    def _text(self) -> str:
        return self.message


class ClusterNotFoundError(MantaError, ConnectionError):
    """There is no cluster at the address, or none to be found."""

    code = "CLUSTER_NOT_FOUND"
    _default = (
        "Could not find any running Ray instance. Please specify the one to connect to by `init(address=...)` or the "
        "MANTA_ADDRESS environment variable, or call `init()` with no address to start one here."
    )

    def _text(self) -> str:
        if len(self.args) != 2:
            return super()._text()
        address, why = self.args
        return f"Could not connect to a cluster at {address!r:.200}: {why}"


#: How people call systems.
_SYSTEMS = {"darwin": "macOS", "win32": "Windows"}


class UnsupportedPlatformError(MantaError, RuntimeError):
    """The embedded cluster does not run on this system.

    Attributes:
        platform: The system, as `sys.platform` names it.
    """

    code = "UNSUPPORTED_PLATFORM"
    _fields: ClassVar[Fields] = (("platform", TEXT),)

    def __init__(self, platform: str) -> None:
        self.platform = platform

    def _text(self) -> str:
        return (
            f"The embedded cluster needs Linux; this is {_SYSTEMS.get(self.platform, self.platform)}. To reach one from "
            "here, run the program where Linux is: in a container, a virtual machine, WSL 2, or on a Linux machine by ssh. "
            "Drivers that join from elsewhere with init(address=...) come with a later version."
        )


class SettingError(MantaError, ValueError):
    """A setting holds something else than it may.

    Attributes:
        name: The setting, with the prefix under which it was found.
        value: What it holds.
        expected: What it may hold.
    """

    code = "BAD_SETTING"
    _fields: ClassVar[Fields] = (("name", TEXT), ("value", TEXT), ("expected", TEXT))

    def __init__(self, name: str, value: str, expected: str) -> None:
        self.name = name
        self.value = value
        self.expected = expected

    def _text(self) -> str:
        shown = self.value if len(self.value) <= 100 else self.value[:97] + "..."
        return f"{self.name}={shown!r}: expected {self.expected}"


class StorageError(RaySystemError):
    """Control can't write down what it must remember: a full, failing or read-only disk."""

    code = "STORAGE_FAILED"


class StorageUnwritableError(StorageError):
    """Control's disk is full or read-only: what is new is refused until there is room, what is there goes on.

    Attributes:
        path: The store's file.
        reason: What is wrong with its disk.
        free_bytes: What is free there for control.
    """

    code = "STORAGE_UNWRITABLE"
    _fields: ClassVar[Fields] = (("path", TEXT), ("reason", TEXT), ("free_bytes", INT))

    def __init__(self, path: str, reason: str, free_bytes: int) -> None:
        self.path = path
        self.reason = reason
        self.free_bytes = free_bytes

    def _text(self) -> str:
        return (
            f"control cannot write to its store {self.path}: {self.reason} ({self.free_bytes or 0} bytes are free). "
            "Nothing new was begun; what runs goes on. Make that disk writable, or room on it: control notices by itself"
        )


class StorageLockedError(StorageError):
    """Another control uses the storage. One at a time may."""

    code = "STORAGE_LOCKED"


class RayChannelError(RaySystemError):
    """A channel of a compiled graph failed."""

    code = "CHANNEL_ERROR"


class RayChannelTimeoutError(RayChannelError, TimeoutError):
    """A channel of a compiled graph had nothing in time."""

    code = "CHANNEL_TIMEOUT"


class RayCgraphCapacityExceeded(RaySystemError):
    """A compiled graph has all the executions in flight that it may have."""

    code = "CGRAPH_CAPACITY_EXCEEDED"


class RayDirectTransportError(RaySystemError):
    """A direct transfer of tensors failed."""

    code = "DIRECT_TRANSPORT_ERROR"
