"""What the entries of a kubeconfig say: a cluster's, a user's. Files that they name are read, plugins are not run."""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from manta.client.kube.access import Access, Exec, User
from manta.core.errors import KubeconfigError

#: Largest file that is read.
MOST_BYTES: Final = 16 << 20


def of_cluster(path: str, fields: Mapping[str, Any], what: str) -> Access:
    """What a cluster's entry says; the rest of it is nobody's.

    Args:
        path: The file.
        fields: The entry.
        what: It, for people.

    Raises:
        KubeconfigError: Something in it cannot be used.
    """
    server = text_of(fields, "server", what).rstrip("/")
    authority = _data(fields, "certificate-authority", path, what)
    insecure = fields.get("insecure-skip-tls-verify") is True
    if server and "://" not in server:
        server = f"https://{server}" if authority or insecure else f"http://{server}"
    parts = _split(server)
    if parts is None or parts[0] not in ("http", "https"):
        raise KubeconfigError(f"{what} has no server with a URL of http or https: {server!r:.200}")
    if authority and insecure:
        raise KubeconfigError(f"{what} names an authority and sets insecure-skip-tls-verify; one of them has to go")
    proxy = text_of(fields, "proxy-url", what)
    if proxy and (_split(proxy) or ("",))[0] not in ("http", "https"):
        raise KubeconfigError(f"{what} has proxy-url {proxy!r:.200}: proxies of http and https are supported")
    return Access("", server, "", "", authority, insecure, text_of(fields, "tls-server-name", what), proxy)


def _split(url: str) -> tuple[str, str] | None:
    """Scheme and host of a URL; None if it is none."""
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - raises for what is no number
    except ValueError:
        return None
    return (parts.scheme, parts.hostname) if parts.hostname else None


def of_user(
    path: str, fields: Mapping[str, Any], name: str, what: str, cluster: Mapping[str, Any], found: Access
) -> User:
    """What a user's entry says.

    Args:
        path: The file.
        fields: The entry.
        name: Of it.
        what: It, for people.
        cluster: The entry of the cluster, and
        found: what that says: a plugin may be told of it.

    Raises:
        KubeconfigError: Something in it cannot be used.
    """
    if "auth-provider" in fields:
        raise KubeconfigError(
            f"{what} has an auth-provider, which Kubernetes gave up in 1.26: have its login write an exec plugin instead"
        )
    plugin, token_file = _plugin(path, fields.get("exec"), what, cluster, found), text_of(fields, "tokenFile", what)
    token = text_of(fields, "token", what)
    certificate = _data(fields, "client-certificate", path, what)
    key = _data(fields, "client-key", path, what)
    if bool(certificate) != bool(key):
        raise KubeconfigError(
            f"{what} has {'no client-key' if certificate else 'no client-certificate'} to the other one"
        )
    if (fields.get("username") or fields.get("password")) and not (token or token_file or certificate or plugin):
        raise KubeconfigError(
            f"{what} has a name and a password, which API servers take no more since Kubernetes 1.19: it takes a certificate, "
            "a token or an exec plugin"
        )
    return User(
        name=name,
        certificate=certificate,
        key=key,
        token="" if token_file else token,  # a file goes before, as it is renewed
        token_file=_absolute(path, token_file),
        plugin=None if token or token_file else plugin,
        headers=_impersonation(fields, what),
    )


def _impersonation(fields: Mapping[str, Any], what: str) -> tuple[tuple[str, str], ...]:
    headers = [("Impersonate-User", name)] if (name := text_of(fields, "as", what)) else []
    headers += [("Impersonate-Uid", uid)] if (uid := text_of(fields, "as-uid", what)) else []
    headers += [("Impersonate-Group", str(group)) for group in fields.get("as-groups") or ()]
    for key, values in (fields.get("as-user-extra") or {}).items():
        headers += [(f"Impersonate-Extra-{key}", str(value)) for value in values or ()]
    if any(not text.isprintable() for _, text in headers):
        raise KubeconfigError(f"{what} acts as somebody whose name no header can carry")
    return tuple(headers)


def _plugin(path: str, said: Any, what: str, cluster: Mapping[str, Any], found: Access) -> Exec | None:
    if not said:
        return None
    if not isinstance(said, dict) or not isinstance(said.get("command"), str) or not said["command"]:
        raise KubeconfigError(f"{what} has an exec plugin without a command")
    version = str(said.get("apiVersion"))
    if version not in ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1"):
        raise KubeconfigError(
            f"{what} has an exec plugin of {version!r:.100}; client.authentication.k8s.io/v1 and v1beta1 are supported"
        )
    command = said["command"]
    if os.path.dirname(command):
        command = _absolute(path, command)
    return Exec(
        command=command,
        args=tuple(str(one) for one in said.get("args") or ()),
        env=tuple((str(one.get("name")), str(one.get("value", ""))) for one in said.get("env") or ()),
        api_version=version,
        install_hint=str(said.get("installHint") or ""),
        cluster=_told(cluster, found) if said.get("provideClusterInfo") else None,
        interactive=str(said.get("interactiveMode") or "IfAvailable"),
    )


def _told(cluster: Mapping[str, Any], found: Access) -> dict[str, Any]:
    """What a plugin learns of the cluster, as ExecCredential has it."""
    told: dict[str, Any] = {"server": found.server, "config": None}
    if found.authority:
        told["certificate-authority-data"] = base64.b64encode(found.authority).decode()
    more = {
        "insecure-skip-tls-verify": found.insecure,
        "tls-server-name": found.server_name,
        "proxy-url": found.proxy,
    }
    told |= {name: value for name, value in more.items() if value}
    for extension in cluster.get("extensions") or ():
        if isinstance(extension, dict) and extension.get("name") == "client.authentication.k8s.io/exec":
            told["config"] = extension.get("extension")
    return told


# -- fields


def text_of(fields: Mapping[str, Any], name: str, what: str) -> str:
    """A field that is text; empty if it is not there."""
    value = fields.get(name)
    if value is None:
        return ""
    if not isinstance(value, (str, int)):
        raise KubeconfigError(f"{what}: {name} is no text")
    return str(value).strip()


def _data(fields: Mapping[str, Any], name: str, path: str, what: str) -> bytes:
    """A field that holds content, or names the file of it; content goes before."""
    if text := text_of(fields, f"{name}-data", what):
        try:
            return base64.b64decode("".join(text.split()), validate=True)
        except (binascii.Error, ValueError):
            raise KubeconfigError(f"{what}: {name}-data is no base64") from None
    file = text_of(fields, name, what)
    return content_of(_absolute(path, file), what) if file else b""


def content_of(path: str, what: str) -> bytes:
    """A file that somebody names."""
    try:
        with open(path, "rb") as file:
            content: bytes = file.read(MOST_BYTES)
    except OSError as wrong:
        raise KubeconfigError(f"{what}: {path} cannot be read: {wrong.strerror}") from wrong
    return content


def _absolute(path: str, said: str) -> str:
    """A path that a file names, relative to that file's folder."""
    return os.path.join(os.path.dirname(os.path.abspath(path)), said) if said else ""
