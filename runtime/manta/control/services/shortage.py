"""What is taken on while the store has no room: what is refused, and what may be answered although nothing can be written."""

from __future__ import annotations

from typing import Any

from manta.control.state import ControlState
from manta.control.storage import Shortage
from manta.rpc.v1 import control_pb2 as pb

#: What begins something new, and is refused while the last of the room is kept for what ends or changes things.
BEGINS = frozenset({"CreateActor", "CreatePlacementGroup", "KvPut", "PutFunction", "RegisterJob"})
#: What may lead to writes: requests that are remembered by their id, and reports.
WRITES = frozenset(
    method.name
    for method in pb.DESCRIPTOR.services_by_name["ControlService"].methods
    if "request_id" in method.input_type.fields_by_name
) | {"ReportActor"}
#: Whose answers wait until everything is on disk, however long that takes: others act on them for good.
HELD = WRITES | {"WaitPlacementGroup"}


def check(shortage: Shortage, name: str, request: Any, state: ControlState) -> None:
    """Refuse a request that cannot be taken on now. Nothing was decided.

    Raises:
        StorageUnwritableError: It has to wait for room.
    """
    if name not in WRITES or (name not in BEGINS and not shortage.stuck):
        return
    if name == "RegisterNode":
        # Its line broke, or it has begun. It says so again to a control that has not read it; what would be begun on it waits.
        return
    if name == "CreateActor" and request.HasField("known"):
        # It runs, and its owner repeats it to a control that is new.
        return
    if name != "ReportActor" and state.requests.answer(request.request_id) is not None:
        # It was decided before room ran out, and is answered when that is on disk.
        return
    raise shortage.error


def insists(name: str, shortage: Shortage | None) -> bool:
    """Whether the answer must wait until everything is on disk, however long that takes.

    Args:
        name: Of the RPC.
        shortage: As it was before the request was decided.
    """
    return name in HELD and not (name == "RegisterNode" and shortage is not None and shortage.stuck)
