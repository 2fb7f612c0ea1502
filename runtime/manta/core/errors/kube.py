"""What goes wrong on the way to a cluster on Kubernetes: the kubeconfig, the API server, the custom resource, the forward."""

from __future__ import annotations

from manta.core.errors.base import TEXT, MantaError
from manta.core.errors.system import AuthenticationError, CertificateError, ClusterNotFoundError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import ClassVar, Self

    from manta.core.errors.base import Fields


class KubernetesError(MantaError, ConnectionError):
    """A k8s:// address could not be followed.

    Attributes:
        message: Why.
        address: The address; empty where it is not known yet.
    """

    code = "KUBERNETES_ERROR"
    _fields: ClassVar[Fields] = (("message", TEXT), ("address", TEXT))

    def __init__(self, message: str, address: str = "") -> None:
        Exception.__init__(self, message, address)  # not its other parents', whose constructors differ
        self.message = message
        self.address = address
        self.__suppress_context__ = True  # what a library called it below explains nothing more

    def at(self, address: str) -> Self:
        """Say which address it is about, unless it is said. Returns the error itself."""
        if not self.address:
            self.address = address
            self.args = (self.message, address)
        return self

    def _text(self) -> str:
        return f"{self.address}: {self.message}" if self.address else self.message


class KubernetesAddressError(KubernetesError, ValueError):
    """A k8s:// address is none."""

    code = "KUBERNETES_ADDRESS"


class KubeconfigError(KubernetesError):
    """There is no kubeconfig, it has no such context, or something in it cannot be used."""

    code = "KUBECONFIG"


class KubernetesUnreachableError(KubernetesError, ClusterNotFoundError):
    """The API server does not answer, or is not well."""

    code = "KUBERNETES_UNREACHABLE"


class KubernetesUnauthorizedError(KubernetesError):
    """The API server does not know who asks: credentials have expired, or are not its own."""

    code = "KUBERNETES_UNAUTHORIZED"


class KubernetesForbiddenError(KubernetesError, PermissionError):
    """The API server knows who asks and does not let them."""

    code = "KUBERNETES_FORBIDDEN"


class ClusterAbsentError(KubernetesError, ClusterNotFoundError):
    """There is no such MantaCluster."""

    code = "CLUSTER_ABSENT"


class ClusterNotReadyError(KubernetesError, ClusterNotFoundError):
    """The MantaCluster is there, and takes no drivers now."""

    code = "CLUSTER_NOT_READY"


class PortForwardError(KubernetesError, ClusterNotFoundError):
    """A port of the head's pod could not be forwarded."""

    code = "PORT_FORWARD"


class ForwardedTokenError(KubernetesError, AuthenticationError):
    """The MantaCluster was reached and does not take the token."""

    code = "FORWARDED_TOKEN_REFUSED"


class ForwardedCertificateError(KubernetesError, CertificateError):
    """Whoever was reached is not the MantaCluster that was meant."""

    code = "FORWARDED_CERTIFICATE_REFUSED"


class MissingPackageError(MantaError, ImportError):
    """Something was asked for that needs a package which is not installed.

    Attributes:
        message: Which, what for, and how it is installed.
    """

    code = "MISSING_PACKAGE"
    _fields: ClassVar[Fields] = (("message", TEXT),)

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message
