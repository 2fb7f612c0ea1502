"""What a template cannot say, and why: without these a pod would not be one that the operator can look after."""

from __future__ import annotations

from collections.abc import Mapping

from manta_operator.builders import labels, volumes

#: Fields of a pod's spec.
POD: Mapping[str, str] = {
    "restartPolicy": "the operator counts on containers being started again",
    "hostNetwork": "ports are fixed, and two pods on one node would want the same",
    "hostPID": "each container looks after its own processes, from its first one on",
    "hostIPC": "nothing of Manta's is shared with the node",
    "shareProcessNamespace": "each container looks after its own processes, from its first one on",
    "hostname": "nodes are known by their pods' names",
    "subdomain": "nodes are known by their pods' names",
    "setHostnameAsFQDN": "nodes are known by their pods' names",
    "ephemeralContainers": "they are added to a running pod, by `kubectl debug`",
    "activeDeadlineSeconds": "pods live as long as their cluster wants them",
}
#: Fields of a container of ours.
CONTAINER: Mapping[str, str] = {
    "command": "it runs manta.pod; another program belongs into a container of its own",
    "args": "it runs manta.pod; another program belongs into a container of its own",
    "livenessProbe": "the operator knows when it is alive",
    "readinessProbe": "the operator knows when it is ready",
    "startupProbe": "the operator knows when it has started",
    "lifecycle": "manta.pod drains it when it is told to end",
    "restartPolicy": "the operator counts on containers being started again",
    "stdin": "nobody is there to type",
    "tty": "nobody is there to look",
}
#: Labels by which pods are found.
LABELS = frozenset({labels.NAME, labels.INSTANCE, labels.COMPONENT, labels.MANAGED_BY})
#: And all labels and annotations that begin so.
PREFIX = "manta.compute/"

#: Folders of ours, in each of our containers.
PATHS = frozenset({volumes.CREDENTIALS, volumes.SESSION, volumes.PRIVATE, volumes.STATE, volumes.TMP})
