"""What may be called what, so that every name made from it is one that Kubernetes takes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

#: Of a pod's name, as it is also its host's name and a label; Kubernetes' own limit.
LABEL_LENGTH = 63
#: Most replicas of a group: slots have up to four digits.
MOST_REPLICAS = 10_000
#: Leaves room for the longest ending of a Service's name, `-dashboard`, with some to spare.
CLUSTER_LENGTH = 50
GROUP_LENGTH = 40
#: Of a cluster's and a group's name together: pods are called <cluster>-<group>-<slot>.
POD_NAME_PARTS = LABEL_LENGTH - len("--") - len(str(MOST_REPLICAS - 1))

#: A name that may begin a Service's name too: those begin with a letter.
LABEL = r"^[a-z]([-a-z0-9]*[a-z0-9])?$"
LABEL_SAYS = "must be lower-case letters, digits and hyphens, begin with a letter and end with a letter or digit"

#: Objects that somebody else made: a Secret, a claim.
SUBDOMAIN = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"
SUBDOMAIN_SAYS = "must be the name of an object in the same namespace: lower-case letters, digits, hyphens and dots"
SUBDOMAIN_LENGTH = 253
#: For `field()`: what fields with such names have in common.
OBJECT: Mapping[str, Any] = {
    "min_length": 1,
    "max_length": SUBDOMAIN_LENGTH,
    "pattern": SUBDOMAIN,
    "pattern_says": SUBDOMAIN_SAYS,
}

#: By which somebody is reached: a host's name, perhaps with `*.` before it, or an address. IPv6 has two colons at least: a port
#: after a name is none.
HOST = r"^((\*\.)?[0-9A-Za-z]([0-9A-Za-z._-]*[0-9A-Za-z])?|[0-9A-Fa-f]*:[0-9A-Fa-f]*:[0-9A-Fa-f:.]*)$"
HOST_SAYS = "must be a host's name or an address, without a port and without a path"

GROUP_VERSION = "manta.compute/v1alpha1"
GROUP, VERSION = GROUP_VERSION.split("/")


def pod_name(cluster: str, group: str, slot: int) -> str:
    """The name of a worker's pod. Slots are numbers that are taken again: the name says where it stands, not who it is."""
    return f"{cluster}-{group}-{slot}"


def head_name(cluster: str) -> str:
    """The name of the head's pod. No group is called `head`, so no worker's is the same."""
    return f"{cluster}-head"


def is_label(name: str) -> bool:
    """Whether pods and Services may be named after it, as far as its characters go."""
    return re.fullmatch(LABEL, name, re.ASCII) is not None
