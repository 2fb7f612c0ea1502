"""Proto and domain: the one place that knows both."""

from __future__ import annotations

from manta.core.errors.wire import ErrorFields, from_fields, to_fields
from manta.core.strategy import ANYWHERE, Strategy, Term
from manta.rpc.v1 import common_pb2 as common

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from manta.core.errors import MantaError


def resources_to_proto(amounts: Mapping[str, int]) -> common.Resources:
    """Fixed-point amounts."""
    return common.Resources(amounts=dict(amounts))


def resources_from_proto(message: common.Resources) -> dict[str, int]:
    """Fixed-point amounts."""
    return dict(message.amounts)


def strategy_to_proto(strategy: Strategy) -> common.SchedulingStrategy:
    """Where something may run."""
    return common.SchedulingStrategy(
        spread=strategy.spread,
        node_id=strategy.node,
        node_soft=strategy.node_soft,
        hard=[_selector_to_proto(selector) for selector in strategy.hard],
        soft=_selector_to_proto(strategy.soft) if strategy.soft else None,
    )


def strategy_from_proto(message: common.SchedulingStrategy) -> Strategy:
    """Where something may run."""
    strategy = Strategy(
        spread=message.spread,
        node=message.node_id,
        node_soft=message.node_soft,
        hard=tuple(_selector_from_proto(selector) for selector in message.hard),
        soft=_selector_from_proto(message.soft),
    )
    # The one that is looked for by identity where every microsecond counts.
    return ANYWHERE if strategy == ANYWHERE else strategy


def _selector_to_proto(terms: Iterable[Term]) -> common.LabelSelector:
    selector = common.LabelSelector()
    for term in terms:
        said = selector.terms.add(key=term.key, values=term.values)
        said.operator = term.operator  # type: ignore[assignment]  # the numbers are the same
    return selector


def _selector_from_proto(message: common.LabelSelector) -> tuple[Term, ...]:
    return tuple(Term(key=term.key, operator=int(term.operator), values=tuple(term.values)) for term in message.terms)


def encodable(text: str) -> str:
    """A text that protobuf takes: what user code raises may hold halves of surrogate pairs, which are written out."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace").decode()
    return text


def fields_to_proto(fields: ErrorFields) -> common.ErrorInfo:
    """An error's plain fields."""
    return common.ErrorInfo(
        code=fields.code,
        message=encodable(fields.message),
        fields={name: encodable(text) for name, text in fields.fields.items()},
        blobs=fields.blobs,
    )


def fields_from_proto(message: common.ErrorInfo) -> ErrorFields:
    """An error's plain fields."""
    return ErrorFields(message.code, message.message, dict(message.fields), dict(message.blobs))


def error_to_proto(error: BaseException) -> common.ErrorInfo:
    """An error of ours in the wire's plain fields; any other as a system error."""
    return fields_to_proto(to_fields(error))


def error_from_proto(message: common.ErrorInfo, loads: Callable[[bytes], object] | None = None) -> MantaError:
    """The error back; a task's pickled cause stays pickled unless `loads` is given. Of an unknown code, the nearest known."""
    return from_fields(fields_from_proto(message), loads)
