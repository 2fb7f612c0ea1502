"""Tickets: let somebody sign in at a page once, soon, without the token itself in a link. Pure; standard library only.

Whoever can read the cluster's file of tokens can make one, and nobody is asked: it is a time, a number that is used once, and
both signed with a token. So a link in a terminal, a shell's history or a chat is worthless after its first use or ten minutes,
and it never was worth more than that token.
"""

from __future__ import annotations

from hashlib import sha256
from hmac import compare_digest, digest

from manta.core.errors import AuthenticationError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from manta.transport.tokens import Token

#: How long a ticket is good.
LIFETIME_S = 600.0
#: Bytes of the number that is used once.
NONCE_BYTES = 16
#: Longest text that is looked at.
_MOST = 200

_WHAT = b"manta sign-in ticket 1\0"


def make(token: str, now: float, nonce: bytes) -> str:
    """A ticket.

    Args:
        token: What it lets its user in as.
        now: Seconds since the epoch.
        nonce: `NONCE_BYTES` random bytes.
    """
    said = f"{int((now + LIFETIME_S) * 1000):x}.{nonce.hex()}"
    return f"{said}.{_mac(token, said)}"


def token_of(ticket: str, tokens: Sequence[Token], now: float, not_before: float) -> tuple[Token, str]:
    """The token that a ticket was made with, and what of it may be used once.

    Args:
        ticket: What was shown.
        tokens: Those that are valid now.
        now: Seconds since the epoch.
        not_before: Tickets that were made before are refused: who checks does not remember which of them were used.

    Raises:
        AuthenticationError: It is none, too old, or of another cluster.
    """
    said, _, mac = ticket.rpartition(".")
    until, _, nonce = said.partition(".")
    if len(ticket) > _MOST or len(nonce) != 2 * NONCE_BYTES or not _is_hex(until + nonce) or not until:
        raise AuthenticationError("this is no sign-in link of a cluster")
    given = mac.encode("utf-8", "surrogateescape")
    found: Token | None = None
    # Every token is tried: stopping early would tell which one it was.
    for token in tokens:
        if compare_digest(_mac(token.text, said).encode(), given):
            found = token
    if found is None:
        raise AuthenticationError("the sign-in link is not this cluster's, or its token is no longer valid")
    expires = int(until, 16) / 1000
    if expires <= now or expires - LIFETIME_S < not_before:
        raise AuthenticationError("the sign-in link is too old; `manta dashboard` prints a new one")
    return found, nonce


def _mac(token: str, said: str) -> str:
    return digest(token.encode(), _WHAT + said.encode(), sha256).hex()


def _is_hex(text: str) -> bool:
    return set(text) <= set("0123456789abcdef")
