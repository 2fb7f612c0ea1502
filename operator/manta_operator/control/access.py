"""Where a cluster's control is, and what lets the operator in. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from manta_operator.credentials import access as credentials

#: Of control's gRPC in the head's pod.
PORT = 7600


@dataclass(frozen=True, slots=True)
class Access:
    """How control is reached.

    Attributes:
        target: "host:port".
        shown: What the operator shows, and by what it knows control.
        tls: Whether control speaks TLS.
    """

    target: str
    shown: credentials.Access = field(repr=False)
    tls: bool = True

    @property
    def server_name(self) -> str:
        """The name that control has to show."""
        return f"control.{self.shown.cluster}.manta"


def access_of(shown: credentials.Access | None, host: str) -> Access | None:
    """How to reach the control of a head; None if it cannot be. It speaks TLS also where a cluster's drivers do not.

    Args:
        shown: The cluster's credentials; None for none yet.
        host: Address of the head's pod; empty for none.
    """
    if shown is None or not host:
        return None
    return Access(f"[{host}]:{PORT}" if ":" in host else f"{host}:{PORT}", shown)
