"""The head's pod and a worker's."""

from __future__ import annotations

from manta_operator.api.cluster import MantaCluster
from manta_operator.api.workers import WorkerGroup
from manta_operator.builders.build import Build
from manta_operator.builders.labels import Manifest


def head_pod(cluster: MantaCluster, build: Build) -> Manifest:
    """The pod with the cluster's memory and its doors.

    Raises:
        InvalidTemplateError: The template says what it must not; every such field is named.
    """
    raise NotImplementedError("manta_operator.builders.pods.head_pod")


def worker_pod(cluster: MantaCluster, group: WorkerGroup, slot: int, build: Build) -> Manifest:
    """A worker's pod. Pods of a group differ in name and slot alone.

    Args:
        cluster: Whose.
        group: One of its groups.
        slot: Its number.
        build: The operator's surroundings.

    Raises:
        InvalidTemplateError: The template says what it must not; every such field is named.
    """
    raise NotImplementedError("manta_operator.builders.pods.worker_pod")
