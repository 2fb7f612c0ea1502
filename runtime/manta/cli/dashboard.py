"""`manta dashboard`: where a cluster's page is, and a link that signs a browser in once."""

from __future__ import annotations

import argparse
import hashlib
import os
import ssl
import sys
import time
from typing import Final

from manta.cli import clusters
from manta.cli.documents import written
from manta.cli.failures import SilentError
from manta.core.environment import env
from manta.transport import tickets
from manta.transport.tokens import read_tokens

_EXAMPLES: Final = """\
examples:
  manta dashboard                               the newest cluster of yours on this machine
  manta dashboard -o json | jq -r .sign_in      the link alone
  ssh -L 8265:localhost:8265 HEAD               then, on your own machine, https://localhost:8265 instead of the address

  manta dashboard --address k8s://NAMESPACE/NAME   one on Kubernetes, forwarded to this machine until Ctrl-C

The link is good once, for ten minutes, and lets its user look and change nothing. It can be made where the cluster's tokens
are: on the machine of its head, by its owner; on Kubernetes by whoever may read the Secret NAME-viewer."""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The command's arguments."""
    parser = commands.add_parser(
        "dashboard",
        help="where the page is, and a link to sign in",
        description="Say where a cluster's page is, and make a link that signs a browser in once.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--address", metavar="ADDRESS", help="a raylet's socket (default: the newest cluster), or k8s://NAMESPACE/NAME"
    )
    parser.add_argument(
        "--port",
        type=int,
        metavar="PORT",
        help="of this machine, for a cluster on Kubernetes (default: 8265, or a free one)",
    )
    parser.add_argument("-o", "--output", choices=("text", "json", "yaml"), default="text", help="default: text")
    parser.set_defaults(run=run)


def run(flags: argparse.Namespace) -> int:
    """Make the link and print it."""
    wanted = flags.address or env("ADDRESS") or ""
    if wanted.startswith(clusters.KUBERNETES):
        from manta.cli.forwarding import show_dashboard

        return show_dashboard(wanted, flags.port, flags.output)
    cluster = clusters.find(flags.address, "dashboard")
    if not cluster.dashboard:
        raise SilentError(
            "this node knows of no dashboard. `manta start --head` starts one unless --no-dashboard is said, and its links "
            "are made on that machine; an embedded cluster has one with manta.init(include_dashboard=True)"
        )
    link = sign_in_link(cluster.dashboard, cluster.tokens)
    certificate = _fingerprint(os.path.join(os.path.dirname(cluster.tokens), "dashboard.crt"))
    if flags.output != "text":
        facts = {"url": cluster.dashboard, "sign_in": link, "tokens": cluster.tokens, "certificate_sha256": certificate}
        sys.stdout.write(written(facts, flags.output))
        return 0
    shown = (
        f"\n  certificate      the cluster's own, which browsers warn of; its SHA-256 is\n      {certificate}"
        if certificate
        else ""
    )
    print(
        f"The page is at {cluster.dashboard}\n\n"
        f"  sign in          once, within ten minutes:\n      {link}\n"
        f"  or with a token  of {cluster.tokens}{shown}"
    )
    return 0


def sign_in_link(url: str, tokens: str) -> str:
    """A link that signs in once, with the least of the tokens in a file.

    Raises:
        SilentError: The file has none, or cannot be read.
    """
    try:
        with open(tokens) as file:
            found = read_tokens(file.read(), tokens)
    except OSError as error:
        raise SilentError(f"the cluster's tokens cannot be read: {error}") from error
    now = time.time()
    valid = [token for token in found if token.expires is None or token.expires > now]
    if not valid:
        raise SilentError(f"no token of {tokens} is valid now; add a line: viewer TOKEN")
    least = min(valid, key=lambda token: token.role)
    return f"{url}/sign-in?ticket={tickets.make(least.text, now, os.urandom(tickets.NONCE_BYTES))}"


def _fingerprint(path: str) -> str:
    """Of a certificate, as browsers show it; empty if there is none."""
    try:
        with open(path) as file:
            der = ssl.PEM_cert_to_DER_cert(
                file.read().partition("-----END CERTIFICATE-----")[0] + "-----END CERTIFICATE-----\n"
            )
    except (OSError, ValueError):
        return ""
    digest = hashlib.sha256(der).hexdigest().upper()
    return ":".join(digest[at : at + 2] for at in range(0, len(digest), 2))
