"""From a kubeconfig, or a pod's service account, to how an API server is reached and as whom.

The rules are kubectl's. Of several files that KUBECONFIG names the first that says something wins, entry by entry; files that
are not there are passed over; paths in a file are relative to its folder. Where there is no file at all, a pod's service
account is taken.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from manta.client.kube.access import Access, User
from manta.client.kube.entries import MOST_BYTES, content_of, of_cluster, of_user, text_of
from manta.core.errors import KubeconfigError, MissingPackageError

#: Where a pod's service account is.
SERVICE_ACCOUNT: Final = "/var/run/secrets/kubernetes.io/serviceaccount"

INSTALL: Final = "pip install 'manta-executor[kubernetes]'"


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
            text = file.read(MOST_BYTES + 1)
    except (OSError, UnicodeDecodeError) as wrong:
        raise KubeconfigError(
            f"the kubeconfig {path} cannot be read: {getattr(wrong, 'strerror', None) or wrong}"
        ) from wrong
    if len(text) > MOST_BYTES:
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
    cluster, user = (text_of(fields, name, source) for name in ("cluster", "user"))
    if cluster not in clusters:
        raise KubeconfigError(f"{source} is of a cluster {cluster!r} that the kubeconfig does not have")
    if user and user not in users:
        raise KubeconfigError(f"{source} is of a user {user!r} that the kubeconfig does not have")
    found = replace(
        of_cluster(*clusters[cluster], f"cluster {cluster!r} of {clusters[cluster][0]}"),
        source=source,
        kubectl=f" --context {chosen}",
        namespace=text_of(fields, "namespace", source) or "default",
    )
    if not user:
        return found
    return replace(
        found, user=of_user(*users[user], user, f"user {user!r} of {users[user][0]}", clusters[cluster][1], found)
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
    namespace = content_of(os.path.join(folder, "namespace"), "the service account") or b"default"
    return Access(
        source="the pod's service account",
        server=f"https://{f'[{host}]' if ':' in host else host}:{port}",
        namespace=namespace.decode("utf-8", "replace").strip(),
        authority=content_of(os.path.join(folder, "ca.crt"), "the service account"),
        user=User(name="the pod's service account", token_file=token),
    )


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
