"""Authorities and tokens that the user brings, and what can be wrong with them."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from manta.transport.auth import TOKEN_LENGTH
from manta_operator.credentials import content
from manta_operator.credentials.authority import Root, Tokens, is_token
from manta_operator.credentials.certificate import fits, load, signed_by, span

#: How long before its end people are told that an authority of theirs ends.
_NOTICE_S = 30 * 86400.0


class Wrong(Enum):
    """What can be wrong with a Secret; the values are reasons for conditions."""

    #: One that the spec names does not exist.
    MISSING = "MissingSecret"
    #: It holds something else than it should.
    INVALID = "InvalidSecret"
    #: An object of a name that we need is somebody else's.
    TAKEN = "NameTaken"
    #: An authority that the user brought ends soon.
    EXPIRING = "AuthorityExpiring"


@dataclass(frozen=True, slots=True)
class SecretProblem:
    """Something that only a person can put right.

    Attributes:
        wrong: In one word.
        secret: The Secret's name.
        says: What is wrong with it, and what would be right.
    """

    wrong: Wrong
    secret: str
    says: str

    def __str__(self) -> str:
        return f"Secret {self.secret}: {self.says}"


def missing(name: str, field: str, holds: str) -> SecretProblem:
    """There is no such Secret.

    Args:
        name: Its name.
        field: The field that names it.
        holds: What it should hold.
    """
    return SecretProblem(Wrong.MISSING, name, f"it does not exist, and {field} names it: create it, with {holds}")


def root(secret: Mapping[str, Any] | None, name: str, now: float) -> Root | SecretProblem:
    """An authority of the user's own, or what is wrong with it."""
    if secret is None:
        return missing(name, "spec.tls.existingSecret", "an authority in tls.crt and its key in tls.key")
    files = content.files(secret)
    certificate, key = files.get("tls.crt", b""), files.get("tls.key", b"")
    says = _wrong_root(certificate, key, now)
    return Root(certificate, key) if not says else SecretProblem(Wrong.INVALID, name, says)


def ending(root: Root, name: str, now: float) -> SecretProblem | None:
    """Word that an authority of the user's own ends soon."""
    found = load(root.certificate)
    if found is None or now < notice_at(root):
        return None
    end = found.not_valid_after_utc.isoformat()
    says = f"its authority ends at {end}, and the cluster with it: put a new one there; both are trusted for a while"
    return SecretProblem(Wrong.EXPIRING, name, says)


def notice_at(root: Root) -> float:
    """When people are told that an authority ends."""
    found = load(root.certificate)
    return float("inf") if found is None else span(found)[1] - _NOTICE_S


def _wrong_root(pem: bytes, key: bytes, now: float) -> str:
    for name, text in (("tls.crt", pem), ("tls.key", key)):
        if not text:
            return f"{name} is missing; it must hold an authority in tls.crt and its key in tls.key, as PEM"
    found = load(pem)
    if found is None:
        return "tls.crt must hold exactly one certificate, as PEM: the authority's own, without a chain"
    if says := _no_authority(found):
        return says
    if found.issuer != found.subject or not signed_by(pem, pem):
        return (
            f"tls.crt was signed by another authority ({found.issuer.rfc4514_string()[:200]}); "
            "it must be one that signed itself, as the pods trust it alone"
        )
    begin, end = span(found)
    if not begin <= now < end:
        when = datetime.datetime.fromtimestamp(now, datetime.UTC).isoformat(timespec="seconds")
        return (
            f"tls.crt is valid from {found.not_valid_before_utc.isoformat()} to {found.not_valid_after_utc.isoformat()}, "
            f"and it is {when}"
        )
    return _wrong_key(pem, key)


def _no_authority(certificate: x509.Certificate) -> str:
    """What a certificate lacks to be an authority to everybody: drivers on Python 3.13 and later verify by the letter."""
    try:
        extensions = certificate.extensions
        basic = extensions.get_extension_for_class(x509.BasicConstraints)
    except (x509.ExtensionNotFound, ValueError):
        return "tls.crt is no authority: it may not sign others (it has no basic constraint CA)"
    if not basic.value.ca or not basic.critical:
        return "tls.crt is no authority: it may not sign others (its basic constraint must be CA, and critical)"
    try:
        usage = extensions.get_extension_for_class(x509.KeyUsage).value
        extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    except x509.ExtensionNotFound as error:
        what = "key usage" if error.oid == x509.KeyUsage.oid else "subject key identifier"
        return f"tls.crt has no {what}: Python 3.13 and later take no authority without one"
    return "" if usage.key_cert_sign else "tls.crt is no authority: its key usage must have certSign"


def _wrong_key(pem: bytes, key: bytes) -> str:
    try:
        loaded = serialization.load_pem_private_key(key, password=None)
    except TypeError:
        return "tls.key is encrypted; it must be a private key as PEM without a password"
    except ValueError:
        return "tls.key must hold a private key, as PEM"
    if not isinstance(loaded, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        return "tls.key must be an RSA or an elliptic curve's key: others are not taken everywhere"
    return "" if fits(pem, key) else "tls.key is not the key of tls.crt"


def tokens(secret: Mapping[str, Any] | None, name: str) -> Tokens | SecretProblem:
    """Tokens of the user's own, or what is wrong with them; a token itself is never said."""
    roles = (*content.ROLES, content.JOIN)
    if secret is None:
        return missing(name, "spec.auth.existingSecret", f"a token for each of {', '.join(roles)}")
    files = content.files(secret)
    found: dict[str, tuple[str, ...]] = {}
    whose: dict[str, str] = {}
    for role in roles:
        words = files.get(role, b"").decode("utf-8", "replace").split()
        wrong = [word for word in words if not is_token(word)]
        if not words or wrong:
            says = (
                f"{role} must hold a token of {TOKEN_LENGTH} hex digits in lower case, or several with spaces between them"
                if wrong
                else f"{role} is missing; it must have a token for each of {', '.join(roles)}"
            )
            return SecretProblem(Wrong.INVALID, name, says)
        for word in words:
            if whose.setdefault(word, role) != role:
                says = f"{whose[word]} and {role} have the same token: each role needs one of its own"
                return SecretProblem(Wrong.INVALID, name, says)
        found[role] = tuple(dict.fromkeys(words))
    return Tokens(found)
