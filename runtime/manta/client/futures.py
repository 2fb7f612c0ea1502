"""`ref.future()`: a concurrent future that a background thread completes."""

from __future__ import annotations

from concurrent.futures import Future

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from manta.client.refs import ObjectRef
    from manta.client.user import UserSession
    from manta.client.values import Value


class ObjectFuture(Future):  # type: ignore[type-arg]
    """The future of one object's value. Cancelling it leaves the task alone."""

    def __init__(self, ref: ObjectRef[Any]) -> None:
        super().__init__()
        #: Keeps the object alive.
        self.object_ref = ref

    def complete(self, session: UserSession, oid: bytes, value: Value) -> None:
        """The object is there. Runs outside of the pump: reading is user code, and so are callbacks."""
        if not self.set_running_or_notify_cancel():
            return
        try:
            result = session.read(oid, value)
        except BaseException as error:  # noqa: BLE001 - it is the future's result
            self.set_exception(error)
        else:
            self.set_result(result)

    def running(self) -> bool:
        """Always False: nothing tells a driver when a task begins."""
        return False
