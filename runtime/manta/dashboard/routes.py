"""The table of routes: method and path to handler, the role it takes and the body it bears."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from manta.dashboard.guard import Refusal
from manta.transport.tokens import TokenRole

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
#: Answers who is refused.
Refuse = Callable[[web.Request, Refusal], web.StreamResponse]

#: Body of a request that does not say otherwise.
MOST_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Route:
    """One route.

    Attributes:
        handler: Answers.
        role: The least that a credential has to be good for; None: it takes none.
        most_bytes: Of the body.
        refuse: Answers who is refused; None: as programs are answered, in JSON.
    """

    handler: Handler
    role: TokenRole | None
    most_bytes: int
    refuse: Refuse | None = None


class Routes:
    """Collects routes; `http` serves them."""

    def __init__(self) -> None:
        self.table: dict[tuple[str, str], Route] = {}

    def add(
        self,
        method: str,
        path: str,
        handler: Handler,
        role: TokenRole,
        *,
        most_bytes: int = MOST_BYTES,
        refuse: Refuse | None = None,
    ) -> None:
        """One more route.

        Args:
            method: GET, POST, PUT or DELETE.
            path: As aiohttp writes it: `/api/jobs/{id}`.
            handler: Answers.
            role: The least that a token has to be good for.
            most_bytes: Of the body.
            refuse: See `Route`.

        Raises:
            ValueError: There is one already.
        """
        self._put(method, path, Route(handler, role, most_bytes, refuse))

    def open(self, method: str, path: str, handler: Handler, *, most_bytes: int, refuse: Refuse | None = None) -> None:
        """A route that takes no credential: signing in, and nothing else."""
        self._put(method, path, Route(handler, None, most_bytes, refuse))

    def _put(self, method: str, path: str, route: Route) -> None:
        if (method, path) in self.table:
            raise ValueError(f"{method} {path} has two handlers")
        self.table[method, path] = route

    def get(self, path: str, handler: Handler, role: TokenRole = TokenRole.VIEWER) -> None:
        """A route that only reads."""
        self.add("GET", path, handler, role, most_bytes=0)
