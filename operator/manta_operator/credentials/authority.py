"""The truth about a cluster's credentials, in one Secret: which roots and tokens are valid, and how far their rotations are."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from manta.transport.auth import TOKEN_LENGTH
from manta_operator.credentials import content
from manta_operator.credentials.certificate import fits, load
from manta_operator.credentials.rotation import Turn

T = TypeVar("T")

_STATE = "state.json"
#: By what is under way, the ends of files' names.
_PARTS = {"now": "", "coming": "-next", "going": "-old"}
#: Format of `state.json`.
_VERSION = 1


class NotOursError(Exception):
    """A Secret does not hold what we put into it; says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Root:
    """An authority.

    Attributes:
        certificate: PEM.
        key: PEM; empty if it signs nothing any more, or was lost.
    """

    certificate: bytes
    key: bytes = b""


@dataclass(frozen=True, slots=True)
class Tokens:
    """Tokens of each role; the first is shown, the others are taken as well.

    Attributes:
        of: By role, `join` included.
    """

    of: Mapping[str, tuple[str, ...]]

    def text(self) -> str:
        """A line for each."""
        return "".join(f"{role} {token}\n" for role in (*content.ROLES, content.JOIN) for token in self.of[role])


@dataclass(frozen=True, slots=True)
class Truth:
    """What the authority's Secret says.

    Attributes:
        roots: Authorities.
        tokens: Tokens.
    """

    roots: Turn[Root]
    tokens: Turn[Tokens]

    def files(self) -> dict[str, bytes]:
        """As it is kept. What there is not is an empty file: a name that is left out of an apply may stay."""
        found: dict[str, bytes] = {}
        for part, end in _PARTS.items():
            root: Root | None = getattr(self.roots, part)
            tokens: Tokens | None = getattr(self.tokens, part)
            found[f"ca{end}.crt"] = root.certificate if root is not None else b""
            # Who goes signs no more.
            found[f"ca{end}.key"] = root.key if root is not None and part != "going" else b""
            found[f"tokens{end}"] = tokens.text().encode() if tokens is not None else b""
        del found["ca-old.key"]
        state = {"version": _VERSION, "roots": _state(self.roots), "tokens": _state(self.tokens)}
        found[_STATE] = json.dumps(state, sort_keys=True).encode()
        return found


def read(files: Mapping[str, bytes]) -> Truth:
    """The truth, from its files.

    Raises:
        NotOursError: Somebody has changed them, and they say nothing (sensible) any more.
    """
    try:
        state = json.loads(files.get(_STATE, b""))
        if state["version"] != _VERSION:
            raise NotOursError(f"{_STATE} has format {state['version']!r:.20}, and this operator reads {_VERSION}")
        roots = _turn(state["roots"], {part: _root(files, end) for part, end in _PARTS.items()})
        tokens = _turn(state["tokens"], {part: _tokens(files, end) for part, end in _PARTS.items()})
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise NotOursError(f"{_STATE} is not as it was written") from error
    # A key may be lost only where another is coming.
    if not roots.newest.key:
        raise NotOursError("the key of the authority is missing")
    return Truth(roots, tokens)


def _state(turn: Turn[Any]) -> dict[str, Any]:
    return {"until": turn.until, "pace": turn.pace_s, "answered": turn.answered, "given": turn.given}


def _turn(state: Mapping[str, Any], parts: Mapping[str, T | None]) -> Turn[T]:
    now = parts["now"]
    if now is None:
        raise NotOursError("what is valid now is missing")
    return Turn(
        now=now,
        coming=parts["coming"],
        going=parts["going"],
        until=float(state["until"]),
        pace_s=float(state["pace"]),
        answered=str(state["answered"]),
        given=bool(state["given"]),
    )


def _root(files: Mapping[str, bytes], end: str) -> Root | None:
    certificate, key = files.get(f"ca{end}.crt", b""), files.get(f"ca{end}.key", b"")
    if not certificate:
        return None
    if load(certificate) is None:
        raise NotOursError(f"ca{end}.crt is no certificate")
    if key and not fits(certificate, key):
        raise NotOursError(f"ca{end}.key is not the key of ca{end}.crt")
    return Root(certificate, key)


def _tokens(files: Mapping[str, bytes], end: str) -> Tokens | None:
    text = files.get(f"tokens{end}", b"").decode("utf-8", "replace")
    if not text:
        return None
    found: dict[str, list[str]] = {role: [] for role in (*content.ROLES, content.JOIN)}
    for line in text.splitlines():
        role, _, token = line.partition(" ")
        if role not in found or not is_token(token):
            raise NotOursError(f"tokens{end} has a line that is not a role and its token")
        found[role].append(token)
    missing = [role for role, tokens in found.items() if not tokens]
    if missing:
        raise NotOursError(f"tokens{end} has no token of {', '.join(missing)}")
    return Tokens({role: tuple(tokens) for role, tokens in found.items()})


def is_token(text: str) -> bool:
    """Whether the cluster's processes would take it for one."""
    return len(text) == TOKEN_LENGTH and set(text) <= set("0123456789abcdef")
