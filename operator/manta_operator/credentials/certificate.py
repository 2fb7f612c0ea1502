"""Reading certificates and keys. Answers are remembered: the same few are looked at with every change of a cluster."""

from __future__ import annotations

import functools

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization

#: Of a thousand clusters.
_REMEMBERED = 16384


@functools.lru_cache(_REMEMBERED)
def load(pem: bytes) -> x509.Certificate | None:
    """The one certificate that a text holds; None if it holds none, several, or something else."""
    try:
        [certificate] = x509.load_pem_x509_certificates(pem)
    except ValueError:
        return None
    return certificate


@functools.lru_cache(_REMEMBERED)
def fits(certificate: bytes, key: bytes) -> bool:
    """Whether a key is a certificate's."""
    found = load(certificate)
    if found is None:
        return False
    try:
        loaded = serialization.load_pem_private_key(key, password=None)
    except (ValueError, TypeError):
        return False
    return _public(loaded.public_key()) == _public(found.public_key())


@functools.lru_cache(_REMEMBERED)
def signed_by(certificate: bytes, root: bytes) -> bool:
    """Whether one certificate was signed by another's key."""
    found, issuer = load(certificate), load(root)
    if found is None or issuer is None:
        return False
    try:
        found.verify_directly_issued_by(issuer)
    except (InvalidSignature, ValueError, TypeError):
        return False
    return True


def _public(key: object) -> bytes:
    encoded: bytes = key.public_bytes(  # type: ignore[attr-defined]
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return encoded


def span(certificate: x509.Certificate) -> tuple[float, float]:
    """From when until when it is valid, in seconds since 1970."""
    return certificate.not_valid_before_utc.timestamp(), certificate.not_valid_after_utc.timestamp()


def due_at(certificate: x509.Certificate) -> float:
    """When it should be replaced: at two thirds of its life."""
    begin, end = span(certificate)
    return begin + (end - begin) * 2 / 3
