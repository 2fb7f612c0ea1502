"""TLS with a name of our choosing: a forwarded port is dialled at an address that no certificate names."""

from __future__ import annotations

import os
import ssl
import tempfile
from typing import Any


class NamedContext(ssl.SSLContext):
    """A client's context whose connections expect one name, whatever host they were opened to.

    Attributes:
        name: The name; empty for the host's.
    """

    name = ""

    def wrap_socket(self, *arguments: Any, **more: Any) -> ssl.SSLSocket:
        """As the standard library's, with the name."""
        return super().wrap_socket(*arguments, **self._with_name(more))

    def wrap_bio(self, *arguments: Any, **more: Any) -> ssl.SSLObject:
        """As the standard library's, with the name."""
        return super().wrap_bio(*arguments, **self._with_name(more))

    def _with_name(self, more: dict[str, Any]) -> dict[str, Any]:
        return {**more, "server_hostname": self.name} if self.name else more


def named(name: str, authority: bytes) -> NamedContext:
    """A context for whoever shows this name.

    Args:
        name: The name; empty for the host's.
        authority: PEM of who has to vouch for it; empty for whom the machine trusts.

    Raises:
        ssl.SSLError: There is no certificate in it.
    """
    context = NamedContext(ssl.PROTOCOL_TLS_CLIENT)
    context.name = name
    if authority:
        context.load_verify_locations(cadata=authority.decode("ascii", "replace"))
    else:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    return context


def show(context: ssl.SSLContext, certificate: bytes, key: bytes) -> None:
    """Have a context show a certificate. The standard library reads files alone: the key is in one for that moment.

    Raises:
        ssl.SSLError: They are not a certificate and its key.
    """
    handle, path = tempfile.mkstemp(prefix="manta-kube-")  # for its owner alone
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(certificate + b"\n" + key)
        # Without a password one that is needed would be asked for on the terminal.
        context.load_cert_chain(path, password=b"")
    finally:
        os.unlink(path)
