"""Whether a request is answered, by its head alone. Pure: what was sent in, a refusal or nothing out.

The order is the point: a page in somebody's browser (DNS rebinding, forged requests) is stopped before its token is looked at,
and a body that is too large before it is read.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final

from manta.core.errors import AuthenticationError
from manta.transport.hosts import is_known
from manta.transport.tokens import ANONYMOUS, TokenRole

#: Answered without a credential: whether this process lives, and whether it can serve.
OPEN: Final = frozenset({"/healthz", "/readyz"})
#: What a browser's session is good for: nothing that changes anything, so that no forged request can.
SAFE: Final = frozenset({"GET", "HEAD"})

_SHOW: Final = "show a token: Authorization: Bearer ..."
_SHOW_ADMIN: Final = (
    "without a token anybody may look and run things here, and not change the cluster (--no-auth, MANTA_AUTH=none); this takes "
    "an admin's token, on Kubernetes that of the Secret NAME-admin: Authorization: Bearer ..."
)


@dataclass(frozen=True, slots=True)
class Head:
    """What of a request decides."""

    method: str
    path: str
    host: str
    origin: str | None = None
    fetch_site: str | None = None
    authorization: str = ""
    #: None: not said, or in chunks.
    content_length: int | None = None
    content_encoding: str = ""
    #: What the browser's cookie says.
    session: str = ""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is not answered."""

    status: int
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Guard:
    """Who is let in.

    Attributes:
        role_of: What a shown token is good for; raises AuthenticationError.
        scheme: "http" or "https", as this server speaks it.
        hosts: Names under which it may be asked for, besides addresses and localhost.
        token_of: The token with which a session began; None if there is no such session (any more).
        open_to_all: Nobody is asked for a token to look and to run things; what changes the cluster takes an admin's all
            the same. Other sites' pages are refused too.
    """

    role_of: Callable[[str], TokenRole]
    scheme: str
    hosts: Collection[str] = ()
    token_of: Callable[[str], str | None] = lambda session: None
    open_to_all: bool = False

    def stranger(self, head: Head) -> Refusal | None:
        """Refuse what another site's page may have sent."""
        if not is_known(head.host, self.hosts):
            return Refusal(421, "WRONG_HOST", "ask for this server by its address, or add the name with --host-name")
        if head.fetch_site not in (None, "none", "same-origin"):
            return Refusal(403, "CROSS_SITE", "requests of other sites' pages are not answered")
        if head.origin is not None and head.origin.lower() != f"{self.scheme}://{head.host.lower()}":
            return Refusal(403, "CROSS_SITE", "requests of other sites' pages are not answered")
        return None

    def body(self, head: Head, most_bytes: int) -> Refusal | None:
        """Refuse a body by what its head says of it."""
        if head.content_encoding.lower() not in ("", "identity"):
            return Refusal(415, "INVALID_REQUEST", "bodies are taken as they are, not compressed")
        if head.content_length is not None and head.content_length > most_bytes:
            return Refusal(413, "LIMIT_EXCEEDED", f"a body here has at most {most_bytes} bytes")
        return None

    def credential(self, head: Head, needed: TokenRole) -> Refusal | None:
        """Refuse who shows no token, a wrong one, or one that is not good for this. A token goes before a session."""
        if self.open_to_all and needed <= ANONYMOUS:
            return None
        scheme, _, shown = head.authorization.partition(" ")
        if not head.authorization and head.session:
            if head.method not in SAFE:
                return Refusal(
                    401,
                    AuthenticationError.code,
                    "a browser's session only reads; show a token: Authorization: Bearer ...",
                )
            found = self.token_of(head.session)
            if found is None:
                return Refusal(401, AuthenticationError.code, "the session is over; sign in again")
            scheme, shown = "bearer", found
        if scheme.lower() != "bearer" or not shown.strip():
            return Refusal(401, AuthenticationError.code, _SHOW_ADMIN if self.open_to_all else _SHOW)
        try:
            role = self.role_of(shown.strip())
        except AuthenticationError as wrong:
            return Refusal(401, AuthenticationError.code, str(wrong))
        if role < needed:
            return Refusal(
                403,
                "FORBIDDEN",
                f"a token of the role {role.name.lower()} may not do this; it takes {needed.name.lower()} or above",
            )
        return None
