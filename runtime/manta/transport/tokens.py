"""Tokens with roles: who may look, who may run things, who may change the cluster. Read from a file that may change any time.

A line of the file is `role token`, or `role token expires` with a time like 2027-01-31T12:00:00+00:00; `#` begins a comment. A
token alone on its line is an admin's. Several of one role are valid at once, so that tokens can be changed without a moment
in which neither works.
"""

from __future__ import annotations

import datetime
import logging
import os
from dataclasses import dataclass
from enum import IntEnum
from hmac import compare_digest
from typing import Final

from manta.core.errors import AuthenticationError
from manta.transport.auth import TOKEN_LENGTH, is_private

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

log = logging.getLogger(__name__)

#: A file is looked at again when a token is checked and the last look is so long ago.
LOOK_AGAIN_S = 1.0

#: Largest token file.
FILE_LIMIT = 1 << 20


class TokenRole(IntEnum):
    """What a token is good for; each includes those before."""

    #: Read states, metrics and logs.
    VIEWER = 1
    #: Also run things: drivers and jobs.
    SUBMITTER = 2
    #: Also change the cluster.
    ADMIN = 3


@dataclass(frozen=True, slots=True)
class Token:
    """One valid token."""

    role: TokenRole
    text: str
    #: Seconds since the epoch; None for never.
    expires: float | None = None


def read_tokens(text: str, where: str) -> list[Token]:
    """The tokens of a file's text.

    Args:
        text: All of it.
        where: The file's name, for messages.

    Raises:
        AuthenticationError: A line is none; says which and why, and never what it holds.
    """
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        if len(words) == 1:
            words.insert(0, "admin")
        role = {role.name.lower(): role for role in TokenRole}.get(words[0])
        if role is None:
            raise AuthenticationError(
                f"{where}, line {number}: a role is viewer, submitter or admin, and stands before its token"
            )
        if len(words[1]) != TOKEN_LENGTH or not set(words[1]) <= set("0123456789abcdef"):
            raise AuthenticationError(f"{where}, line {number}: a token is {TOKEN_LENGTH} hex digits in lower case")
        expires = None
        if len(words) > 2:
            try:
                until = datetime.datetime.fromisoformat(words[2])
            except ValueError:
                until = None
            if until is None or until.tzinfo is None or len(words) > 3:
                raise AuthenticationError(
                    f"{where}, line {number}: after the token comes nothing, or when it expires, with a time zone: "
                    "2027-01-31T12:00:00+00:00"
                )
            expires = until.timestamp()
        found.append(Token(role, words[1], expires))
    return found


def role_of(tokens: Sequence[Token], shown: str, now: float) -> TokenRole:
    """What a shown token is good for.

    Every token is compared, each in time that does not depend on where they differ: stopping early would tell which it was.

    Args:
        tokens: The valid ones.
        shown: What the other side sent.
        now: Seconds since the epoch.

    Raises:
        AuthenticationError: It is none of them, or has expired.
    """
    given = shown.encode("utf-8", "surrogateescape")
    best: Token | None = None
    for token in tokens:
        same = compare_digest(token.text.encode(), given)
        if same and (best is None or (token.expires or 1e18) > (best.expires or 1e18)):
            best = token
    if best is None:
        raise AuthenticationError("the token is not this cluster's")
    if best.expires is not None and best.expires <= now:
        when = datetime.datetime.fromtimestamp(best.expires, datetime.UTC).isoformat()
        raise AuthenticationError(f"the token has expired ({when}); ask for a new one")
    return best.role


#: What everybody may do where nobody is asked for a token: run things, and not change the cluster.
ANONYMOUS: Final = TokenRole.SUBMITTER


class Everybody:
    """In place of a file of tokens where nobody is asked for one, and no token is good for more."""

    def role_of(self, shown: str) -> TokenRole:
        """The same for everybody."""
        del shown
        return ANONYMOUS

    def valid(self) -> list[Token]:
        """There are none."""
        return []


class TokenFile:
    """The tokens of a file, read again when it has changed.

    A file that cannot be read any more leaves the tokens as they were, and says so in the log: an editor's half-written file
    must not lock everybody out.
    """

    def __init__(self, path: str, now: Callable[[], float]) -> None:
        self._path = path
        self._now = now
        self._stamp: tuple[int, int, int] | None = None
        self._looked = float("-inf")
        self._tokens: list[Token] = []
        self._read()

    def role_of(self, shown: str) -> TokenRole:
        """See `role_of`."""
        now = self._now()
        self._look(now)
        return role_of(self._tokens, shown, now)

    def valid(self) -> list[Token]:
        """Those that are good now."""
        now = self._now()
        self._look(now)
        return [token for token in self._tokens if token.expires is None or token.expires > now]

    def _look(self, now: float) -> None:
        if not self._looked <= now < self._looked + LOOK_AGAIN_S:
            try:
                self._read()
            except AuthenticationError as wrong:
                log.warning("tokens are as they were: %s", wrong)

    def _read(self) -> None:
        self._looked = self._now()
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise AuthenticationError(f"The token file {self._path} cannot be read: {error.strerror}") from error
        try:
            status = os.fstat(descriptor)
            stamp = (status.st_mtime_ns, status.st_ino, status.st_size)
            if stamp == self._stamp:
                return
            if not is_private(descriptor):
                raise AuthenticationError(f"The token file {self._path} can be read by others; chmod 600 it")
            text = os.read(descriptor, FILE_LIMIT).decode("utf-8", "replace")
        finally:
            os.close(descriptor)
        self._tokens = read_tokens(text, f"The token file {self._path}")
        self._stamp = stamp
