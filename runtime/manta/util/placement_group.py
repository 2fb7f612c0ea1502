"""Placement groups: bundles of resources held on nodes together, for tasks and actors that belong together.

The module can be called: `manta.util.placement_group([...])` is `manta.util.placement_group.placement_group([...])`.
"""

from __future__ import annotations

import logging
import os
import sys
from types import ModuleType
from weakref import WeakValueDictionary

from manta.client import current
from manta.client.waiter import Waiter
from manta.core.bundles import BUNDLE, BUNDLE_SHARE, MOST_BUNDLES, group_of, in_group
from manta.core.ids import PlacementGroupID
from manta.core.resources import CPU, GPU, MEMORY, UNIT, to_fixed, to_floats

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from manta.client.refs import ObjectRef
    from manta.client.session import Session
    from manta.core.errors import MantaError
    from manta.core.resources import ResourceSet
    from manta.rpc.v1 import channel_pb2 as pb
    from manta.rpc.v1 import control_pb2 as ctl

__all__ = [
    "PlacementGroup",
    "get_current_placement_group",
    "get_placement_group",
    "placement_group",
    "placement_group_table",
    "remove_placement_group",
]

log = logging.getLogger("manta")

#: One wait of control's for a group, the first and later ones, seconds; shorter than a call's time.
_FIRST_WAIT_S, _WAIT_S = 1.0, 20.0
#: One answer tells of so many other groups as well, and a wait for one of them believes it for so long: less than an answer of
#: its own may take on its way.
_ALSO, _FRESH_S = 256, 0.02
#: How long control may take to take a group, seconds.
_MADE_S = 70.0
#: Pause before control is asked again that could not take one more wait, seconds.
_AGAIN_S = 0.05
_STRATEGIES = ("PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD")


class PlacementGroup:
    """A handle of a placement group; it does not keep the group alive. May be passed anywhere.

    Args:
        id: Its id.
        bundle_cache: Its bundles, if they are known.
    """

    @staticmethod
    def empty() -> PlacementGroup:
        """No group."""
        return PlacementGroup(PlacementGroupID.nil())

    def __init__(
        self,
        id: PlacementGroupID,  # noqa: A002 - Ray's name
        bundle_cache: list[dict[str, float]] | None = None,
    ) -> None:
        self.id = id
        self.bundle_cache = bundle_cache
        #: Whether control has taken it; None for a handle of a group that it has.
        self._making: _Making | None = None
        #: It ends with this process, and nobody else knows it by a name.
        self._ours = False
        #: When control said last, beside something else, that it is created; 0 for never.
        self._told = 0.0

    @property
    def is_empty(self) -> bool:
        """Whether this is no group."""
        return self.id.is_nil()

    @property
    def bundle_specs(self) -> list[dict[str, float]]:
        """What each bundle holds."""
        if self.bundle_cache is None:
            self.bundle_cache = [to_floats(dict(bundle.amounts)) for bundle in _info(self.id).bundles]
        return self.bundle_cache

    @property
    def bundle_count(self) -> int:
        """How many bundles it has."""
        return len(self.bundle_specs)

    def ready(self) -> ObjectRef[PlacementGroup]:
        """A ref that is there once every bundle is held; its value is this group."""
        import manta

        self._made()
        share = {f"{BUNDLE}_group_{self.id.hex()}": BUNDLE_SHARE / UNIT}
        task = manta.remote(_itself).options(num_cpus=0, name="bundle_reservation_check_func", resources=share)
        return task.remote(self)

    def wait(self, timeout_seconds: float = 30) -> bool:
        """Whether every bundle is held within that time; False also for a group that was removed.

        Raises:
            ValueError: There was no such group, or it was removed long ago.
        """
        from manta.core.errors import OverloadedError
        from manta.rpc.v1 import control_pb2 as ctl

        session = current.require()
        deadline = session.now() + timeout_seconds
        if self._making is not None and self._making.session is not session:
            self._made()
        if self._making is not None and session.now() - self._told < _FRESH_S:
            self._settled()
            return True
        # Soon once, to say what keeps it waiting; then patiently.
        longest, said = _FIRST_WAIT_S, ""
        while True:
            left_s = min(longest, max(0.0, deadline - session.now()))
            others = self._others(session)
            request = ctl.WaitPlacementGroupRequest(
                group_id=self.id.binary(), timeout_ms=int(1000 * left_s), also=others
            )
            try:
                answer = _call("WaitPlacementGroup", request, ctl.WaitPlacementGroupResponse)
            except ValueError:
                if self._making is None:
                    raise
                # Control was restarted, and took the two in another order; or it did not want the group, and this says why.
                self._made()
            except OverloadedError:
                # Many wait on this node; it is a moment until one is done.
                session.wait_for(Waiter(), f"placement group {self.id.hex()}", min(deadline, session.now() + _AGAIN_S))
            else:
                self._settled()
                now = session.now()
                for group_id in answer.created:
                    others[group_id]._told = now
                if answer.group.state == ctl.PLACEMENT_GROUP_STATE_CREATED:
                    return True
                if answer.group.state == ctl.PLACEMENT_GROUP_STATE_REMOVED:
                    return False
                longest, reason = _WAIT_S, answer.group.waiting_reason
                if reason.startswith("infeasible") and reason != said:
                    said = reason
                    log.warning("Placement group %s waits: %s", self.id.hex(), reason)
            if session.now() >= deadline:
                return False

    def check(self, wanted: ResourceSet, placement: ResourceSet, index: int, what: str) -> None:
        """Whether that can ever run in one of the bundles.

        Raises:
            ValueError: It cannot, or there is no such bundle.
        """
        self._made()
        specs = self.bundle_specs
        if not -1 <= index < len(specs):
            raise ValueError(
                f"placement group bundle index {index} is invalid. Valid placement group indexes: 0-{len(specs) - 1}"
            )
        bundles = specs if index < 0 else specs[index : index + 1]
        for needs, why in (
            (wanted, f"the resource request {to_floats(dict(wanted.amounts()))} cannot fit into any bundles for"),
            (
                placement,
                f"the actor requires {placement.get(CPU) / UNIT:g} CPU for creation, but it cannot fit into any bundles for",
            ),
        ):
            if not any(
                all(bundle.get(name, 0) * UNIT >= amount for name, amount in needs.amounts().items())
                for bundle in bundles
            ):
                more = "" if needs is wanted else " Consider creating a placement group with CPU resources."
                raise ValueError(
                    f"Cannot schedule {what} with the placement group because {why} the placement group, {specs}.{more}"
                )

    def amounts(self, wanted: ResourceSet, index: int) -> dict[str, int]:
        """What something that needs `wanted` asks for in this group."""
        return in_group(wanted.amounts(), self.id.binary(), index)

    def _settled(self) -> None:
        """Control has answered for it."""
        self._making = None
        _made_here.pop(self.id.binary(), None)

    def _others(self, session: Session) -> dict[bytes, PlacementGroup]:
        """Groups that were made by the same session and that nobody has waited for yet, the first made first."""
        found: dict[bytes, PlacementGroup] = {}
        # Of a list: other threads make groups meanwhile.
        for reference in _made_here.valuerefs():
            group = reference()
            if group is None or group is self:
                continue
            making = group._making
            if making is not None and making.session is session:
                found[group.id.binary()] = group
                if len(found) == _ALSO:
                    break
        return found

    def _made(self) -> None:
        """Wait until control has taken the group that was made here.

        Raises:
            MantaError: It does not want it; says why.
        """
        if self._making is not None:
            self._making.wait(self.id)
            self._settled()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PlacementGroup) and self.id == other.id

    def __hash__(self) -> int:
        return hash(self.id)

    def __repr__(self) -> str:
        return f"PlacementGroup({self.id.hex()})"

    def __reduce__(self) -> tuple[Any, ...]:
        # Wherever it gets to, control knows it.
        self._made()
        return PlacementGroup, (self.id, self.bundle_cache)


#: Groups of this process for which control has not answered, by id.
_made_here: WeakValueDictionary[bytes, PlacementGroup] = WeakValueDictionary()


class _Making:
    """A group that control has been told of and has not answered yet: making many takes no more than telling it of each."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self._error: MantaError | None = None
        self._waiters: list[Waiter] = []
        self._done = False

    def answered(self, frame: pb.ControlReply) -> None:
        """By control, or in its place. Under the session's lock."""
        from manta.transport.convert import error_from_proto

        if frame.HasField("error"):
            self._error = error_from_proto(frame.error)
            log.error("A placement group was not made: %s", self._error)
        self._done = True
        for waiter in self._waiters:
            self.session.finish(waiter)

    def wait(self, group_id: PlacementGroupID) -> None:
        """Until it is answered.

        Raises:
            MantaError: What the answer says, or that there was none.
        """
        waiter, session = Waiter(), self.session
        with session.lock:
            if not self._done:
                session.check()
                self._waiters.append(waiter)
                session.flush()
        if not self._done:
            session.wait_for(waiter, f"control's answer to placement group {group_id.hex()}", session.now() + _MADE_S)
        if self._error is not None:
            raise _as_users_know_it(self._error)
        if not self._done:
            session.check()
            from manta.core.errors import RpcTimeoutError

            raise RpcTimeoutError(f"control did not answer CreatePlacementGroup within {_MADE_S} s")


def _itself(group: PlacementGroup) -> PlacementGroup:
    return group


def placement_group(
    bundles: Sequence[Mapping[str, float]],
    strategy: str | None = None,
    name: str = "",
    lifetime: str | None = None,
    _soft_target_node_id: str | None = None,
    bundle_label_selector: Sequence[Mapping[str, str]] | None = None,
    topology_strategy: Any = None,
) -> PlacementGroup:
    """Make a placement group. It is held as soon as there is room; see `PlacementGroup.ready`.

    Args:
        bundles: What each bundle holds: `[{"CPU": 2}, {"CPU": 1, "GPU": 1}]`.
        strategy: "PACK" (default; on few nodes), "SPREAD" (on many), "STRICT_PACK" (on one), "STRICT_SPREAD" (each on another).
        name: Its name, unique in the namespace; empty for none.
        lifetime: "detached" lives until it is removed; None ends with the process that made it.
        bundle_label_selector: Labels that nodes must have: one selector for all bundles, or one per bundle.
        topology_strategy: Not built.
    Returns:
        Its handle.
    Raises:
        ValueError: A bundle, the strategy, the name or the lifetime is wrong.
    """
    from manta.core.strategy import ANYWHERE
    from manta.rpc.v1 import control_pb2 as ctl
    from manta.transport.convert import strategy_to_proto

    if topology_strategy is not None or _soft_target_node_id is not None:
        raise NotImplementedError("topology_strategy and _soft_target_node_id are not built")
    strategy = "PACK" if strategy is None else strategy
    amounts = [_bundle(bundle) for bundle in _checked(bundles)]
    if strategy not in _STRATEGIES:
        raise ValueError(
            f"Invalid placement group strategy {strategy!r:.100}. Supported strategies are: {_STRATEGIES}."
        )
    if lifetime not in (None, "detached"):
        raise ValueError("placement group `lifetime` argument must be either `None` or 'detached'")
    if not isinstance(name, str):
        raise ValueError(f"A placement group's name must be a string, but received {type(name)}")  # noqa: TRY004
    session = current.require()
    group_id = PlacementGroupID(os.urandom(14) + session.welcome.job_id)
    info = ctl.PlacementGroupInfo(
        group_id=group_id.binary(),
        job_id=session.welcome.job_id,
        owner=session.worker_id,
        name=name,
        namespace=session.welcome.namespace,
        detached=lifetime == "detached",
        strategy=f"PLACEMENT_STRATEGY_{strategy}",
    )
    for bundle in amounts:
        info.bundles.add(amounts=bundle)
    if bundle_label_selector:
        from manta.core.labels import parse

        if len(bundle_label_selector) not in (1, len(amounts)):
            raise ValueError(
                f"bundle_label_selector has {len(bundle_label_selector)} entries; give one, or one for each of the "
                f"{len(amounts)} bundles"
            )
        hard = tuple(parse(selector) for selector in bundle_label_selector)
        info.selectors.extend(strategy_to_proto(ANYWHERE.replace(hard=hard)).hard)
    request = ctl.CreatePlacementGroupRequest(request_id=os.urandom(16), group=info)
    group = PlacementGroup(group_id, [to_floats(bundle) for bundle in amounts])
    if name or info.detached:
        # Its name may be taken; and what outlives us is there when we say so.
        _call("CreatePlacementGroup", request, ctl.CreatePlacementGroupResponse)
    else:
        group._ours, group._making = True, _Making(session)
        _made_here[group_id.binary()] = group
        session.post("CreatePlacementGroup", request, group._making.answered)
    return group


def _checked(bundles: Any) -> list[dict[str, float]]:
    if not isinstance(bundles, list):
        raise ValueError(f"The type of bundles must be list, got {bundles!r:.100}")  # noqa: TRY004 - as Ray does
    if not bundles:
        raise ValueError(f"Bundles must be a non-empty list, got {bundles}")
    if len(bundles) > MOST_BUNDLES:
        raise ValueError(f"A placement group has at most {MOST_BUNDLES} bundles, got {len(bundles)}")
    for bundle in bundles:
        if not isinstance(bundle, dict) or not all(
            isinstance(name, str) and isinstance(amount, (int, float)) for name, amount in bundle.items()
        ):
            raise ValueError(f"The type of bundle must be dict of resource to amount, got {bundle!r:.100}")
        if not bundle or not any(bundle.values()):
            raise ValueError(
                f"Bundles cannot be an empty dictionary or resources with only 0 values. Bundles: {bundles}"
            )
    return bundles


def _bundle(bundle: dict[str, float]) -> dict[str, int]:
    amounts = {name: to_fixed(name, amount) for name, amount in bundle.items()}
    if amounts.get(GPU, 0) > UNIT and amounts[GPU] % UNIT:
        raise ValueError(f"GPU resource quantities >1 must be whole numbers. The specified bundle {bundle} is invalid.")
    if MEMORY in amounts:
        amounts[MEMORY] = amounts[MEMORY] // UNIT * UNIT
    return {name: amount for name, amount in amounts.items() if amount}


def _call(method: str, request: Any, response: Any) -> Any:
    from manta.core.errors import MantaError

    try:
        return current.require().control(method, request, response)
    except MantaError as error:
        raise _as_users_know_it(error) from None


def _as_users_know_it(error: MantaError) -> Exception:
    theirs = ("PLACEMENT_GROUP_NOT_FOUND", "PLACEMENT_GROUP_ALREADY_EXISTS", "INVALID_REQUEST")
    return ValueError(str(error)) if error.code in theirs else error


def _info(group_id: PlacementGroupID) -> ctl.PlacementGroupInfo:
    from manta.rpc.v1 import control_pb2 as ctl

    request = ctl.GetPlacementGroupRequest(group_id=group_id.binary())
    answer: ctl.GetPlacementGroupResponse = _call("GetPlacementGroup", request, ctl.GetPlacementGroupResponse)
    return answer.group


def remove_placement_group(placement_group: PlacementGroup) -> None:
    """End a group: what runs in it is killed, its resources are free."""
    from manta.rpc.v1 import control_pb2 as ctl

    if not isinstance(placement_group, PlacementGroup):
        raise TypeError(f"remove_placement_group takes a PlacementGroup, but received {type(placement_group)}")
    group_id = placement_group.id.binary()
    request = ctl.RemovePlacementGroupRequest(request_id=os.urandom(16), group_id=group_id)
    made = _made_here.pop(group_id, None)
    if made is not None:
        made._told = 0.0
    if placement_group._ours:
        # Should we end before control has heard of it, the group ends with us.
        current.require().post("RemovePlacementGroup", request, _removed)
    else:
        _call("RemovePlacementGroup", request, ctl.RemovePlacementGroupResponse)


def _removed(frame: pb.ControlReply) -> None:
    if frame.HasField("error"):
        log.error("A placement group was not removed: %s", frame.error.message)


def get_placement_group(placement_group_name: str) -> PlacementGroup:
    """The living group of that name in this namespace.

    Raises:
        ValueError: There is none.
    """
    from manta.rpc.v1 import control_pb2 as ctl

    if not placement_group_name:
        raise ValueError("Please supply a non-empty value to get_placement_group")
    namespace = current.require().welcome.namespace
    request = ctl.GetPlacementGroupRequest(name=placement_group_name, namespace=namespace)
    try:
        info = _call("GetPlacementGroup", request, ctl.GetPlacementGroupResponse).group
    except ValueError:
        raise ValueError(f"Failed to look up placement group with name: {placement_group_name}") from None
    return PlacementGroup(PlacementGroupID(info.group_id), [to_floats(dict(bundle.amounts)) for bundle in info.bundles])


def get_current_placement_group() -> PlacementGroup | None:
    """The group that this task or actor runs in; None in a driver and outside of groups."""
    session = current.require()
    group = group_of(session.held_resources())
    return PlacementGroup(PlacementGroupID(group)) if group else None


def placement_group_table(placement_group: PlacementGroup | None = None) -> dict[str, Any]:
    """What is known of one group, or of all by id."""
    from manta.rpc.v1 import control_pb2 as ctl

    if placement_group is not None:
        placement_group._made()
        return _row(_info(placement_group.id))
    answer = _call("ListPlacementGroups", ctl.ListPlacementGroupsRequest(), ctl.ListPlacementGroupsResponse)
    return {info.group_id.hex(): _row(info) for info in answer.groups}


def _row(info: ctl.PlacementGroupInfo) -> dict[str, Any]:
    from manta.rpc.v1 import control_pb2 as ctl

    return {
        "placement_group_id": info.group_id.hex(),
        "name": info.name,
        "bundles": {index: to_floats(dict(bundle.amounts)) for index, bundle in enumerate(info.bundles)},
        "bundles_to_node_id": {index: node_id.hex() for index, node_id in enumerate(info.nodes)},
        "strategy": ctl.PlacementStrategy.Name(info.strategy).removeprefix("PLACEMENT_STRATEGY_"),
        "state": ctl.PlacementGroupState.Name(info.state).removeprefix("PLACEMENT_GROUP_STATE_"),
        "stats": {
            "end_to_end_creation_latency_ms": 0.0,
            "scheduling_latency_ms": 0.0,
            "scheduling_attempt": 0,
            "highest_retry_delay_ms": 0.0,
            "scheduling_state": info.waiting_reason or "FINISHED",
        },
    }


class _Callable(ModuleType):
    """`from ray.util import placement_group` is a function, `ray.util.placement_group` a module: this is both."""

    def __call__(self, *args: Any, **kwargs: Any) -> PlacementGroup:
        return placement_group(*args, **kwargs)


sys.modules[__name__].__class__ = _Callable
