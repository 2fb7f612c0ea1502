"""When a role's certificate must be made anew."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography import x509

from manta.transport.certificates import LEAF_DAYS, KeyPair, Role, role_name
from manta_operator.credentials.authority import Root
from manta_operator.credentials.certificate import due_at, fits, load, signed_by, span

#: A renewal that gains less is not worth it: authorities that end soon would be asked again and again.
_WORTH_S = 86400.0
_OF_USE_S = 3600.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a certificate should be.

    Attributes:
        role: Whom it speaks for.
        cluster: The cluster's name in certificates.
        names: Further ones.
    """

    role: Role
    cluster: str
    names: tuple[str, ...] = ()


def is_good(pair: KeyPair, wanted: Wanted, signer: Root, now: float) -> bool:
    """Whether a certificate may stay.

    Args:
        pair: The certificate and its key, as they were found.
        wanted: What it should be.
        signer: By whom it should be signed.
        now: Seconds since 1970.
    """
    found = load(pair.certificate)
    if found is None or not fits(pair.certificate, pair.key) or not signed_by(pair.certificate, signer.certificate):
        return False
    if set(_names_of(found)) != {role_name(wanted.role, wanted.cluster), *map(_as_certificates_say, wanted.names)}:
        return False
    due = renewal_at(pair, signer, now)
    return due is None or now < due


def can_sign(root: Root, now: float) -> bool:
    """Whether a certificate of it would be of use: it has its key, and does not end within the hour."""
    found = load(root.certificate)
    return bool(root.key) and found is not None and now + _OF_USE_S < span(found)[1]


def renewal_at(pair: KeyPair, signer: Root, now: float) -> float | None:
    """When a certificate should be renewed; None if nobody can make one that lives longer."""
    found, root = load(pair.certificate), load(signer.certificate)
    if found is None or root is None or not signer.key:
        return None
    gained = min(now + LEAF_DAYS * 86400, span(root)[1]) - span(found)[1]
    at = due_at(found)
    # One that is due later will be worth it then, unless its authority ends as it does.
    if at <= now and gained < _WORTH_S:
        return None
    return at if span(root)[1] - span(found)[1] >= _WORTH_S else None


def _names_of(certificate: x509.Certificate) -> Sequence[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return ()
    return [str(name.value) for name in names]


def _as_certificates_say(name: str) -> str:
    try:
        return str(ipaddress.ip_address(name))
    except ValueError:
        return name
