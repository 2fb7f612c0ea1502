"""Who has signed in with a browser: random ids to the token they showed. Pure; they are forgotten with this process.

A session is never worth more than its token is at the moment: one that is taken out of the file, or expires, ends its sessions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from manta.core.errors import AuthenticationError
from manta.transport import tickets
from manta.transport.tokens import Token, TokenRole

#: How long one has signed in.
LIFETIME_S: Final = 12 * 3600.0
#: Sessions at a time; the oldest goes for one more.
MOST: Final = 1000
#: Used tickets that are remembered until they would be too old anyway; beyond that none is taken.
MOST_USED: Final = 10_000


@dataclass(frozen=True, slots=True)
class _Session:
    token: str
    until: float


class Sessions:
    """Browsers that have signed in.

    Args:
        role_of: What a token is good for; raises AuthenticationError.
        tokens: Those that are valid.
        now: Seconds since the epoch.
        make_id: Makes an id that nobody can guess.
    """

    def __init__(
        self,
        role_of: Callable[[str], TokenRole],
        tokens: Callable[[], Sequence[Token]],
        now: Callable[[], float],
        make_id: Callable[[], str],
    ) -> None:
        self._role_of, self._tokens, self._now, self._make_id = role_of, tokens, now, make_id
        self._began = now()
        #: By the hash of the id: how long a look-up takes tells nothing of an id. The oldest is first.
        self._open: dict[bytes, _Session] = {}
        #: Until when each used ticket would have been good.
        self._used: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._open)

    def sign_in(self, token: str) -> str:
        """Begin a session; its id.

        Raises:
            AuthenticationError: The token is not valid.
        """
        self._role_of(token)
        while len(self._open) >= MOST:
            del self._open[next(iter(self._open))]
        session = self._make_id()
        self._open[_key(session)] = _Session(token, self._now() + LIFETIME_S)
        return session

    def redeem(self, ticket: str) -> str:
        """Begin a session with a ticket, which is good once; its id.

        Raises:
            AuthenticationError: It is no ticket, too old, or was used.
        """
        now = self._now()
        token, nonce = tickets.token_of(ticket, self._tokens(), now, self._began)
        if nonce in self._used:
            raise AuthenticationError("the sign-in link was used already; `manta dashboard` prints a new one")
        if len(self._used) >= MOST_USED:
            self._used = {one: until for one, until in self._used.items() if until > now}
        if len(self._used) >= MOST_USED:
            raise AuthenticationError("too many sign-in links were used within minutes; sign in with a token")
        self._used[nonce] = now + tickets.LIFETIME_S
        return self.sign_in(token.text)

    def token_of(self, session: str) -> str | None:
        """The token with which a session began; None if there is no such session any more."""
        found = self._open.get(key := _key(session))
        if found is not None and found.until <= self._now():
            del self._open[key]
            return None
        return None if found is None else found.token

    def sign_out(self, session: str) -> bool:
        """End a session; whether there was one."""
        return self._open.pop(_key(session), None) is not None


def _key(session: str) -> bytes:
    return sha256(session.encode("utf-8", "surrogateescape")).digest()
