"""What an instance remembers of a cluster between two plans: what it was refused, and what it tried. All of it may be lost."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from manta_operator.cluster.actions import Plan
from manta_operator.cluster.refusals import Refusal, Why

#: Revisions whose trial is remembered.
_MOST_CHECKED = 64

#: A kind's plural, and an object's name.
What = tuple[str, str]


@dataclass(slots=True)
class Memory:
    """Of one cluster, and of no later one of its name.

    Attributes:
        uid: Whose.
        refusals: By object, the last one.
        checked: By revision, what the server said of such a pod; empty if it would take it.
    """

    uid: str
    refusals: dict[What, Refusal] = field(default_factory=dict)
    checked: dict[str, str] = field(default_factory=dict)
    #: Since when control cannot be asked; None if it can.
    silent_since: float | None = None

    def refused(self, refusal: Refusal) -> bool:
        """An object was refused. Returns whether that is news: it was not before, or for another reason."""
        what = (refusal.plural, refusal.name)
        before = self.refusals.get(what)
        news = before is None or (before.why, before.message, before.generation) != (
            refusal.why,
            refusal.message,
            refusal.generation,
        )
        count = before.count + 1 if before is not None and before.why is refusal.why else 1
        self.refusals[what] = replace(refusal, count=count)
        return news

    def went_well(self, plural: str, name: str) -> None:
        """An object was written."""
        self.refusals.pop((plural, name), None)

    def seen(self, objects: Iterable[What]) -> None:
        """These objects are there: what was refused was to create them."""
        for what in objects:
            self.refusals.pop(what, None)

    def planned(self, plan: Plan, now: float) -> None:
        """What nobody wants any more is forgotten when its time has come."""
        if not self.refusals:
            return
        wanted = {(one.resource.plural, one.name) for one in plan.creates}
        wanted |= {(one.resource.plural, one.name) for one in plan.applies}
        for what, refusal in list(self.refusals.items()):
            if what not in wanted and refusal.again_at <= now and refusal.why is not Why.INVALID:
                del self.refusals[what]

    def tried(self, revision: str, words: str) -> None:
        """A revision was tried; empty words for all is well."""
        self.checked.pop(revision, None)
        self.checked[revision] = words
        while len(self.checked) > _MOST_CHECKED:
            del self.checked[next(iter(self.checked))]
