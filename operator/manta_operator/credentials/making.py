"""Randomness: keys and tokens. Passed in, so that a decision can be repeated."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from manta.transport import auth, certificates
from manta.transport.certificates import KeyPair, Role


class Makes(Protocol):
    """Whoever makes what nobody can guess."""

    def token(self) -> str:
        """A fresh token."""

    def authority(self, cluster: str, now: datetime) -> KeyPair:
        """A fresh authority."""

    def leaf(self, authority: KeyPair, role: Role, cluster: str, now: datetime, names: Sequence[str]) -> KeyPair:
        """A fresh certificate of a role."""


class Makers:
    """The machine's own randomness."""

    def token(self) -> str:
        """A fresh token."""
        return auth.new_token()

    def authority(self, cluster: str, now: datetime) -> KeyPair:
        """A fresh authority."""
        return certificates.make_authority(cluster, now=now)

    def leaf(self, authority: KeyPair, role: Role, cluster: str, now: datetime, names: Sequence[str]) -> KeyPair:
        """A fresh certificate of a role."""
        return certificates.make_leaf(authority, role, cluster, now=now, extra_names=names)
