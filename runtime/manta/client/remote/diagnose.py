"""Why a gateway could not be reached, found out by trying: gRPC says "unavailable" to all of it."""

from __future__ import annotations

from manta.core import errors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from manta.client.remote.address import Gateway

#: For each of the two steps.
TRY_S = 3.0


def reason(gateway: Gateway, said: str) -> errors.MantaError:
    """The error for a gateway that gRPC could not reach.

    Args:
        gateway: Which.
        said: What gRPC said.
    """
    import socket
    import ssl

    try:
        sock = socket.create_connection((gateway.host, gateway.port), TRY_S)
    except TimeoutError:
        return errors.ClusterNotFoundError(gateway.address, f"nobody answers there within {TRY_S:.0f} s")
    except socket.gaierror as unknown:
        return errors.ClusterNotFoundError(gateway.address, f"there is no host {gateway.host}: {unknown.strerror}")
    except OSError as refused:
        return errors.ClusterNotFoundError(gateway.address, f"no gateway listens there: {refused.strerror or refused}")
    context = ssl.create_default_context(cadata=None if gateway.ca is None else gateway.ca.decode("ascii", "replace"))
    with sock:
        try:
            with context.wrap_socket(sock, server_hostname=gateway.name or gateway.host):
                pass
        except ssl.SSLCertVerificationError as wrong:
            if gateway.ca is None:
                advice = "set MANTA_CA_FILE to the certificate of the cluster's authority"
            else:
                advice = "MANTA_CA_FILE has to hold the certificate of this very cluster's authority"
            return errors.AuthenticationError(
                f"{gateway.address} does not prove to be {gateway.name or gateway.host}: {wrong.verify_message}; {advice}"
            )
        except (ssl.SSLError, OSError) as wrong:
            return errors.ClusterNotFoundError(gateway.address, f"what listens there is no gateway: {wrong}")
    return errors.ClusterNotFoundError(gateway.address, f"the gateway there did not take the connection: {said}")
