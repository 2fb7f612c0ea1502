"""Where tasks and actors may run, for `scheduling_strategy=`: on a node, on nodes with certain labels."""

from __future__ import annotations

from manta.core.labels import wrong_key, wrong_value
from manta.core.strategy import ANYWHERE, DOES_NOT_EXIST, EXISTS, IN, NOT_IN, Strategy, Term

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeAlias

    from manta.util.placement_group import PlacementGroup

    LabelMatch: TypeAlias = "In | NotIn | Exists | DoesNotExist"

__all__ = [
    "DoesNotExist",
    "Exists",
    "In",
    "NodeAffinitySchedulingStrategy",
    "NodeLabelSchedulingStrategy",
    "NotIn",
    "PlacementGroupSchedulingStrategy",
]

#: Digits of a node's id.
_ID_DIGITS = 56


class NodeAffinitySchedulingStrategy:
    """Run on one node.

    Args:
        node_id: Its id in hexadecimal digits, as `nodes()` and the runtime context say it.
        soft: Run elsewhere if that node is not there or could never give what is asked for; else that is an error.
    """

    def __init__(
        self, node_id: str, soft: bool, _spill_on_unavailable: bool = False, _fail_on_unavailable: bool = False
    ) -> None:
        if not isinstance(node_id, str) or len(node_id) != _ID_DIGITS or not _is_hex(node_id):  # type: ignore[redundant-expr]
            raise ValueError(
                f"Invalid node_id {node_id!r:.100}: a node's id has {_ID_DIGITS} hexadecimal digits, as manta.nodes() shows it."
            )
        if _spill_on_unavailable or _fail_on_unavailable:
            raise NotImplementedError("_spill_on_unavailable and _fail_on_unavailable are private to Ray and not built")
        self.node_id = node_id
        self.soft = bool(soft)

    def _strategy(self) -> Strategy:
        return ANYWHERE.replace(node=bytes.fromhex(self.node_id), node_soft=self.soft)

    def __repr__(self) -> str:
        return f"NodeAffinitySchedulingStrategy(node_id={self.node_id!r}, soft={self.soft})"


def _is_hex(text: str) -> bool:
    return all(digit in "0123456789abcdefABCDEF" for digit in text)


class PlacementGroupSchedulingStrategy:
    """Run in a placement group.

    Args:
        placement_group: The group.
        placement_group_bundle_index: Which of its bundles, from 0; -1 for any.
        placement_group_capture_child_tasks: Tasks and actors submitted by what runs there run in the group too, unless they say
            where themselves.
    """

    def __init__(
        self,
        placement_group: PlacementGroup,
        placement_group_bundle_index: int = -1,
        placement_group_capture_child_tasks: bool | None = None,
    ) -> None:
        if getattr(placement_group, "is_empty", True):
            raise ValueError("placement_group needs to be an instance of PlacementGroup, and not an empty one")
        if isinstance(placement_group_bundle_index, bool) or not isinstance(placement_group_bundle_index, int):
            raise TypeError(
                f"placement_group_bundle_index must be an int, but received {type(placement_group_bundle_index)}"
            )
        self.placement_group = placement_group
        self.placement_group_bundle_index = placement_group_bundle_index
        self.placement_group_capture_child_tasks = placement_group_capture_child_tasks

    def _strategy(self) -> Strategy:
        return ANYWHERE


class _OfValues:
    """A label's value is, or is not, one of some."""

    def __init__(self, *values: str) -> None:
        if not values:
            raise ValueError(f"The variadic parameter of {type(self).__name__} can't be an empty list")
        for value in values:
            wrong = wrong_value(value)
            if wrong:
                raise ValueError(wrong)
        self.values = list(values)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(repr, self.values))})"


class In(_OfValues):
    """The label has one of these values."""


class NotIn(_OfValues):
    """The label is absent, or has none of these values."""


class Exists:
    """The label is there."""

    def __repr__(self) -> str:
        return "Exists()"


class DoesNotExist:
    """The label is absent."""

    def __repr__(self) -> str:
        return "DoesNotExist()"


_OPERATORS = {In: IN, NotIn: NOT_IN, Exists: EXISTS, DoesNotExist: DOES_NOT_EXIST}


class NodeLabelSchedulingStrategy:
    """Run on a node with certain labels.

    Args:
        hard: What each label must be: `{"zone": In("a", "b"), "gpu": Exists()}`.
        soft: What it is better to be, if there is a choice.
    """

    def __init__(self, hard: dict[str, LabelMatch], *, soft: dict[str, LabelMatch] | None = None) -> None:
        self.hard = _terms(hard, "hard")
        self.soft = _terms(soft, "soft")
        if not (hard or soft):
            raise ValueError("The `hard` and `soft` parameter of NodeLabelSchedulingStrategy cannot both be empty.")

    def _strategy(self) -> Strategy:
        return ANYWHERE.replace(hard=(self.hard,) if self.hard else (), soft=self.soft)


def _terms(wishes: Any, name: str) -> tuple[Term, ...]:
    if wishes is None:
        return ()
    if not isinstance(wishes, dict):
        raise ValueError(  # noqa: TRY004 - as Ray does
            f"The {name} parameter must be a map (e.g. {{'key': In('value')}}) but got type {type(wishes)}."
        )
    terms = []
    for key, wish in wishes.items():
        if not isinstance(key, str):
            raise ValueError(  # noqa: TRY004
                f"The map key of the {name} parameter must be of type str (e.g. {{'key': In('value')}}) but got {key!r:.100}."
            )
        wrong = wrong_key(key)
        if wrong:
            raise ValueError(wrong)
        operator = _OPERATORS.get(type(wish))
        if operator is None:
            raise ValueError(
                f"The map value of the {name} parameter for key {key!r} must be one of the `In`, `NotIn`, `Exists` or "
                f"`DoesNotExist` operator, but got {wish!r:.100}."
            )
        terms.append(Term(key=key, operator=operator, values=tuple(sorted(set(getattr(wish, "values", ()))))))
    return tuple(sorted(terms, key=lambda term: term.key))
