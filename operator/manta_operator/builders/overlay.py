"""The user's template, laid over a pod."""

from __future__ import annotations

from manta_operator.api.parse import Problem


class InvalidTemplateError(Exception):
    """A template says what it must not, or what cannot be laid over a pod.

    Attributes:
        problems: Every such field, by its path in the MantaCluster, with what is wrong and what would be right.
    """

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        self.problems = problems
        super().__init__(problems)

    def __str__(self) -> str:
        return "; ".join(map(str, self.problems))
