"""Options that say where a task or actor runs: strategies, labels, placement groups."""

from __future__ import annotations

from manta.core.strategy import ANYWHERE, SPREAD, Strategy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


def check_group(merged: Mapping[str, Any]) -> None:
    """Refuse a group that is named twice."""
    group = merged.get("placement_group", "default")
    if group is not None and group != "default" and merged.get("scheduling_strategy") is not None:
        raise ValueError(
            "Placement groups should be specified via the scheduling_strategy option. "
            "The placement_group option is deprecated."
        )


class InGroup:
    """A wish to run in a placement group."""

    __slots__ = ("captures", "group", "index")

    def __init__(self, group: Any, index: int, capture: bool | None) -> None:
        self.group = group
        self.index = index
        self.captures: bytes = group.id.binary() if capture else b""


def group_of(merged: Mapping[str, Any]) -> InGroup | None:
    """The placement group that is named; None for none."""
    given: Any = merged.get("scheduling_strategy")
    if hasattr(given, "placement_group"):
        return InGroup(
            given.placement_group, given.placement_group_bundle_index, given.placement_group_capture_child_tasks
        )
    group = merged.get("placement_group")
    index = merged.get("placement_group_bundle_index", -1)
    if group is None or group == "default" or getattr(group, "is_empty", False):
        if index != -1:
            raise ValueError(
                "If placement group is not set, the value of bundle index must be -1: "
                f"placement_group_bundle_index is {index}."
            )
        return None
    if not hasattr(group, "amounts"):
        raise ValueError(f"placement_group must be a PlacementGroup, but received {group!r:.100}")
    return InGroup(group, index, merged.get("placement_group_capture_child_tasks"))


def says_where(merged: Mapping[str, Any]) -> bool:
    """Whether the place is anybody's choice at all: else a capturing group chooses."""
    return (
        merged.get("scheduling_strategy") is not None
        or merged.get("placement_group", "default") != "default"
        or bool(merged.get("label_selector"))
    )


def strategy_of(merged: Mapping[str, Any]) -> Strategy:
    """Which nodes may be chosen, and which are preferred."""
    given = merged.get("scheduling_strategy")
    selector, fallback = merged.get("label_selector"), merged.get("fallback_strategy")
    if given is None or isinstance(given, str):
        strategy = SPREAD if given == "SPREAD" else ANYWHERE
    else:
        if selector:
            raise ValueError(
                "'label_selector' cannot be used beside a scheduling strategy that names nodes or labels itself: "
                f"{type(given).__name__}. Put all labels into one of the two."
            )
        strategy = given._strategy()
    if selector or fallback:
        from manta.core.labels import selectors

        strategy = strategy.replace(hard=selectors(selector, fallback))
    return strategy
