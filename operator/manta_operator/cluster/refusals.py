"""What the API server would not do, and when it is worth asking again. Pure.

The shell keeps the last refusal of each object, and forgets it when an attempt at that object goes well or the object is seen
otherwise. Nothing else is remembered between two plans: after a restart everything is tried once more.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from manta.aio.backoff import Backoff
from manta_operator.kube.errors import ApiError, KubeError

#: Between attempts at what was refused. A quota that grows and a stranger that goes send us no event.
BACKOFF = Backoff(first_s=5.0, factor=2.0, cap_s=60.0, jitter=0.0)


class Why(Enum):
    """What stands in the way."""

    #: An object of that name is somebody else's.
    NAME_TAKEN = "name taken"
    #: A quota of the namespace is used up: others of the kind are in vain too.
    QUOTA = "quota"
    #: The object is not as it should be: its template is wrong.
    INVALID = "invalid"
    #: Neither this operator nor the namespace lets it be.
    FORBIDDEN = "forbidden"
    #: The server is busy or ill, or did not answer: the shell asks again by itself.
    TEMPORARY = "temporary"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """One object that could not be written.

    Attributes:
        plural: Its kind, as in paths: `pods`.
        name: Its name.
        why: In one word.
        message: The server's words.
        at: When, in seconds since 1970.
        count: How often in a row.
        generation: Of the MantaCluster when it was tried: another spec is tried at once.
        group: Of a pod: its group; `head` for the head's.
    """

    plural: str
    name: str
    why: Why
    message: str
    at: float
    count: int = 1
    generation: int = 0
    group: str = ""

    @property
    def again_at(self) -> float:
        """When to try it again."""
        return self.at if self.why is Why.TEMPORARY else self.at + BACKOFF.delay_s(self.count - 1, 0.0)

    def holds(self, generation: int, now: float) -> bool:
        """Whether the same is not tried now. Another spec makes another object, but of the same name."""
        return now < self.again_at and (self.why is Why.NAME_TAKEN or self.generation == generation)


def standing_in_the_way(
    refusals: Iterable[Refusal], plural: str, name: str, generation: int, now: float
) -> Refusal | None:
    """The refusal because of which an object is not written now; None if it may be tried.

    Args:
        refusals: All that are known.
        plural: The object's kind.
        name: Its name.
        generation: Of the MantaCluster now.
        now: Seconds since 1970.
    """
    return next(
        (one for one in refusals if (one.plural, one.name) == (plural, name) and one.holds(generation, now)), None
    )


def why_of(error: KubeError) -> Why:
    """What an error stands for."""
    if not isinstance(error, ApiError) or error.temporary or error.not_found:
        return Why.TEMPORARY
    if error.already_exists:
        return Why.NAME_TAKEN
    if error.quota_exceeded:
        return Why.QUOTA
    if error.status in (400, 413, 422) and not error.conflict:
        return Why.INVALID
    if error.status in (401, 403):
        return Why.FORBIDDEN
    return Why.TEMPORARY
