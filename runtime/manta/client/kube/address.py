"""`k8s://NAME`, `k8s://NAMESPACE/NAME`, `k8s://NAMESPACE/NAME?context=CONTEXT`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote

from manta.core.errors import KubernetesAddressError

SCHEME = "k8s://"

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_RIGHT = (
    "an address is k8s://NAME or k8s://NAMESPACE/NAME, of a MantaCluster; ?context=NAME takes another context of the kubeconfig, "
    "?kubeconfig=PATH another file"
)


@dataclass(frozen=True, slots=True)
class KubeAddress:
    """Which MantaCluster.

    Attributes:
        text: As it was given.
        name: Of the MantaCluster.
        namespace: Its namespace; empty for the context's.
        context: Of the kubeconfig; empty for the current one.
        kubeconfig: A file; empty for those that kubectl takes.
    """

    text: str
    name: str
    namespace: str = ""
    context: str = ""
    kubeconfig: str = ""


def parse(text: str) -> KubeAddress:
    """What an address says.

    Raises:
        KubernetesAddressError: It is none.
    """
    where, separator, query = text.removeprefix(SCHEME).partition("?")
    if not text.startswith(SCHEME) or len(text) > 2000:
        raise KubernetesAddressError(_RIGHT, f"{text:.200}")
    namespace, slash, name = where.removesuffix("/").rpartition("/")
    for part in (namespace, name) if slash else (name,):
        if _LABEL.fullmatch(part) is None:
            shown = f"{part!r:.100} is no name of a {'namespace' if slash and part == namespace else 'MantaCluster'}"
            raise KubernetesAddressError(f"{shown}: {_RIGHT}", text)
    options = {"context": "", "kubeconfig": ""}
    for piece in query.split("&") if separator else ():
        key, _, value = piece.partition("=")
        if key not in options or not value:
            raise KubernetesAddressError(f"{piece!r:.100} after the question mark means nothing: {_RIGHT}", text)
        options[key] = unquote(value)
    return KubeAddress(text, name, namespace, options["context"], options["kubeconfig"])
