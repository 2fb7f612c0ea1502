"""Reads everything that is known of one MantaJob, from copies alone: no request is made here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Protocol

from manta_operator.api import names
from manta_operator.api.cluster import MantaCluster
from manta_operator.api.job import JobStatus, MantaJob
from manta_operator.api.parse import InvalidObjectError, parse_cluster, read_status
from manta_operator.builders.labels import role_secret_name
from manta_operator.heads.endpoint import Endpoint, endpoint
from manta_operator.heads.following import Heads
from manta_operator.job.seen import FINALIZER, ClusterSeen, HeadSeen, Refusal, Seen
from manta_operator.job.submission import submission_id
from manta_operator.kinds import CLUSTERS
from manta_operator.kube.resources import PODS, SECRETS, Key, Resource
from manta_operator.kube.store import Store

#: How long a head may be silent until that is worth a word, seconds.
PATIENCE_S: Final = 3.0

#: Whose token the operator shows: the least that may submit.
SUBMITTER: Final = "submitter"

Raw = Mapping[str, Any]


class Copies(Protocol):
    """Copies of what the API server has, by kind: `kube.caches`."""

    def __getitem__(self, resource: Resource, /) -> Store:
        """The copy of a kind."""
        ...


def cluster_key(job: MantaJob) -> Key:
    """The cluster that a job names."""
    return Key(job.metadata.namespace, job.spec.cluster_ref.name)


def head_of(copies: Copies, key: Key) -> tuple[ClusterSeen | None, Endpoint | None]:
    """A cluster, and where its head answers: None if there is none, or none yet."""
    raw = copies[CLUSTERS].get(key)
    if raw is None:
        return None, None
    try:
        cluster = parse_cluster(raw)
    except InvalidObjectError as wrong:
        return ClusterSeen(reason="InvalidSpec", message=str(wrong)[:1024]), None
    seen = _cluster(raw, cluster)
    if seen.suspended:
        return seen, None
    pod = copies[PODS].get(Key(key.namespace, names.head_name(key.name)))
    if pod is not None and not _owned(pod, cluster.metadata.uid):
        pod = None
    secret = copies[SECRETS].get(Key(key.namespace, role_secret_name(key.name, SUBMITTER)))
    return seen, endpoint(cluster, pod, secret)


def gather(raw: Raw, job: MantaJob, cluster: ClusterSeen | None, heads: Heads, refusal: Refusal | None) -> Seen:
    """Everything about one job.

    Args:
        raw: The object.
        job: The same, parsed.
        cluster: As `head_of` has it.
        heads: What heads say.
        refusal: What the head last refused of it.
    """
    key, status = cluster_key(job), read_status(JobStatus, raw)
    known = heads.jobs(key) if cluster is not None else {}
    tries = (submission_id(job.metadata.uid, number) for number in (status.attempts, status.attempts + 1))
    silent_since = heads.silent_since(key)
    return Seen(
        job=job,
        status=status,
        held=FINALIZER in (raw["metadata"].get("finalizers") or []),
        cluster=cluster,
        head=HeadSeen(
            synced=cluster is not None and heads.synced(key),
            patience_until=0.0 if silent_since is None else silent_since + PATIENCE_S,
            memory=heads.memory(key),
            jobs={each: known[each] for each in tries if each in known},
        ),
        refusal=refusal,
    )


def _cluster(raw: Raw, cluster: MantaCluster) -> ClusterSeen:
    ready = next(
        (
            one
            for one in (raw.get("status") or {}).get("conditions") or []
            if isinstance(one, Mapping) and one.get("type") == "Ready" and one.get("status") != "True"
        ),
        {},
    )
    return ClusterSeen(
        going=cluster.metadata.deletion_timestamp is not None,
        suspended=cluster.spec.suspend,
        reason=str(ready.get("reason") or ""),
        message=str(ready.get("message") or "")[:1024],
    )


def _owned(pod: Raw, uid: str) -> bool:
    owners = pod["metadata"].get("ownerReferences") or []
    return any(one.get("controller") and one.get("uid") == uid for one in owners)
