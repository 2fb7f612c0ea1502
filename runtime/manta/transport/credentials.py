"""A cluster's folder of credentials, and the one file that lets another machine in.

The head's folder has everything: the authority with its key, a certificate for each role, the join token. A joining machine gets
of it, in one file to copy, what a node needs: the authority's certificate, the nodes' certificate and key, the join token, where
control is, and a viewer's token, so that whoever may look at the head may look at the node. Whoever has that file can be a node,
and so run code anywhere in the cluster; it is kept like a password.
"""

from __future__ import annotations

import datetime
import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Final

from manta.core.errors import CertificateError
from manta.transport import auth, files
from manta.transport.tls import CLUSTER_FILE, read_cluster

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

JOIN_FILE: Final = "join.json"
#: The others' names, for who reads and writes them by this module.
AUTHORITY: Final = files.AUTHORITY
AUTHORITY_KEY: Final = files.AUTHORITY_KEY
JOIN_TOKEN: Final = files.JOIN_TOKEN
TOKENS: Final = files.TOKENS
DRIVER_TOKEN: Final = files.DRIVER_TOKEN

#: Format of the join file.
_VERSION: Final = 1
#: Most that is read of one: certificates and keys are a few KB.
_MOST_BYTES: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class JoinFile:
    """What lets a machine in.

    Attributes:
        control: "host:port" of control.
        cluster: The cluster's name in certificates.
        authority: PEM of the authority's certificate.
        certificate: PEM of the nodes' certificate.
        key: Its key.
        token: The join token.
        viewer: A token that may see the metrics of whoever joins: lines of a token file, all of viewers.
        version: Of this format.
    """

    control: str
    cluster: str
    authority: str
    certificate: str
    key: str
    token: str
    viewer: str
    version: int = _VERSION


def make(folder: str, cluster: str, *, names: Sequence[str] = (), now: datetime.datetime | None = None) -> None:
    """Fill a folder with a new cluster's credentials; what is there is left as it is.

    Args:
        folder: Made if need be, for its owner alone.
        cluster: Its name in certificates: letters, digits and hyphens.
        names: Host names and addresses by which strangers reach the head.
        now: For tests.
    """
    from manta.transport.certificates import Role, make_authority, make_leaf, write_pair

    os.makedirs(folder, mode=0o700, exist_ok=True)
    now = now or datetime.datetime.now(datetime.UTC)
    authority = make_authority(cluster, now=now)
    for role in Role:
        strangers = names if role in (Role.GATEWAY, Role.DASHBOARD) else ()
        pair = make_leaf(authority, role, cluster, now=now, extra_names=strangers)
        write_pair(pair, os.path.join(folder, f"{role}.crt"), os.path.join(folder, f"{role}.key"))
    write_pair(authority, os.path.join(folder, AUTHORITY), os.path.join(folder, AUTHORITY_KEY))
    auth.write_token(os.path.join(folder, JOIN_TOKEN), auth.new_token())
    make_tokens(folder)
    # Last: a folder that has it has everything.
    auth.write_private(os.path.join(folder, CLUSTER_FILE), cluster.encode())


def make_tokens(folder: str) -> dict[str, str]:
    """One token of each role; the submitter's also alone in a file, as MANTA_TOKEN_FILE wants it."""
    tokens = {role: auth.new_token() for role in ("admin", "submitter", "viewer")}
    auth.write_token(os.path.join(folder, DRIVER_TOKEN), tokens["submitter"])
    lines = "# role token [expires]; the gateway reads this file again when it changes\n"
    lines += "".join(f"{role} {token}\n" for role, token in tokens.items())
    auth.write_private(os.path.join(folder, TOKENS), lines.encode())
    return tokens


def write_join_file(folder: str, control: str) -> str:
    """Put what a machine needs to join into one file of the head's folder, unless it is there; its path.

    Raises:
        CertificateError: It cannot be written.
    """
    content = JoinFile(
        control=control,
        cluster=read_cluster(folder),
        authority=_read(os.path.join(folder, AUTHORITY)),
        certificate=_read(os.path.join(folder, "worker.crt")),
        key=_read(os.path.join(folder, "worker.key")),
        token=auth.read_token(os.path.join(folder, JOIN_TOKEN)),
        viewer=_viewers(_read(os.path.join(folder, TOKENS))),
    )
    path = os.path.join(folder, JOIN_FILE)
    data = json.dumps(asdict(content), indent=1)
    with suppress(CertificateError):
        if _read(path) == data:
            return path
    try:
        auth.write_private(path, data.encode())
    except OSError as error:
        raise CertificateError(
            f"The join file {path} cannot be written: {error.strerror}. The one that is there leads to another port than "
            f"that of {control}; with the port of the last start (--port) it need not be written"
        ) from error
    return path


def _viewers(tokens: str) -> str:
    """The lines of a token file that are viewers'. A node shows its numbers to those, and learns of no stronger token."""
    lines = [line for line in tokens.splitlines() if line.split()[:1] == ["viewer"]]
    return "".join(f"{line}\n" for line in lines or ["# no token of a viewer was there when this file was made"])


def read_join_file(path: str) -> JoinFile:
    """Read one.

    Raises:
        CertificateError: It cannot be read, can be read by others, or is none.
    """
    try:
        with open(path, "rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            data = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise CertificateError(f"The join file {path} cannot be read: {error.strerror}") from error
    if mode & 0o077:
        raise CertificateError(f"The join file {path} can be read by others, and lets them run code here; chmod 600 it")
    wrong = f"{path} is no join file; `manta start --head` writes one as {JOIN_FILE} into its folder of credentials"
    try:
        values = json.loads(data) if len(data) <= _MOST_BYTES else None
    except (ValueError, RecursionError) as error:
        raise CertificateError(wrong) from error
    if not isinstance(values, dict):
        raise CertificateError(wrong)
    if values.get("version") != _VERSION:
        raise CertificateError(
            f"{path} has format {values.get('version')!r:.20}; this version of manta reads {_VERSION}"
        )
    try:
        found = JoinFile(**values)
    except TypeError as error:
        raise CertificateError(wrong) from error
    texts: tuple[object, ...] = (
        found.control,
        found.cluster,
        found.authority,
        found.certificate,
        found.key,
        found.token,
        found.viewer,
    )
    if not all(isinstance(text, str) and len(text) for text in texts):
        raise CertificateError(wrong)
    return found


def unpack(joining: JoinFile, folder: str) -> None:
    """Lay a join file out as a node's folder of credentials."""
    os.makedirs(folder, mode=0o700, exist_ok=True)
    for name, text in (
        (AUTHORITY, joining.authority),
        ("worker.key", joining.key),
        ("worker.crt", joining.certificate),
        (JOIN_TOKEN, joining.token),
        (TOKENS, joining.viewer),
        (CLUSTER_FILE, joining.cluster),
    ):
        auth.write_private(os.path.join(folder, name), text.encode())


def _read(path: str) -> str:
    try:
        with open(path) as file:
            return file.read()
    except OSError as error:
        raise CertificateError(f"The file {path} cannot be read: {error.strerror}") from error
