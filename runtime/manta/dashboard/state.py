"""The state API by HTTP: `GET /api/v0/actors` and its like, with the parameters and the answer of Ray's.

    ?limit=100&timeout=30&filter_keys=state&filter_predicates=%3D&filter_values=ALIVE

`manta list` and `manta.util.state` ask control themselves; this is for everybody else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import web

from manta.client import state_query, state_rows
from manta.client.state_query import Found
from manta.client.state_rows import Filter
from manta.core.errors import MantaError, OverloadedError
from manta.dashboard.context import Context
from manta.dashboard.routes import Routes

#: Rows in one answer, and how many are told unless more are asked for.
MOST_ROWS: Final = 10_000
ROWS: Final = 100
#: Control is given up after five seconds: nodes have less, however patient who asks may be.
MOST_S: Final = 4.0
#: Conditions of one question.
MOST_FILTERS: Final = 20
#: Questions at a time: each may be many thousands of rows of every node.
AT_A_TIME: Final = 2
MOST_WAITING: Final = 20


class StateRequestError(MantaError):
    """A parameter of a question makes no sense; the text names it."""

    code = "INVALID_REQUEST"


@dataclass(frozen=True, slots=True)
class Asked:
    """What is wanted of a list."""

    limit: int
    timeout_s: float
    filters: tuple[Filter, ...]


def asked(query: Mapping[str, list[str]]) -> Asked:
    """Read a request's parameters; those that are not known change nothing, as with Ray.

    Raises:
        StateRequestError: One makes no sense.
    """
    keys, predicates, values = (query.get(f"filter_{part}", []) for part in ("keys", "predicates", "values"))
    if not len(keys) == len(predicates) == len(values) <= MOST_FILTERS:
        raise StateRequestError(
            f"filter_keys, filter_predicates and filter_values come together, at most {MOST_FILTERS} of each; there are "
            f"{len(keys)}, {len(predicates)} and {len(values)}"
        )
    return Asked(
        limit=_number("limit", query, ROWS, MOST_ROWS),
        timeout_s=min(MOST_S, _number("timeout", query, 30, 1 << 20)),
        filters=tuple(zip(keys, predicates, values, strict=True)),
    )


def _number(name: str, query: Mapping[str, list[str]], otherwise: int, most: int) -> int:
    text = (query.get(name) or [str(otherwise)])[-1]
    if not (text.isascii() and text.isdigit() and len(text) < 10 and 1 <= int(text) <= most):
        raise StateRequestError(f"{name} is a number from 1 to {most}, not {text!r:.100}")
    return int(text)


def answer(found: Found, wanted: Asked) -> dict[str, Any]:
    """What is answered, as Ray's clients read it.

    Raises:
        StateRequestError: A filter makes no sense.
    """
    try:
        rows = state_rows.chosen(found.rows, wanted.filters)
    except ValueError as wrong:
        raise StateRequestError(str(wrong)) from None
    result = {
        "total": len(found.rows) + found.left_out,
        "num_after_truncation": len(found.rows),
        "num_filtered": len(rows),
        "result": rows[: wanted.limit],
        "partial_failure_warning": "; ".join(found.failures),
        "warnings": found.notes,
    }
    return {"result": True, "msg": "", "data": {"result": result}}


class StateRoutes:
    """Handlers."""

    def __init__(self, ask: Any) -> None:
        self._ask = ask
        self._places = asyncio.Semaphore(AT_A_TIME)
        self._waiting = 0

    async def list(self, kind: str, request: web.Request) -> web.Response:
        """All rows of a kind that meet the conditions."""
        wanted = asked({name: request.query.getall(name) for name in request.query})
        if self._waiting >= MOST_WAITING:
            raise OverloadedError(f"{MOST_WAITING} questions about the cluster's state wait already; ask again later")
        self._waiting += 1
        try:
            async with self._places:
                question = state_query.question_of(kind, wanted.timeout_s)
                reply = await self._ask(question.method, question.request)
                # It may be ten thousands of rows: others are answered meanwhile.
                return await asyncio.to_thread(_made, kind, reply, wanted)
        finally:
            self._waiting -= 1


def _made(kind: str, reply: Any, wanted: Asked) -> web.Response:
    return web.json_response(answer(state_query.found_in(kind, reply), wanted))


def add(routes: Routes, context: Context) -> None:
    """/api/v0."""
    state = StateRoutes(context.control.ask)
    for kind in state_rows.KINDS:

        async def handler(request: web.Request, kind: str = kind) -> web.Response:
            return await state.list(kind, request)

        routes.get(f"/api/v0/{kind.replace('-', '_')}", handler)
