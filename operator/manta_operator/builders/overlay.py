"""The user's template, laid over a pod.

As a strategic merge would: objects are merged, lists of things with names by their names, all else is replaced. What is not known
here is handed on: the API server checks the pod that comes out, strictly, and knows better. What the operator needs to look after
the pod (`owned`) cannot be said otherwise.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from manta_operator.api.parse import Problem
from manta_operator.api.pods import Template
from manta_operator.builders import owned, variables
from manta_operator.builders.labels import Manifest


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


@dataclass(frozen=True, slots=True)
class Overlay:
    """A template that was looked at.

    Attributes:
        template: As it was parsed.
        at: Its path in the MantaCluster.
        sizes_at: Where sizes are said instead.
        termination_s: How long it gives a pod to end; None if it does not say.
    """

    template: Template
    at: str
    sizes_at: str
    termination_s: int | None

    def over(self, pod: Manifest) -> Manifest:
        """The pod with the template laid over it.

        Args:
            pod: Nobody else's: it is changed.

        Raises:
            InvalidTemplateError: Every field that cannot be laid over it.
        """
        laying = _Laying(pod, self.sizes_at)
        laying.metadata(self.template, f"{self.at}.metadata")
        laying.spec(self.template.spec or {}, f"{self.at}.spec")
        if laying.problems:
            raise InvalidTemplateError(tuple(laying.problems))
        return pod


def read(template: Template, at: str, sizes_at: str) -> Overlay:
    """A template, with what is read of it before there is a pod.

    Raises:
        InvalidTemplateError: It gives a pod no time to end that can be counted.
    """
    name = "terminationGracePeriodSeconds"
    termination_s = (template.spec or {}).get(name)
    if termination_s is not None and (type(termination_s) is not int or termination_s < 1):
        raise InvalidTemplateError((Problem(f"{at}.spec.{name}", "must be a whole number of seconds, at least 1"),))
    return Overlay(template, at, sizes_at, termination_s)


class _Laying:
    """Changes a pod, and gathers what cannot be."""

    def __init__(self, pod: Manifest, sizes_at: str) -> None:
        self._pod, self._sizes_at = pod, sizes_at
        self._ours = {one["name"]: one for one in pod["spec"]["containers"]}
        self._volumes = {one["name"] for one in pod["spec"]["volumes"]}
        self.problems: list[Problem] = []

    def complain(self, at: str, says: str) -> None:
        self.problems.append(Problem(at, says))

    def metadata(self, template: Template, at: str) -> None:
        metadata = self._pod["metadata"]
        for name, value in template.metadata.labels.items():
            if name in owned.LABELS or name.startswith(owned.PREFIX):
                self.complain(f"{at}.labels[{name}]", "cannot be set: by it the operator finds its pods")
            else:
                metadata["labels"][name] = value
        for name, value in template.metadata.annotations.items():
            if name.startswith(owned.PREFIX):
                self.complain(f"{at}.annotations[{name}]", "cannot be set: names that begin so are the operator's")
            else:
                metadata["annotations"][name] = value

    def spec(self, said: Mapping[str, Any], at: str) -> None:
        spec = self._pod["spec"]
        for name, value in said.items():
            inner = f"{at}.{name}"
            if value is None:  # null is as good as nothing, as for the API server
                continue
            if name in owned.POD:
                self.complain(inner, f"cannot be set: {owned.POD[name]}")
            elif name == "resources":
                self.complain(inner, f"cannot be set: sizes are said in {self._sizes_at}")
            elif name == "containers":
                self._containers(value, inner)
            elif name == "initContainers":
                spec[name] = [one for one, _ in self._named(value, inner, "name", self._ours, "a container of ours")]
            elif name == "volumes":
                spec[name] += [one for one, _ in self._named(value, inner, "name", self._volumes, "a volume of ours")]
            elif name == "imagePullSecrets":
                known = {one["name"] for one in spec.get(name, ())}
                added = [one for one, _ in self._named(value, inner, "name") if one["name"] not in known]
                spec[name] = [*spec.get(name, ()), *added]
            else:
                spec[name] = merged(spec.get(name), value)

    def _containers(self, said: object, at: str) -> None:
        for one, inner in self._named(said, at, "name"):
            ours = self._ours.get(one["name"])
            if ours is None:
                self._pod["spec"]["containers"].append(one)
            else:
                self._container(ours, one, inner)

    def _container(self, ours: dict[str, Any], said: Mapping[str, Any], at: str) -> None:
        for name, value in said.items():
            inner = f"{at}.{name}"
            if value is None or name == "name":
                continue
            if name in owned.CONTAINER:
                self.complain(inner, f"cannot be set: {owned.CONTAINER[name]}")
            elif name == "resources" and ours["name"] == "raylet":
                self.complain(inner, f"cannot be set: sizes are said in {self._sizes_at}")
            elif name == "env":
                self._env(ours, value, inner)
            elif name == "envFrom":
                ours[name] = [one for one, _ in self._objects(value, inner)]
            elif name == "ports":
                known = {one["containerPort"] for one in ours[name]}
                ours[name] += [
                    one for one, _ in self._named(value, inner, "containerPort", known, "a port of ours", int)
                ]
            elif name == "volumeMounts":
                self._mounts(ours, value, inner)
            else:
                ours[name] = merged(ours.get(name), value)

    def _env(self, ours: dict[str, Any], said: object, at: str) -> None:
        added = {
            one["name"]: one
            for one, _ in self._named(said, at, "name", variables.OWNED, "a variable that the operator sets")
        }
        # Ours keep their places; a user's may refer to those before it.
        ours["env"] = [added.pop(one["name"], one) for one in ours["env"]] + list(added.values())

    def _mounts(self, ours: dict[str, Any], said: object, at: str) -> None:
        for one, inner in self._named(said, at, "mountPath", owned.PATHS, "a folder of ours", trim="/"):
            volume = one.get("name")
            if isinstance(volume, str) and volume in self._volumes:
                self.complain(f"{inner}.name", f"{volume} is a volume of ours, for the container that has it")
            else:
                ours["volumeMounts"].append(one)

    def _named(
        self,
        said: object,
        at: str,
        key: str,
        taken: Any = (),
        whose: str = "",
        kind: type = str,
        trim: str = "",
    ) -> Iterator[tuple[dict[str, Any], str]]:
        """Objects of a list that are told apart by a field, each with its path; what is none, or is there twice, is a problem."""
        known = set()
        for one, inner in self._objects(said, at):
            name = one.get(key)
            if isinstance(name, str) and trim:
                name = name.rstrip(trim)
            if type(name) is not kind:
                self.complain(f"{inner}.{key}", "is missing" if name is None else f"must be a {_called(kind)}")
            elif name in taken:
                self.complain(f"{inner}.{key}", f"{name} is {whose}: choose another")
            elif name in known:
                self.complain(f"{inner}.{key}", f"{name} is there twice")
            else:
                known.add(name)
                yield one, inner

    def _objects(self, said: object, at: str) -> Iterator[tuple[dict[str, Any], str]]:
        if not isinstance(said, list | tuple):
            self.complain(at, "must be a list")
            return
        for index, one in enumerate(said):
            if isinstance(one, Mapping):
                yield copy.deepcopy(dict(one)), f"{at}[{index}]"
            else:
                self.complain(f"{at}[{index}]", "must be an object")


def merged(ours: Any, said: Any) -> Any:
    """Objects are merged, all else is replaced; null says nothing."""
    if said is None:
        return ours
    if not isinstance(said, Mapping):
        return copy.deepcopy(said)
    base = ours if isinstance(ours, Mapping) else {}
    names = [*base, *(name for name in said if name not in base)]
    values = ((name, merged(base.get(name), said.get(name))) for name in names)
    return {name: value for name, value in values if value is not None}


def _called(kind: type) -> str:
    return {str: "text", int: "whole number"}[kind]
