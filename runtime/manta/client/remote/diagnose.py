"""Why a gateway could not be reached, for people."""

from __future__ import annotations

from manta.core import errors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from manta.client.remote.address import Gateway


def reason(gateway: Gateway, failed: OSError) -> errors.MantaError:
    """The error for a gateway with which no TLS connection came about.

    Args:
        gateway: Which.
        failed: What came of the attempt.
    """
    import socket
    import ssl

    if isinstance(failed, ssl.SSLCertVerificationError):
        if gateway.ca is None:
            advice = "set MANTA_CA_FILE to the certificate of the cluster's authority"
        else:
            advice = "MANTA_CA_FILE has to hold the certificate of this very cluster's authority"
        return errors.AuthenticationError(
            f"{gateway.address} does not prove to be {gateway.name or gateway.host}: {failed.verify_message}; {advice}"
        )
    if isinstance(failed, ssl.SSLError):
        return no_gateway(gateway, str(failed))
    if isinstance(failed, TimeoutError):
        return errors.ClusterNotFoundError(gateway.address, "nobody answers there in time")
    if isinstance(failed, socket.gaierror):
        return errors.ClusterNotFoundError(gateway.address, f"there is no host {gateway.host}: {failed.strerror}")
    if isinstance(failed, ConnectionResetError | BrokenPipeError):
        return no_gateway(gateway, failed.strerror or str(failed))
    return errors.ClusterNotFoundError(gateway.address, f"no gateway listens there: {failed.strerror or failed}")


def no_gateway(gateway: Gateway, why: str) -> errors.ClusterNotFoundError:
    """The error for an address where something else listens."""
    return errors.ClusterNotFoundError(gateway.address, f"what listens there is no gateway: {why}")
