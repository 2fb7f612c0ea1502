"""From a kubeconfig, or a pod's service account, to how an API server is reached and as whom.

The rules are kubectl's. Of several files that KUBECONFIG names the first that says something wins, entry by entry; files that
are not there are passed over; paths in a file are relative to its folder. Where there is no file at all, a pod's service
account is taken.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final
from urllib.parse import urlsplit

from manta.core.errors import KubeconfigError, MissingPackageError

#: Where a pod's service account is.
SERVICE_ACCOUNT: Final = "/var/run/secrets/kubernetes.io/serviceaccount"
#: Largest file that is read: a kubeconfig of hundreds of clusters has some hundred KB.
_MOST_BYTES: Final = 16 << 20

INSTALL: Final = "pip install 'manta-executor[kubernetes]'"


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


def find(context: str = "", path: str = "", *, environ: Mapping[str, str] | None = None) -> Access:
    """What kubectl would take.

    Args:
        context: Of the kubeconfig; empty for the current one.
        path: A file; empty for those of KUBECONFIG, else ~/.kube/config, else the pod's service account.
        environ: For tests.

    Raises:
        KubeconfigError: There is none of these, no such context, or something in it cannot be used.
        MissingPackageError: It is written in YAML, which needs PyYAML.
    """
    environ = os.environ if environ is None else environ
    paths = [path] if path else paths_of(environ)
    files = [(one, read(one)) for one in paths if os.path.exists(one)]
    if files:
        return access(files, context)
    looked = " and ".join(paths)
    if not path and not context and "KUBERNETES_SERVICE_HOST" in environ:
        return in_cluster(environ)
    raise KubeconfigError(
        f"there is no kubeconfig: looked for {looked}. Set KUBECONFIG to its path, or have whoever runs the Kubernetes cluster "
        "make you one; a pod needs none, if it has a service account's token"
    )


def paths_of(environ: Mapping[str, str]) -> list[str]:
    """The files that make up the kubeconfig; some may not be there."""
    said = [os.path.expanduser(one) for one in environ.get("KUBECONFIG", "").split(os.pathsep) if one]
    return said or [os.path.join(environ.get("HOME") or os.path.expanduser("~"), ".kube", "config")]


def read(path: str) -> dict[str, Any]:
    """One file of it.

    Raises:
        KubeconfigError: It cannot be read or is none.
        MissingPackageError: It is YAML and there is no PyYAML.
    """
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read(_MOST_BYTES + 1)
    except (OSError, UnicodeDecodeError) as wrong:
        raise KubeconfigError(
            f"the kubeconfig {path} cannot be read: {getattr(wrong, 'strerror', None) or wrong}"
        ) from wrong
    if len(text) > _MOST_BYTES:
        raise KubeconfigError(f"{path} is too large for a kubeconfig")
    value: Any
    try:
        if text.lstrip().startswith("{"):
            value = json.loads(text)
        else:
            value = _yaml(text, path)
    except (ValueError, RecursionError) as wrong:
        raise KubeconfigError(f"{path} is no kubeconfig: {' '.join(str(wrong).split())}") from wrong
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise KubeconfigError(f"{path} is no kubeconfig: it holds {type(value).__name__}, not fields")
    return value


def _yaml(text: str, path: str) -> Any:
    try:
        import yaml
    except ImportError:
        raise MissingPackageError(
            f"to read the kubeconfig {path} needs PyYAML, which is not installed: {INSTALL}"
        ) from None
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as wrong:
        raise ValueError(str(wrong)) from wrong


def access(files: Sequence[tuple[str, Mapping[str, Any]]], context: str = "") -> Access:
    """What a context of a kubeconfig means.

    Args:
        files: Its files with their paths, the first before the others.
        context: Its name; empty for the current one.

    Raises:
        KubeconfigError: It is not there, or something in it cannot be used.
    """
    where = ", ".join(path for path, _ in files)
    contexts, clusters, users = (_named(files, kind) for kind in ("contexts", "clusters", "users"))
    chosen = context or next((str(one) for _, file in files if (one := file.get("current-context"))), "")
    known = ", ".join(sorted(contexts)[:20]) or "none"
    if not chosen:
        raise KubeconfigError(
            f"the kubeconfig {where} has no current context: say ?context=NAME, or kubectl config use-context NAME; "
            f"its contexts: {known}"
        )
    if chosen not in contexts:
        raise KubeconfigError(f"the kubeconfig {where} has no context {chosen!r}; its contexts: {known}")
    path, fields = contexts[chosen]
    source = f"context {chosen!r} of {path}"
    cluster, user = (_text(fields, name, source) for name in ("cluster", "user"))
    if cluster not in clusters:
        raise KubeconfigError(f"{source} is of a cluster {cluster!r} that the kubeconfig does not have")
    if user and user not in users:
        raise KubeconfigError(f"{source} is of a user {user!r} that the kubeconfig does not have")
    found = replace(
        _of_cluster(*clusters[cluster], f"cluster {cluster!r} of {clusters[cluster][0]}"),
        source=source,
        kubectl=f" --context {chosen}",
        namespace=_text(fields, "namespace", source) or "default",
    )
    if not user:
        return found
    return replace(
        found, user=_of_user(*users[user], user, f"user {user!r} of {users[user][0]}", clusters[cluster][1], found)
    )


def in_cluster(environ: Mapping[str, str], folder: str = "") -> Access:
    """A pod's service account.

    Raises:
        KubeconfigError: The pod has none.
    """
    folder = folder or SERVICE_ACCOUNT
    host, port = environ["KUBERNETES_SERVICE_HOST"], environ.get("KUBERNETES_SERVICE_PORT", "443")
    token = os.path.join(folder, "token")
    if not os.path.exists(token):
        raise KubeconfigError(
            f"there is no kubeconfig, and this pod's service account has no token in {folder}: in a pod of the cluster's own "
            "Kubernetes use its gateway, manta://NAME-gateway.NAMESPACE.svc:7620, or set automountServiceAccountToken"
        )
    namespace = _content(os.path.join(folder, "namespace"), "the service account") or b"default"
    return Access(
        source="the pod's service account",
        server=f"https://{f'[{host}]' if ':' in host else host}:{port}",
        namespace=namespace.decode("utf-8", "replace").strip(),
        authority=_content(os.path.join(folder, "ca.crt"), "the service account"),
        user=User(name="the pod's service account", token_file=token),
    )


# -- what entries say

_Entry = tuple[str, Mapping[str, Any]]


def _named(files: Sequence[tuple[str, Mapping[str, Any]]], kind: str) -> dict[str, _Entry]:
    """The entries of a kind by name, each with its file; the first of a name wins."""
    found: dict[str, _Entry] = {}
    for path, file in files:
        entries = file.get(kind) or []
        if not isinstance(entries, list):
            raise KubeconfigError(f"{path} is no kubeconfig: its {kind} are no list")
        for entry in entries:
            if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
                raise KubeconfigError(f"{path} is no kubeconfig: one of its {kind} has no name")
            fields = entry.get(kind[:-1]) or {}
            if not isinstance(fields, dict):
                raise KubeconfigError(f"{path}: {kind[:-1]} {entry['name']!r} has no fields")
            found.setdefault(entry["name"], (path, fields))
    return found


def _of_cluster(path: str, fields: Mapping[str, Any], what: str) -> Access:
    server = _text(fields, "server", what).rstrip("/")
    authority = _data(fields, "certificate-authority", path, what)
    insecure = fields.get("insecure-skip-tls-verify") is True
    if server and "://" not in server:
        server = f"https://{server}" if authority or insecure else f"http://{server}"
    parts = _split(server)
    if parts is None or parts[0] not in ("http", "https"):
        raise KubeconfigError(f"{what} has no server with a URL of http or https: {server!r:.200}")
    if authority and insecure:
        raise KubeconfigError(f"{what} names an authority and sets insecure-skip-tls-verify; one of them has to go")
    proxy = _text(fields, "proxy-url", what)
    if proxy and (_split(proxy) or ("",))[0] not in ("http", "https"):
        raise KubeconfigError(f"{what} has proxy-url {proxy!r:.200}: proxies of http and https are supported")
    return Access("", server, "", "", authority, insecure, _text(fields, "tls-server-name", what), proxy)


def _split(url: str) -> tuple[str, str] | None:
    """Scheme and host of a URL; None if it is none."""
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - raises for what is no number
    except ValueError:
        return None
    return (parts.scheme, parts.hostname) if parts.hostname else None


def _of_user(
    path: str, fields: Mapping[str, Any], name: str, what: str, cluster: Mapping[str, Any], found: Access
) -> User:
    if "auth-provider" in fields:
        raise KubeconfigError(
            f"{what} has an auth-provider, which Kubernetes gave up in 1.26: have its login write an exec plugin instead"
        )
    plugin, token_file = _plugin(path, fields.get("exec"), what, cluster, found), _text(fields, "tokenFile", what)
    token = _text(fields, "token", what)
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
    headers = [("Impersonate-User", name)] if (name := _text(fields, "as", what)) else []
    headers += [("Impersonate-Uid", uid)] if (uid := _text(fields, "as-uid", what)) else []
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


def _text(fields: Mapping[str, Any], name: str, what: str) -> str:
    value = fields.get(name)
    if value is None:
        return ""
    if not isinstance(value, (str, int)):
        raise KubeconfigError(f"{what}: {name} is no text")
    return str(value).strip()


def _data(fields: Mapping[str, Any], name: str, path: str, what: str) -> bytes:
    """A field that holds content, or names the file of it; content goes before."""
    if text := _text(fields, f"{name}-data", what):
        try:
            return base64.b64decode("".join(text.split()), validate=True)
        except (binascii.Error, ValueError):
            raise KubeconfigError(f"{what}: {name}-data is no base64") from None
    file = _text(fields, name, what)
    return _content(_absolute(path, file), what) if file else b""


def _content(path: str, what: str, opened: Callable[..., Any] = open) -> bytes:
    try:
        with opened(path, "rb") as file:
            content: bytes = file.read(_MOST_BYTES)
    except OSError as wrong:
        raise KubeconfigError(f"{what}: {path} cannot be read: {wrong.strerror}") from wrong
    return content


def _absolute(path: str, said: str) -> str:
    """A path that a file names, relative to that file's folder."""
    return os.path.join(os.path.dirname(os.path.abspath(path)), said) if said else ""
