"""How an API server is reached, and as whom: values, with nothing left to look up but what changes while it is used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Exec:
    """A program that prints credentials.

    Attributes:
        command: The program; a path, or a name to look up.
        args: Its arguments.
        env: Added to its environment.
        api_version: Which form of ExecCredential it speaks.
        install_hint: How people get it, where it is missing.
        cluster: What it is told about the cluster; None for nothing.
        interactive: "Never", "IfAvailable" or "Always": whether it may ask the user.
    """

    command: str
    args: tuple[str, ...]
    env: tuple[tuple[str, str], ...]
    api_version: str
    install_hint: str
    cluster: Mapping[str, Any] | None
    interactive: str


@dataclass(frozen=True, slots=True)
class User:
    """As whom to ask. Without anything: anonymously.

    Attributes:
        name: As the kubeconfig calls it.
        certificate: PEM of the client certificate.
        key: Of its key; a secret.
        token: A bearer token; a secret.
        token_file: The file of one, read whenever it is needed: such tokens are short-lived.
        plugin: A program that prints either.
        headers: Whom to act as: Impersonate-User and its like.
    """

    name: str = ""
    certificate: bytes = b""
    key: bytes = field(default=b"", repr=False)
    token: str = field(default="", repr=False)
    token_file: str = ""
    plugin: Exec | None = None
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Access:
    """How an API server is reached, and as whom.

    Attributes:
        source: Where this is from, for people: a context, or the pod's service account.
        kubectl: What kubectl has to be told to ask the same as the same: " --context X", or nothing.
        server: The API server's URL, without a slash at its end; it may have a path.
        namespace: The one that is meant where none is said.
        authority: PEM of who vouches for the server; empty for whom the machine trusts.
        insecure: Whether nobody needs to.
        server_name: The name that its certificate must have; empty for its URL's.
        proxy: URL of the proxy on the way; empty for what the environment says.
        user: As whom.
    """

    source: str
    server: str
    kubectl: str = ""
    namespace: str = "default"
    authority: bytes = b""
    insecure: bool = False
    server_name: str = ""
    proxy: str = ""
    user: User = User()
