"""A cluster's own certificates: one authority, one leaf per role, fixed names.

Processes are dialled by address and verified by name: the name says the role and the cluster (`control.<cluster>.manta`), never
the host, so that a certificate is right wherever its process runs. Only who starts a cluster makes certificates; everyone
else reads files (`tls.py`), and needs nothing of this module.
"""

from __future__ import annotations

import datetime
import ipaddress
from dataclasses import dataclass
from enum import StrEnum

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from manta.transport.auth import write_private

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

#: How long an authority and a leaf are valid.
AUTHORITY_DAYS = 3650
LEAF_DAYS = 825

#: Clocks of machines differ: a certificate is valid this long before it was made.
_EARLY = datetime.timedelta(hours=1)


class Role(StrEnum):
    """Whom a certificate speaks for."""

    CONTROL = "control"
    GATEWAY = "gateway"
    DASHBOARD = "dashboard"
    #: A raylet and every worker of its node: user code can read its node's key, so they are one.
    WORKER = "worker"


def role_name(role: Role | str, cluster: str) -> str:
    """The name that certificates of a role carry.

    Args:
        role: Whose.
        cluster: The cluster's name in certificates: letters, digits and hyphens.
    """
    return f"{role}.{cluster}.manta"


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A certificate and its key, PEM."""

    certificate: bytes
    key: bytes


def make_authority(cluster: str, *, now: datetime.datetime) -> KeyPair:
    """Make a cluster's authority.

    Args:
        cluster: Its name in certificates.
        now: When; aware.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "manta"),
            x509.NameAttribute(NameOID.COMMON_NAME, _common_name(f"authority of {cluster}")),
        ]
    )
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _EARLY)
        .not_valid_after(now + datetime.timedelta(days=AUTHORITY_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return _pair(built, key)


def make_leaf(
    authority: KeyPair,
    role: Role,
    cluster: str,
    *,
    now: datetime.datetime,
    extra_names: Sequence[str] = (),
    lasts: datetime.timedelta = datetime.timedelta(days=LEAF_DAYS),
) -> KeyPair:
    """Make a role's certificate, for serving and for dialling.

    Args:
        authority: Who signs; made by make_authority, or somebody's own with a key of RSA or of an elliptic curve.
        role: Whom it speaks for.
        cluster: The cluster's name in certificates.
        now: When; aware.
        extra_names: Host names and addresses by which strangers reach it (a browser, curl): they check those.
        lasts: How long from now on it is valid, at most: never longer than its authority.
    """
    signer = serialization.load_pem_private_key(authority.key, password=None)
    issuer = x509.load_pem_x509_certificate(authority.certificate)
    if not isinstance(signer, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        raise TypeError("the authority's key is neither RSA nor of an elliptic curve")
    key = ec.generate_private_key(ec.SECP256R1())
    name = role_name(role, cluster)
    built = (
        x509.CertificateBuilder()
        .subject_name(
            x509.Name(
                [
                    x509.NameAttribute(NameOID.ORGANIZATION_NAME, "manta"),
                    x509.NameAttribute(NameOID.COMMON_NAME, _common_name(name)),
                ]
            )
        )
        .issuer_name(issuer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        # Never before or after its authority.
        .not_valid_before(max(now - _EARLY, issuer.not_valid_before_utc))
        .not_valid_after(min(now + lasts, issuer.not_valid_after_utc))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False
        )
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name), *_names(extra_names)]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(_identifier_of(issuer), critical=False)
        .sign(signer, hashes.SHA256())
    )
    return _pair(built, key)


def write_pair(pair: KeyPair, certificate_path: str, key_path: str) -> None:
    """Leave a pair in two files, the key for its owner alone. Each file is complete or absent."""
    # The key first: a reader that finds the certificate finds its key too.
    write_private(key_path, pair.key)
    write_private(certificate_path, pair.certificate, mode=0o644)


def _identifier_of(issuer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    """What certificates say of who signed them. It must be what the authority calls itself, or they are not taken for its own."""
    try:
        own = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    except x509.ExtensionNotFound:
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.public_key())  # type: ignore[arg-type]
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own)


def _common_name(text: str) -> str:
    # The field holds 64 characters; nobody compares it, names are checked against the alternative names.
    return text[:64]


def _names(names: Iterable[str]) -> list[x509.GeneralName]:
    found: list[x509.GeneralName] = []
    for name in names:
        try:
            found.append(x509.IPAddress(ipaddress.ip_address(name)))
        except ValueError:
            found.append(x509.DNSName(name))
    return found


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _pair(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> KeyPair:
    return KeyPair(
        certificate.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
    )
