"""What is to be done about a cluster's Secrets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from manta_operator.api.cluster import MantaCluster
from manta_operator.builders import labels
from manta_operator.builders.build import Build
from manta_operator.builders.labels import Manifest
from manta_operator.credentials import authority, content, given, recovery
from manta_operator.credentials.authority import Root, Tokens, Truth
from manta_operator.credentials.certificate import due_at, load
from manta_operator.credentials.derived import HEAD_ROLES, NODE_ROLES, Derived, Deriving
from manta_operator.credentials.given import SecretProblem, Wrong
from manta_operator.credentials.making import Makes
from manta_operator.credentials.rotation import Schedule, Turn, Wish, step


@dataclass(frozen=True, slots=True)
class SecretUpdate:
    """A Secret that is there and must change: server-side applied to exactly the object that was seen.

    Attributes:
        manifest: All that is ours of it.
        uid: Who it is.
        version: Its resourceVersion when it was seen; if it changed meanwhile, look again.
    """

    manifest: Manifest
    uid: str
    version: str


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to be done.

    Attributes:
        creates: Secrets that are created unless their name is taken; if somebody was faster, theirs are as good.
        updates: Secrets that change.
        problems: What a person must put right; what can go on without goes on.
        ready: Whether every Secret that pods mount is there (perhaps an old version of it): pods may be made.
        again_at: When something becomes due by time alone, in seconds since 1970; None for never.
    """

    creates: tuple[Manifest, ...] = ()
    updates: tuple[SecretUpdate, ...] = ()
    problems: tuple[SecretProblem, ...] = ()
    ready: bool = False
    again_at: float | None = None


def decide(
    cluster: MantaCluster,
    secrets: Iterable[Manifest],
    now: float,
    makes: Makes,
    build: Build,
    schedule: Schedule = Schedule(),  # noqa: B008 (frozen)
) -> Decision:
    """What is to be done now.

    Args:
        cluster: Whose Secrets.
        secrets: Those of the cluster that exist, and those of the user that its spec names. Others are ignored.
        now: Seconds since 1970.
        makes: Randomness.
        build: The operator's surroundings.
        schedule: How long old and new are valid together.

    Returns:
        Nothing but `problems`, `ready` and `again_at` when all is as it should be.
    """
    return _Deciding(cluster, secrets, now, makes, build, schedule).decide()


@dataclass
class _Deciding:
    """One decision, with what it finds on its way."""

    cluster: MantaCluster
    secrets: Iterable[Manifest]
    now: float
    makes: Makes
    build: Build
    schedule: Schedule
    problems: list[SecretProblem] = field(default_factory=list)
    creates: list[Manifest] = field(default_factory=list)
    updates: list[SecretUpdate] = field(default_factory=list)
    times: list[float] = field(default_factory=list)

    def decide(self) -> Decision:
        self._all = {one["metadata"]["name"]: one for one in self.secrets}
        self._ours = {name: one for name, one in self._all.items() if _is_ours(self.cluster, one)}
        roots, tokens = self._root_wish(), self._token_wish()
        name = labels.authority_name(self.cluster.metadata.name)
        seen = self._ours.get(name)
        if seen is None:
            self._begin(name, roots, tokens)
        elif (truth := self._read(name, seen)) is not None:
            self._go_on(name, seen, truth, roots, tokens)
        return Decision(
            tuple(self.creates),
            tuple(self.updates),
            tuple(self.problems),
            self._ready(),
            min(self.times, default=None),
        )

    def _begin(self, name: str, roots: Wish[Root], tokens: Wish[Tokens]) -> None:
        """There is no truth: make one, of what the others still know. It comes alone; they follow when it is there."""
        if self._is_free(name) and not roots.keep and not tokens.keep:
            made = recovery.truth(self.cluster, self._ours, roots, tokens, self.now, self.makes, self.schedule)
            self.creates.append(content.manifest(self.cluster, name, made.files()))

    def _read(self, name: str, seen: Manifest) -> Truth | None:
        try:
            return authority.read(content.files(seen))
        except authority.NotOursError as wrong:
            says = (
                f"{wrong}. Put back what was there; or delete it, and the cluster gets a new authority, "
                "while the old one is taken for a while"
            )
            self.problems.append(SecretProblem(Wrong.INVALID, name, says))
            return None

    def _go_on(self, name: str, seen: Manifest, truth: Truth, roots: Wish[Root], tokens: Wish[Tokens]) -> None:
        held = {one: content.files(secret) for one, secret in self._ours.items()}
        published = True
        for derived in Deriving(self.cluster, truth, held, self.now, self.makes, self.build).all():
            is_same = self._bring(derived)
            published &= is_same or not derived.mounted
            self.times += [derived.due_at] if derived.due_at is not None else []
        roots = replace(roots, due=not truth.roots.given and _due_at(truth.roots) <= self.now)
        after = Truth(
            step(truth.roots, roots, published=published, now=self.now, make=self._make_root, schedule=self.schedule),
            step(
                truth.tokens, tokens, published=published, now=self.now, make=self._make_tokens, schedule=self.schedule
            ),
        )
        wanted = content.manifest(self.cluster, name, after.files())
        if not content.same(seen, wanted):
            self._update(wanted, seen)
        for turn in (after.roots, after.tokens):
            self.times += [turn.until] if turn.until else []
        self._look_at_the_end(after.roots)

    def _bring(self, derived: Derived) -> bool:
        """Have a Secret be as it should. Returns whether it is."""
        name = derived.manifest["metadata"]["name"]
        seen = self._ours.get(name)
        if seen is None:
            if self._is_free(name):
                self.creates.append(derived.manifest)
            return False
        if content.same(seen, derived.manifest):
            return True
        self._update(derived.manifest, seen)
        return False

    def _update(self, wanted: Manifest, seen: Manifest) -> None:
        metadata = seen["metadata"]
        self.updates.append(SecretUpdate(wanted, metadata["uid"], metadata["resourceVersion"]))

    def _is_free(self, name: str) -> bool:
        """Whether a Secret of this name can be made. Somebody else's is a problem; one that goes is waited for."""
        there = self._all.get(name)
        if there is not None and not _owned(self.cluster, there):
            says = "it is there already, and is not this cluster's: delete it, or give the cluster another name"
            self.problems.append(SecretProblem(Wrong.TAKEN, name, says))
        return there is None

    def _root_wish(self) -> Wish[Root]:
        asked = self.cluster.metadata.annotations.get(labels.ROTATE, "")
        name = self.cluster.spec.tls.existing_secret
        if name is None:
            return Wish(asked=asked)
        found = given.root(self._all.get(name), name, self.now)
        if isinstance(found, SecretProblem):
            self.problems.append(found)
            return Wish(asked=asked, keep=True)
        soon = given.ending(found, name, self.now)
        self.problems += [soon] if soon is not None else []
        return Wish(asked=asked, given=found)

    def _token_wish(self) -> Wish[Tokens]:
        asked = self.cluster.metadata.annotations.get(labels.ROTATE_TOKENS, "")
        name = self.cluster.spec.auth.existing_secret
        if name is None:
            return Wish(asked=asked)
        found = given.tokens(self._all.get(name), name)
        if isinstance(found, SecretProblem):
            self.problems.append(found)
            return Wish(asked=asked, keep=True)
        return Wish(asked=asked, given=found)

    def _look_at_the_end(self, roots: Turn[Root]) -> None:
        """When the authority that signs is to be replaced, by us or by the user."""
        if not roots.resting:
            return
        if roots.given:
            notice = given.notice_at(roots.now)
            self.times += [notice] if notice > self.now else []
        else:
            self.times.append(_due_at(roots))

    def _make_root(self) -> Root:
        return recovery.make_root(self.cluster, self.now, self.makes)

    def _make_tokens(self) -> Tokens:
        return recovery.make_tokens(self.makes)

    def _ready(self) -> bool:
        name = self.cluster.metadata.name
        for secret, roles in ((labels.head_name(self.cluster), HEAD_ROLES), (labels.join_name(name), NODE_ROLES)):
            files = content.files(self._ours.get(secret, {}))
            needed = [f"{role}.{end}" for role in roles for end in ("crt", "key")]
            if not all(map(files.get, (content.BUNDLE, content.CLUSTER, content.JOIN_TOKEN, content.TOKENS, *needed))):
                return False
        return True


def _due_at(roots: Turn[Root]) -> float:
    found = load(roots.now.certificate)
    return float("inf") if found is None else due_at(found)


def _owned(cluster: MantaCluster, secret: Mapping[str, Any]) -> bool:
    owners = secret["metadata"].get("ownerReferences") or ()
    return any(one.get("controller") and one.get("uid") == cluster.metadata.uid for one in owners)


def _is_ours(cluster: MantaCluster, secret: Mapping[str, Any]) -> bool:
    """Whether it is there, and will be: one that is being deleted is as good as gone."""
    return _owned(cluster, secret) and not secret["metadata"].get("deletionTimestamp")
