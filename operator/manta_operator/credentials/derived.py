"""Every Secret but the authority's, made from it: for the head, for nodes, for people."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass

from manta.transport.certificates import KeyPair, Role
from manta_operator.api.cluster import MantaCluster
from manta_operator.builders import labels, variables
from manta_operator.builders.build import Build
from manta_operator.builders.labels import Manifest
from manta_operator.credentials import content
from manta_operator.credentials.authority import Root, Tokens, Truth
from manta_operator.credentials.leaves import Wanted, can_sign, is_good, renewal_at
from manta_operator.credentials.making import Makes

#: Whose certificates are in the head's Secret: its containers', and a worker's, as gateway's sessions are some.
HEAD_ROLES = (Role.CONTROL, Role.GATEWAY, Role.DASHBOARD, Role.WORKER)
#: And in that of the raylets.
NODE_ROLES = (Role.WORKER,)
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class Derived:
    """One Secret as it should be.

    Attributes:
        manifest: All of it.
        mounted: Whether pods mount it.
        due_at: When a certificate in it is due; None for never.
    """

    manifest: Manifest
    mounted: bool
    due_at: float | None


class Deriving:
    """Makes them.

    Args:
        cluster: Whose.
        truth: From what.
        seen: What is in the Secrets that exist, by name: certificates that are good stay.
        now: Seconds since 1970.
        makes: Randomness.
        build: The operator's surroundings.
    """

    def __init__(
        self,
        cluster: MantaCluster,
        truth: Truth,
        seen: Mapping[str, Mapping[str, bytes]],
        now: float,
        makes: Makes,
        build: Build,
    ) -> None:
        self._cluster, self._truth, self._seen = cluster, truth, seen
        self._now, self._makes, self._build = now, makes, build
        roots = dict.fromkeys(_with_newline(root.certificate) for root in truth.roots.taken)
        self._bundle = b"".join(roots)

    def all(self) -> list[Derived]:
        """Every one; those that pods mount first."""
        return [self._head(), self._join(), *(self._person(role) for role in content.ROLES)]

    def _head(self) -> Derived:
        files = {
            content.BUNDLE: self._bundle,
            content.CLUSTER: self._cluster.metadata.uid.encode(),
            content.JOIN_TOKEN: _lines(_tokens(self._truth, content.JOIN)),
            content.TOKENS: self._lines_of(*content.ROLES),
        }
        return self._with_leaves(labels.head_name(self._cluster), files, HEAD_ROLES)

    def _join(self) -> Derived:
        # What a node has, user code on it can read: of people's tokens it knows viewers' alone, by which it shows its metrics.
        files = {
            content.BUNDLE: self._bundle,
            content.CLUSTER: self._cluster.metadata.uid.encode(),
            content.JOIN_TOKEN: _lines(_tokens(self._truth, content.JOIN)),
            content.TOKENS: self._lines_of("viewer"),
        }
        return self._with_leaves(labels.join_name(self._cluster.metadata.name), files, NODE_ROLES)

    def _person(self, role: str) -> Derived:
        files = {content.TOKEN: self._truth.tokens.now.of[role][0].encode(), content.BUNDLE: self._bundle}
        name = labels.role_secret_name(self._cluster.metadata.name, role)
        return Derived(content.manifest(self._cluster, name, files, {labels.ROLE: role}), False, None)

    def _with_leaves(self, name: str, files: dict[str, bytes], roles: tuple[Role, ...]) -> Derived:
        due = []
        for role in roles:
            pair, at = self._leaf(self._seen.get(name, {}), role)
            files |= {f"{role}.crt": pair.certificate, f"{role}.key": pair.key}
            due += [at] if at is not None else []
        return Derived(content.manifest(self._cluster, name, files), True, min(due, default=None))

    def _leaf(self, files: Mapping[str, bytes], role: Role) -> tuple[KeyPair, float | None]:
        found = KeyPair(files.get(f"{role}.crt", b""), files.get(f"{role}.key", b""))
        wanted = Wanted(role, self._cluster.metadata.uid, self._names(role))
        signers = self._signers()
        for root in signers:
            if is_good(found, wanted, root, self._now):
                return found, renewal_at(found, root, self._now)
        if not can_sign(signers[-1], self._now):
            return found, None  # it stays as it is: nobody could make a better one
        root = signers[-1]
        authority = KeyPair(root.certificate, root.key)
        when = datetime.datetime.fromtimestamp(self._now, datetime.UTC)
        made = self._makes.leaf(authority, role, wanted.cluster, when, wanted.names)
        return made, renewal_at(made, root, self._now)

    def _signers(self) -> list[Root]:
        """By whom a certificate may be signed; new ones by the last. That is who is coming, if who is there can sign no more."""
        roots = self._truth.roots
        if roots.coming is None or can_sign(roots.now, self._now):
            return [roots.now]
        return [roots.now, roots.coming]

    def _names(self, role: Role) -> tuple[str, ...]:
        """Further names of a certificate: those by which strangers reach its process, who know nothing of roles."""
        metadata = self._cluster.metadata
        service = {
            Role.GATEWAY: labels.gateway_name(metadata.name),
            Role.DASHBOARD: labels.dashboard_name(metadata.name),
        }.get(role)
        if service is None:
            return ()
        names = variables.service_names(service, metadata.namespace, self._build)
        return tuple(dict.fromkeys([*names, *_LOOPBACK, *self._cluster.spec.tls.extra_sans]))

    def _lines_of(self, *roles: str) -> bytes:
        lines = [f"{role} {token}" for role in roles for token in _tokens(self._truth, role)]
        return _lines(lines)


def _tokens(truth: Truth, role: str) -> list[str]:
    """Those that are taken, first the one that is shown."""
    turn: tuple[Tokens, ...] = truth.tokens.taken
    return list(dict.fromkeys(token for tokens in turn for token in tokens.of[role]))


def _lines(lines: list[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()


def _with_newline(pem: bytes) -> bytes:
    return pem if pem.endswith(b"\n") else pem + b"\n"
