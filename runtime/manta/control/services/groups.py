"""RPCs about placement groups."""

# The methods are named as the RPCs, and what each promises is stated once: in control.proto.
# ruff: noqa: D102, N802

from __future__ import annotations

import asyncio
from typing import Final

from manta.control import convert, events
from manta.control.errors import InvalidRequestError
from manta.control.groups.convert import group, to_group
from manta.control.groups.model import GroupId, GroupState
from manta.control.runner import Runner
from manta.control.services.requests import request_id
from manta.rpc.v1 import control_pb2 as pb

#: Longest wait for a group, seconds; who wants to wait longer asks again.
MOST_WAIT_S: Final = 30.0
#: Groups that one wait may ask for beside its own.
MOST_ALSO: Final = 256
#: What is waited for.
_SETTLED: Final = frozenset({GroupState.CREATED, GroupState.REMOVED})


class GroupRpcs:
    """CreatePlacementGroup to ListPlacementGroups."""

    def __init__(self, runner: Runner) -> None:
        self._runner, self._state = runner, runner.state
        #: Who waits for a group, by its id.
        self._waits: dict[bytes, set[asyncio.Event]] = {}
        runner.on_group = self._changed

    def CreatePlacementGroup(
        self, request: pb.CreatePlacementGroupRequest, cause: str
    ) -> pb.CreatePlacementGroupResponse:
        event = events.CreateGroup(cause=cause, request_id=request_id(request.request_id), group=group(request.group))
        group_id = GroupId(self._runner.decide(event))
        return pb.CreatePlacementGroupResponse(group=to_group(self._state.groups.get(group_id)))

    def RemovePlacementGroup(
        self, request: pb.RemovePlacementGroupRequest, cause: str
    ) -> pb.RemovePlacementGroupResponse:
        group_id = GroupId(convert.identifier(request.group_id, 18, "group_id"))
        self._runner.decide(
            events.RemoveGroup(cause=cause, request_id=request_id(request.request_id), group_id=group_id)
        )
        return pb.RemovePlacementGroupResponse()

    def GetPlacementGroup(self, request: pb.GetPlacementGroupRequest, cause: str) -> pb.GetPlacementGroupResponse:
        groups = self._state.groups
        if request.name:
            found = groups.named(request.name, request.namespace)
        else:
            found = groups.get(GroupId(convert.identifier(request.group_id, 18, "group_id")))
        return pb.GetPlacementGroupResponse(group=to_group(found))

    async def WaitPlacementGroup(
        self, request: pb.WaitPlacementGroupRequest, cause: str
    ) -> pb.WaitPlacementGroupResponse:
        groups = self._state.groups
        group_id = GroupId(convert.identifier(request.group_id, 18, "group_id"))
        if len(request.also) > MOST_ALSO:
            raise InvalidRequestError(f"also has {len(request.also)} groups; {MOST_ALSO} are the most")
        changed = asyncio.Event()
        waits = self._waits.setdefault(group_id, set())
        waits.add(changed)
        try:
            async with asyncio.timeout(min(MOST_WAIT_S, request.timeout_ms / 1000)):
                while groups.get(group_id).state not in _SETTLED:
                    changed.clear()
                    await changed.wait()
        except TimeoutError:
            pass
        finally:
            waits.discard(changed)
            if not waits:
                self._waits.pop(group_id, None)
        return pb.WaitPlacementGroupResponse(
            group=to_group(groups.get(group_id)), created=filter(self._is_created, request.also)
        )

    def _is_created(self, group_id: bytes) -> bool:
        row = self._state.groups.rows.get(GroupId(group_id))
        return row is not None and row.state is GroupState.CREATED

    def _changed(self, group_id: bytes) -> None:
        for changed in self._waits.get(group_id, ()):
            changed.set()

    def ListPlacementGroups(self, request: pb.ListPlacementGroupsRequest, cause: str) -> pb.ListPlacementGroupsResponse:
        return pb.ListPlacementGroupsResponse(groups=map(to_group, self._state.groups.rows.values()))
