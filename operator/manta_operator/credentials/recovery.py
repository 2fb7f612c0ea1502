"""The first truth of a cluster: made anew, but for what other Secrets of it still know.

Usually there are none. If somebody has deleted the authority's Secret, its key is lost, but pods go on with what they have: so
what they trust stays trusted while a new authority takes its place, and tokens stay as they are.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from manta_operator.api.cluster import MantaCluster
from manta_operator.builders import labels
from manta_operator.credentials import content
from manta_operator.credentials.authority import Root, Tokens, Truth, is_token
from manta_operator.credentials.making import Makes
from manta_operator.credentials.rotation import Schedule, Turn, Wish


def truth(
    cluster: MantaCluster,
    secrets: Mapping[str, Mapping[str, Any]],
    roots: Wish[Root],
    tokens: Wish[Tokens],
    now: float,
    makes: Makes,
    schedule: Schedule,
) -> Truth:
    """What a cluster's credentials are from now on.

    Args:
        cluster: Whose.
        secrets: Its Secrets that are left, by name.
        roots: What is wanted of its authorities.
        tokens: What is wanted of its tokens.
        now: Seconds since 1970.
        makes: Randomness.
        schedule: How long old and new are valid together.
    """
    name = cluster.metadata.name
    mounted = [content.files(secrets.get(one, {})) for one in (labels.head_name(cluster), labels.join_name(name))]
    people = {
        role: content.files(secrets.get(labels.role_secret_name(name, role), {})).get(content.TOKEN, b"")
        for role in content.ROLES
    }
    pace_s = schedule.asked_s
    return Truth(
        _roots(_trusted(mounted), roots, pace_s, lambda: make_root(cluster, now, makes)),
        _tokens(_known(mounted, people), tokens, pace_s, makes),
    )


def make_root(cluster: MantaCluster, now: float, makes: Makes) -> Root:
    """A new authority."""
    pair = makes.authority(cluster.metadata.uid, datetime.datetime.fromtimestamp(now, datetime.UTC))
    return Root(pair.certificate, pair.key)


def make_tokens(makes: Makes) -> Tokens:
    """A new token of each role."""
    return Tokens({role: (makes.token(),) for role in (*content.ROLES, content.JOIN)})


def _roots(trusted: list[Root], wish: Wish[Root], pace_s: float, make: Any) -> Turn[Root]:
    newest = wish.given if wish.given is not None else make()
    about: dict[str, Any] = {"answered": wish.asked, "given": wish.given is not None}
    others = [root for root in trusted if root.certificate.strip() != newest.certificate.strip()]
    if not others:
        return Turn(now=newest, **about)
    if len(others) < len(trusted) and trusted[0] not in others:
        # The user's own, which has signed already.
        return Turn(now=newest, going=others[0], pace_s=pace_s, **about)
    # First comes what signed what is there. A second was coming or going, and is soon nobody's.
    return Turn(now=others[0], coming=newest, going=others[1] if others[1:] else None, pace_s=pace_s, **about)


def _trusted(mounted: list[dict[str, bytes]]) -> list[Root]:
    """The authorities that pods trust; first the one that signs."""
    for files in mounted:
        try:
            found = x509.load_pem_x509_certificates(files.get(content.BUNDLE, b""))
        except ValueError:
            continue
        return [Root(one.public_bytes(serialization.Encoding.PEM)) for one in found]
    return []


def _tokens(known: dict[str, list[str]], wish: Wish[Tokens], pace_s: float, makes: Makes) -> Turn[Tokens]:
    about: dict[str, Any] = {"answered": wish.asked, "given": wish.given is not None}
    if not any(known.values()):
        return Turn(now=wish.given if wish.given is not None else make_tokens(makes), **about)
    made = make_tokens(makes)
    # First comes what is shown. Others were coming or going.
    shown = Tokens({role: tuple(known[role][:1]) or tokens for role, tokens in made.of.items()})
    taken = Tokens({role: tuple(known[role]) or tokens for role, tokens in shown.of.items()})
    going = taken if taken != shown else None
    if wish.given is not None and wish.given not in (shown, taken):
        return Turn(now=shown, coming=wish.given, going=going, pace_s=pace_s, **about)
    if wish.given is not None:
        return Turn(now=wish.given, **about)
    return Turn(now=shown, going=going, pace_s=pace_s if going is not None else 0.0, **about)


def _known(mounted: list[dict[str, bytes]], people: Mapping[str, bytes]) -> dict[str, list[str]]:
    """Tokens that Secrets still hold, by role; first the one that is shown."""
    found: dict[str, dict[str, None]] = {role: {} for role in (*content.ROLES, content.JOIN)}
    for files in mounted:
        for line in _text(files, content.TOKENS).splitlines():
            role, _, token = line.partition(" ")
            if role in content.ROLES and is_token(token):
                found[role][token] = None
        for token in _text(files, content.JOIN_TOKEN).split():
            if is_token(token):
                found[content.JOIN][token] = None
    for role, held in people.items():
        token = held.decode("utf-8", "replace").strip()
        if is_token(token):
            found[role][token] = None
    return {role: list(tokens) for role, tokens in found.items()}


def _text(files: Mapping[str, bytes], name: str) -> str:
    return files.get(name, b"").decode("utf-8", "replace")
