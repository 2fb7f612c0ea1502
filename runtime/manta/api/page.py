"""The page of the cluster that was joined: where it is, and with which link one signs in."""

from __future__ import annotations

import os

from manta.core.errors import MantaError, SettingError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from manta.client.session import Session
    from manta.core.options.init import InitOptions

#: How long control may take to say where it is.
_ASK_S = 2.0


def wanted(options: InitOptions) -> tuple[str, bool] | None:
    """Where an embedded cluster's dashboard is to listen, and whether any other port will do; None for no dashboard.

    Raises:
        SettingError: There it must not listen.
    """
    if not options.include_dashboard:
        return None
    import ipaddress

    from manta.transport.addresses import joined

    host = "127.0.0.1" if options.dashboard_host == "localhost" else options.dashboard_host
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise SettingError(
            "dashboard_host",
            host,
            "localhost or an address of loopback, like 127.0.0.1: a cluster that init() starts has no certificates. "
            "`manta start --head` opens its dashboard to other machines, by TLS; or forward the port: ssh -L 8265:localhost:8265",
        )
    return joined(host, options.dashboard_port), "dashboard_port" not in options.given


def refused(error: SettingError) -> SettingError:
    """What a dashboard that could not listen complains of, in init's words."""
    host, _, port = error.value.rpartition(":")
    if "port" in error.expected and port:
        return SettingError("dashboard_port", port, f"a port of {host} on which nobody else listens, or 0 for any")
    return SettingError("dashboard_host", host, error.expected)


def url_of(session: Session) -> str:
    """The URL of the cluster's page, as its dashboard told control; empty when there is none, or nobody says."""
    from manta.rpc.v1 import control_pb2 as pb
    from manta.transport.page_address import KEY, NAMESPACE, decode

    try:
        answer = session.control("KvGet", pb.KvGetRequest(namespace=NAMESPACE, key=KEY), pb.KvGetResponse, _ASK_S)
    except MantaError:
        return ""  # whoever wants to see the page can ask again; joining does not fail for it
    return decode(answer.value) if answer.found else ""


def sign_in_hint(url: str, token: str) -> str:
    """What a person who has just started a cluster is told.

    A link is worth nothing after its first use or ten minutes, and yet is no text for a log file that others keep: it is shown
    to a terminal or a notebook only.
    """
    import sys
    import time

    from manta.transport import tickets

    if not (sys.stderr is not None and sys.stderr.isatty()) and "ipykernel" not in sys.modules:
        return f"The dashboard is at {url} ; `manta dashboard` makes a link to sign in."
    ticket = tickets.make(token, time.time(), os.urandom(tickets.NONCE_BYTES))
    return (
        f"The dashboard is at {url} . Sign in, once and within ten minutes, at {url}/sign-in?ticket={ticket} ; later "
        "`manta dashboard` makes a new link."
    )
