"""What is to be done about a cluster's Secrets."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from manta_operator.api.cluster import MantaCluster
from manta_operator.builders.build import Build
from manta_operator.builders.labels import Manifest
from manta_operator.credentials.making import Makes
from manta_operator.credentials.rotation import Schedule


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
        creates: Secrets that are created unless their name is taken, by this bytes or, if somebody was faster, by theirs.
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
        Nothing but `ready` and `again_at` when all is as it should be.
    """
    raise NotImplementedError("manta_operator.credentials.decide")
