"""On which nodes a task or actor may run, and which of them are better: plain values that hash, and what they mean.

The meaning is stated once, here: control places actors by it and raylets send tasks by it.
"""

from __future__ import annotations

from manta.core.frozen import Frozen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Final, Protocol, TypeVar

    class Place(Protocol):
        """A living node."""

        @property
        def node_id(self) -> bytes:
            """Its id."""
            ...

        @property
        def labels(self) -> Mapping[str, str]:
            """Its labels."""
            ...

    PlaceT = TypeVar("PlaceT", bound=Place)

#: The label that every node has: its id.
NODE_ID_LABEL: Final = "ray.io/node-id"

#: Operators of a term; the numbers are the wire's.
IN: Final = 1
NOT_IN: Final = 2
EXISTS: Final = 3
DOES_NOT_EXIST: Final = 4


class Term(Frozen):
    """What one label of a node must be.

    Attributes:
        key: The label.
        operator: IN, NOT_IN, EXISTS or DOES_NOT_EXIST.
        values: For IN and NOT_IN, in order.
    """

    __slots__ = ("key", "operator", "values")

    key: str
    operator: int
    values: tuple[str, ...]

    def holds(self, labels: Mapping[str, str]) -> bool:
        """Whether a node with these labels meets it."""
        value = labels.get(self.key)
        match self.operator:
            case 1:
                return value in self.values
            case 2:
                return value not in self.values
            case 3:
                return value is not None
            case _:
                return value is None

    def __str__(self) -> str:
        values = ", ".join(self.values)
        match self.operator:
            case 1:
                return f"{self.key} in ({values})"
            case 2:
                return f"{self.key} not in ({values})"
            case 3:
                return f"{self.key} exists"
            case _:
                return f"{self.key} does not exist"


class _Hashed(Frozen):
    """A record that is looked up for each lease: its hash is worked out once."""

    __slots__ = ("_hash",)

    _hash: int

    def __hash__(self) -> int:
        try:
            return self._hash
        except AttributeError:
            object.__setattr__(self, "_hash", super().__hash__())
            return self._hash


class Strategy(_Hashed):
    """Where something may run.

    Attributes:
        spread: On the node that has longest had nothing of the kind.
        node: Only there; empty for anywhere.
        node_soft: Elsewhere too, if that node is not there or can never give what is asked for.
        hard: Terms that must all hold; of several selectors the first that some node meets counts. Empty for none.
        soft: Terms that make a node better.
    """

    __slots__ = ("hard", "node", "node_soft", "soft", "spread")

    spread: bool
    node: bytes
    node_soft: bool
    hard: tuple[tuple[Term, ...], ...]
    soft: tuple[Term, ...]

    def text(self) -> str:
        """What it demands, for people: " on node ..." or " on a node with ...", empty for nothing."""
        if self.node and not self.node_soft:
            return f" on node {self.node.hex()}"
        if self.hard:
            return " on a node with " + ", or else with ".join(
                " and ".join(map(str, selector)) or "any labels" for selector in self.hard
            )
        return ""


ANYWHERE: Final = Strategy(spread=False, node=b"", node_soft=False, hard=(), soft=())
SPREAD: Final = ANYWHERE.replace(spread=True)


def matches(terms: Iterable[Term], labels: Mapping[str, str]) -> bool:
    """Whether a node with these labels meets all terms."""
    return all(term.holds(labels) for term in terms)


def allowed(strategy: Strategy, nodes: Sequence[PlaceT], can: Callable[[PlaceT], bool]) -> list[list[PlaceT]]:
    """Nodes on which something may run, the better ones in an earlier list; no empty lists.

    Args:
        strategy: Its wishes.
        nodes: Living nodes.
        can: Whether a node could ever give what is asked for.
    """
    if strategy.node:
        there = [node for node in nodes if node.node_id == strategy.node and can(node)]
        if there:
            return [there]
        if not strategy.node_soft:
            return []
    found: list[PlaceT] = []
    for selector in strategy.hard or ((),):
        found = [node for node in nodes if matches(selector, node.labels) and can(node)]
        if found:
            break
    if strategy.soft:
        better = [node for node in found if matches(strategy.soft, node.labels)]
        worse = [node for node in found if not matches(strategy.soft, node.labels)]
        return [tier for tier in (better, worse) if tier]
    return [found] if found else []
